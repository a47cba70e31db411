"""The exercises of lesson 04: controls, paired differences with their uncertainty, and an audit."""

from dataclasses import replace
from functools import partial

import numpy as np

from ..experiment import Experiment
from ..masks import Mask
from .check import Wrong, equal, exercise, expect, ladder, note

_SHAPES = {"fc1.weight": (100, 196), "fc2.weight": (50, 100), "fc3.weight": (10, 50)}


def _glorot(shapes, rng):
    return {name: rng.normal(0, np.sqrt(2 / sum(shape)), shape) for name, shape in shapes.items()}


def _sparse(shapes, rng, density=0.3):
    """A mask with an uneven pattern: the earlier inputs and the first units keep more."""
    favour = {name: rng.random(shape) * np.linspace(1, 0.4, shape[1]) for name, shape in shapes.items()}
    return Mask({name: values >= np.quantile(values, 1 - density) for name, values in favour.items()})


# --- Re-init ----------------------------------------------------------------------------------------------------------


def reinit(theta_0, mask, rng):
    """Fresh initial weights under the ticket's mask.

    theta_0 : {name: array (fan_out, fan_in)}, drawn from a normal distribution with mean 0 and
        standard deviation sqrt(2 / (fan_in + fan_out)); must stay as it is
    mask : {name: boolean array}
    rng : the numpy Generator to draw from
    Returns {name: array}: another draw from the same distribution, zero where the mask is.
    """
    fresh = {}
    for name, old in theta_0.items():
        fan_out, fan_in = old.shape
        std = np.sqrt(2 / (fan_in + fan_out))
        fresh[name] = rng.normal(0, std, old.shape) * mask[name]
    return fresh


PERMUTED = (
    "These are theta_0's own values in another order. A re-init draws new numbers; whoever permutes the old ones still "
    "hands on which values there are."
)
SAME_WEIGHTS = (
    "That is theta_0 again: a rewind, and no re-init. A generator seeded inside the function always starts over; draw "
    "from the `rng` you were given."
)
IGNORES_RNG = (
    "Two different generators gave the same weights: yours comes from somewhere else, perhaps seeded inside the "
    "function. Then all seeds of an experiment share one draw, and n = 10 is n = 1."
)
GLOBAL_RANDOMNESS = (
    "The same generator gave two different results: part of your draw comes from elsewhere (np.random.normal?). "
    "Then nobody can repeat your experiment."
)
NO_MASK = "There are weights where the mask is 0. The control has the ticket's mask: multiply by it."
UNIT_STD = "Your weights have standard deviation 1. The initial distribution was Glorot's: sqrt(2 / (fan_in + fan_out))."
HE_STD = (
    "Your standard deviation is sqrt(2 / fan_in): He's initialisation. theta_0 was drawn by Glorot's, "
    "sqrt(2 / (fan_in + fan_out)). One thing may differ between the arms, and only one."
)
RESCALED = (
    "You made up for the pruned weights by larger values (fan_in counts only survivors?). A fair idea, but another "
    "experiment: theta_0 was drawn for the dense network, so the control must be, too."
)
OTHER_SHAPE = (
    "Mean and spread are right, but the values are not normally distributed: theta_0 was drawn by a normal."
)
LAYERS_ALIKE = (
    "All layers begin with the same random numbers: one generator for all layers, not a new one for each."
)
CHANGED = "Your function changed `{}`. Work on new arrays: whoever called you still needs the originals."


def _draw(scale=lambda fan_out, fan_in, kept: np.sqrt(2 / (fan_in + fan_out)), masked=True, source=lambda rng: rng,
          uniform=False):  # fmt: skip
    """A re-init like the reference's with one of its parts exchanged: the raw material of the wrong answers."""

    def wrong(theta_0, mask, rng):
        own, fresh = source(rng), {}
        for name, old in theta_0.items():
            std = scale(*old.shape, mask[name].mean())
            draw = own.uniform(-1, 1, old.shape) * np.sqrt(3) if uniform else own.standard_normal(old.shape)
            fresh[name] = std * draw * (mask[name] if masked else 1)
        return fresh

    return wrong


def _permute(theta_0, mask, rng):
    return {
        name: rng.permutation(old.ravel()).reshape(old.shape) * mask[name] for name, old in theta_0.items()
    }


def _layers_alike(theta_0, mask, rng):
    seed = int(rng.integers(2**32))
    return {
        name: reinit({name: old}, mask, np.random.default_rng(seed))[name] for name, old in theta_0.items()
    }


def _overwrite(theta_0, mask, rng):
    for name, old in theta_0.items():
        old[...] = reinit({name: old}, mask, rng)[name]
    return theta_0


def fresh_weights(answer, theta_0, mask, seed) -> dict:
    """What an answer draws with a generator of that seed: an array for each of theta_0's, which stays as it is."""
    mine = {name: array.copy() for name, array in theta_0.items()}
    fresh = answer(mine, mask, np.random.default_rng(seed))
    expect(hasattr(fresh, "keys") and set(fresh) == set(theta_0), "Return a dictionary with an array for each of "
           f"{', '.join(theta_0)}.")  # fmt: skip
    for name, old in theta_0.items():
        expect(np.shape(fresh[name]) == old.shape, f"{name} should have the shape {old.shape}, but has "
               f"{np.shape(fresh[name])}.")  # fmt: skip
    expect(equal(mine, theta_0), CHANGED.format("theta_0"))
    return {name: np.asarray(array) for name, array in fresh.items()}


@exercise(
    reference=reinit,
    wrong={
        _permute: PERMUTED,
        _draw(source=lambda rng: np.random.default_rng(0)): SAME_WEIGHTS,
        _draw(source=lambda rng: np.random.default_rng(1)): IGNORES_RNG,
        _draw(source=lambda rng: np.random.default_rng()): GLOBAL_RANDOMNESS,
        _draw(masked=False): NO_MASK,
        _draw(scale=lambda fan_out, fan_in, kept: 1.0): UNIT_STD,
        _draw(scale=lambda fan_out, fan_in, kept: np.sqrt(2 / fan_in)): HE_STD,
        _draw(scale=lambda fan_out, fan_in, kept: np.sqrt(2 / (fan_in + fan_out) / kept)): RESCALED,
        _draw(uniform=True): OTHER_SHAPE,
        _layers_alike: LAYERS_ALIKE,
        _overwrite: CHANGED.format("theta_0"),
    },
    idea="This control changes one thing: the values of the weights. The mask stays, the distribution they "
    "come from stays, and the randomness comes from the generator that was handed in.",
    steps="Each array of theta_0 has the shape (fan_out, fan_in). Draw rng.normal(0, std, shape) with "
    "std = sqrt(2 / (fan_in + fan_out)), multiply by mask[name], put it into a new dictionary.",
)
def check_reinit(answer):
    theta_0 = _glorot(_SHAPES, np.random.default_rng(0))
    mask = _sparse(_SHAPES, np.random.default_rng(5))

    draw = partial(fresh_weights, answer, theta_0, mask)

    yield "shapes as theta_0's, arguments unchanged"
    fresh = draw(11)
    yield "zero wherever the mask is"
    for name in theta_0:
        expect(not fresh[name][~mask[name]].any(), NO_MASK)
    yield "new values: neither theta_0 nor a permutation of it"
    first = mask["fc1.weight"]
    expect(not np.allclose(fresh["fc1.weight"][first], theta_0["fc1.weight"][first]), SAME_WEIGHTS)
    expect(not np.isin(fresh["fc1.weight"][first], theta_0["fc1.weight"]).all(), PERMUTED)
    yield "the same generator, the same weights"
    expect(equal(draw(11), fresh), GLOBAL_RANDOMNESS)
    yield "another generator, other weights"
    expect(not equal(draw(12), fresh), IGNORES_RNG)
    yield "each layer with numbers of its own"
    heads = [(fresh[name] / fresh[name][mask[name]].std()).ravel() for name in theta_0]
    both = mask["fc1.weight"].ravel()[:5000] & mask["fc2.weight"].ravel()
    expect(np.corrcoef(heads[0][:5000][both], heads[1][both])[0, 1] < 0.9, LAYERS_ALIKE)
    yield "the distribution theta_0 came from"
    for name in ("fc1.weight", "fc2.weight"):
        values = fresh[name][mask[name]]
        fan_out, fan_in = _SHAPES[name]
        right = np.sqrt(2 / (fan_in + fan_out))
        for std, message in ((1.0, UNIT_STD), (np.sqrt(2 / fan_in), HE_STD),
                             (right / np.sqrt(mask[name].mean()), RESCALED)):  # fmt: skip
            expect(not abs(values.std() / std - 1) < 0.08, message)
        expect(abs(values.std() / right - 1) < 0.08, f"The surviving weights of {name} have the standard deviation "
               f"{values.std():.3f}; theta_0's was drawn with {right:.3f}.")  # fmt: skip
        expect(abs(values.mean()) < 0.15 * right, f"The weights of {name} have mean {values.mean():.3f}; it should be "
               "near 0.")  # fmt: skip
        expect(abs(np.mean((values / values.std()) ** 4) - 3) < 0.7, OTHER_SHAPE)


# --- Shuffle ----------------------------------------------------------------------------------------------------------


def shuffle_within_layer(mask, rng):
    """As many kept weights in each layer as before, at random places.

    mask : {name: boolean array}, must stay as it is
    rng : the numpy Generator to draw from
    Returns {name: boolean array}.
    """
    return {name: rng.permutation(kept.ravel()).reshape(kept.shape) for name, kept in mask.items()}


NO_OP = (
    "The mask came back as it was. Did you shuffle a copy and throw it away? rng.permutation(x) returns the shuffled "
    "array, it does not change x."
)
ROWS_ONLY = (
    "You only exchanged whole rows: rng.permutation of a matrix moves its rows and leaves each row as it is. Make it flat "
    "first: .ravel(), and .reshape afterwards."
)
WITHIN_ROWS = (
    "Every unit kept as many connections as before: you shuffled within rows. That keeps a structure of the ticket; "
    "shuffle the layer as a whole."
)
ACROSS_LAYERS = (
    "The number of kept weights moved from layer to layer. Shuffle each layer by itself: otherwise the control changes "
    "two things, places and counts."
)
NEW_DRAW = (
    "The number of kept weights in a layer changed a little: you drew a new mask of about that density. A shuffle keeps "
    "the count exactly."
)
SHUFFLED_IN_PLACE = (
    "The ticket's own mask was changed by your function: rng.shuffle works in place, and .ravel() of an array is often a "
    "view. Use rng.permutation."
)
NOT_REPEATABLE = (
    "The same generator gave two different masks: use the `rng` you were given for all that is random."
)


def _no_op(mask, rng):
    for kept in mask.values():
        rng.permutation(kept.ravel())
    return {name: kept.copy() for name, kept in mask.items()}


def _rows_only(mask, rng):
    return {name: rng.permutation(kept) for name, kept in mask.items()}


def _within_rows(mask, rng):
    return {name: rng.permuted(kept, axis=1) for name, kept in mask.items()}


def _across_layers(mask, rng):
    flat = rng.permutation(np.concatenate([kept.ravel() for kept in mask.values()]))
    ends = np.cumsum([kept.size for kept in mask.values()])[:-1]
    return {
        name: part.reshape(mask[name].shape) for name, part in zip(mask, np.split(flat, ends), strict=True)
    }


def _new_draw(mask, rng):
    return {name: rng.random(kept.shape) < kept.mean() for name, kept in mask.items()}


def _in_place(mask, rng):
    for kept in mask.values():
        rng.shuffle(kept.ravel())
    return mask


def _other_randomness(mask, rng):
    return shuffle_within_layer(mask, np.random.default_rng())


@exercise(
    reference=shuffle_within_layer,
    wrong={
        _no_op: NO_OP,
        _rows_only: ROWS_ONLY,
        _within_rows: WITHIN_ROWS,
        _across_layers: ACROSS_LAYERS,
        _new_draw: NEW_DRAW,
        _in_place: SHUFFLED_IN_PLACE,
        _other_randomness: NOT_REPEATABLE,
    },
    idea="This control asks whether it matters *which* connections are kept, or only how many in each layer. So the "
    "counts stay, exactly, and the places are left to chance.",
    steps="For each layer: make the array flat (.ravel()), rng.permutation it, give it its shape back (.reshape). "
    "Return a new dictionary.",
)
def check_shuffle_within_layer(answer):
    def shuffled(seed):
        original = {name: kept.copy() for name, kept in _sparse(_SHAPES, np.random.default_rng(5)).items()}
        mine = {name: kept.copy() for name, kept in original.items()}
        given = answer(mine, np.random.default_rng(seed))
        expect(hasattr(given, "keys") and set(given) == set(original), "Return a dictionary with an array for each of "
               f"{', '.join(original)}.")  # fmt: skip
        expect(equal(mine, original), SHUFFLED_IN_PLACE)
        for name, kept in original.items():
            expect(np.shape(given[name]) == kept.shape, f"{name} should have the shape {kept.shape}, but has "
                   f"{np.shape(given[name])}.")  # fmt: skip
            expect(np.isin(given[name], (0, 1)).all(), "A mask has entries 0 and 1 only.")
        return original, {name: np.asarray(kept).astype(bool) for name, kept in given.items()}

    yield "shapes as before, the ticket's mask unchanged"
    mask, given = shuffled(3)
    yield "as many kept weights in each layer"
    if any(given[name].sum() != mask[name].sum() for name in mask):
        same_total = sum(kept.sum() for kept in given.values()) == sum(kept.sum() for kept in mask.values())
        raise Wrong(ACROSS_LAYERS if same_total else NEW_DRAW)
    yield "other places, anywhere in the layer"
    kept, before = given["fc1.weight"], mask["fc1.weight"]
    expect(not equal(given, mask), NO_OP)
    expect({row.tobytes() for row in kept} != {row.tobytes() for row in before}, ROWS_ONLY)
    expect(not np.array_equal(kept.sum(axis=1), before.sum(axis=1)), WITHIN_ROWS)
    agree = (kept & before).sum() / before.sum()
    expect(agree < 2 * before.mean(), f"{100 * agree:.0f} % of the kept weights are where they were; chance alone would leave "
           f"about {100 * before.mean():.0f} %.")  # fmt: skip
    yield "the same generator, the same mask; another, another"
    expect(equal(shuffled(3)[1], given), NOT_REPEATABLE)
    expect(not equal(shuffled(4)[1], given), "Two different generators gave the same mask: use the `rng` you were "
           "given.")  # fmt: skip


# --- How sure? --------------------------------------------------------------------------------------------------------


def bootstrap_interval(a, b, rng, draws=2000):
    """The 95 % bootstrap interval of the mean paired difference a - b.

    a, b : (n,), one value a seed, in the same order
    rng : the numpy Generator to draw from
    draws : how many resamples
    Returns (low, high).
    """
    difference = a - b
    n = len(difference)
    means = difference[rng.integers(0, n, (draws, n))].mean(axis=1)
    return np.quantile(means, 0.025), np.quantile(means, 0.975)


UNPAIRED = (
    "You drew the two arms independently. They are paired: seed 3 of both shares mask and data order. Take the differences "
    "first, then resample those."
)
WITHOUT_REPLACEMENT = (
    "The interval has no width: drawing all n without replacement gives the same n every time. A bootstrap draws "
    "*with* replacement, so that some seeds come twice and others not at all."
)
OF_THE_DATA = (
    "That is the range of the single differences. Asked is how sure we are of their *mean*: resample, take the mean of "
    "each resample, then the quantiles of those means."
)
NINETY = "That interval holds 90 % of the means: for 95 % cut off 2.5 % at each end."
WRONG_SIGN = "The signs are the wrong way round: the difference is a - b."
SWAPPED = "low is larger than high: return the lower end first."


def _resample(
    difference=lambda a, b, rng, index: (a - b)[index], replace=True, ends=(0.025, 0.975), keep=1.0
):
    """A bootstrap like the reference's with one of its parts exchanged: the raw material of the wrong answers."""

    def wrong(a, b, rng, draws=2000):
        n = len(a)
        size = max(1, int(keep * n))
        index = (
            rng.integers(0, n, (draws, size))
            if replace
            else np.stack([rng.choice(n, size, replace=False) for _ in range(draws)])
        )
        return tuple(np.quantile(difference(a, b, rng, index).mean(axis=1), ends))

    return wrong


def _of_the_data(a, b, rng, draws=2000):
    return np.quantile(a - b, 0.025), np.quantile(a - b, 0.975)


def _too_few(a, b, rng, draws=2000):
    return _resample(keep=0.5)(a, b, rng, draws)


TOO_FEW = "The interval is too wide: each resample needs as many seeds as there are, n out of n."


@exercise(
    reference=bootstrap_interval,
    wrong={
        _resample(lambda a, b, rng, index: a[index] - b[rng.integers(0, len(b), index.shape)]): UNPAIRED,
        _resample(replace=False): WITHOUT_REPLACEMENT,
        _of_the_data: OF_THE_DATA,
        _resample(ends=(0.05, 0.95)): NINETY,
        _resample(lambda a, b, rng, index: (b - a)[index]): WRONG_SIGN,
        _resample(ends=(0.975, 0.025)): SWAPPED,
        _too_few: TOO_FEW,
    },
    idea="We have n seeds and would like to know how the mean would vary with other seeds. The bootstrap plays that with "
    "the data at hand: draw n of the n differences with replacement, take the mean, do it again.",
    steps="difference = a - b, shape (n,). rng.integers(0, n, (draws, n)) are the indices of all resamples at once; "
    "difference[indices].mean(axis=1) has shape (draws,). Its quantiles 0.025 and 0.975 are the ends.",
)
def check_bootstrap_interval(answer):
    rng = np.random.default_rng(4)
    seed_effect = rng.normal(0, 3.0, 40)
    b = 90 + seed_effect
    a = b + rng.normal(1.0, 0.5, 40)

    def ends(a, b):
        given = answer(a.copy(), b.copy(), np.random.default_rng(8))
        expect(
            isinstance(given, tuple | list | np.ndarray) and len(given) == 2, "Return two numbers: low, high."
        )
        return np.array(given, float)

    yield "two ends, the lower one first"
    low, high = ends(a, b)
    expect(low <= high, SWAPPED)
    yield "the sign: a - b"
    expect(not high < 0, WRONG_SIGN)
    yield "as wide as 40 paired differences allow"
    low_right, high_right = bootstrap_interval(a, b, np.random.default_rng(9))
    ratio = (high - low) / (high_right - low_right)
    single = np.ptp(np.quantile(a - b, (0.025, 0.975))) / (high_right - low_right)
    expect(ratio > 0.01, WITHOUT_REPLACEMENT)
    expect(not abs(ratio / single - 1) < 0.1, OF_THE_DATA)
    expect(ratio < 3, UNPAIRED)
    expect(not 1.3 < ratio < 1.55, TOO_FEW)
    expect(not 0.79 < ratio < 0.89, NINETY)
    expect(0.89 < ratio < 1.12, f"Your interval is {ratio:.2f} times as wide as it should be.")
    expect(abs((low + high - low_right - high_right) / 2) < 0.05, "Your interval is not centred on the mean "
           "difference.")  # fmt: skip
    yield "no difference, no width"
    expect(np.allclose(ends(b + 1.0, b), 1.0), UNPAIRED)


# --- Which control for which claim? -----------------------------------------------------------------------------------

CLAIMS = {
    "values": "Given this mask, it matters that the weights start at these values.",
    "places": "It matters which weights of a layer are kept, not only how many.",
    "size": "The ticket does better than an ordinary network with as few weights.",
    "loss": "Removing these weights costs no accuracy.",
}


def controls():
    """For each claim the one arm to compare the ticket with: the arm that could refute it.

    Arms: "dense", "reinit", "shuffle", "random", "small-dense".
    """
    return {"values": "reinit", "places": "shuffle", "size": "small-dense", "loss": "dense"}


_WHY = {
    "values": "For “values” keep the mask and change only the values: which arm does that?",
    "places": "For “places” keep the number of weights in each layer and let chance choose the places: which arm does that? "
    "(The values change with the places.)",
    "size": "For “size” compare with a network that was never pruned and has as few weights.",
    "loss": "For “loss” compare with the network before anything was removed.",
}


def _controls(**other):
    def wrong():
        return controls() | other

    return wrong


@exercise(
    reference=controls,
    wrong={
        _controls(values="shuffle"): _WHY["values"],
        _controls(values="dense"): _WHY["values"],
        _controls(places="reinit"): _WHY["places"],
        _controls(places="dense"): _WHY["places"],
        _controls(size="dense"): _WHY["size"],
        _controls(size="random"): _WHY["size"],
        _controls(loss="small-dense"): _WHY["loss"],
        _controls(loss="reinit"): _WHY["loss"],
    },
    idea="A control shares everything with the ticket but the one thing that the claim is about. If the control does as "
    "well, the claim falls.",
    steps="The arms are dense, reinit, shuffle, random, small-dense. Say of each what it shares with the ticket: mask, "
    "values, number of weights. No arm moves the places alone: shuffle moves the values too, so beating it is only a "
    "first sign. The pair that isolates the places is re-init against random.",
)
def check_controls(answer):
    arms = ("dense", "reinit", "shuffle", "random", "small-dense")
    given = answer()
    for claim, arm in controls().items():
        yield claim
        expect(isinstance(given, dict), f"Return a dictionary with an arm for each of {', '.join(CLAIMS)}.")
        chosen, right = given.get(claim), (arm, "random") if claim == "places" else (arm,)
        no_arm = f"{chosen!r} is no arm. There are {', '.join(arms)}."
        note(chosen in right, _WHY[claim] if chosen in arms else no_arm)


# --- The audit --------------------------------------------------------------------------------------------------------

LISTING = """\
def seed_everything(seed):
    random.seed(seed)
    np.random.seed(seed)


def build(seed):
    seed_everything(seed)
    return nn.Sequential(nn.Linear(196, 100), nn.ReLU(), nn.Linear(100, 10))


def experiment(seed, rounds, rate):
    model = build(seed)
    mask = all_ones(model)
    for _ in range(rounds):
        train(model, mask)
        mask = prune(magnitude(model), rate=rate, mask=mask)
        model = build(seed)       # rewind: same seed, same initial weights
    ticket = build(seed)          # arm 1: the ticket starts where it all began
    control = build(seed + 1)     # arm 2: re-init, the same mask on other weights
    train(ticket, mask)
    train(control, mask)
    return accuracy(ticket, mask), accuracy(control, mask)
"""


def print_listing() -> None:
    """Print the listing to audit, with line numbers."""
    for number, line in enumerate(LISTING.splitlines(), 1):
        print(f"{number:2}  {line}")


def first_layers(seed=0, listing=LISTING):
    """Run the listing's ``build`` as its experiment does: the first layer at the start, of "ticket" and "control".

    The generators that the listing seeds and uses are put back as they were.
    """
    import random

    import torch

    parts = {"random": random, "np": np, "torch": torch, "nn": torch.nn}
    before = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            exec(listing, parts)
            models = [parts["build"](s) for s in (seed, seed, seed + 1)]
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
    return tuple(model[0].weight.detach().numpy() for model in models)


def audit():
    """Two line numbers of the listing: (cause, symptom).

    cause : where the seeding goes wrong, the first line inside that function will do
    symptom : the first line whose comment is not true because of it
    """
    return (
        2,
        17,
    )  # Python's and NumPy's generators are seeded, torch's is not: build(seed) is a new draw every time


_INNOCENT = {
    7: "Line 7 does call the helper, at the right moment. Does the helper do what its name says?",
    8: "Line 8 is where the unexpected draw happens: nn.Linear asks PyTorch's generator. But who promised to seed that?",
    12: "Line 12 builds the first network. There is nothing it would have to agree with yet.",
    13: "Line 13 is fine: the dense network has a mask of ones.",
    14: "Line 14 is fine: train, prune, rewind, once a round.",
    15: "Line 15 is fine: train before you prune, with the mask so far.",
    16: "Line 16 is fine: the magnitudes after training, among the survivors.",
    18: "Line 18 breaks its promise, too, but it is not the first one.",
    19: "Line 19 keeps its promise: another draw under the same mask. (It would even with the same seed. Why?)",
    20: "Line 20 is fine: the first arm is trained under the mask.",
    21: "Line 21 is fine: the second arm is trained just as the first.",
    22: "Line 22 is fine: both arms are measured alike.",
}
NO_CAUSE = "Line 17 is where it shows. Which line is the reason? Look for something missing, not for something wrong."
NO_SYMPTOM = "You found the reason. Which comment does it make untrue, the first of them?"
BACKWARDS = "Both lines are right, but the other way round: first the cause, then the symptom."


def _lines(cause, symptom):
    def wrong():
        return cause, symptom

    return wrong


@exercise(
    reference=audit,
    wrong={
        _lines(17, 17): NO_CAUSE,
        _lines(3, 3): NO_SYMPTOM,
        _lines(17, 2): BACKWARDS,
        _lines(8, 17): _INNOCENT[8],
        _lines(16, 17): _INNOCENT[16],
        _lines(2, 18): _INNOCENT[18],
        _lines(2, 19): _INNOCENT[19],
        _lines(7, 17): _INNOCENT[7],
    },
    idea="Read it like a contract: what does every line promise, and what would have to be true for it to be kept? Then "
    "look at what rewinding rests on here. There is no stored theta_0 anywhere.",
    steps="Run exercise.first_layers(seed=0): the first layer at the start, of the 'ticket' and of the 'control'. Which "
    "of them should be equal, which are? Which generator does nn.Linear draw from, and who seeds it?",
)
def check_audit(answer):
    given = answer()
    yield "two line numbers"
    lines = len(LISTING.splitlines())
    expect(isinstance(given, tuple | list) and len(given) == 2 and all(x in range(1, lines + 1) for x in given), "Return two "
           f"line numbers between 1 and {lines}: cause, symptom.")  # fmt: skip
    cause, symptom = given
    expect(not (cause == 17 and symptom in (1, 2, 3)), BACKWARDS)
    yield "the cause"
    note(cause in (1, 2, 3), _INNOCENT.get(cause, NO_CAUSE))
    yield "the first comment it makes untrue"
    note(symptom == 17, _INNOCENT.get(symptom, NO_SYMPTOM))


# --- When re-init is as good ------------------------------------------------------------------------------------------

MARGIN = 0.01
BUDGET = 60_000


def matching_experiment():
    """An lthviz.Experiment in which re-init is equivalent to rewind within one point, at 60 % density or less."""
    return Experiment("fashion-5k-14", rate=0.42, rounds=1, arms=("reinit",), seeds=15, steps=1000)


def fresh_seeds(experiment):
    """As many seeds as the experiment has, 100 and up, none of which it could have been chosen with."""
    first = max(100, max(experiment.seeds) + 1)
    return range(first, first + len(experiment.seeds))


NOT_ENOUGH_SEEDS = "Fewer than five seeds: whatever comes out, the interval is too wide to show that two arms are equivalent."
TOO_DENSE = (
    "More than 60 % of the weights are left: that re-init keeps up there is no surprise. Prune further."
)
NO_REINIT = "The experiment has no re-init arm to compare with: arms=('reinit',)."
TOO_DEAR = "Too much work for a check: (rounds + 1) * arms * seeds * steps should be at most 60,000."
LEARNED_NOTHING = (
    "The two arms agree because neither has learned anything: their accuracy is below 60 %. A control that fails "
    "together with the ticket says nothing."
)
UNDECIDED = (
    "With fresh seeds not distinguishable, but the interval reaches beyond one point: “we saw no difference” is not "
    "“there is none”. More seeds, or a quieter setting."
)
STILL_HIGHER = (
    "With fresh seeds rewind is ahead, and perhaps by more than a point. (If it looked equal with your own seeds, those "
    "were the lucky ones.) What could let re-init catch up?"
)
REINIT_AHEAD = "With fresh seeds re-init is ahead, and perhaps by more than a point: a finding, but not equivalence. Look closer."


@exercise(
    reference=matching_experiment,
    wrong={
        lambda: Experiment(rate=0.25, rounds=2, arms=("reinit",), seeds=2): NOT_ENOUGH_SEEDS,
        lambda: Experiment(rate=0.2, rounds=1, arms=("reinit",), seeds=5): TOO_DENSE,
        lambda: Experiment(rate=0.5, rounds=2, arms=("shuffle",), seeds=5): NO_REINIT,
        lambda: Experiment(rate=0.2, rounds=12, seeds=10): TOO_DEAR,
        lambda: Experiment(rate=0.5, rounds=1, seeds=5, steps=2): LEARNED_NOTHING,
        lambda: Experiment(rate=0.5, rounds=3, seeds=5, steps=200): STILL_HIGHER,
        lambda: Experiment(rate=0.25, rounds=2, seeds=5, steps=300, optimizer="sgd", lr=0.4): UNDECIDED,
    },
    idea="Think of what makes the ticket's head start precious: few survivors, little time to catch up, a task on which "
    "starting well pays. Take one of them away.",
    steps="Return lthviz.Experiment(...) with at least 5 seeds and the arm 'reinit', pruned to 60 % density or less. "
    "Turn one of these: dataset, rounds, steps, lr, optimizer. The interval of the difference must lie within one point "
    "of 0, with your seeds and again with fresh ones.",
)
def check_matching_experiment(answer):
    experiment = answer()
    yield "an experiment that can answer the question"
    expect(isinstance(experiment, Experiment), "Return an lthviz.Experiment(...).")
    rows = experiment.ladder()
    work = (experiment.rounds + 1) * len(experiment.arms) * len(experiment.seeds) * experiment.steps
    asked = {
        NO_REINIT: "reinit" in experiment.arms,
        NOT_ENOUGH_SEEDS: len(experiment.seeds) >= 5,
        TOO_DENSE: sum(rows[-1].values()) <= 0.6 * sum(rows[0].values()),
        TOO_DEAR: work <= BUDGET,
    }
    expect(all(asked.values()), "\n".join(message for message, met in asked.items() if not met))
    yield "networks that learn"
    from ..runs import run

    fresh = fresh_seeds(experiment)
    again = replace(experiment, seeds=fresh, evaluate_every=experiment.steps)  # the end is all that counts
    result = run(again, store=False, progress=False)
    last = result.rounds
    expect(result.accuracy("rewind")[last].mean() > 0.6, LEARNED_NOTHING)
    paired = result.compare("rewind", "reinit", last)
    yield f"equivalent within one point, with the fresh seeds {fresh[0]} to {fresh[-1]} ({paired})"
    if paired.low <= -MARGIN or paired.high >= MARGIN:
        raise Wrong({"higher": STILL_HIGHER, "lower": REINIT_AHEAD}.get(paired.verdict, UNDECIDED))


EXERCISES = (
    check_controls,
    check_reinit,
    check_shuffle_within_layer,
    check_bootstrap_interval,
    check_audit,
    check_matching_experiment,
)
hint = ladder(*EXERCISES)
