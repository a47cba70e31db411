"""The exercises of lesson 05: signs without magnitudes, a network that nobody trained, and masks that are local."""

from functools import partial

import numpy as np

from ..masks import Mask
from .check import Wrong, compare, equal, exercise, expect, ladder
from .reinit import (
    CHANGED,
    GLOBAL_RANDOMNESS,
    HE_STD,
    IGNORES_RNG,
    NO_MASK,
    UNIT_STD,
    _glorot,
    _sparse,
    fresh_weights,
)

_SHAPES = {"fc1.weight": (100, 196), "fc2.weight": (50, 100), "fc3.weight": (10, 50)}

# --- Signs without magnitudes -----------------------------------------------------------------------------------------


def signed_reinit(theta_0, mask, rng):
    """Fresh magnitudes with the signs of theta_0, under the ticket's mask.

    theta_0 : {name: array (fan_out, fan_in)}, drawn from a normal distribution with mean 0 and
        standard deviation sqrt(2 / (fan_in + fan_out)); must stay as it is
    mask : {name: boolean array}
    rng : the numpy Generator to draw from
    Returns {name: array}: zero where the mask is.
    """
    fresh = {}
    for name, old in theta_0.items():
        fan_out, fan_in = old.shape
        draw = rng.normal(0, np.sqrt(2 / (fan_in + fan_out)), old.shape)
        fresh[name] = np.abs(draw) * np.sign(old) * mask[name]
    return fresh


SIGNS_LOST = (
    "About half of the kept weights have another sign than in theta_0. A fresh draw brings its own signs: take its "
    "absolute value, and give that the old sign."
)
NEGATED = "Every kept weight has the opposite of its sign in theta_0. Multiply the magnitudes by np.sign(theta_0), nothing else."
ALL_POSITIVE = "All your weights are positive. The magnitudes are right; multiply them by np.sign(theta_0)."
REWOUND = (
    "That is theta_0 again, magnitudes and all: a rewind. Keep its signs only; the magnitudes are drawn anew."
)
SIGNS_DRAWN = (
    "You kept the magnitudes and drew the signs: that is the other half of the experiment. Here the signs stay, and the "
    "magnitudes are new."
)
PERMUTED = (
    "These are theta_0's own magnitudes in another order. Draw new numbers: whoever permutes the old ones still hands on "
    "which values there are."
)
CONSTANT = (
    "All weights of a layer have the same magnitude: that is the *signed constant*, a switch of its own. Here "
    "the magnitudes are drawn from the distribution that theta_0 came from."
)
VARIANCE = "Your magnitudes have a standard deviation of 2 / (fan_in + fan_out). That is the variance; rng.normal wants its root."
KEPT_STD = (
    "Your magnitudes are as large as the *kept* weights of theta_0, and a ticket keeps large ones. Draw them as the whole "
    "layer was drawn: sqrt(2 / (fan_in + fan_out))."
)
NOT_HALF_NORMAL = (
    "Mean and spread of the magnitudes are not those of |normal| numbers: draw from the normal distribution, then "
    "take np.abs."
)


def _signed(draw=lambda rng, std, old: np.abs(rng.normal(0, std, old.shape)), sign=lambda rng, old: np.sign(old),
            std=lambda fan_out, fan_in: np.sqrt(2 / (fan_in + fan_out)), masked=True, source=lambda rng: rng):  # fmt: skip
    """A signed re-init like the reference's with one of its parts exchanged: the raw material of the wrong answers."""

    def wrong(theta_0, mask, rng):
        own, fresh = source(rng), {}
        for name, old in theta_0.items():
            values = draw(own, std(*old.shape), old) * sign(own, old)
            fresh[name] = values * mask[name] if masked else values
        return fresh

    return wrong


def _overwrite(theta_0, mask, rng):
    for name, old in theta_0.items():
        old[...] = signed_reinit({name: old}, mask, rng)[name]
    return theta_0


def _as_large_as_the_kept(theta_0, mask, rng):
    stds = {name: old[mask[name]].std() for name, old in theta_0.items()}
    return {
        name: np.abs(rng.normal(0, stds[name], old.shape)) * np.sign(old) * mask[name]
        for name, old in theta_0.items()
    }


def _random_signs(rng, old):
    return rng.choice([-1, 1], old.shape)


@exercise(
    reference=signed_reinit,
    wrong={
        _signed(draw=lambda rng, std, old: rng.normal(0, std, old.shape)): SIGNS_LOST,
        _signed(sign=lambda rng, old: -np.sign(old)): NEGATED,
        _signed(sign=lambda rng, old: 1): ALL_POSITIVE,
        _signed(draw=lambda rng, std, old: np.abs(old)): REWOUND,
        _signed(draw=lambda rng, std, old: np.abs(old), sign=_random_signs): SIGNS_DRAWN,
        _signed(draw=lambda rng, std, old: np.abs(rng.permutation(old.ravel()).reshape(old.shape))): PERMUTED,
        _signed(draw=lambda rng, std, old: std): CONSTANT,
        _signed(draw=lambda rng, std, old: rng.uniform(0, std, old.shape)): NOT_HALF_NORMAL,
        _signed(masked=False): NO_MASK,
        _signed(std=lambda fan_out, fan_in: 1.0): UNIT_STD,
        _signed(std=lambda fan_out, fan_in: np.sqrt(2 / fan_in)): HE_STD,
        _signed(std=lambda fan_out, fan_in: 2 / (fan_in + fan_out)): VARIANCE,
        _as_large_as_the_kept: KEPT_STD,
        _signed(source=lambda rng: np.random.default_rng(1)): IGNORES_RNG,
        _signed(source=lambda rng: np.random.default_rng()): GLOBAL_RANDOMNESS,
        _overwrite: CHANGED.format("theta_0"),
    },
    idea="A weight is a sign times a magnitude. This control keeps the first and draws the second anew, from the same "
    "distribution. If the ticket's magnitudes are worth something, it does worse than rewind.",
    steps="For each array: draw rng.normal(0, std, shape) with std = sqrt(2 / (fan_in + fan_out)), take np.abs, multiply "
    "by np.sign(theta_0[name]) and by mask[name], put it into a new dictionary.",
)
def check_signed_reinit(answer):
    theta_0 = _glorot(_SHAPES, np.random.default_rng(0))
    chance = np.random.default_rng(5)  # a mask that prefers large weights, as a ticket's does
    score = {name: np.abs(old) * chance.random(old.shape) for name, old in theta_0.items()}
    mask = Mask({name: values >= np.quantile(values, 0.7) for name, values in score.items()})

    draw = partial(fresh_weights, answer, theta_0, mask)

    first = "fc1.weight"
    there, old = mask[first], theta_0[first][mask[first]]
    yield "shapes as theta_0's, arguments unchanged"
    fresh = draw(11)
    yield "zero wherever the mask is"
    for name in theta_0:
        expect(not fresh[name][~mask[name]].any(), NO_MASK)
    yield "the signs of theta_0"
    new = fresh[first][there]
    same_size = np.allclose(np.abs(new), np.abs(old))
    other = (np.sign(new) != np.sign(old)).mean()
    if other > 0.01:
        expect(other < 0.99, NEGATED)
        raise Wrong(SIGNS_DRAWN if same_size else ALL_POSITIVE if (new >= 0).all() else SIGNS_LOST)
    yield "new magnitudes: neither theta_0's, nor a permutation of them, nor all the same"
    expect(not same_size, REWOUND)
    expect(not np.isin(np.abs(new), np.abs(theta_0[first])).all(), PERMUTED)
    expect(np.abs(new).std() > 1e-6, CONSTANT)
    yield "the same generator, the same weights; another, others"
    expect(equal(draw(11), fresh), GLOBAL_RANDOMNESS)
    expect(not equal(draw(12), fresh), IGNORES_RNG)
    yield "the distribution that theta_0 came from"
    for name in (first, "fc2.weight"):
        values, (fan_out, fan_in) = fresh[name][mask[name]], _SHAPES[name]
        right, size = np.sqrt(2 / (fan_in + fan_out)), np.sqrt((values**2).mean())
        kept = theta_0[name][mask[name]].std()
        scales = (1.0, UNIT_STD), (np.sqrt(2 / fan_in), HE_STD), (right**2, VARIANCE), (kept, KEPT_STD)
        for std, message in scales:
            expect(not abs(size / std - 1) < 0.08, message)
        expect(
            abs(size / right - 1) < 0.08 and abs(np.abs(values).mean() / size - 0.798) < 0.03, NOT_HALF_NORMAL
        )


# --- A network that nobody trained ------------------------------------------------------------------------------------


def supermask_accuracy(theta_0, mask, x, y):
    """How much an untrained network reads under a mask.

    theta_0 : {name: array (fan_out, fan_in)}, first layer first; there are no biases yet
    mask : {name: boolean array}
    x : (examples, fan_in of the first layer)
    y : (examples,), the classes
    Between the layers there is a ReLU, behind the last one there is none.
    Returns the share of the examples whose largest output is that of their class.
    """
    last = list(theta_0)[-1]
    for name, weight in theta_0.items():
        x = x @ (weight * mask[name]).T
        if name != last:
            x = np.maximum(x, 0)
    return (x.argmax(axis=1) == y).mean()


def _forward(masked=lambda weight, mask, i: weight * mask, bend=lambda x, last: x if last else np.maximum(x, 0),
             score=lambda outputs, y: (outputs.argmax(1) == y).mean()):  # fmt: skip
    """A forward pass like the reference's with one of its parts exchanged: the raw material of the wrong answers."""

    def wrong(theta_0, mask, x, y):
        for i, name in enumerate(theta_0):
            x = bend(x @ masked(theta_0[name], mask[name], i).T, i == len(theta_0) - 1)
        return score(x, y)

    return wrong


@exercise(
    reference=supermask_accuracy,
    wrong={
        _forward(
            masked=lambda weight, mask, i: weight
        ): "That is the dense untrained network. Multiply every weight by its mask.",
        _forward(
            masked=lambda weight, mask, i: weight * ~np.asarray(mask, bool)
        ): "You kept the weights that are pruned, and pruned those that are kept.",
        _forward(
            masked=lambda weight, mask, i: weight * mask if i == 0 else weight
        ): "Only the first layer is masked. A supermask covers all the layers.",
        _forward(
            masked=lambda weight, mask, i: mask.astype(float)
        ): "You used the mask as weights. The values are those of theta_0, where the mask keeps them.",
        _forward(bend=lambda x, last: x): "The ReLU between the layers is missing.",
        _forward(
            bend=lambda x, last: np.maximum(x, 0)
        ): "There is a ReLU behind the last layer too. Where all outputs are negative, all become zero, and argmax "
        "answers with the first class.",
        _forward(score=lambda outputs, y: (outputs.argmin(1) == y).mean()): "You took the smallest output.",
        _forward(
            score=lambda outputs, y: (outputs.argmax(1) != y).mean()
        ): "That is the share of the errors.",
        _forward(
            score=lambda outputs, y: (outputs.argmax(1) == y).sum()
        ): "That is how many are right. Asked is their share.",
        _forward(
            score=lambda outputs, y: 100 * (outputs.argmax(1) == y).mean()
        ): "That is per cent. Give a number between 0 and 1.",
    },
    idea="Nothing is trained here: one forward pass with the initial weights, those that the mask removes being zero. "
    "Then count how often the largest output is the right one.",
    steps="x has shape (examples, fan_in), a weight (fan_out, fan_in): x @ (weight * mask).T has shape (examples, fan_out). "
    "np.maximum(x, 0) after every layer but the last; then (x.argmax(axis=1) == y).mean().",
)
def check_supermask_accuracy(answer):
    shapes = {"fc1.weight": (16, 20), "fc2.weight": (12, 16), "fc3.weight": (5, 12)}
    rng = np.random.default_rng(3)
    theta_0, mask = _glorot(shapes, rng), dict(_sparse(shapes, rng, 0.5))
    x = rng.random((5000, 20))
    yield "three layers, half of the weights kept"
    compare(answer, theta_0, mask, x, rng.integers(0, 5, 5000))
    yield "one layer, three examples, by hand"
    one = {"fc1.weight": np.array([[1.0, -1.0], [0.5, 2.0]])}
    compare(answer, one, {"fc1.weight": np.array([[True, True], [True, False]])},
            np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([0, 1, 0]))  # fmt: skip
    yield "every weight is kept"
    full = {name: np.ones(shape, bool) for name, shape in shapes.items()}
    compare(answer, theta_0, full, x, rng.integers(0, 5, 5000))
    yield "every weight is gone: all outputs are equal"
    compare(answer, theta_0, {name: ~kept for name, kept in full.items()}, x, rng.integers(0, 5, 5000))


# --- Neighbours -------------------------------------------------------------------------------------------------------


def adjacent_pairs(mask, shape):
    """How many pairs of neighbouring pixels are both kept by the same unit, over all units.

    mask : boolean array (units, height * width)
    shape : (height, width)
    Neighbours lie side by side or one above the other; a picture ends at its edges.
    Returns one whole number.
    """
    picture = mask.reshape(-1, *shape)
    beside = picture[:, :, :-1] & picture[:, :, 1:]
    above = picture[:, :-1] & picture[:, 1:]
    return int(beside.sum() + above.sum())


def _pictures(mask, shape):
    return np.asarray(mask, bool).reshape(-1, *shape)


def _wrapped(mask, shape):
    p = _pictures(mask, shape)
    return int(sum((p & np.roll(p, 1, axis)).sum() for axis in (1, 2)))


def _along_rows_only(mask, shape):
    p = _pictures(mask, shape)
    return int((p[:, :, :-1] & p[:, :, 1:]).sum())


def _along_columns_only(mask, shape):
    p = _pictures(mask, shape)
    return int((p[:, :-1] & p[:, 1:]).sum())


def _across_row_ends(mask, shape):
    p = np.asarray(mask, bool)
    return int((p[:, :-1] & p[:, 1:]).sum() + (p[:, : -shape[1]] & p[:, shape[1] :]).sum())


def _with_diagonals(mask, shape):
    p = _pictures(mask, shape)
    return (
        adjacent_pairs(mask, shape)
        + int((p[:, :-1, :-1] & p[:, 1:, 1:]).sum())
        + int((p[:, :-1, 1:] & p[:, 1:, :-1]).sum())
    )


def _of_any_unit(mask, shape):
    return adjacent_pairs(np.asarray(mask, bool).any(0, keepdims=True), shape)


def _swapped(mask, shape):
    return adjacent_pairs(mask, shape[::-1])


@exercise(
    reference=adjacent_pairs,
    wrong={
        _wrapped: "Your pictures have no edges: np.roll makes the last column a neighbour of the first.",
        _along_rows_only: "Pairs one above the other are missing.",
        _along_columns_only: "Pairs side by side are missing.",
        _across_row_ends: "You counted on the flat array, where the last pixel of a row is followed by the first of the "
        "next. Those two are no neighbours: reshape to (units, height, width) first.",
        _with_diagonals: "You counted diagonal pairs too. Here neighbours share an edge.",
        lambda mask, shape: 2 * adjacent_pairs(mask, shape): "Every pair is counted from both of its ends.",
        _of_any_unit: "You put the units together first. A pair counts for a unit if *that unit* keeps both.",
        lambda mask, shape: (
            adjacent_pairs(mask, shape) / len(mask)
        ): "That is the mean over the units. Asked is the number over all of them.",
        _swapped: "Height and width are exchanged: shape is (height, width), rows first.",
    },
    idea="Lay the picture over itself, moved by one pixel: where both copies have a weight there is a pair. Once to the "
    "side, once downwards.",
    steps="mask.reshape(-1, *shape) has shape (units, height, width). Pairs side by side: picture[:, :, :-1] & picture[:, :, 1:]. "
    "Pairs one above the other: the same along axis 1. Add up both.",
)
def check_adjacent_pairs(answer):
    yield "twelve units, pictures of 5 by 7"
    compare(answer, np.random.default_rng(0).random((12, 35)) < 0.4, (5, 7))
    yield "one unit, a picture of 3 by 4"
    compare(answer, np.array([[0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1]], bool), (3, 4))
    yield "the end of a row and the start of the next"
    compare(answer, np.array([[0, 0, 1, 1, 0, 0]], bool), (2, 3))
    yield "left and right edge, top and bottom edge"
    compare(answer, np.array([[1, 0, 1, 0, 0, 0, 1, 0, 1]], bool), (3, 3))
    yield "two units that keep one pixel each"
    compare(answer, np.array([[1, 0, 0, 0], [0, 1, 0, 0]], bool), (2, 2))
    yield "all of three pictures of 2 by 4"
    compare(answer, np.ones((3, 8), bool), (2, 4))


# --- Local, or by chance? ---------------------------------------------------------------------------------------------


def locality_p(mask, shape, rng, draws):
    """The p-value of a permutation test: do units keep more neighbouring pixels than by chance?

    mask : boolean array (units, height * width)
    shape : (height, width)
    rng : the numpy Generator to draw from
    draws : how many times chance is asked
    Chance deals the weights of each pixel out to the units anew: each pixel keeps as many.
    Returns the share of the draws + 1 masks, this one among them, with at least as many pairs.
    """
    seen = adjacent_pairs(mask, shape)
    chance = [adjacent_pairs(rng.permuted(mask, axis=0), shape) for _ in range(draws)]
    return (1 + np.sum(np.array(chance) >= seen)) / (1 + draws)


NO_PLUS_ONE = (
    "p = 0 says that chance can never do this, after so few draws. The given mask is one of the arrangements that chance "
    "could have dealt: count it, too, (1 + n) / (1 + draws)."
)
HALF_PLUS_ONE = "You counted the given mask above, but not below: (1 + n) / (1 + draws)."
OTHER_MASK = (
    "What you compare with is not the number of the mask that was given. Observed and permuted numbers must come from "
    "the same statistic, and the observed one from the mask itself."
)
LOWER_TAIL = "You counted the draws with *at most* as many pairs. Local masks have many pairs: count those with at least as many."
WHOLE_UNITS = (
    "Your chance only exchanges whole units: rng.permutation(mask) leaves each row as it is, and with it the number of "
    "pairs. Deal out each column by itself: rng.permuted(mask, axis=0)."
)
OTHER_COUNTS = (
    "Your null model draws a new mask of about that density: then the number of weights changes from draw to draw, and "
    "the number of pairs with it. Permute the weights that are there."
)
WHOLE_LAYER = (
    "You permuted the whole layer. Then every pixel of the picture is as good as any other, and a mask that merely leaves "
    "blank pixels alone passes for local. Keep the number of weights at each pixel: rng.permuted(mask, axis=0)."
)
WITHIN_UNITS = (
    "You permuted within each unit. That keeps how many weights a unit has, but not how many a pixel has, so blank pixels "
    "get weights. Permute along the other axis: rng.permuted(mask, axis=0)."
)
NOT_REPEATED = (
    "The same generator gave two different p: part of your draw comes from elsewhere. Draw from `rng`, so that the test "
    "can be repeated."
)
SEEDED = "Whatever the generator, p is the same: yours draws from elsewhere, perhaps seeded inside the function. Use `rng`."
STRICT = "You counted only draws with *more* pairs. As many is as good: where every draw gives the same number, p is 1."


def _test(permute=lambda mask, rng: rng.permuted(mask, axis=0), count=lambda chance, seen: (chance >= seen).sum(),
          p=lambda n, draws: (1 + n) / (1 + draws), observed=lambda mask, rng: mask, source=lambda rng: rng):  # fmt: skip
    """A permutation test like the reference's with one of its parts exchanged: the raw material of the wrong answers."""

    def wrong(mask, shape, rng, draws):
        rng = source(rng)
        seen = adjacent_pairs(observed(mask, rng), shape)
        chance = np.array([adjacent_pairs(permute(mask, rng), shape) for _ in range(draws)])
        return p(count(chance, seen), draws)

    return wrong


@exercise(
    reference=locality_p,
    wrong={
        _test(p=lambda n, draws: n / draws): NO_PLUS_ONE,
        _test(p=lambda n, draws: (1 + n) / draws): HALF_PLUS_ONE,
        _test(observed=lambda mask, rng: rng.permuted(mask, axis=0)): OTHER_MASK,
        _test(count=lambda chance, seen: (chance <= seen).sum()): LOWER_TAIL,
        _test(permute=lambda mask, rng: rng.permutation(mask)): WHOLE_UNITS,
        _test(permute=lambda mask, rng: rng.random(mask.shape) < mask.mean()): OTHER_COUNTS,
        _test(permute=lambda mask, rng: rng.permutation(mask.ravel()).reshape(mask.shape)): WHOLE_LAYER,
        _test(permute=lambda mask, rng: rng.permuted(mask, axis=1)): WITHIN_UNITS,
        _test(count=lambda chance, seen: (chance > seen).sum()): STRICT,
        _test(source=lambda rng: np.random.default_rng()): NOT_REPEATED,
        _test(source=lambda rng: np.random.default_rng(0)): SEEDED,
    },
    idea="If it did not matter which unit has which weight, any unit could have the ones of any other at the same pixel. So "
    "deal each pixel's weights out to the units anew, many times, and look how often that gives as many pairs.",
    steps="seen = adjacent_pairs(mask, shape). For each draw: rng.permuted(mask, axis=0) permutes every column by itself "
    "and returns a new array; count its pairs. n is how many draws have at least `seen`; return (1 + n) / (1 + draws).",
)
def check_locality_p(answer):
    rng = np.random.default_rng(1)
    local = np.zeros((16, 6, 6), bool)
    for unit, picture in enumerate(local):
        row, column = divmod(unit % 16, 4)
        picture[row : row + 3, column : column + 3] = True
    local = local.reshape(16, 36)
    favour = np.outer(*2 * [[0.05, 0.4, 0.9, 0.9, 0.4, 0.05]]).ravel()
    alike = rng.random((30, 36)) < favour  # what a unit keeps at one pixel says nothing about the next
    uneven = rng.random((30, 36)) < np.linspace(0, 0.8, 30)[:, None]

    def tried(mask, shape, draws, seed=7):
        own = mask.copy()
        p = answer(own, shape, np.random.default_rng(seed), draws)
        expect(p is not None, "Your function returned None. Does it end with `return`?")
        number = not isinstance(p, str) and np.ndim(p) == 0
        expect(number and 0 <= float(p) <= 1, f"A p-value is one number from 0 to 1, not {p!r}.")
        expect(equal(own, mask), CHANGED.format("mask"))
        return float(p)

    yield "sixteen units, each with a patch of its own"
    p, right = tried(local, (6, 6), 199), 1 / 200
    expect(p > 0, NO_PLUS_ONE)
    expect(abs(p - 1 / 199) > 1e-9, HALF_PLUS_ONE)
    if p == 1:
        raise Wrong(WHOLE_UNITS if tried(alike, (6, 6), 199) == 1 else LOWER_TAIL)
    if abs(p - right) > 1e-9:
        expect(p == tried(local, (6, 6), 199, 8), OTHER_MASK)
        raise Wrong(f"Chance never gives as many pairs here, so p is 1 / 200 = 0.005; yours is {p:g}.")
    yield "thirty units that all favour the middle, and nothing more"
    p, right = tried(alike, (6, 6), 199), locality_p(alike, (6, 6), np.random.default_rng(8), 999)
    if p < 0.02:
        alone = tried(np.array([[True, True, False]]), (1, 3), 3000)
        if abs(alone - 16 / 27) < 0.03:
            raise Wrong(OTHER_COUNTS)
        raise Wrong(WITHIN_UNITS if tried(uneven, (6, 6), 199) > 0.02 else WHOLE_LAYER)
    expect(abs(p - right) < 0.15, f"p should be about {right:.2f} here; yours is {p:.2f}.")
    yield "a single unit: nobody to exchange with"
    p = tried(np.array([[True, True, False]]), (1, 3), 50)
    expect(abs(p - 1 / 51) > 1e-9, STRICT)
    expect(p == 1, f"Every draw gives the same mask, so p is 1; yours is {p:.3f}.")
    yield "the same generator, the same p; another, another"
    # six times, since one draw in ten or so agrees with another by chance
    again = {tried(alike, (6, 6), 99, 7) for _ in range(6)}
    expect(len(again) == 1, NOT_REPEATED)
    expect(len(again | {tried(alike, (6, 6), 99, seed) for seed in (8, 9, 10, 11)}) > 1, SEEDED)


EXERCISES = (check_signed_reinit, check_supermask_accuracy, check_adjacent_pairs, check_locality_p)
hint = ladder(*EXERCISES)
