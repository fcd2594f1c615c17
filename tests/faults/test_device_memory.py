"""Too little memory on a CUDA device: a sentence, and the run goes on where there is more."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from harness import RESUME, TRAIN, workplace

from gancli.cli import main


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_a_full_device_is_a_sentence_with_what_to_lower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace(tmp_path / "place"))
    assert CliRunner().invoke(main, [*TRAIN, "--device=cuda", "--steps=12"]).exit_code == 0
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        refused = CliRunner().invoke(main, [*RESUME, "--steps=30"])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert refused.exit_code == 1
    assert "too little memory on the device for this run: start one with a lower --batch-size (20)" in refused.stderr
    assert "Traceback" not in refused.output
    assert CliRunner().invoke(main, [*RESUME, "--steps=30"]).exit_code == 0
