"""The CUDA Parzen kernel: on the CPU in an emulated block of threads, and on a GPU where there is one."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gancli.data.registry import load
from gancli.errors import InputError, UsageError
from gancli.ops import native, parzen_log_sum_exp

SIGMAS = [0.1, 0.2, 0.5, 1.0]
BOUND = 1e-3  # nats, at σ ≥ 0.1 and d = 784


def exact(x: Tensor, samples: Tensor, sigmas: list[float], device: torch.device | str = "cpu") -> Tensor:
    """The formula in float64, from explicit differences; a GPU works it out a hundred times as fast."""
    points, centres = x.to(device).double(), samples.to(device).double()
    squared = torch.stack([(point - centres).square().sum(dim=1) for point in points])
    return torch.stack([torch.logsumexp(-squared / (2 * sigma**2), dim=1) for sigma in sigmas]).cpu()


def image_sized(kind: str, m: int, n: int, real_data: Path | None) -> tuple[Tensor, Tensor]:
    """Points and samples of d = 784 in [0, 1]."""
    if kind == "mnist":
        assert real_data is not None
        digits = load("mnist", str(real_data)).train.flatten(1) / 255
        return digits[:m], digits[1000 : 1000 + n]
    samples = torch.rand(n, 784)
    if kind == "binary":
        samples = (samples < 0.5).float()
    if kind == "random":
        return torch.rand(m, 784), samples
    near = samples[torch.arange(m) % n]
    return (near + 0.02 * torch.randn(m, 784) if kind == "near" else (near - 0.5) * 0.9 + 0.5), samples


# ---- the kernels themselves, emulated --------------------------------------------------------------------------------


def test_parzen_cuda_kernels_pass_their_self_test_in_emulation(emulated: Callable[[str], Path]) -> None:
    done = subprocess.run([str(emulated("parzen"))], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("kind", ["random", "near", "mnist"])
def test_parzen_cuda_split_keeps_the_bound_in_emulation(
    emulated: Callable[[str], Path], kind: str, offset: float, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    real_data = request.getfixturevalue("real_data") if kind == "mnist" else None
    x, samples = image_sized(kind, 12, 120, real_data)
    x, samples = x + offset, samples + offset
    torch.cat([x, samples]).numpy().tofile(tmp_path / "rows")
    shape = [str(len(x)), str(len(samples)), "784"]
    done = subprocess.run(
        [str(emulated("parzen")), "score", str(tmp_path / "rows"), *shape, *map(str, SIGMAS)],
        capture_output=True,
        check=True,
    )
    actual = torch.frombuffer(bytearray(done.stdout), dtype=torch.float32).view(len(SIGMAS), len(x))
    assert (actual.double() - exact(x, samples, SIGMAS)).abs().max() <= BOUND


# ---- dispatch --------------------------------------------------------------------------------------------------------


def test_parzen_operator_has_a_cuda_kernel() -> None:
    # The name is there whether or not this torch has CUDA; running it is for the tests below.
    assert torch._C._dispatch_has_kernel_for_dispatch_key("gancli::parzen_log_sum_exp", "CUDA")


def test_parzen_cuda_product_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert native.cuda_product() == "split"
    monkeypatch.setenv("GANCLI_CUDA_PRODUCT", "float32")
    assert native.cuda_product() == "float32"
    monkeypatch.setenv("GANCLI_CUDA_PRODUCT", "tf32")
    with pytest.raises(UsageError, match="expected one of split, float32"):
        native.cuda_product()


# ---- on a GPU --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=native.CUDA_PRODUCTS)
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, cuda: torch.device) -> torch.device:
    monkeypatch.setenv("GANCLI_CUDA_PRODUCT", request.param)
    return cuda


def check(x: Tensor, samples: Tensor, sigmas: list[float], *, score: float = 8e-6) -> None:
    """Compare the kernel with the formula; `score` is the allowed error of a half squared distance."""
    actual = parzen_log_sum_exp(x.cuda(), samples.cuda(), sigmas, backend="native").cpu().double()
    expected = exact(x, samples, sigmas, "cuda")
    # A float32 result, the exponential and its sum, and what a score is off by over σ².
    limit = 1.2e-7 * expected.abs() + 3e-6 + score / torch.tensor(sigmas, dtype=torch.float64)[:, None].square()
    assert torch.isfinite(actual).all()
    assert ((actual - expected).abs() <= limit).all(), ((actual - expected).abs() / limit).max()


@pytest.mark.cuda
@pytest.mark.parametrize("offset", [0.0, -3.0, 1000.0])
@pytest.mark.parametrize("kind", ["random", "near", "binary", "mnist"])
def test_parzen_on_a_gpu_keeps_a_thousandth_of_a_nat(
    gpu: torch.device, kind: str, offset: float, request: pytest.FixtureRequest
) -> None:
    real_data = request.getfixturevalue("real_data") if kind == "mnist" else None
    x, samples = image_sized(kind, 300, 1500, real_data)
    x, samples = x + offset, samples + offset
    actual = parzen_log_sum_exp(x.to(gpu), samples.to(gpu), SIGMAS, backend="native").cpu()
    assert (actual.double() - exact(x, samples, SIGMAS, gpu)).abs().max() <= BOUND


@pytest.mark.cuda
@pytest.mark.parametrize(
    ("m", "n", "d"),
    [
        *((m, 200, 5) for m in (1, 2, 127, 128, 129, 300)),
        *((5, n, 6) for n in (1, 31, 32, 63, 64, 65, 127, 128, 129, 257, 5000)),
        *((6, 17, d) for d in (1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 129, 784)),
        (2500, 20, 40),
        (20, 50_000, 40),
    ],
)
def test_parzen_on_a_gpu_agrees_with_the_formula_at_the_edges_of_tiles(
    gpu: torch.device, m: int, n: int, d: int
) -> None:
    check(torch.rand(m, d), torch.rand(n, d), [0.1, 0.5, 3.0])


@pytest.mark.cuda
def test_parzen_on_a_gpu_works_through_chunks_of_points_and_samples(gpu: torch.device) -> None:
    # Rows of d = 9,000 fill the packed chunks with 1,392 points and 2,784 samples.
    x, samples = torch.rand(3000, 9000), torch.rand(6000, 9000)
    whole = parzen_log_sum_exp(x.to(gpu), samples.to(gpu), [3.0, 10.0], backend="native").cpu()
    few = torch.arange(0, 3000, 100)
    assert (whole[:, few].double() - exact(x[few], samples, [3.0, 10.0], gpu)).abs().max() <= BOUND


@pytest.mark.cuda
def test_parzen_on_a_gpu_takes_more_sigmas_than_a_pass_holds(gpu: torch.device) -> None:
    check(torch.rand(37, 20), torch.rand(150, 20), [0.1 * 1.04**i for i in range(130)])


@pytest.mark.cuda
def test_parzen_on_a_gpu_reads_any_strides(gpu: torch.device) -> None:
    x, samples = torch.rand(35, 150, device=gpu), torch.rand(300, 150, device=gpu)
    expected = parzen_log_sum_exp(x, samples, [0.5], backend="native")
    for strided in (
        lambda t: t.T.contiguous().T,
        lambda t: t.repeat_interleave(2, dim=0)[::2],
        lambda t: t.repeat_interleave(3, dim=1)[:, ::3],
        lambda t: torch.nn.functional.pad(t, (3, 5))[:, 3:-5],
    ):
        assert torch.equal(parzen_log_sum_exp(strided(x), strided(samples), [0.5], backend="native"), expected)
    one = parzen_log_sum_exp(x, samples[:1], [1.0], backend="native")
    many = parzen_log_sum_exp(x, samples[:1].expand(64, 150), [1.0], backend="native")
    torch.testing.assert_close(many, one + math.log(64), rtol=1e-6, atol=1e-5)


@pytest.mark.cuda
def test_parzen_on_a_gpu_repeats_itself_bit_for_bit(gpu: torch.device) -> None:
    x, samples = torch.rand(1000, 784, device=gpu), torch.rand(5000, 784, device=gpu)
    first = parzen_log_sum_exp(x, samples, SIGMAS, backend="native")
    for _ in range(3):
        assert torch.equal(parzen_log_sum_exp(x, samples, SIGMAS, backend="native"), first)


@pytest.mark.cuda
def test_parzen_on_a_gpu_runs_on_the_current_stream(gpu: torch.device) -> None:
    x, samples = torch.rand(200, 784, device=gpu), torch.rand(500, 784, device=gpu)
    expected = parzen_log_sum_exp(x + 1, samples + 1, [0.5], backend="native")
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # what follows on this stream waits; on another it would read too early
        later, moved = x + 1, samples + 1
        actual = parzen_log_sum_exp(later, moved, [0.5], backend="native")
    stream.synchronize()
    assert torch.equal(actual, expected)


@pytest.mark.cuda
def test_parzen_on_a_gpu_stays_finite_where_terms_underflow_or_sigmas_are_extreme(gpu: torch.device) -> None:
    x = torch.tensor([[1e4, -1e4], [3.0, 4.0]], device=gpu)
    actual = parzen_log_sum_exp(x, torch.zeros(5, 2, device=gpu), [1e-2, 1e-3], backend="native").cpu()
    expected = torch.tensor([[-1e12, -125000.0], [-1e14, -12500000.0]], dtype=torch.float64) + math.log(5)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=0)
    x, samples = torch.rand(200, 3, device=gpu), torch.rand(500, 3, device=gpu)
    for sigma in (1e-18, 1e-10, 1e-4, 1e10, 1e18):
        assert torch.isfinite(parzen_log_sum_exp(x, samples, [sigma], backend="native")).all()


@pytest.mark.cuda
def test_parzen_on_a_gpu_refuses_what_is_not_finite(gpu: torch.device) -> None:
    ok = torch.rand(400, 3, device=gpu)
    bad, far = ok.clone(), ok.clone()
    bad[317, 2] = math.nan
    bad[320, 0] = math.inf
    far[3] *= 1e25
    for x, samples, message in (
        (bad, ok, "x holds nan in row 317"),
        (ok, bad, "samples holds nan in row 317"),
        (ok, torch.full((1, 3), math.nan, device=gpu), "samples holds nan in row 0"),
        (far, ok, "x holds a row so far"),
        (ok, far, "overflow float32"),
    ):
        with pytest.raises(InputError, match=message):
            parzen_log_sum_exp(x, samples, [1.0], backend="native")


@pytest.mark.cuda
def test_parzen_on_a_gpu_of_nothing_is_empty(gpu: torch.device) -> None:
    some, none = torch.rand(4, 3, device=gpu), torch.empty(0, 3, device=gpu)
    assert parzen_log_sum_exp(none, some, [1.0, 2.0], backend="native").shape == (2, 0)
    assert parzen_log_sum_exp(some, some, [], backend="native").shape == (0, 4)


@pytest.mark.cuda
def test_parzen_on_a_gpu_needs_less_than_256_mib(gpu: torch.device) -> None:
    x, samples = torch.rand(40_000, 784, device=gpu), torch.rand(60_000, 784, device=gpu)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = parzen_log_sum_exp(x, samples, SIGMAS, backend="native")
    assert torch.cuda.max_memory_allocated() - before - result.nbytes < 256 * 2**20


@pytest.mark.cuda
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # opcheck itself, torch 2.15
def test_parzen_on_a_gpu_passes_opcheck(gpu: torch.device) -> None:
    arguments = (torch.rand(5, 7, device=gpu), torch.rand(9, 7, device=gpu), torch.tensor([0.5, 1.0]).double())
    torch.library.opcheck(torch.ops.gancli.parzen_log_sum_exp.default, arguments)


@pytest.mark.cuda
def test_parzen_on_a_gpu_agrees_with_the_cpu(gpu: torch.device) -> None:
    x, samples = torch.rand(100, 784), torch.rand(3000, 784)
    cpu = parzen_log_sum_exp(x, samples, SIGMAS)
    there = parzen_log_sum_exp(x.to(gpu), samples.to(gpu), SIGMAS, backend="native").cpu()
    torch.testing.assert_close(there, cpu, rtol=0, atol=BOUND)
    by_torch = parzen_log_sum_exp(x.to(gpu), samples.to(gpu), SIGMAS, backend="torch").cpu()
    torch.testing.assert_close(by_torch, cpu, rtol=0, atol=2 * BOUND)
