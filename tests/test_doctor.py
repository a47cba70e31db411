"""The doctor names what is broken: each test breaks one thing for real, mostly in a second Python."""

import subprocess
import sys
import textwrap

import pytest

from lthviz import doctor
from lthviz.__main__ import COMMANDS


def python(code: str, tmp_path, **env) -> subprocess.CompletedProcess:
    """Run `code` in a fresh Python whose store is in `tmp_path`."""
    import os

    full = {**os.environ, "LTHVIZ_STORE": str(tmp_path / "store"), **env}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=full, cwd=tmp_path
    )


def test_all_is_well_here():
    report = doctor.report()
    assert report.ok, str(report)
    assert "torch multiplies two matrices" in str(report)
    assert str(report).endswith("Everything is in place.")
    assert all(str(finding).startswith("[OK]") for finding in report)


def test_the_command_ends_with_1_and_the_fix_when_the_store_is_a_file(tmp_path):
    store = tmp_path / "store"
    store.write_text("I am a file")
    done = python("from lthviz.__main__ import main; raise SystemExit(main(['doctor']))", tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    failed = done.stdout[done.stdout.index("[FAIL]") :]
    assert str(store) in failed and "LTHVIZ_STORE" in failed
    assert store.read_text() == "I am a file"


@pytest.mark.parametrize("package", ["anywidget", "voila", "jupyterlab_widgets", "torch"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(package, tmp_path):
    done = python(
        f"""
        from importlib import metadata
        version = metadata.version
        def hidden(name):
            if name == {package!r}:
                raise metadata.PackageNotFoundError(name)
            return version(name)
        metadata.version = hidden
        from lthviz import doctor
        findings = [*doctor._packages(), *doctor._widgets(), *doctor._torch()]
        for finding in findings:
            if not finding.ok:
                print(finding)
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert package in done.stdout and "[FAIL]" in done.stdout and "-m pip install" in done.stdout


def test_a_torch_that_cannot_start_is_a_finding(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch is missing')")
    code = "from lthviz import doctor; print(*doctor._torch())"
    done = python(code, tmp_path, PYTHONPATH=str(tmp_path))
    assert "[FAIL]" in done.stdout and "libtorch is missing" in done.stdout, done.stdout + done.stderr


def test_a_kernel_of_another_python_is_a_finding(tmp_path):
    kernel = tmp_path / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(
        '{"argv": ["/elsewhere/bin/python"], "display_name": "P", "language": "python"}'
    )
    done = python("from lthviz import doctor; print(*doctor._kernel())", tmp_path, JUPYTER_PATH=str(tmp_path))
    assert "[FAIL]" in done.stdout and "/elsewhere/bin/python" in done.stdout, done.stdout + done.stderr


def test_a_missing_browser_part_is_a_finding(monkeypatch, tmp_path):
    from jupyter_core import paths

    monkeypatch.setattr(paths, "jupyter_path", lambda *parts: [str(tmp_path)])
    bad = [finding for finding in doctor._widgets() if not finding.ok]
    assert ["anywidget" in finding.what for finding in bad] == [False, True]


def test_a_damaged_atlas_is_a_finding(monkeypatch, tmp_path):
    from lthviz import store

    (tmp_path / "damaged.npz").write_bytes(b"not a zip file")
    monkeypatch.setattr(store, "atlas_store", lambda: store.Store(tmp_path))
    bad = [finding for finding in doctor._atlas() if not finding.ok]
    assert any("damaged.npz" in finding.what for finding in bad)
    assert all("lthviz atlas" in finding.fix for finding in bad)


def command(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "lthviz", *words], capture_output=True, text=True)


def test_help_names_every_command():
    done = command()
    assert done.returncode == 0
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_asking_a_command_for_help_does_nothing_else(name):
    done = command(name, "--help")
    assert done.returncode == 0
    assert f"python -m lthviz {name}" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["atlas", "--quick"], "knows no options"),
        (["prune"], "no command 'prune'"),
        (["fetch"], "Say which"),
        (["fetch", "imagenet"], "imagenet"),
        (["app", "no-such.ipynb"], "no notebook 'no-such.ipynb'"),
    ],
)
def test_a_wrong_command_is_answered_with_a_sentence(words, said):
    done = command(*words)
    assert done.returncode != 0
    assert said in done.stdout and "Traceback" not in done.stderr
