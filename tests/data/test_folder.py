"""A user's own images and arrays: split, order, and what is refused."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from gancli.data.folder import load_folder, read_images
from gancli.data.registry import load

RNG = np.random.default_rng(0)


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A grey PNG that says it is that large, written as the format says."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("ending", ["png", "bmp", "PNG", "tiff", "pgm", "webp"])
def test_grey_images_are_read_bit_for_bit(tmp_path, ending):
    pixels = RNG.integers(0, 256, (4, 5, 6), dtype=np.uint8)
    for index, image in enumerate(pixels):
        options = {"lossless": True} if ending == "webp" else {}
        picture = Image.fromarray(image)
        (picture.convert("RGB") if ending == "webp" else picture).save(tmp_path / f"{index}.{ending}", **options)
    images = read_images(tmp_path)
    assert images.dtype == torch.uint8
    channels = 3 if ending == "webp" else 1  # WebP knows no grey
    assert images.shape == (4, channels, 5, 6)
    assert np.array_equal(images[:, 0].numpy(), pixels)


def test_colour_images_have_their_channels_first(tmp_path):
    pixels = RNG.integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    assert np.array_equal(read_images(tmp_path).permute(0, 2, 3, 1).numpy(), pixels)


def test_palettes_are_colour_and_bits_are_grey(tmp_path):
    (tmp_path / "palette").mkdir()
    image = Image.new("P", (4, 4), 0)
    image.putpalette([200, 30, 30])
    image.save(tmp_path / "palette" / "a.gif")
    assert read_images(tmp_path / "palette").shape == (1, 3, 4, 4)
    (tmp_path / "bits").mkdir()
    Image.new("1", (4, 4), 1).save(tmp_path / "bits" / "a.png")
    assert read_images(tmp_path / "bits").unique().tolist() == [255]


def test_other_and_hidden_files_are_passed_over(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "readme.txt").write_text("hello")
    assert len(read_images(tmp_path)) == 1


def test_jpegs_of_a_camera_are_read(tmp_path):
    for index in range(3):
        Image.new("RGB", (8, 8), (200, 30, 30)).save(tmp_path / f"{index}.jpg")
    assert load(str(tmp_path)).shape == (3, 8, 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_stand_as_their_cameras_were_held(tmp_path, orientation):
    upright = np.zeros((16, 24, 3), dtype=np.uint8)
    upright[:8, :8] = 255  # the upper left
    exif = Image.Exif()
    exif[0x0112] = orientation
    # By the standard: 2 and 4 are mirror images, 3 is upside down, 5 to 8 lie on their side.
    lie = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    Image.fromarray(np.ascontiguousarray(lie(upright))).save(tmp_path / "a.jpg", exif=exif, quality=100)
    (image,) = read_images(tmp_path)
    assert image.shape == (3, 16, 24)
    assert np.abs(image.permute(1, 2, 0).numpy().astype(int) - upright).mean() < 5


def test_damaged_exif_leaves_a_photo_as_it_lies(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg", exif=b"Exif\x00\x00garbage")
    assert read_images(tmp_path).shape == (1, 3, 6, 8)


def test_transparency_and_several_pictures_in_a_file_are_refused(tmp_path, refuses):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", transparency=(0, 0, 0))
    with refuses("a.png has transparent pixels"):
        read_images(tmp_path)
    (tmp_path / "a.png").unlink()
    frames = [Image.new("L", (8, 8), grey) for grey in (0, 90, 200)]
    frames[0].save(tmp_path / "b.gif", save_all=True, append_images=frames[1:])
    with refuses("b.gif holds several pictures"):
        read_images(tmp_path)


def save(tmp_path, name, size, mode="L"):
    Image.new(mode, size).save(tmp_path / name)


def test_images_of_two_sizes_name_the_first_two_that_differ(tmp_path, refuses):
    for name in "abc":
        save(tmp_path, f"{name}.png", (8, 8))
    save(tmp_path, "d.png", (8, 9))
    with refuses("a.png is 8 × 8 L", "d.png is 8 × 9 L"):
        read_images(tmp_path)


def test_images_of_two_kinds_name_the_first_two_that_differ(tmp_path, refuses):
    save(tmp_path, "a.png", (8, 8), "RGB")
    save(tmp_path, "b.png", (8, 8), "L")
    with refuses("a.png is 8 × 8 RGB", "b.png is 8 × 8 L"):
        read_images(tmp_path)


@pytest.mark.parametrize(("mode", "ending"), [("RGBA", "png"), ("LA", "png"), ("I;16", "png"), ("CMYK", "jpg")])
def test_other_modes_are_named(tmp_path, refuses, mode, ending):
    save(tmp_path, f"a.{ending}", (8, 8), mode)
    with refuses(f"a.{ending}", "mode", "grey (L) or colour (RGB)"):
        read_images(tmp_path)


IMAGE_FAULTS = {
    "empty": (b"", "not an image"),
    "text": (b"hello", "not an image"),
    "cut": (png(28, 28, RNG.bytes(29 * 28))[:400], "damaged"),
    "too few pixels": (png(28, 28, bytes(100)), "damaged"),
    "a bomb": (png(200_000, 200_000), "bomb"),
    "twice Pillow's limit": (png(12_000, 12_000), "pixels"),
    "beyond our limit": (png(5_000, 5_000), "5,000 × 5,000"),
    "no width": (png(0, 28), "a.png"),
}


@pytest.mark.parametrize("fault", IMAGE_FAULTS)
def test_broken_images_are_refused_in_one_sentence(tmp_path, refuses, frugal, fault):
    content, word = IMAGE_FAULTS[fault]
    (tmp_path / "a.png").write_bytes(content)
    with frugal(5_000_000), refuses("a.png", word):
        read_images(tmp_path)


def test_too_many_images_are_refused_before_memory_is_taken(tmp_path, refuses, monkeypatch, frugal):
    monkeypatch.setattr("gancli.data.folder._MAX_TOTAL_BYTES", 8 * 8 * 2)
    for name in "abc":
        save(tmp_path, f"{name}.png", (8, 8))
    with refuses("too large", "3 images of 8 × 8", "192 bytes"):
        read_images(tmp_path)


def test_a_folder_without_images_says_where_to_look(tmp_path, refuses):
    (tmp_path / "class1").mkdir()
    with refuses("no images", "folders in it"):
        read_images(tmp_path)


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_arrays_are_split_80_10_10_by_a_fixed_shuffle(tmp_path, kind):
    array = np.zeros((50, 3, 4), dtype=kind)
    array[:, 0, 0] = np.arange(50)
    np.save(tmp_path / "a.npy", array)
    first, second = load(str(tmp_path / "a.npy"), seed=0), load(str(tmp_path / "a.npy"), seed=7)
    assert [len(split) for split in (first.train, first.valid, first.test)] == [40, 5, 5]
    assert first.shape == (1, 3, 4)
    for name in ("train", "valid", "test"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    everything = torch.cat([first.train, first.valid, first.test])[:, 0, 0, 0]
    assert everything.sort().values.tolist() == list(range(50))
    assert first.train[:, 0, 0, 0].tolist() != list(range(40))


def test_the_name_finds_the_data_again_from_anywhere(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((10, 3, 4)))
    monkeypatch.chdir(tmp_path)
    name = load("a.npy").name
    monkeypatch.chdir("/")
    assert load(name).name == name == str(tmp_path / "a.npy")


def test_the_array_named_images_is_taken_from_npz(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((10, 8, 8, 3), np.uint8), labels=np.zeros(10))
    assert load(str(tmp_path / "a.npz")).shape == (3, 8, 8)


def test_rows_of_numbers_stay_rows(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((10, 5)))
    assert load(str(tmp_path / "a.npy")).shape == (1, 1, 5)


@pytest.mark.parametrize("n", [3, 9, 10, 11])
def test_small_sets_have_all_three_splits(tmp_path, n):
    np.save(tmp_path / "a.npy", np.zeros((n, 4)))
    data = load_folder(tmp_path / "a.npy")
    assert len(data.valid) == len(data.test) == 1
    assert len(data.train) == n - 2


def test_what_cannot_be_split_or_used_is_refused(tmp_path, refuses):
    np.save(tmp_path / "two.npy", np.zeros((2, 4)))
    with refuses("two.npy", "2 examples", "at least 3"):
        load_folder(tmp_path / "two.npy")
    array = np.zeros((20, 4))
    array[13, 2] = np.nan
    np.save(tmp_path / "nan.npy", array)
    with refuses("nan.npy", "NaN", "row 13"):
        load_folder(tmp_path / "nan.npy")
    (tmp_path / "a.txt").write_text("hello")
    with refuses("a.txt", "folder of images"):
        load(str(tmp_path / "a.txt"))
    with refuses("does not exist"):
        load(str(tmp_path / "nothing.npy"))


def test_an_npz_may_hold_a_split_of_its_own(tmp_path, refuses):
    sizes = {"train": 7, "valid": 2, "test": 3}
    arrays = {key: RNG.integers(0, 256, (n, 5, 6), dtype=np.uint8) for key, n in sizes.items()}
    np.savez(tmp_path / "split.npz", **arrays, labels=np.zeros(7))
    dataset = load(str(tmp_path / "split.npz"))
    for key, array in arrays.items():
        assert np.array_equal(getattr(dataset, key)[:, 0].numpy(), array)
    assert dataset.shape == (1, 5, 6)
    np.savez(tmp_path / "shapes.npz", **{**arrays, "test": np.zeros((3, 6, 6), np.uint8)})
    with refuses("shapes.npz", "splits that differ", "(1, 6, 6)"):
        load_folder(tmp_path / "shapes.npz")
    np.savez(tmp_path / "kinds.npz", **{**arrays, "valid": np.zeros((2, 5, 6), np.float32)})
    with refuses("kinds.npz", "splits that differ", "float32"):
        load_folder(tmp_path / "kinds.npz")
    np.savez(tmp_path / "nan.npz", **{key: np.full((2, 4), np.nan if key == "test" else 0.0) for key in sizes})
    with refuses("nan.npz (test)", "nan"):
        load_folder(tmp_path / "nan.npz")
