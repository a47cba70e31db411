"""The population trainer: K networks of one shape, side by side.

Seeds times arms of an experiment are many small networks. One by one, most of the time goes into
starting operations; stacked, a layer of all K networks is one batched matrix product and one
optimiser step updates them all. A network's course does not depend on who else is in the population
(beyond float tolerance), and equals the plain loop: forward, backward, ``torch.optim``, mask.
"""

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch.func import functional_call

from .choices import unknown
from .dynamic import exchange
from .models import build

CHUNK = 1000  # examples evaluated at once
CACHED = (
    300_000  # weights of a population that, with their gradients and moments, stay in a processor's cache
)

# guards how many maps over threads are open at this moment, and torch's threads before the first
_LOCK = threading.Lock()
_running = 0
_threads = 1

_through_relu = torch.ops.aten.threshold_backward.grad_input


def generator(seed: int, role: str, round: int = 0) -> torch.Generator:
    """A CPU generator of its own for each seed, role (``init``, ``order``, ``mask``, ...) and round."""
    state = np.random.SeedSequence([seed, round, *role.encode()]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def batch_order(seed: int, round: int, examples: int, batch_size: int, steps: int) -> torch.Tensor:
    """(steps, batch_size) indices: shuffled passes over the data, one after the other."""
    draw = generator(seed, "order", round)
    passes = math.ceil(steps * batch_size / examples)
    order = torch.cat([torch.randperm(examples, generator=draw) for _ in range(passes)])
    return order[: steps * batch_size].view(steps, batch_size)


def initial(architecture, input_shape, classes: int, seeds, role: str = "init", round: int = 0) -> dict:
    """Initial parameters {name: (K, *shape)}, one network for each of the seeds, from the generator of its role and round."""
    once = {
        seed: build(architecture, input_shape, classes, generator(int(seed), role, round))
        for seed in set(seeds)
    }
    names = [name for name, _ in next(iter(once.values())).named_parameters()]
    return {name: torch.stack([once[seed].get_parameter(name).detach() for seed in seeds]) for name in names}


def usable(device) -> torch.device:
    """The torch device of this name; ValueError where this computer has no such device."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        allowed = "cpu, cuda" if torch.cuda.is_available() else "cpu"
        raise ValueError(f"device={device!r} is not on this computer. Allowed: {allowed}.") from error
    return torch.device(device)


class Population:
    """K networks of one architecture in one flat buffer of parameters, with one optimiser and the data they learn from.

    Parameters
    ----------
    architecture : str or (kind, widths)
        As ``lthviz.models.build`` takes it.
    classes : int
    parameters : dict of str to tensor ``(K, *shape)``
        The weights and biases to start from; copied.
    masks : dict of str to bool tensor ``(K, *shape)``
        1 = kept, by parameter name; copied. Where it is 0 a weight is zero after every step (NaN once its network
        has diverged). :meth:`exchange` changes them.
    x, y : tensors ``(N, *input_shape)``, ``(N,)``
        The training examples, on ``device``, and their classes.
    batch_size : int
    optimizer : "adam" or "sgd"
    lr, momentum, weight_decay : float
        As in ``torch.optim``.
    device : torch device
    """

    def __init__(self, architecture, classes, parameters, masks, x, y, batch_size, *, optimizer="adam", lr=0.002,
                 momentum=0.9, weight_decay=0.0, device="cpu"):  # fmt: skip
        self.K = next(iter(parameters.values())).shape[0]
        self._x, self._y = x, y
        names = sorted(parameters, key=lambda name: not name.endswith(".weight"))  # weights first, stable
        flat = torch.cat([parameters[name].detach().reshape(-1) for name in names]).to(device, torch.float32)
        gradient = torch.zeros_like(flat)
        mask = torch.cat([masks[name].reshape(-1) for name in names if name in masks]).to(device, torch.bool)
        flat[: len(mask)] *= mask

        def views(flat, names):
            sizes = [parameters[name].numel() for name in names]
            return {
                name: part.view(parameters[name].shape)
                for name, part in zip(names, flat.split(sizes), strict=True)
            }

        #: name -> (K, *shape), views into one buffer that change with every step
        self.parameters, self._gradients = views(flat, names), views(gradient, names)
        #: name -> (K, *shape) bool, views that change with every exchange
        self.masks = views(mask, [name for name in names if name in masks])
        self._prunable, self._mask = flat[: len(mask)], mask
        prepare = {"adam": _adam, "sgd": _sgd}[optimizer]
        self._update, self._hold = prepare(
            flat, gradient, mask, lr=lr, momentum=momentum, weight_decay=weight_decay
        )
        layers = [name.removesuffix(".weight") for name in names if name.endswith(".weight")]
        if any(layer.startswith("conv") for layer in layers):
            self._network = build(architecture, x.shape[1:], classes, torch.Generator()).to(device)
            self._logits, self._backward = self._logits_one_by_one, self._backward_one_by_one
        else:
            self._stack(layers, classes, batch_size)
            self._logits, self._backward = self._logits_stacked, self._backward_stacked

    def step(self, batch) -> None:
        """One optimiser step: network k learns from the examples with the numbers ``batch[k]``; batch ``(K, B)``."""
        self._backward(batch)
        self._update()

    def gradients(self, batch) -> dict:
        """Every network's gradient for its examples, ``(K, *shape)`` by name, at pruned places too; no step is taken.

        Views of one buffer, which the next call writes over.
        """
        self._backward(batch)
        return self._gradients

    def exchange(self, batch, fraction: float, method: str, generators=None) -> None:
        """Instead of a step: in every layer of every network weights change places, as ``lthviz.dynamic`` says.

        A training loop asks ``dynamic.Schedule(steps).fraction(step)`` and takes a ``step`` where that is 0.

        Parameters
        ----------
        batch : (K, B) int tensor
            As for :meth:`step`; the dense gradient of "rigl" comes from these examples.
        fraction : float in [0, 1]
            Of each layer's weights.
        method : "rigl" or "set"
        generators : sequence of K torch.Generator on the CPU
            One for each network; only "set" draws from them.

        Raises
        ------
        ValueError
            For an unknown method, or "set" with another number of generators than networks.
        """
        if method not in ("rigl", "set"):
            raise unknown("method", method, ("rigl", "set"))
        if method == "set" and len(generators or ()) != self.K:
            raise ValueError(
                f"generators: set needs one for each of {self.K} networks, got {len(generators or ())}."
            )
        if method == "rigl":
            self._backward(batch)
        before = self._mask.clone()
        for name, masks in self.masks.items():
            for k, (weight, mask) in enumerate(zip(self.parameters[name], masks, strict=True)):
                if method == "rigl":
                    scores = self._gradients[name][k].abs()
                else:
                    scores = torch.rand(weight.shape, generator=generators[k]).to(weight.device)
                mask.copy_(exchange(weight, mask, scores, fraction))
        changed = self._mask != before
        self._prunable.masked_fill_(changed, 0)
        self._hold(changed)

    @torch.no_grad()
    def evaluate(self, x, y):
        """Mean cross-entropy and accuracy of every network on the same examples: two arrays ``(K,)``."""
        loss = torch.zeros(self.K, device=x.device)
        correct = torch.zeros(self.K, device=x.device)
        for part, labels in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
            logits = self._logits(part.expand(self.K, *part.shape))
            labels = labels.expand(self.K, -1)
            loss += F.cross_entropy(logits.transpose(1, 2), labels, reduction="none").sum(1)
            correct += (logits.argmax(-1) == labels).sum(1)
        return (loss / len(y)).cpu().numpy(), (correct / len(y)).cpu().numpy()

    # Multilayer perceptrons: a layer of all networks is one batched product, the gradient written out. Small
    # networks learn faster than Python calls torch, so a step does nothing that can be done before: every
    # result has its buffer, every view is made, and the classes are rows of zeros and a one.

    def _stack(self, layers, classes, batch_size):
        shape = self.K, batch_size
        empty = partial(torch.empty, device=self._x.device)
        self._rows, self._targets = self._x.flatten(1), F.one_hot(self._y, classes).float()
        entering, self._target = empty(*shape, self._rows.shape[1]), empty(*shape, classes)
        self._chosen_rows = entering.view(-1, entering.shape[2])
        self._chosen_targets = self._target.view(-1, classes)
        self._layers = []
        for name in layers:
            weight, bias = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
            z, delta = empty(*shape, weight.shape[1]), empty(*shape, weight.shape[1])
            self._layers.append(
                _Layer(weight, weight.transpose(1, 2), bias[:, None], self._gradients[f"{name}.weight"],
                       self._gradients[f"{name}.bias"], entering, z, delta, delta.transpose(1, 2))
            )  # fmt: skip
            entering = z
        self._down = list(zip(self._layers[::-1], [*self._layers[-2::-1], None], strict=True))

    def _logits_stacked(self, x):
        x = x.flatten(2)
        for layer in self._layers:
            x = torch.baddbmm(layer.bias, x, layer.transposed)
            if layer is not self._layers[-1]:
                x.relu_()
        return x

    def _backward_stacked(self, batch):
        numbers = batch.reshape(-1)
        torch.index_select(self._rows, 0, numbers, out=self._chosen_rows)
        torch.index_select(self._targets, 0, numbers, out=self._chosen_targets)
        last = self._layers[-1]
        for layer in self._layers:
            torch.baddbmm(layer.bias, layer.entering, layer.transposed, out=layer.z)
            if layer is not last:
                layer.z.relu_()
        torch.softmax(last.z, -1, out=last.delta)  # gradient of the cross-entropy: softmax minus one-hot
        last.delta.sub_(self._target).div_(batch.shape[1])
        for layer, below in self._down:
            torch.bmm(layer.delta_transposed, layer.entering, out=layer.weight_gradient)
            torch.sum(layer.delta, 1, out=layer.bias_gradient)
            if below:
                torch.bmm(layer.delta, layer.weight, out=below.delta)
                _through_relu(below.delta, below.z, 0, grad_input=below.delta)

    # Convolutions: stacking them gains nothing on a CPU, so each network takes its turn. Filters with their
    # channels last in memory are half as fast again.

    def _one(self, k):
        return {
            name: stacked[k].contiguous(memory_format=torch.channels_last)
            if stacked.ndim == 5
            else stacked[k]
            for name, stacked in self.parameters.items()
        }

    def _logits_one_by_one(self, x):
        return torch.stack([functional_call(self._network, self._one(k), (x[k],)) for k in range(self.K)])

    def _backward_one_by_one(self, batch):
        for k, numbers in enumerate(batch):
            leaves = {name: weight.detach().requires_grad_() for name, weight in self._one(k).items()}
            logits = functional_call(self._network, leaves, (self._x[numbers],))
            loss = F.cross_entropy(logits, self._y[numbers])
            for name, gradient in zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True):
                self._gradients[name][k] = gradient


def deal(architecture, classes, parameters, masks, *data, threads, device="cpu", **settings):
    """The networks in their order as a list of populations; arguments as for :class:`Population`.

    On a CPU there are as many populations for each thread as keep every one within the processor's cache; on a
    GPU there is one.
    """
    K = next(iter(parameters.values())).shape[0]
    weights = sum(mask.numel() for mask in masks.values())
    each = math.ceil(weights / (threads * CACHED))
    populations = 1 if torch.device(device).type == "cuda" else min(K, threads * each)
    ends = np.linspace(0, K, populations + 1).round().astype(int)
    return [
        Population(
            architecture, classes,
            {name: value[low:high] for name, value in parameters.items()},
            {name: value[low:high] for name, value in masks.items()},
            *data, device=device, **settings,
        )
        for low, high in pairwise(ends)
    ]  # fmt: skip


@contextmanager
def one_thread_each(workers: int):
    """A map over threads, each of which computes on one core.

    Torch's own threads wait for each other at every operation. With networks this small that costs more than
    it brings, and on a busy machine it is ruinous; shards of a population never wait.
    """
    global _running, _threads
    with _LOCK:  # the first map sets torch's threads, the last one resets them
        if _running == 0:
            _threads = torch.get_num_threads()
            torch.set_num_threads(1)
        _running += 1
    try:
        with ThreadPoolExecutor(workers) as pool:
            yield lambda function, parts: list(pool.map(function, parts))
    finally:
        with _LOCK:
            _running -= 1
            if _running == 0:
                torch.set_num_threads(_threads)


def threads_of_torch() -> int:
    """How many threads torch computes with, also while :func:`one_thread_each` holds it at one."""
    return _threads if _running else torch.get_num_threads()


def taught(learn, architecture, classes, parameters, masks, x, y, order, threads=None, **settings) -> list:
    """What ``learn(population, batches, mine)`` gives for each population that the networks are dealt to, in their order.

    ``order (K, steps, batch_size)`` holds the examples of each network's steps, as :func:`batch_order` draws them.
    ``batches (steps, networks, batch_size)`` is the population's own part of it, ``mine`` the slice of the K networks
    that it holds. ``threads`` populations learn side by side (torch's number of threads without it); the other
    arguments are those of :class:`Population`.
    """
    threads = threads or threads_of_torch()
    shards = deal(architecture, classes, parameters, masks, x, y, order.shape[2], threads=threads, **settings)
    ends = np.cumsum([shard.K for shard in shards])
    tasks = [(shard, slice(end - shard.K, end)) for shard, end in zip(shards, ends, strict=True)]
    with one_thread_each(threads) as side_by_side:
        return side_by_side(
            lambda task: learn(task[0], order[task[1]].transpose(0, 1).contiguous(), task[1]), tasks
        )


class _Layer(NamedTuple):
    """One layer of all K networks: views of weights and gradients, and the buffers of a step."""

    weight: torch.Tensor  # (K, out, in)
    transposed: torch.Tensor  # (K, in, out)
    bias: torch.Tensor  # (K, 1, out)
    weight_gradient: torch.Tensor  # (K, out, in)
    bias_gradient: torch.Tensor  # (K, out)
    entering: torch.Tensor  # (K, B, in)
    z: torch.Tensor  # (K, B, out), what leaves
    delta: torch.Tensor  # (K, B, out), the gradient of the loss by z
    delta_transposed: torch.Tensor  # (K, out, B)


# One optimiser step as a function without arguments, and one that follows the mask where it changed and forgets
# what the optimiser knew there. These are torch.optim's own fused kernels; its classes spend longer in Python, at
# every step, than a small network needs to learn.


def _adam(flat, gradient, mask, *, lr, weight_decay, **_):
    """Adam with torch's customary betas and epsilon.

    A pruned weight has an infinite second moment: its step is something divided by infinity, so it stays zero.
    """
    mean, square = torch.zeros_like(flat), torch.zeros_like(flat)
    steps = torch.zeros((), device=flat.device)
    lists = [flat], [gradient], [mean], [square], [], [steps]
    settings = dict(
        lr=lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=weight_decay, amsgrad=False, maximize=False
    )

    def update():
        steps.add_(1)
        torch._fused_adam_(*lists, **settings, grad_scale=None, found_inf=None)

    def hold(changed):
        mean[: len(mask)].masked_fill_(changed, 0)
        square[: len(mask)].masked_fill_(changed, 0).masked_fill_(~mask, math.inf)

    hold(~mask)
    return update, hold


def _sgd(flat, gradient, mask, *, lr, momentum, weight_decay):
    """SGD with momentum. Zero gradient, zero momentum, zero weight: so a pruned weight stays zero."""
    prunable, kept = gradient[: len(mask)], mask.to(torch.float32)
    buffer = torch.zeros_like(flat)
    lists = [flat], [gradient], [buffer] if momentum else []
    settings = dict(
        lr=lr, momentum=momentum, weight_decay=weight_decay, dampening=0, nesterov=False, maximize=False
    )

    def update():
        prunable.mul_(kept)
        torch._fused_sgd_(*lists, **settings, is_first_step=False, grad_scale=None, found_inf=None)

    def hold(changed):
        buffer[: len(mask)].masked_fill_(changed, 0)
        kept.copy_(mask)

    return update, hold
