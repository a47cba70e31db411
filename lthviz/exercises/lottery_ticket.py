"""The exercises of lesson 03: the loop that finds a ticket, what must hold of it, and what it costs."""

from types import SimpleNamespace

import numpy as np

from ..masks import Mask, prune
from .check import Wrong, compare, exercise, expect, ladder, note


class Practice:
    """A tiny network with a real training, which notes how each training starts and ends.

    Two layers (6 inputs, 8 tanh units, 4 outputs) learn 60 made-up examples by gradient descent.

    ``theta_0`` are the initial weights ``{name: array}``; ``starts``, ``masks`` and ``ends`` hold one
    entry for each training so far.
    """

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.theta_0 = {"fc1.weight": rng.normal(0, 0.6, (8, 6)), "fc2.weight": rng.normal(0, 0.6, (4, 8))}
        self._x = rng.normal(size=(60, 6))
        self._y = np.tanh(self._x @ rng.normal(size=(6, 3))) @ rng.normal(size=(3, 4))
        self.starts, self.masks, self.ends = [], [], []

    def train(self, weights, mask):
        """Train ``weights`` **in place**, as an optimiser does; pruned weights get no step. Returns them, too."""
        self.starts.append(_copy(weights))
        self.masks.append(mask if isinstance(mask, Mask) else Mask(mask))
        first, second = weights["fc1.weight"], weights["fc2.weight"]
        for _ in range(60):
            hidden = np.tanh(self._x @ first.T)
            error = (hidden @ second.T - self._y) / len(self._x)
            step = (error @ second * (1 - hidden**2)).T @ self._x
            second -= 0.2 * (error.T @ hidden) * mask["fc2.weight"]
            first -= 0.2 * step * mask["fc1.weight"]
        self.ends.append(_copy(weights))
        return weights


def _copy(weights):
    return {name: np.array(array) for name, array in weights.items()}


def _times(weights, mask):
    return {name: array * mask[name] for name, array in weights.items()}


def _same(a, b):
    return set(a) == set(b) and all(np.array_equal(a[name], b[name]) for name in b)


def _magnitudes(weights):
    return {name: np.abs(array) for name, array in weights.items()}


# --- The loop ---------------------------------------------------------------------------------------------------------


def imp(theta_0, train, rate, rounds):
    """Iterative magnitude pruning with rewinding.

    theta_0 : {name: array}, the initial weights; they must stay as they are
    train : function, train(weights, mask) trains the dictionary `weights` in place
    rate : the fraction of the surviving weights that each round removes
    rounds : how many times to train and prune
    Returns (mask, start): a Mask, and the ticket's initial weights {name: array}.
    """
    mask = Mask.ones_like(theta_0)
    for _ in range(rounds):
        weights = {name: theta_0[name] * mask[name] for name in theta_0}  # rewind: a fresh copy every time
        train(weights, mask)
        scores = {name: np.abs(weights[name]) for name in weights}
        mask = prune(scores, rate=rate, mask=mask)
    return mask, {name: theta_0[name] * mask[name] for name in theta_0}


ALIASED = (
    "Your initial weights were trained: theta_0 is no longer what it was. `train` works in place, so it must get "
    "a copy (theta_0[name] * mask[name] makes one)."
)
NOT_REWOUND = (
    "A later training started from the weights the one before it ended with. That is iterative pruning with "
    "fine-tuning. The lottery ticket rewinds: every training starts from theta_0, masked."
)
FRESH = (
    "A training started from weights that are neither theta_0 nor trained ones: a new draw. That is the re-init "
    "control, not the ticket. The stored theta_0 is the only way back."
)
FORGOT_MASK = (
    "The survivors are no fewer after several rounds than after one: earlier rounds are forgotten. Hand the mask so "
    "far to `prune(..., mask=mask)`."
)
OF_TOTAL = (
    "You removed the same number of weights in every round: the rate as a share of all weights. It is a share of "
    "those that *survive*, so that each round removes fewer."
)
INITIAL_MAGNITUDE = (
    "You ranked the weights by their initial magnitude, |theta_0|. The ranking is by the magnitude *after* training: "
    "that is what the training is for."
)
SIGNED = (
    "You pruned the most negative weights instead of the smallest ones: a weight of -0.9 matters, one of 0.01 hardly. "
    "Take the absolute value."
)
UPSIDE_DOWN = "You removed the largest weights and kept the smallest. prune() keeps the *highest* scores."
ONE_MORE = "You pruned once too often: `rounds` counts prunings, each with one training before it."
ONE_LESS = "You pruned once too seldom: `rounds` counts prunings, each with one training before it."
TRAINED = (
    "The start you returned are trained weights. A ticket is the mask and the *initial* weights: the whole claim is "
    "that those train well."
)
UNMASKED = "The start you returned has weights where the mask is 0. A ticket's start is theta_0 * mask."
DENSE_AGAIN = (
    "Every round trained the whole network again: `train` got a mask of ones. From the second round on, only the "
    "survivors train."
)
UNMASKED_TRAINING = "A training started with weights that the mask has already removed. Set them to zero: theta_0[name] * mask[name]."


def _imp(start=lambda theta_0, mask, trained: _times(theta_0, mask), scores=_magnitudes, cut=None, extra=0,
         train_mask=lambda mask: mask, give=lambda theta_0, mask, trained: _times(theta_0, mask)):  # fmt: skip
    """A loop like the reference with one of its parts exchanged: the raw material of the wrong answers."""
    cut = cut or (lambda scores, rate, mask, theta_0: prune(scores, rate=rate, mask=mask))

    def loop(theta_0, train, rate, rounds):
        mask, trained = Mask.ones_like(theta_0), theta_0
        for _ in range(rounds + extra):
            trained = start(theta_0, mask, trained)
            train(trained, train_mask(mask))
            mask = cut(scores(trained), rate, mask, theta_0)
        return mask, give(theta_0, mask, trained)

    return loop


def _equal_slices(scores, rate, mask, theta_0):
    return prune(scores, density=max(0.0, mask.density - rate), mask=mask)


def _fresh_start(theta_0, mask, trained):
    return {name: np.random.default_rng(7).normal(0, 0.6, mask[name].shape) * mask[name] for name in mask}


wrong_imp = {
    _imp(start=lambda theta_0, mask, trained: theta_0): ALIASED,
    _imp(start=lambda theta_0, mask, trained: _times(trained, mask)): NOT_REWOUND,
    _imp(start=_fresh_start): FRESH,
    _imp(cut=lambda scores, rate, mask, theta_0: prune(scores, rate=rate)): FORGOT_MASK,
    _imp(cut=_equal_slices): OF_TOTAL,
    _imp(
        cut=lambda scores, rate, mask, theta_0: prune(_magnitudes(theta_0), rate=rate, mask=mask)
    ): INITIAL_MAGNITUDE,
    _imp(scores=lambda trained: trained): SIGNED,
    _imp(scores=lambda trained: {name: -np.abs(array) for name, array in trained.items()}): UPSIDE_DOWN,
    _imp(extra=1): ONE_MORE,
    _imp(extra=-1): ONE_LESS,
    _imp(give=lambda theta_0, mask, trained: _times(trained, mask)): TRAINED,
    _imp(give=lambda theta_0, mask, trained: _copy(theta_0)): UNMASKED,
    _imp(train_mask=Mask.ones_like): DENSE_AGAIN,
    _imp(start=lambda theta_0, mask, trained: _copy(theta_0)): UNMASKED_TRAINING,
}


@exercise(
    reference=imp,
    wrong=wrong_imp,
    idea="Keep theta_0 untouched as long as the loop runs. Each round asks the same question: trained from these very "
    "initial weights, which of the survivors end up smallest? Those go; the others go back to where they began.",
    steps="Start with Mask.ones_like(theta_0). Then, `rounds` times: (1) weights = theta_0 * mask, a new dictionary; "
    "(2) train(weights, mask); (3) scores = the absolute value of every trained weight; "
    "(4) mask = prune(scores, rate=rate, mask=mask). At the end return mask and theta_0 * mask.",
)
def check_imp(answer):
    yield "no round: the dense network, untrained"
    practice = Practice()
    mask, start = _ticket(answer, practice, 0.2, 0)
    expect(not practice.starts, ONE_MORE)
    expect(mask.density == 1 and _same(start, practice.theta_0), "With rounds=0 the mask is all ones, the start is "
           "theta_0.")  # fmt: skip
    for name, rate, rounds in (("one round", 0.3, 1), ("four rounds at rate 0.3", 0.3, 4)):
        yield name
        practice, untouched = Practice(), Practice().theta_0
        mask, start = _ticket(answer, practice, rate, rounds)
        expect(_same(practice.theta_0, untouched), ALIASED)
        _check_trainings(practice, untouched)
        expect(len(practice.starts) >= rounds, ONE_LESS)
        expect(len(practice.starts) <= rounds, ONE_MORE)
        _check_masks([*practice.masks[1:], mask], practice, rate)
        if not _same(start, _times(untouched, mask)):
            expect(not _same(_times(start, mask), _times(untouched, mask)), UNMASKED)
            expect(not _same(_times(start, mask), _times(practice.ends[-1], mask)), TRAINED)
            raise Wrong("The start you returned is not theta_0 * mask.")


def _ticket(answer, practice, rate, rounds):
    given = answer(practice.theta_0, practice.train, rate, rounds)
    expect(given is not None, "Your function returned None. Does it end with `return mask, start`?")
    expect(isinstance(given, tuple) and len(given) == 2, "Return two things: the mask, and the start as a dictionary "
           "of arrays.")  # fmt: skip
    mask, start = given
    names = set(practice.theta_0)
    for what, value in (("mask", mask), ("start", start)):
        expect(hasattr(value, "keys") and set(value) == names, f"The {what} you returned is not a dictionary (or Mask) "
               f"with an array for each of {', '.join(sorted(names))}. The order is: mask, start.")  # fmt: skip
    return mask if isinstance(mask, Mask) else Mask(mask), start


def _check_trainings(practice, theta_0):
    """Every training of a round started from theta_0 under the mask of that round."""
    for i, (start, mask) in enumerate(zip(practice.starts, practice.masks, strict=True)):
        if _same(start, _times(theta_0, mask)):
            expect(i == 0 or mask.density < 1, DENSE_AGAIN)
            continue
        expect(i == 0 or mask.density < 1, DENSE_AGAIN)
        expect(not _same(start, theta_0), UNMASKED_TRAINING)
        expect(i == 0 or not _same(_times(start, mask), _times(practice.ends[i - 1], mask)), NOT_REWOUND)
        raise Wrong(FRESH)


def _check_masks(masks, practice, rate):
    """Each mask has the right number of survivors, and the right ones."""
    theta_0, before = practice.starts[0], Mask.ones_like(practice.starts[0])
    slices = before
    for i, (mask, end) in enumerate(zip(masks, practice.ends, strict=True)):
        right = prune(_magnitudes(end), rate=rate, mask=before)
        slices = _equal_slices(_magnitudes(end), rate, slices, theta_0)
        if i and mask.kept != right.kept:
            expect(mask.kept != masks[0].kept, FORGOT_MASK)
            expect(mask.kept != slices.kept, OF_TOTAL)
        expect(mask.kept == right.kept, f"After round {i + 1} your mask keeps {mask.kept} weights; with rate {rate:g} "
               f"there should be {right.kept}.")  # fmt: skip
        if mask != right:
            for scores, message in ((_magnitudes(theta_0), INITIAL_MAGNITUDE), (end, SIGNED),
                                    ({n: -abs(a) for n, a in end.items()}, UPSIDE_DOWN)):  # fmt: skip
                expect(mask != prune(scores, rate=rate, mask=before), message)
            raise Wrong(f"After round {i + 1} your mask keeps the right number of weights, but not those with the "
                        "largest trained magnitude in each layer.")  # fmt: skip
        before = mask


# --- What must hold ---------------------------------------------------------------------------------------------------


def invariants(run):
    """Stop with an AssertionError unless this is a proper lottery-ticket run.

    run.theta_0 : {name: array}, the initial weights
    run.masks, run.starts, run.ends : lists with one {name: array} a round, the dense network first:
        the mask, the weights when training began, the weights when it ended
    """
    for round, mask in enumerate(run.masks):
        for name in run.theta_0:
            kept = mask[name]
            assert (run.starts[round][name] == run.theta_0[name] * kept).all(), f"round {round}: not rewound"
            assert (run.ends[round][name][~kept] == 0).all(), f"round {round}: a pruned weight is back"
            if round:
                earlier = run.masks[round - 1][name]
                assert not (kept & ~earlier).any(), f"round {round}: the mask is not nested in the one before"


NO_ASSERT = (
    "Your function let a broken run pass. It has to `assert` all three: starts are theta_0 * mask, masks are nested, "
    "pruned weights stay zero."
)
RETURNED_FALSE = (
    "Your function returned a value. An `assert` stops a broken run; a returned False is easily ignored."
)
FALSE_ALARM = "Your function rejected a run that is in order."
REVERSED = "You demand that a mask keeps all that the one before kept: nesting is the other way round."
FIRST_ROUND = "You looked at one round only: the break is in another one."
FIRST_LAYER = "You looked at one layer only: the break is in another one."
NEARLY = (
    "A start that is *nearly* theta_0 passed. Rewinding copies numbers, so equality is exact (==), and np.allclose "
    "is too kind: a short training would pass it."
)
ZERO_MEANS_PRUNED = (
    "Your function takes a weight of exactly zero for a pruned one, but a survivor may well be zero. The mask "
    "says who was pruned, never the weights."
)
DENSITY_ONLY = (
    "A run passed in which a pruned weight came back while another one left: the counts agree, the places do not. "
    "Compare the masks entry by entry."
)
REGROWN = "A run passed in which a pruned weight was no longer zero after training: the optimiser revived it."
RESEEDED = "A run passed whose later rounds started from another draw than theta_0."


def practice_run(rounds=4, rate=0.3):
    """A proper run with ``theta_0``, and ``masks``, ``starts``, ``ends`` of each round (lists, dense first)."""
    practice = Practice(1)
    mask, start = imp(practice.theta_0, practice.train, rate, rounds)
    practice.train(start, mask)
    return SimpleNamespace(
        theta_0=practice.theta_0, masks=practice.masks, starts=practice.starts, ends=practice.ends
    )


def _broken(how, layer="fc2.weight", round=-1):
    """A run broken in one way; by default in the last round and the last layer, where a quick look misses it."""
    run = practice_run()
    kept = run.masks[round][layer].copy()
    dead, alive = tuple(np.argwhere(~kept)[0]), tuple(np.argwhere(kept)[0])
    if how == "a re-seeded start":
        run.starts[round][layer] = Practice(2).theta_0[layer] * kept
    elif how == "a start that is a little off":
        run.starts[round][layer][alive] += 1e-9
    elif how == "a pruned weight that grew back":
        run.ends[round][layer][dead] = 0.01
    elif how == "masks that are not nested":
        kept[dead], kept[alive] = True, False
        run.masks[round] = Mask({**run.masks[round], layer: kept})
        run.starts[round] = _times(run.theta_0, run.masks[round])
        run.ends[round] = _times(run.ends[round], run.masks[round])
    elif how == "a survivor whose value is exactly zero":
        run.ends[round][layer][alive] = 0.0
    return run


def _asserts(
    start=True, dead=True, nested=True, rounds=slice(None), layers=slice(None), equal=np.array_equal
):
    """Invariants like the reference's with parts left out: the raw material of the wrong answers."""

    def partly(run):
        for round in range(len(run.masks))[rounds]:
            for name in list(run.theta_0)[layers]:
                kept = run.masks[round][name]
                if start:
                    assert equal(run.starts[round][name], run.theta_0[name] * kept)
                if dead:
                    assert not run.ends[round][name][~kept].any()
                if nested and round:
                    assert not (kept & ~run.masks[round - 1][name]).any()

    return partly


def _reversed(run):
    for earlier, later in zip(run.masks, run.masks[1:], strict=False):
        assert all((later[name] >= earlier[name]).all() for name in later)


def _zero_is_pruned(run):
    _asserts()(run)
    for mask, end in zip(run.masks, run.ends, strict=True):
        assert all(((end[name] != 0) == mask[name]).all() for name in mask)


def _counts(run):
    _asserts(nested=False)(run)
    assert all(b.kept <= a.kept for a, b in zip(run.masks, run.masks[1:], strict=False))


def _returns(run):
    return all(mask.density <= 1 for mask in run.masks)


wrong_invariants = {
    _asserts(start=False, dead=False, nested=False): NO_ASSERT,
    _returns: RETURNED_FALSE,
    _reversed: REVERSED,
    _asserts(rounds=slice(2)): FIRST_ROUND,
    _asserts(layers=slice(1)): FIRST_LAYER,
    _asserts(equal=np.allclose): NEARLY,
    _zero_is_pruned: ZERO_MEANS_PRUNED,
    _counts: DENSITY_ONLY,
    _asserts(dead=False): REGROWN,
    _asserts(start=False): RESEEDED,
}

_BREAKS = {
    "a re-seeded start": RESEEDED,
    "masks that are not nested": DENSITY_ONLY,
    "a pruned weight that grew back": REGROWN,
    "a start that is a little off": NEARLY,
}


@exercise(
    reference=invariants,
    wrong=wrong_invariants,
    idea="An invariant is what must hold in every round, whatever the data. Three are enough to catch most of the bugs "
    "that published code has shipped: where the round started, what pruned weights did, how masks follow each other.",
    steps="Go through all rounds and all layers. With kept = run.masks[round][name]: starts[round][name] equals "
    "theta_0[name] * kept, exactly; ends[round][name][~kept] is all zero; and from round 1 on, nothing is kept that "
    "run.masks[round - 1][name] had removed.",
)
def check_invariants(answer):
    yield "accepted: a proper run"
    given, accepted = _accepts(answer, practice_run())
    expect(given is None, RETURNED_FALSE)
    if not accepted:
        expect(not _accepts(answer, _growing_run())[1], REVERSED)
        raise Wrong(FALSE_ALARM)
    yield "accepted: a survivor whose value is exactly zero"
    note(_accepts(answer, _broken("a survivor whose value is exactly zero"))[1], ZERO_MEANS_PRUNED)
    for how, message in _BREAKS.items():
        yield f"rejected: {how}"
        if _accepts(answer, _broken(how))[1]:
            expect(_accepts(answer, _broken(how, layer="fc1.weight"))[1], FIRST_LAYER)
            expect(_accepts(answer, _broken(how, round=1))[1], FIRST_ROUND)
            expect(not all(_accepts(answer, _broken(other))[1] for other in _BREAKS), NO_ASSERT)
            note(False, message)


def _accepts(answer, run):
    try:
        return answer(run), True
    except AssertionError:
        return None, False


def _growing_run():
    """A run whose masks grow: only someone who has the nesting the wrong way round accepts it."""
    run = practice_run()
    for values in (run.masks, run.starts, run.ends):
        values.reverse()
    return run


# --- When to stop -----------------------------------------------------------------------------------------------------


def early_stop_step(steps, validation_loss):
    """The optimiser step at which the validation loss was lowest.

    steps : (E,), when the loss was measured
    validation_loss : (..., E), one curve or many; NaN where nothing was measured
    Returns one step a curve, (...).
    """
    measured = np.where(np.isfinite(validation_loss), validation_loss, np.inf)
    return np.asarray(steps)[np.argmin(measured, axis=-1)]


def _wrong_index(steps, validation_loss):
    return np.argmin(np.where(np.isfinite(validation_loss), validation_loss, np.inf), axis=-1)


def _wrong_highest(steps, validation_loss):
    return steps[np.argmax(np.where(np.isfinite(validation_loss), validation_loss, -np.inf), axis=-1)]


def _wrong_value(steps, validation_loss):
    return np.nanmin(validation_loss, axis=-1)


def _wrong_last(steps, validation_loss):
    return np.full(np.shape(validation_loss)[:-1], steps[-1])


def _wrong_axis(steps, validation_loss):
    return steps[np.argmin(validation_loss, axis=0)]


def _wrong_all(steps, validation_loss):
    return steps[np.unravel_index(np.argmin(validation_loss), np.shape(validation_loss))[-1]]


def _wrong_nan(steps, validation_loss):
    return steps[np.argmin(validation_loss, axis=-1)]


def _wrong_tie(steps, validation_loss):
    there = np.where(np.isfinite(validation_loss), validation_loss, np.inf)
    return steps[there.shape[-1] - 1 - np.argmin(there[..., ::-1], axis=-1)]


@exercise(
    reference=early_stop_step,
    wrong={
        _wrong_nan: "A curve with missing values (NaN) got the step of the gap: np.argmin takes NaN for the minimum. "
        "Replace what is not finite by infinity first.",
        _wrong_index: "That is the number of the evaluation. Asked is the optimiser step: look it up in `steps`.",
        _wrong_highest: "That is where the loss is highest. Accuracy is to be high, loss is to be low.",
        _wrong_value: "That is the lowest loss itself. Asked is the step at which it was reached.",
        _wrong_last: "That is the last step. Early stopping looks back for the step of the lowest validation loss.",
        _wrong_axis: "You took the minimum over the wrong axis: evaluations run along the last one.",
        _wrong_all: "You took one minimum over all curves. Every curve has a step of its own: axis=-1.",
        _wrong_tie: "The lowest loss was reached twice, and you gave the later step. The earlier one is cheaper.",
    },
    idea="Training goes on to the end; afterwards one looks back and asks when the *validation* loss was lowest. "
    "The test set has no say in it: who chooses by test accuracy reports a number that is too good.",
    steps="validation_loss has shape (..., E), steps has shape (E,). np.argmin(..., axis=-1) gives the number of the "
    "evaluation, steps[that] the step. Missing values: np.where(np.isfinite(loss), loss, np.inf).",
)
def check_early_stop_step(answer):
    steps = np.array([0, 50, 100, 150, 200])
    yield "one curve"
    compare(answer, steps, np.array([2.3, 0.9, 0.4, 0.5, 0.7]))
    yield "the minimum at the start, and one twice"
    compare(answer, steps, np.array([[0.1, 0.2, 0.3, 0.4, 0.5], [2.0, 1.0, 0.5, 0.7, 0.5]]))
    yield "rounds x seeds x evaluations"
    compare(answer, steps, np.random.default_rng(0).random((3, 2, 5)))
    yield "a curve with gaps"
    compare(answer, steps, np.array([2.3, np.nan, 0.4, 0.6, np.nan]))


# --- What it costs ----------------------------------------------------------------------------------------------------


def search_bill(rate, rounds):
    """What a ticket costs and what it saves, in units of one dense training.

    rate, rounds : of the search; all layers lose the same share
    Returns (trainings, search, break_even): how many networks the search trains, what they cost together
    if a network of density d costs d, and how many trainings of the ticket have to follow to pay for it.
    """
    density = (1 - rate) ** np.arange(rounds + 1)
    search = density[:-1].sum()
    saved = 1 - density[-1]
    return rounds, search, search / saved


def _bill(
    trainings=lambda rounds: rounds, paid=slice(None, -1), density=None, saved=lambda density: 1 - density[-1]
):
    """A bill like the reference's with one of its parts exchanged: the raw material of the wrong answers."""

    def bill(rate, rounds):
        d = density(rate, np.arange(rounds + 1)) if density else (1 - rate) ** np.arange(rounds + 1)
        return trainings(rounds), d[paid].sum(), d[paid].sum() / saved(d)

    return bill


@exercise(
    reference=search_bill,
    wrong={
        _bill(
            lambda rounds: rounds + 1, slice(None)
        ): "You paid for the ticket's own training, too. That one comes after the search.",
        _bill(
            lambda rounds: rounds - 1, slice(1, -1)
        ): "You forgot the first training, that of the dense network: "
        "the search begins with it, and it is the dearest.",
        _bill(
            paid=slice(1, None)
        ): "You added the densities after each pruning. Each training runs at the density "
        "*before* its pruning: the first one at 1.",
        _bill(
            paid=slice(0, None)
        ): "You added one density too many: the last one is the ticket's own, after the search.",
        _bill(density=lambda rate, k: rate**k): "The rate is what goes; what stays is 1 - rate.",
        _bill(
            density=lambda rate, k: 1 - rate * k
        ): "Density does not fall in equal slices: each round removes a "
        "share of the survivors, so it falls as (1 - rate) ** round.",
        _bill(
            saved=lambda density: density[-1]
        ): "You divided by what a training of the ticket costs. What it *saves* is 1 - density.",
        _bill(
            saved=lambda density: 1.0
        ): "You divided by 1, as if training the ticket cost nothing. It saves 1 - density.",
    },
    idea="Count in units of one dense training, and be generous: suppose that a network of density d trains at the "
    "cost d (on ordinary hardware zeros cost as much as other numbers). The search trains the dense network first, "
    "then one network a round, each at the density it has before it is pruned.",
    steps="density[k] = (1 - rate) ** k. trainings = rounds. search = density[0] + ... + density[rounds - 1]. "
    "One training with the finished ticket saves 1 - density[rounds]. break_even = search / saved.",
)
def check_search_bill(answer):
    def same(a, b):
        expect(isinstance(a, tuple) and len(a) == 3, "Return three numbers: trainings, search, break_even.")
        return bool(np.allclose(np.array(a, float), np.array(b, float)))

    yield "one round at rate 0.5: pay 1, save 0.5"
    compare(answer, 0.5, 1, same=same)
    yield "12 rounds at rate 0.2"
    compare(answer, 0.2, 12, same=same)
    yield "two rounds at rate 0.8, and seven at 0.1"
    compare(answer, 0.8, 2, same=same)
    compare(answer, 0.1, 7, same=same)


EXERCISES = (check_imp, check_invariants, check_early_stop_step, check_search_bill)
hint = ladder(*EXERCISES)
