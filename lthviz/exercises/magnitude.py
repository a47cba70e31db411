"""Exercises of lesson 02: magnitude pruning with exact counts, and training that keeps zeros zero."""

import numpy as np
import torch

from ..masks import prune
from ..models import build
from .check import compare, exercise, ladder


def magnitude_mask(weights, rate, previous):
    """The mask of one layer after one more round of pruning.

    weights : array, the trained weights
    rate : the fraction of the surviving weights to remove, rounded to the nearest whole number of weights
    previous : 0/1 array of the same shape, what survived so far
    Returns a boolean array of the same shape: what survives now.
    """
    survivors = np.flatnonzero(previous)
    remove = int(np.floor(rate * len(survivors) + 0.5))
    order = np.argsort(np.abs(weights).ravel()[survivors], kind="stable")
    mask = np.zeros(weights.size, bool)
    mask[survivors[order[remove:]]] = True
    return mask.reshape(weights.shape)


def global_masks(parameters, density):
    """One ranking for the whole network: keep the largest weights, wherever they are.

    parameters : {name: array}, weights (names ending in ".weight") and biases
    density : the fraction of all *weights* to keep, rounded to the nearest whole number
    Returns {name: boolean array}, for the weights only.
    """
    weights = {name: array for name, array in parameters.items() if name.endswith(".weight")}
    sizes = np.abs(np.concatenate([array.ravel() for array in weights.values()]))
    keep = np.zeros(sizes.size, bool)
    keep[np.argsort(sizes, kind="stable")[sizes.size - int(np.floor(density * sizes.size + 0.5)) :]] = True
    masks, start = {}, 0
    for name, array in weights.items():
        masks[name] = keep[start : start + array.size].reshape(array.shape)
        start += array.size
    return masks


def sensitivity_scan(evaluate, weights, densities):
    """How much each layer minds being pruned, on its own.

    evaluate : function, takes {name: mask} for all layers and returns an accuracy
    weights : {name: array}, one weight array a layer
    densities : the densities to try
    Returns {name: list of accuracies, one a density}.
    """
    scan = {}
    for layer in weights:
        scan[layer] = []
        for density in densities:
            masks = {name: np.ones(array.shape, bool) for name, array in weights.items()}
            masks[layer] = prune({layer: np.abs(weights[layer])}, density=density)[layer]
            scan[layer].append(evaluate(masks))
    return scan


def masked_step(model, optimizer, masks, x, y):
    """One training step after which every pruned weight is still exactly zero.

    masks : {parameter name: tensor of 0 and 1}
    x, y : a batch and its labels
    """
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in masks:
                weight.mul_(masks[name])


# Known wrong answers


def _keep(weights, kept_places):
    mask = np.zeros(weights.size, bool)
    mask[kept_places] = True
    return mask.reshape(weights.shape)


def _percent_of_total(weights, rate, previous):
    survivors = np.flatnonzero(previous)
    remove = int(np.floor(rate * weights.size + 0.5))
    return _keep(weights, survivors[np.argsort(np.abs(weights).ravel()[survivors], kind="stable")[remove:]])


def _no_abs(weights, rate, previous):
    survivors = np.flatnonzero(previous)
    remove = int(np.floor(rate * len(survivors) + 0.5))
    return _keep(weights, survivors[np.argsort(weights.ravel()[survivors], kind="stable")[remove:]])


def _largest_removed(weights, rate, previous):
    return magnitude_mask(1 / (np.abs(weights) + 1e-12), rate, previous)


def _previous_ignored(weights, rate, previous):
    return magnitude_mask(weights, rate, np.ones_like(previous))


def _pruned_ranked(weights, rate, previous):
    sizes = np.abs(weights) * previous
    return sizes > np.quantile(sizes, rate)


def _one_too_many(weights, rate, previous):
    sizes = np.sort(np.abs(weights[previous > 0]))
    return (np.abs(weights) > sizes[int(np.floor(rate * sizes.size + 0.5))]) & (previous > 0)


def _ties_kept(weights, rate, previous):
    sizes = np.sort(np.abs(weights[previous > 0]))
    return (np.abs(weights) >= sizes[int(np.floor(rate * sizes.size + 0.5))]) & (previous > 0)


def _ties_removed(weights, rate, previous):
    sizes = np.sort(np.abs(weights[previous > 0]))
    return (np.abs(weights) > sizes[int(np.floor(rate * sizes.size + 0.5)) - 1]) & (previous > 0)


def _rounded_down(weights, rate, previous):
    survivors = int(np.sum(previous > 0))
    return magnitude_mask(weights, int(rate * survivors) / survivors, previous)


def _weights_returned(weights, rate, previous):
    return weights * magnitude_mask(weights, rate, previous)


def _kept_and_removed_swapped(weights, rate, previous):
    return ~magnitude_mask(weights, rate, previous) & (previous > 0)


def _same_count(a, b):
    """Equal up to which of several equally large weights stayed."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and int((a != 0).sum()) == int((b != 0).sum())


_TIES = (
    "A comparison with a threshold treats equal weights alike: all stay or all go. Sort the survivors "
    "and take exactly as many as must go."
)


@exercise(
    reference=magnitude_mask,
    wrong={
        _no_abs: "You removed the most negative weights. The weight -4 is a strong connection: what counts "
        "is the absolute value.",
        _weights_returned: "You returned the pruned weights. Asked for is the mask: 1 where a weight stays, "
        "0 where it goes.",
        _kept_and_removed_swapped: "Your mask is 1 where a weight goes. A mask is 1 where it stays.",
        _largest_removed: "You removed the largest weights. The smallest ones go.",
        _ties_kept: f"Too few weights went. {_TIES}",
        _ties_removed: f"Too many weights went. {_TIES}",
        _percent_of_total: "You removed the rate times all weights of the layer. It is the rate times the "
        "weights that still survive.",
        _previous_ignored: "A weight that was pruned earlier came back. Rank only the places where "
        "`previous` is 1; once pruned, always pruned.",
        _pruned_ranked: "The zeros of the pruned weights took part in the ranking and used up the share "
        "that should go. Rank only the survivors.",
        _one_too_many: "One weight too many is gone: with the threshold sorted[k], the k smaller ones and "
        "the weight at the threshold itself fall out of `>`.",
        _rounded_down: "The number to remove is rounded to the nearest whole number: of 8 weights, rate "
        "0.2 removes 1.6, that is 2. int() cuts the 0.6 off.",
    },
    idea="Imagine the surviving weights on a table, sorted by size, the sign ignored. Count how many must "
    "go and take that many from the small end. Everything pruned before is not on the table.",
    steps="1. `np.flatnonzero(previous)` gives the flat places of the survivors. 2. How many must go: the "
    "rate times their number, rounded (`np.floor(... + 0.5)`). 3. `np.argsort` of their absolute values "
    "gives them smallest first. 4. Start from zeros, write True at the places that stay, reshape.",
)
def check_magnitude_mask(magnitude_mask):
    """One layer, one round, exact counts."""
    yield "five weights, two of them go"
    compare(magnitude_mask, np.array([[0.1, -0.4, 0.3, -0.2, 0.5]]), 0.4, np.ones((1, 5), int))
    yield "ten weights, four of them pruned before"
    weights = np.array([[10.0, -3.0, 4.0, -2.0, 6.0], [-7.0, 5.0, -9.0, 8.0, 1.0]])
    compare(magnitude_mask, weights, 0.5, np.array([[0, 1, 1, 0, 1], [1, 0, 1, 1, 0]]))
    yield "ten equal weights, three of them go"
    compare(magnitude_mask, np.full((2, 5), 0.5), 0.3, np.ones((2, 5), int), same=_same_count)
    yield "eight weights at rate 0.2: 1.6 is rounded to 2"
    compare(magnitude_mask, np.arange(1.0, 9.0).reshape(2, 4), 0.2, np.ones((2, 4), int))
    yield "a layer of 600 random weights, a third of them pruned before"
    rng = np.random.default_rng(0)
    compare(magnitude_mask, rng.normal(size=(20, 30)), 0.2, (rng.random((20, 30)) > 0.33).astype(int))


def _layer_by_layer(parameters, density):
    weights = {name: np.abs(array) for name, array in parameters.items() if name.endswith(".weight")}
    return dict(prune(weights, density=density))


def _biases_pruned(parameters, density):
    return dict(
        prune({name: np.abs(array) for name, array in parameters.items()}, density=density, scope="global")
    )


def _biases_ranked(parameters, density):
    return {
        name: mask for name, mask in _biases_pruned(parameters, density).items() if name.endswith(".weight")
    }


def _sparsity_kept(parameters, density):
    return global_masks(parameters, 1 - density)


def _global_no_abs(parameters, density):
    weights = {name: array for name, array in parameters.items() if name.endswith(".weight")}
    return dict(prune(weights, density=density, scope="global"))


def _global_threshold(parameters, density):
    weights = {name: np.abs(array) for name, array in parameters.items() if name.endswith(".weight")}
    sizes = np.sort(np.concatenate([array.ravel() for array in weights.values()]))
    threshold = sizes[sizes.size - int(np.floor(density * sizes.size + 0.5))]
    return {name: array >= threshold for name, array in weights.items()}


def _same_total(a, b):
    return set(a) == set(b) and sum(np.sum(a[n]) for n in a) == sum(np.sum(b[n]) for n in b)


@exercise(
    reference=global_masks,
    wrong={
        _layer_by_layer: "Every layer kept the same share: that is layer-wise pruning. Global means one "
        "ranking for all layers together.",
        _biases_pruned: "You pruned the biases too. They are few and cost next to nothing; return masks for "
        "the weights only.",
        _biases_ranked: "The biases took part in the ranking: they took places that belong to weights.",
        _sparsity_kept: "You kept 1 - density. The density is the part that stays.",
        _global_no_abs: "You removed the most negative weights. What counts is the absolute value.",
        _global_threshold: f"Too many weights stayed. {_TIES}",
    },
    idea="Pour all weights of all layers into one long list, keep the largest ones, and pour the list back "
    "into the layers. Nobody asks what share of a layer is left.",
    steps="1. Pick the names that end in `.weight`. 2. `np.concatenate` their flattened absolute values. "
    "3. Mark the places of the largest `floor(density * number + 0.5)`. 4. Cut the list back: each layer "
    "takes the next `array.size` entries, reshaped.",
)
def check_global_masks(global_masks):
    """One ranking over all layers."""
    yield "two layers of different scale"
    network = {
        "fc1.weight": np.array([[0.1, -0.2, 0.3], [0.05, -0.9, 0.15]]),
        "fc1.bias": np.array([4.0, -5.0]),
        "fc2.weight": np.array([[1.0, -2.0], [0.4, -3.0]]),
        "fc2.bias": np.array([0.01, 6.0]),
    }
    compare(global_masks, network, 0.4)
    yield "keep everything"
    compare(global_masks, network, 1.0)
    yield "six equal weights, keep half"
    ties = {"fc1.weight": np.full((2, 2), 0.5), "fc2.weight": np.full((1, 2), -0.5)}
    compare(global_masks, ties, 0.5, same=_same_total)
    yield "three layers of random weights"
    rng = np.random.default_rng(1)
    shapes = {"fc1.weight": (20, 30), "fc1.bias": (20,), "fc2.weight": (10, 20), "fc3.weight": (5, 10)}
    layers = {name: rng.normal(size=shape, scale=1 / shape[-1]) for name, shape in shapes.items()}
    compare(global_masks, layers, 0.13, show=False)


def _cumulative(evaluate, weights, densities):
    masks = {name: np.ones(array.shape, bool) for name, array in weights.items()}
    scan = {}
    for layer in weights:
        scan[layer] = []
        for density in densities:
            masks[layer] = prune({layer: np.abs(weights[layer])}, density=density)[layer]
            scan[layer].append(evaluate(masks))
    return scan


def _all_layers(evaluate, weights, densities):
    sizes = {name: np.abs(array) for name, array in weights.items()}
    return {layer: [evaluate(dict(prune(sizes, density=d))) for d in densities] for layer in weights}


def _as_sparsity(evaluate, weights, densities):
    return sensitivity_scan(evaluate, weights, [1 - density for density in densities])


def _signed(evaluate, weights, densities):
    ones = {name: np.ones(array.shape, bool) for name, array in weights.items()}
    return {
        layer: [evaluate(ones | dict(prune({layer: array}, density=density))) for density in densities]
        for layer, array in weights.items()
    }


def _kept_size(masks):
    """A stand-in for an accuracy: the share of each layer's total size that is kept, multiplied."""
    rng = np.random.default_rng(2)
    score = 1.0
    for name in ("fc1", "fc2", "fc3"):
        sizes = np.abs(rng.normal(size=masks[name].shape))
        score *= 0.1 + 0.9 * (sizes * masks[name]).sum() / sizes.sum()
    return float(score)


@exercise(
    reference=sensitivity_scan,
    wrong={
        _cumulative: "The layers that you scanned before stayed pruned. Start every measurement from masks "
        "that keep everything, and prune one layer only.",
        _all_layers: "You pruned all layers at once. A sensitivity scan asks each layer on its own: the "
        "others keep everything.",
        _as_sparsity: "You kept 1 - density. The density is the part that stays.",
        _signed: "You removed the most negative weights. What counts is the absolute value.",
    },
    idea="To find out which layer is delicate, disturb one at a time. Everything else stays whole, every "
    "time.",
    steps="Two loops: over the layers, and over the densities. Inside: masks full of ones for all layers "
    "(new ones each time), the mask of this one layer replaced "
    "(`prune({layer: np.abs(weights[layer])}, density=density)[layer]`), then `evaluate(masks)`.",
)
def check_sensitivity_scan(sensitivity_scan):
    """One layer at a time."""
    rng = np.random.default_rng(2)
    shapes = {"fc1": (6, 8), "fc2": (4, 6), "fc3": (3, 4)}
    layers = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    yield "three layers at one density"
    compare(sensitivity_scan, _kept_size, layers, [0.25])
    yield "three layers at four densities"
    compare(sensitivity_scan, _kept_size, layers, [1.0, 0.5, 0.2, 0.0])


def _gradient_masked(model, optimizer, masks, x, y):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x), y).backward()
    for name, weight in model.named_parameters():
        if name in masks:
            weight.grad *= masks[name]
    optimizer.step()


def _never_masked(model, optimizer, masks, x, y):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()


def _masked_before(model, optimizer, masks, x, y):
    _mask_weights(model, masks)
    _never_masked(model, optimizer, masks, x, y)


def _gradients_pile_up(model, optimizer, masks, x, y):
    torch.nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    _mask_weights(model, masks)


def _no_step(model, optimizer, masks, x, y):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x), y).backward()
    _mask_weights(model, masks)


@torch.no_grad()
def _mask_weights(model, masks):
    for name, weight in model.named_parameters():
        if name in masks:
            weight.mul_(masks[name])


def _situation(make_optimizer):
    """A small network in the middle of its training, just pruned; its optimiser remembers earlier steps."""
    draw = torch.Generator().manual_seed(3)
    model = build("mlp-5", (6,), 3, draw)
    x, y = torch.randn(20, 6, generator=draw), torch.randint(0, 3, (20,), generator=draw)
    optimizer = make_optimizer(model.parameters())
    for _ in range(5):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    masks = {
        name: (torch.rand(weight.shape, generator=draw) > 0.5).float()
        for name, weight in model.named_parameters()
        if name.endswith("weight")
    }
    _mask_weights(model, masks)
    return model, optimizer, masks, x, y


def _weights_after(model, *_):
    return {name: weight.detach() for name, weight in model.named_parameters()}


@exercise(
    reference=masked_step,
    wrong={
        _gradient_masked: "Pruned weights came back although their gradient was masked: Adam and momentum "
        "remember earlier gradients and keep moving. Set the weights to zero after the step.",
        _never_masked: "The pruned weights moved away from zero. If you did mask them: was it in place? "
        "`weight = weight * mask` makes a new tensor and leaves the network as it is.",
        _masked_before: "You masked before the step, and the step moved the pruned weights away from zero "
        "again. Mask after `optimizer.step()`.",
        _gradients_pile_up: "The gradients of earlier steps were added to this one. Begin with "
        "`optimizer.zero_grad()`.",
        _no_step: "The weights did not learn: is `optimizer.step()` missing?",
    },
    idea="Whatever the optimiser does, it does in `optimizer.step()`. So the last word on the pruned weights "
    "must come after it.",
    steps="1. `optimizer.zero_grad()`. 2. Loss and `.backward()`. 3. `optimizer.step()`. 4. Within "
    "`torch.no_grad()`, go through `model.named_parameters()` and multiply in place, `weight.mul_(mask)`, "
    "where there is a mask for the name.",
)
def check_masked_step(masked_step):
    """Pruned weights stay zero, the others learn."""
    for name, make in (
        ("plain gradient descent", lambda parameters: torch.optim.SGD(parameters, lr=0.1)),
        ("SGD with momentum", lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9)),
        (
            "Adam with weight decay",
            lambda parameters: torch.optim.Adam(parameters, lr=0.01, weight_decay=0.01),
        ),
    ):
        yield f"two steps of {name}, in the middle of training"
        compare(masked_step, *_situation(make), times=2, outcome=_weights_after, show=False)


EXERCISES = (check_magnitude_mask, check_global_masks, check_sensitivity_scan, check_masked_step)
hint = ladder(*EXERCISES)
