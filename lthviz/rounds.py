"""One round of an experiment: every seed and every arm trained from its start, then the tickets pruned.

Iterative magnitude pruning prunes after each round. Methods that choose before training have all their masks from
the start, one for each round's density; dynamic methods move theirs while they train.

A round depends on the stored state and on nothing else, so that an interrupted experiment goes on
exactly where it stopped. The state holds plain arrays, S seeds first:

- ``theta/PARAMETER``: the initial weights of each seed, the stored snapshot that rounds rewind to;
- ``late/PARAMETER``: the weights after ``rewind_step`` dense steps, from round 0 on, if that is not 0;
- ``pruned_at/LAYER``, ``random/LAYER`` and ``invert/LAYER``: the round that removed each weight, of the ticket, of
  the random mask and of the mask of inverted scores; rounds + 1 where it survives. A dynamic method starts each
  round from this mask, and where it ends is measured;
- ``threads``: how many compute side by side; the networks are dealt out by it, and the last bits depend on that.
"""

from collections.abc import Callable
from itertools import groupby, pairwise, repeat

import numpy as np
import torch
import torch.nn.functional as F

from . import criteria, models
from .arms import ARMS
from .at_init import iterate
from .experiment import Cancelled
from .masks import Mask, erk, prune
from .methods import METHODS
from .result import QUANTITIES
from .schedule import Schedule
from .train import Population, batch_order, deal, generator, initial, one_thread_each, threads_of_torch

PER_CLASS = 10  # examples of each class that SNIP and GraSP score on
SYNFLOW = 20  # iterations of SynFlow from one round's density to the next
BINS = 64
REACH = 16.0  # in standard deviations of the initial weights; the end bins of a histogram hold what lies further out


def start(experiment, data) -> dict[str, np.ndarray]:
    """The state before round 0: initial weights of every seed, nothing pruned."""
    drawn = initial(experiment.model, data.input_shape, data.classes, experiment.seeds)
    state = {f"theta/{name}": value.numpy() for name, value in drawn.items()}
    state["threads"] = np.int64(threads_of_torch())
    for layer, shape in experiment.layer_shapes.items():
        for chain in _chains(experiment):
            state[f"{chain}/{layer}"] = np.full(
                (len(experiment.seeds), *shape), experiment.rounds + 1, np.int16
            )
    if experiment.method != "imp":
        for chain in _chains(experiment):
            for row, seed in enumerate(experiment.seeds):
                for round, gone in enumerate(
                    _gone_at_init(experiment, data, seed, chain == "invert"), start=1
                ):
                    for layer in experiment.layer_shapes:
                        state[f"{chain}/{layer}"][row][gone[f"{layer}.weight"]] = round
    return state


def _gone_at_init(experiment, data, seed, invert):
    """What is removed in each round, {parameter name: bool array}; of a dynamic method, from where it starts."""
    network = models.build(experiment.model, data.input_shape, data.classes, generator(seed, "init"))
    whole, *rungs = [sum(rung.values()) for rung in experiment.ladder()]
    mask, batch = Mask.ones_like(criteria.prunable(network)), _scoring_batch(data, seed)
    shapes = {name: array.shape for name, array in mask.items()}
    by_layer = experiment.method == "random" or METHODS[experiment.method].kind == "dynamic"
    if by_layer:
        scores = criteria.random(network, generator=generator(seed, "mask"))
    elif experiment.method != "synflow":
        scores = getattr(criteria, experiment.method)(network, F.cross_entropy, batch)
        scores = {name: -values if invert else values for name, values in scores.items()}
    for kept in rungs:
        density = kept / whole
        if by_layer:
            new = prune(scores, density=erk(shapes, density), mask=mask)
        elif experiment.method == "synflow":
            new = iterate(network, F.cross_entropy, batch, "synflow", density, SYNFLOW, invert, mask)
        else:
            new = prune(scores, density=density, mask=mask, scope="global")
        yield {name: mask[name] & ~new[name] for name in mask}
        mask = new


def _scoring_batch(data, seed):
    """PER_CLASS training examples of each class: what SNIP and GraSP look at."""
    order = torch.randperm(len(data.y_train), generator=generator(seed, "score")).numpy()
    chosen = [order[data.y_train[order] == label][:PER_CLASS] for label in range(data.classes)]
    chosen = np.concatenate(chosen)
    return torch.tensor(data.x_train[chosen]), torch.tensor(data.y_train[chosen])


def _chains(experiment):
    return ("pruned_at", *(arm for arm in ("random", "invert") if arm in experiment.arms))


def steps_of(experiment, arm: str, round: int) -> int:
    """How many steps an arm trains in a round: fewer where it starts from the weights after ``rewind_step``."""
    return experiment.steps - _first_step(experiment, arm, round)


def _first_step(experiment, arm, round):
    return experiment.rewind_step if round and not ARMS[arm].fresh else 0


def evaluation_steps(experiment) -> np.ndarray:
    """(E,) the steps at which the networks are evaluated: 0, every ``evaluate_every``, and the last."""
    return np.unique(np.r_[0 : experiment.steps : experiment.evaluate_every, experiment.steps])


def train_round(
    experiment, data, round: int, state: dict, device="cpu", report: Callable | None = None, cancel=None
):
    """Train one round: ``(measured, next state)``, both dicts of arrays.

    ``measured`` has per arm ``test_accuracy/ARM``, ``validation_accuracy/ARM``, ``validation_loss/ARM``
    (S, E), ``diverged/ARM`` (S,), ``density/ARM``; per layer ``kept/LAYER`` (S,) and, at the end of the round, the
    histograms of surviving weights. ``report(work, step, measured)`` is called after every evaluation: work is the
    number of steps since its last call, times arms. Raises ``Cancelled`` within one step of ``cancel`` being set.
    """
    now = _Round(experiment, data, round, state, device, report, cancel)
    if METHODS[experiment.method].kind == "dynamic":
        now.train(["rewind"], _Exchange(experiment, round) if round else None)
        now.masks = _with_controls(experiment, now.ended)  # those train with the masks where the method ended
        now.measured |= {f"mask/{layer}": kept for layer, kept in now.ended.items()}
        now.train([arm for arm in experiment.arms if arm != "rewind"])
    else:
        now.train(experiment.arms)
    begin, state = _from(experiment, now.state, round), now.state
    for layer, kept in now.ended.items():
        reach = np.float32(REACH * state[f"theta/{layer}.weight"].std())
        _histograms(
            now.measured, layer, reach, begin[f"{layer}.weight"], now.weights[f"{layer}.weight"], kept
        )
    if experiment.method == "imp" and round < experiment.rounds:
        state |= _pruned(experiment, state, round + 1, now.weights)
    return now.measured, state


class _Exchange:
    """How a dynamic method moves its weights while it trains: one generator a seed draws the new places of SET."""

    def __init__(self, experiment, round):
        self.method, self.schedule = experiment.method, Schedule(experiment.steps)
        self.generators = [generator(seed, "grow", round) for seed in experiment.seeds]


class _Round:
    """What the arms of a round share while they train, and what comes of it.

    ``measured`` and ``state`` are those of :func:`train_round`; ``weights`` and ``ended`` are the ticket's at the end
    of the round: parameters by name, masks by layer, S networks in front.
    """

    def __init__(self, experiment, data, round, state, device="cpu", report=None, cancel=None):
        self.experiment, self.data, self.round, self.state = experiment, data, round, dict(state)
        self.device, self.report, self.cancel = device, report, cancel
        self.threads = 1 if torch.device(device).type == "cuda" else int(state["threads"])
        self.masks = masks_of(experiment, state, round)
        self.steps = evaluation_steps(experiment)
        self.weights, self.ended = {}, self.masks["rewind"]
        self.measured = _nothing_yet(experiment, self.ended, self.steps)
        if METHODS[experiment.method].kind == "dynamic":  # until it is known better
            self.measured |= {f"mask/{layer}": kept for layer, kept in self.ended.items()}
        self.parts = {
            part: tuple(torch.tensor(getattr(data, f"{what}_{part}")).to(device) for what in "xy")
            for part in ("train", "validation", "test")
        }

    def train(self, arms, exchange: _Exchange | None = None) -> None:
        """Train some arms from where they start to the end of the round."""
        plan = [_Start(self, arm) for arm in arms]
        alike = lambda start: (start.first, str(start.architecture))  # noqa: E731
        for _, group in groupby(sorted(plan, key=alike), key=alike):
            self._train(list(group), exchange)

    def _train(self, group: list, exchange) -> None:
        """The same for arms that begin at one step and have one architecture: their networks train side by side."""
        arms, first, S = [start.arm for start in group], group[0].first, len(self.experiment.seeds)
        self.measured |= {f"density/{start.arm}": np.float64(start.density) for start in group}
        shards = self._shards(group)
        sizes = [shard.K for shard in shards]
        orders = [order.transpose(0, 1).contiguous() for order in self._batches(first, arms).split(sizes)]
        draws = [
            exchange.generators[end - K : end] if exchange else () for K, end in zip(sizes, np.cumsum(sizes))
        ]
        keep_at = self.experiment.rewind_step if self.round == 0 and "rewind" in arms else 0
        stops = {step for step in self.steps.tolist() if step > first} | ({keep_at} if keep_at else set())
        with one_thread_each(self.threads) as side_by_side:
            for begin, end in pairwise([first, first, *sorted(stops)]):
                parts = [order[begin - first : end - first] for order in orders]
                side_by_side(
                    lambda part: self._advance(*part, exchange), zip(shards, parts, draws, repeat(begin))
                )
                if keep_at and end == keep_at:
                    late = _numpy(shards, "parameters")
                    self.state |= {f"late/{name}": value[:S] for name, value in late.items()}
                if end in self.steps:
                    self._record(arms, end, side_by_side(self._evaluate, shards))
                if self.report:
                    self.report((end - begin) * len(arms), end, self.measured)
        if "rewind" in arms:
            self.weights = {name: value[:S] for name, value in _numpy(shards, "parameters").items()}
            masks = _numpy(shards, "masks")
            self.ended = {name.removesuffix(".weight"): mask[:S] for name, mask in masks.items()}

    def _shards(self, group) -> list[Population]:
        """The networks of some arms, arm after arm and seed after seed, dealt out to populations."""
        chosen = {
            name: getattr(self.experiment, name) for name in ("optimizer", "lr", "momentum", "weight_decay")
        }
        return deal(
            group[0].architecture, self.data.classes,
            {name: torch.cat([start.parameters[name] for start in group]) for name in group[0].parameters},
            {name: torch.cat([start.masks[name] for start in group]) for name in group[0].masks},
            *self.parts["train"], self.experiment.batch_size,
            threads=self.threads, device=self.device, **chosen,
        )  # fmt: skip

    def _batches(self, first, arms):
        """(K, steps from ``first`` on, batch): which examples; all arms of a seed see the same ones."""
        size, steps = self.experiment.batch_size, self.experiment.steps
        examples = self.parts["train"][0]
        rows = [
            batch_order(seed, self.round, len(examples), size, steps)[first:]
            for seed in self.experiment.seeds
        ]
        return torch.stack(rows).repeat(len(arms), 1, 1).to(examples.device)

    def _advance(self, shard, order, draws, begin, exchange) -> None:
        """Train one population for some steps, from step ``begin`` on."""
        for step, examples in enumerate(order, start=begin):
            if self.cancel is not None and self.cancel.is_set():
                raise Cancelled(f"cancelled at step {step} of a round.")
            fraction = exchange.schedule.fraction(step + 1) if exchange else 0.0
            if fraction:
                shard.exchange(examples, fraction, exchange.method, draws)
            else:
                shard.step(examples)

    def _evaluate(self, shard):
        return [*shard.evaluate(*self.parts["validation"]), shard.evaluate(*self.parts["test"])[1]]

    def _record(self, arms, step, values) -> None:
        loss, right, test = (np.concatenate(value) for value in zip(*values, strict=True))
        finite, column = np.isfinite(loss), int(np.searchsorted(self.steps, step))
        quantities = {"validation_loss": loss, "validation_accuracy": right, "test_accuracy": test}
        for quantity, value in quantities.items():
            for row, arm in zip(np.where(finite, value, np.nan).reshape(len(arms), -1), arms, strict=True):
                self.measured[f"{quantity}/{arm}"][:, column] = row
        for row, arm in zip(finite.reshape(len(arms), -1), arms, strict=True):
            self.measured[f"diverged/{arm}"] |= ~row


class _Start:
    """Where one arm starts a round: architecture, first step, parameters and masks with S networks in front."""

    def __init__(self, now: _Round, arm: str):
        experiment, data = now.experiment, now.data
        self.arm, self.architecture = arm, experiment.model
        self.first = _first_step(experiment, arm, now.round)
        ticket = now.masks["rewind"]
        survivors, total = _kept_of(ticket)
        self.density = survivors / total
        if arm == "small-dense":
            self.architecture = models.narrowed(experiment.model, data.input_shape, data.classes, survivors)
            self.density = models.weight_count(self.architecture, data.input_shape, data.classes) / total
        if ARMS[arm].fresh:  # another draw in every round
            self.parameters = initial(
                self.architecture, data.input_shape, data.classes, experiment.seeds, arm, now.round
            )
        else:
            self.parameters = {
                name: torch.tensor(value) for name, value in _from(experiment, now.state, now.round).items()
            }
        if arm == "small-dense":
            self.masks = {
                name: torch.ones_like(value, dtype=torch.bool)
                for name, value in self.parameters.items()
                if name.endswith(".weight")
            }
        else:
            self.masks = {f"{layer}.weight": torch.from_numpy(kept) for layer, kept in now.masks[arm].items()}


def _from(experiment, state, round) -> dict[str, np.ndarray]:
    """The stored weights that a round rewinds to."""
    prefix = "late/" if round and experiment.rewind_step else "theta/"
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def masks_of(experiment, state, round) -> dict[str, dict[str, np.ndarray]]:
    """{arm: {layer: (S, *shape) bool}} after a number of rounds, for the arms that have the dense network's shape."""

    def chain(name):
        return {layer: state[f"{name}/{layer}"] > round for layer in experiment.layer_shapes}

    masks = _with_controls(experiment, chain("pruned_at"))
    return masks | {arm: chain(arm) for arm in ("random", "invert") if arm in experiment.arms}


def _with_controls(experiment, ticket):
    """The ticket's masks and those of the controls that are made from them."""
    masks = {"rewind": ticket}
    if "reinit" in experiment.arms:
        masks["reinit"] = ticket
    if "shuffle" in experiment.arms:
        masks["shuffle"] = _shuffled(experiment, ticket)
    return masks


def _shuffled(experiment, masks):
    """The masks permuted within each layer: one permutation a seed and layer, so that the rounds stay nested."""
    shuffled = {}
    for layer, kept in masks.items():
        rows = []
        for seed, row in zip(experiment.seeds, kept, strict=True):
            places = torch.randperm(row.size, generator=generator(seed, f"shuffle {layer}")).numpy()
            rows.append(row.reshape(-1)[places].reshape(row.shape))
        shuffled[layer] = np.stack(rows)
    return shuffled


def _pruned(experiment, state, round, weights):
    """The chains of the ticket and of the random mask with one more round of pruning."""
    output = list(experiment.layer_shapes)[-1] if experiment.scope == "layer" else None
    new = {}
    for chain in _chains(experiment):
        for row, seed in enumerate(experiment.seeds):
            chance = generator(seed, "random mask", round)
            scores, mask = {}, {}
            for layer, shape in experiment.layer_shapes.items():
                if chain == "random":
                    scores[layer] = torch.rand(shape, generator=chance).numpy()
                else:  # a diverged network has no magnitudes; it goes on as if they were all zero
                    scores[layer] = np.nan_to_num(
                        np.abs(weights[f"{layer}.weight"][row]), nan=0.0, posinf=0.0
                    )
                mask[layer] = state[f"{chain}/{layer}"][row] >= round
            kept = prune(
                scores, rate=experiment.rate, mask=Mask(mask), scope=experiment.scope, output_layer=output
            )
            for layer in mask:
                key = f"{chain}/{layer}"
                new.setdefault(key, state[key].copy())[row][mask[layer] & ~kept[layer]] = round
    return new


def _nothing_yet(experiment, ticket, steps):
    S = len(experiment.seeds)
    measured = {f"kept/{layer}": kept.reshape(S, -1).sum(1) for layer, kept in ticket.items()}
    for arm in experiment.arms:
        measured[f"density/{arm}"] = np.float64(np.nan)
        measured[f"diverged/{arm}"] = np.zeros(S, bool)
        for quantity in QUANTITIES:
            measured[f"{quantity}/{arm}"] = np.full((S, len(steps)), np.nan, np.float32)
    survivors, total = _kept_of(ticket)
    measured["density/rewind"] = np.float64(survivors / total)
    return measured


def _kept_of(mask) -> tuple[int, int]:
    """How many weights each network keeps, and of how many."""
    return sum(int(kept[0].sum()) for kept in mask.values()), sum(kept[0].size for kept in mask.values())


def _numpy(shards, what):
    """``parameters`` or ``masks`` of all networks, (K, *shape)."""
    return {
        name: np.concatenate([getattr(shard, what)[name].cpu().numpy() for shard in shards])
        for name in getattr(shards[0], what)
    }


def _histograms(measured, layer, reach, initial, final, kept):
    edges = np.linspace(-reach, reach, BINS + 1, dtype=np.float32)
    measured[f"histogram/{layer}/edges"] = edges
    for part, weights in (("initial", initial), ("final", final)):
        rows = [
            np.histogram(np.clip(np.nan_to_num(row[there]), -reach, reach), edges)[0]
            for row, there in zip(weights, kept, strict=True)
        ]
        measured[f"histogram/{layer}/{part}"] = np.stack(rows).astype(np.int32)
