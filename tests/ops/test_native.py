"""The loader of the native modules: what is built, which backend is chosen, which instruction set."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gancli.errors import UsageError
from gancli.ops import native, parzen_log_sum_exp


def choose(backend: str, *, supported: bool = True, operation: str = "operate") -> object:
    return native.choose(
        backend, operation=operation, device_type="cpu", supported=supported, why_not="it computes in float32"
    )


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    module = SimpleNamespace(operate=lambda: None)
    monkeypatch.setattr(native, "load", lambda name: (module, ""))
    return module


@pytest.fixture
def not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "load", lambda name: (None, "to get it, install a compiler"))


@pytest.mark.parametrize("backend", ["auto", "native"])
def test_choose_takes_the_native_module_where_it_can_serve(built: SimpleNamespace, backend: str) -> None:
    assert choose(backend) is built


def test_choose_takes_torch_when_told_so(built: SimpleNamespace) -> None:
    assert choose("torch") is None


@pytest.mark.parametrize(
    ("supported", "operation", "message"),
    [
        (False, "operate", "it computes in float32"),
        (True, "missing", "the module has no missing; rebuild it"),
    ],
)
def test_choose_never_falls_back_from_native_in_silence(
    built: SimpleNamespace, supported: bool, operation: str, message: str
) -> None:
    assert choose("auto", supported=supported, operation=operation) is None
    with pytest.raises(UsageError, match=message):
        choose("native", supported=supported, operation=operation)


def test_choose_says_how_to_get_the_module(not_built: None) -> None:
    assert choose("auto") is None
    with pytest.raises(UsageError, match="install a compiler"):
        choose("native")


@pytest.mark.parametrize(("argument", "variable"), [("cuda", None), ("auto", "fast"), ("", None)])
def test_an_unknown_backend_is_named(monkeypatch: pytest.MonkeyPatch, argument: str, variable: str | None) -> None:
    if variable is not None:
        monkeypatch.setenv("GANCLI_BACKEND", variable)
    with pytest.raises(UsageError, match=r"expected one of auto, torch, native"):
        native.requested_backend(argument)


def test_the_argument_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANCLI_BACKEND", "native")
    assert native.requested_backend("torch") == "torch"
    assert native.requested_backend("auto") == "native"


def test_a_module_that_is_not_there_is_explained() -> None:
    module, reason = native.load("_nowhere")
    assert module is None
    assert "install" in reason


def test_the_widest_instruction_set_is_the_default(native_route, monkeypatch: pytest.MonkeyPatch) -> None:
    module, _ = native.load("_cpu")
    assert module is not None
    assert native.cpu_isa(module) == native_route.isa
    monkeypatch.delenv("GANCLI_CPU_ISA")
    assert native.cpu_isa(module) == module.instruction_sets()[0]
    assert module.instruction_sets()[-1] == "baseline"


@pytest.mark.parametrize("name", ["sse9", "AVX2", "neon"])
def test_an_unknown_instruction_set_is_an_error(native_route, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("GANCLI_CPU_ISA", name)
    with pytest.raises(
        UsageError, match=f"GANCLI_CPU_ISA is '{name}', expected one that this machine runs: .*baseline"
    ):
        parzen_log_sum_exp(torch.rand(2, 2), torch.rand(2, 2), [1.0])
    module, _ = native.load("_cpu")
    assert module is not None
    with pytest.raises(ValueError, match="choose from"):
        module.fma_peak(threads=1, seconds=0.0, isa=name)


def test_describe_cpu_tells_what_info_prints(native_route) -> None:
    described = native.describe_cpu()
    assert described["built"] is True
    assert described["isa"] == native_route.isa
    assert described["threads"] == torch.get_num_threads()


def test_describe_cpu_tells_why_there_is_no_module(not_built: None) -> None:
    described = native.describe_cpu()
    assert described["built"] is False
    assert described["isa"] is None
    assert "install a compiler" in described["reason"]


def test_the_limits_of_the_machine_are_measured(native_route) -> None:
    module, _ = native.load("_cpu")
    assert module is not None
    assert module.fma_peak(threads=2, seconds=0.01, isa=native_route.isa) > 1e8
    data = torch.rand(1 << 20)
    assert module.read_bandwidth(data.data_ptr(), data.numel(), threads=2, isa=native_route.isa) > 1e7


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_module_shares_the_thread_pool_of_torch(native_route) -> None:
    module, _ = native.load("_cpu")
    assert module is not None
    if not module.openmp:
        pytest.skip("the module was built without OpenMP")
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libgomp" in line}
    assert len(mapped) == 1
