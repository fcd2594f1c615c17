"""What the tests of the command line share: a command as it is typed, and networks that train in no time."""

from __future__ import annotations

from click.testing import CliRunner, Result
from PIL import Image

from gancli.cli import main

TINY = [
    "--generator=dense 8 relu, dense out sigmoid bias=marginal",
    "--discriminator=maxout 6x2 irange=0.05, dense 1 sigmoid irange=0.05",
    "--noise-dim=5",
    "--batch-size=20",
    "--epochs=2",
    "--num-samples=50",
]


def gancli(*arguments: str) -> Result:
    """Run a command; a traceback, which is what users must never see, fails the test."""
    result = CliRunner().invoke(main, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def size_of(path: str) -> tuple[int, int]:
    """Return the width and height of a picture in pixels."""
    with Image.open(path) as image:
        return image.size
