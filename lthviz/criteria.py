"""Scores that say which weights matter: higher means keep.

All are called alike, ``score(model, loss_fn, batch)`` with ``batch = (x, y)``, and give {parameter name: tensor} for
the :func:`prunable` weights. Pure functions: parameters, buffers, gradients, training flags and random state
stay as they are. The derivatives are those of the model in its present mode, train or eval; Dropout draws from
torch's own generator, whose state is put back.

Every criterion raises a ValueError that names the parameter when a score is not finite.
"""

import math
from contextlib import contextmanager

import torch
from torch import nn
from torch.func import functional_call

from .choices import must_draw, number
from .masks import as_mask

_PRUNABLE = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


def prunable(model) -> dict:
    """{parameter name: parameter} of what may be pruned: the weights of linear and convolution layers.

    Biases, normalisation layers and embeddings are left alone, also an embedding that a linear layer shares.
    A weight that several layers share is there once, under its first name.

    Raises
    ------
    ValueError
        If the model has no such layer, or one whose weight is computed from other parameters (weight norm, spectral
        norm, torch's own pruning).
    """
    found = {}
    seen = {
        id(parameter)
        for module in model.modules()
        if not isinstance(module, _PRUNABLE)
        for parameter in module.parameters(recurse=False)
    }
    for name, module in model.named_modules():
        if isinstance(module, _PRUNABLE) and id(module.weight) not in seen:
            weight = f"{name}.weight" if name else "weight"
            if not isinstance(module.weight, nn.Parameter):
                raise ValueError(
                    f"{weight!r} is no parameter but computed from others (weight norm, spectral norm, torch's own "
                    "pruning): take that away first, for example with "
                    "torch.nn.utils.parametrize.remove_parametrizations."
                )
            seen.add(id(module.weight))
            found[weight] = module.weight
    if not found:
        raise ValueError("the model has no linear or convolution layer: nothing in it may be pruned.")
    return found


def magnitude(model, loss_fn=None, batch=None) -> dict:
    """The absolute value of each weight (Han et al. 2015; Frankle and Carbin 2019)."""
    return _finite("magnitude", {name: weight.detach().abs() for name, weight in prunable(model).items()})


def random(model, loss_fn=None, batch=None, *, generator) -> dict:
    """Uniform scores from a ``torch.Generator`` on the CPU: the criterion that knows nothing.

    It cannot do without its generator: a ValueError for None, so that torch's own is never drawn from.
    """
    must_draw(generator)
    return {name: torch.rand(weight.shape, generator=generator) for name, weight in prunable(model).items()}


@torch.enable_grad()
def snip(model, loss_fn, batch) -> dict:
    """Connection sensitivity ``|g * w|``, with g the gradient of the loss (Lee, Ajanthan and Torr 2019).

    It is the derivative of the loss by a factor on each weight, at one (their equation 4). They divide
    by the sum of all scores, which changes no ranking and is left out here.

    Parameters
    ----------
    model : torch.nn.Module
    loss_fn : callable
        ``(model(x), y) -> scalar``.
    batch : (x, y)
        Tensors or arrays with one row an example; floating ones are cast to the type of the model's weights, whole
        numbers in y to int64.

    Raises
    ------
    ValueError
        For a batch that is not such a pair, or a loss that is no differentiable scalar.
    """
    weights, loss = _loss(model, loss_fn, batch)
    gradients = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
    scores = zip(weights, weights.values(), gradients, strict=True)
    return _finite("snip", {name: (weight.detach() * g).abs_() for name, weight, g in scores})


@torch.enable_grad()
def grasp(model, loss_fn, batch, *, temperature=1.0, mask=None) -> dict:
    """Gradient signal preservation: ``w * (H g)`` (Wang, Zhang and Grosse 2020).

    Removing weight q changes the gradient flow g·g by ``-2 w_q (H g)_q`` to first order. Their score is
    ``-w * (H g)`` and the *highest* are removed, those whose removal raises the flow most; here the sign is turned,
    so that high means keep. g and the Hessian H are by the prunable weights alone, as in their code. Scores may be
    negative.

    Parameters
    ----------
    model, loss_fn, batch
        As for :func:`snip`; the model gives a tensor.
    temperature : float > 0
        The loss is that of ``model(x) / temperature``; their code takes 200.
    mask : Mask or mapping that makes one, optional
        What is pruned already (zero in ``model``): the flow is that of the other weights.

    Raises
    ------
    ValueError
        As for :func:`snip`, or for a temperature that is not positive.
    """
    temperature = number("temperature", temperature, 0, math.inf, open_ends=True)
    weights, loss = _loss(model, lambda output, y: loss_fn(output / temperature, y), batch)
    tensors = list(weights.values())
    gradients = torch.autograd.grad(loss, tensors, create_graph=True, materialize_grads=True)
    still = [g.detach() for g in gradients]
    if mask is not None:
        mask = as_mask(mask)
        still = [g * torch.tensor(mask[name]).to(g.device) for name, g in zip(weights, still, strict=True)]
    flow = sum((g * fixed).sum() for g, fixed in zip(gradients, still, strict=True))
    products = torch.autograd.grad(flow, tensors, materialize_grads=True)
    scores = zip(weights, tensors, products, strict=True)
    return _finite("grasp", {name: weight.detach() * product for name, weight, product in scores})


@torch.enable_grad()
def synflow(model, loss_fn, batch) -> dict:
    """Synaptic flow ``|w * dR/dw|`` in float64 (Tanaka, Kunin, Yamins and Ganguli 2020).

    R is the sum of the outputs for one example of ones, of a network whose parameters *and* buffers are all replaced
    by their absolute values, biases and normalisation included, as in their code. It runs in eval mode, so that
    batch norm uses its running statistics. Neither the loss nor the data are looked at, but for the shape of x.
    Without biases, every layer that all the flow passes through has the sum of scores R: the conservation law.

    Weights that are zero, such as those that :func:`lthviz.apply_mask` prunes, score zero. The paper scores and
    prunes in turn, many times: :func:`lthviz.prune_at_init` does.

    Parameters
    ----------
    model, loss_fn, batch
        As for :func:`snip`; the model gives a tensor.

    Raises
    ------
    ValueError
        For a batch that is not a pair.
    """
    x, _ = _examples(model, batch)
    state = {
        name: values.detach().to(torch.float64, copy=True).abs_()
        if values.is_floating_point()
        else values.detach().clone()
        for name, values in (*model.named_parameters(), *model.named_buffers())
    }
    weights = {name: state[name].requires_grad_() for name in prunable(model)}
    ones = torch.ones_like(x[:1], dtype=torch.float64 if x.is_floating_point() else None)
    with evaluating(model), _random_state_kept(x):
        flow = functional_call(model, state, (ones,)).sum()
    gradients = torch.autograd.grad(flow, list(weights.values()), materialize_grads=True)
    scores = zip(weights, weights.values(), gradients, strict=True)
    return _finite("synflow", {name: (weight.detach() * g).abs_() for name, weight, g in scores})


@contextmanager
def evaluating(model):
    """The model in eval mode; afterwards every module has its own training flag back."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, flag in flags:
            module.training = flag


def _loss(model, loss_fn, batch):
    """Copies of the prunable weights, by name, and the loss of the batch with them in place of the model's own."""
    x, y = _examples(model, batch)
    state = {
        name: values.detach().clone() for name, values in (*model.named_parameters(), *model.named_buffers())
    }
    weights = {name: state[name].requires_grad_() for name in prunable(model)}
    with _random_state_kept(x):
        loss = loss_fn(functional_call(model, state, (x,)), y)
    return weights, _must_be_loss(loss)


def _must_be_loss(loss):
    """What loss_fn gave; a ValueError for what nobody can learn from."""
    if loss.ndim or not loss.requires_grad:
        raise ValueError(
            f"loss_fn gave a tensor of shape {tuple(loss.shape)}: it must give a scalar that depends on the weights."
        )
    return loss


def _examples(model, batch):
    """The x and y of a batch as the model takes them: on its device, floating ones of its type, y of int64."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise ValueError(f"batch must be a pair (x, y) of tensors or arrays, got {type(batch).__name__}.")
    weight = next(iter(prunable(model).values()))
    x, y = (part if isinstance(part, torch.Tensor) else torch.tensor(part) for part in batch)
    x, y = (part.to(weight.device, weight.dtype if part.is_floating_point() else None) for part in (x, y))
    if y.dtype in (torch.uint8, torch.int8, torch.int16, torch.int32):
        y = y.long()
    if not (x.ndim and y.ndim and len(x) == len(y) > 0):
        raise ValueError(
            f"batch has x of shape {tuple(x.shape)} and y of shape {tuple(y.shape)}: "
            "they must have as many rows as each other, at least one."
        )
    return x, y


def _random_state_kept(x):
    return torch.random.fork_rng([x.device] if x.is_cuda else [])


def _finite(criterion, scores) -> dict:
    for name, values in scores.items():
        low, high = values.aminmax()  # a tenth of the time of values.isfinite().all()
        if not (low.isfinite() and high.isfinite()):
            raise ValueError(
                f"the {criterion} scores of {name!r} are not all finite: look for NaN or infinity in the weights, "
                "the batch and the loss."
            )
    return scores
