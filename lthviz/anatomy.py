"""What is inside a ticket: three switches to take it apart, and whether its masks are local.

A ticket answers three questions (Zhou, Lan, Liu and Yosinski 2019, arXiv:1905.01067, whose words these are). The *mask
criterion* says which weights are kept, the *mask-1 action* with which values those start, the *mask-0 action* what
the others are held at. Frankle and Carbin's ticket is ``large_final``, ``rewind``, ``zero``.

Weights are {parameter name: tensor}; ``initial`` are those before training and ``final`` those after it. Nothing
that comes in is changed. Introduced in lesson 05.
"""

import math

import torch

from .choices import count, must_draw, unknown
from .masks import Mask, as_array

CRITERIA = (
    "large_final", "large_final_same_sign", "small_final", "large_init", "movement", "magnitude_increase", "random",
)  # fmt: skip
KEPT = ("rewind", "signs", "magnitudes", "constant", "shuffle", "reinit")
PRUNED = ("zero", "freeze", "freeze_grown")
NULLS = ("layer", "pixel", "pixel and unit")


def scores(criterion: str, initial, final, generator=None) -> dict[str, torch.Tensor]:
    """How much each weight deserves to be kept, higher is better: what :func:`lthviz.prune` takes (their figure 3).

    Parameters
    ----------
    criterion : str
        ``large_final`` |f|, ``small_final`` -|f|, ``large_init`` |i|, ``movement`` |f - i|, ``magnitude_increase``
        |f| - |i|, for initial value i and final value f; ``large_final_same_sign`` |f| where the sign is still the
        initial one, else 0; ``random``.
    initial, final : mapping of str to tensor
    generator : torch.Generator on the CPU
        Only ``random`` draws from it.

    Raises
    ------
    ValueError
        For an unknown criterion, or a draw without a generator.
    """
    if criterion not in CRITERIA:
        raise unknown("criterion", criterion, CRITERIA)
    if criterion == "random":
        must_draw(generator)

    def score(i, f):
        return {
            "large_final": lambda: f.abs(),
            "large_final_same_sign": lambda: (f * i.sign()).clamp(min=0),
            "small_final": lambda: -f.abs(),
            "large_init": lambda: i.abs(),
            "movement": lambda: (f - i).abs(),
            "magnitude_increase": lambda: f.abs() - i.abs(),
            "random": lambda: torch.rand(i.shape, generator=generator).to(i.device),
        }[criterion]()

    return {name: score(initial[name], final[name]) for name in initial}


def kept(action: str, initial, mask: Mask, generator=None) -> dict[str, torch.Tensor]:
    """The mask-1 action: the values that the kept weights start with; zero at the others.

    A fresh draw is normal with each layer's initial standard deviation. From generators in the same state ``signs``,
    ``magnitudes`` and ``reinit`` get the same one, so that the sign and the magnitude of a weight each come either from
    its initial value or from that draw: a two-by-two design.

    Parameters
    ----------
    action : str
        ``rewind`` the initial values; ``signs`` their signs, with the magnitudes of a fresh draw; ``magnitudes`` their
        magnitudes, with the signs of a fresh draw; ``constant`` their signs times the layer's initial standard
        deviation; ``shuffle`` the initial values, permuted among the kept weights of each layer; ``reinit`` a
        fresh draw.
    initial : mapping of str to tensor
    mask : Mask
    generator : torch.Generator on the CPU
        ``rewind`` and ``constant`` draw nothing.

    Raises
    ------
    ValueError
        For an unknown action, or a draw without a generator.
    """
    if action not in KEPT:
        raise unknown("action", action, KEPT)
    if action not in ("rewind", "constant"):
        must_draw(generator)
    started = {}
    for name, old in initial.items():
        there = torch.tensor(mask[name], device=old.device)
        std = old.std(correction=0)
        if action == "rewind":
            new = old
        elif action == "constant":
            new = std * old.sign()
        elif action == "shuffle":
            order = torch.randperm(int(there.sum()), generator=generator).to(old.device)
            new = torch.zeros_like(old)
            new[there] = old[there][order]
        else:
            fresh = std * torch.randn(old.shape, generator=generator).to(old.device)
            new = {
                "signs": fresh.abs() * old.sign(),
                "magnitudes": old.abs() * fresh.sign(),
                "reinit": fresh,
            }[action]
        started[name] = torch.where(there, new, 0)
    return started


def pruned(action: str, initial, final, mask: Mask) -> dict[str, torch.Tensor]:
    """The mask-0 action: the values that the pruned weights are held at; zero at the others.

    Parameters
    ----------
    action : str
        ``zero``; ``freeze`` the initial value; ``freeze_grown`` the initial value where training had moved the weight
        away from zero, zero where it had moved it towards zero (the variant that supports "masking is training").
    initial, final : mapping of str to tensor
    mask : Mask

    Raises
    ------
    ValueError
        For an unknown action.
    """
    if action not in PRUNED:
        raise unknown("action", action, PRUNED)
    held = {}
    for name, old in initial.items():
        still = ~torch.tensor(mask[name], device=old.device)
        if action == "zero":
            still = torch.zeros_like(still)
        elif action == "freeze_grown":
            still &= final[name].abs() >= old.abs()
        held[name] = torch.where(still, old, 0)
    return held


def adjacent_pairs(masks, shape: tuple[int, ...]):
    """How many pairs of neighbouring inputs are both kept by the same unit, summed over the units.

    Neighbours lie side by side or one above the other (never across an edge); of a signal, one behind the other.

    Parameters
    ----------
    masks : 0/1 array (..., units, inputs)
    shape : (height, width) or (length,)
        Of the inputs.

    Returns
    -------
    int array (...)

    Raises
    ------
    ValueError
        For a shape that has another number of inputs.
    """
    masks = as_array(masks).astype(bool)
    if masks.shape[-1] != math.prod(shape):
        raise ValueError(f"shape={shape}: a unit has {masks.shape[-1]} inputs, not {math.prod(shape)}.")
    grid = masks.reshape(*masks.shape[:-1], *shape)
    over = tuple(range(-1 - len(shape), 0))
    return sum(
        (grid.take(range(n - 1), axis) & grid.take(range(1, n), axis)).sum(over)
        for axis, n in zip(range(-len(shape), 0), shape, strict=True)
    )


def permuted(mask, null: str, draws: int, generator):
    """Masks of one layer in which chance has moved the kept weights, with as many of them as before.

    Parameters
    ----------
    mask : 0/1 array (units, inputs)
    null : str
        What stays, beside the number of weights. ``layer``: nothing. ``pixel``: how many weights each input keeps.
        ``pixel and unit``: that, and how many each unit keeps; here a draw is ten rounds in which the units meet in
        random pairs and trade what only one of them keeps (the Curveball algorithm, Strona et al. 2014,
        doi:10.1038/ncomms5114, with their five trades a row).
    draws : int
    generator : torch.Generator on the CPU

    Returns
    -------
    bool array (draws, units, inputs)

    Raises
    ------
    ValueError
        For an unknown null, fewer than one draw, or no generator.
    """
    if null not in NULLS:
        raise unknown("null", null, NULLS)
    draws = count("draws", draws, 1)
    must_draw(generator)
    mask = torch.tensor(as_array(mask).astype(bool))
    units, inputs = mask.shape
    if null == "layer":
        order = torch.rand(draws, units * inputs, generator=generator).argsort(-1)
        return mask.ravel()[order].view(draws, units, inputs).numpy()
    if null == "pixel":
        order = torch.rand(draws, inputs, units, generator=generator).argsort(-1)
        return mask.T.expand(draws, inputs, units).gather(-1, order).mT.numpy()
    masks = mask.repeat(draws, 1, 1)
    for _ in range(10):
        pairs = torch.randperm(units, generator=generator)[: units // 2 * 2].view(2, -1)
        first, second = masks[:, pairs[0]], masks[:, pairs[1]]
        differ = first ^ second
        order = torch.rand(differ.shape, generator=generator).masked_fill_(~differ, 2).argsort(-1)
        wins = torch.arange(inputs) < (first & differ).sum(-1, keepdim=True)
        chosen = torch.zeros_like(differ).scatter_(-1, order, wins)
        both = first & second
        masks[:, pairs[0]], masks[:, pairs[1]] = both | chosen, both | (differ & ~chosen)
    return masks.numpy()
