"""The project as a whole: its lists of requirements agree, the wheel is complete, imports stay light."""

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lthviz.__main__ import main

ROOT = Path(__file__).resolve().parent.parent
CONDA_NAMES = {"pytorch-cpu": "torch", "matplotlib-base": "matplotlib"}
TEXT = {
    ".py",
    ".toml",
    ".txt",
    ".md",
    ".yml",
    ".yaml",
    ".cff",
    ".json",
    ".ipynb",
    ".js",
    ".css",
    ".html",
    ".j2",
    "",
}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def bounds(lines) -> dict[str, str]:
    """{name: version bounds} of requirement lines, names in one spelling."""
    needed = [Requirement(line) for line in lines]
    return {canonicalize_name(one.name): str(one.specifier) for one in needed}


def tracked() -> list[Path]:
    """The files of the project: what git tracks or would track; without git, everything but environments."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    return [path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file()]


def test_conda_environment_names_the_same_requirements_and_bounds():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert conda["channels"] == ["conda-forge", "nodefaults"]
    *packages, last = conda["dependencies"]
    lines = [re.sub(r"^[\w.-]+", lambda name: CONDA_NAMES.get(name[0], name[0]), line) for line in packages]
    found = bounds(line for line in [*lines, *last["pip"]] if line != "-e .")
    assert "-e ." in last["pip"]
    assert found.pop("python") == project()["requires-python"]
    found.pop("pip")
    assert found == bounds(project()["dependencies"])


def test_constraints_are_exact_and_satisfy_the_ranges():
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            assert re.fullmatch(r"[\w.-]+==[\w.]+", line), f"not an exact pin without a local part: {line}"
            name, version = line.split("==")
            pins[canonicalize_name(name)] = version
    everything = [*project()["dependencies"], *project()["optional-dependencies"]["test"]]
    for line in everything:
        needed = Requirement(line)
        if needed.name != "setuptools":  # builds, and is not part of what runs
            assert needed.specifier.contains(pins[canonicalize_name(needed.name)], prereleases=True), line


def test_one_version_everywhere():
    import lthviz

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project()["version"] == lthviz.__version__ == cited["version"]


def test_doctor_sees_the_ranges_of_pyproject():
    from importlib import metadata

    installed = [line for line in metadata.requires("lthviz") if "extra ==" not in line]
    assert bounds(installed) == bounds(project()["dependencies"]), "install again: pip install -e ."


def test_what_tools_make_is_not_part_of_the_project():
    made = {
        ".venv",
        "__pycache__",
        ".ipynb_checkpoints",
        ".ruff_cache",
        ".pytest_cache",
        "build",
        "lthviz.egg-info",
    }
    assert not [path for path in tracked() if made & set(path.relative_to(ROOT).parts)]


def test_no_file_names_a_place_on_one_machine():
    places = re.compile(r"/(?:home|Users|root|work|opt|mnt)/[\w.-]+|[A-Z]:\\\\Users")
    found = []
    for path in tracked():
        if path.suffix in TEXT and path.name != Path(__file__).name:
            text = path.read_text(encoding="utf-8", errors="replace")
            found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in places.finditer(text)]
    assert found == []


def test_notebooks_are_stored_without_outputs():
    for path in tracked():
        if path.suffix == ".ipynb":
            notebook = json.loads(path.read_text(encoding="utf-8"))
            code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
            assert not any(cell["outputs"] or cell["execution_count"] for cell in code), (
                f"outputs in {path.name}"
            )
            assert "widgets" not in notebook["metadata"], f"widget state in {path.name}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The names in a wheel built from a copy of the project, offline."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "project"
    needed = ("lthviz", "pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT")
    for path in tracked():
        if path.relative_to(ROOT).parts[0] not in needed:
            continue
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "--wheel-dir", str(folder), str(copy)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(folder.glob("lthviz-*.whl"))) as built:
        return set(built.namelist())


def test_the_wheel_holds_every_file_of_the_package(wheel):
    package = {
        path.relative_to(ROOT).as_posix() for path in tracked() if path.is_relative_to(ROOT / "lthviz")
    }
    assert package <= wheel
    for name in ("serving/config/voila.json", "serving/voila/templates/lthviz/index.html.j2"):
        assert f"lthviz/{name}" in wheel
    assert any(name.startswith("lthviz/datasets/") for name in wheel)
    assert any(name.startswith("lthviz/atlas/") and name.endswith(".npz") for name in wheel)
    assert {"lthviz/explorer/explorer.js", "lthviz/explorer/explorer.css"} <= wheel


def test_the_wheel_holds_nothing_else(wheel):
    assert {name.split("/")[0] for name in wheel if ".dist-info/" not in name} == {"lthviz"}


def loaded(statement: str) -> set[str]:
    """The top-level modules that a fresh Python has loaded after `statement`."""
    code = f"{statement}\nimport sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_lthviz_is_light():
    assert not loaded("import lthviz") & {"torch", "matplotlib", "ipywidgets", "numpy"}


def test_looking_at_stored_results_needs_no_torch():
    looking = "import lthviz\nfor result in lthviz.atlas(): result.density, result.accuracy('rewind')"
    assert "torch" not in loaded(looking)


def test_exploring_needs_no_torch():
    assert "torch" not in loaded("import lthviz\nlthviz.explore()")


@pytest.mark.parametrize("name", ["app", "lab", "test", "bench", "atlas"])
def test_make_knows_the_commands(name):
    done = subprocess.run(["make", "--dry-run", name], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_second_make_builds_nothing():
    ready = ROOT / ".venv" / ".ready"
    if not ready.exists():
        pytest.skip("the environment was not built by make")
    done = subprocess.run(["make", "--dry-run", "app"], cwd=ROOT, capture_output=True, text=True)
    assert "pip install" not in done.stdout, "pyproject.toml or constraints.txt is newer than the environment"


def test_the_table_of_the_readme_is_what_its_command_prints(capsys):
    from benchmarks import effects

    effects.main()
    printed = {re.sub(r" \([ \d.]+\)|\s+", "", line) for line in capsys.readouterr().out.splitlines()}
    rows = re.findall(r"^\| (\d[\d.]+ %) \| (.+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(rows) == 8
    for density, cells in rows:
        assert re.sub(r"[\s|]", "", density + cells) in printed, density


@pytest.mark.parametrize("words", ["try imp snip", "doctor x", "language x", "atlas a b", "nonsense"])
def test_a_command_with_wrong_words_says_which_there_are(words, capsys):
    assert main(words.split()) == 2
    said = capsys.readouterr().out
    assert words in said and "python -m lthviz try" in said
