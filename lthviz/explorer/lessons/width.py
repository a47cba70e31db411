"""Width and label noise; tickets from parents of growing width; independent draws (lesson 01)."""

from collections.abc import Mapping

import numpy as np

from ...arms import ARMS, LOOKS
from ...result import interval, share_interval
from ..explorer import Array, Axis, Curves, Explorer, Line, Sentence, Series, Text

#: The arms of the study: names of arms where they are the same, with a line of their own where not.
_LINES = [
    *(
        Line(arm.name, arm.label, arm.colour, arm.marker, arm.dash)
        for arm in (ARMS[name] for name in ("rewind", "reinit", "shuffle"))
    ),
    Line("patient", "ticket, 5 times as long", *LOOKS[5]),
    Line("small", "small dense network", *LOOKS[4]),
]


def width_browser(study: Mapping) -> Explorer:
    """Errors of networks of growing width that learn from digits with wrong labels (lesson 01).

    ``study`` is ``lthviz.studies.load("width")``.
    Traits: ``width``, ``noise`` (the share of wrong labels) and ``errors``.
    """
    widths, noises = study["widths"].tolist(), study["noises"].tolist()
    train, test, validation = (study[f"sweep/{part}"] for part in ("train", "test", "validation"))
    steps = np.arange(train.shape[-1]) * int(study["sweep/every"])
    lines = [
        Line(name, label, *look)
        for (name, label), look in zip(
            (("train", "on its own labels"), ("test", "on test digits")), LOOKS, strict=False
        )
    ]
    course = np.stack([train, test])  # (error, width, noise, seed, time)
    arrays = {
        "end": Array(course[..., -1], ("error", "width", "noise", "seed")),
        "course": Array(course, ("error", "width", "noise", "seed", "time")),
        "widths": Array(np.array(widths, float), ("width",)),
        "steps": Array(steps.astype(float), ("time",)),
        "words": Text(
            [
                _width_words(widths, w, noise, train[:, n], test[:, n], validation[:, n])
                for w in range(len(widths))
                for n, noise in enumerate(noises)
            ],
            ("width", "noise"),
        ),
    }
    panels = [
        Sentence(text="words", width=12),
        Curves(y="end", x="widths", along="width", series="error", spread="seed", log=True, percent="y", width=6,
               title="After training", xlabel="hidden units, log scale", ylabel="wrong answers, %", ylim=(0.0, 0.9)),
        Curves(y="course", x="steps", along="time", series="error", spread="seed", percent="y", width=6,
               title="How this width learns", xlabel="optimiser steps", ylabel="wrong answers, %", ylim=(0.0, 0.9)),
    ]  # fmt: skip

    def static():
        from ...charts import lines as chart

        drawn = {
            f"{100 * noise:g} % wrong labels": (widths, 100 * test[:, n, :, -1])
            for n, noise in enumerate(noises)
        }
        return chart(
            drawn, x="hidden units (log scale)", y="wrong answers on test digits (%)", log=True,
            title="Test error against width",
        )._repr_html_()  # fmt: skip

    axes = [
        Axis("width", widths, "Hidden units", start=32),
        Axis("noise", noises, "Wrong labels", "{:.0%}", start=0.4),
    ]
    text = (
        f"Networks with one hidden layer of {widths[0]} to {widths[-1]} units after {steps[-1]:,} steps on "
        f"{int(study['sweep/examples']):,} digits, some with wrong labels: errors on their own labels and on test digits."
    )
    return Explorer(axes, panels, arrays, Series("error", lines, "errors", "Errors"), [], text, static)


def _width_words(widths, w, noise, train, test, validation) -> str:
    """What one width does at one noise; arrays (width, seed, time)."""
    fit, (mean, low, high) = 100 * train[w, :, -1].mean(), (100 * part for part in interval(test[w, :, -1]))
    learnt = "knows its own labels by heart" if fit < 1 else f"gets {fit:.0f} % of its own labels wrong"
    best = validation[w].argmin(-1)
    stopped = 100 * np.take_along_axis(test[w], best[:, None], -1).mean()
    least = int(test[..., -1].mean(1).argmin())
    return (
        f"Width {widths[w]}, {noise:.0%} wrong labels: it {learnt}. Test error {mean:.1f} % ({low:.1f} to {high:.1f}); "
        f"stopped where validation was best, {stopped:.1f} %. The least test error at the end has width {widths[least]}."
    ).replace("% wrong", " % wrong", 1)


def parent_browser(study: Mapping) -> Explorer:
    """Networks with equally many weights: tickets from parents of growing width and their controls (lesson 01).

    ``study`` is ``lthviz.studies.load("width")``.
    Traits: ``weights`` (how many are left) and ``arms``.
    """
    parents, budgets = study["parents"].tolist(), study["budgets"].tolist()
    accuracy = _with_small(study)
    arrays = {
        "accuracy": Array(accuracy, ("arm", "parent", "weights", "seed")),
        "parents": Array(np.array(parents, float), ("parent",)),
        "words": Text(
            [
                _parent_words(line, accuracy[0, :, b], accuracy[row, :, b], parents)
                for row, line in enumerate(_LINES)
                for b in range(len(budgets))
            ],
            ("arm", "weights"),
        ),
    }
    panels = [
        Sentence(text="words", series="arm", width=4),
        Curves(y="accuracy", x="parents", along="parent", series="arm", spread="seed", log=True, percent="y", width=8,
               title="Equally many weights, from parents of growing width", xlabel="hidden units of the parent, log scale",
               ylabel="test accuracy, %", span=0.4),
    ]  # fmt: skip

    def static():
        from ...charts import lines as chart

        drawn = {
            f"tickets of {budget:,} weights": (parents, 100 * study["parent/accuracy"][:, 0, b])
            for b, budget in enumerate(budgets)
        }
        return chart(
            drawn, x="hidden units of the parent (log scale)", y="test accuracy (%)", log=True,
            title="Tickets from parents of growing width",
        )._repr_html_()  # fmt: skip

    axis = Axis("weights", budgets, "Weights left", "{:,}", start=1200)
    text = "Tickets with equally many weights, pruned from parents of growing width, beside their controls."
    explorer = Explorer([axis], panels, arrays, Series("arm", _LINES, "arms", "Arms"), [], text, static)
    explorer.arms = ["rewind", "shuffle", "small"]  # five bands at once are too many to begin with
    return explorer


def _with_small(study) -> np.ndarray:
    """(arm, parent, budget, network): the arms of the study, then the small network, the same at every parent.

    NaN where an arm has fewer networks.
    """
    found, small = study["parent/accuracy"], study["small"]  # (parent, arm, budget, seed), (budget, network)
    both = np.full((len(_LINES), len(found), *small.shape), np.nan, np.float32)
    both[:-1, ..., : found.shape[-1]] = found.swapaxes(0, 1)
    both[-1] = small
    return both


def _parent_words(line, ticket, values, parents) -> str:
    mean = 100 * np.nanmean(values, -1)
    if line.name == "small":
        return f"{line.label}, trained from scratch: {mean[0]:.1f} %, mean of {values.shape[-1]}."
    best = int(mean.argmax())
    text = f"{line.label}: {mean[0]:.1f} % at width {parents[0]}, {mean[-1]:.1f} % at {parents[-1]}, most at {parents[best]}"
    if line.name == "rewind":
        text += f" ({mean[best]:.1f} %)"
        gain = interval(100 * (ticket[-1] - ticket[0]))
        text += f". Widest minus narrowest: {gain[0]:+.1f} ({gain[1]:+.1f} to {gain[2]:+.1f})"
    return f"{text}."


def lottery_browser(study: Mapping) -> Explorer:
    """How often tickets reach a goal, and how often independent draws would (lesson 01).

    ``study`` is ``lthviz.studies.load("width")``.
    Traits: ``weights``, ``goal`` (test accuracy) and ``lines``.
    """
    parents, budgets, goals = study["parents"].tolist(), study["budgets"].tolist(), GOALS
    places = [(b, goal) for b in range(len(budgets)) for goal in goals]
    found = [draws(study, b, goal) for b, goal in places]
    lines = [
        Line(name, label, *look)
        for (name, label), look in zip(
            (
                ("ticket", "tickets, measured"),
                ("small", "draws of the small network"),
                ("parent", f"draws of the parent of {parents[1]}"),
            ),
            LOOKS,
            strict=False,
        )
    ]
    share = np.array([[one[line.name][0] for one in found] for line in lines])
    shape = len(lines), len(budgets), len(goals), len(parents)
    arrays = {
        "share": Array(share.reshape(shape), ("line", "weights", "goal", "parent")),
        "parents": Array(np.array(parents, float), ("parent",)),
        "words": Text([_draw_words(one, parents) for one in found], ("weights", "goal")),
    }
    panels = [
        Sentence(text="words", width=4),
        Curves(y="share", x="parents", along="parent", series="line", log=True, percent="y", width=8,
               title="How many reach the goal", xlabel="hidden units of the parent, log scale",
               ylabel="share of networks, %", ylim=(-0.02, 1.02), labels=False),
    ]  # fmt: skip

    def static():
        from ...charts import lines as chart

        one = found[places.index((1, 0.89))]
        drawn = {line.label: (parents, 100 * np.array(one[line.name][0])) for line in lines}
        return chart(
            drawn, x="hidden units of the parent (log scale)", y="networks that reach 89 % (%)", log=True,
            title="1,200 weights: tickets, and independent draws",
        )._repr_html_()  # fmt: skip

    axes = [
        Axis("weights", budgets, "Weights left", "{:,}", start=1200),
        Axis("goal", goals, "Goal: test accuracy", "{:.0%}", start=0.89),
    ]
    text = (
        "The share of tickets that reach a goal, beside what as many independent draws as fit in would give."
    )
    return Explorer(axes, panels, arrays, Series("line", lines, "lines", "Lines"), [], text, static)


GOALS = [0.84, 0.85, 0.86, 0.87, 0.88, 0.89, 0.9, 0.91, 0.92]


def draws(study: Mapping, budget: int, goal: float) -> dict:
    """How often a goal is reached with a budget (its position), for every parent: measured, and by independent draws.

    Returns
    -------
    dict
        ``ticket``, measured; ``small``, if a parent were as many small networks as its width holds; ``parent``, if it
        were as many parents of the second width. Each (share, low, high), arrays (parent,): 95 % intervals, those of the
        draws from the interval of the single draw. NaN where a parent is smaller than what is drawn.
    """
    widths, tickets = study["parents"], study["parent/accuracy"][:, 0, budget] >= goal
    small = study["small"][budget] >= goal
    measured = [share_interval(row.sum(), row.size) for row in tickets]

    def drawn(single, width):
        chances = (1 - (1 - np.clip(part, 0, 1)) ** (widths / width) for part in single)
        return tuple(np.where(widths >= width, chance, np.nan) for chance in chances)

    return {
        "ticket": tuple(np.array(part) for part in zip(*measured, strict=True)),
        "small": drawn(share_interval(small.sum(), small.size), study["small_widths"][budget]),
        "parent": drawn(measured[1], widths[1]),
    }


def _draw_words(found, parents) -> str:
    texts = []
    for name, what in (("small", "small networks"), ("parent", f"parents of {parents[1]}")):
        verdicts = verdict(found["ticket"], found[name])
        above, below = (
            [w for w, v in zip(parents, verdicts, strict=True) if v == sign] for sign in ("more", "fewer")
        )
        says = [
            f"{sign} than drawn at {', '.join(map(str, at))}"
            for sign, at in (("more", above), ("fewer", below))
            if at
        ]
        texts.append(f"Against independent draws of {what}: {'; '.join(says) or 'no clear difference'}.")
    share = ", ".join(
        f"{100 * value:.0f} % at {w}" for value, w in zip(found["ticket"][0], parents, strict=True)
    )
    return f"Tickets that reach the goal: {share}. {' '.join(texts)}"


def verdict(measured, drawn) -> list[str]:
    """For each parent ``more``, ``fewer`` or ``not distinguishable``: do the two intervals leave each other out?"""
    (_, low, high), (_, least, most) = measured, drawn
    return [
        "more" if a > d else "fewer" if b < c else "not distinguishable"
        for a, b, c, d in zip(low, high, least, most, strict=True)
    ]
