"""Preprocessing against float64 written out by hand, and the way back to pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gancli.data import Dataset, Preprocessing, make_preprocessing
from gancli.errors import UsageError

RNG = np.random.default_rng(0)


def dataset(train: np.ndarray) -> Dataset:
    images = torch.from_numpy(train)
    return Dataset("test", images, images[:1], images[:1])


# Images whose brightness and contrast differ, as photographs' do.
PHOTOS = np.clip(
    RNG.normal(size=(50, 3, 8, 8)) * RNG.uniform(5, 60, (50, 1, 1, 1)) + RNG.uniform(60, 200, (50, 1, 1, 1)), 0, 255
).astype(np.uint8)
DATA = dataset(PHOTOS)


def test_scale_divides_by_255():
    x = make_preprocessing("scale", DATA)(DATA.train)
    assert x.dtype == torch.float32
    assert np.array_equal(x.numpy(), (PHOTOS.astype(np.float64) / 255).astype(np.float32))


def test_scale_and_none_leave_floats_as_they_are():
    floats = torch.randn(5, 1, 1, 1)
    for kind in ("scale", "none"):
        assert torch.equal(make_preprocessing(kind, dataset(floats.numpy()))(floats), floats)
    assert torch.equal(make_preprocessing("none", DATA)(DATA.train), DATA.train.float())


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 255.0), (0.25, 0.75)])
def test_floats_are_shown_in_full_whatever_their_range(low, high):
    """As [0, 1] where they lie in it, else from the least to the greatest."""
    floats = torch.linspace(low, high, 9).view(9, 1, 1, 1)
    made = make_preprocessing("scale", dataset(floats.numpy()))
    shown = made.to_display(made(floats)).flatten().tolist()
    unit = torch.linspace(0, 1, 9) if (low, high) != (0.25, 0.75) else floats.flatten()
    assert shown == unit.mul(255).round().int().tolist()


@pytest.mark.parametrize("scale", [55.0, 1.0])
def test_gcn_agrees_with_float64_by_hand(scale):
    x = make_preprocessing("gcn", DATA, gcn_scale=scale)(DATA.train)
    assert x.dtype == torch.float32
    assert x.shape == DATA.train.shape
    for image, result in zip(PHOTOS.astype(np.float64), x.numpy(), strict=True):
        mean = sum(image.flatten()) / image.size
        norm = sum((value - mean) ** 2 for value in image.flatten()) ** 0.5
        assert np.abs(result - scale * (image - mean) / norm).max() < 2e-6 * scale
    norms = torch.linalg.vector_norm(x.double().flatten(1), dim=1)
    assert torch.allclose(norms, torch.full_like(norms, scale), rtol=1e-6)
    assert x.double().mean(dim=(1, 2, 3)).abs().max() < 1e-6 * scale


def test_gcn_of_an_image_does_not_depend_on_the_others():
    p = make_preprocessing("gcn", DATA)
    assert torch.equal(p(DATA.train)[3:4], p(DATA.train[3:4]))


@pytest.mark.parametrize("value", [0, 1, 77, 255])
@pytest.mark.parametrize("side", [1, 8, 48, 301])
def test_gcn_leaves_an_image_of_one_colour_at_zero(value, side):
    image = torch.full((2, 3, side, side), value, dtype=torch.uint8)
    x = make_preprocessing("gcn", DATA)(image)
    assert x.abs().max() < 1e-6  # and not blown up to the norm of the others


def test_gcn_scales_the_faintest_contrast_a_byte_can_have():
    image = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)
    image[0, 0, 0, 0] = 129
    x = make_preprocessing("gcn", DATA)(image)
    assert abs(float(torch.linalg.vector_norm(x)) - 55) < 0.01


def test_scaled_images_are_shown_as_they_were():
    p = make_preprocessing("scale", DATA)
    assert torch.equal(p.to_display(p(DATA.train)), DATA.train)


def test_what_is_outside_the_range_is_clipped():
    p = make_preprocessing("scale", DATA)
    x = torch.tensor([-0.5, 0.0, 0.5, 1.0, 7.0, float("nan"), float("inf")]).reshape(-1, 1, 1, 1)
    assert p.to_display(x).flatten().tolist()[:5] == [0, 0, 128, 255, 255]
    assert p.to_display(x).dtype == torch.uint8


def test_pixels_are_shown_as_they_are():
    for kind in ("scale", "gcn", "none"):
        assert torch.equal(make_preprocessing(kind, DATA).to_display(DATA.train), DATA.train)


def test_gcn_is_shown_with_the_median_brightness_and_contrast():
    p = make_preprocessing("gcn", DATA)
    flat = PHOTOS.reshape(50, -1).astype(np.float64)
    means, norms = flat.mean(axis=1), np.linalg.norm(flat - flat.mean(axis=1, keepdims=True), axis=1)
    # torch's median of an even number is the lower of the middle two.
    assert abs(p.mean - np.sort(means)[24]) < 1e-3
    assert abs(p.norm - np.sort(norms)[24]) < 1e-2
    shown = p.to_display(p(DATA.train))
    expected = np.clip((flat - means[:, None]) / norms[:, None] * p.norm + p.mean, 0, 255)
    assert np.abs(shown.numpy().reshape(50, -1) - expected).max() <= 0.51


def test_an_image_of_median_contrast_survives_gcn_and_back():
    image = PHOTOS[:1].repeat(9, axis=0)
    p = make_preprocessing("gcn", dataset(image))
    assert np.abs(p.to_display(p(torch.from_numpy(image))).int().numpy() - image).max() <= 1


def test_floats_are_shown_between_the_least_and_the_greatest_of_the_training_data():
    values = np.linspace(-3, 5, 9, dtype=np.float32).reshape(9, 1, 1, 1)
    p = make_preprocessing("none", dataset(values))
    assert (p.low, p.high) == (-3, 5)
    assert p.to_display(torch.tensor([-3.0, 1.0, 5.0, 9.0]).reshape(-1, 1, 1, 1)).flatten().tolist() == [
        0,
        128,
        255,
        255,
    ]
    constant = make_preprocessing("none", dataset(np.zeros((9, 1, 1, 1), np.float32)))
    assert constant.to_display(torch.zeros(1, 1, 1, 1)).item() == 0


def test_statistics_look_at_no_more_than_10_000_images_of_the_whole_set():
    train = np.zeros((25_000, 1, 2, 2), np.uint8)
    train[:, 0, 0, 0] = np.linspace(0, 200, 25_000)  # the first 10,000 alone would be dark
    p = make_preprocessing("gcn", dataset(train))
    assert abs(p.mean - 25) < 1


def test_plain_values_and_back():
    for kind in ("scale", "gcn", "none"):
        p = make_preprocessing(kind, DATA)
        values = p.as_dict()
        assert all(type(value) in (float, str) for value in values.values())
        assert Preprocessing.from_dict(values) == p


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "zca"},
        {"kind": 5},
        {"mean": "5"},
        {"mean": True},
        {"norm": float("nan")},
        {"high": None},
        {"more": 1.0},
    ],
    ids=str,
)
def test_damaged_values_are_refused_in_one_sentence(refuses, change):
    values = {**make_preprocessing("gcn", DATA).as_dict(), **change}
    with refuses("preprocessing", "damaged"):
        Preprocessing.from_dict(values)
    with refuses("preprocessing", "damaged"):
        Preprocessing.from_dict({})


def test_unknown_kinds_and_scales_are_refused(refuses):
    with refuses("'zca'", "scale, gcn, none", error=UsageError):
        make_preprocessing("zca", DATA)
    for scale in (0, -1, float("nan"), float("inf")):
        with refuses("gcn_scale", error=UsageError):
            make_preprocessing("gcn", DATA, gcn_scale=scale)
