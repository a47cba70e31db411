"""Pruning at initialisation: a mask before the first training step."""

import copy
import warnings

from . import criteria
from .choices import count, number, unknown
from .masks import Mask, as_mask, prune
from .tickets import apply_mask

CRITERIA = ("magnitude", "random", "snip", "grasp", "synflow")


def prune_at_init(model, loss_fn, batch, method="snip", density=0.1, *, iterations=None, invert=False, mask=None,
                  generator=None) -> Mask:  # fmt: skip
    """Score the weights of an untrained network and keep the best, ranked over all layers together.

    After iteration i of n the density is ``start^(1 - i/n) * density^(i/n)``, where start is that of ``mask`` or 1:
    the exponential schedule of Tanaka et al. (2020). Each iteration scores the network that the last one left, so
    the masks are nested. The model is not changed; put the mask on with :func:`lthviz.apply_mask`.

    Parameters
    ----------
    model : torch.nn.Module
        With the weights that training will start from.
    loss_fn : callable
        ``(model(x), y) -> scalar``; only "snip" and "grasp" call it.
    batch : (x, y)
        Tensors or arrays with one row an example, cast as for :func:`lthviz.criteria.snip`; "magnitude" and "random"
        ignore it, "synflow" takes its shape.
    method : "magnitude", "random", "snip", "grasp" or "synflow"
        The criterion of that name in :mod:`lthviz.criteria`. "random" is spread over all layers together; an
        ``Experiment`` with that method gives each layer the density of :func:`lthviz.masks.erk` instead.
    density : float in [0, 1]
        Keep ``floor(density * size + 0.5)`` weights, or all that ``mask`` keeps if these are fewer.
    iterations : int, optional
        100 for "synflow" and 1 for the others, as in the papers. Down a ladder of 20, 5 a rung are 100 too.
    invert : bool
        Keep the lowest scores instead: a sanity check of Frankle et al. (2021).
    mask : Mask or mapping that makes one, optional
        Go on from this mask. A descending ladder of densities, each from the last one's mask, is one nested chain.
    generator : torch.Generator, optional
        On the CPU; for "random", which cannot do without.

    Returns
    -------
    Mask
        With a warning if a layer has no weight left (layer collapse).

    Raises
    ------
    ValueError
        For settings that are not allowed, a mask of another network, a batch or loss that does not
        fit, or scores that are not finite.
    """
    if method not in CRITERIA:
        raise unknown("method", method, CRITERIA)
    density = number("density", density, 0, 1)
    iterations = count(
        "iterations", (100 if method == "synflow" else 1) if iterations is None else iterations, 1
    )
    if method == "random" and generator is None:
        raise ValueError("generator=None: method='random' needs a torch.Generator.")
    mask = iterate(model, loss_fn, batch, method, density, iterations, invert, mask, generator)
    if mask.collapsed:
        warnings.warn(
            f"layer collapse: {method} at density {density:g} leaves no weight in {', '.join(mask.collapsed)}.",
            stacklevel=2,
        )
    return mask


def iterate(
    model, loss_fn, batch, method, density, iterations, invert=False, mask=None, generator=None
) -> Mask:
    """What :func:`prune_at_init` does, without its checks and its warning."""
    weights = criteria.prunable(model)
    mask = Mask.ones_like(weights) if mask is None else as_mask(mask)
    mask._must_match(weights)
    network = copy.deepcopy(model)
    score, start = getattr(criteria, method), mask.density
    for i in range(1, iterations + 1):
        apply_mask(network, mask)
        options = {"random": {"generator": generator}, "grasp": {"mask": mask}}.get(method, {})
        scores = score(network, loss_fn, batch, **options)
        if invert:
            scores = {name: -values for name, values in scores.items()}
        share = i / iterations
        mask = prune(scores, density=start ** (1 - share) * density**share, mask=mask, scope="global")
    return mask
