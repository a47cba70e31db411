"""Networks of growing width, tickets from parents of growing width, and small networks by the hundred (lesson 01)."""

import numpy as np
import torch

from .. import data
from ..choices import unknown
from ..masks import Mask, prune
from ..train import batch_order, generator, initial, taught

DIGITS = "mnist-5k-14"
WIDTHS = (2, 3, 5, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256)
NOISES = (0.0, 0.1, 0.2, 0.4)
LEARNING = {"examples": 1000, "steps": 5000, "every": 250, "batch_size": 50, "lr": 0.002}
PARENTS = (12, 25, 50, 100, 200)
BUDGETS = (2400, 1200, 600)
#: Widths of dense networks that have nearly as many weights, and never fewer: 2,472, 1,236 and 618.
SMALL = (12, 6, 3)
STEPS = 500
#: "shuffle": the mask permuted within each layer, so at random places over the ticket's initial weights; "patient": the
#: ticket trained five times as long.
ARMS = ("rewind", "reinit", "shuffle", "patient")
#: Other ways to prune the parent of width 200: all weights in one ranking, every layer at the same rate, fewer rounds.
WAYS = {"global": {"scope": "global"}, "equal": {"half": False}, "hasty": {"rate": 0.5}}


def study() -> dict:
    """A sweep of width and label noise, tickets from parents, small dense networks; shapes below, names with a prefix.

    ``sweep/...`` is what :func:`sweep` gives for ``widths`` and ``noises``; ``parent/...`` what :func:`tickets` gives
    for ``parents`` (the first dimension) and ``budgets``; ``way/NAME/...`` the same for one parent, pruned in another
    way; ``small (budget, network)`` the test accuracy of small dense networks, ``long`` that of a part of them after five
    times the steps.
    """
    parents = [tickets(f"mlp-{width}", BUDGETS, 16, steps=STEPS) for width in PARENTS]
    ways = {name: tickets("mlp-200", BUDGETS, 8, steps=STEPS, **way) for name, way in WAYS.items()}
    return {
        **{f"sweep/{name}": values for name, values in sweep(WIDTHS, NOISES, 5, **LEARNING).items()},
        **{f"parent/{name}": np.stack([found[name] for found in parents]) for name in parents[0]},
        **{f"way/{way}/{name}": values for way, found in ways.items() for name, values in found.items()},
        "small": np.stack([dense(f"mlp-{width}", 300, steps=STEPS) for width in SMALL]),
        "long": np.stack([dense(f"mlp-{width}", 60, steps=5 * STEPS) for width in SMALL]),
        "widths": WIDTHS, "noises": NOISES, "parents": PARENTS, "budgets": BUDGETS, "small_widths": SMALL, "steps": STEPS,
        **{f"sweep/{name}": value for name, value in LEARNING.items()},
    }  # fmt: skip


# --- Width and label noise --------------------------------------------------------------------------------------------


def few_digits(seed: int, examples: int, noises):
    """Some training digits with wrong labels among them, each seed its own.

    Returns
    -------
    x : tensor (examples, 14, 14)
    y : tensor (noises, examples)
        Wrong, another class drawn uniformly, for ``round(noise * examples)`` of the digits. What is wrong at a low noise
        is wrong in the same way at a higher one.
    """
    digits = data.load(DIGITS)
    draw = generator(seed, "few digits")
    chosen = torch.randperm(len(digits.y_train), generator=draw)[:examples].numpy()
    right = torch.tensor(digits.y_train[chosen])
    rank = torch.randperm(examples, generator=draw)
    wrong = (right + torch.randint(1, digits.classes, (examples,), generator=draw)) % digits.classes
    noise = torch.tensor(noises, dtype=torch.float64)[:, None]
    return torch.tensor(digits.x_train[chosen]), torch.where(rank < (noise * examples).round(), wrong, right)


def sweep(
    widths, noises, seeds: int, *, examples: int, steps: int, every: int, batch_size: int, lr: float
) -> dict:
    """Networks with one hidden layer, trained on few digits with wrong labels among them.

    Within a seed all widths and noises have the same digits in the same order, all noises the same initial weights.

    Returns
    -------
    dict
        ``train`` and ``test (width, noise, seed, time)``: the share of wrong answers, on the labels the network learns
        from and on clean test digits; ``validation`` the same on clean validation digits; ``moved (width, noise,
        seed)``: how far the first layer's weights went from where they began, as a share of their own length.
    """
    digits = data.load(DIGITS)
    few = [few_digits(seed, examples, noises) for seed in range(seeds)]
    x = torch.cat([x for x, _ in few for _ in noises])  # network k learns from the k-th stretch of examples
    y = torch.cat([labels for _, y in few for labels in y])
    K = seeds * len(noises)
    order = torch.stack([batch_order(seed, 0, examples, batch_size, steps) for seed in range(seeds)])
    order = order.repeat_interleave(len(noises), 0) + examples * torch.arange(K)[:, None, None]
    own, labels = x.flatten(1).view(K, examples, -1), y.view(K, examples)
    clean = [
        (torch.tensor(getattr(digits, f"x_{part}")), torch.tensor(getattr(digits, f"y_{part}")))
        for part in ("test", "validation")
    ]

    def learn(population, batches, mine):
        begin, errors = population.parameters["fc1.weight"].clone(), []
        for step in range(steps + 1):
            if step % every == 0:
                wrong = (_answers(population.parameters, own[mine]) != labels[mine]).float().mean(1).numpy()
                errors.append([wrong, *(1 - population.evaluate(*part)[1] for part in clean)])
            if step < steps:
                population.step(batches[step])
        gone = (population.parameters["fc1.weight"] - begin).flatten(1).norm(dim=1)
        return np.array(errors), (gone / begin.flatten(1).norm(dim=1)).numpy()

    found = []
    for width in widths:
        start = initial(f"mlp-{width}", (14, 14), 10, np.repeat(np.arange(seeds), len(noises)))
        done = taught(learn, f"mlp-{width}", 10, start, _full(start), x, y, order, lr=lr)
        errors, moved = (np.concatenate(values, -1) for values in zip(*done, strict=True))
        found.append((errors.reshape(*errors.shape[:2], seeds, -1), moved.reshape(seeds, -1)))
    errors = np.stack([errors for errors, _ in found]).transpose(2, 0, 4, 3, 1)
    names = zip(("train", "test", "validation"), errors.astype(np.float32), strict=True)
    return dict(names) | {"moved": np.stack([moved.T for _, moved in found])}


def _answers(parameters, x):
    """(K, N): what networks with one hidden layer say, each to its own examples (K, N, features)."""
    hidden = torch.baddbmm(
        parameters["fc1.bias"][:, None], x, parameters["fc1.weight"].transpose(1, 2)
    ).relu_()
    return torch.baddbmm(
        parameters["fc2.bias"][:, None], hidden, parameters["fc2.weight"].transpose(1, 2)
    ).argmax(2)


def _full(parameters):
    return {
        name: torch.ones_like(w, dtype=torch.bool)
        for name, w in parameters.items()
        if name.endswith("weight")
    }


# --- Small networks ---------------------------------------------------------------------------------------------------


def dense(model: str, networks: int, *, steps: int) -> np.ndarray:
    """(networks,) test accuracy of dense networks that differ in their seed."""
    start = initial(model, (14, 14), 10, range(networks))
    mask = [Mask.ones_like({name: w[0] for name, w in _full(start).items()})] * networks
    return _train(model, start, mask, range(networks), 0, steps)[0]


# --- Tickets from parents ---------------------------------------------------------------------------------------------


def tickets(
    model: str, budgets, seeds: int, *, steps: int, rate: float = 0.2, scope: str = "layer", half: bool = True
) -> dict:
    """Parents pruned iteratively, by magnitude and with rewinding, to the same numbers of weights.

    A round removes ``rate`` of the surviving weights, as in ``lthviz.Experiment``; with scope "layer" the output layer
    loses ``half`` as much, or the same. A round that would remove more than the next budget allows removes less.
    ValueError for another scope than "layer" and "global".

    Returns
    -------
    dict
        ``accuracy (arm, budget, seed)`` on test digits, arms as in ``ARMS``; ``dense (seed,)``, the same of the parents; ``kept (budget, seed, layer)``; ``units (budget, seed)``: how
        many hidden units of the first layer still have weights on both sides; ``rounds (budget,)``.
    """
    if scope not in ("layer", "global"):
        raise unknown("scope", scope, ("layer", "global"))
    rows = range(seeds)
    theta = initial(model, (14, 14), 10, rows)
    mask = [Mask(_numpy({name: w[row] for name, w in _full(theta).items()})) for row in rows]
    output = list(mask[0])[-1] if scope == "layer" and half else None
    whole, weights = _train(model, theta, mask, rows, 0, steps)
    ticket = whole
    accuracy, kept, units, rounds = [], [], [], []
    round = 0
    for budget in budgets:
        while mask[0].kept > budget + 1:
            round += 1
            for row in rows:
                most = sum(part.sum() * (0.5 if name == output else 1) for name, part in mask[row].items())
                share = min(rate, (mask[row].kept - budget) / most)
                scores = {name: np.abs(weights[name][row]) for name in mask[row]}
                mask[row] = prune(scores, rate=share, mask=mask[row], scope=scope, output_layer=output)
            ticket, weights = _train(model, theta, mask, rows, round, steps)
        fresh = initial(model, (14, 14), 10, rows, "reinit", round)
        chance = [mask[row].shuffle(np.random.default_rng([row, round])) for row in rows]
        others = [
            _train(model, start, under, rows, round, longer * steps)[0]
            for start, under, longer in ((fresh, mask, 1), (theta, chance, 1), (theta, mask, 5))
        ]
        accuracy.append([ticket, *others])
        kept.append([[layer["kept"] for layer in part.layers] for part in mask])
        first, second = list(mask[0])[:2]
        units.append([(part[first].any(1) & part[second].any(0)).sum() for part in mask])
        rounds.append(round)
    return {
        "accuracy": np.array(accuracy, np.float32).transpose(1, 0, 2),
        "dense": whole.astype(np.float32),
        "kept": np.array(kept),
        "units": np.array(units),
        "rounds": np.array(rounds),
    }


def _train(model, start, mask, seeds, round, steps, batch_size=60, lr=0.002):
    """Test accuracy (K,) and the weights {name: (K, *shape)} after training, a mask and a seed each."""
    digits = data.load(DIGITS)
    x, y, x_test, y_test = (
        torch.tensor(getattr(digits, name)) for name in ("x_train", "y_train", "x_test", "y_test")
    )
    masks = {name: torch.tensor(np.stack([part[name] for part in mask])) for name in mask[0]}
    order = torch.stack([batch_order(seed, round, len(y), batch_size, steps) for seed in seeds])

    def learn(population, batches, mine):
        for batch in batches:
            population.step(batch)
        return population.evaluate(x_test, y_test)[1], _numpy(population.parameters)

    done = taught(learn, model, 10, start, masks, x, y, order, lr=lr)
    accuracy, weights = zip(*done, strict=True)
    return np.concatenate(accuracy), {name: np.concatenate([w[name] for w in weights]) for name in masks}


def _numpy(tensors):
    return {name: values.numpy() for name, values in tensors.items()}
