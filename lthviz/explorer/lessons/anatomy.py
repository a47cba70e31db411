"""Tickets taken apart: criterion, mask-1 action, mask-0 action (lesson 05)."""

from collections.abc import Mapping

import numpy as np

from ...arms import LOOKS
from ...result import interval
from ..explorer import Array, Axis, Choice, Curves, Explorer, Line, Picture, Sentence, Series, Stack, Text

#: What the ways to start are called: by mask-1 action and mask-0 action.
STARTS = {
    ("rewind", "zero"): "rewind (the ticket)",
    ("reinit", "zero"): "re-init: signs and magnitudes new",
    ("shuffle", "zero"): "values shuffled among the kept",
    ("signs", "zero"): "signs kept, magnitudes new",
    ("constant", "zero"): "signs kept, one magnitude",
    ("magnitudes", "zero"): "magnitudes kept, signs random",
    ("rewind", "freeze"): "rewind, the pruned frozen at init",
    ("rewind", "freeze_grown"): "rewind, the pruned that grew frozen at init",
}
_SHORT = (
    "rewind", "re-init", "shuffled values", "signs kept", "one magnitude", "random signs", "all frozen", "grown frozen",
)  # fmt: skip
_LOOKS = [*LOOKS, ("#2E7DA6", "s", (10, 3)), ("#946200", "^", (3, 3))]


def anatomy_browser(study: Mapping) -> Explorer:
    """Every mask criterion with every way to start, after training and before it, beside its input masks (lesson 05).

    ``study`` is ``lthviz.studies.load("anatomy")``.
    Traits: ``density``, ``steps`` (of training), ``criterion`` ("all" is the ticket's, large final) and ``starts``.
    """
    density, at, seeds = study["density"], study["at"].tolist(), len(study["seeds"])
    shares = [round(float(d), 3) for d in density]  # as the slider says them
    criteria = [name.replace("_", " ") for name in study["criteria"].tolist()]
    measured, labels = [tuple(start) for start in study["starts"].tolist()], list(STARTS.values())
    order = [measured.index(start) for start in STARTS]
    accuracy = study["accuracy"][:, order]  # (criterion, start, density, at, seed)
    lines = [
        Line(label, label, *look, short=short)
        for label, look, short in zip(labels, _LOOKS, _SHORT, strict=True)
    ]
    trained = np.moveaxis(accuracy, 3, 1)[:, 1:]  # (criterion, steps, start, density, seed)
    arrays = {
        "trained": Array(trained, ("all|criterion", "steps", "start", "density", "seed")),
        "untrained": Array(accuracy[:, :, :, 0], ("all|criterion", "start", "density", "seed")),
        "densities": Array(density, ("density",)),
        "pixels": Array(study["pixels"] / seeds, ("all|criterion", "density", "row", "column")),
        "words": Text(
            [
                _words(criterion, s, step, density[d], trained[c, t, :, d])
                for c, criterion in enumerate(criteria)
                for t, step in enumerate(at[1:])
                for s in range(len(labels))
                for d in range(len(density))
            ],
            ("all|criterion", "steps", "start", "density"),
        ),
    }
    common = dict(x="densities", along="density", series="start", spread="seed", log=True, reverse=True,
                  percent="xy", xlabel="density, %, log scale", ylabel="test accuracy, %")  # fmt: skip
    panels = [
        Sentence(text="words", series="start", width=12),
        Curves(y="trained", width=7, title="After so many steps", span=0.3, labels=False, **common),
        Stack(width=5, panels=(
            Curves(y="untrained", title="Before any training", labels=False, height=0.55, **common),
            Picture(array="pixels", rows="row", columns="column", title="What each input pixel keeps",
                    unit="of 100 weights"),
        )),
    ]  # fmt: skip

    def static():
        from ...charts import lines as chart

        drawn = {label: (100 * density, 100 * accuracy[0, s, :, -1]) for s, label in enumerate(labels[:6])}
        return chart(
            drawn, x="density (%, log scale)", y="test accuracy (%)", title="The ticket's mask, six ways to start",
            log=True,
        )._repr_html_()  # fmt: skip

    axes = [
        Axis("density", shares, "Density", "{:.1%}", start=shares[-2]),
        Axis("steps", at[1:], "Steps of training", "{:,}", start=at[-1]),
    ]  # fmt: skip
    choice = Choice("criterion", criteria[1:], "Mask criterion", every=f"{criteria[0]} (the ticket)")
    text = (
        f"The class-room network on digits, pruned by {len(criteria)} criteria and started in {len(labels)} ways; "
        f"{seeds} seeds."
    )
    series = Series("start", lines, "starts", "Start")
    explorer = Explorer(axes, panels, arrays, series, [choice], text, static)
    explorer.starts = [labels[0], labels[1], labels[3], labels[5]]
    return explorer


def _words(criterion, start, step, density, accuracy) -> str:
    if start == 0:
        mean, low, high = (100 * float(part) for part in interval(accuracy[0]))
        return (
            f"{criterion[0].upper()}{criterion[1:]} at {100 * density:.1f} % of the weights, {step:,} steps: rewind "
            f"reaches {mean:.1f} % ({low:.1f} to {high:.1f})."
        )
    mean, low, high = (100 * float(part) for part in interval(accuracy[0] - accuracy[start]))
    verdict = "higher" if low > 0 else "lower" if high < 0 else "not distinguishable"
    return f"Rewind minus {_SHORT[start]}: {mean:+.1f} points ({low:+.1f} to {high:+.1f}), {verdict}."
