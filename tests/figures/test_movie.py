"""Animations from frames: GIF always, MP4 by whatever ffmpeg is on the PATH, plain words otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gancli.errors import GancliError
from gancli.figures.movie import save_movie


def frames() -> list[NDArray[np.uint8]]:
    return [np.full((20, 30, 3), 60 * i, np.uint8) for i in range(4)]


def fake_ffmpeg(script: str) -> None:
    program = Path("bin/ffmpeg")
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(0o755)


@pytest.fixture(autouse=True)
def only_these_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin:/usr/bin" if Path("/bin/cat").exists() else f"{tmp_path}/bin")
    monkeypatch.setattr(
        "shutil.which", lambda name: str(tmp_path / "bin" / name) if (tmp_path / "bin").exists() else None
    )


def test_without_ffmpeg_there_is_a_gif_and_a_sentence() -> None:
    files, remark = save_movie(Path("training"), frames())
    assert files == [Path("training.gif")]
    assert remark is not None
    assert "ffmpeg is not on the PATH" in remark
    with Image.open("training.gif") as gif:
        assert gif.n_frames >= 4


def test_ffmpeg_gets_every_frame_and_its_file_is_kept() -> None:
    fake_ffmpeg('for last; do :; done; cat > "$last"; echo "$@" > arguments\n')
    files, remark = save_movie(Path("out/training"), frames())
    assert (files, remark) == ([Path("out/training.gif"), Path("out/training.mp4")], None)
    raw = Path("out/training.mp4").read_bytes()
    assert len(raw) % (20 * 30 * 3) == 0
    assert raw[: 20 * 30 * 3] == frames()[0].tobytes()
    assert raw[-20 * 30 * 3 :] == frames()[-1].tobytes()
    assert "-s 30x20" in Path("arguments").read_text()


def test_ffmpegs_own_words_are_handed_on() -> None:
    fake_ffmpeg("cat > /dev/null; echo Unknown encoder >&2; exit 1\n")
    with pytest.raises(GancliError, match="Unknown encoder"):
        save_movie(Path("training"), frames())
    assert not Path("training.mp4").exists()
