"""The lottery ticket's explorer: prune rate, round and seed over finished results."""

import math
from collections.abc import Sequence

import numpy as np

from ..atlas_build import CLASS_ROOM
from ..methods import METHODS
from ..result import Result
from ..store import atlas_store
from .explorer import (
    Array,
    Axis,
    Choice,
    Curves,
    Explorer,
    Line,
    Number,
    Picture,
    Sentence,
    Series,
    Stack,
    Text,
)

#: Masks of the first layer travel to the browser only up to this size, in bytes.
MASK_LIMIT = 1_500_000
#: The scale of accuracy shows what is at most this far below the best; the rest falls out of the picture.
SPAN = 0.45
#: So few seeds that a difference may well hide in their interval.
FEW = {2: "Two", 3: "Three", 4: "Four", 5: "Five"}


def explore(results: Result | Sequence[Result] | None = None) -> Explorer:
    """Sliders over finished results: what pruning, rewinding and re-initialising do.

    Parameters
    ----------
    results : Result or list of Result, optional
        Results that differ in nothing but ``rate`` (and ``rounds``). Without it the class-room results of the atlas.

    Returns
    -------
    Explorer
        With the traits ``rate``, ``round``, ``seed`` ("all" or one of the seeds) and ``arms``.

    Raises
    ------
    ValueError
        For results that differ in more than the rate.
    """
    results = [results] if isinstance(results, Result) else list(classroom() if results is None else results)
    return Explorer(**declare(results), static=lambda: twin(results))


def classroom() -> list[Result]:
    """The results of the atlas for the class-room experiment, one for every rate."""
    stored = (atlas_store().load(experiment) for experiment in sorted(CLASS_ROOM, key=lambda e: e.rate))
    chosen = [result for result in stored if result]
    if not chosen:
        raise ValueError("results=None: the atlas holds no class-room results; build it with `make atlas`.")
    return chosen


def usual_accuracy(dataset: str) -> tuple[float, float] | None:
    """The scale of accuracy on which the class-room results of this data set are shown; None without any."""
    found = [result for result in classroom() if result.experiment.dataset == dataset]
    tops = [np.nanmax(result.accuracy(arm)) for result in found for arm in result.arms]
    return (float(max(tops)) - SPAN, float(max(tops))) if tops else None


def declare(
    results: Sequence[Result], follow: bool = False, xlim: tuple | None = None, covers: tuple | None = None
) -> dict:
    """Axes, choices, series, arrays and panels for :class:`Explorer`.

    follow: stay on the newest round while the results grow. xlim: the range of densities, when it is known before.
    covers: accuracies that the scales show in any case.
    """
    results = sorted(results, key=lambda result: result.experiment.rate)
    _check(results)
    first = results[0]
    rows = [result.rounds + 1 for result in results]
    rates = [result.experiment.rate for result in results]
    arms, seeds = first.arms, first.seeds

    def stacked(read):
        """(arm, rate/round, ...) from one array a result and an arm."""
        return np.stack([np.concatenate([read(result, arm) for result in results]) for arm in arms])

    kept = np.concatenate([sum(result.kept[layer] for layer in result.layers) for result in results])
    arrays = {
        "accuracy": Array(stacked(lambda result, arm: result.accuracy(arm)), ("arm", "rate/round", "seed")),
        "arm_density": Array(stacked(lambda result, arm: result.arm_density(arm)), ("arm", "rate/round")),
        "density": Array(np.concatenate([result.density for result in results]), ("rate/round",)),
        "kept": Array(kept, ("rate/round", "seed")),
        "curve": Array(stacked(lambda result, arm: result.curve(arm)), ("arm", "rate/round", "seed", "step")),
        "steps": Array(first.steps, ("step",)),
        "verdict": Text(
            [text for arm in arms for result in results for text in _verdicts(result, arm)],
            ("arm", "rate/round", "all|seed"),
        ),
    }
    pictures = (
        [] if METHODS[first.experiment.method].kind == "dynamic" else _mask_pictures(results, rows, arrays)
    )
    total = sum(first.sizes.values())
    wide = 4 if pictures else 6
    panels = [
        Number(array="density", percent=True, title="kept (density)", width=2),
        Number(array="kept", spread="seed", title="weights", of=f"{total:,}", width=2),
        Sentence(text="verdict", series="arm", versus=True, width=8,
                 otherwise="Tick rewind, the ticket, to compare it with the others."),
        Curves(y="accuracy", x="arm_density", along="round", series="arm", spread="seed", log=True, reverse=True,
               percent="xy", width=5 if pictures else 6, title="Accuracy against density",
               xlabel="weights kept (density, %, log scale)", ylabel="test accuracy, %", span=SPAN, xlim=xlim,
               covers=covers),
        Curves(y="curve", x="steps", along="step", series="arm", spread="seed", percent="y", width=wide,
               title="How this round learns", xlabel="optimiser steps", ylabel="test accuracy, % (thin line: the dense network)", labels=False,
               span=SPAN, covers=covers, reference={"arm": 0, "round": 0, "label": "dense"}),
    ]  # fmt: skip
    if pictures:
        panels.append(Stack(panels=tuple(pictures), width=3))
    axes = [
        Axis("rate", rates, "Prune rate", _percent_format(rates), start=0.2 if 0.2 in rates else None),
        Axis(
            "round",
            list(range(max(rows))),
            "Round",
            counts={"rate": rows},
            start=None if follow else _start(results),
            follow=follow,
        ),
    ]
    return {
        "axes": axes,
        "choices": [
            Choice("seed", list(seeds), "Seed", every=f"all {len(seeds)} seeds" if len(seeds) > 1 else "all")
        ],
        "series": Series("arm", [_line(first.look(arm)) for arm in arms], trait="arms", label="Arms"),
        "arrays": arrays,
        "panels": panels,
        "description": first.describe(),
    }


def _mask_pictures(results, rows, arrays) -> list[Picture]:
    """Pictures of the first layer's mask; adds what they show to the arrays."""
    pictures, first = [], results[0]
    layer = first.layers[0]
    out, *inputs = first.pruned_at[layer].shape[1:]
    flat = [result.pruned_at[layer].reshape(len(first.seeds), out, -1) for result in results]
    side = first.picture_shape
    if side:
        arrays["pixels"] = Array(pixels_kept(flat, rows, side), ("rate/round", "seed", "row", "column"))
        pictures.append(
            Picture(array="pixels", rows="row", columns="column", spread="seed", average=True,
                    title="What each input pixel keeps", unit=f"of {out} weights")
        )  # fmt: skip
    if sum(part.size for part in flat) <= MASK_LIMIT:
        arrays["pruned_at"] = Array(np.stack(flat), ("rate", "seed", "out", "in"))
        pictures.append(
            Picture(array="pruned_at", rows="out", columns="in", above="round", spread="seed",
                    title=f"First layer's mask, {out}\u202f×\u202f{math.prod(inputs)}")
        )  # fmt: skip
    return pictures


def twin(results: Sequence[Result]) -> str:
    """The explorer without widgets: a figure with alt text, its table and the sentence, as HTML."""
    from ..figures import accuracy_against_density

    result = next((r for r in results if r.experiment.rate == 0.2), results[0])
    round, arm = _start([result]), result.arms[:2][-1]
    return f"{accuracy_against_density(result)._repr_html_()}<p>Round {round}: {_all_seeds(result, arm, round)}</p>"


def _check(results) -> None:
    configs = [
        dict(result.experiment.config, method=result.experiment.method, rate=None, rounds=None)
        for result in results
    ]
    for config in configs[1:]:
        for key, value in config.items():
            if value != configs[0][key]:
                raise ValueError(
                    f"results: {key} is {configs[0][key]!r} in one and {value!r} in another; "
                    "explore() shows results that differ only in rate."
                )
    rates = [result.experiment.rate for result in results]
    if not results or len(set(rates)) < len(rates):
        raise ValueError(f"results: their rates are {rates}; at least one is needed, and each only once.")


def _line(look) -> Line:
    return Line(look.name, look.label, look.colour, look.marker, look.dash, short=look.short)


def _percent_format(rates) -> str:
    digits = next((d for d in range(4) if all(math.isclose(round(100 * r, d), 100 * r) for r in rates)), 4)
    return f"{{:.{digits}%}}"


def _start(results) -> int:
    """The round whose density is nearest to 20 % (at a rate of 20 %, where there is one)."""
    result = next((r for r in results if r.experiment.rate == 0.2), results[0])
    return result.nearest_round(0.2)


def pixels_kept(flat, rows, side) -> np.ndarray:
    """(rate/round, seed, *side): how many of its weights each input keeps."""
    survivors = [(part > r).sum(1) for part, n in zip(flat, rows, strict=True) for r in range(n)]
    return np.stack(survivors).reshape(sum(rows), len(flat[0]), *side)


def _verdicts(result, arm: str) -> list[str]:
    """The ticket against one arm, or against the dense network where ``arm`` is the ticket's own.

    For each round one sentence for all seeds together, then one for each seed.
    """
    texts, ticket, other = [], result.accuracy("rewind").tolist(), result.accuracy(arm).tolist()
    for round, density in enumerate(result.density):
        texts.append(_all_seeds(result, arm, round))
        for seed, own, its in zip(result.seeds, ticket[round], other[round], strict=True):
            texts.append(_one_seed(result, arm, round, density, seed, own, its))
    return texts


def _all_seeds(result, arm: str, round: int) -> str:
    text = result.verdict(round, against="dense" if arm == "rewind" else arm)
    n = int(np.isfinite(result.accuracy("rewind")[round]).sum())
    if n in FEW and "not distinguishable" in text:
        text += f" {FEW[n]} seeds make a wide interval; more would tell whether there is a difference."
    return text


def _one_seed(result, arm: str, round: int, density: float, seed: int, ticket: float, other: float) -> str:
    if not math.isfinite(ticket):
        diverged = result.diverged("rewind")[round, result.seeds.index(seed)]
        return f"Seed {seed}, round {round}: {'the network diverged' if diverged else 'not measured yet'}."
    text = f"Seed {seed} alone: {result.look('rewind').short} reaches {100 * ticket:.1f} % at {100 * density:.1f} % density"
    if arm != "rewind" and math.isfinite(other) and round:
        gap = 100 * (ticket - other)
        word = (
            f"{abs(gap):.1f} points {'more' if gap > 0 else 'less'} than"
            if abs(gap) >= 0.05
            else "as much as"
        )
        text += f", {word} {result.look(arm).label}"
    return f"{text}. One seed cannot tell an effect from luck."
