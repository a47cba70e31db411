"""What an experiment measured: plain arrays and words, readable without torch."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from . import data
from .arms import ARMS, Arm
from .choices import count, unknown
from .experiment import Experiment
from .masks import Mask
from .methods import METHODS
from .schedule import Schedule

QUANTITIES = ("test_accuracy", "validation_accuracy", "validation_loss")


@dataclass(frozen=True)
class Comparison:
    """The paired difference between two arms, a - b, over seeds, in [0, 1] units.

    ``low`` and ``high`` are the ends of the 95 % t-interval of the mean (NaN for a single seed); ``names`` is what
    sentences call a and b, where that is not what arms are called.
    """

    a: str
    b: str
    n: int
    mean: float
    low: float
    high: float
    names: tuple[str, str] = ()

    @property
    def verdict(self) -> str:
        """``higher``, ``lower`` or ``not distinguishable``: does the interval leave out zero?"""
        return "higher" if self.low > 0 else "lower" if self.high < 0 else "not distinguishable"

    def __str__(self):
        a, b = self.names or (ARMS[arm].short if arm in ARMS else arm for arm in (self.a, self.b))
        if self.n == 0:
            return f"{a} and {b} cannot be compared: not measured."
        points = f"{100 * self.mean:+.1f} points"
        if self.n == 1:
            return f"{a} minus {b}: {points} in a single seed, which proves nothing yet."
        return (
            f"{a} is {self.verdict}{' from' if self.verdict.startswith('not') else ' than'} {b}: {points}, "
            f"95 % interval {100 * self.low:+.1f} to {100 * self.high:+.1f} (n = {self.n}, paired)."
        )


def interval(values, axis: int = -1):
    """Mean and 95 % t-interval over an axis, leaving out NaN: ``(mean, low, high)``.

    The interval is NaN where fewer than two values are there.
    """
    values = np.asarray(values, float)
    there = np.isfinite(values)
    n = there.sum(axis)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(there, values, 0.0).sum(axis) / n
        deviation = np.where(there, values - np.expand_dims(mean, axis), 0.0)
        half = t_quantile(n - 1) * np.sqrt((deviation**2).sum(axis) / (n - 1) / n)
    half = np.where(n > 1, half, np.nan)
    return mean, mean - half, mean + half


def t_quantile(degrees) -> np.ndarray:
    """The 97.5 % quantile of Student's t: tabled up to 10 degrees of freedom, then Cornish-Fisher's expansion."""
    return _T_QUANTILES[np.clip(degrees, 0, len(_T_QUANTILES) - 1)]


def _t_quantiles(most: int) -> np.ndarray:
    d = np.arange(most + 1.0).clip(1)
    z = 1.959964
    quantiles = (
        z
        + (z**3 + z) / (4 * d)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * d**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * d**3)
    )
    quantiles[:11] = 12.706, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228
    return quantiles


_T_QUANTILES = _t_quantiles(10_000)  # beyond, it is 1.9602 to all digits that anybody prints


def share_interval(hits, n) -> tuple:
    """The share of hits among n trials and its 95 % interval (Wilson 1927): ``(share, low, high)``."""
    hits, n, z = np.asarray(hits, float), np.asarray(n, float), 1.959964
    middle = (hits + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * np.sqrt(hits * (n - hits) / n + z**2 / 4)
    return hits / n, middle - half, middle + half


class Result:
    """The measurements of one experiment, finished or still running.

    Rows are rounds: 0 is the dense network, R = ``rounds`` + 1 rows in all; S seeds; E evaluations.
    ``arrays`` maps names to arrays and may load them when they are asked for.
    """

    def __init__(self, experiment: Experiment, arrays, meta: dict):
        self.experiment = experiment
        self.meta = meta
        self._arrays = arrays
        self._compared = {}

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that ran, ``rewind`` first."""
        return self.experiment.arms

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, one column each."""
        return self.experiment.seeds

    @cached_property
    def density(self) -> np.ndarray:
        """(R,) kept / prunable after each pruning, 1.0 first."""
        return self.arm_density("rewind")

    @property
    def rounds(self) -> int:
        """How many rounds of pruning these results hold."""
        return len(self.density) - 1

    @property
    def finished(self) -> bool:
        """Whether every round of the experiment has been trained to its end."""
        return bool(self.meta.get("finished", True))

    @cached_property
    def steps(self) -> np.ndarray:
        """(E,) optimiser steps at which the curves were measured, 0 first."""
        return self._arrays["steps"]

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """The prunable layers, first to last."""
        return tuple(name.removeprefix("kept/") for name in self._arrays if name.startswith("kept/"))

    @property
    def picture_shape(self) -> tuple[int, int] | None:
        """(height, width) of what each unit of the first layer looks at; None where that is no whole picture."""
        source = self.experiment.dataset
        if isinstance(source, data.Dataset):
            shape = source.input_shape
        else:
            shape = data.shape_of(source)[0] if source in data.DATASETS else ()
        masks = "mask" if self._dynamic else "pruned_at"
        whole = math.prod(self._arrays[f"{masks}/{self.layers[0]}"].shape[3 if self._dynamic else 2 :])
        return shape if len(shape) == 2 and math.prod(shape) == whole else None

    @cached_property
    def kept(self) -> dict[str, np.ndarray]:
        """{layer: (R, S)} weights kept."""
        return {layer: self._arrays[f"kept/{layer}"] for layer in self.layers}

    @cached_property
    def sizes(self) -> dict[str, int]:
        """{layer: prunable weights}."""
        return {layer: int(kept[0, 0]) for layer, kept in self.kept.items()}

    @cached_property
    def pruned_at(self) -> dict[str, np.ndarray]:
        """{layer: (S, *weight shape)} the round that removed the weight; the experiment's rounds + 1 if it survived.

        The ticket's mask after round r is ``pruned_at > r``. Weights of linear layers are (out, in).

        Raises
        ------
        ValueError
            For a dynamic method, whose masks of different densities are not nested; :meth:`mask` has them.
        """
        if self._dynamic:
            raise ValueError(
                f"pruned_at: the masks of {self.experiment.method!r} are not nested; use mask(round, seed)."
            )
        return {layer: self._arrays[f"pruned_at/{layer}"] for layer in self.layers}

    def look(self, arm: str) -> Arm:
        """What an arm is called and looks like; ``rewind`` bears the name of a method other than IMP."""
        method = METHODS[self.experiment.method]
        look = ARMS[self._arm(arm)]
        return replace(look, label=method.label) if arm == "rewind" and method.name != "imp" else look

    @property
    def _dynamic(self) -> bool:
        return METHODS[self.experiment.method].kind == "dynamic"

    @cached_property
    def cost(self) -> np.ndarray:
        """(R,) what the network of each round cost to train, its search included, in trainings of the dense network.

        Counted in multiplications by weights that are there: one step of a network costs its density. Iterative
        pruning pays for every round before; a method that chooses before training pays for one training of what is
        left, and its scores are left out (a few hundred examples). RigL pays for the gradient of all weights at each
        exchange: there a step at density d costs (2 d + 1) / 3, a third each for the forward pass, the gradient of
        the inputs and that of the weights (Evci et al. 2020).
        """
        density, experiment = self.density, self.experiment
        if experiment.method == "imp":
            steps = np.full(len(density), float(experiment.steps))
            steps[1:] -= experiment.rewind_step
            return np.cumsum(density * steps) / experiment.steps
        if experiment.method == "rigl":
            share = len(Schedule(experiment.steps).exchanges) / experiment.steps
            return density + share * (1 - density) / 3
        return density.copy()

    def _arm(self, arm: str) -> str:
        if arm not in self.arms:
            raise unknown("arm", arm, self.arms)
        return arm

    def _round(self, round: int) -> int:
        return count("round", round, 0, self.rounds)

    def arm_density(self, arm: str) -> np.ndarray:
        """(R,) density of one arm; ``small-dense`` comes as near to the ticket's as whole units allow."""
        return self._arrays[f"density/{self._arm(arm)}"]

    def curve(self, arm: str, quantity: str = "test_accuracy") -> np.ndarray:
        """(R, S, E) learning curves; NaN where not measured (or not finite: a diverged network)."""
        if quantity not in QUANTITIES:
            raise unknown("quantity", quantity, QUANTITIES)
        return self._arrays[f"{quantity}/{self._arm(arm)}"]

    def early_stop_step(self, arm: str) -> np.ndarray:
        """(R, S) the step of the lowest validation loss, found afterwards; NaN where nothing was measured."""
        loss = self.curve(arm, "validation_loss")
        measured = np.isfinite(loss).any(-1)
        best = np.argmin(np.where(np.isfinite(loss), loss, np.inf), axis=-1)
        return np.where(measured, self.steps[best].astype(float), np.nan)

    def accuracy(self, arm: str, at: str | int = "end") -> np.ndarray:
        """(R, S) test accuracy in [0, 1].

        ``at`` is ``end``, ``early-stop`` (the step of the lowest validation loss) or one of ``steps``.
        """
        curve = self.curve(arm)
        if at == "end":
            return curve[..., -1]
        if at == "early-stop":
            step = self.early_stop_step(arm)
            place = np.searchsorted(self.steps, np.nan_to_num(step))
            chosen = np.take_along_axis(curve, place[..., None], axis=-1)[..., 0]
            return np.where(np.isnan(step), np.nan, chosen)
        if at not in self.steps:
            raise unknown("at", at, ["end", "early-stop", *self.steps.tolist()])
        return curve[..., int(np.searchsorted(self.steps, at))]

    def diverged(self, arm: str) -> np.ndarray:
        """(R, S) whether a network's validation loss stopped being finite."""
        return self._arrays[f"diverged/{self._arm(arm)}"].astype(bool)

    @property
    def collapsed(self) -> list[tuple[int, str]]:
        """(round, layer) wherever a layer lost all its weights, in any seed: layer collapse."""
        return [
            (r, layer)
            for r in range(self.rounds + 1)
            for layer in self.layers
            if (self.kept[layer][r] == 0).any()
        ]

    def mask(self, round: int, seed: int) -> Mask:
        """The ticket's mask after a round, for one of ``seeds``; named as the model's parameters."""
        if seed not in self.seeds:
            raise unknown("seed", seed, self.seeds)
        row, round = self.seeds.index(seed), self._round(round)
        if self._dynamic:
            return Mask(
                {f"{layer}.weight": self._arrays[f"mask/{layer}"][round, row] for layer in self.layers}
            )
        return Mask({f"{layer}.weight": self.pruned_at[layer][row] > round for layer in self.layers})

    def histogram(self, layer: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights that survive in the ticket: ``edges`` (B + 1,), ``initial`` and ``final`` counts (R, S, B)."""
        if layer not in self.layers:
            raise unknown("layer", layer, self.layers)
        return tuple(self._arrays[f"histogram/{layer}/{part}"] for part in ("edges", "initial", "final"))

    def compare(self, a: str, b: str, round: int, at: str | int = "end") -> Comparison:
        """The paired difference in test accuracy, a - b, at one round; ``b`` may be ``dense`` (rewind's round 0)."""
        n, mean, low, high, *_ = self._paired(a, b, round, at)
        names = tuple(self.look(arm).short if arm in ARMS else arm for arm in (a, b))
        return Comparison(a, b, int(n), mean, low, high, names)

    def _paired(self, a: str, b: str, round: int, at: str | int) -> list[float]:
        """Over the seeds in which both were measured: their number, the difference with its interval, means of a and b.

        And last in how many seeds there is no such pair because a network diverged.
        """
        round = self._round(round)
        if (a, b, at) not in self._compared:  # all rounds at once: sentences ask for every one of them
            values, gone = [], False
            for arm in (a, "rewind" if b == "dense" else b):
                measured, broken = self.accuracy(arm, at), self.diverged(arm)
                if values and b == "dense":
                    measured, broken = (np.broadcast_to(rows[0], rows.shape) for rows in (measured, broken))
                values.append(measured)
                gone = gone | (~np.isfinite(measured) & broken)
            pairs = np.where(np.isfinite(values).all(0), values, np.nan)
            means = [interval(rows)[0] for rows in pairs]
            n = np.isfinite(pairs[0]).sum(-1)
            columns = [n, *interval(pairs[0] - pairs[1]), *means, gone.sum(-1)]
            self._compared[a, b, at] = np.stack(columns, axis=-1)
        return self._compared[a, b, at][round].tolist()

    def nearest_round(self, density: float) -> int:
        """The round whose density is nearest to this one, in ratio."""
        return int(np.abs(np.log(np.maximum(self.density, 1e-9) / density)).argmin())

    def matching_rounds(self, at: str | int = "end") -> list[int]:
        """Rounds 1, 2, ... until the ticket is distinguishably worse than the dense network, and stays so in the next.

        One marginal round in between does not end the list: of twenty comparisons without any difference one is
        expected to raise a false alarm. Empty for a single seed, of which nothing can be said.
        """
        compared = [self.compare("rewind", "dense", r, at) for r in range(1, self.rounds + 1)]
        measured = next((i for i, c in enumerate(compared) if c.n < 2), len(compared))
        worse = [c.verdict == "lower" for c in compared[:measured]]
        end = next((i for i in range(measured) if all(worse[i : i + 2])), measured)
        return list(range(1, end + 1))

    def matching_in_words(self, at: str | int = "end") -> str:
        """One sentence about :meth:`matching_rounds` that names the marginal rounds; empty where there are none."""
        rounds = self.matching_rounds(at)
        if not rounds:
            return ""
        share = [f"{100 * density:.1f} %" for density in self.density]
        aside = [share[r] for r in rounds if self.compare("rewind", "dense", r, at).verdict == "lower"]
        method = METHODS[self.experiment.method]
        return (
            f"Down to {share[rounds[-1]]} of the weights the {method.network}, {method.chosen}, is not distinguishably worse than the dense "
            f"network{', a marginal round at ' + ' and '.join(aside) + ' aside' if aside else ''}."
        )

    def table(self, at: str | int = "end") -> list[dict]:
        """One row a round: round, density, and mean and standard deviation over seeds for every arm."""
        rows = [{"round": r, "density": float(d)} for r, d in enumerate(self.density)]
        for arm in self.arms:
            accuracy = self.accuracy(arm, at)
            for row, values in zip(rows, accuracy, strict=True):
                values = values[np.isfinite(values)]
                row[f"{arm} mean"] = float(values.mean()) if len(values) else math.nan
                row[f"{arm} std"] = float(values.std(ddof=1)) if len(values) > 1 else math.nan
        return rows

    def verdict(self, round: int, at: str | int = "end", against: str | None = None) -> str:
        """One sentence about the ticket at one round, against one arm, or against the ``dense`` network.

        ``against`` is by default the first arm beside the ticket that was measured.
        """
        round = self._round(round)
        others = self.arms[1:] if against is None else () if against == "dense" else (self._arm(against),)
        other = next((arm for arm in others if self._paired("rewind", arm, round, at)[0]), "dense")
        *_, ticket, control, lost = self._paired("rewind", "dense" if round == 0 else other, round, at)
        method = METHODS[self.experiment.method]
        if not math.isfinite(ticket):
            none = "the networks diverged, there is nothing to compare" if lost else "still training"
            return f"Round {round}: {none}."
        without = f" {lost:.0f} of {len(self.seeds)} seeds diverged and are left out." if lost else ""
        if other == "dense" and others and self.diverged(others[0])[round].all():
            without += f" All networks of {self.look(others[0]).label} diverged."
        if round == 0:
            reached = f"it reaches {100 * ticket:.1f} %"
            return f"Round 0 is the dense network: every weight is there, and {reached}.{without}"
        text = (
            f"With {100 * self.density[round]:.1f} % of the weights, {method.chosen}, the {method.network} "
            f"reaches {100 * ticket:.1f} %"
        )
        if other != "dense":
            text += f"; {self.look(other).label} reaches {100 * control:.1f} %"
        paired = str(self.compare("rewind", other, round, at))
        return f"{text}. {paired[0].upper()}{paired[1:]}{without}"

    def describe(self, at: str | int = "end") -> str:
        """One paragraph: what ran, the ranges, the order of the arms, the main finding. Also the alt text."""
        text = self.experiment.describe()
        if not self.finished:
            there = [(np.isfinite(self.accuracy(arm)) | self.diverged(arm)).all(1)[1:] for arm in self.arms]
            n = int(np.all(there, axis=0).sum())
            text += f" Still running: {n} {'round' if n == 1 else 'rounds'} so far."
        start = 100 * interval(self.accuracy("rewind", at)[0])[0]
        if math.isfinite(start):
            text += f" The dense network reaches {start:.1f} % test accuracy."
        for arm in self.arms:
            means = interval(self.accuracy(arm, at))[0]
            measured = np.flatnonzero(np.isfinite(means))
            if len(measured):
                last = measured[-1]
                density = 100 * self.arm_density(arm)[last]
                text += f" {self.look(arm).label}: {100 * means[last]:.1f} % at {density:.1f} % density."
        matching = self.matching_in_words(at)
        text += f" {matching}" if matching else ""
        first = self.look("rewind").short
        first = first[0].upper() + first[1:]
        for arm in self.arms[1:]:
            compared = [self.compare("rewind", arm, r, at) for r in range(1, self.rounds + 1)]
            compared = [c.verdict for c in compared if c.n]
            if compared:
                text += (
                    f" {first} is higher than {self.look(arm).label} in {compared.count('higher')} of "
                    f"{len(compared)} {'round' if len(compared) == 1 else 'rounds'}."
                )
        broken = {arm: int(self.diverged(arm).sum()) for arm in self.arms if self.diverged(arm).any()}
        if broken:
            text += f" Diverged networks: {', '.join(f'{n} of {arm}' for arm, n in broken.items())}."
        if self.collapsed:
            round, layer = self.collapsed[0]
            text += f" Layer collapse: {layer} lost all its weights in round {round}."
        return text

    def __repr__(self):
        state = "" if self.finished else " (still running)"
        return f"Result{state}: {self.experiment.describe()}"
