from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gancli.data import digits
from gancli.data.digits import draw_digits, load_digits
from gancli.data.glyphs import POINTS, STYLES, Style, glyphs
from gancli.errors import UsageError

Drawn = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    return draw_digits(5000, 1)


def test_images_and_labels_have_the_promised_shape_and_type(drawn: Drawn) -> None:
    images, labels = drawn
    assert images.shape == (5000, 1, 28, 28)
    assert images.dtype == np.uint8
    assert labels.shape == (5000,)
    assert labels.dtype == np.uint8


def test_the_same_seed_draws_the_same_digits_and_another_seed_others() -> None:
    images, labels = draw_digits(700, 3)
    again, labels_again = draw_digits(700, 3)
    np.testing.assert_array_equal(images, again)
    np.testing.assert_array_equal(labels, labels_again)
    others, _ = draw_digits(700, 4)
    assert (images != others).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize(
    ("num", "start"),
    [(10, 5), (1, 0), (3, digits.BLOCK - 1), (digits.BLOCK, 7), (0, 9), (1, 2 * digits.BLOCK)],
)
def test_an_image_depends_on_its_place_alone_not_on_how_many_are_asked_for(num: int, start: int) -> None:
    images, labels = draw_digits(num, 5, start=start)
    longer, longer_labels = draw_digits(3 * digits.BLOCK, 5)
    np.testing.assert_array_equal(images, longer[start : start + num])
    np.testing.assert_array_equal(labels, longer_labels[start : start + num])


def test_the_number_of_threads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    many, _ = draw_digits(1000, 6)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    one, _ = draw_digits(1000, 6)
    np.testing.assert_array_equal(many, one)


def test_every_block_holds_each_digit_equally_often(drawn: Drawn) -> None:
    _, labels = drawn
    for block in labels.reshape(-1, digits.BLOCK):
        assert np.bincount(block, minlength=10).tolist() == [digits.BLOCK // 10] * 10
    assert len({block.tobytes() for block in labels.reshape(-1, digits.BLOCK)}) == 5000 // digits.BLOCK


def test_ink_is_white_on_black_about_as_much_as_in_mnist(drawn: Drawn) -> None:
    images = drawn[0] / 255
    assert 0.11 < images.mean() < 0.15  # MNIST: 0.131
    assert 0.15 < (images > 0).mean() < 0.22  # MNIST: 0.191
    brightest = images.max(axis=(1, 2, 3))
    assert brightest.min() > 0.7
    assert brightest.mean() > 0.99


def test_no_image_is_blank_and_no_two_are_the_same(drawn: Drawn) -> None:
    images = drawn[0].reshape(5000, -1)
    assert images.mean(axis=1).min() > 5
    assert len({image.tobytes() for image in images}) == 5000


def test_the_rim_stays_empty_and_the_mass_lies_in_the_middle(drawn: Drawn) -> None:
    images = drawn[0][:, 0].astype(np.float64)
    inside = images[:, 1:-1, 1:-1].sum()
    assert inside == images.sum()
    mass = images.sum(axis=(1, 2))
    for axis in (1, 2):
        centre = images.sum(axis=axis) @ np.arange(28) / mass
        assert abs(centre.mean() - 14) < 0.3  # MNIST: 14.0
        assert centre.std() < 1  # MNIST: 0.29


def _squared_distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    result: NDArray[np.float64] = np.maximum(squares, 0)
    return result


def test_the_nearest_of_2000_digits_names_the_class_of_most_others(drawn: Drawn) -> None:
    images, labels = drawn[0].reshape(5000, -1) / 255, drawn[1]
    nearest = _squared_distances(images[2000:2500], images[:2000]).argmin(axis=1)
    assert (labels[nearest] == labels[2000:2500]).mean() >= 0.95


# Mean Euclidean distance between two different images of a class in MNIST (400 per class), pixels in 0..1.
MNIST_SPREAD = [9.72, 6.50, 9.97, 9.32, 8.90, 9.58, 8.88, 8.52, 9.31, 8.56]


@pytest.mark.parametrize("digit", range(10))
def test_digits_of_a_class_vary_about_as_much_as_in_mnist(drawn: Drawn, digit: int) -> None:
    images = drawn[0][drawn[1] == digit].reshape(500, -1) / 255
    distances = np.sqrt(_squared_distances(images, images))
    spread = distances.sum() / (500 * 499)
    assert MNIST_SPREAD[digit] / 1.5 < spread < MNIST_SPREAD[digit] * 1.5


def test_the_data_set_is_split_as_mnist_is() -> None:
    data = load_digits(seed=2, num_train=600, num_test=100)
    assert data.name == "digits"
    assert data.shape == (1, 28, 28)
    assert [len(part) for part in (data.train, data.valid, data.test)] == [500, 100, 100]
    assert data.train.dtype == data.valid.dtype == data.test.dtype == torch.uint8
    images, _ = draw_digits(600, 2)
    np.testing.assert_array_equal(torch.cat([data.train, data.valid]).numpy(), images)


def test_the_test_images_do_not_depend_on_the_size_of_the_training_set() -> None:
    small, large = load_digits(0, 2, 30), load_digits(0, 300, 40)
    assert torch.equal(small.test, large.test[:30])
    assert [len(part) for part in (small.train, small.valid)] == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num": -1}, "num must be a whole number from 0 to .*, got -1"),
        ({"num": 2.5}, "num must be a whole number"),
        ({"num": True}, "num must be a whole number"),
        ({"seed": -3}, "seed must be a whole number from 0 to .*, got -3"),
        ({"seed": 2**63}, "seed must be a whole number"),
        ({"seed": "one"}, "seed must be a whole number from 0 to .*, got 'one'"),
        ({"start": -1}, "start must be a whole number"),
        ({"start": 2**63}, "start must be a whole number"),
    ],
)
def test_draw_digits_rejects_a_bad_argument_in_one_sentence(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        draw_digits(**{"num": 1, "seed": 0, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_train": 1}, "num_train must be a whole number from 2 "),
        ({"num_test": 0}, "num_test must be a whole number from 1 "),
        ({"seed": -1}, "seed must be a whole number from 0 "),
    ],
)
def test_load_digits_rejects_a_bad_argument_in_one_sentence(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_digits(**{"num_train": 10, "num_test": 10, **arguments})


@pytest.mark.parametrize("style", STYLES)
def test_both_extremes_of_a_style_have_the_same_knots_corners_and_lifts(style: Style) -> None:
    first, second = (re.sub(r"\d+,\d+", "knot", path) for path in (style.path, style.other))
    assert first == second


def test_the_pen_passes_through_every_part_of_a_glyph_in_even_steps() -> None:
    table = glyphs()
    for knots, basis in zip(table.middle, table.basis, strict=True):
        points = basis @ knots
        steps = np.sort(np.hypot(*np.diff(points, axis=0).T))
        assert points.shape == (POINTS, 2)
        # A corner cuts a step short and a lift of the pen makes one long; all others are alike.
        assert steps[4] > 0.8 * steps[-4]
        assert np.abs(points).max() < 1.1


def test_every_digit_has_at_least_three_styles_and_their_shares_fill_the_whole() -> None:
    counts = np.bincount([style.digit for style in STYLES])
    assert counts.shape == (10,)
    assert counts.min() >= 3
    assert (glyphs().edges[:, -1] == 1).all()
