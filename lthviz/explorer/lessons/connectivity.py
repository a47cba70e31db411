"""The line between two copies of a network (lesson 06)."""

from collections.abc import Mapping

import numpy as np

from ...arms import LOOKS
from ...result import interval
from ..explorer import Array, Axis, Choice, Curves, Explorer, Line, Sentence, Series, Text

STABLE = 2.0  # points, as in Frankle et al. (2020)


def connectivity_browser(study: Mapping) -> Explorer:
    """Error along the line between two copies of a network, and its barrier against the step they part at (lesson 06).

    ``study`` is ``lthviz.studies.load("connectivity")``.
    Traits: ``step`` (when the copies were made), ``alpha``, ``seed`` ("all" or a number) and ``settings``.
    """
    settings, steps = (study[f"forks/{name}"].tolist() for name in ("settings", "k"))
    alphas, seeds = np.round(study["forks/alpha"], 2).tolist(), study["seeds"].tolist()
    lines = [Line(name, name, *look) for name, look in zip(settings, LOOKS[: len(settings)], strict=True)]
    error, barrier = study["forks/error"], study["forks/barrier"]
    arrays = {
        "error": Array(error, ("setting", "step", "seed", "alpha")),
        "barrier": Array(barrier, ("setting", "step", "seed")),
        "alphas": Array(np.array(alphas), ("alpha",)),
        "steps": Array(np.array(steps, float), ("step",)),
        "words": Text(
            [
                _words(name, k, alpha, error[row, i, :, [0, column, -1]], barrier[row, i])
                for row, name in enumerate(settings)
                for i, k in enumerate(steps)
                for column, alpha in enumerate(alphas)
            ],
            ("setting", "step", "alpha"),
        ),
    }
    panels = [
        Sentence(text="words", series="setting", width=12, title=f"Mean over all {len(seeds)} seeds"),
        Curves(y="error", x="alphas", along="alpha", series="setting", spread="seed", width=6, labels=False,
               title="On the way from one copy to the other", xlabel="alpha (0: first copy, 1: second)",
               ylabel="test error, %"),
        Curves(y="barrier", x="steps", along="step", series="setting", spread="seed", width=6, labels=False,
               title="Barrier against the step they part at", xlabel="step at which the copies part",
               ylabel="barrier, points"),
    ]  # fmt: skip

    def static():
        from ...charts import lines as chart

        drawn = {name: (steps, values) for name, values in zip(settings, barrier, strict=True)}
        return chart(
            drawn, x="step at which the copies part", y="barrier (points)", title="Instability"
        )._repr_html_()

    axes = [
        Axis("step", steps, "Copies part at step"),
        Axis("alpha", alphas, "Alpha: where on the line", "{:g}", start=0.5),
    ]
    choice = Choice("seed", seeds, "Seed", every=f"all {len(seeds)} seeds")
    series = Series("setting", lines, "settings", "Learning rate")
    text = "Test error between two copies of the class-room network that saw their data in different orders."
    return Explorer(axes, panels, arrays, series, [choice], text, static)


def _words(setting, k, alpha, error, barrier) -> str:
    """``error (3, S)`` at the first copy, at alpha and at the second; ``barrier (S,)``; all in per cent."""
    first, here, last = error.mean(1)
    mean, low, high = (float(part) for part in interval(barrier))
    above = round(float(here - (1 - alpha) * first - alpha * last), 1) + 0.0  # no -0.0
    return (
        f"{setting}, parted at step {k}: error {here:.1f} % at alpha {alpha:g}, {above:+.1f} points from the straight "
        f"line; barrier {mean:.1f} ({low:.1f} to {high:.1f}), {'stable' if mean < STABLE else 'unstable'}."
    )
