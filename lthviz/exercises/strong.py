"""The exercises of lesson 07: subset sums, what a bit costs, a proof with blanks, one step of edge-popup."""

import tracemalloc

import numpy as np

from .check import compare, exercise, expect, ladder, note

# --- Meet in the middle -----------------------------------------------------------------------------------------------


def best_subset(values, target):
    """Which of the values to take so that their sum comes nearest to the target.

    values : array (n,)
    target : float
    Returns a boolean array (n,). Never hold more than about 2^(n/2) sums at once.
    """

    def subsets(part):
        """All 2^k subsets of a part, one a row, and their sums."""
        rows = (np.arange(2 ** len(part))[:, None] >> np.arange(len(part)) & 1).astype(bool)
        return rows, rows @ part

    half = len(values) // 2
    (left, left_sums), (right, right_sums) = subsets(values[:half]), subsets(values[half:])
    order = np.argsort(right_sums)
    missing, ranked = target - left_sums, right_sums[order]
    above = np.searchsorted(ranked, missing).clip(max=len(ranked) - 1)
    below = (above - 1).clip(min=0)
    partner = np.where(abs(ranked[below] - missing) < abs(ranked[above] - missing), below, above)
    i = abs(ranked[partner] - missing).argmin()
    return np.concatenate([left[i], right[order[partner[i]]]])


GREEDY = (
    "You take what helps most, one after the other. Greedy is fast and gets stuck: two numbers that are bad alone may be "
    "perfect together. Look at all subsets, half by half."
)
ABOVE = (
    "For each sum of the left half you look at one neighbour only, the one above what is missing. The one below may be "
    "nearer: compare both."
)
NOT_MORE = "You only accept sums up to the target. A sum a little above it may be nearer: what counts is the distance."
SORTED_PLACE = (
    "A place in the *sorted* sums is not the number of the subset. Keep the order that np.argsort gives, and look the "
    "subset up in it."
)
ONE_BY_ONE = (
    "You settle the left half first, by what comes nearest to the target on its own, and then the right half. A left sum "
    "that is far off may have the better partner: try every left sum."
)
WHOLE = (
    "The subset is right, but you held all 2^n sums at once. With n = 30 that would be a thousand million. Cut the "
    "numbers into two halves of 2^(n/2) sums each."
)


def _shape(given):
    """The shape of what a student returned; None where the parts do not make one array."""
    try:
        return np.shape(given)
    except ValueError:
        return None


def _rows(n):
    return (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool)


def _exhaustive(values, target, distance=abs):
    rows = _rows(len(values))
    return rows[distance(rows @ values - target).argmin()]


def _up_to(values, target):
    return _exhaustive(values, target, lambda gap: np.where(gap > 0, np.inf, -gap))


def _greedy(values, target):
    taken = np.zeros(len(values), bool)
    while not taken.all():
        gaps = np.where(taken, np.inf, abs(values[taken].sum() + values - target))
        if gaps.min() >= abs(values[taken].sum() - target):
            break
        taken[gaps.argmin()] = True
    return taken


def _one_neighbour(values, target, sorted_place=False):
    half = len(values) // 2
    left, right = _rows(half), _rows(len(values) - half)
    sums = right @ values[half:]
    order = np.argsort(sums)
    missing, ranked = target - left @ values[:half], sums[order]
    above = np.searchsorted(ranked, missing).clip(max=len(ranked) - 1)
    if sorted_place:
        below = (above - 1).clip(min=0)
        above = np.where(abs(ranked[below] - missing) < abs(ranked[above] - missing), below, above)
        order = np.arange(len(order))
    i = abs(ranked[above] - missing).argmin()
    return np.concatenate([left[i], right[order[above[i]]]])


def _sorted_place(values, target):
    return _one_neighbour(values, target, sorted_place=True)


def _one_by_one(values, target):
    half = len(values) // 2
    left = _exhaustive(values[:half], target)
    return np.concatenate([left, _exhaustive(values[half:], target - values[:half][left].sum())])


@exercise(
    reference=best_subset,
    wrong={
        _greedy: GREEDY,
        _one_neighbour: ABOVE,
        _up_to: NOT_MORE,
        _sorted_place: SORTED_PLACE,
        _one_by_one: ONE_BY_ONE,
        _exhaustive: WHOLE,
    },
    idea="Every subset is a subset of the left half together with one of the right half. If the left one is chosen, you "
    "know what is missing, and in a sorted list that is found at once.",
    steps="(1) All subset sums of the left half, and of the right half. (2) Sort those on the right; keep np.argsort's "
    "order. (3) missing = target - left sums. np.searchsorted(ranked, missing) gives the neighbour above; the one before "
    "it is the neighbour below. (4) Which pair is nearest? Put its two subsets together.",
)
def check_best_subset(answer):
    def case(values, target):
        given = answer(values.copy(), target)
        each = given is None or _shape(given) == values.shape  # what None means is said by compare
        expect(each, "Return True or False for each of the n numbers, not their positions, values or sum.")

        def same(given, expected):
            try:
                given = np.asarray(given)
                off, least = (abs(values[np.asarray(s, bool)].sum() - target) for s in (given, expected))
            except (TypeError, ValueError, IndexError):
                return False
            return given.shape == values.shape and np.isin(given, (0, 1)).all() and abs(off - least) < 1e-12

        compare(answer, values, target, same=same)

    yield "four numbers: 0.6, -0.5, 0.35, 0.2, target 0.3"
    case(np.array([0.6, -0.5, 0.35, 0.2]), 0.3)
    rng = np.random.default_rng(1)
    for n, target in ((7, 0.3), (11, -0.2), (12, 0.45)):
        yield f"{n} random numbers, target {target}"
        case(rng.uniform(-1, 1, n), target)
    yield "nothing to take: target 0, positive numbers"
    case(rng.uniform(0.1, 1, 6), 0.0)
    yield "18 numbers, without holding 2^18 sums"
    values = rng.uniform(-1, 1, 18)
    tracemalloc.start()
    try:
        answer(values.copy(), 0.25)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    note(most < 2**19, WHOLE)
    case(values, 0.25)


# --- What a bit costs -------------------------------------------------------------------------------------------------


def numbers_per_bit(n, error):
    """How many more numbers one more bit costs: the slope of n against log2(1 / error).

    n : array (k,), how many numbers there are to choose from
    error : array (k,), the typical error of the best subset of so many
    Returns a float: the slope of the straight line of least squares.
    """
    return float(np.polyfit(np.log2(1 / error), n, 1)[0])


@exercise(
    reference=numbers_per_bit,
    wrong={
        lambda n, error: np.polyfit(n, np.log2(1 / error), 1)[
            0
        ]: "That is how many bits a number buys. Asked is the other way round: n against log2(1 / error).",
        lambda n, error: np.polyfit(np.log(1 / error), n, 1)[
            0
        ]: "That is the natural logarithm. A bit is a factor of two: np.log2.",
        lambda n, error: np.polyfit(np.log10(1 / error), n, 1)[
            0
        ]: "That is numbers per *decimal* digit. A bit is np.log2.",
        lambda n, error: np.polyfit(np.log2(error), n, 1)[
            0
        ]: "The sign: more numbers, smaller error. The bits are log2(1 / error), which grow.",
        lambda n, error: (
            1 / np.polyfit(n, np.log2(1 / error), 1)[0]
        ): "You fitted the bits against n and turned the slope over. Where points scatter that is another line: fit n "
        "against the bits.",
        lambda n, error: (
            (n[-1] - n[0]) / np.log2(error[0] / error[-1])
        ): "You joined the first point to the last one. The line of least squares asks all of them.",
        lambda n, error: np.mean(
            n / np.log2(1 / error)
        ): "You divided n by the bits. The slope asks what *one more* bit costs; a line need not begin at zero.",
        lambda n, error: np.polyfit(error, n, 1)[
            0
        ]: "That is the slope against the error itself. It falls by a factor at each number: take its logarithm first.",
    },
    idea="If every number halves the error, the error is like 2^-n, its logarithm falls by one at each number, and the "
    "slope is 1. How near is it to that?",
    steps="bits = np.log2(1 / error); np.polyfit(bits, n, 1) gives slope and intercept of the line of least squares.",
)
def check_numbers_per_bit(answer):
    n = np.arange(4.0, 16.0)
    yield "error = 0.7 * 2^-n: the slope is 1"
    compare(answer, n, 0.7 * 2.0**-n)
    yield "error = 3 * 2^(-n/2): a bit costs two numbers"
    compare(answer, n, 3 * 2.0 ** (-n / 2))
    yield "with scatter"
    compare(answer, n, 2.0 ** (-0.9 * n + np.random.default_rng(0).normal(size=n.size)))


# --- A proof with blanks ----------------------------------------------------------------------------------------------

#: {blank: (the sentence, {choice: what is wrong with it})}; of a sentence's choices one has nothing wrong.
PROOF = {
    "other units": (
        "Let x > 0. A unit with u < 0 contributes ...",
        {
            "nothing": "",
            "u v x": "u x is negative there, and a ReLU of something negative is zero.",
            "-u v x": "A ReLU does not turn signs round: relu(u x) with u x negative is zero.",
        },
    ),
    "sum": (
        "So the gadget computes f(x) = x times the sum of u v over ...",
        {
            "the taken units with u > 0": "",
            "all taken units": "Those with u < 0 are silent while x > 0. They serve the negative x.",
            "all units with u > 0": "Only units that the mask takes contribute. Choosing them is the whole point.",
        },
    ),
    "gadget": (
        "That sum is w up to eps. So |f(x) - w x| is at most ...",
        {
            "eps": "The sum is off by eps, and then it is multiplied by x.",
            "eps |x|": "",
            "eps^n": "There is one sum, and it is off by eps once.",
        },
    ),
    "layer": (
        "An output adds up d inputs, each with a weight that is off by eps at most. Its error is at most ...",
        {
            "eps": "That is what a single weight is off; d of them, each times its input, add up.",
            "eps max |x|": "The errors of d inputs may all have the same sign: they add up.",
            "eps sum |x|": "",
        },
    ),
    "relu": (
        "Then comes a ReLU. It makes this error ...",
        {
            "zero": "Only where both sides are negative. Where both are positive the error stays.",
            "no larger": "",
            "at most d times larger": "Two numbers are never farther apart after a ReLU than before: its slope is 0 or 1.",
        },
    ),
    "numbers": (
        "n numbers have 2^n sums; each serves targets within eps. To serve all of [-1/2, 1/2], n is at least ...",
        {
            "log2(1 / (2 eps))": "",
            "1 / (2 eps)": "That is how many *sums* it takes, intervals of length 2 eps side by side. n numbers have 2^n.",
            "(1 / eps)^2": "Count: 2^n intervals of length 2 eps must cover a length of 1.",
        },
    ),
}  # fmt: skip


def proof():
    """For each blank of the proof the choice that makes its sentence true."""
    return {
        "other units": "nothing",
        "sum": "the taken units with u > 0",
        "gadget": "eps |x|",
        "layer": "eps sum |x|",
        "relu": "no larger",
        "numbers": "log2(1 / (2 eps))",
    }


def _filled(blank, choice):
    return lambda: proof() | {blank: choice}


@exercise(
    reference=proof,
    wrong={
        _filled(blank, choice): why
        for blank, (_, choices) in PROOF.items()
        for choice, why in choices.items()
        if why
    },
    idea="Take one x, say 2, and one unit, say u = -0.5, and compute relu(u x). Then the same with x = -2.",
    steps="For x > 0 split the sum over the taken units into those with u > 0 and those with u < 0. For the layer use "
    "|a + b| <= |a| + |b|. For the last blank: 2^n intervals of length 2 eps must be at least as long as what they cover.",
)
def check_proof(answer):
    given = answer()
    for blank, (sentence, choices) in PROOF.items():
        yield sentence
        expect(isinstance(given, dict), "Return a dictionary {blank: choice}.")
        expect(blank in given, f"There is no answer for “{blank}” yet.")
        choice = " ".join(str(given[blank]).lower().split())
        expect(
            choice in choices, f"“{blank}” has the choices {', '.join(choices)}; you wrote {given[blank]!r}."
        )
        note(not choices[choice], choices[choice])


# --- One step of edge-popup -------------------------------------------------------------------------------------------


def popup_step(weight, score, gradient, lr, density):
    """One step of edge-popup in one layer, with plain gradient descent.

    weight : array, never changed
    score : array of the same shape; now the largest absolute ones are chosen
    gradient : array of the same shape, of the loss by the *effective* weights, weight * mask; absent ones too
    lr : learning rate of the scores
    density : int(density * size + 0.5) weights are kept
    Returns (score, mask) after the step, two new arrays; mask is boolean.
    """
    score = score - lr * gradient * weight * np.sign(score)
    mask = np.zeros(score.size, bool)
    mask[np.argsort(np.abs(score).ravel())[score.size - int(density * score.size + 0.5) :]] = True
    return score, mask.reshape(score.shape)


NO_WEIGHT = (
    "The chain rule has one more factor. The effective weight is weight * mask, so its derivative by the mask is the "
    "weight: gradient * weight."
)
NO_SIGN = (
    "Scores below zero go the wrong way. What is ranked is |score|, whose derivative is the sign of the score: multiply "
    "by np.sign(score)."
)
ONLY_CHOSEN = (
    "Only the scores of weights that are there have learned. Then nobody ever comes in. Straight through means: the "
    "absent ones get their gradient too."
)
UPHILL = "You went uphill. Gradient descent subtracts."
REMOVED = (
    "You *removed* that fraction. Density is what is kept; a famous program calls the same number sparsity, and people "
    "still trip over it."
)
SIGNED_TOP = "You ranked the scores themselves. A score far below zero counts as much as one far above: rank np.abs(score)."
OLD_MASK = "That is the mask before the step. Choose again with the new scores."
SWAPPED = "The score comes first, then the mask."
ALL_KEPT = "The mask keeps another number of weights than int(density * size + 0.5), the largest ones. Density is no threshold."


def _chosen(size, density):
    keep = int(density * size.size + 0.5)
    mask = np.zeros(size.size, bool)
    mask[np.argsort(size.ravel())[size.size - keep :]] = True
    return mask.reshape(size.shape)


def _popup(
    move=lambda w, s, g, density: g * w * np.sign(s),
    choose=lambda old, new, density: _chosen(abs(new), density),
    way=-1,
):
    """A step like the reference's with one of its parts exchanged: the raw material of the wrong answers."""

    def step(weight, score, gradient, lr, density):
        new = score + way * lr * move(weight, score, gradient, density)
        return new, choose(score, new, density)

    return step


@exercise(
    reference=popup_step,
    wrong={
        _popup(move=lambda w, s, g, density: g * np.sign(s)): NO_WEIGHT,
        _popup(move=lambda w, s, g, density: g * w): NO_SIGN,
        _popup(move=lambda w, s, g, density: g * w * np.sign(s) * _chosen(abs(s), density)): ONLY_CHOSEN,
        _popup(way=1): UPHILL,
        _popup(choose=lambda old, new, density: _chosen(abs(new), 1 - density)): REMOVED,
        _popup(choose=lambda old, new, density: _chosen(new, density)): SIGNED_TOP,
        _popup(choose=lambda old, new, density: _chosen(abs(old), density)): OLD_MASK,
        _popup(choose=lambda old, new, density: abs(new) > 0): ALL_KEPT,
        lambda *arguments: popup_step(*arguments)[::-1]: SWAPPED,
    },
    idea="Pretend that the mask were not 0 or 1 but |score| itself. Then the effective weight would be weight * |score|: "
    "what is its derivative by the score? Step with that, then choose the mask anew.",
    steps="(1) score - lr * gradient * weight * np.sign(score), for all weights, present or not. (2) Rank np.abs of the "
    "new scores. (3) The int(density * size + 0.5) largest are the mask.",
)
def check_popup_step(answer):
    def case(*arguments):
        given = answer(*(a.copy() if isinstance(a, np.ndarray) else a for a in arguments))
        expect(isinstance(given, tuple | list) and len(given) == 2, "Return two arrays: score, mask.")
        whole = [_shape(part) for part in given] == 2 * [arguments[1].shape]
        expect(whole, "Score and mask are arrays of the shape of the weights, as the score was.")
        compare(answer, *arguments)

    yield "six weights, two of them kept"
    weight = np.array([0.5, -0.5, 0.5, -0.5, 0.5, -0.5])
    score = np.array([0.9, -0.8, 0.3, -0.2, 0.6, 0.1])
    gradient = np.array([0.4, 0.2, -2.0, -2.5, 0.1, 3.0])
    case(weight, score, gradient, 0.5, 1 / 3)
    rng = np.random.default_rng(2)
    for density in (0.25, 0.9):
        yield f"a layer of 8 by 5, density {density}"
        weight, score, gradient = rng.normal(size=(3, 8, 5))
        case(weight, score, gradient, 0.2, density)
    yield "everything kept: density 1"
    case(weight, score, gradient, 0.2, 1.0)


EXERCISES = (check_best_subset, check_numbers_per_bit, check_proof, check_popup_step)
hint = ladder(*EXERCISES)
