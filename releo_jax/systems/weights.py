"""Where trained weights lie: in the package, or in a folder that `releo train` wrote."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from safetensors import SafetensorError

from releo_jax.errors import ReleoError


@contextlib.contextmanager
def weights_file(name: str, folder: Path | None = None) -> Iterator[Path]:
    """The file `{name}.safetensors`, to be read inside the block; nothing in it is executed.

    Args:
        name: `prosail_vae_sentinel2a`, ...
        folder: where it lies, None for the package.

    Raises:
        ReleoError: it is not there, or holds other weights than are read from it.
    """
    if folder is None:
        with resources.as_file(resources.files("releo_jax.data") / f"{name}.safetensors") as path:
            yield path
        return
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise ReleoError(f"{path}: no such file; give the folder that releo train wrote for this method and sensor")
    try:
        yield path
    except (SafetensorError, ValueError, OSError) as error:
        raise ReleoError(f"{path}: not the weights of this method ({error}); train them with this version") from error
