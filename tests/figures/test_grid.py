import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gancli.errors import GancliError, UsageError
from gancli.figures import save_grid, save_sample_grid_with_neighbours
from gancli.figures.pixels import choose_background, tile, to_pixels


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        image.load()
        return np.asarray(image)


def random_images(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def grid_of(images: torch.Tensor, *, columns: int, padding: int = 2, background: int | None = None) -> np.ndarray:
    pixels = to_pixels(images, name="images")
    if background is None:
        background = choose_background(pixels)
    return tile(pixels, columns=columns, padding=padding, background=background)


def test_importing_the_package_loads_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys, gancli.figures; print([name for name in ('torch', 'matplotlib', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_tiny_grey_grid_is_what_one_works_out_by_hand() -> None:
    images = torch.tensor([[[[1, 2]]], [[[3, 4]]], [[[5, 6]]]], dtype=torch.uint8)  # three images of 1 by 2
    grid = grid_of(images, columns=2, padding=1, background=9)
    assert grid.dtype == np.uint8
    assert grid[:, :, 0].tolist() == [
        [9, 9, 9, 9, 9, 9, 9],
        [9, 1, 2, 9, 3, 4, 9],
        [9, 9, 9, 9, 9, 9, 9],
        [9, 5, 6, 9, 9, 9, 9],
        [9, 9, 9, 9, 9, 9, 9],
    ]
    assert grid.shape == (5, 7, 1)


def test_a_tiny_colour_grid_keeps_red_green_and_blue_apart() -> None:
    images = torch.tensor([[[[10]], [[20]], [[30]]], [[[40]], [[50]], [[60]]]], dtype=torch.uint8)
    grid = grid_of(images, columns=1, padding=0, background=0)
    assert grid.tolist() == [[[10, 20, 30]], [[40, 50, 60]]]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("n", "columns", "padding"), [(1, 1, 2), (7, 3, 2), (6, 3, 0), (4, 1, 5)])
def test_every_image_stands_where_the_formula_says(channels: int, n: int, columns: int, padding: int) -> None:
    images = random_images(n, channels, 4, 6)
    grid = grid_of(images, columns=columns, padding=padding)
    rows = -(-n // columns)
    assert grid.shape == (padding + rows * (4 + padding), padding + columns * (6 + padding), channels)
    for i in range(n):
        y = padding + (i // columns) * (4 + padding)
        x = padding + (i % columns) * (6 + padding)
        for c in range(channels):
            assert (grid[y : y + 4, x : x + 6, c] == images[i, c].numpy()).all()


def test_a_grid_of_few_images_is_only_as_wide_as_they_are(tmp_path: Path) -> None:
    save_grid(tmp_path / "a.png", random_images(3, 1, 5, 5), columns=10, scale=1)
    assert read(tmp_path / "a.png").shape == (9, 23)


def test_images_that_are_not_contiguous_are_laid_out_alike() -> None:
    images = random_images(4, 3, 5, 6)
    turned = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert not turned.is_contiguous()
    assert (grid_of(turned, columns=2) == grid_of(images, columns=2)).all()


@pytest.mark.parametrize("level", [0, 255])
def test_separators_stand_out_from_dark_and_from_light_images(level: int) -> None:
    grid = grid_of(torch.full((4, 1, 5, 5), level, dtype=torch.uint8), columns=2)
    assert abs(int(grid[0, 0, 0]) - level) >= 100


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_read_back_equals_the_images_pixel_by_pixel_at_scale_1(tmp_path: Path, channels: int) -> None:
    images = random_images(6, channels, 8, 9)
    save_grid(tmp_path / "a.png", images, columns=3, scale=1)
    picture = read(tmp_path / "a.png").reshape(2 * 10 + 2, 3 * 11 + 2, channels)
    for i in range(6):
        y, x = 2 + (i // 3) * 10, 2 + (i % 3) * 11
        assert (picture[y : y + 8, x : x + 9] == images[i].permute(1, 2, 0).numpy()).all()


def test_scaling_turns_every_pixel_into_a_square_and_keeps_separators_thin(tmp_path: Path) -> None:
    images = torch.tensor([[[[10, 20], [30, 40]]]], dtype=torch.uint8)
    save_grid(tmp_path / "a.png", images, columns=1, scale=3)
    picture = read(tmp_path / "a.png")
    assert picture.shape == (10, 10)
    inner = picture[2:8, 2:8]
    assert (inner == np.kron([[10, 20], [30, 40]], np.ones((3, 3)))).all()


@pytest.mark.parametrize(
    ("shape", "columns"),
    [((1, 1, 1, 1), 1), ((20, 1, 28, 28), 5), ((100, 3, 32, 32), 10), ((16, 1, 48, 48), 4), ((500, 1, 8, 8), 2)],
)
def test_without_a_scale_small_images_become_readable_and_none_huge(
    tmp_path: Path, shape: tuple[int, int, int, int], columns: int
) -> None:
    save_grid(tmp_path / "a.png", torch.zeros(shape, dtype=torch.uint8), columns=columns)
    height, width = read(tmp_path / "a.png").shape[:2]
    assert width >= 400 or height >= 1900
    assert max(height, width) <= 3100


def test_large_images_are_not_enlarged(tmp_path: Path) -> None:
    save_grid(tmp_path / "a.png", random_images(2, 3, 300, 450), columns=2)
    assert read(tmp_path / "a.png").shape == (304, 906, 3)


def test_a_neighbour_stands_in_a_yellow_frame_beside_the_last_sample_of_its_row(tmp_path: Path) -> None:
    samples = torch.full((6, 1, 10, 10), 20, dtype=torch.uint8)
    neighbours = torch.tensor([70, 90], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, 1, 10, 10)
    save_sample_grid_with_neighbours(tmp_path / "a.png", samples, neighbours, columns=3, scale=1)
    picture = read(tmp_path / "a.png").astype(int)
    red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
    yellow = (red > 200) & (green > 180) & (blue < 80)
    sample_rows, sample_columns = np.nonzero((picture == 20).all(axis=-1))
    for level in (70, 90):
        rows, columns = np.nonzero((picture == level).all(axis=-1))
        assert len(rows) == 100
        assert columns.min() > sample_columns.max(), "the neighbours stand to the right of all samples"
        assert set(rows) <= set(sample_rows), "level with a row of samples"
        top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
        assert yellow[top - 1, left - 1 : right + 2].all()
        assert yellow[bottom + 1, left - 1 : right + 2].all()
        assert yellow[top - 1 : bottom + 2, left - 1].all()
        assert yellow[top - 1 : bottom + 2, right + 1].all()
    assert len(sample_rows) == 600
    assert not yellow[:, : sample_columns.max() + 2].any(), "samples have no yellow frame"
    first, second = (np.nonzero((picture == level).all(axis=-1))[0].min() for level in (70, 90))
    assert first < second


def test_a_grid_with_neighbours_keeps_every_colour_pixel(tmp_path: Path) -> None:
    samples, neighbours = random_images(4, 3, 6, 6), random_images(2, 3, 6, 6, seed=1)
    save_sample_grid_with_neighbours(tmp_path / "a.png", samples, neighbours, columns=2, scale=1)
    picture = read(tmp_path / "a.png")
    windows = np.lib.stride_tricks.sliding_window_view(picture, (6, 6), axis=(0, 1))
    for image in (*samples, *neighbours):
        assert (windows == image.numpy()).all(axis=(2, 3, 4)).sum() == 1


@pytest.mark.parametrize(
    ("images", "got"),
    [
        (torch.zeros(4, 1, 5, 5), "float32"),
        (torch.zeros(4, 2, 5, 5, dtype=torch.uint8), r"\(4, 2, 5, 5\)"),
        (torch.zeros(4, 5, 5, dtype=torch.uint8), r"\(4, 5, 5\)"),
        (torch.zeros(0, 1, 5, 5, dtype=torch.uint8), r"at least one of them, got uint8 of shape \(0, 1, 5, 5\)"),
        (torch.zeros(4, 1, 0, 5, dtype=torch.uint8), r"\(4, 1, 0, 5\)"),
    ],
)
def test_other_images_are_refused_by_shape_and_dtype(images: torch.Tensor, got: str) -> None:
    with pytest.raises(UsageError, match=f"images: expected uint8 images .*got .*{got}|{got}"):
        to_pixels(images, name="images")


def test_numbers_out_of_range_are_refused(tmp_path: Path) -> None:
    images = random_images(4, 1, 5, 5)
    with pytest.raises(UsageError, match="columns: expected 1 or more, got 0"):
        save_grid(tmp_path / "a.png", images, columns=0)
    with pytest.raises(UsageError, match="scale: expected 1 or more, got 0"):
        save_grid(tmp_path / "a.png", images, columns=1, scale=0)


def test_a_name_that_is_not_a_png_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected a name that ends in \.png"):
        save_grid(tmp_path / "a.jpeg", random_images(1, 1, 2, 2), columns=1)
    save_grid(tmp_path / "A.PNG", random_images(1, 1, 2, 2), columns=1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["A.PNG"]


def test_neighbours_that_do_not_fit_the_samples_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(UsageError, match="samples: expected full rows of 5, got 7"):
        save_sample_grid_with_neighbours(path, random_images(7, 1, 4, 4), random_images(1, 1, 4, 4))
    with pytest.raises(UsageError, match=r"neighbours: expected one per row .*\(2, 1, 4, 4\), got \(3, 1, 4, 4\)"):
        save_sample_grid_with_neighbours(path, random_images(10, 1, 4, 4), random_images(3, 1, 4, 4))
    assert not path.exists()


def test_a_failed_picture_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    save_grid(path, random_images(1, 1, 4, 4), columns=1)
    old = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(GancliError, match="full"):
        save_grid(path, random_images(1, 1, 4, 4, seed=1), columns=1)
    assert path.read_bytes() == old
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
