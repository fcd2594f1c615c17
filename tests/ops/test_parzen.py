"""The Parzen log-sum-exp on every route: the formula in float64, closed forms, hand-worked tables, identities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gancli.errors import InputError, UsageError
from gancli.ops import native, parzen_log_likelihood, parzen_log_sum_exp, parzen_log_sum_exp_reference

# How far a result in nats may be from the float64 formula: (score + columns · d) / σ² + relative · |L| + absolute.
#   score     error of a half squared distance for centred data in [0, 1]: what does not grow with d.
#   columns   and what does. A scalar product of two such rows is near d/12 where they are alike, and is off by 8e-8 of
#             that (root mean square); six times as much is allowed, 3e-5 at d = 784. The worst of 13,500 copies was
#             2.5e-5 there and 3.4e-5 at d = 1212, natively; 9e-6 and 1.6e-5 in torch.
#             Both compute the nearest distance once more, where an error would weigh most.
#   relative  the result is a float32: half a unit in the last place, and as much again for the subtraction before.
#   absolute  the exponential (1e-7) and the sum of its terms.
TOLERANCE = {
    "native": {"score": 8e-6, "columns": 4e-8, "relative": 1.2e-7, "absolute": 1e-6},
    "torch": {"score": 8e-6, "columns": 4e-8, "relative": 1.2e-7, "absolute": 3e-6},
}


def exact(x: Tensor, samples: Tensor, sigmas: list[float]) -> Tensor:
    """The formula in NumPy's float64, from explicit differences, one point at a time."""
    points, centres = x.double().numpy(), samples.double().numpy()
    out = np.empty((len(sigmas), len(points)))
    for i, point in enumerate(points):
        squared = ((point - centres) ** 2).sum(axis=1)
        for s, sigma in enumerate(sigmas):
            exponents = -squared / (2 * sigma**2)
            out[s, i] = exponents.max() + np.log(np.exp(exponents - exponents.max()).sum())
    return torch.from_numpy(out)


def assert_close(actual: Tensor, expected: Tensor, sigmas: list[float], backend: str, *, d: int) -> None:
    allowed = TOLERANCE[backend]
    assert actual.shape == expected.shape
    assert torch.isfinite(actual).all()
    limit = (
        (allowed["score"] + allowed["columns"] * d) / torch.tensor(sigmas, dtype=torch.float64)[:, None].square()
        + allowed["relative"] * expected.abs()
        + allowed["absolute"]
    )
    excess = (actual.double() - expected).abs() / limit
    if excess.numel() and excess.max() > 1:
        s, i = divmod(int(excess.argmax()), excess.shape[1])
        pytest.fail(
            f"sigma {sigmas[s]}, point {i}: expected {expected[s, i].item()}, got {actual[s, i].item()}, "
            f"{excess[s, i].item():.1f} times the tolerance"
        )


def check(x: Tensor, samples: Tensor, sigmas: list[float], backend: str) -> None:
    actual, expected = parzen_log_sum_exp(x, samples, sigmas, backend=backend), exact(x, samples, sigmas)
    assert_close(actual, expected, sigmas, backend, d=x.shape[1])


# ---- against the formula ---------------------------------------------------------------------------------------------

# One less, exactly and one more than a vector, a tile, a slab, on each instruction set: lanes 8, 16, 32 for m; rows 4,
# 6, 14 for n; columns 4, 16, 128 for d.
EDGES = [
    *((m, 9, 5) for m in (1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 100)),
    *((5, n, 6) for n in (1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15, 16, 18, 19, 27, 28, 29, 43)),
    *((6, 17, d) for d in (1, 2, 3, 4, 5, 15, 16, 17, 31, 33, 63, 64, 65, 112, 127, 128, 129, 144, 145, 257, 400)),
    *((17, 15, d) for d in (1, 16, 129)),
    (33, 29, 130),
    (65, 43, 17),
]


@pytest.mark.parametrize(("m", "n", "d"), EDGES)
def test_parzen_agrees_with_the_formula_at_the_edges_of_tiles(route, m: int, n: int, d: int) -> None:
    check(torch.rand(m, d), torch.rand(n, d), [0.1, 0.5, 3.0], route.backend)


# Few rows on one side (csrc/cpu/parzen_narrow.h): one less, exactly and one more than the rows that go together, a
# tile, a vector, a slab of 256, 512 or 1024 columns; and where the rows or the columns end it.
NARROW = [
    *((m, 3, 53) for m in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 70)),
    *((70, n, 530) for n in (1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 31, 32, 33)),
    *((m, 50, 530) for m in (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 14, 15, 16, 17, 20, 27, 28, 29, 32, 33)),
    *((6, n, 100) for n in (15, 16, 17, 31, 32, 33)),
    *((2, 9, d) for d in (31, 32, 33, 47, 48, 49, 255, 256, 257, 513, 1023, 1024, 1025, 1041, 2500)),
    *((9, 2, d) for d in (31, 32, 33, 47, 48, 49, 255, 256, 257, 513, 1023, 1024, 1025, 1041, 2500)),
]


@pytest.mark.parametrize(("m", "n", "d"), NARROW)
def test_parzen_agrees_with_the_formula_where_one_side_has_few_rows(route, m: int, n: int, d: int) -> None:
    check(torch.rand(m, d), torch.rand(n, d), [0.1, 0.5, 3.0], route.backend)


@pytest.mark.parametrize("n", [2043, 2044, 2045, 2047, 2048, 2049, 4087, 4096, 4097, 6001])
def test_parzen_agrees_with_the_formula_where_samples_fall_into_chunks(route, n: int) -> None:
    check(torch.rand(3, 4), torch.rand(n, 4), [0.05, 1.0], route.backend)
    check(torch.rand(3, 48), torch.rand(n, 48), [0.5, 2.0], route.backend)


@pytest.mark.parametrize(("m", "n"), [(70, 500), (20, 500), (70, 20)])
@pytest.mark.parametrize("offset", [0.0, -3.0, 1000.0])
@pytest.mark.parametrize("kind", ["apart", "near", "copies", "binary", "sparse"])
def test_parzen_keeps_a_thousandth_of_a_nat_on_image_sized_rows(
    route, kind: str, offset: float, m: int, n: int
) -> None:
    samples = torch.rand(n, 784)
    if kind in ("binary", "sparse"):
        samples = (samples < (0.5 if kind == "binary" else 0.1)).float()
    nearest = samples[torch.arange(m) % n]
    x = {
        "apart": torch.rand(m, 784),
        "near": nearest + 0.02 * torch.randn(m, 784),
        "copies": nearest,
        "binary": (nearest - 0.5) * 0.9 + 0.5,
        "sparse": nearest * 0.8,
    }[kind]
    x, samples = x + offset, samples + offset
    sigmas = [0.1, 0.2, 0.5, 1.0]
    check(x, samples, sigmas, route.backend)
    if route.backend == "native":
        error = parzen_log_sum_exp(x, samples, sigmas, backend="native").double() - exact(x, samples, sigmas)
        assert error.abs().max() <= 1e-3


@pytest.mark.parametrize("sigma", [1e-2, 1e-1, 1.0, 1e1, 1e2])
def test_parzen_agrees_with_the_formula_from_narrow_to_wide(route, sigma: float) -> None:
    check(torch.rand(40, 50), torch.rand(300, 50), [sigma], route.backend)
    check(torch.rand(3, 50), torch.rand(300, 50), [sigma], route.backend)
    check(torch.rand(300, 50), torch.rand(3, 50), [sigma], route.backend)


def test_parzen_gives_every_sigma_what_it_gives_one(route) -> None:
    x, samples = torch.rand(37, 20), torch.rand(150, 20)
    sigmas = [0.3 * 1.4**i for i in range(10)]
    together = parzen_log_sum_exp(x, samples, sigmas, backend=route.backend)
    for row, sigma in zip(together, sigmas, strict=True):
        alone = parzen_log_sum_exp(x, samples, [sigma], backend=route.backend)[0]
        torch.testing.assert_close(row, alone, rtol=1e-6, atol=1e-5)


def test_parzen_reference_is_the_formula() -> None:
    x, samples, sigmas = torch.rand(5, 3).double(), torch.rand(7, 3).double(), [0.2, 1.0]
    torch.testing.assert_close(parzen_log_sum_exp_reference(x, samples, sigmas), exact(x, samples, sigmas))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    m=st.integers(0, 70),
    n=st.integers(1, 90),
    d=st.integers(1, 150),
    sigmas=st.lists(st.floats(1e-2, 1e2), min_size=0, max_size=5),
    offset=st.sampled_from([0.0, 1.0, -1e3, 1e3]),
    copies=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_parzen_agrees_with_the_formula_on_anything(route, m, n, d, sigmas, offset, copies, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    samples = torch.rand(n, d, generator=generator) + offset
    x = torch.rand(m, d, generator=generator) + offset
    if copies:
        x[: min(m, n)] = samples[: min(m, n)]
    check(x, samples, sigmas, route.backend)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    few=st.integers(1, 32),
    many=st.integers(1, 90),
    columns=st.integers(0, 700),
    few_points=st.booleans(),
    sigmas=st.lists(st.floats(1e-2, 1e2), min_size=0, max_size=5),
    offset=st.sampled_from([0.0, 1.0, -1e3, 1e3]),
    copies=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_parzen_agrees_with_the_formula_on_anything_narrow(
    route, few, many, columns, few_points, sigmas, offset, copies, seed
) -> None:
    generator = torch.Generator().manual_seed(seed)
    d = 16 * few + columns
    x = torch.rand(few if few_points else many, d, generator=generator) + offset
    samples = torch.rand(many if few_points else few, d, generator=generator) + offset
    if copies:
        x[: min(few, many)] = samples[: min(few, many)]
    check(x, samples, sigmas, route.backend)


# ---- by another route ------------------------------------------------------------------------------------------------


def test_parzen_matches_a_table_worked_by_hand(route) -> None:
    x, samples = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [2.0]])
    expected = [
        # σ = 1: squared distances 0, 4; 1, 1; 9, 1.
        [math.log(1 + math.exp(-2)), math.log(2 * math.exp(-0.5)), math.log(math.exp(-4.5) + math.exp(-0.5))],
        # σ = ½: exponents are four times as large.
        [math.log(1 + math.exp(-8)), math.log(2 * math.exp(-2)), math.log(math.exp(-18) + math.exp(-2))],
    ]
    actual = parzen_log_sum_exp(x, samples, [1.0, 0.5], backend=route.backend)
    torch.testing.assert_close(actual, torch.tensor(expected), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("d", [1, 3, 40])
def test_parzen_of_one_sample_is_the_gaussian_log_density(route, d: int) -> None:
    x, mean, sigma = torch.randn(21, d), torch.randn(1, d), 0.7
    normal = torch.distributions.Normal(mean[0].double(), sigma)
    expected = normal.log_prob(x.double()).sum(dim=1)[None]
    actual = parzen_log_likelihood(x, mean, [sigma], backend=route.backend)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-6, atol=1e-5)


def test_parzen_of_a_copy_is_the_logarithm_of_how_many_there_are(route) -> None:
    # Centres so far apart for this σ that nothing else counts.
    centres, sigma = torch.rand(50, 784), 0.01 if route.backend == "native" else 0.05
    samples = centres.repeat(3, 1)
    actual = parzen_log_sum_exp(centres, samples, [sigma], backend=route.backend)
    tolerance = 1e-6 if route.backend == "native" else 1.5e-4 / sigma**2
    torch.testing.assert_close(actual, torch.full((1, 50), math.log(3)), rtol=0, atol=tolerance)


def test_parzen_does_not_depend_on_the_order_of_samples(route) -> None:
    x, samples = torch.rand(40, 30), torch.rand(2500, 30)
    shuffled = samples[torch.randperm(len(samples))]
    first = parzen_log_sum_exp(x, samples, [0.1, 1.0], backend=route.backend)
    second = parzen_log_sum_exp(x, shuffled, [0.1, 1.0], backend=route.backend)
    torch.testing.assert_close(first, second, rtol=1e-6, atol=2e-4)


def test_parzen_gains_log_two_when_every_sample_is_doubled(route) -> None:
    x, samples = torch.rand(40, 30), torch.rand(300, 30)
    once = parzen_log_sum_exp(x, samples, [0.3, 2.0], backend=route.backend)
    twice = parzen_log_sum_exp(x, samples.repeat(2, 1), [0.3, 2.0], backend=route.backend)
    torch.testing.assert_close(twice, once + math.log(2), rtol=1e-6, atol=3e-5)


def test_parzen_chunks_of_samples_combine_by_logaddexp(route) -> None:
    x, samples, sigmas = torch.rand(40, 30), torch.rand(1000, 30), [0.2, 1.0]
    whole = parzen_log_sum_exp(x, samples, sigmas, backend=route.backend)
    parts = [parzen_log_sum_exp(x, part, sigmas, backend=route.backend) for part in samples.split(170)]
    combined = torch.stack(parts).logsumexp(dim=0)
    torch.testing.assert_close(whole, combined, rtol=1e-6, atol=1e-4)


# The second case is narrow, with every instruction set, for 20 points, 13, 6 and one.
@pytest.mark.parametrize(("m", "d", "sizes"), [(75, 33, (40, 33, 3)), (20, 400, (13, 6, 1))])
def test_parzen_scores_each_point_as_if_the_others_were_not_there(
    native_route, m: int, d: int, sizes: tuple[int, ...]
) -> None:
    x, samples = torch.rand(m, d), torch.rand(2100, d)
    together = parzen_log_sum_exp(x, samples, [0.2, 1.0], backend="native")
    for size in sizes:
        for i in (0, m // 2, m - size):
            part = parzen_log_sum_exp(x[i : i + size], samples, [0.2, 1.0], backend="native")
            assert torch.equal(part, together[:, i : i + size])


def test_parzen_scores_a_point_alone_as_among_many(native_route) -> None:
    x, samples, sigmas = torch.rand(75, 784), torch.rand(2100, 784), [0.2, 1.0]
    together = parzen_log_sum_exp(x, samples, sigmas, backend="native")
    for i in (0, 31, 32, 74):
        alone = parzen_log_sum_exp(x[i : i + 1], samples, sigmas, backend="native")
        assert_close(alone, together[:, i : i + 1].double(), sigmas, "native", d=784)


def test_parzen_adds_a_hundred_thousand_terms_without_loss(route) -> None:
    x, samples = torch.rand(2, 2), torch.rand(100_000, 2)
    actual = parzen_log_sum_exp(x, samples, [0.5, 100.0], backend=route.backend)
    torch.testing.assert_close(actual.double(), exact(x, samples, [0.5, 100.0]), rtol=0, atol=4e-6)


# ---- threads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("m", "n", "d"),
    [(1, 5000, 40), (20, 9000, 12), (700, 300, 40), (300, 5000, 7), (2, 1, 1), (20, 9000, 330), (700, 20, 330)],
)
def test_parzen_gives_the_same_bits_on_any_number_of_threads(native_route, m: int, n: int, d: int) -> None:
    x, samples = torch.rand(m, d), torch.rand(n, d)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 7):
            torch.set_num_threads(threads)
            results.append(parzen_log_sum_exp(x, samples, [0.1, 0.4, 2.0], backend="native"))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


# ---- inputs ----------------------------------------------------------------------------------------------------------

LAYOUTS = {
    "transposed": lambda t: t.T.contiguous().T,
    "every second row": lambda t: t.repeat_interleave(2, dim=0)[::2],
    "every third column": lambda t: t.repeat_interleave(3, dim=1)[:, ::3],
    "inner columns": lambda t: torch.nn.functional.pad(t, (3, 5))[:, 3:-5],
    "both strided": lambda t: t.repeat_interleave(2, dim=0).repeat_interleave(2, dim=1)[1::2, 1::2],
}


@pytest.mark.parametrize(("m", "n"), [(35, 40), (6, 40), (35, 6)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_parzen_reads_any_strides(route, layout: str, m: int, n: int) -> None:
    x, samples = torch.rand(m, 150), torch.rand(n, 150)
    expected = parzen_log_sum_exp(x, samples, [0.5], backend=route.backend)
    strided = LAYOUTS[layout]
    assert not strided(x).is_contiguous()
    actual = parzen_log_sum_exp(strided(x), strided(samples), [0.5], backend=route.backend)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4 if route.backend == "torch" else 0)


def test_parzen_reads_one_row_expanded_to_many(route) -> None:
    x, sample = torch.rand(5, 30), torch.rand(1, 30)
    actual = parzen_log_sum_exp(x, sample.expand(64, 30), [1.0], backend=route.backend)
    expected = parzen_log_sum_exp(x, sample, [1.0], backend=route.backend) + math.log(64)
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-5)
    points = parzen_log_sum_exp(sample.expand(64, 30), x[:1], [1.0], backend=route.backend)
    torch.testing.assert_close(points, points[:, :1].expand(1, 64), rtol=0, atol=0)


def test_parzen_of_no_points_is_empty(route) -> None:
    assert parzen_log_sum_exp(torch.empty(0, 3), torch.rand(4, 3), [1.0, 2.0], backend=route.backend).shape == (2, 0)


def test_parzen_of_no_sigmas_is_empty(route) -> None:
    assert parzen_log_sum_exp(torch.rand(6, 3), torch.rand(4, 3), [], backend=route.backend).shape == (0, 6)


def test_parzen_takes_sigmas_as_a_tensor_and_points_that_require_gradients(route) -> None:
    x = torch.rand(3, 4, requires_grad=True)
    actual = parzen_log_sum_exp(x, torch.rand(5, 4), torch.tensor([1.0]), backend=route.backend)
    assert not actual.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_parzen_computes_half_precision_inputs_in_float32(route, dtype: torch.dtype) -> None:
    x, samples = torch.rand(9, 8).to(dtype), torch.rand(11, 8).to(dtype)
    actual = parzen_log_sum_exp(x, samples, [0.5], backend=route.backend)
    assert actual.dtype == torch.float32
    assert_close(actual, exact(x.float(), samples.float(), [0.5]), [0.5], route.backend, d=8)


def test_parzen_computes_double_precision_to_double_precision() -> None:
    x, samples = torch.rand(20, 784, dtype=torch.float64), torch.rand(50, 784, dtype=torch.float64)
    for backend in ("auto", "torch"):
        actual = parzen_log_sum_exp(x, samples, [0.1, 1.0], backend=backend)
        assert actual.dtype == torch.float64
        torch.testing.assert_close(actual, exact(x, samples, [0.1, 1.0]), rtol=1e-12, atol=1e-9)


def test_parzen_refuses_double_precision_on_the_native_backend(native_route) -> None:
    with pytest.raises(UsageError, match="computes in float32"):
        parzen_log_sum_exp(torch.rand(2, 3).double(), torch.rand(4, 3).double(), [1.0], backend="native")


def test_parzen_stays_finite_where_every_term_underflows(route) -> None:
    x = torch.tensor([[1e4, -1e4], [3.0, 4.0]])
    actual = parzen_log_sum_exp(x, torch.zeros(5, 2), [1e-2, 1e-3], backend=route.backend)
    expected = torch.tensor([[-1e12, -125000.0], [-1e14, -12500000.0]], dtype=torch.float64) + math.log(5)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
@pytest.mark.parametrize("sigma", [1e-15, 1e-10, 1e10, 1e15])
def test_parzen_stays_finite_for_extreme_sigmas(route, sigma: float, scale: float) -> None:
    samples = torch.rand(5, 3) * scale
    actual = parzen_log_sum_exp(torch.cat([samples, torch.rand(9, 3)]), samples, [sigma], backend=route.backend)
    assert torch.isfinite(actual).all()
    expected = math.log(5) if sigma > 1 else 0.0  # of a point that is a sample
    torch.testing.assert_close(actual[0, :5], torch.full((5,), expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize("near", [1, 10])
def test_parzen_keeps_its_accuracy_near_the_centre_of_samples_that_lie_far_out(route, near: int) -> None:
    """Corners of the unit cube and grey rows: the mean is grey, where scores hold d/8, but no large products."""
    corners = (torch.rand(20, 784) > 0.5).float()
    grey = 0.5 + 1e-3 * torch.randn(near, 784)
    samples, sigmas = torch.cat([corners, 1 - corners, grey]), [0.1] if near > 1 else [0.1, 0.03, 0.01]
    # Of one near sample the distance is computed once more; where several share the sum, the documented bound holds.
    limit = 1e-3 if near > 1 else 2e-4
    for x in (grey, grey + 1e-3 * torch.randn(near, 784)):
        found = parzen_log_sum_exp(x, samples, sigmas, backend=route.backend)
        torch.testing.assert_close(found.double(), exact(x, samples, sigmas), rtol=0, atol=limit)


def bad_inputs() -> list[tuple[str, Tensor, Tensor, list[float], str]]:
    ok = torch.rand(40, 3)
    nan_row, inf_row = ok.clone(), ok.clone()
    nan_row[17, 2] = math.nan
    nan_row[20, 0] = math.nan
    inf_row[39, 0] = -math.inf
    wide = torch.rand(40, 50)
    wide_nan = wide.clone()
    wide_nan[17, 49] = math.nan
    return [
        ("NaN in x", nan_row, ok, [1.0], "x holds nan in row 17"),
        ("infinity in x", inf_row, ok, [1.0], "x holds -inf in row 39"),
        ("NaN in samples", ok, nan_row, [1.0], "samples holds nan in row 17"),
        ("infinity in samples", ok, inf_row, [1.0], "samples holds -inf in row 39"),
        ("NaN in the first sample", ok, torch.full((1, 3), math.nan), [1.0], "samples holds nan in row 0"),
        ("NaN in one of many points", wide_nan, wide[:2], [1.0], "x holds nan in row 17"),
        ("NaN in one of many samples", wide[:2], wide_nan, [1.0], "samples holds nan in row 17"),
        ("NaN in one of few points", wide_nan[16:18], wide, [1.0], "x holds nan in row 1"),
        ("NaN in one of few samples", wide, wide_nan[16:18], [1.0], "samples holds nan in row 1"),
        ("squares overflow in one of few points", wide[:2] * 1e30, wide, [1.0], "x holds a row so far"),
        (
            "squares overflow in one of many points",
            torch.cat([wide, wide[:1] * 1e25]),
            wide[:2],
            [1.0],
            "x holds a row so",
        ),
        ("squares overflow", ok * 1e30, ok, [1.0], "x holds a row so far"),
        ("squares overflow in samples", ok, torch.cat([ok, ok[:1] * 1e25]), [1.0], "overflow float32"),
        ("no samples", ok, torch.empty(0, 3), [1.0], "at least one row"),
        ("no columns", torch.empty(4, 0), torch.empty(5, 0), [1.0], "one column"),
        ("different widths", ok, torch.rand(4, 2), [1.0], "same width d, got 3 and 2"),
        ("one dimension", ok[0], ok, [1.0], r"x must have shape \(m, d\)"),
        ("integers", ok.long(), ok, [1.0], "x must be floating point"),
        ("sigma zero", ok, ok, [1.0, 0.0], "sigmas must be positive, from 1e-15 to .*, got 0.0"),
        ("sigma negative", ok, ok, [-1.0], "got -1.0"),
        ("sigma NaN", ok, ok, [math.nan], "got nan"),
        ("sigma infinite", ok, ok, [math.inf], "got inf"),
    ]


@pytest.mark.parametrize(
    ("x", "samples", "sigmas", "message"), [case[1:] for case in bad_inputs()], ids=[case[0] for case in bad_inputs()]
)
def test_parzen_rejects(route, x: Tensor, samples: Tensor, sigmas: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parzen_log_sum_exp(x, samples, sigmas, backend=route.backend)


# ---- as an operator of torch -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "n", "d", "s"), [(5, 7, 3, 2), (0, 7, 3, 2), (5, 1, 1, 1), (40, 20, 130, 0)])
def test_parzen_operator_passes_opcheck(native_route, m: int, n: int, d: int, s: int) -> None:
    arguments = (torch.rand(m, d), torch.rand(n, d), torch.linspace(0.5, 2.0, s, dtype=torch.float64))
    torch.library.opcheck(torch.ops.gancli.parzen_log_sum_exp.default, arguments)


def test_parzen_runs_native_by_default_where_it_is_built(native_route, monkeypatch: pytest.MonkeyPatch) -> None:
    x, samples = torch.rand(50, 200), torch.rand(60, 200)
    by_default = parzen_log_sum_exp(x, samples, [0.1])
    assert torch.equal(by_default, parzen_log_sum_exp(x, samples, [0.1], backend="native"))
    monkeypatch.setenv("GANCLI_BACKEND", "torch")
    assert torch.equal(parzen_log_sum_exp(x, samples, [0.1]), parzen_log_sum_exp(x, samples, [0.1], backend="torch"))


def test_parzen_runs_on_torch_where_nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "load", lambda name: (None, "to get it, install a compiler"))
    x, samples = torch.rand(5, 3), torch.rand(6, 3)
    assert torch.equal(parzen_log_sum_exp(x, samples, [1.0]), parzen_log_sum_exp(x, samples, [1.0], backend="torch"))
    with pytest.raises(UsageError, match="to get it, install a compiler"):
        parzen_log_sum_exp(x, samples, [1.0], backend="native")
