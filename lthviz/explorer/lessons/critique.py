"""Claims about tickets, and what stored results say to them (lesson 12)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...arms import ARMS, LOOKS
from ...result import Comparison, Result, interval
from ..explorer import Array, Axis, Curves, Explorer, Line, Sentence, Series, Stack, Text


@dataclass(frozen=True)
class Claim:
    """Something that is said about tickets, and the comparison that could refute it: arm ``a`` minus arm ``b``.

    ``b`` may be "dense", the dense network. ``expects`` is the verdict that speaks for the claim.
    """

    name: str
    sentence: str
    a: str
    b: str
    expects: str

    @property
    def pair(self) -> str:
        """What is compared, in words."""
        a, b = (ARMS[arm].short if arm in ARMS else "dense network" for arm in (self.a, self.b))
        return f"{a} minus {b}"

    def differences(self, result: Result, at: str = "end") -> np.ndarray | None:
        """(R, S) paired differences of test accuracy, in points; None where an arm was not measured.

        ``at`` is as for :meth:`Result.accuracy`.
        """
        if not {self.a, self.b} <= {*result.arms, "dense"}:
            return None
        other = result.accuracy("rewind", at)[:1] if self.b == "dense" else result.accuracy(self.b, at)
        return 100 * (result.accuracy(self.a, at) - other)


CLAIMS = (
    Claim("values", "The initial values matter", "rewind", "reinit", "higher"),
    Claim("places", "The chosen places matter", "reinit", "shuffle", "higher"),
    Claim("size", "A ticket beats a dense network of its size", "rewind", "small-dense", "higher"),
    Claim("match", "A ticket loses nothing", "rewind", "dense", "not lower"),
)


def claim_browser(results: Mapping[str, Result], least: float = 0.04) -> Explorer:
    """What results say to each of ``CLAIMS`` (lesson 12).

    Parameters
    ----------
    results : mapping of str to Result
        One a setting (data and network), by name; alike in rate and number of seeds.
    least : float
        The lowest density shown: sparser networks differ so much that nobody needs to count seeds.

    Traits: ``claim`` (1, 2, ...), ``round``, and ``settings``: those that are shown.

    Raises
    ------
    ValueError
        For results that differ in rate or number of seeds.
    """
    first = next(iter(results.values()))
    for name, result in results.items():
        if result.experiment.rate != first.experiment.rate or len(result.seeds) != len(first.seeds):
            raise ValueError(f"results: {name!r} differs in rate or number of seeds.")
    rounds = min(int((result.density >= least).sum()) for result in results.values())
    density = np.stack([result.density[:rounds] for result in results.values()])
    difference = np.full((len(results), len(CLAIMS), rounds, len(first.seeds)), np.nan)
    for row, result in enumerate(results.values()):
        for column, claim in enumerate(CLAIMS):
            measured = claim.differences(result)
            if measured is not None:
                difference[row, column] = measured[:rounds]
    lines = [Line(name, name, *look) for name, look in zip(results, LOOKS[: len(results)], strict=True)]
    compared = [[[_compared(values) for values in column] for column in row] for row in difference]
    arrays = {
        "difference": Array(difference, ("setting", "claim", "round", "seed")),
        "density": Array(density, ("setting", "round")),
        "claims": Text([_claim_in_words(n, claim) for n, claim in enumerate(CLAIMS, start=1)], ("claim",)),
        "count": Text(
            [
                _count_in_words(claim, r, [row[column][r] for row in compared])
                for column, claim in enumerate(CLAIMS)
                for r in range(rounds)
            ],
            ("claim", "round"),
        ),
    }
    says = []
    for row, name in enumerate(results):  # a panel each, which speaks of its own line alone
        arrays[f"words/{name}"] = Text(
            [
                _words(name, density[row, r], compared[row][column][r]) if line == row else ""
                for line in range(len(results))
                for column in range(len(CLAIMS))
                for r in range(rounds)
            ],
            ("setting", "claim", "round"),
        )
        says.append(Sentence(text=f"words/{name}", series="setting", otherwise=f"Tick {name} to read of it."))
    panels = [
        Sentence(text="claims", width=6),
        Sentence(text="count", width=6),
        Curves(y="difference", x="density", along="round", series="setting", spread="seed", log=True, reverse=True,
               percent="x", width=7, title="Difference against density", xlabel="density, %, log scale",
               ylabel="difference, points (0: none)", ylim=(-6, 10), labels=False),
        Stack(panels=tuple(says), width=5),
    ]  # fmt: skip

    def static():
        from ...charts import verdicts

        r = min(7, rounds - 1)
        cells = {
            claim.sentence: {
                name: difference[row, column, r]
                for row, name in enumerate(results)
                if np.isfinite(difference[row, column, r]).any()
            }
            for column, claim in enumerate(CLAIMS)
        }
        return verdicts(cells, title=f"Four claims in round {r}")._repr_html_()

    axes = [
        Axis("claim", list(range(1, len(CLAIMS) + 1)), "Claim"),
        Axis("round", list(range(rounds)), "Round", start=min(7, rounds - 1)),
    ]
    text = f"Four claims about tickets, each a paired difference, in {len(results)} settings: {', '.join(results)}."
    return Explorer(axes, panels, arrays, Series("setting", lines, "settings", "Settings"), [], text, static)


def _compared(values) -> Comparison:
    n, (mean, low, high) = int(np.isfinite(values).sum()), (float(part) for part in interval(values))
    return Comparison("a", "b", n, mean, low, high)


def _claim_in_words(n, claim) -> str:
    return f"Claim {n}: “{claim.sentence}.” Compared: {claim.pair}. The claim says: {claim.expects}."


def _count_in_words(claim, round, compared) -> str:
    measured = [c for c in compared if c.n]
    if round == 0 and claim.b == "dense":
        return "Round 0 is the dense network itself: nothing to compare yet."
    counted = {
        word: sum(c.verdict == word for c in measured) for word in ("higher", "not distinguishable", "lower")
    }
    said = ", ".join(f"{n} {word}" for word, n in counted.items() if n)
    pruned = "Round 0, nothing is pruned yet" if round == 0 else f"Round {round}"
    return f"{pruned}: of {len(measured)} settings {said}."


def _words(name, density, compared) -> str:
    if not compared.n:
        return f"{name}: not measured."
    if density == 1 and compared.low == compared.high:
        return f"{name}: the same network."
    return (
        f"{name}, {100 * density:.1f} %: {compared.verdict}, {compared.mean:+.1f} points "
        f"({compared.low:+.1f} to {compared.high:+.1f})."
    )
