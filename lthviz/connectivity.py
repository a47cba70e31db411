"""Are two trained networks joined by a straight line of networks that are as good? Linear mode connectivity.

Frankle, Dziugaite, Roy and Carbin (ICML 2020, arXiv 1912.05671) train two copies of one network with different data
orders and walk along the line between them. For networks of one's own there are :func:`interpolate`,
:func:`recalibrate` and :func:`path`, for many small ones side by side :func:`train` and :func:`along`, and for what
both measure :func:`barrier`.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .choices import number
from .criteria import evaluating
from .train import CHUNK, Population, taught

ALPHAS = np.linspace(0, 1, 21)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def interpolate(a: nn.Module, b: nn.Module, alpha: float) -> nn.Module:
    """A new network at the point ``(1 - alpha) * a + alpha * b``: 0 is a, 1 is b.

    Parameters and floating-point buffers are interpolated, buffers of whole numbers are those of ``a``. Means and
    variances of batch norm do not fit in between: see :func:`recalibrate`.

    Raises
    ------
    ValueError
        For an alpha outside [0, 1], or networks whose states differ in names or shapes.
    """
    alpha = number("alpha", alpha, 0, 1)
    first, second = a.state_dict(), b.state_dict()
    for name in first.keys() | second.keys():
        if name not in first or name not in second or first[name].shape != second[name].shape:
            raise ValueError(f"a and b are no networks of one shape: they differ in {name!r}.")
    between = copy.deepcopy(a)
    between.load_state_dict(
        {
            name: (1 - alpha) * value + alpha * second[name].to(value.device)
            if value.is_floating_point()
            else value
            for name, value in first.items()
        }
    )
    return between


@torch.no_grad()
def recalibrate(model: nn.Module, x) -> None:
    """Compute means and variances of batch norm anew from ``x`` (examples, ...), all in one batch; in place.

    Everything else, dropout too, behaves as in evaluation. The training flags are put back. ``x`` is a tensor or an
    array, which is brought to the model's device and floating-point type.
    """
    x = _examples(model, "x", x)
    norms = [norm for norm in model.modules() if isinstance(norm, _NORMS) and norm.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    with evaluating(model):
        for norm in norms:
            norm.train()
            norm.momentum = 1.0  # forget the past
        try:
            model(x)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum


@dataclass(frozen=True)
class Path:
    """Mean cross-entropy and error (in [0, 1]) at each ``alpha``; arrays ``(A,)``."""

    alpha: np.ndarray
    loss: np.ndarray
    error: np.ndarray

    def __repr__(self):
        ends = f"{100 * self.error[0]:.1f} % and {100 * self.error[-1]:.1f} %"
        if self.alpha[0] != 0 or self.alpha[-1] != 1:
            return f"Path: error {ends} at alpha {self.alpha[0]:g} and {self.alpha[-1]:g}"
        return f"Path: error at the ends {ends}, barrier {100 * barrier(self.error, self.alpha):.1f} points"


def path(a: nn.Module, b: nn.Module, x, y, alphas=ALPHAS, statistics=None) -> Path:
    """Loss and error along the straight line from a to b, which are not changed.

    Parameters
    ----------
    a, b : torch.nn.Module
        Two networks of one architecture; they give logits ``(examples, classes)``.
    x, y : tensors or arrays ``(N, *input_shape)``, ``(N,)``
        The examples to measure on, and their classes. Examples are brought to the device and the floating-point type
        of ``a``.
    alphas : sequence of float in [0, 1]
    statistics : tensor or array ``(M, *input_shape)`` or False, optional
        Training examples from which batch norm is computed anew at each point, the ends too: what these kept while
        they trained lags behind their weights. False leaves the interpolated means and variances.

    Raises
    ------
    ValueError
        For networks with batch norm without ``statistics``, examples that are no tensor or array or not as many as
        their classes, and as :func:`interpolate`.
    """
    x, y = _examples(a, "x", x), _examples(a, "y", y)
    if not (x.ndim and y.shape == x.shape[:1] and len(y)):
        raise ValueError(
            f"x of shape {tuple(x.shape)} and y of shape {tuple(y.shape)}: y must have one class for each row of x, "
            "and there must be at least one."
        )
    if statistics is None and any(isinstance(module, _NORMS) for module in a.modules()):
        raise ValueError(
            "statistics=None: these networks have batch norm; give training examples to compute its means and "
            "variances from, or False to interpolate them."
        )
    if statistics is not None and statistics is not False:
        statistics = _examples(a, "statistics", statistics)
    found = []
    for alpha in alphas:
        network = interpolate(a, b, alpha)
        if torch.is_tensor(statistics):
            recalibrate(network, statistics)
        found.append(_measure(network.eval(), x, y))
    loss, error = np.array(found).T
    return Path(np.asarray(alphas, float), loss, error)


def _examples(model, name, values) -> torch.Tensor:
    """A tensor or an array on the device of the model and, if it holds fractions, in the model's type."""
    if not isinstance(values, torch.Tensor | np.ndarray):
        raise ValueError(f"{name} is a {type(values).__name__}: {name} must be a tensor or an array.")
    values = values if torch.is_tensor(values) else torch.tensor(values)
    like = next((value for value in model.state_dict().values() if value.is_floating_point()), values)
    return values.to(like.device, like.dtype if values.is_floating_point() else values.dtype)


@torch.no_grad()
def _measure(network, x, y):
    loss = wrong = 0.0
    for part, labels in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
        logits = network(part)
        logits = logits.to(
            torch.promote_types(logits.dtype, torch.float32)
        )  # 16 bits cannot add up a thousand losses
        loss += F.cross_entropy(logits, labels.long(), reduction="sum").item()
        wrong += (logits.argmax(-1) != labels).sum().item()
    return loss / len(y), wrong / len(y)


def barrier(values, alphas=ALPHAS) -> np.ndarray:
    """How far the values rise above the straight line between their ends: max of E(alpha) - (1 - alpha) E(0) - alpha E(1).

    It is never below 0, which the ends give. Frankle et al. (2020) subtract the mean of the ends instead: nearly the
    same for two copies with about the same error, but between a dense network and a worse sparse one already their
    difference would count as a barrier.

    Parameters
    ----------
    values : array ``(..., A)``
    alphas : array ``(A,)``
        From 0 to 1.

    Returns
    -------
    array ``(...)``
        In the unit of the values.

    Raises
    ------
    ValueError
        For alphas that do not lead from 0 to 1, or as many values.
    """
    values, alphas = np.asarray(values, float), np.asarray(alphas, float)
    if alphas.ndim != 1 or values.shape[-1:] != alphas.shape or alphas[0] != 0 or alphas[-1] != 1:
        raise ValueError(
            f"alphas of shape {alphas.shape} for values of shape {values.shape}: there must be one for each value of "
            "the last dimension, the first 0 and the last 1."
        )
    line = (1 - alphas) * values[..., :1] + alphas * values[..., -1:]
    return (values - line).max(-1)


def train(architecture, data, parameters, masks, order, keep=(), threads=1, **settings) -> list[dict]:
    """K networks of one architecture trained side by side; their weights after ``keep`` steps and at the end.

    Parameters
    ----------
    architecture : str
        As ``lthviz.models.build`` takes it.
    data : Dataset
    parameters, masks : dict of str to tensor ``(K, *shape)``
        As for ``lthviz.train.Population``, as are ``settings``: optimizer, lr, momentum, ...
    order : int tensor ``(K, steps, B)``
        For each network the examples of every step.
    keep : sequence of int
        Ascending numbers of steps below ``steps``.
    threads : int
        How many populations train at the same time.

    Returns
    -------
    list of dict of str to tensor ``(K, *shape)``
        One for each of ``keep``, then the last.
    """
    x, y = torch.tensor(data.x_train), torch.tensor(data.y_train)

    def course(population, batches, mine):
        kept = []
        for step, batch in enumerate(batches):
            if step in keep:
                kept.append({name: value.clone() for name, value in population.parameters.items()})
            population.step(batch)
        return [*kept, population.parameters]

    courses = taught(course, architecture, data.classes, parameters, masks, x, y, order, threads, **settings)
    return [
        {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        for parts in zip(*courses, strict=True)
    ]


def along(architecture, data, a, b, alphas=ALPHAS) -> tuple[np.ndarray, np.ndarray]:
    """Mean cross-entropy and error on the test examples along the lines from K networks to K others: two ``(K, A)``.

    Parameters
    ----------
    architecture, data
        As for :func:`train`.
    a, b : dict of str to tensor ``(K, *shape)``
        Their weights.
    alphas : sequence of float
    """
    x, y = torch.tensor(data.x_test), torch.tensor(data.y_test)
    masks = {
        name: torch.ones_like(value, dtype=torch.bool) for name, value in a.items() if name.endswith("weight")
    }
    walker = Population(architecture, data.classes, a, masks, x, y, 1)
    found = []
    for alpha in alphas:
        for name, value in walker.parameters.items():
            value.copy_((1 - alpha) * a[name] + alpha * b[name])
        found.append(walker.evaluate(x, y))
    loss, right = (np.stack(values, -1) for values in zip(*found, strict=True))
    return loss, 1 - right
