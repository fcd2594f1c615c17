"""The one place that knows the native modules: are they built, may they be used, and if not, why.

`gancli._cpu` and `gancli._cuda` take pointers, sizes and strides; nothing outside `gancli.ops` imports them.
"""

from __future__ import annotations

import functools
import importlib
import os
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

from gancli.errors import UsageError

Backend = Literal["auto", "torch", "native"]
BACKENDS: tuple[Backend, ...] = ("auto", "torch", "native")
LEAST_CAPABILITY = (8, 0)  # asynchronous copies, the kernels' matrix fragments
# The operations that have a CUDA kernel; on a GPU torch serves the others.
CUDA_OPERATIONS = ("maxout_forward", "maxout_pool_forward", "momentum_update", "parzen_log_sum_exp")
_DISTINGUISHING = {"dense": "count_nonzeros"}  # operations that have no function of their own name
CUDA_PRODUCTS = ("split", "float32")


@functools.cache
def load(name: str) -> tuple[ModuleType | None, str]:
    """Import the native module `gancli.<name>` once.

    Args:
        name: "_cpu" or "_cuda".

    Returns:
        The module and an empty string, or None and one line that says what is missing and how to get it.
    """
    importlib.import_module("torch")  # first: a module linked with OpenMP then shares torch's thread pool
    try:
        return importlib.import_module(f"gancli.{name}"), ""
    except ModuleNotFoundError:
        needed = "CUDA's compiler nvcc" if name == "_cuda" else "a C++17 compiler"
        return None, f"to get it, install {needed} and run: pip install --force-reinstall --no-deps ."
    except ImportError as error:
        return None, f"it was built but does not load: {error}"


def requested_backend(backend: str) -> Backend:
    """Resolve `backend="auto"` against GANCLI_BACKEND.

    Raises:
        UsageError: the name is not one of auto, torch, native.
    """
    source = "backend"
    if backend == "auto":
        backend, source = os.environ.get("GANCLI_BACKEND", "auto"), "GANCLI_BACKEND"
    for known in BACKENDS:
        if backend == known:
            return known
    raise UsageError(f"{source} is {backend!r}, expected one of {', '.join(BACKENDS)}.")


def choose(backend: str, *, operation: str, device_type: str, supported: bool, why_not: str) -> ModuleType | None:
    """Choose the module that runs `operation`; None means the torch path.

    Args:
        backend: "auto", "torch" or "native"; "auto" defers to GANCLI_BACKEND.
        operation: the function that the native module must have; "dense" stands for that which only dense layers need.
        device_type: where the tensors are; there are kernels for "cpu" and "cuda".
        supported: whether the native kernel takes these inputs (dtype, sizes).
        why_not: if it does not, the reason in words.

    Returns:
        The native module, or None for the torch path.

    Raises:
        UsageError: backend="native" was asked for and cannot serve; there is no silent fall-back.
    """
    wanted = requested_backend(backend)
    if wanted == "torch":
        return None
    module, reason = _module_for(operation, device_type)
    if module is not None and supported:
        return module
    if wanted == "native":
        raise UsageError(
            f"backend 'native' cannot run {operation} on {device_type}: {reason or why_not}. "
            "Use backend 'auto' (--backend auto), where torch serves what the kernels do not."
        )
    return None


def _module_for(operation: str, device_type: str) -> tuple[ModuleType | None, str]:
    """Return the module that has a kernel for `operation` and runs here, or None and why there is none."""
    if device_type not in ("cpu", "cuda"):
        return None, f"there are no kernels for {device_type}"
    if device_type == "cuda":
        if operation not in CUDA_OPERATIONS:
            return None, f"there is no CUDA kernel for {operation}"
        if problem := cuda_problem():
            return None, problem
    module, reason = load("_cuda" if device_type == "cuda" else "_cpu")
    if module is not None and not hasattr(module, _DISTINGUISHING.get(operation, operation)):
        return None, f"the module has no {operation}; rebuild it from this source tree"
    return module, reason


def plain(*tensors: Tensor) -> bool:
    """Say whether a kernel may be given the addresses of these tensors: they lie in memory, and nothing watches.

    torch.compile, fakes and other subclasses, and modes that watch every operation see operators that torch knows.
    """
    return (
        not torch.compiler.is_compiling()
        and torch._C._len_torch_dispatch_stack() == 0
        and all(type(tensor) in (Tensor, torch.nn.Parameter) for tensor in tensors)
        and not transformed()
    )


def transformed() -> bool:
    """Say whether torch.func (grad, vmap, jvp) transforms what is computed here, which it can torch's own operators."""
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()


def settled(condition: bool) -> bool:
    """Return a condition on sizes as True or False; torch.compile, for which sizes are symbols, then guards it."""
    return True if condition else False  # noqa: SIM210  (a branch, which bool() is not to the compiler)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def chosen(backend: str, operation: str, device_type: str, supported: bool, why_not: str) -> bool:
    """Say whether `choose` chooses the native module; torch.compile asks once and takes the answer as given."""
    return (
        choose(backend, operation=operation, device_type=device_type, supported=supported, why_not=why_not) is not None
    )


@functools.cache
def torch_multiplies_fast() -> bool:
    """Say whether torch's own matrix product runs near this CPU's arithmetic peak: MKL on an Intel CPU."""
    module, _ = load("_cpu")
    return module is None or (torch.backends.mkl.is_available() and bool(module.intel))


def require(name: str, operation: str) -> ModuleType:
    """Return the native module, for an operator that was called without asking `choose` first.

    Raises:
        UsageError: it is missing.
    """
    module, reason = load(name)
    if module is None:
        raise UsageError(f"{operation} has no native module: {reason}.")
    return module


@functools.cache
def cuda_problem() -> str:
    """Return why the CUDA kernels cannot run here, on every visible GPU; an empty string where they can."""
    module, reason = load("_cuda")
    if module is None:
        return reason
    if not torch.cuda.is_available():
        return f"torch {torch.__version__} sees no CUDA device"
    driver, compiled = module.driver_version() // 1000, module.COMPILED_VERSION // 1000
    if driver < compiled:
        return f"the module was compiled with CUDA {compiled}, the driver serves CUDA {driver}: update the driver"
    for device in range(torch.cuda.device_count()):
        gpu = f"GPU {device} ({torch.cuda.get_device_name(device)})"
        capability = torch.cuda.get_device_capability(device)
        if capability < LEAST_CAPABILITY:
            return f"{gpu} has compute capability {_version(capability)}, the kernels need {_version(LEAST_CAPABILITY)}"
        allowed, needed = module.shared_memory_allowed(device), module.SHARED_MEMORY_NEEDED
        if allowed < needed:  # compute capabilities 8.6, 8.9 and 12
            return f"{gpu} gives a block {allowed:,} bytes of shared memory, the kernels need {needed:,}"
    return ""


def _version(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def address(tensor: Tensor | None) -> int:
    """Return where the numbers lie, 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()


def cpu_isa(module: ModuleType) -> str:
    """Return the instruction set that the CPU kernels use: GANCLI_CPU_ISA, or else the widest that this CPU runs.

    Raises:
        UsageError: GANCLI_CPU_ISA names one that is unknown, or that this build or this CPU has not.
    """
    available: list[str] = module.instruction_sets()
    wanted = os.environ.get("GANCLI_CPU_ISA", "") or available[0]
    if wanted not in available:
        raise UsageError(f"GANCLI_CPU_ISA is {wanted!r}, expected one that this machine runs: {', '.join(available)}.")
    return wanted


def cuda_product() -> str:
    """Return how the CUDA kernels multiply: GANCLI_CUDA_PRODUCT, or else "split", tensor cores at float32 accuracy.

    Raises:
        UsageError: GANCLI_CUDA_PRODUCT is neither split nor float32.
    """
    wanted = os.environ.get("GANCLI_CUDA_PRODUCT", "") or CUDA_PRODUCTS[0]
    if wanted not in CUDA_PRODUCTS:
        raise UsageError(f"GANCLI_CUDA_PRODUCT is {wanted!r}, expected one of {', '.join(CUDA_PRODUCTS)}.")
    return wanted


def describe_cpu() -> dict[str, Any]:
    """Return what `gancli info` says about the CPU module: built, isa, threads, reason."""
    import torch

    module, reason = load("_cpu")
    isa, threads = None, torch.get_num_threads()
    if module is not None:
        isa = cpu_isa(module)
        if not module.openmp:
            reason = "the compiler had no OpenMP: the native kernels run on one thread"
    return {"built": module is not None, "isa": isa, "threads": threads, "reason": reason or None}


def describe_cuda() -> dict[str, Any]:
    """Return what `gancli info` says about the CUDA module: built, archs, usable, reason."""
    module, _ = load("_cuda")
    archs = list(module.archs()) if module is not None else None
    problem = cuda_problem()
    return {"built": module is not None, "archs": archs, "usable": not problem, "reason": problem or None}
