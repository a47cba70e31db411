"""``python -m lthviz try METHOD``: one method at work, from nothing to a number, in seconds."""

import time

from .choices import unknown
from .methods import METHODS

LANGUAGE = {
    "wanda": "Wanda (Sun et al. 2024)",
    "sparsegpt": "SparseGPT (Frantar and Alistarh 2023)",
}


def main(method: str = "") -> int:
    """Try one method and print what it did."""
    try:
        if method not in (*METHODS, *LANGUAGE):
            raise unknown("method", method, (*METHODS, *LANGUAGE))
    except ValueError as error:
        print(error)
        return 2
    begun = time.perf_counter()
    (_language if method in LANGUAGE else _digits)(method)
    print(f"{time.perf_counter() - begun:.0f} seconds.")
    return 0


def _digits(method):
    from .experiment import Experiment
    from .result import interval
    from .runs import run

    known = METHODS[method]
    print(f"{known.label}: {known.sentence}.")
    arms = ("rewind", "reinit") if known.kind != "dynamic" else ("rewind",)
    result = run(Experiment(method=method, arms=arms, rate=0.5, rounds=3, seeds=5, steps=500), store=False)
    print(result.describe())
    for density, accuracy, cost in zip(result.density, result.accuracy("rewind"), result.cost, strict=True):
        mean, low, high = (100 * float(value) for value in interval(accuracy))
        print(
            f"  {100 * density:5.1f} % of the weights: {mean:.1f} % of the digits read ({low:.1f} to {high:.1f}), for "
            f"{cost:.2f} dense trainings"
        )
    print(result.verdict(result.rounds, against=None if len(arms) > 1 else "dense"))


def _language(method):
    import torch

    from . import language, llm

    draw = torch.Generator().manual_seed(0)
    model = language.load()
    training, _ = language.split()
    held_out = language.stretches()
    print(
        f"{LANGUAGE[method]}, on a language model of {sum(p.numel() for p in model.parameters()):,} parameters."
    )
    before = llm.perplexity(model, held_out)
    print(llm.prune(model, language.windows(training, 128, draw), method=method, sparsity=0.5))
    after = llm.perplexity(model, held_out)
    print(f"Perplexity on text that it never saw: {before:.2f} dense, {after:.2f} with half of the weights.")
    print("It writes:", repr(language.sample(model, "It is a truth universally ", draw, 120)))
