"""Data sets: small real digits and clothes inside the package, generated ones, full ones on request, your own.

Everything is NumPy; training turns it into tensors. Nothing is downloaded unless you call :func:`download`.
"""

import gzip
import hashlib
import os
import random
import zlib
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from .choices import count, unknown
from .masks import as_array


@dataclass(frozen=True)
class Source:
    """What is known of a data set before it is loaded: shape of one example, training examples, and words."""

    shape: tuple[int, ...]
    examples: int
    normalisation: str
    source: str
    classes: int = 10


_PIXELS = "pixels divided by 255, nothing else"
_POOLED = _PIXELS + "; then 2x2 average-pooled to 14x14"
_MNIST = "MNIST, Y. LeCun, C. Cortes, C. J. C. Burges; CC BY-SA 3.0"
_MNIST_5K = f"{_MNIST}; 5,000 of its training pictures, 1,000 of them held out as test part"
_FASHION = "Fashion-MNIST, Zalando SE 2017; MIT licence"
_FASHION_5K = f"{_FASHION}; 4,000 of its training and 1,000 of its test pictures"
_SIGNALS = "signals shifted to mean 0 and scaled to standard deviation 1 over the whole draw"
_MNIST1D = "MNIST-1D, S. Greydanus and D. Kobak 2024 (arXiv 2011.14439); generated, Apache-2.0"

#: the data sets that have a name
DATASETS = {
    "mnist-5k": Source((28, 28), 3_500, _PIXELS, _MNIST_5K),
    "mnist-5k-14": Source((14, 14), 3_500, _POOLED, _MNIST_5K),
    "fashion-5k": Source((28, 28), 3_500, _PIXELS, _FASHION_5K),
    "fashion-5k-14": Source((14, 14), 3_500, _POOLED, _FASHION_5K),
    "mnist1d": Source((40,), 3_500, _SIGNALS, _MNIST1D),
    "mnist": Source((28, 28), 55_000, _PIXELS, _MNIST),
    "fashion-mnist": Source((28, 28), 55_000, _PIXELS, _FASHION),
}

_FILES = {
    "mnist": {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
}

_ADDRESSES = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "fashion-mnist": "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
}


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples to learn from, to choose by (validation), and to report on (test).

    ``x_*`` are float32 arrays ``(examples, *input_shape)``, ``y_*`` int64 arrays ``(examples,)`` with
    labels ``0 .. classes - 1``.
    """

    name: str
    x_train: np.ndarray = field(repr=False)
    y_train: np.ndarray = field(repr=False)
    x_validation: np.ndarray = field(repr=False)
    y_validation: np.ndarray = field(repr=False)
    x_test: np.ndarray = field(repr=False)
    y_test: np.ndarray = field(repr=False)
    classes: int
    normalisation: str
    source: str

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.x_train.shape[1:]

    @cached_property
    def key(self) -> str:
        """A name that changes with the content, for data sets of your own: ``own:NAME:HASH``."""
        digest = hashlib.sha256()
        for part in ("train", "validation", "test"):
            for array in (getattr(self, f"x_{part}"), getattr(self, f"y_{part}")):
                digest.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        return f"own:{self.name}:{digest.hexdigest()[:12]}"

    def __eq__(self, other):
        return isinstance(other, Dataset) and self.key == other.key

    def __hash__(self):
        return hash(self.key)

    def __str__(self):
        counts = f"{len(self.y_train):,} to train, {len(self.y_validation):,} to validate, {len(self.y_test):,} to test"
        return f"{self.name}: {counts}; {self.classes} classes; normalisation: {self.normalisation}; {self.source}"


def shape_of(name: str) -> tuple[tuple[int, ...], int]:
    """The input shape and the number of classes of a data set that lthviz knows by name."""
    _known(name)
    return DATASETS[name].shape, DATASETS[name].classes


def load(name: str, seed: int = 0, folder: str | Path | None = None) -> Dataset:
    """A data set by name, split into training, validation and test part.

    Parameters
    ----------
    name : one of ``DATASETS``
    seed : int
        Which training examples validate (an eighth, at most 5,000), and for ``mnist1d`` which fresh draw
        (seed 0 is the published one).
    folder : path, optional
        Where the four files of ``mnist`` or ``fashion-mnist`` lie; without it the folder that
        :func:`download` fills, or ``$LTHVIZ_DATA/NAME``.

    Raises
    ------
    ValueError
        For an unknown name.
    FileNotFoundError
        When a full data set is not on this computer; the message says how to get it.
    """
    _known(name)
    return _load(name, count("data_seed", seed, 0), folder)


@lru_cache(maxsize=8)
def _load(name, seed, folder) -> Dataset:
    if name == "mnist1d":
        x, y, x_test, y_test = _mnist1d(seed)
    else:
        base = name.removesuffix("-14")
        x, y, x_test, y_test = _idx(base, folder) if base in _FILES else _embedded(base)
        x, x_test = (np.float32(images) / 255 for images in (x, x_test))
        if name != base:
            x, x_test = (images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)) for images in (x, x_test))
    known = DATASETS[name]
    return _split(name, x, y, x_test, y_test, seed, known.classes, known.normalisation, known.source)


def from_arrays(x, y, x_test=None, y_test=None, *, name="yours", seed=0) -> Dataset:
    """A data set of your own, from arrays or tensors, taken as they are (normalise before).

    Parameters
    ----------
    x, y : arrays or tensors, ``(examples, ...)`` and ``(examples,)``
        Examples, and their integer labels from 0. An eighth of them (at most 5,000) validate.
    x_test, y_test : likewise, optional
        Without them a fifth of the examples is held out.
    name : str
        What it is called in figures; letters, digits, ``-`` and ``_``.
    seed : int
        Which examples are held out.

    Raises
    ------
    ValueError
        For shapes that do not fit, NaN or infinite values, or labels that are no classes.
    """
    if not name or not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"name={name!r}: a data set's name has letters, digits, '-' and '_' only.")
    if (x_test is None) != (y_test is None):
        raise ValueError("from_arrays needs both x_test and y_test, or neither of them.")
    x, y = _examples("x", x, "y", y)
    if x_test is None:
        order = np.random.default_rng([seed, 2]).permutation(len(y))
        held, rest = np.split(order, [max(1, len(y) // 5)])
        x, y, x_test, y_test = x[rest], y[rest], x[held], y[held]
    else:
        x_test, y_test = _examples("x_test", x_test, "y_test", y_test)
        if x.shape[1:] != x_test.shape[1:]:
            raise ValueError(
                f"one example of x has shape {x.shape[1:]}, but one of x_test {x_test.shape[1:]}."
            )
    classes = int(y.max()) + 1
    if classes < 2:
        raise ValueError("y holds only the label 0: at least two classes are needed.")
    if y_test.max() >= classes:
        raise ValueError(f"y_test holds the label {y_test.max()}, but y only labels from 0 to {classes - 1}.")
    if len(y) < 16:
        raise ValueError(f"x has {len(y)} examples to train on: at least 16 are needed.")
    return _split(name, x, y, x_test, y_test, seed, classes, "as given", "your own data")


def download(name: str, folder: str | Path | None = None) -> Path:
    """Download ``mnist`` or ``fashion-mnist`` in full (11 or 30 MB), each file checked against its SHA-256.

    Raises
    ------
    ConnectionError
        When the files cannot be fetched; nothing incomplete is left behind.
    """
    if name not in _FILES:
        raise unknown("dataset", name, _FILES)
    import pooch
    import requests

    folder = Path(folder) if folder else _home(name)
    for file, digest in _FILES[name].items():
        try:
            pooch.retrieve(_ADDRESSES[name] + file, f"sha256:{digest}", file, folder, progressbar=False)
        except (requests.RequestException, OSError, ValueError) as error:
            why = f"{type(error).__name__}. Is there a network?"
            if type(error) is ValueError:  # how pooch reports another checksum
                why = "its SHA-256 is not the one that lthviz knows."
            raise ConnectionError(
                f"dataset={name!r} could not be downloaded: {file}: {why} You can also put the four files into {folder} "
                f"yourself."
            ) from error
    _load.cache_clear()
    return folder


def _known(name) -> None:
    if isinstance(name, str) and name.startswith("own:"):
        raise ValueError(f"dataset={name!r}: data of one's own are not stored; pass the Dataset itself.")
    if not isinstance(name, str):
        raise ValueError(
            f"dataset={' '.join(repr(name).split())[:40]} is not known. Allowed: {', '.join(DATASETS)}, or a Dataset, which "
            "lthviz.data.from_arrays(x, y) makes of arrays or tensors."
        )
    if name not in DATASETS:
        raise unknown("dataset", name, DATASETS)


def _home(name: str) -> Path:
    import platformdirs

    root = (
        os.environ.get("LTHVIZ_DATA") or Path(platformdirs.user_data_dir("lthviz", appauthor=False)) / "data"
    )
    return Path(root) / name


def _split(name, x, y, x_test, y_test, seed, classes, normalisation, source) -> Dataset:
    order = np.random.default_rng([seed, 1]).permutation(len(y))
    validate, train = np.split(order, [min(5000, len(y) // 8)])
    arrays = [x[train], y[train], x[validate], y[validate], x_test, y_test]
    for i, array in enumerate(arrays):
        arrays[i] = np.ascontiguousarray(array, np.int64 if i % 2 else np.float32)
        arrays[i].setflags(write=False)
    return Dataset(name, *arrays, classes, normalisation, source)


def _examples(x_name, x, y_name, y):
    x, y = as_array(x), as_array(y)
    if x.ndim < 2 or y.shape != x.shape[:1] or len(y) == 0:
        raise ValueError(
            f"{x_name} has shape {x.shape} and {y_name} {y.shape}: needed are (examples, ...) and (examples,)."
        )
    if y.dtype.kind not in "iubf" or not np.array_equal(y, np.floor(y)) or y.min() < 0:
        raise ValueError(
            f"{y_name} must hold whole numbers from 0 on, one class each; got values like {y[0]!r}."
        )
    x = x.astype(np.float32)
    if not np.isfinite(x).all():
        raise ValueError(f"{x_name} contains {(~np.isfinite(x)).sum()} values that are NaN or infinite.")
    return x, y.astype(np.int64)


def _embedded(name: str):
    path = files("lthviz") / "datasets" / f"{name.replace('-', '_')}.npz"
    with path.open("rb") as file, np.load(file) as parts:
        return tuple(parts[part] for part in ("x_train", "y_train", "x_test", "y_test"))


def _idx(name: str, folder):
    folder = Path(folder) if folder else _home(name)

    def read(file):
        try:
            raw = gzip.decompress((folder / file).read_bytes())
            dimensions = raw[3]
            shape = np.frombuffer(raw, ">i4", dimensions, 4)
            return np.frombuffer(raw, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"dataset={name!r} is not on this computer: {folder / file} is missing. Fetch it once with "
                f"`python -m lthviz fetch {name}`, or name the folder of its four files."
            ) from None
        except (gzip.BadGzipFile, EOFError, zlib.error, IndexError, ValueError) as error:
            raise ValueError(
                f"dataset={name!r}: {folder / file} is damaged ({error}): fetch it again."
            ) from error

    x, y, x_test, y_test = parts = [read(file) for file in _FILES[name]]
    for pictures, labels in ((x, y), (x_test, y_test)):
        if pictures.shape != (len(labels), 28, 28) or labels.ndim != 1 or not labels.size or labels.max() > 9:
            raise ValueError(
                f"dataset={name!r}: the files in {folder} are not a set of pictures of 28x28 pixels with one label from 0 "
                f"to 9 each: pictures {pictures.shape}, labels {labels.shape}. Fetch them again."
            )
    return parts


def _mnist1d(seed: int):
    from mnist1d.data import get_dataset_args, make_dataset

    args = get_dataset_args()
    args.seed += seed
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:  # the generator seeds Python's and NumPy's global state: put it back
        draw = make_dataset(args)
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
    return draw["x"], draw["y"], draw["x_test"], draw["y_test"]
