"""The ways an operation can run here: the torch path, and the native kernels of each instruction set."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from gancli.ops import native

ROOT = Path(__file__).parents[2]


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


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns what compiles csrc/tests/cuda_NAME_check.cpp, which runs CUDA kernels in an emulated block of threads."""
    folder = tmp_path_factory.mktemp("emulated")

    def build(name: str) -> Path:
        compiler = os.environ.get("CXX") or shutil.which("c++")
        source, program = ROOT / f"csrc/tests/cuda_{name}_check.cpp", folder / name
        if compiler is None or not source.exists():
            pytest.skip("needs a C++17 compiler and the source tree")
        if not program.exists():
            flags = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", f"-I{ROOT / 'csrc'}"]
            subprocess.run([compiler, *flags, str(source), "-o", str(program)], check=True)
        return program

    return build


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
