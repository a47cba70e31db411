"""Strong lottery tickets: a subnetwork that is good as it is, without training its weights.

Two ways to such a mask. :func:`hide` writes a given network into a random one, weight by weight, by subset sums
(Pensia et al. 2020, arXiv 2006.07990). :func:`edge_popup` searches a mask by gradient descent on scores, while the
weights stay as they were drawn (Ramanujan et al. 2020, arXiv 1911.13299).
"""

import copy
import math
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from .choices import count, must_draw, number, unknown
from .criteria import prunable
from .masks import Mask, prune

INITS = ("signed constant", "kaiming normal")
MOST = 40  # values whose subsets are searched: then each half has a million

# --- Subset sums ---------------------------------------------------------------------------------------------------


def best_subset(values, target: float) -> np.ndarray:
    """Which of the values to take so that their sum comes nearest to the target; exact.

    Meet in the middle (Horowitz and Sahni 1974): the subset sums of one half are sorted, and for each of the other
    half the partner that is missing is looked up. That is about 2^(n/2) work instead of 2^n.

    Parameters
    ----------
    values : array (n,), n at most 40
    target : float

    Returns
    -------
    bool array (n,)

    Raises
    ------
    ValueError
        For values that are no finite numbers in a row, too many of them, or a target that is not finite.
    """
    values = np.asarray(values, float)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"values of shape {values.shape}: values must be finite numbers in one row.")
    count("len(values)", len(values), 0, MOST)
    target = number("target", target, -math.inf, math.inf, open_ends=True)
    half = len(values) // 2
    left, right = subset_sums(values[:half]), subset_sums(values[half:])
    order = right.argsort()
    missing, ranked = target - left, right[order]
    above = np.searchsorted(ranked, missing)
    partner = np.stack([np.maximum(above - 1, 0), np.minimum(above, len(ranked) - 1)])
    side, i = divmod(abs(ranked[partner] - missing).argmin(), len(left))
    subset = i | order[partner[side, i]] << half
    return (subset >> np.arange(len(values)) & 1).astype(bool)


def subset_sums(values) -> np.ndarray:
    """All ``2^n`` subset sums of n values; bit i of a sum's position says whether ``values[i]`` is in it."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums, sums + value])
    return sums


def hide(weights, n: int, generator: torch.Generator):
    """A random network twice as deep, and the mask under which it computes what a given network computes, nearly.

    The given network has linear layers without biases and a ReLU between them. For each of its layers the random
    one has two: ``n`` hidden units for each input, and the outputs. Under the mask a hidden unit hears its own input
    alone, and ``v relu(u x)`` of the units with u > 0 adds up to ``w x`` where x > 0, of those with u < 0 where
    x < 0. Which of them to take says :func:`best_subset` of the products ``u v`` with target w. So a layer's error is
    at most ``eps sum |x|``, where eps is the largest of its errors in a weight: the construction of Pensia et al. (2020).

    Parameters
    ----------
    weights : sequence of arrays or tensors (out, in)
        First layer first.
    n : int
        From 1 to 40.
    generator : torch.Generator
        On the CPU. First weights are uniform in [-1, 1], second ones in [-4c, 4c], where c is the largest weight of
        the layer: wide enough for sums of few numbers to reach it. ReLU networks may be scaled layer by layer.

    Returns
    -------
    (torch.nn.Sequential, Mask)
        Put the mask on with :func:`lthviz.apply_mask`.

    Raises
    ------
    ValueError
        For layers that do not fit one another, n out of range, or no such generator.
    """
    count("n", n, 1, MOST)
    must_draw(generator)
    weights = [torch.as_tensor(weight).detach().cpu().double() for weight in weights]
    for before, after in pairwise(weights):
        if after.shape[1] != before.shape[0]:
            raise ValueError(
                f"weights: a layer with {before.shape[0]} outputs is followed by one with {after.shape[1]} inputs."
            )
    network, masks = nn.Sequential(), {}
    for i, weight in enumerate(weights, start=1):
        outputs, inputs = weight.shape
        scale = 4 * float(weight.abs().max())
        first = torch.rand(n * inputs, inputs, generator=generator) * 2 - 1
        second = (torch.rand(outputs, n * inputs, generator=generator) * 2 - 1) * scale
        taken = torch.zeros(second.shape, dtype=torch.bool)
        for j in range(inputs):
            own = torch.arange(j * n, (j + 1) * n)  # the units of this input
            for units in (own[first[own, j] > 0], own[first[own, j] < 0]):
                products = (first[units, j].double() * second[:, units].double()).numpy()
                for k in range(outputs):
                    taken[k, units] = torch.from_numpy(best_subset(products[k], weight[k, j].item()))
        heard = torch.eye(inputs, dtype=torch.bool).repeat_interleave(n, 0) & taken.any(0)[:, None]
        for letter, random, mask in (("a", first, heard), ("b", second, taken)):
            layer = nn.utils.skip_init(nn.Linear, random.shape[1], random.shape[0], bias=False)
            layer.weight.data.copy_(random)
            network.add_module(f"fc{i}{letter}", layer)
            network.add_module(f"relu{i}{letter}", nn.ReLU())
            masks[f"fc{i}{letter}.weight"] = mask
    return network[:-1], Mask(masks)


# --- Edge-popup ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def redraw(model, init: str, generator: torch.Generator) -> None:
    """Draw the weights of linear and convolution layers anew, in place; biases stay.

    Parameters
    ----------
    model : torch.nn.Module
    init : "signed constant" or "kaiming normal"
        N(0, 2 / fan_in), or its sign times its standard deviation, so that the two share their signs.
    generator : torch.Generator
        On the CPU.

    Raises
    ------
    ValueError
        For an unknown init, or no such generator.
    """
    if init not in INITS:
        raise unknown("init", init, INITS)
    must_draw(generator)
    for weight in prunable(model).values():
        drawn = torch.randn(weight.shape, generator=generator)
        std = math.sqrt(2 / weight[0].numel())
        weight.copy_(std * (drawn.sign() if init == "signed constant" else drawn))


def edge_popup(model, loss_fn, data, density=0.5, *, steps=1000, batch_size=60, lr=0.002, generator) -> Mask:
    """Search a mask under which the model is good with the weights that it has (Ramanujan et al. 2020).

    Every weight has a score. The network that computes has the ``density`` of each layer's weights with the
    largest absolute scores. Backward, the choice counts as if it were the absolute score itself (straight through),
    so that scores of absent weights learn too. Adam moves the scores; the paper has SGD with momentum. The model is
    not changed, and neither is torch's global random state. A layer that has no part in the loss keeps the choice of
    its first scores.

    Parameters
    ----------
    model : torch.nn.Module
        With the weights to keep. Biases and the rest stay, too, and are never pruned.
    loss_fn : callable
        ``(model(x), y) -> scalar``.
    data : (x, y)
        Tensors on the device of the model, one row an example.
    density : float in (0, 1]
        The fraction of each layer that is *kept*: ``floor(density * size + 0.5)`` weights. (The paper's k; code
        that calls it sparsity keeps that fraction as well.)
    steps, batch_size : int
    lr : float
        Of Adam.
    generator : torch.Generator
        On the CPU; draws the first scores, uniform in [-1, 1] / sqrt(fan_in), then the batches.

    Raises
    ------
    ValueError
        For settings that are not allowed, a density that leaves a layer empty, or no such generator.
    """
    x, y = data
    steps, batch_size = count("steps", steps, 1), count("batch_size", batch_size, 1)
    network = copy.deepcopy(model)
    weights = {name: weight.detach() for name, weight in prunable(network).items()}
    keep = _keep({name: weight.shape for name, weight in weights.items()}, density)
    must_draw(generator)
    scores = {
        name: _first_scores(weight.shape, generator).to(weight.device).requires_grad_()
        for name, weight in weights.items()
    }
    optimizer = torch.optim.Adam(scores.values(), lr=lr)
    with torch.random.fork_rng():
        for _ in range(steps):
            batch = torch.randint(len(y), (batch_size,), generator=generator).to(x.device)
            chosen = {
                name: weights[name] * _Top.apply(score, keep[name]).to(weights[name].dtype)
                for name, score in scores.items()
            }
            loss = loss_fn(functional_call(network, chosen, (x[batch],)), y[batch])
            gradients = torch.autograd.grad(loss, [*scores.values()], materialize_grads=True)
            for score, gradient in zip(scores.values(), gradients):
                score.grad = gradient
            optimizer.step()
    return prune({name: score.detach().abs() for name, score in scores.items()}, density=density)


class Popup:
    """Edge-popup for the networks of a :class:`lthviz.train.Population`, side by side.

    Afterwards, and after every step, the population's parameters are the chosen weights, and zero elsewhere.

    Parameters
    ----------
    population : Population
        Nothing pruned yet.
    density, lr
        As for :func:`edge_popup`; the same for all networks.
    generators : sequence of torch.Generator
        One for each network, on the CPU; draws its first scores.
    """

    def __init__(self, population, density, generators, lr=0.002):
        self.population = population
        self.weights = {name: population.parameters[name].clone() for name in population.masks}
        self.keep = _keep({name: weight.shape[1:] for name, weight in self.weights.items()}, density)
        drawn = {name: [] for name in self.weights}
        for generator in generators:
            must_draw(generator)
            for name, weight in self.weights.items():
                drawn[name].append(_first_scores(weight.shape[1:], generator))
        self.scores = {name: torch.stack(drawn[name]).to(self.weights[name].device) for name in drawn}
        self._optimizer = torch.optim.Adam(self.scores.values(), lr=lr, fused=True)
        self._choose()

    def step(self, batch) -> None:
        """One step of the scores: network k learns from the examples with the numbers ``batch[k]``."""
        gradients = self.population.gradients(batch)
        for name, score in self.scores.items():
            score.grad = gradients[name] * self.weights[name] * score.sign()
        self._optimizer.step()
        self._choose()

    def _choose(self):
        for name, score in self.scores.items():
            chosen = _top(score.flatten(1), self.keep[name]).view(score.shape)
            torch.mul(self.weights[name], chosen, out=self.population.parameters[name])

    @property
    def masks(self) -> dict:
        """{name: (K, *shape) bool}: the weights that are chosen now."""
        return {
            name: _top(score.flatten(1), self.keep[name]).view(score.shape)
            for name, score in self.scores.items()
        }


class _Top(torch.autograd.Function):
    """1 at the largest absolute scores, 0 elsewhere; its gradient is that of the absolute score."""

    @staticmethod
    def forward(ctx, score, keep):
        ctx.save_for_backward(score.sign())
        return _top(score.reshape(1, -1), keep).view(score.shape).to(score.dtype)

    @staticmethod
    def backward(ctx, gradient):
        (sign,) = ctx.saved_tensors
        return gradient * sign, None


def _top(scores, keep):
    """Where each row has its ``keep`` largest absolute scores (or more, should some be equal to the last)."""
    size, place = scores.abs(), scores.shape[1] - keep
    if size.is_cuda:
        return size >= size.kthvalue(place + 1, dim=1, keepdim=True).values
    ranked = np.partition(size.detach().numpy(), place, axis=1)  # ten times as fast as torch's kthvalue
    return size >= torch.from_numpy(ranked[:, place, None])


def _keep(shapes, density) -> dict:
    """How many weights each layer keeps."""
    density = number("density", density, 0, 1)
    keep = {name: math.floor(density * math.prod(shape) + 0.5) for name, shape in shapes.items()}
    if empty := [name for name, n in keep.items() if n == 0]:
        raise ValueError(f"density={density:g} leaves no weight in {', '.join(empty)}.")
    return keep


def _first_scores(shape, generator):
    return (torch.rand(shape, generator=generator) * 2 - 1) / math.sqrt(math.prod(shape[1:]))
