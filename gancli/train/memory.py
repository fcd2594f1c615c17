"""Too little memory, on the device or in the machine: what to lower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gancli.config import Config
from gancli.errors import GancliError, memory_shortage


@contextmanager
def explained_shortage(config: Config) -> Iterator[None]:
    """Turn a failed allocation while training into a sentence that names the settings which take the memory.

    Raises:
        GancliError: there was too little memory.
    """
    try:
        yield
    except Exception as error:
        if not memory_shortage(error):
            raise
        raise GancliError(
            "There is too little memory on the device for this run: start one with a lower --batch-size "
            f"({config.batch_size:,}), a lower --num-samples ({config.num_samples:,}) or narrower layers in "
            "--generator and --discriminator, or use --device cpu; what was saved before is kept."
        ) from error
