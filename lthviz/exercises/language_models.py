"""Exercises of lesson 10: the error of a layer, Wanda, the update of Optimal Brain Surgery, 2:4."""

import numpy as np

from .check import compare, exercise, expect, ladder, note


def layer_error(weights, pruned, inputs):
    """How much of a layer's output pruning changes: |X (W - P)ᵀ|² / |X Wᵀ|², summed over units and tokens.

    weights, pruned : arrays (out, in), before and after
    inputs : array (tokens, in), one row for each token that enters the layer
    Returns one number: 0 when nothing changes, 1 when the pruned layer says nothing at all.
    """
    before, after = inputs @ weights.T, inputs @ pruned.T
    return ((before - after) ** 2).sum() / (before**2).sum()


def wanda_mask(weights, inputs, sparsity):
    """Which weights stay: in every row those with the largest |weight| times norm of their input.

    weights : array (out, in)
    inputs : array (tokens, in)
    sparsity : the share of every row to remove, int(sparsity * in) weights
    Returns a boolean array (out, in): True stays.
    """
    scores = np.abs(weights) * np.linalg.norm(inputs, axis=0)
    lowest = np.argsort(scores, axis=1, kind="stable")[:, : int(sparsity * weights.shape[1])]
    mask = np.ones(weights.shape, bool)
    np.put_along_axis(mask, lowest, False, axis=1)
    return mask


def remove_weight(row, j, H):
    """Remove weight j of one row, and let all others make up for it as well as they can.

    row : array (in,), the weights of one unit
    j : which of them goes
    H : array (in, in), the second moments X^T X of the unit's inputs; it has an inverse
    Returns the new row, array (in,), with a zero at j.
    """
    inverse = np.linalg.inv(H)
    new = row - row[j] / inverse[j, j] * inverse[j]
    new[j] = 0.0  # it is already, up to rounding
    return new


def two_of_four(scores):
    """2:4: of every four consecutive inputs of a row the two with the highest scores stay.

    scores : array (out, in), in divisible by four
    Returns a boolean array (out, in): True stays.
    """
    groups = scores.reshape(len(scores), -1, 4)
    mask = np.zeros(groups.shape, bool)
    np.put_along_axis(mask, np.argsort(groups, axis=2, kind="stable")[:, :, 2:], True, axis=2)
    return mask.reshape(scores.shape)


# --- The error of a layer ---------------------------------------------------------------------------------------------

WITHOUT_INPUTS = (
    "You compared the weights. What counts is the output: a weight whose input is always near zero may change a lot "
    "without anybody noticing. Multiply by the inputs first."
)
NOT_RELATIVE = "That is the error itself. Divide by the size of the dense output, |X Wᵀ|², to compare layers."
NOT_SQUARED = "You have the root of it: sum the squares and leave them squares."
OVER_PRUNED = (
    "You divided by the output of the pruned layer. Measure against what should have come out: the dense one."
)
CANCELLING = (
    "You summed the differences before you squared them: positive and negative ones cancel. Square first."
)
ENERGY = (
    "You compared the sizes of both outputs. Two outputs of one size may still be far apart: subtract first."
)


def _of_weights(weights, pruned, inputs):
    return ((weights - pruned) ** 2).sum() / (weights**2).sum()


def _absolute(weights, pruned, inputs):
    return ((inputs @ (weights - pruned).T) ** 2).sum()


def _root(weights, pruned, inputs):
    return np.sqrt(layer_error(weights, pruned, inputs))


def _of_pruned(weights, pruned, inputs):
    return ((inputs @ (weights - pruned).T) ** 2).sum() / ((inputs @ pruned.T) ** 2).sum()


def _cancelling(weights, pruned, inputs):
    return (inputs @ (weights - pruned).T).sum() ** 2 / ((inputs @ weights.T) ** 2).sum()


def _energy(weights, pruned, inputs):
    return 1 - ((inputs @ pruned.T) ** 2).sum() / ((inputs @ weights.T) ** 2).sum()


@exercise(
    reference=layer_error,
    wrong={
        _of_weights: WITHOUT_INPUTS,
        _absolute: NOT_RELATIVE,
        _root: NOT_SQUARED,
        _of_pruned: OVER_PRUNED,
        _cancelling: CANCELLING,
        _energy: ENERGY,
    },
    idea="A layer is as good as what it tells the next one. Send the same tokens through the dense and the pruned layer "
    "and compare what comes out.",
    steps="inputs @ weights.T has shape (tokens, out). Subtract the two outputs, square, sum over everything; divide by "
    "the sum of the squares of the dense output.",
)
def check_layer_error(answer):
    rng = np.random.default_rng(0)
    inputs = rng.normal(0, [3, 1, 0.1, 1, 1], (40, 5))
    weights = rng.normal(size=(3, 5))
    yield "some weights removed"
    compare(answer, weights, weights * (rng.random((3, 5)) < 0.6), inputs)
    yield "only a weight with a tiny input removed"
    compare(answer, weights, weights * (np.arange(5) != 2), inputs)
    yield "nothing removed"
    compare(answer, weights, weights.copy(), inputs)
    yield "everything halved"
    compare(answer, weights, weights / 2, inputs)


# --- Wanda ------------------------------------------------------------------------------------------------------------

MAGNITUDE = (
    "That is magnitude, row by row: the inputs do not come in. Multiply |weight| by the norm of its input."
)
WHOLE_LAYER = "You ranked the whole layer at once. Wanda ranks within each row, so that every unit loses equally many weights."
BY_COLUMN = (
    "You ranked within each column. A row holds the weights of one unit: they compete with each other."
)
SIGNED = "You left out the absolute value: large negative weights look small."
SWAPPED = "Your mask is the other way round: True must mean that a weight stays."
WRONG_NORM = (
    "One norm for each *input*, over all tokens: axis 0 of the inputs. Yours runs over the inputs of a token, or over "
    "everything."
)
AVERAGED = "You took the mean of the input instead of its norm. An input that is as often +5 as -5 has mean zero and says a lot."
SHARE_KEPT = "You kept the share that should go: sparsity is what is removed."
SQUARED = "The inputs weigh too much: multiply by their norm, not by its square. (H[j, j] is the square: take its root.)"
NOT_BOOL = "Those are the scores of what stays. Give a mask: True where a weight stays, False where it goes."
ROUNDED = "int(sparsity * in) weights of a row go: round down, as Wanda's own code does."


def _wanda(scores, sparsity, axis=1, count=int):
    order = np.argsort(scores, axis=axis, kind="stable")
    mask = np.ones(scores.shape, bool)
    n = count(sparsity * scores.shape[axis])
    np.put_along_axis(mask, order[:, :n] if axis else order[:n], False, axis=axis)
    return mask


def _only_magnitude(weights, inputs, sparsity):
    return _wanda(np.abs(weights), sparsity)


def _whole_layer(weights, inputs, sparsity):
    scores = np.abs(weights) * np.linalg.norm(inputs, axis=0)
    return _wanda(scores.reshape(1, -1), sparsity).reshape(weights.shape)


def _by_column(weights, inputs, sparsity):
    return _wanda(np.abs(weights) * np.linalg.norm(inputs, axis=0), sparsity, axis=0)


def _signed(weights, inputs, sparsity):
    return _wanda(weights * np.linalg.norm(inputs, axis=0), sparsity)


def _swapped(weights, inputs, sparsity):
    return ~wanda_mask(weights, inputs, sparsity)


def _averaged(weights, inputs, sparsity):
    return _wanda(np.abs(weights * inputs.mean(axis=0)), sparsity)


def _squared(weights, inputs, sparsity):
    return _wanda(np.abs(weights) * np.square(inputs).sum(axis=0), sparsity)


def _scores(weights, inputs, sparsity):
    return wanda_mask(weights, inputs, sparsity) * np.abs(weights) * np.linalg.norm(inputs, axis=0)


def _share_kept(weights, inputs, sparsity):
    return _wanda(np.abs(weights) * np.linalg.norm(inputs, axis=0), 1 - sparsity)


def _rounded_up(weights, inputs, sparsity):
    return _wanda(np.abs(weights) * np.linalg.norm(inputs, axis=0), sparsity, count=lambda n: int(np.ceil(n)))


def _token_norm(weights, inputs, sparsity):
    return _wanda(np.abs(weights) * np.resize(np.linalg.norm(inputs, axis=1), weights.shape[1]), sparsity)


@exercise(
    reference=wanda_mask,
    wrong={
        _only_magnitude: MAGNITUDE,
        _whole_layer: WHOLE_LAYER,
        _by_column: BY_COLUMN,
        _signed: SIGNED,
        _swapped: SWAPPED,
        _averaged: AVERAGED,
        _squared: SQUARED,
        _scores: NOT_BOOL,
        _share_kept: SHARE_KEPT,
        _rounded_up: ROUNDED,
        _token_norm: WRONG_NORM,
    },
    idea="A weight matters as much as what it adds to the output: its own size times the size of what comes in. And "
    "every unit gets by with the same number of inputs.",
    steps="np.linalg.norm(inputs, axis=0) has shape (in,), one norm an input. Times np.abs(weights) gives the scores, "
    "(out, in). argsort along axis 1; the first int(sparsity * in) of each row become False.",
)
def check_wanda_mask(answer):
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(4, 10)) * np.linspace(0.5, 2, 4)[:, None]
    inputs = rng.normal(0, 3.0 ** rng.permutation(np.linspace(-0.6, 0.6, 10)), (60, 10))
    yield "inputs of very different size"
    compare(answer, weights, inputs, 0.3)
    yield "a sparsity that does not divide the row"
    compare(answer, weights, inputs, 0.57)
    yield "nothing removed"
    compare(answer, weights, inputs, 0.0)
    yield "everything removed"
    compare(answer, weights, inputs, 1.0)


# --- Optimal Brain Surgery --------------------------------------------------------------------------------------------

NO_UPDATE = "You only set the weight to zero. The others can take over part of its work: move them along a row of H⁻¹."
NOT_INVERTED = "You used H where its inverse belongs."
NOT_SCALED = "Divide by the diagonal entry of the inverse, H⁻¹[j, j]: only then the weight itself becomes exactly zero."
OTHER_SIGN = "The sign is the other way round: weight j has become twice as large instead of zero."
DIAGONAL = (
    "You divided by H[j, j] on the diagonal of H. The diagonal of the inverse is not the inverse of the diagonal when "
    "inputs are correlated."
)
SHARED_OUT = "You shared the removed weight out evenly. Which others can stand in for it depends on how their inputs correlate."


def _only_zero(row, j, H):
    new = row.copy()
    new[j] = 0
    return new


def _not_inverted(row, j, H):
    return row - row[j] / H[j, j] * H[j]


def _not_scaled(row, j, H):
    return row - row[j] * np.linalg.inv(H)[j]


def _other_sign(row, j, H):
    inverse = np.linalg.inv(H)
    return row + row[j] / inverse[j, j] * inverse[j]


def _diagonal(row, j, H):
    return row - row[j] * H[j, j] * np.linalg.inv(H)[j]


def _shared_out(row, j, H):
    new = row + row[j] / (len(row) - 1)
    new[j] = 0
    return new


@exercise(
    reference=remove_weight,
    wrong={
        _only_zero: NO_UPDATE,
        _not_inverted: NOT_INVERTED,
        _not_scaled: NOT_SCALED,
        _other_sign: OTHER_SIGN,
        _diagonal: DIAGONAL,
        _shared_out: SHARED_OUT,
    },
    idea="Minimise the change d^T H d of the output under one condition: d_j = -row_j. A Lagrange multiplier says that d "
    "is a multiple of row j of the inverse of H.",
    steps="d = c * inverse[j] with a number c. The condition fixes it: c * inverse[j, j] = -row[j]. Return row + d.",
)
def check_remove_weight(answer):
    rng = np.random.default_rng(2)
    inputs = rng.normal(size=(50, 5)) @ rng.normal(size=(5, 5))
    row = rng.normal(size=5)
    yield "correlated inputs"
    compare(answer, row, 1, inputs.T @ inputs)
    yield "as good as least squares"
    others = [0, 1, 3, 4]
    best = np.linalg.lstsq(inputs[:, others], inputs @ row, rcond=None)[0]
    given = np.asarray(answer(row.copy(), 2, inputs.T @ inputs), float)
    expect(
        given.shape == (5,), f"Return the whole row, an array of shape (5,); yours has shape {given.shape}."
    )
    note(
        np.allclose(given[others], best, atol=1e-8),
        "Least squares finds other weights for the remaining inputs, with a smaller error than yours.",
    )
    yield "uncorrelated inputs: the others stay"
    compare(answer, row, 3, np.diag([1.0, 2.0, 3.0, 4.0, 5.0]))


# --- 2:4 --------------------------------------------------------------------------------------------------------------

DOWN = (
    "Your groups run down the columns. A row holds the inputs of one unit, and its groups lie side by side."
)
STRIDED = "Your groups take every (in / 4)th input. Four *consecutive* inputs make a group: reshape to (out, in / 4, 4)."
HALF_ROW = "You kept the best half of every row. In some groups that leaves more than two, which the hardware cannot use."
WORST = "You kept the two lowest."
PAIRS = "That is 1:2: one of every two. Among four, the two best may sit side by side."


def _two(scores, groups):
    mask = np.zeros(groups(scores).shape, bool)
    np.put_along_axis(mask, np.argsort(groups(scores), axis=-1, kind="stable")[..., 2:], True, axis=-1)
    return mask


def _down(scores):
    if len(scores) % 4:
        return scores > np.median(scores, axis=0)
    return two_of_four(scores.T.copy()).T


def _strided(scores):
    mask = _two(scores, lambda s: s.reshape(len(s), 4, -1).swapaxes(1, 2))
    return mask.swapaxes(1, 2).reshape(scores.shape)


def _half_row(scores):
    order = np.argsort(scores, axis=1, kind="stable")
    mask = np.zeros(scores.shape, bool)
    np.put_along_axis(mask, order[:, scores.shape[1] // 2 :], True, axis=1)
    return mask


def _worst(scores):
    return ~two_of_four(scores)


def _one_of_two(scores):
    pairs = scores.reshape(len(scores), -1, 2)
    return (pairs == pairs.max(axis=2, keepdims=True)).reshape(scores.shape)


@exercise(
    reference=two_of_four,
    wrong={_down: DOWN, _strided: STRIDED, _half_row: HALF_ROW, _worst: WORST, _one_of_two: PAIRS},
    idea="Every group of four makes its own decision, whatever the others do.",
    steps="scores.reshape(out, in // 4, 4) has the groups along its last axis. argsort along it; the last two stay; "
    "reshape back.",
)
def check_two_of_four(answer):
    rng = np.random.default_rng(3)
    yield "four rows of twelve"
    compare(answer, rng.random((4, 12)))
    yield "one group"
    compare(answer, np.array([[0.3, 0.9, 0.1, 0.7]]))
    yield "a row that rises"
    compare(answer, np.arange(16.0).reshape(2, 8))


EXERCISES = (check_layer_error, check_wanda_mask, check_remove_weight, check_two_of_four)
hint = ladder(*EXERCISES)
