"""Every way of pruning the tiny language model, with and without outlier features: what lesson 10 shows."""

from itertools import product

import numpy as np

from ..language import PROMPT, load, sample, split, stretches, windows, with_outliers
from ..llm import METHODS, perplexity, prune
from ..train import generator as seeded


def study() -> dict:
    """The shipped model, three draws of calibration text and outlier features; shapes as below."""
    return pruned_in_all_ways(
        load(), list(METHODS), [1, 4, 16], [0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], seeds=3
    )


def pruned_in_all_ways(model, methods, strengths, sparsities, seeds: int) -> dict:
    """Every method at every sparsity and outlier strength: what the explorer of lesson 10 shows.

    A seed draws 32 calibration sequences from the training text, and which 6 features of every norm are outliers.

    Returns
    -------
    dict
        ``perplexity (method, strength, sparsity, seed)`` on :func:`lthviz.language.stretches`, ``error (method, strength, sparsity,
        seed, layer)`` as :func:`lthviz.llm.prune` reports it, ``sample (method, strength, sparsity)``: what the model
        of the first seed writes, ``layers (layer,)``, and the arguments.
    """
    places = list(product(range(len(methods)), range(len(strengths)), range(len(sparsities)), range(seeds)))
    found = {}
    for m, o, p, seed in places:
        pruned = with_outliers(model, strengths[o], 6, seeded(seed, "outliers"))
        calibration = windows(split()[0], 32, seeded(seed, "calibration"))
        rows = prune(pruned, calibration, methods[m], sparsities[p]).rows
        read = perplexity(pruned, stretches())
        text = sample(pruned, PROMPT, seeded(0, "sample"), 150) if seed == 0 else ""
        found[m, o, p, seed] = read, [row["error"] for row in rows], text
    shape = len(methods), len(strengths), len(sparsities), seeds
    return {
        "perplexity": np.array([found[place][0] for place in places]).reshape(shape),
        "error": np.array([found[place][1] for place in places]).reshape(*shape, -1),
        "sample": np.array([found[place][2] for place in places]).reshape(shape)[..., 0],
        "layers": np.array([row["name"] for row in rows]),
        "methods": np.array(methods),
        "strengths": np.array(strengths),
        "sparsities": np.array(sparsities),
    }
