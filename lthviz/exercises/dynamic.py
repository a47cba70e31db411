"""The exercises of lesson 09: weights that change places, densities of layers, and what has ever been tried."""

import math

import numpy as np

from .check import compare, exercise, expect, ladder, note

# --- Drop and grow ----------------------------------------------------------------------------------------------------


def rigl_step(weight, gradient, mask, fraction):
    """One exchange of RigL in one layer.

    weight : array, zero where nothing is kept
    gradient : array of the same shape, of all the weights, pruned ones too
    mask : boolean array of the same shape, which weights are there
    fraction : int(fraction * kept) of the kept weights change places
    Returns (weight, mask) after the exchange, two new arrays.
    """
    moving = int(fraction * mask.sum())
    stays = mask.ravel().copy()
    stays[np.argsort(np.where(stays, np.abs(weight).ravel(), np.inf))[:moving]] = False
    new = stays.copy()
    new[np.argsort(np.where(stays, np.inf, -np.abs(gradient).ravel()))[:moving]] = True
    new = new.reshape(mask.shape)
    return np.where(new & mask, weight, 0.0), new


SIGNED = (
    "You dropped the most negative weights. The smallest go, whatever their sign: take the absolute value."
)
LARGEST = "You dropped the largest weights. Those that go are the ones nearest to zero."
SIGNED_GRADIENT = (
    "You grew where the gradient is most positive. A steep way down and a steep way up are worth the same, since a "
    "weight may become negative: take the absolute value."
)
FLATTEST = "You grew where the gradient is smallest. A new weight is worth most where the loss is steepest."
OF_ALL = "The fraction is one of the weights that are *there*: int(fraction * mask.sum()), not of mask.size."
ROUNDED = "You rounded up. int(...) rounds down, as RigL's authors do: when in doubt, one weight less moves."
NOTHING_MOVED = (
    "Nothing has changed places. If you grow first and drop afterwards, the new weights, which are zero, are the "
    "first to go again; and a masked gradient knows nothing of the free places."
)
NOT_BACK = (
    "A weight that was just dropped has the largest gradient of all free places, and you grew another one. It may "
    "come straight back: candidates are all weights that are not kept *after* the drop."
)
BACK_AS_ZERO = (
    "A weight that was dropped and grown in the same exchange has lost its value. It never was away: it is not "
    "new and keeps its value. Only weights that were not there before start at zero."
)
NOT_ZERO = "A new weight does not start at zero. It has to: only then does growing change nothing that the network says."
STILL_THERE = "A dropped weight still has its value. What is not in the mask is zero."
ONLY_DROPPED = (
    "Fewer weights than before: as many have to grow as were dropped. The count is what a sparse budget buys."
)
ONLY_GROWN = (
    "More weights than before: as many have to go as are grown. The count is what a sparse budget buys."
)


def _lowest(values, among, n):
    """The n lowest of the values at the places ``among``, as a flat mask."""
    chosen = np.zeros(values.size, bool)
    chosen[np.argsort(np.where(among, values, np.inf).ravel(), kind="stable")[:n]] = True
    return chosen.reshape(values.shape)


def _rigl(size=np.abs, steep=lambda g: -np.abs(g), count=lambda fraction, mask: int(fraction * mask.sum()),
          free=lambda stays, mask: ~stays, value=lambda w, g, new, mask, stays: np.where(new & mask, w, 0.0),
          drop=True, grow=True):  # fmt: skip
    """An exchange like the reference's with one of its parts exchanged: the raw material of the wrong answers."""

    def step(weight, gradient, mask, fraction):
        moving = count(fraction, mask)
        stays = mask & ~_lowest(size(weight), mask, moving) if drop else mask
        new = stays | _lowest(steep(gradient), free(stays, mask), moving) if grow else stays
        return value(weight, gradient, new, mask, stays), new

    return step


def _grown_first(weight, gradient, mask, fraction):
    moving = int(fraction * mask.sum())
    larger = mask | _lowest(-np.abs(gradient), ~mask, moving)
    new = larger & ~_lowest(np.abs(weight), larger, moving)
    return np.where(new, weight, 0.0), new


@exercise(
    reference=rigl_step,
    wrong={
        _rigl(size=lambda w: w): SIGNED,
        _rigl(size=lambda w: -np.abs(w)): LARGEST,
        _rigl(steep=lambda g: -g): SIGNED_GRADIENT,
        _rigl(steep=np.abs): FLATTEST,
        _rigl(count=lambda fraction, mask: int(fraction * mask.size)): OF_ALL,
        _rigl(count=lambda fraction, mask: math.ceil(fraction * mask.sum())): ROUNDED,
        _grown_first: NOTHING_MOVED,
        _rigl(free=lambda stays, mask: ~mask): NOT_BACK,
        _rigl(value=lambda w, g, new, mask, stays: np.where(stays, w, 0.0)): BACK_AS_ZERO,
        _rigl(value=lambda w, g, new, mask, stays: np.where(new & ~mask, -0.01 * g, w * new)): NOT_ZERO,
        _rigl(value=lambda w, g, new, mask, stays: w.copy()): STILL_THERE,
        _rigl(grow=False): ONLY_DROPPED,
        _rigl(drop=False): ONLY_GROWN,
    },
    idea="Two questions, one after the other. Which of the weights that are there would be missed least? And which of "
    "those that are not there, if they were, would be moved most by the next step?",
    steps="Work on .ravel()ed copies and reshape at the end. (1) moving = int(fraction * mask.sum()). (2) Drop: rank np.abs(weight) where mask is true (np.inf elsewhere), "
    "take the `moving` smallest out of a copy of the mask. (3) Grow: rank np.abs(gradient) among all that are not kept "
    "now, take the `moving` largest in. (4) Values: where a weight is kept now and was there before, its own; else 0.",
)
def check_rigl_step(answer):
    def tried(weight, gradient, mask, fraction):
        given = answer(weight.copy(), gradient.copy(), mask.copy(), fraction)
        expect(isinstance(given, tuple) and len(given) == 2, "Return two arrays: weight, mask.")
        values, new = np.asarray(given[0]), np.asarray(given[1])
        expect(values.shape == new.shape == mask.shape, f"Both arrays keep the shape {mask.shape}.")
        return values, new != 0

    def case(weight, gradient, mask, fraction):
        values, new = tried(weight, gradient, mask, fraction)
        right = rigl_step(weight, gradient, mask, fraction)[1]
        if np.array_equal(new, right):
            note(not values[~new].any(), STILL_THERE)
            note(not values[new & ~mask].any(), NOT_ZERO)
        elif np.array_equal(new, mask):
            note(False, NOTHING_MOVED)
            return
        compare(answer, weight, gradient, mask, fraction)

    weight = np.array([0.9, -0.1, 0.3, -0.7, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0])
    gradient = np.array([0.1, 0.2, 0.1, -0.3, 0.1, 0.5, -0.9, 0.1, 0.4, -0.2])
    mask = weight != 0
    yield "five of ten weights, two of them move"
    case(weight, gradient, mask, 0.4)
    yield "half a weight is none: fraction 0.3 of five"
    case(weight, gradient, mask, 0.3)
    yield "a dropped weight with the largest gradient of all"
    gradient = np.array([0.1, 1.2, 0.1, -0.3, 0.1, 0.5, -0.9, 0.1, 0.4, -0.2])
    case(weight, gradient, mask, 0.4)
    yield "nothing moves: fraction 0"
    case(weight, gradient, mask, 0.0)
    rng = np.random.default_rng(0)
    mask = rng.random((7, 9)) < 0.4
    weight, gradient = rng.normal(size=mask.shape) * mask, rng.normal(size=mask.shape)
    for name, fraction in (("a layer of 7 by 9", 0.5), ("all of them move: fraction 1", 1.0)):
        yield name
        case(weight, gradient, mask, fraction)


# --- Where to start ---------------------------------------------------------------------------------------------------


def erk(shapes, density):
    """How dense each layer starts: Erdos-Renyi-Kernel.

    shapes : {name: shape of the layer's weights}
    density : kept / prunable of the whole network
    Returns {name: density}, proportional to sum(shape) / prod(shape) and never above 1.
    """
    size = {name: np.prod(shape) for name, shape in shapes.items()}
    dense = []
    while len(dense) < len(shapes):
        sparse = [name for name in shapes if name not in dense]
        left = density * sum(size.values()) - sum(size[name] for name in dense)
        scale = left / sum(sum(shapes[name]) for name in sparse)
        wanted = {name: scale * sum(shapes[name]) / size[name] for name in sparse}
        too_much = [name for name in sparse if wanted[name] > 1]
        if not too_much:
            return dict.fromkeys(dense, 1.0) | wanted
        dense += too_much
    return dict.fromkeys(shapes, 1.0)


def _plain(shapes, density, raw=lambda shape: sum(shape) / math.prod(shape), weigh=math.prod):
    scale = density * sum(map(weigh, shapes.values())) / sum(raw(s) * weigh(s) for s in shapes.values())
    return {name: scale * raw(shape) for name, shape in shapes.items()}


def _unweighted(shapes, density):
    return _plain(shapes, density, weigh=lambda shape: 1)


def _inverted(shapes, density):
    return _plain(shapes, density, raw=lambda shape: math.prod(shape) / sum(shape))


def _without_kernel(shapes, density):
    return _plain(shapes, density, raw=lambda shape: sum(shape[:2]) / math.prod(shape[:2]))


def _clipped(shapes, density):
    return {name: min(1.0, value) for name, value in _plain(shapes, density).items()}


def _once(shapes, density):
    dense = [name for name, value in _plain(shapes, density).items() if value > 1]
    rest = {name: shape for name, shape in shapes.items() if name not in dense}
    whole = sum(map(math.prod, shapes.values()))
    left = density * whole - sum(math.prod(shapes[name]) for name in dense)
    return dict.fromkeys(dense, 1.0) | _plain(rest, left / sum(map(math.prod, rest.values())))


@exercise(
    reference=erk,
    wrong={
        _plain: "A layer has a density above 1: it cannot keep more weights than it has. Make it dense, and share what "
        "is left among the others.",
        _clipped: "You cut the densities off at 1, and what was cut off is lost: the network keeps fewer weights than it "
        "should. Share it among the other layers.",
        _once: "After the layers above 1 were made dense, the others share more, and now one of *them* is above 1. "
        "Repeat until none is.",
        _inverted: "The ratio is upside down: a layer's density is proportional to sum(shape) / prod(shape), so that "
        "small layers stay denser.",
        _unweighted: "You made the mean of the layers' densities equal to the density asked for. But a large layer counts "
        "for more: sum(density * size) over the layers is density * all weights.",
        _without_kernel: "You left out the kernel. For a convolution of shape (out, in, height, width) sum and product go "
        "over all four: that is the K in ERK.",
        lambda shapes, density: dict.fromkeys(
            shapes, density
        ): "That is the uniform distribution: every layer as dense as the network.",
    },
    idea="Give every layer as many weights as it has inputs and outputs together, times one number for all: then a layer "
    "of n by n keeps a share like 1 / n. That number follows from the total. Whoever would get more than there is "
    "becomes dense and leaves the sharing.",
    steps="A sparse layer keeps scale * sum(shape) weights. What they share is density * (all weights) - (weights of the "
    "dense layers); scale = that / sum of sum(shape) over the sparse layers. A layer's density is "
    "scale * sum(shape) / prod(shape). Is one above 1? Then it is dense, and you begin again without it.",
)
def check_erk(answer):
    yield "two layers, plenty of room"
    compare(answer, {"fc1": (100, 200), "fc2": (50, 100)}, 0.1)
    yield "a convolution"
    compare(answer, {"conv": (16, 8, 3, 3), "fc": (40, 60)}, 0.1)
    yield "the class-room network at 20 %: one layer is dense"
    compare(answer, {"fc1": (100, 196), "fc2": (50, 100), "fc3": (10, 50)}, 0.2)
    yield "a second layer becomes dense by the first"
    compare(answer, {"fc1": (30, 30), "fc2": (12, 12), "fc3": (2, 12)}, 0.52)
    yield "all of them: density 1"
    compare(answer, {"fc1": (30, 30), "fc2": (12, 12), "fc3": (2, 12)}, 1.0)


# --- What has been tried ----------------------------------------------------------------------------------------------


def coverage(masks):
    """The share of a layer's weights that were there at some time.

    masks : boolean array (exchanges + 1, *shape), the first mask and that after each exchange
    Returns (exchanges + 1,): the share so far, from the density of the first mask on.
    """
    return np.logical_or.accumulate(masks).reshape(len(masks), -1).mean(1)


def _flat(masks):
    return np.asarray(masks).reshape(len(masks), -1)


@exercise(
    reference=coverage,
    wrong={
        lambda masks: _flat(masks).mean(
            1
        ): "That is the density at each moment. Asked is what was there up to then, *at some time*.",
        lambda masks: np.logical_and.accumulate(_flat(masks)).mean(
            1
        ): "That is the share of weights that were there *always*. Asked is: at least once.",
        lambda masks: np.cumsum(
            _flat(masks).mean(1)
        ): "You added up the densities: a weight that stays is counted again "
        "and again. Each weight counts once.",
        lambda masks: np.logical_or.accumulate(_flat(masks)).sum(
            1
        ): "That is the number of weights. Asked is the share of all that the layer has.",
        lambda masks: np.logical_or.reduce(
            _flat(masks)
        ).mean(): "That is the share at the end. Asked is the share after each exchange, one number each.",
        lambda masks: (
            np.logical_or.accumulate(_flat(masks)).sum(1) / _flat(masks)[0].sum()
        ): "You divided by the weights that are kept. Asked is the share of all that the layer has.",
        lambda masks: (
            np.cumsum(
                (_flat(masks) & ~np.roll(_flat(masks), 1, axis=0)).mean(1) * (np.arange(len(masks)) > 0)
            )
            + _flat(masks)[0].mean()
        ): "You counted every weight that came. One that leaves and comes back is counted twice; each "
        "weight counts once.",
    },
    idea="Keep a list of all weights that were ever there. After each exchange some may be added; none is ever taken off.",
    steps="np.logical_or.accumulate(masks) has the shape of masks: entry t is true where any mask up to t was. "
    "Reshape to (exchanges + 1, weights) and take the mean over axis 1.",
)
def check_coverage(answer):
    yield "four weights, two exchanges: one of them comes back"
    compare(answer, np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0]], bool))
    yield "no exchange at all"
    compare(answer, np.array([[1, 0, 0, 0]], bool))
    yield "a layer of 6 by 5, eight exchanges"
    compare(answer, np.random.default_rng(0).random((9, 6, 5)) < 0.3)


EXERCISES = (check_rigl_step, check_erk, check_coverage)
hint = ladder(*EXERCISES)
