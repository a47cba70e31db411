"""Where results are kept: one file a finished result, one folder a running one; NumPy and JSON only.

A result lies in ``KEY.npz``, KEY being the content hash of its experiment. While it runs, each
finished round lies in ``KEY.running/``, so that an interrupted run goes on where it stopped. Every
file is written beside its place and then moved there, so that none is ever half there.
"""

import json
import os
import shutil
import struct
import tempfile
import warnings
import zipfile
import zlib
from importlib.resources import files
from itertools import count
from pathlib import Path

import numpy as np

from .experiment import FORMAT, Experiment
from .result import Result

#: What reading a damaged file may raise: NumPy, zipfile and zlib each have their own ways.
_DAMAGE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RuntimeError,
    struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class _Foreign(ValueError):
    """A sound file of another version of lthviz, or of another experiment."""


class StoreError(OSError):
    """The store cannot be written or read; the message says what to do."""


class Store:
    """A folder of results.

    Parameters
    ----------
    folder : path
        Made when something is first saved.
    below : Store, optional
        A second store to look into when this one does not have a result; never written.
    read_only : bool
        Leave even damaged files where they are.
    """

    def __init__(self, folder, below: "Store | None" = None, read_only: bool = False):
        self.folder = Path(folder)
        self.below = below
        self.read_only = read_only

    @classmethod
    def default(cls) -> "Store":
        """The user's own store (``$LTHVIZ_STORE`` or the user's data folder) over the atlas."""
        import platformdirs

        own = os.environ.get("LTHVIZ_STORE")
        return cls(
            own or Path(platformdirs.user_data_dir("lthviz", appauthor=False)) / "store", below=atlas_store()
        )

    def load(self, experiment: Experiment) -> Result | None:
        """The stored result of an experiment, or None. A damaged file is set aside, named, and not used."""
        path = self._path(experiment)
        if _there(path):
            try:
                result = _read(path, experiment)
                if not self.read_only:  # what a process left that ended between keeping the result and this
                    shutil.rmtree(self._running(experiment), ignore_errors=True)
                return result
            except _DAMAGE as error:
                self._set_aside(path, error)
        return self.below.load(experiment) if self.below else None

    def save(self, result: Result) -> None:
        """Keep a finished result, and drop its rounds."""
        header = {"format": FORMAT, "config": result.experiment.config, "meta": result.meta}
        write_arrays(self._path(result.experiment), dict(result._arrays), header)
        shutil.rmtree(self._running(result.experiment), ignore_errors=True)

    def load_part(self, experiment: Experiment, name: str) -> dict[str, np.ndarray] | None:
        """A part of a running experiment (``start`` or ``round-NNN``), or None."""
        path = self._running(experiment) / f"{name}.npz"
        if not _there(path):
            return None
        try:
            header, arrays = read_arrays(path)
            if header["config"] != experiment.config:
                raise _Foreign("it belongs to another experiment")
            return arrays
        except _DAMAGE as error:
            self._set_aside(path, error)
            return None

    def save_part(self, experiment: Experiment, name: str, arrays: dict) -> None:
        """Keep a part of a running experiment."""
        header = {"format": FORMAT, "config": experiment.config}
        path = self._running(experiment) / f"{name}.npz"
        for attempt in count():
            try:
                return write_arrays(path, arrays, header)
            except StoreError as error:
                # another process may have finished the same and taken the folder away: make it again
                if attempt == 9 or not isinstance(error.__cause__, FileNotFoundError):
                    raise

    def results(self) -> list[Result]:
        """Every result in this store, in the order of dataset, model and rate."""
        found = []
        for path in sorted(self.folder.glob("*.npz")):
            try:
                found.append(_read(path))
            except _Foreign as error:
                warnings.warn(f"The stored result {path.name} is passed over: {error}.", stacklevel=2)
            except _DAMAGE as error:
                self._set_aside(path, error)
        return sorted(found, key=lambda result: [str(result.experiment.dataset), result.experiment.model,
                                                 result.experiment.rate])  # fmt: skip

    def _path(self, experiment):
        return self.folder / f"{experiment.key}.npz"

    def _running(self, experiment):
        return self.folder / f"{experiment.key}.running"

    def _set_aside(self, path: Path, error: Exception) -> None:
        """Make room for a new result without losing what lies there; a file that only cannot be read now stays."""
        where = "It is left where it is"
        if not self.read_only and not isinstance(error, OSError):
            names = (f"{path.name}.damaged{n or ''}" for n in count())
            aside = next(path.with_name(name) for name in names if not path.with_name(name).exists())
            try:
                os.replace(path, aside)
                where = f"It was set aside as {aside.name}"
            except OSError:
                pass  # a folder that cannot be written: the warning says that the file is still there
        warnings.warn(
            f"The stored result {path.name} cannot be used ({type(error).__name__}: {error}). {where} and is "
            "computed again when needed.",
            stacklevel=3,
        )


def atlas() -> list[Result]:
    """The results that ship with lthviz, made by ``make atlas``."""
    return atlas_store().results()


def atlas_store() -> Store:
    """The read-only store that ships with lthviz."""
    return Store(str(files("lthviz") / "atlas"), read_only=True)


def read_arrays(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """The header and the arrays, read-only, of a file that :func:`write_arrays` wrote; whole, or one of _DAMAGE."""
    with np.load(path, allow_pickle=False) as parts:
        header = json.loads(parts["header"].tobytes().decode())
        if header["format"] != FORMAT:
            raise _Foreign(f"format {header['format']} is not {FORMAT}")
        arrays = {name: parts[name] for name in parts.files if name != "header"}
    if list(arrays) != header.get("arrays", list(arrays)):
        raise ValueError("arrays are missing")
    for values in arrays.values():
        values.setflags(write=False)
    return header, arrays


def _there(path: Path) -> bool:
    """Whether a file exists; a StoreError where one may not look."""
    try:
        return path.exists()
    except PermissionError as error:
        raise StoreError(
            f"The store {path.parent} cannot be read ({error.strerror}). Name another folder with store=..., or keep "
            "nothing with store=False."
        ) from error


def _read(path: Path, experiment: Experiment | None = None) -> Result:
    header, arrays = read_arrays(path)
    try:
        stored = Experiment.from_config(header["config"])
    except ValueError as error:
        raise _Foreign(f"its settings are not allowed here: {error}") from error
    if experiment is not None and experiment.config != stored.config:
        raise _Foreign("it belongs to another experiment")
    return Result(experiment or stored, arrays, header["meta"])


def write_arrays(path: Path, arrays: dict, header: dict) -> None:
    """Write arrays and a JSON header to an npz file, whole or not at all."""
    encoded = np.frombuffer(json.dumps(header | {"arrays": list(arrays)}).encode(), np.uint8)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=path.name + ".", suffix=".tmp", delete=False
        ) as file:
            temporary = file.name
            np.savez_compressed(file, header=encoded, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # others may read it, as any file that one writes
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise StoreError(
            f"The store {path.parent} cannot be written ({error.strerror or error}). Finished rounds are safe; "
            "name another folder with store=..., or keep nothing with store=False."
        ) from error
