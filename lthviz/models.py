"""Small networks by name. The name is the architecture.

``mlp-100-50`` has hidden layers of 100 and 50 units, ``lenet-300-100`` is the paper's name for
``mlp-300-100``, and ``conv-2`` has two 3x3 convolutions (8 and 16 filters, each followed by ReLU and
2x2 max-pooling) and a hidden layer of 32 units: small enough for a lesson on two cores.
Looking at names and shapes needs no torch; :func:`build` does.
"""

import math
import re

from .choices import must_draw, unknown

CONV_2 = (8, 16, 32)


def parse(name: str) -> tuple[str, tuple[int, ...]]:
    """``("mlp", hidden widths)`` or ``("conv", (filters, filters, hidden units))`` for a model's name.

    Raises
    ------
    ValueError
        For a name that is none of ``mlp-W[-W...]``, ``lenet-300-100``, ``conv-2``.
    """
    if name == "conv-2":
        return "conv", CONV_2
    found = re.fullmatch(r"mlp((?:-[1-9]\d{0,4})+)", "mlp-300-100" if name == "lenet-300-100" else str(name))
    if not found:
        raise unknown("model", name, ("mlp-100-50 (any widths)", "lenet-300-100", "conv-2"))
    return "mlp", tuple(int(width) for width in found[1][1:].split("-"))


def layer_shapes(name, input_shape: tuple[int, ...], classes: int) -> dict[str, tuple[int, ...]]:
    """The weight shape of each layer, first to last: ``(out, in)`` or ``(out, in, 3, 3)``.

    ``name`` is a model's name or what :func:`parse` returns; ``input_shape`` that of one example,
    ``(features,)`` or ``(height, width)``.
    """
    kind, widths = parse(name) if isinstance(name, str) else name
    shapes, fan_in = {}, math.prod(input_shape)
    if kind == "conv":
        if len(input_shape) != 2 or min(input_shape) < 4:
            raise ValueError(
                f"model='conv-2' needs pictures of at least 4x4 pixels, but one example has shape {input_shape}."
            )
        first, second, *widths = widths
        shapes = {"conv1": (first, 1, 3, 3), "conv2": (second, first, 3, 3)}
        fan_in = second * (input_shape[0] // 4) * (input_shape[1] // 4)
    for i, width in enumerate([*widths, classes], start=1):
        shapes[f"fc{i}"] = (width, fan_in)
        fan_in = width
    return shapes


def weight_count(name, input_shape, classes) -> int:
    """How many weights a network has; biases do not count, as in the paper."""
    return sum(math.prod(shape) for shape in layer_shapes(name, input_shape, classes).values())


def narrowed(name: str, input_shape, classes: int, budget: int):
    """The widest network of the same kind, its widths in proportion, with at most ``budget`` weights.

    The result goes into :func:`layer_shapes` or :func:`build`. When even widths of 1 are
    more than ``budget``, that smallest network is returned.
    """
    kind, widths = parse(name)

    def at(scale):
        return kind, tuple(max(1, round(scale * width)) for width in widths)

    low, high = 0.0, 1.0
    if weight_count(at(1.0), input_shape, classes) <= budget:
        return at(1.0)
    for _ in range(40):
        middle = (low + high) / 2
        fits = weight_count(at(middle), input_shape, classes) <= budget
        low, high = (middle, high) if fits else (low, middle)
    return at(low)


def build(name, input_shape, classes: int, generator):
    """An ordinary ``torch.nn.Sequential`` with Glorot-normal weights and zero biases.

    Weights ~ N(0, 2 / (fan_in + fan_out)) as in Frankle and Carbin (2019), drawn from
    ``generator`` (a ``torch.Generator``), first layer first. Takes ``(batch, *input_shape)``,
    gives logits ``(batch, classes)``. A ValueError for anything but a generator on the CPU.
    """
    import torch
    from torch import nn

    must_draw(generator)
    shapes = layer_shapes(name, input_shape, classes)
    parts = {}
    if "conv1" in shapes:
        parts["image"] = nn.Unflatten(1, (1, input_shape[0]))
    else:
        parts["flatten"] = nn.Flatten()
    for layer, shape in shapes.items():
        if layer.startswith("conv"):
            parts[layer] = _undrawn(nn.Conv2d, shape[1], shape[0], 3, padding=1)
            parts[f"{layer}_relu"] = nn.ReLU()
            parts[f"{layer}_pool"] = nn.MaxPool2d(2)
            continue
        if layer == "fc1" and "conv1" in shapes:
            parts["flatten"] = nn.Flatten()
        parts[layer] = _undrawn(nn.Linear, shape[1], shape[0])
        parts[f"{layer}_relu"] = nn.ReLU()
    parts.popitem()  # no ReLU behind the logits
    network = nn.Sequential()
    for part, module in parts.items():
        network.add_module(part, module)
    with torch.no_grad():
        for layer, shape in shapes.items():
            receptive = math.prod(shape[2:])
            std = math.sqrt(2.0 / ((shape[0] + shape[1]) * receptive))
            module = getattr(network, layer)
            module.weight.normal_(0.0, std, generator=generator)
            module.bias.zero_()
    return network


def _undrawn(kind, *arguments, **settings):
    """A torch layer without its own initial draw, which would move the global generator."""
    bare = type(kind.__name__, (kind,), {"reset_parameters": lambda self: None})
    layer = bare(*arguments, **settings)
    layer.__class__ = kind
    return layer
