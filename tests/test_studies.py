"""Shipped studies: whole, read-only, readable without torch, made by their own modules."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from lthviz import studies


@pytest.mark.parametrize("name", studies.STUDIES)
def test_a_study_is_shipped_with_how_it_was_made(name):
    assert callable(import_module(f"lthviz.studies.{name}").study)
    arrays, made = studies.load(name), studies.made(name)
    assert arrays and made["seconds"] > 0 and made["torch"] and made["numpy"]
    for values in arrays.values():
        assert values.dtype != object
        with pytest.raises(ValueError, match="read-only"):
            values[...] = values


def test_nothing_lies_there_that_no_module_makes():
    assert {path.stem for path in Path(studies.__file__).parent.glob("*.npz")} == set(studies.STUDIES)


def test_reading_studies_needs_no_torch():
    code = "import sys; from lthviz import studies\nfor name in studies.STUDIES: studies.load(name)\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_unknown_study_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="Did you mean 'language_models'"):
        studies.load("language_model")


def test_the_command_keeps_what_the_module_gives(tmp_path, monkeypatch, capsys):
    from lthviz.studies import language_models

    monkeypatch.setattr(studies, "files", lambda package: tmp_path)
    monkeypatch.setattr(language_models, "study", lambda: {"seen": [1.5, 2.5]})
    studies.main("language_models")
    assert studies.load("language_models")["seen"].tolist() == [1.5, 2.5]
    assert "language_models.npz" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="not known"):
        studies.main("weather")
