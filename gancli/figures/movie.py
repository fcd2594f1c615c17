"""Animations from frames that are already drawn: GIF always, MP4 where ffmpeg is there."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gancli.errors import GancliError
from gancli.figures.interpolation import save_animation
from gancli.files import atomic_write_bytes

Frame = NDArray[np.uint8]  # (height, width, 3), both sides even

_DURATION = 90  # milliseconds per frame
_REST = 15  # frames for which the last one stays


def save_movie(stem: Path, frames: Sequence[Frame]) -> tuple[list[Path], str | None]:
    """Write frames as STEM.gif, and as STEM.mp4 where ffmpeg can be found.

    Args:
        stem: The path without ending.
        frames: All of one size, the last is shown for longer.

    Returns:
        The files written, and a sentence on why there is no MP4, or None.

    Raises:
        GancliError: When a file cannot be written, or ffmpeg fails.
    """
    import torch

    shown = [*frames, *[frames[-1]] * _REST]
    pixels = torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2)
    gif, mp4 = stem.with_suffix(".gif"), stem.with_suffix(".mp4")
    save_animation(gif, pixels, scale=1, duration=_DURATION, bounce=False)
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        return [gif], f"{mp4.name} was not written: ffmpeg is not on the PATH; {gif.name} shows the same."
    _encode(ffmpeg, mp4, shown)
    return [gif, mp4], None


def _encode(ffmpeg: str, path: Path, frames: Sequence[Frame]) -> None:
    height, width, _ = frames[0].shape
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "movie.mp4"
        raw = [
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-s",
            f"{width}x{height}",
            "-framerate",
            f"{1000 / _DURATION:.4f}",
        ]
        # H.264 with 4:2:0 colours is what browsers and slides play.
        coded = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
        done = subprocess.run(  # noqa: S603  # found on the PATH; no words of the user's reach it
            [ffmpeg, "-loglevel", "error", "-y", *raw, "-i", "-", *coded, str(result)],
            input=b"".join(frame.tobytes() for frame in frames),
            capture_output=True,
            check=False,
        )
        if done.returncode:
            words = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise GancliError(f"ffmpeg could not write {path}: {words[-1]}; take it off the PATH to go without an MP4.")
        atomic_write_bytes(path, result.read_bytes())
