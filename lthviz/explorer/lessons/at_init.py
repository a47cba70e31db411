"""Methods that choose before training, with their sanity checks (lesson 08)."""

import numpy as np

from ...arms import ARMS
from ...methods import METHODS
from ...result import interval
from ..explorer import Array, Axis, Bars, Choice, Curves, Explorer, Line, Sentence, Series, Text
from ..tickets import SPAN


def at_init_browser(results) -> Explorer:
    """Methods that choose before training, each with its sanity checks, beside iterative pruning (lesson 08).

    Parameters
    ----------
    results : list of Result
        Iterative pruning first, for comparison; then one a method, alike in seeds and arms. Shown are the rounds that
        all of them have.

    Traits: ``round``, ``method`` (a label such as "SNIP", or "all": the mean over the methods), ``seed`` and ``arms``.

    Raises
    ------
    ValueError
        For results with different densities, seeds or, iterative pruning aside, arms.
    """
    imp, *others = results
    rounds = min(result.rounds for result in results) + 1
    density, layers, sizes = imp.density[:rounds], imp.layers, imp.sizes
    for result in others:
        alike = result.seeds == imp.seeds and result.arms == others[0].arms
        if not alike or not np.allclose(result.density[:rounds], density, atol=1e-3):
            raise ValueError(f"results: {result.experiment.method} differs in densities, seeds or arms.")
    methods, arms = [METHODS[result.experiment.method].label for result in others], others[0].arms
    lines = [
        Line(arm, "as chosen" if arm == "rewind" else look.label, look.colour, look.marker, look.dash)
        for arm, look in ((arm, ARMS[arm]) for arm in arms)
    ] + [Line("imp", METHODS["imp"].label, "#56504B", "v", (1, 3))]

    def with_mean(values):
        """The mean over the methods, then each method: the dimension all|method."""
        return np.concatenate([np.mean(values, 0, keepdims=True), values])

    reference = np.stack([imp.accuracy("rewind")[:rounds]] * (len(others) + 1))
    accuracy = np.stack(
        [with_mean(np.stack([result.accuracy(arm)[:rounds] for result in others])) for arm in arms]
        + [reference]
    )  # (line, all|method, round, seed)
    every = np.stack(
        [np.stack([result.kept[layer][:rounds] for layer in layers], 1) for result in others]
    )  # (method, round, layer, seed)
    arrays = {
        "accuracy": Array(accuracy, ("arm", "all|method", "round", "seed")),
        "density": Array(density, ("round",)),
        "kept": Array(with_mean(every), ("all|method", "round", "layer", "seed")),
        "words": Text(
            [
                _check_words(line, name, accuracy[0, m, r], accuracy[row, m, r], density[r])
                for row, line in enumerate(lines)
                for m, name in enumerate(["the mean of all", *methods])
                for r in range(rounds)
            ],
            ("arm", "all|method", "round"),
        ),
        "alarm": Text(
            [
                _alarm_in_words(chosen, r, layers, sizes)
                for chosen in (dict(zip(methods, every)), *({name: k} for name, k in zip(methods, every)))
                for r in range(rounds)
            ],
            ("all|method", "round"),
        ),
    }
    panels = [
        Sentence(text="words", series="arm", width=12),
        Curves(y="accuracy", x="density", along="round", series="arm", spread="seed", log=True, reverse=True,
               percent="xy", title="Accuracy against density", width=7, xlabel="density, %, log scale",
               ylabel="test accuracy, %", span=SPAN),
        Bars(array="kept", along="layer", names=layers, of=tuple(sizes[layer] for layer in layers), spread="seed",
             unit="weights", title="Weights kept, as chosen", width=5),
        Sentence(text="alarm", width=12),
    ]  # fmt: skip

    def static():
        from ...figures import accuracy_against_density

        return accuracy_against_density(others)._repr_html_()

    seeds = list(imp.seeds)
    choices = [
        Choice("method", methods, "Method", every=f"mean of all {len(methods)}"),
        Choice("seed", seeds, "Seed", every=f"all {len(seeds)} seeds"),
    ]
    start = int(np.argmin(abs(np.log(density / 0.07))))
    text = f"Masks chosen before training by {', '.join(methods)}, and their sanity checks. {others[0].experiment.describe()}"
    series = Series("arm", lines, "arms", "Arms")
    axis = Axis("round", list(range(rounds)), "Round", start=start)
    explorer = Explorer([axis], panels, arrays, series, choices, text, static)
    explorer.method = methods[0]
    explorer.arms = [line.name for line in lines if line.name != "invert"]
    return explorer


def _check_words(line, method, chosen, values, density) -> str:
    mean, low, high = (100 * float(part) for part in interval(values))
    if density == 1:
        return f"The dense network reaches {mean:.1f} %." if line.name == "rewind" else ""
    if line.name == "rewind":
        return f"{method[0].upper()}{method[1:]} at {100 * density:.1f} % of the weights: {mean:.1f} % ({low:.1f} to {high:.1f})."
    mean, low, high = (100 * float(part) for part in interval(chosen - values))
    return f"As chosen minus {line.label}: {mean:+.1f} points ({low:+.1f} to {high:+.1f})."


def _alarm_in_words(kept, round, layers, sizes) -> str:
    """``kept`` maps methods to arrays (R, L, S): is there a layer without weights?"""
    empty = {
        name: [layer for i, layer in enumerate(layers) if (values[round, i] == 0).any()]
        for name, values in kept.items()
    }
    said = [f"{', '.join(gone)} with {name}" for name, gone in empty.items() if gone]
    if said:
        return f"Layer collapse: no weight is left in {'; '.join(said)}."
    if len(kept) > 1:
        return "No layer is empty with any of the methods."
    values = next(iter(kept.values()))[round].mean(1)
    share = {layer: values[i] / sizes[layer] for i, layer in enumerate(layers)}
    least = min(share, key=share.get)
    return f"No layer is empty. The sparsest, {least}, keeps {100 * share[least]:.1f} %."
