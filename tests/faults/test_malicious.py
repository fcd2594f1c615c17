"""A stranger's run folder and samples: whatever the commands are given, nothing in it is executed."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from harness import TRAIN, Zygote, workplace
from malicious import MALICIOUS, MARKER, pickled, write

from gancli import __version__
from gancli.cli import main

EXECUTING = ["os.system", "eval", "exec", "subprocess", "open", "nested in samples", "a key"]


def test_the_set_is_malicious(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaded by pickle alone, its programs do run: so a refusal means something."""
    monkeypatch.chdir(tmp_path)
    for name in EXECUTING:
        result = pickle.loads(pickled(MALICIOUS[name]))  # noqa: S301 (they only make a file here)
        if hasattr(result, "close"):
            result.close()
        assert Path(MARKER).exists(), name
        Path(MARKER).unlink()


@pytest.fixture(scope="module")
def trained(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = workplace(tmp_path_factory.mktemp("stranger") / "place")
    assert zygote.run(place, TRAIN).code == 0
    with zipfile.ZipFile(place / "run" / "checkpoints" / "last.pt") as archive:
        inner = next(entry for entry in archive.namelist() if entry.endswith("data.pkl"))
        (place / "good.pkl").write_bytes(archive.read(inner))
    return place


@pytest.mark.parametrize("name", EXECUTING)
def test_no_command_executes_a_strangers_run(trained: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The pickle stands alone, and in the place of one value of a checkpoint that is otherwise good."""
    monkeypatch.chdir(trained)
    good = Path("good.pkl").read_bytes()
    version = b"X\x05\x00\x00\x00" + __version__.encode()
    assert good.count(version) == 1
    spliced = good.replace(version, pickled(MALICIOUS[name])[2:-1])
    for pickle_bytes in (pickled(MALICIOUS[name]), spliced):
        for file in ("checkpoints/last.pt", "checkpoints/previous.pt", "checkpoints/best.pt", "samples.pt"):
            write(Path("run", file), pickle_bytes)
        for arguments in (
            ["train", "--resume=run", "--epochs=9"],
            ["sample", "--run=run", "--num=5", "--out=drawn.pt"],
            ["sample", "--run=run", "--checkpoint=last", "--out=drawn.pt"],
            ["parzen", "--samples=run/samples.pt"],
            ["train", "--dataset=./small.npy", "--pretrained=run", "--generator=dense 5 relu, pretrained", "--out=new"],
        ):
            result = CliRunner().invoke(main, arguments)
            assert result.exit_code == 1, result.output
            assert result.stderr.count("Error: ") == 1
            assert "Traceback" not in result.output
            assert isinstance(result.exception, SystemExit)
    assert not Path(MARKER).exists()
    assert not Path("drawn.pt").exists()
