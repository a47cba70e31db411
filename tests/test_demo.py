"""``python -m lthviz try METHOD``."""

import re

import pytest

from lthviz import demo
from lthviz.__main__ import main


@pytest.mark.parametrize("method", ["imp", "snip", "rigl"])
def test_a_method_on_digits_says_what_it_reaches_and_costs(method, capsys):
    assert main(["try", method]) == 0
    said = capsys.readouterr().out
    ran = said.splitlines()[1]  # what the result says of its experiment
    assert {"imp": "magnitude pruning", "snip": "SNIP", "rigl": "RigL"}[method] in ran
    rows = re.findall(r"([\d.]+) % of the weights: ([\d.]+) % of the digits read .* for ([\d.]+) dense", said)
    density, accuracy, cost = zip(*[map(float, row) for row in rows], strict=True)
    assert len(rows) == 4 and density[0] == 100 and density[-1] < 14
    assert min(accuracy) > 80 and cost[0] == 1
    assert cost[-1] > 1 if method == "imp" else cost[-1] < 0.2


@pytest.mark.parametrize("method", demo.LANGUAGE)
def test_a_method_on_language_says_the_perplexity_before_and_after(method, capsys):
    assert main(["try", method]) == 0
    said = capsys.readouterr().out
    assert f"\n{method}, sparsity 50.0%" in said  # the report of the work itself
    dense, sparse = map(float, re.search(r"([\d.]+) dense, ([\d.]+) with half", said).groups())
    assert 1 < dense < sparse < 2 * dense


def test_an_unknown_method_is_answered_with_the_nearest_names(capsys):
    assert main(["try", "sparsgpt"]) == 2 and main(["try"]) == 2
    assert "Did you mean 'sparsegpt'" in capsys.readouterr().out
