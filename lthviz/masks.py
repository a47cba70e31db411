"""Masks and pruning: which weights stay.

A mask holds one 0/1 entry for every prunable weight. *Density* is kept / prunable, *sparsity* is
1 - density, *rate* is the fraction of the surviving weights that one round removes.
"""

import math
from collections.abc import Mapping

import numpy as np

from .choices import number, unknown


def as_array(values) -> np.ndarray:
    """A NumPy view or copy of an array or a torch tensor, on whichever device; bfloat16 comes as float32."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":  # NumPy has none, and float32 holds each of its values
            values = values.float()
        values = values.numpy()
    return np.asarray(values)


class Mask(Mapping):
    """A 0/1 mask for every prunable weight of a network, by parameter name. Never changes.

    Parameters
    ----------
    entries : mapping of str to array
        For each parameter an array of its shape with entries 0 (pruned) and 1 (kept).

    Raises
    ------
    ValueError
        If there is no entry at all, or one of them is neither 0 nor 1.
    """

    def __init__(self, entries):
        if not isinstance(entries, Mapping) or not entries:
            raise ValueError("a Mask needs a mapping {parameter name: 0/1 array} with at least one entry.")
        self._arrays = {}
        for name, values in entries.items():
            values = as_array(values)
            if not isinstance(name, str):
                raise ValueError(f"Mask: parameter names must be strings, got {name!r}.")
            if values.size == 0 or not np.isin(values, (0, 1)).all():
                raise ValueError(
                    f"Mask: every entry of {name!r} must be 0 or 1, and there must be at least one."
                )
            array = values.astype(bool)
            array.setflags(write=False)
            self._arrays[name] = array

    @classmethod
    def ones_like(cls, arrays):
        """The mask that keeps everything, for a mapping of parameter names to arrays."""
        return cls({name: np.ones(np.shape(array), bool) for name, array in arrays.items()})

    def __getitem__(self, name):
        return self._arrays[name]

    def __iter__(self):
        return iter(self._arrays)

    def __len__(self):
        return len(self._arrays)

    def __eq__(self, other):
        return (
            isinstance(other, Mask)
            and list(self) == list(other)
            and all(np.array_equal(self[name], other[name]) for name in self)
        )

    __hash__ = None

    @property
    def size(self) -> int:
        """How many weights may be pruned."""
        return sum(array.size for array in self._arrays.values())

    @property
    def kept(self) -> int:
        """How many weights are kept."""
        return int(sum(array.sum() for array in self._arrays.values()))

    @property
    def density(self) -> float:
        """kept / prunable."""
        return self.kept / self.size

    @property
    def sparsity(self) -> float:
        """1 - density."""
        return 1.0 - self.density

    @property
    def layers(self) -> list[dict]:
        """One row a parameter: name, shape, size, kept, density."""
        return [
            {
                "name": name,
                "shape": array.shape,
                "size": array.size,
                "kept": int(array.sum()),
                "density": float(array.mean()),
            }
            for name, array in self._arrays.items()
        ]

    @property
    def collapsed(self) -> list[str]:
        """The parameters that lost all their weights: through such a layer no signal passes."""
        return [name for name, array in self._arrays.items() if not array.any()]

    def issubset(self, other: "Mask") -> bool:
        """Whether every weight that this mask keeps is kept by ``other`` too (nested masks)."""
        self._must_match(other)
        return all(not (self[name] & ~other[name]).any() for name in self)

    def shuffle(self, rng: np.random.Generator) -> "Mask":
        """A mask with the same number of kept weights in each layer, at random places."""
        return Mask(
            {name: rng.permutation(array.ravel()).reshape(array.shape) for name, array in self.items()}
        )

    def _must_match(self, arrays):
        if set(self) != set(arrays):
            raise ValueError(f"the mask is for {sorted(self)}, but got {sorted(arrays)}.")
        for name, array in self.items():
            if np.shape(arrays[name]) != array.shape:
                raise ValueError(
                    f"the mask of {name!r} has shape {array.shape}, but got shape {tuple(np.shape(arrays[name]))}."
                )

    def __repr__(self):
        count = f"{len(self)} layer{'s' if len(self) > 1 else ''}"
        text = f"Mask: {self.kept:,} of {self.size:,} weights kept ({self.density:.1%}), {count}"
        return text + (f"; collapsed: {', '.join(self.collapsed)}" if self.collapsed else "")


def as_mask(mask) -> Mask:
    """A mask as it is, or one made of a mapping {parameter name: 0/1 array}; ValueError for anything else."""
    return mask if isinstance(mask, Mask) else Mask(mask)


def ladder(sizes: Mapping[str, int], rate: float, rounds: int, scope="layer") -> list[dict[str, int]]:
    """How many weights each layer keeps after 0, 1, ... rounds of :func:`prune`; the last layer loses half as much.

    With scope "global" only the sum, ``all layers``, is known before training.

    Raises
    ------
    ValueError
        When a layer would lose its last weight; it says how many rounds are allowed.
    """
    output_layer = list(sizes)[-1] if scope == "layer" else None
    rungs = [dict(sizes) if scope == "layer" else {"all layers": sum(sizes.values())}]
    for round in range(1, rounds + 1):
        rungs.append({name: n - _removed(n, rate, name == output_layer) for name, n in rungs[-1].items()})
        for name, n in rungs[-1].items():
            if n == 0:
                raise ValueError(
                    f"rounds={rounds} at rate={rate:g} leaves no weight in {name} after round {round}: "
                    f"allowed are at most {round - 1} rounds."
                )
    return rungs


def _removed(survivors: int, rate: float, half: bool) -> int:
    """How many of the surviving weights one round removes."""
    return math.floor(rate * (0.5 if half else 1.0) * survivors + 0.5)


def prune(scores, rate=None, density=None, mask=None, scope="layer", output_layer=None) -> Mask:
    """Keep the weights with the highest scores; exact counts, nested in ``mask``.

    Parameters
    ----------
    scores : mapping of str to array or tensor
        For each parameter one score a weight; higher means keep. Scores of pruned weights are ignored.
    rate : float in (0, 1), optional
        Fraction of the *surviving* weights to remove: ``floor(rate * surviving + 0.5)`` of them.
    density : float in [0, 1], or mapping of str to float, optional
        Instead of ``rate``: keep ``floor(density * size + 0.5)`` of *all* weights
        (never more than survive already). A mapping, such as :func:`erk` gives, has one density for each
        parameter; it goes with scope "layer" and without ``output_layer``.
    mask : Mask or mapping that makes one, optional
        What earlier rounds left; without it every weight is there.
    scope : "layer" or "global"
        Rank within each layer, so that all lose the same share, or over all layers together.
    output_layer : str, optional
        With scope "layer" this parameter loses only half as much, as in Frankle and Carbin (2019).

    Returns
    -------
    Mask
        Lowest scores go first. Ties: among equal scores the one with the lower index goes first
        (row-major, and with scope "global" earlier parameters first).

    Raises
    ------
    ValueError
        For a rate or density out of range, both or none of them, an unknown scope, scores that
        do not fit the mask or the densities, or scores that are not numbers (NaN).
    """
    if (rate is None) == (density is None):
        raise ValueError(f"prune needs either rate or density, got rate={rate!r} and density={density!r}.")
    by_layer = isinstance(density, Mapping)
    if rate is not None:
        rate = number("rate", rate, 0, 1, open_ends=True)
    elif not by_layer:
        density = number("density", density, 0, 1)
    if scope not in ("layer", "global"):
        raise unknown("scope", scope, ("layer", "global"))
    if not isinstance(scores, Mapping) or not scores:
        raise ValueError("prune needs scores as a mapping {parameter name: array} with at least one entry.")
    if by_layer:
        density = _densities(density, scores, scope, output_layer)
    scores = {name: as_array(values) for name, values in scores.items()}
    mask = Mask.ones_like(scores) if mask is None else as_mask(mask)
    mask._must_match(scores)
    for name, values in scores.items():
        if np.isnan(values[mask[name]]).any():
            raise ValueError(f"the scores of {name!r} contain NaN: the network that gave them has diverged.")
    if output_layer is not None and output_layer not in scores:
        raise unknown("output_layer", output_layer, scores)

    def kept(alive: np.ndarray, density: float | None, half: bool) -> int:
        survivors = int(alive.sum())
        if rate is not None:
            return survivors - _removed(survivors, rate, half)
        if half:
            density = 1 - (1 - density) / 2
        return min(survivors, math.floor(density * alive.size + 0.5))

    if scope == "layer":
        return Mask(
            {
                name: _top(
                    scores[name],
                    mask[name],
                    kept(mask[name], density[name] if by_layer else density, name == output_layer),
                )
                for name in scores
            }
        )
    alive = np.concatenate([mask[name].ravel() for name in scores])
    flat = np.concatenate([scores[name].ravel() for name in scores])
    keep = _top(flat, alive, kept(alive, density, False))
    ends = np.cumsum([scores[name].size for name in scores])[:-1]
    return Mask(
        {
            name: part.reshape(scores[name].shape)
            for name, part in zip(scores, np.split(keep, ends), strict=True)
        }
    )


def _densities(density, scores, scope, output_layer) -> dict[str, float]:
    """The density of each parameter, checked."""
    if scope != "layer" or output_layer is not None:
        raise ValueError(
            f"a density for each parameter needs scope='layer' and no output_layer, "
            f"got scope={scope!r} and output_layer={output_layer!r}."
        )
    if set(density) != set(scores):
        raise ValueError(f"the densities are for {sorted(density)}, but got {sorted(scores)}.")
    return {name: number(f"density of {name!r}", value, 0, 1) for name, value in density.items()}


def uniform(shapes, density: float) -> dict[str, float]:
    """The same density for every layer, as a mapping for :func:`prune`.

    Every layer means the first one too. Evci et al. (2020) leave that one dense in their networks for pictures,
    where it has few weights; in a small multilayer perceptron it has most of them.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        The shape of each parameter that may be pruned.
    density : float in [0, 1]
        kept / prunable of the whole network.

    Returns
    -------
    dict of str to float

    Raises
    ------
    ValueError
        For a density out of range.
    """
    density = number("density", density, 0, 1)
    return dict.fromkeys(shapes, density)


def erk(shapes, density: float) -> dict[str, float]:
    """Erdos-Renyi-Kernel densities, as a mapping for :func:`prune` (Mocanu et al. 2018; Evci et al. 2020).

    The density of a layer is proportional to sum(shape) / prod(shape), so that small layers stay denser. Where that
    is more than 1 the layer is dense, and the others share the rest. A layer's density never grows while
    ``density`` falls: masks of several densities from the same scores are nested.

    Parameters and errors as for :func:`uniform`.
    """
    density = number("density", density, 0, 1)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    raw = {name: sum(shape) / math.prod(shape) for name, shape in shapes.items()}
    densities = dict.fromkeys(shapes, 1.0)
    sparse = list(shapes)
    while sparse:
        left = density * sum(sizes.values()) - sum(sizes[name] for name in shapes if name not in sparse)
        scale = left / sum(raw[name] * sizes[name] for name in sparse)
        highest = max(raw[name] for name in sparse)
        if scale * highest <= 1:
            return densities | {name: scale * raw[name] for name in sparse}
        sparse = [name for name in sparse if raw[name] < highest]
    return densities


def _top(scores: np.ndarray, alive: np.ndarray, keep: int) -> np.ndarray:
    """The ``keep`` highest of the living scores, as a boolean array."""
    places = np.flatnonzero(alive)
    order = np.argsort(scores.ravel()[places], kind="stable")
    chosen = np.zeros(alive.size, bool)
    chosen[places[order[len(places) - keep :]]] = True
    return chosen.reshape(alive.shape)
