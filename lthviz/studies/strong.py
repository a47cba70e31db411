"""Subset sums of random numbers, and masks that edge-popup finds in random networks: what lesson 07 shows."""

from functools import partial
from itertools import product

import numpy as np
import torch

from .. import data, models
from ..criteria import prunable
from ..masks import prune
from ..strong import INITS, Popup, best_subset, redraw, subset_sums
from ..train import Population, batch_order, generator

BATCH, LR = 60, 0.002  # of all that learns here, scores and weights alike


def study() -> dict:
    """The arrays of :func:`subsets`, :func:`playground` and :func:`supermasks`, as the lesson shows them."""
    architectures = ["mlp-25-12", "mlp-50-25", "mlp-100-50", "mlp-200-100", "mlp-400-200"]
    densities, seeds = [0.1, 0.2, 0.3, 0.5, 0.7, 0.9], range(5)
    found = supermasks(architectures, INITS, densities, seeds, [0, 50, 100, 250, 500, 1000])
    longer = supermasks(["mlp-100-50"], INITS[:1], [0.5], seeds, [0, 1000, 5000])
    return (
        subsets(sizes=28, draws=100, targets=10, sorted_up_to=20)
        | playground(20, [-0.5, -0.3, -0.1, 0.1, 0.3, 0.5])
        | found
        | {
            "longer_steps": longer["at"],
            "longer": longer["popup"][0, 0, 0],
            "longer_dense": longer["dense"][0, 0],
        }
    )


def subsets(sizes: int, draws: int, targets: int, sorted_up_to: int) -> dict:
    """How near a subset of n numbers, uniform in [-1, 1], comes to a target, uniform in [-1/2, 1/2].

    Returns
    -------
    dict
        ``error (n, draw, target)`` of the best subset; ``worst (n, draw)``, the same for the worst target of
        [-1/2, 1/2], up to ``sorted_up_to`` numbers: half of the widest gap between neighbouring sums. The first entry
        is n = 1; the numbers of a draw are the same for every n, the first ones.
    """
    error, worst = np.empty((sizes, draws, targets)), np.empty((sorted_up_to, draws))
    for d in range(draws):
        rng = np.random.default_rng([d, 7])
        values, wanted = rng.uniform(-1, 1, sizes), rng.uniform(-0.5, 0.5, targets)
        for n in range(1, sizes + 1):
            for t, target in enumerate(wanted):
                error[n - 1, d, t] = abs(values[:n][best_subset(values[:n], target)].sum() - target)
        for n in range(1, sorted_up_to + 1):
            worst[n - 1, d] = farthest(values[:n])
    return {"error": error.astype(np.float32), "worst": worst.astype(np.float32)}


def farthest(values) -> float:
    """The largest distance of a target in [-1/2, 1/2] from the nearest subset sum."""
    sums = np.sort(subset_sums(values))
    middles = np.clip((sums[1:] + sums[:-1]) / 2, -0.5, 0.5)  # the farthest targets, and the ends
    places = np.unique(np.r_[-0.5, middles, 0.5])
    right = np.searchsorted(sums, places).clip(1, len(sums) - 1)
    return float(np.minimum(abs(places - sums[right - 1]), abs(places - sums[right])).max())


def playground(sizes: int, targets) -> dict:
    """One draw of numbers and the best subset of the first n of them for each target: ``taken (n, target, number)``."""
    numbers = np.random.default_rng(7).uniform(-1, 1, sizes)
    taken = np.zeros((sizes, len(targets), sizes), np.uint8)
    for n, (t, target) in product(range(1, sizes + 1), enumerate(targets)):
        taken[n - 1, t, :n] = best_subset(numbers[:n], target)
    return {"numbers": numbers, "targets": np.asarray(targets), "taken": taken}


def supermasks(architectures, inits, densities, seeds, at) -> dict:
    """Masks that edge-popup finds in random networks on the class-room digits, with their controls.

    Within a seed all share their batches, and within an init and architecture their first weights.

    Returns
    -------
    dict
        Test accuracies: ``popup (init, architecture, density, step, seed)`` at the steps ``at``;
        ``dense (init, architecture, step, seed)``, the same networks with their weights trained instead, by the same
        optimiser; ``random (init, architecture, density, seed)``, random masks of the same densities;
        ``other (init, architecture, density, seed)``, the last masks on another draw of the weights. And the arguments.
    """
    digits = data.load("mnist-5k-14")
    test = torch.tensor(digits.x_test), torch.tensor(digits.y_test)
    orders = torch.stack([batch_order(seed, 0, len(digits.y_train), BATCH, at[-1]) for seed in seeds])
    shape = len(inits), len(architectures)
    popup = np.empty((*shape, len(densities), len(at), len(seeds)))
    dense = np.empty((*shape, len(at), len(seeds)))
    random, other = np.empty((2, *shape, len(densities), len(seeds)))

    def course(learner, population):
        for step in range(at[-1] + 1):
            if step in at:
                yield population.evaluate(*test)[1]
            if step < at[-1]:
                learner.step(orders[:, step])

    for (i, init), (a, architecture) in product(enumerate(inits), enumerate(architectures)):
        begin = partial(_begin, architecture, init, seeds, digits)
        population = begin("weights")
        dense[i, a] = list(course(population, population))
        for d, density in enumerate(densities):
            population = begin("weights")
            learner = Popup(population, density, [generator(seed, "scores") for seed in seeds], LR)
            popup[i, a, d] = list(course(learner, population))
            other[i, a, d] = begin("other weights", learner.masks).evaluate(*test)[1]
            random[i, a, d] = begin("weights", _random(learner.masks, density, seeds)).evaluate(*test)[1]
    found = {"popup": popup, "dense": dense, "random": random, "other": other}
    return {name: values.astype(np.float32) for name, values in found.items()} | {
        "inits": np.array(inits), "architectures": np.array(architectures), "densities": np.array(densities),
        "seeds": np.array(seeds), "at": np.array(at),
    }  # fmt: skip


def _begin(architecture, init, seeds, digits, role, masks=None) -> Population:
    """One random network a seed, under its mask."""
    networks = []
    for seed in seeds:
        network = models.build(architecture, digits.input_shape, digits.classes, generator(seed, "init"))
        redraw(network, init, generator(seed, role))
        networks.append(network)
    parameters = {
        name: torch.stack([network.get_parameter(name).detach() for network in networks])
        for name, _ in networks[0].named_parameters()
    }
    everything = {name: torch.ones_like(parameters[name], dtype=torch.bool) for name in prunable(networks[0])}
    train = torch.tensor(digits.x_train), torch.tensor(digits.y_train)
    return Population(architecture, digits.classes, parameters, masks or everything, *train, BATCH, lr=LR)


def _random(like, density, seeds) -> dict:
    """Random masks, one a seed, stacked."""
    masks = []
    for seed in seeds:
        draw = generator(seed, "mask")
        masks.append(
            prune(
                {name: torch.rand(mask.shape[1:], generator=draw) for name, mask in like.items()},
                density=density,
            )
        )
    return {name: torch.tensor(np.stack([mask[name] for mask in masks])) for name in like}
