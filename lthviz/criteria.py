"""Scores that say which weights matter: higher means keep.

Pure functions: parameters, buffers, gradients, training flags and random state stay as they are.
"""

from torch import nn

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

    Biases, normalisation layers and embeddings are left alone.

    Raises
    ------
    ValueError
        If the model has no such layer.
    """
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, _PRUNABLE):
            found[f"{name}.weight" if name else "weight"] = module.weight
    if not found:
        raise ValueError("the model has no linear or convolution layer: nothing in it may be pruned.")
    return found


def magnitude(model) -> dict:
    """The absolute value of each weight (Han et al. 2015; Frankle and Carbin 2019)."""
    return {name: weight.detach().abs() for name, weight in prunable(model).items()}


def random(model, generator) -> dict:
    """Uniform scores from a ``torch.Generator`` on the CPU: the criterion that knows nothing."""
    import torch

    return {name: torch.rand(weight.shape, generator=generator) for name, weight in prunable(model).items()}
