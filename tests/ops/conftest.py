"""The ways an operation can run here: the torch path, and the native kernels of each instruction set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch

from gancli.ops import native


@dataclass(frozen=True)
class Route:
    """One way to run an operation; `backend` is what the public function takes."""

    name: str
    backend: str
    isa: str | None = None


ROUTES = [
    Route("torch", "torch"),
    *(Route(f"native-{isa}", "native", isa) for isa in ("avx512", "avx2", "baseline")),
]


def enter(route: Route, monkeypatch: pytest.MonkeyPatch) -> Route:
    """Set the environment for `route`, or skip where this machine has no such way."""
    if route.isa is not None:
        module, reason = native.load("_cpu")
        if module is None:
            pytest.skip(f"native module: {reason}")
        if route.isa not in module.instruction_sets():
            pytest.skip(f"this CPU does not run {route.isa}")
        monkeypatch.setenv("GANCLI_CPU_ISA", route.isa)
    return route


@pytest.fixture
def cuda() -> torch.device:
    """The GPU; on a machine that has one, kernels that cannot be used there are a failure."""
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    state = native.describe_cuda()
    if not state["usable"]:
        pytest.fail(f"the CUDA kernels cannot be used: {state['reason']}")
    return torch.device("cuda")


@pytest.fixture
def tf32() -> Iterator[None]:
    """Let torch's products run in TF32; monkeypatch cannot, since torch keeps the setting in no attribute."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.fixture(params=ROUTES, ids=lambda route: route.name)
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Route:
    return enter(request.param, monkeypatch)


@pytest.fixture(params=[route for route in ROUTES if route.isa], ids=lambda route: route.name)
def native_route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Route:
    return enter(request.param, monkeypatch)
