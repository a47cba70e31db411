"""What lessons measured beside the experiments of the atlas: ``python -m lthviz study NAME`` makes it again.

One module a study. Its ``study()`` gives arrays by name, which lie in ``NAME.npz`` beside it. Loading needs no torch.
"""

import time
from importlib import import_module
from importlib.metadata import version
from importlib.resources import files

import numpy as np

from ..choices import unknown
from ..experiment import FORMAT
from ..store import read_arrays, write_arrays

STUDIES = ("anatomy", "connectivity", "deploy", "language_models", "strong", "width")


def load(name: str) -> dict[str, np.ndarray]:
    """The arrays of a study, by name; read-only.

    Raises
    ------
    ValueError
        For a study that there is not.
    """
    return _stored(name)[1]


def made(name: str) -> dict:
    """How a study was made: seconds, versions."""
    return _stored(name)[0]["meta"]


def _stored(name):
    if name not in STUDIES:
        raise unknown("study", name, STUDIES)
    return read_arrays(files("lthviz") / "studies" / f"{name}.npz")


def main(*names: str) -> None:
    """Make the studies again, or those named, and keep them beside their modules."""
    for name in names:
        if name not in STUDIES:
            raise SystemExit(str(unknown("study", name, STUDIES)))
    for name in names or STUDIES:
        begun = time.perf_counter()
        arrays = {
            key: np.asarray(value) for key, value in import_module(f".{name}", __name__).study().items()
        }
        meta = {"seconds": time.perf_counter() - begun, "torch": version("torch"), "numpy": version("numpy")}
        path = files("lthviz") / "studies" / f"{name}.npz"
        write_arrays(path, arrays, {"format": FORMAT, "meta": meta})
        print(f"{path}: {meta['seconds']:.0f} s, {path.stat().st_size / 1e6:.2f} MB", flush=True)
