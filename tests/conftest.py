"""What every test may rely on: a fixed seed, an empty working folder, no settings from the environment."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

# Where real data sets lie, if anywhere; read before the environment is cleaned for the tests.
REAL_DATA = os.environ.get("GANCLI_DATA")

# Shells let what they start in the background ignore SIGINT, and so would every run that a test interrupts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def clean_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GANCLI_DATA", "GANCLI_BACKEND", "GANCLI_CPU_ISA", "GANCLI_CUDA_PRODUCT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)


@pytest.fixture
def real_data() -> Path:
    if REAL_DATA is None:
        pytest.skip("GANCLI_DATA does not say where the real data sets lie")
    return Path(REAL_DATA)
