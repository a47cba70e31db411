"""The ticket minus its controls, and learning rates (lesson 04)."""

import numpy as np

from ...arms import ARMS
from ...result import Result, interval
from ..explorer import Array, Axis, Curves, Explorer, Line, Sentence, Series, Text


def paired_browser(result: Result, least: float = 0.1) -> Explorer:
    """The ticket minus each control, seed by seed, for the first n seeds (lesson 04).

    ``least`` is the lowest density shown: sparser networks differ so much that no seeds need to be counted.
    Traits: ``seeds_used`` (1 to all), ``round``, and ``arms``: the controls that are shown, "dense" among them.
    """
    controls = ["dense", *result.arms[1:]]
    density = result.density[result.density >= least]
    rounds, seeds = len(density), len(result.seeds)
    used = list(range(1, seeds + 1))
    ticket = result.accuracy("rewind")  # (round, seed)
    other = [ticket[:1] if arm == "dense" else result.accuracy(arm) for arm in controls]
    difference = np.stack([100 * (ticket - values)[:rounds] for values in other])
    looks = [ARMS[arm] for arm in result.arms[1:]]
    lines = [Line("dense", "dense network", "#0072B2", "o")] + [
        Line(arm.name, arm.label, arm.colour, arm.marker, arm.dash) for arm in looks
    ]
    first_n = np.where(np.arange(seeds) < np.array(used)[:, None], 0.0, np.nan)  # (seeds used, seed)
    arrays = {
        "difference": Array(
            difference[:, None] + first_n[:, None], ("control", "seeds_used", "round", "seed")
        ),
        "density": Array(density, ("round",)),
        "used": Array(np.array(used, float), ("seeds_used",)),
        "words": Text(
            [
                _paired_words(line.label, difference[row, r, :n], density[r])
                for row, line in enumerate(lines)
                for n in used
                for r in range(rounds)
            ],
            ("control", "seeds_used", "round"),
        ),
    }
    panels = [
        Sentence(text="words", series="control", width=12),
        Curves(y="difference", x="density", along="round", series="control", spread="seed", log=True, reverse=True,
               percent="x", width=6, title="Ticket minus control", xlabel="density, %, log scale",
               ylabel="difference, points (0: no difference)", ylim=_between(difference, 1), labels=False),
        Curves(y="difference", x="used", along="seeds_used", series="control", spread="seed", width=6,
               title="This round, with more and more seeds", xlabel="seeds used",
               ylabel="difference, points (0: no difference)", ylim=_between(difference, 1), labels=False),
    ]  # fmt: skip

    def static():
        from ...charts import lines as chart

        drawn = {line.label: (100 * density, values) for line, values in zip(lines, difference, strict=True)}
        return chart(
            drawn, x="density (%, log scale)", y="difference (points)", title="Ticket minus control", log=True
        )._repr_html_()

    start = int(np.argmin(abs(np.log(density / 0.5))))
    axes = [
        Axis("seeds_used", used, "Seeds used", start=min(3, seeds)),
        Axis("round", list(range(rounds)), "Round", start=start),
    ]
    text = (
        f"Paired differences of test accuracy, the ticket minus each control. {result.experiment.describe()}"
    )
    series = Series("control", lines, trait="arms", label="Controls")
    explorer = Explorer(axes, panels, arrays, series, [], text, static)
    explorer.arms = controls[:2]  # five bands at once are too many to begin with
    return explorer


def _paired_words(control, difference, density) -> str:
    mean, low, high = (float(part) for part in interval(difference))
    sure = "a single seed" if np.isnan(low) else f"95 % interval {low:+.1f} to {high:+.1f}"
    n = len(difference)
    seeds = f"{n} seed{'s' if n > 1 else ''}"
    return f"Ticket minus {control} at {100 * density:.1f} % density, {seeds}: {mean:+.1f} points ({sure})."


def _between(values, share) -> tuple[float, float]:
    """A scale that all values fit on, with ``share`` points to spare."""
    return float(np.nanmin(values)) - share, float(np.nanmax(values)) + share


def learning_rate_browser(results) -> Explorer:
    """Rewind and re-init at different learning rates (lesson 04); the results differ in ``lr`` alone.

    Trait: ``learning_rate``, in thousandths.
    """
    results = sorted(results, key=lambda result: result.experiment.lr)
    arms = [ARMS[arm] for arm in results[0].arms]
    arrays = {
        "accuracy": Array(
            np.stack([[result.accuracy(arm.name) for result in results] for arm in arms]),
            ("arm", "learning_rate", "round", "seed"),
        ),
        "density": Array(results[0].density, ("round",)),
        "words": Text(
            [
                result.verdict(result.rounds, against="dense" if arm.name == "rewind" else arm.name)
                for arm in arms
                for result in results
            ],
            ("arm", "learning_rate"),
        ),
    }
    series = Series(
        "arm", [Line(arm.name, arm.label, arm.colour, arm.marker, arm.dash) for arm in arms], "arms", "Arms"
    )
    panels = [
        Sentence(text="words", series="arm", versus=True, width=4, otherwise="Tick rewind, the ticket."),
        Curves(y="accuracy", x="density", along="round", series="arm", spread="seed", log=True, reverse=True,
               percent="xy", width=8, title="Accuracy against density", xlabel="density, %, log scale",
               ylabel="test accuracy, %"),
    ]  # fmt: skip

    def static():
        from ...figures import accuracy_against_density

        return accuracy_against_density(results)._repr_html_()

    thousandths = [round(1000 * result.experiment.lr, 6) for result in results]
    axis = Axis("learning_rate", thousandths, "Learning rate, in thousandths", "{:g}")
    text = f"Rewind and re-init at {len(results)} learning rates. {results[0].experiment.describe()}"
    return Explorer([axis], panels, arrays, series, [], text, static)
