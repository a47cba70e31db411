"""Tickets taken apart: every mask criterion, every way to start, supermasks, locality. What lesson 05 shows."""

import numpy as np
import torch

from ..anatomy import CRITERIA, KEPT, NULLS, PRUNED, adjacent_pairs, kept, permuted, pruned, scores
from ..data import load
from ..experiment import Experiment
from ..masks import Mask, prune
from ..models import build
from ..train import batch_order, generator, taught

#: Ways to start: a mask-1 action and a mask-0 action each.
STARTS = [(action, "zero") for action in KEPT] + [("rewind", action) for action in PRUNED[1:]]
ITERATED = [criterion for criterion in CRITERIA if criterion != "large_final_same_sign"]
ROUNDS = [3, 6, 9, 12, 15]


def study() -> dict:
    """The class-room network on the digits, taken apart; on the signals of MNIST-1D the ticket's masks alone."""
    digits, masks = taken_apart("mnist-5k-14", ITERATED, STARTS, ROUNDS, range(10), [0, 200, 1000])
    signals, lines = taken_apart("mnist1d", ["large_final"], STARTS[:1], ROUNDS, range(10), [0, 200, 1000])
    layers = {
        "ticket": (masks["large_final"], (14, 14)),
        "random": (masks["random"], (14, 14)),
        "signals": (lines["large_final"], (40,)),
    }
    pixels = np.stack([masks[criterion].sum((1, 2)) for criterion in ITERATED])
    return (
        digits
        | {f"signals/{name}": signals[name] for name in ("accuracy", "density")}
        | {
            f"{name}/{key}": values
            for name, (first, shape) in layers.items()
            for key, values in locality(first, shape, 99).items()
        }
        | {
            "pixels": pixels.reshape(*pixels.shape[:2], 14, 14).astype(np.uint16),
            "untrained": untrained("mnist-5k-14", CRITERIA, ROUNDS, range(10)),
            "untrained_criteria": np.array(CRITERIA),
        }
    )


def taken_apart(dataset: str, criteria, starts, rounds, seeds, at) -> tuple[dict, dict]:
    """Prune the class-room network iteratively, 20 % a round, by every criterion, and try every start on the way.

    Each round of each criterion trains from ("rewind", "zero"), and what comes out decides the next mask. In the
    rounds named, all starts are trained under each mask. Initial weights and data order are those of ``lthviz.run``
    with the same seed, so that ``large_final`` is its ticket.

    Parameters
    ----------
    dataset : str
    criteria : list of str
    starts : list of (mask-1 action, mask-0 action), ("rewind", "zero") first
    rounds : list of int
    seeds : sequence of int
    at : list of int, the steps at which test accuracy is measured; the last one ends the training

    Returns
    -------
    dict of array
        ``accuracy (criterion, start, round, at, seed)``, ``flipped (criterion, start, round, seed)`` (the share of the
        kept weights that end with another sign than they started with), ``dense (at, seed)``, ``density (round,)``,
        and the arguments.
    dict of array
        By criterion the masks of the first layer, (round, seed, units, inputs).
    """
    setting, data = Experiment(dataset, rounds=max(rounds)), load(dataset)
    tickets = [_Subject(setting, data, criterion, seed) for criterion in criteria for seed in seeds]
    shape = len(criteria), len(seeds)
    accuracy, flipped, density, masks = [], [], [], []
    for round in range(setting.rounds + 1):
        order = [
            batch_order(ticket.seed, round, len(data.y_train), setting.batch_size, at[-1])
            for ticket in tickets
        ]
        right, turned = [], []
        for start in starts if round in rounds else starts[:1]:
            begun = [ticket.start(*start, round) for ticket in tickets]
            found, ended = _trained(setting, data, begun, tickets, order, at)
            right.append(found.reshape(len(at), *shape))
            turned.append(
                np.reshape([_flipped(*one) for one in zip(tickets, begun, ended, strict=True)], shape)
            )
            if start == starts[0]:
                rewound = ended
        if round == 0:
            dense = right[0][:, 0]
        if round in rounds:
            accuracy.append(right)
            flipped.append(turned)
            density.append(tickets[0].mask.density)
            masks.append([next(iter(ticket.mask.values())) for ticket in tickets])
        for ticket, final in zip(tickets, rewound, strict=True):
            ticket.prune(final, round)
    masks = np.reshape(masks, (len(rounds), *shape, *masks[0][0].shape))
    arrays = {
        "accuracy": np.array(accuracy, np.float32).transpose(3, 1, 0, 2, 4),
        "flipped": np.array(flipped, np.float32).transpose(2, 1, 0, 3),
        "dense": dense.astype(np.float32),
        "density": np.array(density),
        "criteria": np.array(criteria),
        "starts": np.array(starts),
        "rounds": np.array(rounds),
        "seeds": np.array(seeds),
        "at": np.array(at),
    }
    return arrays, {criterion: masks[:, c] for c, criterion in enumerate(criteria)}


def untrained(dataset: str, criteria, rounds, seeds) -> np.ndarray:
    """Test accuracy before any training, under masks made in one shot from the trained dense network.

    Each layer keeps as many weights as after that many rounds of pruning.

    Returns
    -------
    (criterion, mask-1 action, round, seed) array
    """
    setting, data = Experiment(dataset, rounds=max(rounds)), load(dataset)
    dense = [_Subject(setting, data, "large_final", seed) for seed in seeds]
    order = [batch_order(seed, 0, len(data.y_train), setting.batch_size, setting.steps) for seed in seeds]
    _, final = _trained(setting, data, [one.initial for one in dense], dense, order, [setting.steps])
    rungs = setting.ladder()
    sizes = {f"{layer}.weight": size for layer, size in rungs[0].items()}
    found = []
    for criterion in criteria:
        for action in KEPT:
            for round in rounds:
                tickets = [_Subject(setting, data, criterion, seed) for seed in seeds]
                density = {name: rungs[round][name.removesuffix(".weight")] / sizes[name] for name in sizes}
                for ticket, ended in zip(tickets, final, strict=True):
                    ticket.prune(ended, 0, density=density)
                begun = [ticket.start(action, "zero", round) for ticket in tickets]
                found.append(_trained(setting, data, begun, tickets, order, [0])[0][0])
    return np.reshape(found, (len(criteria), len(KEPT), len(rounds), len(seeds))).astype(np.float32)


def locality(masks: np.ndarray, shape: tuple[int, ...], draws: int) -> dict:
    """Neighbouring inputs that a unit keeps both of, counted and compared with what chance would give.

    Parameters
    ----------
    masks : (round, seed, units, inputs) bool array
    shape : of the inputs, as for :func:`lthviz.anatomy.adjacent_pairs`
    draws : int, for each null

    Returns
    -------
    dict of array
        ``pairs (round, seed)``, ``expected (null, round, seed)``: the mean of the draws, ``p (null, round, seed)``: the
        share of masks with at least as many pairs, the mask itself among them; ``nulls``, ``draws``.
    """
    pairs = adjacent_pairs(masks, shape)
    chance = np.array(
        [
            [
                [
                    adjacent_pairs(permuted(mask, null, draws, generator(seed, null, place)), shape)
                    for seed, mask in enumerate(row)
                ]
                for place, row in enumerate(masks)
            ]
            for null in NULLS
        ]
    )
    return {
        "pairs": pairs,
        "expected": chance.mean(-1).astype(np.float32),
        "p": ((1 + (chance >= pairs[..., None]).sum(-1)) / (1 + draws)).astype(np.float32),
        "nulls": np.array(NULLS),
        "draws": np.array(draws),
    }


class _Subject:
    """A network that is pruned: its initial parameters, its mask, and how each weight's last training ended."""

    def __init__(self, setting, data, criterion, seed):
        self.criterion, self.seed, self._rate = criterion, seed, setting.rate
        network = build(setting.model, data.input_shape, data.classes, generator(seed, "init"))
        self.initial = {name: value.detach() for name, value in network.named_parameters()}
        self.theta = {name: value for name, value in self.initial.items() if name.endswith(".weight")}
        self.mask, self.final = Mask.ones_like(self.theta), dict(self.theta)

    def start(self, one, zero, round) -> dict:
        """The parameters to start from; fresh magnitudes and fresh signs are parts of the same draw."""
        values = kept(one, self.theta, self.mask, generator(self.seed, "fresh", round))
        held = pruned(zero, self.theta, self.final, self.mask)
        return self.initial | {name: values[name] + held[name] for name in self.theta}

    def prune(self, ended, round, density=None) -> None:
        """Remember how the kept weights ended, and prune by the criterion: at the rate, or to densities."""
        for name in self.theta:
            self.final[name] = torch.where(torch.tensor(self.mask[name]), ended[name], self.final[name])
        points = scores(self.criterion, self.theta, self.final, generator(self.seed, "mask", round))
        if density is None:
            self.mask = prune(points, rate=self._rate, mask=self.mask, output_layer=[*self.theta][-1])
        else:
            self.mask = prune(points, density=density, mask=self.mask)


def _flipped(ticket, begun, ended) -> float:
    """The share of a ticket's kept weights that end with another sign than they started with."""
    turned = {name: (ended[name].sign() != begun[name].sign()).numpy() for name in ticket.theta}
    return sum((turned[name] & kept).sum() for name, kept in ticket.mask.items()) / ticket.mask.kept


def _trained(setting, data, begun, tickets, order, at):
    """Test accuracy (at, network), and the parameters at the end, one dict a network."""
    parts = {what: torch.tensor(getattr(data, what)) for what in ("x_train", "y_train", "x_test", "y_test")}
    start = {name: torch.stack([one[name] for one in begun]) for name in begun[0]}
    masks = {name: torch.stack([torch.tensor(one.mask[name]) for one in tickets]) for name in tickets[0].mask}

    def course(population, batches, mine):
        values = population.parameters
        for name, mask in population.masks.items():  # Adam moves no pruned weight: it stays where it is put
            values[name].copy_(torch.where(mask, values[name], start[name][mine]))
        right = []
        for first, last in zip([0, *at], at, strict=False):
            for batch in batches[first:last]:
                population.step(batch)
            right.append(population.evaluate(parts["x_test"], parts["y_test"])[1])
        return right, [
            {n: v[k].clone() for n, v in population.parameters.items()} for k in range(population.K)
        ]

    found = taught(
        course,
        setting.model,
        data.classes,
        start,
        masks,
        parts["x_train"],
        parts["y_train"],
        torch.stack(order),
        lr=setting.lr,
    )
    return np.concatenate([right for right, _ in found], 1), [one for _, ended in found for one in ended]
