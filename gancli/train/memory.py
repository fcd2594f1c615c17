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
            f"The {config.device if config.device != 'auto' else 'device'} has too little memory for this run: lower "
            f"--batch-size ({config.batch_size:,}) or --num-samples ({config.num_samples:,}), make the layers of "
            "--generator and --discriminator narrower, or use --device cpu; what was saved before is kept."
        ) from error
