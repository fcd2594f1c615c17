from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gancli.errors import UsageError
from gancli.figures import save_animation, save_interpolation


def ramp(steps: int, channels: int = 1, side: int = 6) -> torch.Tensor:
    """Frames of which each is one level, 20 apart, so that a frame is known by any of its pixels."""
    levels = torch.arange(steps, dtype=torch.uint8) * 20
    return levels.reshape(steps, 1, 1, 1).expand(steps, channels, side, side).contiguous()


def read_gif(path: Path) -> tuple[list[np.ndarray], dict[str, object]]:
    with Image.open(path) as image:
        assert image.format == "GIF"
        frames = []
        for index in range(image.n_frames):
            image.seek(index)
            frames.append(np.asarray(image.convert("RGB")))
        return frames, dict(image.info)


def test_an_interpolation_has_one_row_per_pair_and_its_steps_from_left_to_right(tmp_path: Path) -> None:
    frames = torch.arange(6, dtype=torch.uint8).reshape(2, 3, 1, 1, 1).expand(2, 3, 1, 4, 4) * 10
    save_interpolation(tmp_path / "a.png", frames, scale=1)
    with Image.open(tmp_path / "a.png") as image:
        picture = np.asarray(image)
    assert picture.shape == (2 * 6 + 2, 3 * 6 + 2)
    assert picture[4::6, 4::6].tolist() == [[0, 10, 20], [30, 40, 50]]


def test_colour_interpolations_are_written_in_colour(tmp_path: Path) -> None:
    frames = torch.zeros(1, 2, 3, 4, 4, dtype=torch.uint8)
    frames[0, 1, 2] = 200
    save_interpolation(tmp_path / "a.png", frames, scale=1)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "RGB"
        assert image.getpixel((4, 4)) == (0, 0, 0)
        assert image.getpixel((10, 4)) == (0, 0, 200)


def test_an_animation_plays_there_and_back_for_ever_without_repeating_the_ends(tmp_path: Path) -> None:
    save_animation(tmp_path / "a.gif", ramp(5), scale=1)
    frames, info = read_gif(tmp_path / "a.gif")
    assert [int(frame[5, 5, 0]) for frame in frames] == [0, 20, 40, 60, 80, 60, 40, 20]
    assert info["loop"] == 0


def test_an_animation_of_a_closed_path_plays_one_way(tmp_path: Path) -> None:
    save_animation(tmp_path / "a.gif", ramp(5), scale=1, bounce=False)
    frames, info = read_gif(tmp_path / "a.gif")
    assert [int(frame[5, 5, 0]) for frame in frames] == [0, 20, 40, 60, 80]
    assert info["loop"] == 0


@pytest.mark.parametrize("steps", [1, 2])
def test_the_shortest_animations_are_written(tmp_path: Path, steps: int) -> None:
    save_animation(tmp_path / "a.gif", ramp(steps))
    assert len(read_gif(tmp_path / "a.gif")[0]) == steps


def test_grey_animations_keep_all_256_levels(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8, generator=generator)
    save_animation(tmp_path / "a.gif", frames, scale=1, bounce=False)
    shown, _ = read_gif(tmp_path / "a.gif")
    for frame, expected in zip(shown, frames, strict=True):
        assert (frame[2:-2, 2:-2] == expected[0, :, :, None].numpy()).all()


def test_colour_animations_keep_few_colours_exactly(tmp_path: Path) -> None:
    colours = torch.tensor([[255, 0, 0], [0, 200, 0], [0, 0, 150]], dtype=torch.uint8)
    frames = colours.reshape(3, 3, 1, 1).expand(3, 3, 8, 8).contiguous()
    save_animation(tmp_path / "a.gif", frames, scale=1, bounce=False)
    shown, _ = read_gif(tmp_path / "a.gif")
    assert [frame[5, 5].tolist() for frame in shown] == colours.tolist()
    assert all(frame[0, 0].tolist() == [255, 255, 255] for frame in shown), "separators stay white"


def test_colour_animations_come_near_to_many_colours(tmp_path: Path) -> None:
    x = torch.linspace(0, 255, 64)
    frames = torch.stack(
        [torch.stack((x.expand(64, 64), x[:, None].expand(64, 64), torch.full((64, 64), 60.0 * t)))
         for t in range(4)]
    ).to(torch.uint8)  # fmt: skip
    save_animation(tmp_path / "a.gif", frames, scale=1, bounce=False)
    shown, _ = read_gif(tmp_path / "a.gif")
    for frame, expected in zip(shown, frames, strict=True):
        error = frame[2:-2, 2:-2].astype(float) - expected.permute(1, 2, 0).numpy()
        # 255 colours over four sheets of 256 by 256: a cell is some 32 wide, 9 from its middle in quadratic mean.
        assert np.sqrt((error**2).mean()) < 14


def test_an_animation_of_several_images_shows_a_grid_at_each_step(tmp_path: Path) -> None:
    offsets = torch.arange(4, dtype=torch.uint8).reshape(1, 4, 1, 1, 1)
    save_animation(tmp_path / "a.gif", ramp(3)[:, None] + offsets, scale=1, bounce=False)
    shown, _ = read_gif(tmp_path / "a.gif")
    assert shown[0].shape == (18, 18, 3)
    assert [frame[5::8, 5::8, 0].tolist() for frame in shown] == [
        [[0, 1], [2, 3]],
        [[20, 21], [22, 23]],
        [[40, 41], [42, 43]],
    ]


def test_the_columns_of_an_animated_grid_can_be_chosen(tmp_path: Path) -> None:
    save_animation(tmp_path / "a.gif", ramp(2)[:, None].expand(2, 4, 1, 6, 6), columns=4, scale=1)
    assert read_gif(tmp_path / "a.gif")[0][0].shape == (10, 34, 3)


@pytest.mark.parametrize(("steps", "duration"), [(2, 200), (16, 100), (24, 70), (200, 40)])
def test_an_animation_takes_neither_a_blink_nor_an_age(tmp_path: Path, steps: int, duration: int) -> None:
    frames = torch.randint(0, 256, (steps, 1, 3, 3), dtype=torch.uint8)
    save_animation(tmp_path / "a.gif", frames, scale=1)
    assert read_gif(tmp_path / "a.gif")[1]["duration"] == duration


def test_a_small_animation_is_enlarged(tmp_path: Path) -> None:
    save_animation(tmp_path / "a.gif", ramp(2))
    side = read_gif(tmp_path / "a.gif")[0][0].shape[0]
    assert 280 <= side <= 400


def test_other_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"frames: expected uint8 images \(pairs, steps, .*\(5, 1, 6, 6\)"):
        save_interpolation(tmp_path / "a.png", ramp(5))
    with pytest.raises(UsageError, match=r"frames: expected uint8 images \(steps, 1 or 3 .*float32"):
        save_animation(tmp_path / "a.gif", ramp(5).float())
    with pytest.raises(UsageError, match=r"frames: expected uint8 images \(steps, images, .*\(1, 6, 6\)"):
        save_animation(tmp_path / "a.gif", ramp(5)[0])
    with pytest.raises(UsageError, match=r"ends in \.gif"):
        save_animation(tmp_path / "a.png", ramp(5))
    with pytest.raises(UsageError, match="duration: expected 20 or more, got 5"):
        save_animation(tmp_path / "a.gif", ramp(5), duration=5)
    assert list(tmp_path.iterdir()) == []
