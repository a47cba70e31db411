"""Is everything in place?  `python -m lthviz doctor`, or `lthviz.doctor.report()` in a notebook.

Each check gives findings: what was looked at, whether it is well, and what to do if it is not.
Nothing here imports torch into this process; a second Python tries it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_PRODUCT = "import torch; assert (torch.ones(2, 2) @ torch.ones(2, 2)).sum().item() == 8.0"
# the front-end half of ipywidgets has version numbers of its own
_WIDGET_PAIRS = {"7": "1", "8": "3"}


@dataclass(frozen=True)
class Finding:
    """One thing that was checked; `fix` says what to do when it is not `ok`."""

    ok: bool
    what: str
    fix: str = ""

    def __str__(self) -> str:
        return f"[OK]   {self.what}" if self.ok else f"[FAIL] {self.what}\n       -> {self.fix}"


class Report(list):
    """All findings; shows itself as one line a finding and a closing sentence."""

    @property
    def ok(self) -> bool:
        """Whether every finding is well."""
        return all(finding.ok for finding in self)

    def __repr__(self) -> str:
        failed = sum(not finding.ok for finding in self)
        end = (
            "Everything is in place."
            if self.ok
            else f"{failed} of {len(self)} checks failed; see the arrows."
        )
        return "\n".join([*map(str, self), "", end])


def report() -> Report:
    """Check this installation; takes a few seconds, most of them for torch."""
    findings = Report()
    for check in (_python, _packages, _widgets, _kernel, _torch, _atlas, _datasets, _store):
        findings.extend(check())
    return findings


def main() -> int:
    """Print the report; 0 when everything is in place, 1 otherwise."""
    findings = report()
    print(findings)
    return 0 if findings.ok else 1


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _pip(package: str) -> str:
    return f'"{sys.executable}" -m pip install "{package}"'


def _python() -> Iterator[Finding]:
    found = ".".join(map(str, sys.version_info[:3]))
    fix = "install Python 3.11 or newer and make a new environment with it"
    yield Finding(sys.version_info >= (3, 11), f"Python {found} (at least 3.11) in {sys.prefix}", fix)


def _packages() -> Iterator[Finding]:
    if (own := _version("lthviz")) is None:
        yield Finding(
            False, "lthviz is not installed in this Python", _pip("-e .") + " in the project's folder"
        )
        return
    try:
        from packaging.requirements import Requirement
    except ImportError:
        yield Finding(False, "packaging is missing, so that versions cannot be compared", _pip("packaging"))
        return
    yield Finding(True, f"lthviz {own}")
    for line in metadata.requires("lthviz") or []:
        needed = Requirement(line)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        found = _version(needed.name)
        wanted = str(needed.specifier) or "any version"
        if found is None:
            yield Finding(
                False, f"{needed.name} is missing ({wanted})", _pip(f"{needed.name}{needed.specifier}")
            )
        else:
            fits = needed.specifier.contains(found, prereleases=True)
            fix = _pip(f"{needed.name}{needed.specifier}")
            yield Finding(fits, f"{needed.name} {found} ({wanted})", fix)


def _widgets() -> Iterator[Finding]:
    python, browser = _version("ipywidgets"), _version("jupyterlab_widgets")
    if python is None:
        return
    wanted = _WIDGET_PAIRS.get(python.split(".")[0])
    fits = browser is not None and wanted in (None, browser.split(".")[0])
    yield Finding(
        fits,
        f"ipywidgets {python} and its JupyterLab half, jupyterlab_widgets {browser or '(missing)'}",
        _pip(f"jupyterlab_widgets=={wanted}.*") + ", then start Jupyter again",
    )
    try:
        from jupyter_core.paths import jupyter_path
    except ImportError:
        return
    for package, folder in (
        ("jupyterlab_widgets", "@jupyter-widgets/jupyterlab-manager"),
        ("anywidget", "anywidget"),
    ):
        there = any(
            (Path(place) / folder / "package.json").is_file() for place in jupyter_path("labextensions")
        )
        fix = f'"{sys.executable}" -m pip install --force-reinstall --no-deps {package}, then start Jupyter again'
        yield Finding(there, f"the browser part of {package} is {'there' if there else 'missing'}", fix)


def _kernel() -> Iterator[Finding]:
    try:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    except ImportError:
        return  # said above: ipykernel is missing
    fix = f'"{sys.executable}" -m ipykernel install --sys-prefix'
    try:
        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        yield Finding(False, "Jupyter knows no kernel called python3", fix)
        return
    # a bare name means the Python that runs Jupyter; a path is compared without following links,
    # because the Python of a virtual environment is a link to another one
    same = command in ("python", "python3") or Path(command).parent.absolute() == Path(sys.executable).parent
    said = "this Python" if same else f"another Python: {command}"
    yield Finding(same, f"notebooks run in {said}", fix)


def _torch() -> Iterator[Finding]:
    if _version("torch") is None:
        return
    try:
        done = subprocess.run([sys.executable, "-c", _PRODUCT], capture_output=True, text=True, timeout=120)
        complaint = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        works = done.returncode == 0
    except (OSError, subprocess.TimeoutExpired) as error:
        works, complaint = False, f"{type(error).__name__}: {error}"
    what = "torch multiplies two matrices" if works else f"torch does not work: {complaint}"
    yield Finding(works, what, f'"{sys.executable}" -m pip install --force-reinstall torch')


def _atlas() -> Iterator[Finding]:
    fix = "fetch the project again, or train the shipped results again with: python -m lthviz atlas"
    try:
        from . import store

        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            results = store.atlas()
    except Exception as error:  # whatever breaks here, the reader should see it as a finding
        yield Finding(False, f"the shipped results cannot be read: {type(error).__name__}: {error}", fix)
        return
    for warning in said:
        yield Finding(False, str(warning.message), fix)
    yield Finding(bool(results), f"{len(results)} shipped results can be read", fix)


def _datasets() -> Iterator[Finding]:
    try:
        from . import data

        for name in ("mnist-5k-14", "fashion-5k-14"):
            data.load(name)
    except Exception as error:  # as above
        yield Finding(
            False,
            f"the shipped data cannot be read: {type(error).__name__}: {error}",
            "fetch the project again",
        )
        return
    yield Finding(True, "the shipped data sets can be read")


def _store() -> Iterator[Finding]:
    try:
        from . import store

        folder = store.Store.default().folder
    except ImportError as error:
        yield Finding(False, f"the store cannot be opened: {error}", "install what is missing above")
        return
    fix = f"set the environment variable LTHVIZ_STORE to a folder that you may write to (now: {folder})"
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"a word")
    except OSError as error:
        yield Finding(False, f"your own results cannot be kept in {folder}: {error.strerror or error}", fix)
        return
    yield Finding(True, f"your own results are kept in {folder}")
