"""Lesson 10: solutions against the library."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from lthviz import llm, studies
from lthviz.exercises import language_models as lesson
from lthviz.explorer.lessons.language_models import language_browser

from .helpers import shown


@pytest.fixture(scope="module")
def layer():
    """Weights (6, 16) and correlated inputs (80, 16)."""
    rng = np.random.default_rng(7)
    return rng.normal(size=(6, 16)), rng.normal(size=(80, 16)) @ rng.normal(size=(16, 16))


class Single(nn.Module):
    """One linear layer as a decoder of one block; token t is row t of ``inputs``."""

    def __init__(self, weights, inputs):
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(torch.tensor(inputs))
        linear = nn.Linear(weights.shape[1], len(weights), bias=False)
        linear.weight = nn.Parameter(torch.tensor(weights))
        self.blocks = nn.ModuleList([nn.Sequential(linear)])

    def forward(self, tokens):
        return self.blocks[0](self.embedding(tokens))


def by_the_library(weights, inputs, method, **target):
    model = Single(weights, inputs)
    report = llm.prune(model, torch.arange(len(inputs))[None], method, **target)
    return model.blocks[0][0].weight.detach().numpy(), report.rows[0]["error"]


@pytest.mark.parametrize("sparsity", [0.25, 0.6])
def test_wanda_and_the_error_are_the_librarys(layer, sparsity):
    weights, inputs = layer
    new, error = by_the_library(weights, inputs, "wanda", sparsity=sparsity)
    mask = lesson.wanda_mask(weights, inputs, sparsity)
    assert np.array_equal(new, weights * mask)
    assert lesson.layer_error(weights, weights * mask, inputs) == pytest.approx(error, rel=1e-6)


def test_two_of_four_is_the_librarys(layer):
    weights, inputs = layer
    new, _ = by_the_library(weights, inputs, "magnitude", pattern=(2, 4))
    assert np.array_equal(new, weights * lesson.two_of_four(np.abs(weights)))


def test_removing_a_weight_is_least_squares(layer):
    weights, inputs = layer
    for j in range(16):
        others = np.arange(16) != j
        best = np.linalg.lstsq(inputs[:, others], inputs @ weights[0], rcond=None)[0]
        assert np.allclose(lesson.remove_weight(weights[0], j, inputs.T @ inputs)[others], best)


def test_other_ways_to_write_it_pass():
    def by_solving(row, j, H):
        unit = np.zeros(len(row))
        unit[j] = 1
        column = np.linalg.solve(H, unit)
        return row - column * row[j] / column[j]

    def by_sums(weights, inputs, sparsity):
        scores = weights**2 * (inputs**2).sum(0)
        return scores.argsort(1).argsort(1) >= int(sparsity * weights.shape[1])

    def by_loops(scores):
        mask = np.zeros(scores.shape, int)
        for i, row in enumerate(scores):
            for start in range(0, len(row), 4):
                mask[i, start + np.argsort(row[start : start + 4])[2:]] = 1
        return mask

    assert lesson.check_remove_weight(by_solving).passed
    assert lesson.check_wanda_mask(by_sums).passed
    assert lesson.check_two_of_four(by_loops).passed


# The explorer of the lesson


@pytest.fixture(scope="module")
def study():
    """Invented numbers in the shape of ``lthviz.language.study``."""
    rng = np.random.default_rng(3)
    return {
        "methods": np.array(["magnitude", "wanda", "sparsegpt"]),
        "strengths": np.array([1, 4]),
        "sparsities": np.array([0.0, 0.5]),
        "layers": np.array(["blocks.0.up", "blocks.0.down"]),
        "perplexity": rng.uniform(3, 9, (3, 2, 2, 3)),
        "error": rng.random((3, 2, 2, 3, 2)),
        "sample": np.array([[[f"{m} {o}\n{p}" for p in "xy"] for o in "uv"] for m in "abc"]),
    }


def test_the_explorer_shows_the_study(study):
    explorer = language_browser(study)
    assert explorer.arrays["perplexity"]["dims"] == ["method", "strength", "sparsity", "seed"]
    assert np.allclose(shown(explorer, "perplexity"), study["perplexity"])
    assert np.allclose(shown(explorer, "error"), 1000 * study["error"].mean(axis=3), rtol=1e-6)
    words = explorer.arrays["words/wanda"]["texts"]
    assert len(words) == 12 and [text != "" for text in words] == [False] * 4 + [True] * 4 + [False] * 4
    assert words[5] == f"Perplexity {study['perplexity'][1, 0, 1].mean():.2f}: “b u y …”"
    explorer.strength, explorer.sparsity, explorer.layer = 4, 0.0, "blocks.0.down"
    assert "alt=" in explorer._static()


def test_the_shipped_study_is_whole_and_needs_no_torch():
    code = (
        "from lthviz.explorer.lessons.language_models import language_browser\n"
        "from lthviz.studies import load\nimport sys\n"
        "language_browser(load('language_models')); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
    shipped = studies.load("language_models")
    places = tuple(len(shipped[name]) for name in ("methods", "strengths", "sparsities"))
    assert shipped["perplexity"].shape == (*places, 3)
    assert shipped["error"].shape == (*places, 3, len(shipped["layers"])) and len(shipped["layers"]) == 24
    assert shipped["sample"].shape == places
    assert all(np.isfinite(shipped[name]).all() for name in ("perplexity", "error"))
    assert shipped["methods"].tolist() == list(llm.METHODS)


# What the prose of the lesson says, against the study


def test_what_the_lesson_says_of_the_study():
    shipped = studies.load("language_models")
    magnitude, wanda, sparsegpt = shipped["perplexity"].mean(-1)
    at = shipped["sparsities"].round(2).tolist().index
    seventy = [means[0, at(0.7)] for means in (sparsegpt, magnitude, wanda)]
    assert seventy == pytest.approx([5.66, 9.83, 8.96], abs=0.006)
    assert magnitude[0, at(0.8)] == pytest.approx(22.2, abs=0.06) and wanda[0, at(0.8)] == pytest.approx(
        23.9, abs=0.06
    )
    assert magnitude[:, at(0.5)] == pytest.approx([4.05, 4.61, 4.94], abs=0.006)
    assert (np.diff(sparsegpt[:, at(0.7) :], axis=0) < 0).all()  # a little down with the outliers
    for s in (0.3, 0.5, 0.6, 0.7):
        assert sparsegpt[0, at(s)] < min(magnitude[0, at(s)], wanda[0, at(s)])
    last = shipped["strengths"].tolist().index(16)
    for s in (0.3, 0.5, 0.6):
        assert wanda[last, at(s)] < magnitude[last, at(s)]
    assert np.allclose(wanda[0], wanda[last], rtol=0.01)
    assert (magnitude[last, at(0.3) : at(0.7)] > magnitude[0, at(0.3) : at(0.7)]).all()
    assert np.allclose(shipped["perplexity"][:, :, 0], shipped["perplexity"][0, 0, 0, 0], rtol=1e-3)
