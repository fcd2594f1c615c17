"""The loader of the native modules: what is built, which backend is chosen, which instruction set."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gancli.errors import InputError, UsageError
from gancli.ops import dense, maxout, native, parzen_log_sum_exp


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


def test_choose_leaves_other_devices_to_torch(built: SimpleNamespace) -> None:
    given = {"operation": "operate", "device_type": "mps", "supported": True, "why_not": "it computes in float32"}
    assert native.choose("auto", **given) is None
    with pytest.raises(UsageError, match="cannot run operate on mps: there are no kernels for mps"):
        native.choose("native", **given)


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


class FakeModule(SimpleNamespace):
    """What the CUDA module says of itself and of the GPU."""

    def __init__(self, *, driver: int = 13000, shared: int = 232448) -> None:
        super().__init__(
            COMPILED_VERSION=13000,
            SHARED_MEMORY_NEEDED=110592,
            archs=lambda: ["sm_90"],
            driver_version=lambda: driver,
            shared_memory_allowed=lambda device: shared,
        )


@pytest.mark.parametrize(
    ("module", "capability", "reason"),
    [
        (FakeModule(), (9, 0), None),
        (FakeModule(shared=166912), (8, 0), None),
        (FakeModule(driver=12080), (9, 0), "compiled with CUDA 13, the driver serves CUDA 12: update the driver"),
        (FakeModule(shared=98304), (7, 0), r"compute capability 7.0, the kernels need 8.0"),
        (FakeModule(shared=101376), (8, 6), "gives a block 101,376 bytes of shared memory, the kernels need 110,592"),
        (FakeModule(shared=101376), (12, 0), "gives a block 101,376 bytes"),
    ],
)
def test_a_gpu_or_driver_that_the_kernels_do_not_fit_is_explained(
    monkeypatch: pytest.MonkeyPatch, module: FakeModule, capability: tuple[int, int], reason: str | None
) -> None:
    monkeypatch.setattr(native, "load", lambda name: (module, ""))
    monkeypatch.setattr(native, "cuda_problem", native.cuda_problem.__wrapped__)  # nothing is kept
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    state = native.describe_cuda()
    assert state["usable"] is (reason is None)
    assert re.search(reason, state["reason"]) if reason else state["reason"] is None


def test_the_cuda_module_says_what_it_needs() -> None:
    module, reason = native.load("_cuda")
    if module is None:
        pytest.skip(reason)
    assert module.SHARED_MEMORY_NEEDED == 110592  # three stages of 256 rows of 144 bytes
    assert module.COMPILED_VERSION // 1000 >= 11
    assert module.driver_version() >= 0


@pytest.mark.parametrize("layer", ["maxout", "dense"])
def test_tensors_on_two_devices_are_refused(layer: str) -> None:
    weight, bias = ((2, 3, 4), (2, 3)) if layer == "maxout" else ((2, 4), (2,))
    apply = {"maxout": maxout, "dense": dense}[layer]
    with pytest.raises(InputError, match="x, weight, bias must be on one device, got cpu, meta, cpu"):
        apply(torch.zeros(5, 4), torch.zeros(weight, device="meta"), torch.zeros(bias))
