"""Two copies of one network, trained with different data orders: what lesson 06 shows.

``forks``: copies of a dense network made after k steps. ``tickets``: the same for pruned networks that rewind to step
k, and the lines from round to round. ``retraining``: three ways to train a pruned network again. ``residual``: a
convolutional network with shortcuts and batch norm.
"""

import copy
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .. import data, models
from ..connectivity import ALPHAS, along, barrier, path, train
from ..criteria import prunable
from ..masks import Mask, prune
from ..train import batch_order, generator, one_thread_each

MODEL, DATA, BATCH, STEPS = "mlp-100-50", "mnist-5k-14", 60, 1000
SETTINGS = {
    "Adam, 0.002": {"optimizer": "adam", "lr": 0.002},
    "SGD, 0.1": {"optimizer": "sgd", "lr": 0.1},
    "SGD, 0.3": {"optimizer": "sgd", "lr": 0.3},
}
FORKS = [0, 10, 20, 50, 100, 300]
REWINDS = [0, 100, 300]
ROUNDS, RATE = 5, 0.5
ARMS = ["imp", "reinit", "random"]
SCHEMES = ["rewind to 0", "weight rewinding", "learning-rate rewinding", "fine-tuning"]
DROP, REWIND = 700, 100  # the learning rate falls to a tenth after 700 steps; the schemes rewind to step 100
COARSE = np.linspace(0, 1, 11)
FAR, FAR_STEPS, FAR_RATE = [0, 20, 100], 500, 0.2  # of the residual network


def study() -> dict:
    """Ten seeds of the class-room network, five of the residual one, and how it was made."""
    seeds = range(10)
    return {
        **{f"forks/{name}": values for name, values in forks(SETTINGS, FORKS, seeds).items()},
        **{f"tickets/{name}": values for name, values in tickets(REWINDS, ROUNDS, seeds).items()},
        **{f"retraining/{name}": values for name, values in retraining(ROUNDS, seeds).items()},
        **{f"residual/{name}": values for name, values in residual(FAR, 2, range(5)).items()},
        "seeds": np.array(seeds),
        "steps": np.array(STEPS),
        "batch_size": np.array(BATCH),
        "model": np.array(MODEL),
        "data": np.array(DATA),
    }


def start(seeds, role="init") -> tuple[dict, dict]:
    """Initial weights of one network a seed, ``(S, *shape)``, and masks that keep everything."""
    digits = data.load(DATA)
    networks = [
        dict(
            models.build(MODEL, digits.input_shape, digits.classes, generator(seed, role)).named_parameters()
        )
        for seed in seeds
    ]
    weights = {name: torch.stack([network[name].detach() for network in networks]) for name in networks[0]}
    ones = {
        name: torch.ones_like(value, dtype=torch.bool) for name, value in weights.items() if value.ndim == 3
    }
    return weights, ones


def order(seeds, number, first=0):
    """The data order of that number, for each seed, from a step on: ``(S, STEPS - first, BATCH)``."""
    n = len(data.load(DATA).y_train)
    return torch.stack([batch_order(seed, number, n, BATCH, STEPS)[first:] for seed in seeds])


def together(*parts):
    """Networks of several groups behind one another."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def apart(networks, groups):
    """The opposite of :func:`together`: a list of groups of one size."""
    parts = {name: value.chunk(groups) for name, value in networks.items()}
    return [{name: part[i] for name, part in parts.items()} for i in range(groups)]


def trained(weights, masks, orders, keep=(), **settings):
    """Groups of networks trained side by side; for each of ``keep`` and the end the list of groups."""
    found = train(
        MODEL, data.load(DATA), together(*weights), together(*masks), torch.cat(orders), keep,
        threads=2, **settings,
    )  # fmt: skip
    return [apart(networks, len(weights)) for networks in found]


def lines(a, b, alphas):
    """Test error in per cent along the lines from networks a to networks b: ``(S, A)``."""
    return 100 * along(MODEL, data.load(DATA), a, b, alphas)[1].astype(np.float32)


def forks(settings, forks, seeds) -> dict:
    """Copies made after k steps of dense training and trained to the end with data orders of their own.

    Returns
    -------
    dict
        ``error (setting, k, seed, alpha)`` along the line between the copies on test data, in per cent,
        ``barrier (setting, k, seed)`` in points, and ``settings``, ``k``, ``alpha``.
    """
    weights, ones = start(seeds)
    error = []
    for chosen in settings.values():
        kept = trained([weights], [ones], [order(seeds, 0)[:, : max(forks) + 1]], forks, **chosen)
        for k, (trunk,) in zip(forks, kept, strict=False):
            a, b = trained([trunk] * 2, [ones] * 2, [order(seeds, copy, k) for copy in (1, 2)], **chosen)[-1]
            error.append(lines(a, b, ALPHAS))
    error = np.stack(error).reshape(len(settings), len(forks), len(seeds), -1)
    return {
        "error": error, "barrier": np.float32(barrier(error, ALPHAS)), "settings": np.array(list(settings)),
        "k": np.array(forks), "alpha": ALPHAS,
    }  # fmt: skip


def tickets(rewinds, rounds, seeds) -> dict:
    """Iterative pruning of the unstable setting with rewinding to step k: two copies in every round.

    The first copy's weights say what is pruned next. The arm ``reinit`` has the ticket's mask and fresh weights,
    ``random`` the ticket's weights and a random mask of the same density in each layer; both train as many steps.

    Returns
    -------
    dict
        ``accuracy (arm, k, round, seed)`` the mean of both copies in per cent, ``barrier (arm, k, round, seed)`` between
        them, ``before (arm, k, round, seed)`` the barrier between the first copies of the last round and this one, ``dense (arm, k, round, seed)``
        the barrier between the first copy and the dense network, ``density (round,)``, ``k``, ``arms``. In round 0 all arms are the dense network.
    """
    weights, ones = start(seeds)
    fresh = start(seeds, "reinit")[0]
    chosen = SETTINGS["SGD, 0.3"]
    shape = len(ARMS), len(rewinds), rounds + 1, len(seeds)
    found = {name: np.full(shape, np.nan, np.float32) for name in ("accuracy", "barrier", "before", "dense")}
    kept = trained([weights], [ones], [order(seeds, 0)[:, : max(rewinds) + 1]], rewinds, **chosen)
    for column, (k, (trunk,)) in enumerate(zip(rewinds, kept, strict=False)):
        masks, density = dict.fromkeys(ARMS, ones), []
        for round in range(rounds + 1):
            arms = ARMS if round else ["imp"]
            copies = trained(
                [fresh if arm == "reinit" else trunk for arm in arms for _ in (1, 2)],
                [masks[arm] for arm in arms for _ in (1, 2)],
                [order(seeds, 2 * round + copy, k) for _ in arms for copy in (1, 2)],
                **chosen,
            )[-1]
            density.append(sum(int(mask[0].sum()) for mask in masks["imp"].values()))
            if round == 0:
                dense, first = copies[0], dict.fromkeys(ARMS, copies[0])
            for row, arm in enumerate(ARMS):
                a, b = copies[2 * row : 2 * row + 2] if round else copies
                error = lines(a, b, COARSE)
                found["accuracy"][row, column, round] = 100 - error[:, [0, -1]].mean(1)
                found["barrier"][row, column, round] = barrier(error, COARSE)
                found["before"][row, column, round] = barrier(lines(first[arm], a, COARSE), COARSE)
                found["dense"][row, column, round] = barrier(lines(dense, a, COARSE), COARSE)
                first[arm] = a
            masks = {arm: pruned(first[arm], masks[arm], arm, seeds, round + 1) for arm in ("imp", "random")}
            masks["reinit"] = masks["imp"]
    return found | {
        "density": np.array(density) / density[0], "k": np.array(rewinds), "arms": np.array(ARMS),
        "setting": np.array("SGD, 0.3"), "rate": np.array(RATE),
    }  # fmt: skip


def pruned(networks, masks, criterion, seeds, round):
    """One more round of pruning for each network: by magnitude, or at random."""
    rows = []
    for row, seed in enumerate(seeds):
        chance = generator(seed, "random mask", round)
        scores = {
            name: torch.rand(mask[row].shape, generator=chance)
            if criterion == "random"
            else networks[name][row].abs().nan_to_num()
            for name, mask in masks.items()
        }
        before = Mask({name: mask[row] for name, mask in masks.items()})
        rows.append(prune(scores, RATE, mask=before, output_layer=list(masks)[-1]))
    return {name: torch.stack([torch.tensor(row[name]) for row in rows]) for name in masks}


def retraining(rounds, seeds) -> dict:
    """Iterative pruning where each round goes on from the last one's weights in one of four ways.

    The learning rate of SGD is 0.3, and a tenth of it from step ``DROP`` on. Three schemes train ``STEPS - REWIND`` steps
    a round; ``rewind to 0`` trains all ``STEPS``, as the original procedure does.

    Returns
    -------
    dict
        ``accuracy (scheme, round, seed)`` in per cent, ``barrier (scheme, round, seed)`` between the dense network and that
        of the round, ``schemes``, ``drop``, ``k``.
    """
    weights, ones = start(seeds)
    high, low = 0.3, 0.03
    found = {
        name: np.full((len(SCHEMES), rounds + 1, len(seeds)), np.nan, np.float32)
        for name in ("accuracy", "barrier")
    }

    def course(network, masks, number, first, high=high):
        """From step ``first`` to the end."""
        steps = order(seeds, number, first)
        before = steps.shape[1] - (STEPS - DROP)
        (network,) = trained([network], [masks], [steps[:, :before]], optimizer="sgd", lr=high)[-1]
        (network,) = trained([network], [masks], [steps[:, before:]], optimizer="sgd", lr=low)[-1]
        return network

    (late,) = trained([weights], [ones], [order(seeds, 0)[:, :REWIND]], optimizer="sgd", lr=high)[-1]
    dense = course(weights, ones, 0, 0)
    for row, scheme in enumerate(SCHEMES):
        network, masks = dense, ones
        for round in range(rounds + 1):
            if round:
                masks = pruned(network, masks, "imp", seeds, round)
                if scheme == "rewind to 0":
                    network = course(weights, masks, round, 0)
                elif scheme == "weight rewinding":
                    network = course(late, masks, round, REWIND)
                else:
                    network = course(network, masks, round, REWIND, low if scheme == "fine-tuning" else high)
            error = lines(dense, network, COARSE)
            found["accuracy"][row, round] = 100 - error[:, -1]
            found["barrier"][row, round] = barrier(error, COARSE)
    return found | {"schemes": np.array(SCHEMES), "drop": np.array(DROP), "k": np.array(REWIND)}


class Shortcut(nn.Module):
    """Two convolutions of width 3 with batch norm, and the input added to what they give."""

    def __init__(self, filters):
        super().__init__()
        self.conv1 = nn.Conv1d(filters, filters, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm1d(filters)
        self.conv2 = nn.Conv1d(filters, filters, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm1d(filters)

    def forward(self, x):
        """(batch, filters, length), and as it came out."""
        return F.relu(x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


def residual_network(generator, filters=16):
    """A small residual network for the signals of ``mnist1d``: a convolution, two blocks with shortcuts, a mean, logits.

    Weights are uniform within 1 / sqrt(fan_in) of zero, as torch draws them, but from ``generator``; biases are zero.
    """
    with torch.random.fork_rng():  # layers draw first values of their own
        network = nn.Sequential(
            nn.Unflatten(1, (1, 40)),
            nn.Conv1d(1, filters, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm1d(filters),
            nn.ReLU(),
            Shortcut(filters),
            Shortcut(filters),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(filters, 10),
        )
    with torch.no_grad():
        for weight in prunable(network).values():
            bound = weight[0].numel() ** -0.5
            weight.uniform_(-bound, bound, generator=generator)
        network[-1].bias.zero_()
    return network


def fit(network, mask, order, signals, keep=()):
    """Train a network in place over (steps, B) indices, with the customary optimiser; copies after ``keep`` steps."""
    x, y = torch.tensor(signals.x_train), torch.tensor(signals.y_train)
    held = [(weight, torch.tensor(mask[name])) for name, weight in prunable(network).items()]
    optimizer = torch.optim.SGD(network.parameters(), FAR_RATE, momentum=0.9)
    network.train()
    copies = []

    def hold():
        with torch.no_grad():
            for weight, kept in held:
                weight.mul_(kept)

    hold()
    for step, batch in enumerate(order):
        if step in keep:
            copies.append(copy.deepcopy(network))
        optimizer.zero_grad()
        F.cross_entropy(network(x[batch]), y[batch]).backward()
        optimizer.step()
        hold()
    network.eval()
    return copies


def residual(rewinds, rounds, seeds, steps=FAR_STEPS) -> dict:
    """As :func:`tickets` for a residual network with batch norm on ``mnist1d``, pruned globally.

    Returns
    -------
    dict
        ``accuracy (arm, k, round, seed)`` in per cent and ``barrier (arm, k, round, seed)`` in points with statistics computed anew
        from 1,000 training examples, ``stale (arm, k, round, seed)`` the barrier with interpolated ones; ``density (round,)``, ``k``,
        ``arms``, ``seeds``, ``steps``, ``lr``.
    """
    signals = data.load("mnist1d")
    arms = ["imp", "random"]
    found = {
        name: np.full((2, len(rewinds), rounds + 1, len(seeds)), np.nan, np.float32)
        for name in ("accuracy", "barrier", "stale")
    }
    x, y, some = (torch.tensor(part) for part in (signals.x_test, signals.y_test, signals.x_train[:1000]))

    def order(seed, number):
        return batch_order(seed, number, len(signals.y_train), BATCH, steps)

    def trunk(row):
        whole = Mask.ones_like(prunable(networks[row]))
        return fit(networks[row], whole, order(seeds[row], 0)[: max(rewinds) + 1], signals, rewinds)

    def ladder(place):
        """One seed, one rewind step, all rounds."""
        row, column = place
        seed, k = seeds[row], rewinds[column]
        masks = dict.fromkeys(arms, Mask.ones_like(prunable(trunks[row][column])))
        for round in range(rounds + 1):
            for i, arm in enumerate(arms):
                if round or arm == "imp":
                    pair = [copy.deepcopy(trunks[row][column]) for _ in (1, 2)]
                    for number, network in enumerate(pair, start=1):
                        fit(network, masks[arm], order(seed, 2 * round + number)[k:], signals)
                    line = path(*pair, x, y, COARSE, some)
                    stale = path(*pair, x, y, COARSE, False)
                found["accuracy"][i, column, round, row] = 100 - 50 * (line.error[0] + line.error[-1])
                found["barrier"][i, column, round, row] = 100 * barrier(line.error, COARSE)
                found["stale"][i, column, round, row] = 100 * barrier(stale.error, COARSE)
                chance = generator(seed, "random mask", round + 1)
                scores = {
                    name: torch.rand(weight.shape, generator=chance)
                    if arm == "random"
                    else weight.detach().abs()
                    for name, weight in prunable(pair[0]).items()
                }
                masks[arm] = prune(scores, RATE, mask=masks[arm], scope="global")

    networks = [residual_network(generator(seed, "init")) for seed in seeds]
    with one_thread_each(2) as side_by_side:
        trunks = side_by_side(trunk, range(len(seeds)))
        side_by_side(ladder, list(product(range(len(seeds)), range(len(rewinds)))))
    return found | {
        "density": RATE ** np.arange(rounds + 1), "k": np.array(rewinds), "arms": np.array(arms), "seeds": np.array(seeds),
        "steps": np.array(steps), "lr": np.array(FAR_RATE),
    }  # fmt: skip
