"""Subset sums to play with, and masks of random networks (lesson 07)."""

from collections.abc import Mapping

import numpy as np

from ...result import interval
from ..explorer import Array, Axis, Bars, Curves, Explorer, Line, Sentence, Series, Text


def subset_browser(study: Mapping) -> Explorer:
    """How near subset sums of n random numbers come to a target (lesson 07).

    ``study`` is ``lthviz.studies.load("strong")``.
    Traits: ``numbers`` (how many there are to choose from), ``bits`` (an error of at most 1 / 2^bits is a success),
    ``target`` (of the example whose best subset is shown), ``targets`` (which lines are shown).
    """
    numbers, wanted, taken = study["numbers"], study["targets"], study["taken"]
    n = len(numbers)
    sizes, bits = list(range(1, n + 1)), list(range(1, 11))
    error = [study["error"][:n], study["worst"][:n, :, None]]  # each (n, draw, target)
    share = [[(values <= 2.0**-b).mean((1, 2)) for b in bits] for values in error]
    reached = [-np.log2(np.maximum(values, 1e-12)).mean(2) for values in error]
    lines = [
        Line("one", "one target", "#0072B2", "o"),
        Line("every", "every target at once", "#D55E00", "s", (6, 3), "every target"),
    ]
    off = np.abs(taken @ numbers - wanted)
    arrays = {
        "share": Array(np.array(share), ("line", "bits", "numbers")),
        "reached": Array(np.array(reached), ("line", "numbers", "draw")),
        "sizes": Array(np.array(sizes, float), ("numbers",)),
        "example": Text(
            [
                f"The example: of the {2**size:,} subsets of the first {_count(size)} the best has the sum "
                f"{float(taken[s, t] @ numbers):+.6f}. The target is {target:+.1f}: off by {off[s, t]:.6f}. "
                "Below, the numbers that are taken, in thousandths; a bar of 0 is one that is left out."
                for s, size in enumerate(sizes)
                for t, target in enumerate(wanted)
            ],
            ("numbers", "target"),
        ),
        "chances": Text(
            [
                f"Over {error[0].shape[1]} draws of {_count(size)}, an error of at most 1/{2**b:,} is reached for "
                f"{100 * share[0][i][s]:.0f} % of the targets, and for every target between -1/2 and 1/2 at once in "
                f"{100 * share[1][i][s]:.0f} % of the draws."
                for i, b in enumerate(bits)
                for s, size in enumerate(sizes)
            ],
            ("bits", "numbers"),
        ),
    }
    shared = {
        "x": "sizes",
        "along": "numbers",
        "series": "line",
        "width": 6,
        "xlabel": "numbers to choose from",
    }
    panels = [
        Sentence(text="chances", width=12),
        Curves(y="share", percent="y", ylim=(0.0, 1.0), title="How often the precision is reached", ylabel="success, %", **shared),
        Curves(y="reached", spread="draw", title="Precision of the best subset", ylabel="bits: log2(1 / error)", labels=False, **shared),
        Sentence(text="example", width=12),
    ]  # fmt: skip
    for first in range(0, n, 5):  # in columns: twenty bars above one another are taller than a screen
        part = slice(first, first + 5)
        arrays[f"taken {first}"] = Array(
            1000 * np.abs(numbers[part]) * taken[..., part], ("numbers", "target", "number")
        )
        names = tuple(f"{value:+.4f}" for value in numbers[part])
        title = f"Numbers {first + 1} to {first + len(names)}"
        panels.append(
            Bars(array=f"taken {first}", along="number", names=names, of=(1000,) * len(names), width=3, title=title)
        )  # fmt: skip

    def static():
        from ...charts import lines as chart

        drawn = {line.label: (sizes, values) for line, values in zip(lines, reached, strict=True)}
        return chart(
            drawn, x="numbers to choose from", y="bits: log2(1 / error)", title="Precision of the best subset"
        )._repr_html_()

    axes = [
        Axis("numbers", sizes, "Random numbers", start=12),
        Axis("bits", bits, "Precision in bits", start=8),
        Axis("target", [round(float(t), 3) for t in wanted], "Example: target", "{:g}", start=0.3),
    ]
    text = "How near the best subset of n random numbers comes to a target, how often, and one example to look at."
    return Explorer(axes, panels, arrays, Series("line", lines, "targets", "Targets"), [], text, static)


def _count(n: int) -> str:
    return f"{n} number{'s' if n > 1 else ''}"


def supermask_browser(study: Mapping) -> Explorer:
    """Accuracy of random networks under the masks of edge-popup, against density and width (lesson 07).

    ``study`` is ``lthviz.studies.load("strong")``. Traits: ``density`` (kept), ``width`` (of the first hidden layer),
    ``arms``.
    """
    densities = [round(float(d), 6) for d in study["densities"]]
    widths = [int(name.split("-")[1]) for name in study["architectures"]]
    popup = study["popup"][..., -1, :]  # (init, width, density, seed) at the last step
    trained = [np.broadcast_to(of_draw[:, None, -1], popup.shape[1:]) for of_draw in study["dense"]]
    arms = [
        (Line("dense", "weights trained, all of them", "#56504B", "v", (1, 3), "trained"), trained[0]),
        (Line("signed", "edge-popup, signed constant", "#0072B2", "o", (), "signed"), popup[0]),
        (Line("normal", "edge-popup, Kaiming normal", "#009E73", "^", (2, 2), "normal"), popup[1]),
        (Line("random", "random mask", "#D55E00", "s", (6, 3), "random"), study["random"][0]),
        (Line("other", "mask on other weights", "#CC79A7", "D", (8, 3, 2, 3), "other"), study["other"][0]),
    ]
    accuracy = np.stack([values for _, values in arms])  # (arm, width, density, seed)
    arrays = {
        "accuracy": Array(accuracy, ("arm", "width", "density", "seed")),
        "densities": Array(np.array(densities), ("density",)),
        "widths": Array(np.array(widths, float), ("width",)),
        "words": Text(
            [
                _words(line, accuracy[a, w, d], trained[line.name == "normal"][w, d], densities[d])
                for a, (line, _) in enumerate(arms)
                for w in range(len(widths))
                for d in range(len(densities))
            ],
            ("arm", "width", "density"),
        ),
    }
    shared = {
        "y": "accuracy",
        "series": "arm",
        "spread": "seed",
        "ylabel": "test accuracy, %",
        "ylim": (0.0, 1.0),
    }
    panels = [
        Sentence(text="words", series="arm", width=12, otherwise="Tick an arm to read of it."),
        Curves(x="densities", along="density", percent="xy", width=6, title="Against density", xlabel="density: kept, %", **shared),
        Curves(x="widths", along="width", percent="y", log=True, width=6, title="Against width",
               xlabel="width of the first hidden layer, log scale", **shared),
    ]  # fmt: skip

    def static():
        from ...charts import lines as chart

        middle = len(widths) // 2
        drawn = {line.label: (100 * np.array(densities), 100 * values[middle]) for line, values in arms}
        title = f"Masks of a random network, {study['architectures'][middle]}"
        return chart(drawn, x="density: kept (%)", y="test accuracy (%)", title=title)._repr_html_()

    axes = [
        Axis("density", densities, "Density: kept of each layer", "{:.0%}", start=0.5),
        Axis("width", widths, "Width of the first hidden layer", start=widths[len(widths) // 2]),
    ]
    text = "Test accuracy of random networks whose weights stay as they were drawn, under masks that edge-popup found."
    explorer = Explorer(
        axes, panels, arrays, Series("arm", [line for line, _ in arms], "arms", "Arms"), [], text, static
    )
    explorer.arms = ["dense", "signed", "random"]
    return explorer


def _words(line, accuracy, dense, density) -> str:
    mean, low, high = (100 * float(part) for part in interval(accuracy))
    if line.name == "dense":
        return f"Trained, all weights: {mean:.1f} %."
    gap, least, most = (100 * float(part) for part in interval(accuracy - dense))
    text = f"{line.label[0].upper()}{line.label[1:]}, {100 * density:.0f} % kept: {mean:.1f} % ({low:.1f} to {high:.1f})"
    return f"{text}, {gap:+.1f} points from trained ({least:+.1f} to {most:+.1f})."
