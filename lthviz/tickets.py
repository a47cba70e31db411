"""Lottery tickets: iterative magnitude pruning with rewinding, for one network of your own.

The protocol is that of Frankle and Carbin (ICLR 2019): train, remove the smallest surviving weights of
each layer, rewind the others to their initial values, repeat. The experiments with many networks and
control arms are in ``rounds.py``; they follow the same protocol.
"""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from . import data as datasets
from .choices import count, number, unknown
from .criteria import _examples, _must_be_loss, evaluating, magnitude, prunable
from .masks import Mask, as_mask, ladder, prune
from .train import CHUNK, batch_order, usable


@dataclass
class Ticket:
    """A mask and the weights it starts from.

    Attributes
    ----------
    mask : Mask
    theta_0 : dict
        The state that every round was rewound to (weights, biases, buffers; a copy of its own); with
        ``rewind_step=k`` that after k steps.
    model : torch.nn.Module
        A network that carries ``mask * theta_0``, ready to be trained: its modules have the training flags that
        :func:`find_ticket` trained them with.
    density, accuracy : list of float
        After each pruning, the dense network first; test accuracy in [0, 1] at the end of training.
    """

    mask: Mask
    theta_0: dict
    model: torch.nn.Module
    density: list
    accuracy: list

    def __repr__(self):
        return (
            f"Ticket after {len(self.density) - 1} rounds: {self.mask!r}. Test accuracy "
            f"{100 * self.accuracy[-1]:.1f} % (dense {100 * self.accuracy[0]:.1f} %)."
        )


@torch.no_grad()
def apply_mask(model, mask: Mask) -> None:
    """Set the pruned weights of a model to zero, in place. Call it after every optimiser step.

    Once is not enough: a pruned weight still has a gradient, and every step would move it. Momentum and Adam's
    averages move it even without one. A mapping that makes a Mask is as good as one; ValueError for a mask of another
    network.
    """
    mask = as_mask(mask)
    weights = dict(model.named_parameters())
    mask._must_match({name: weights[name] for name in mask if name in weights})
    for name, kept in mask.items():
        weights[name].masked_fill_(~torch.tensor(kept).to(weights[name].device), 0.0)


def snapshot(model) -> dict:
    """A copy of a model's whole state: weights, biases and buffers such as batch-norm statistics."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def rewind(model, state: dict, mask: Mask) -> None:
    """Put a stored state back, bit for bit, and zero what the mask prunes."""
    model.load_state_dict(state)
    apply_mask(model, mask)


def find_ticket(model, data, rate=0.2, rounds=10, *, steps=1000, batch_size=60, lr=0.002, optimizer=None,
                loss_fn=F.cross_entropy, scope="layer", rewind_step=0, seed=0, device=None, progress=True) -> Ticket:  # fmt: skip
    """Iterative magnitude pruning with rewinding on a ``torch.nn.Module`` of your own, which is not changed.

    Parameters
    ----------
    model : torch.nn.Module
        Takes ``(batch, *input_shape)`` of its weights' type, gives logits ``(batch, classes)``. Its present weights
        are theta_0. Each module is trained in its present mode, so that a batch norm frozen by ``eval()`` stays
        frozen; only a model that is in eval mode as a whole is trained in train mode.
    data : Dataset, str, or (x, y) or (x, y, x_test, y_test)
        A data set, a name that ``lthviz.data.load`` knows, or arrays or tensors.
    rate : float in (0, 1)
        Fraction of the surviving weights that each round removes. With scope "layer" it is half of it in the output
        layer: the linear or convolution layer that the model calls last, wherever it stands.
    rounds, steps, batch_size : int
        Rounds of pruning; optimiser steps a round.
    lr : float
        Of Adam; unused when ``optimizer`` is given.
    optimizer : callable, optional
        ``parameters -> torch.optim.Optimizer``; called anew each round, so that no state survives a rewind.
    loss_fn : callable
        ``(logits, labels) -> scalar``.
    scope : "layer" or "global"
    rewind_step : int
        Rewind to the weights after this many steps of the dense training instead of to theta_0.
    seed : int
        Of the data order, which is another one each round. Dropout draws from torch's own generator, whose state
        is put back afterwards.
    device : optional
        Where to train; without it, where the model is.
    progress : bool
        Show a bar.

    Raises
    ------
    ValueError
        Before training, for settings that are not allowed (such as rounds that leave a layer empty), weights that
        cannot be pruned, or a model, loss and data that a trial batch shows not to fit; afterwards for a network that
        diverges.
    """
    rate = number("rate", rate, 0, 1, open_ends=True)
    rounds, steps = count("rounds", rounds, 0), count("steps", steps, 1)
    rewind_step = count("rewind_step", rewind_step, 0, steps - 1)
    seed = count("seed", seed, 0)
    data = _dataset(data)
    batch_size = count("batch_size", batch_size, 1, len(data.y_train))
    if scope not in ("layer", "global"):
        raise unknown("scope", scope, ("layer", "global"))
    sizes = {name: weight.numel() for name, weight in prunable(model).items()}
    network = copy.deepcopy(model)
    if device:
        network.to(usable(device))
    if not any(module.training for module in network.modules()):
        network.train()
    optimizer = optimizer or (lambda parameters: torch.optim.Adam(parameters, lr=lr))
    output_layer = _output_layer(network, data, batch_size, loss_fn)
    sizes[output_layer] = sizes.pop(output_layer)  # to the end, where the ladder has half the rate
    ladder(sizes, rate, rounds, scope)  # refuses what would empty a layer
    with (
        torch.random.fork_rng(),
        _bar(progress, (rounds + 1) * steps) as bar,
    ):
        theta = snapshot(network)
        mask = Mask.ones_like(magnitude(network))
        density, accuracy = [], []
        for round in range(rounds + 1):
            if round:
                mask = prune(magnitude(network), rate=rate, mask=mask, scope=scope, output_layer=output_layer)
                rewind(network, theta, mask)
            first = rewind_step if round else 0
            order = batch_order(seed, round, len(data.y_train), batch_size, steps)
            late = _train(
                network, mask, data, order[first:], optimizer, loss_fn, bar, rewind_step if not round else 0
            )
            theta = late or theta
            density.append(mask.density)
            accuracy.append(_accuracy(network, data))
        rewind(network, theta, mask)
    return Ticket(mask, theta, network, density, accuracy)


def _output_layer(network, data, batch_size, loss_fn) -> str:
    """The prunable weight whose layer a trial batch reaches last; refuses what could not be trained.

    Weights that a model uses without calling their layers leave no trace of when: the last registered one counts as
    the last then.
    """
    trial = copy.deepcopy(network)
    x, y = _examples(trial, (data.x_train[:batch_size], data.y_train[:batch_size]))
    weights = prunable(trial)
    names = {id(weight): name for name, weight in weights.items()}
    called = []
    for module in trial.modules():
        if name := names.get(id(getattr(module, "weight", None))):
            module.register_forward_hook(lambda *_, name=name: called.append(name))
    try:
        with torch.random.fork_rng():
            logits = trial(x)
            _must_be_logits(logits, len(y), data.classes)
            _must_be_loss(loss_fn(logits, y)).backward()
    except (RuntimeError, IndexError, TypeError) as error:
        raise ValueError(
            f"model and loss_fn cannot take a batch with x of shape {tuple(x.shape)} and y of shape "
            f"{tuple(y.shape)}: {error}"
        ) from error
    *_, last = weights
    used_without_a_call = last not in called and weights[last].grad is not None
    return last if used_without_a_call or not called else called[-1]


def _must_be_logits(logits, examples, classes) -> None:
    shape = tuple(getattr(logits, "shape", ()))
    if len(shape) != 2 or shape[0] != examples:
        got = f"shape {shape}" if shape else type(logits).__name__
        raise ValueError(
            f"the model must give logits of shape ({examples}, classes) for {examples} examples, got {got}."
        )
    if shape[1] < classes:
        raise ValueError(
            f"the data has labels up to {classes - 1}, but the model has {shape[1]} outputs: labels must be from 0 to "
            f"{shape[1] - 1}."
        )


def _train(network, mask, data, order, optimizer, loss_fn, bar, keep_at) -> dict | None:
    """Train a masked network over batches of indices; the state after ``keep_at`` steps, if that is not 0."""
    x, y = _examples(network, (data.x_train, data.y_train))
    optimiser, kept = optimizer(network.parameters()), None
    for step, batch in enumerate(order.to(x.device), start=1):
        optimiser.zero_grad()
        loss = loss_fn(network(x[batch]), y[batch])
        loss.backward()
        optimiser.step()
        apply_mask(network, mask)
        if step == keep_at:
            kept = snapshot(network)
        bar.update(1)
    if not torch.isfinite(loss):
        raise ValueError(
            f"the network diverged: its loss is {loss.item()} after {len(order)} steps. Try a smaller lr."
        )
    return kept


@torch.no_grad()
def _accuracy(network, data) -> float:
    x, y = _examples(network, (data.x_test, data.y_test))
    with evaluating(network):
        correct = sum(
            (network(part).argmax(-1) == labels).sum().item()
            for part, labels in zip(x.split(CHUNK), y.split(CHUNK), strict=True)
        )
    return correct / len(y)


def _dataset(data):
    if isinstance(data, str):
        return datasets.load(data)
    if isinstance(data, datasets.Dataset):
        return data
    if not isinstance(data, tuple | list) or len(data) not in (2, 4):
        raise ValueError(
            "data must be an lthviz Dataset, the name of one, (x, y) or (x, y, x_test, y_test) of arrays or tensors, "
            f"got {type(data).__name__}."
        )
    return datasets.from_arrays(*data)


def _bar(progress, total):
    from tqdm.auto import tqdm

    return tqdm(total=total, disable=not progress, unit="step", leave=False)
