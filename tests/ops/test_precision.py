"""TF32: never where rounding is bounded, and the user's setting stays the user's."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from gancli.ops import distances, parzen, precision

CHOICES = {
    "default": "pass",
    "allow_tf32": "matmul.allow_tf32 = True",
    "high": "torch.set_float32_matmul_precision('high')",
    "medium": "torch.set_float32_matmul_precision('medium')",
    "fp32_precision": "matmul.fp32_precision = 'tf32'",
    "fp32_precision everywhere": "torch.backends.fp32_precision = 'tf32'",
}
# torch's settings are the process's and may not be mixed, so that every choice has a process of its own.
SCRIPT = """
import torch
from gancli.ops.precision import repeatable_convolutions, tf32_allowed, full_precision

matmul = torch.backends.cuda.matmul

def settings():
    found = []
    for ask in (lambda: matmul.allow_tf32, torch.get_float32_matmul_precision, lambda: matmul.fp32_precision,
                lambda: torch.backends.mkldnn.matmul.fp32_precision):
        try:
            found.append(ask())
        except (RuntimeError, AttributeError) as error:
            found.append(type(error))
    return found

{choice}
before = settings()
assert tf32_allowed() is {allowed}
with full_precision(torch.device("cpu")):
    if hasattr(torch.backends.mkldnn, "matmul"):
        assert torch.backends.mkldnn.matmul.fp32_precision in ("ieee", "none")
    else:
        assert torch.get_float32_matmul_precision() != "medium"
assert settings() == before, (before, settings())
try:
    with full_precision(torch.device("cuda")):
        assert matmul.allow_tf32 is False
        assert tf32_allowed() is False
        assert getattr(matmul, "fp32_precision", "ieee") in ("ieee", "none")
        raise KeyError
except KeyError:
    pass
assert settings() == before, (before, settings())
"""


@pytest.mark.parametrize("choice", CHOICES.values(), ids=list(CHOICES))
def test_tf32_is_off_inside_and_as_before_outside(choice: str) -> None:
    if "fp32_precision" in choice and not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("this torch has no fp32_precision")
    script = SCRIPT.format(choice=choice, allowed=choice != "pass")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_products_of_distances_are_taken_in_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.device] = []
    original = precision.full_precision
    for module in (parzen, distances):
        monkeypatch.setattr(module, "full_precision", lambda device: (asked.append(device), original(device))[1])
    x = torch.rand(3, 20)
    parzen.parzen_log_sum_exp(x, x, [1.0], backend="torch")
    assert len(asked) == 1
    distances.nearest_squared_distances(x, x, 1)  # one tile
    assert asked == [x.device] * 2


@pytest.mark.parametrize("before", [False, True])
def test_convolutions_repeat_themselves_on_a_gpu_while_training_and_are_as_before_afterwards(
    monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", before)
    for device in ("cpu", "cuda"):
        with precision.repeatable_convolutions(torch.device(device)):
            assert torch.backends.cudnn.deterministic == (before or device == "cuda")
        assert torch.backends.cudnn.deterministic == before
