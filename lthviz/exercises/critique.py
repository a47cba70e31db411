"""The exercises of lesson 12: how many seeds, a verdict, what choosing afterwards does, and a registration."""

import itertools

import numpy as np

from ..result import t_quantile
from .check import compare, exercise, ladder

# --- How many seeds ---------------------------------------------------------------------------------------------------


def power(difference, spread, n, rng, studies=4000):
    """How often a study of n seeds would report "higher", if that were the truth.

    difference, spread : mean and standard deviation over seeds of the paired difference, in points
    n : seeds of one study, 2 or more
    rng : the numpy Generator to draw from
    studies : how many studies to simulate
    Returns the share of them whose 95 % t-interval lies above zero.
    """
    drawn = rng.normal(difference, spread, (studies, n))
    half = t_quantile(n - 1) * drawn.std(axis=1, ddof=1) / np.sqrt(n)
    return np.mean(drawn.mean(axis=1) - half > 0)


def _power(half=lambda drawn, spread, n: t_quantile(n - 1) * drawn.std(axis=1, ddof=1) / np.sqrt(n),
           found=lambda mean, half: mean - half > 0, source=lambda rng: rng):  # fmt: skip
    """A simulation like the reference's with one of its parts exchanged: the raw material of the wrong answers."""

    def wrong(difference, spread, n, rng, studies=4000):
        drawn = source(rng).normal(difference, spread, (studies, n))
        return np.mean(found(drawn.mean(axis=1), half(drawn, spread, n)))

    return wrong


def _near(a, b):
    """Equal up to the noise of 20,000 studies."""
    return np.ndim(a) == 0 and np.asarray(a).dtype.kind in "biuf" and abs(a - b) < 0.012


@exercise(
    reference=power,
    wrong={
        _power(found=lambda mean, half: mean > 0): "You counted the studies whose mean is above zero. Without any "
        "difference that is every second one: ask whether the *interval* lies above zero.",
        _power(found=lambda mean, half: abs(mean) > half): "You counted “lower”, too. A study that finds the opposite of "
        "the truth has not found it: only intervals above zero count.",
        _power(half=lambda drawn, spread, n: t_quantile(n - 1) * drawn.std(axis=1, ddof=1)): "That is how much single "
        "seeds vary. The interval is one of their *mean*: divide by the square root of n.",
        _power(half=lambda drawn, spread, n: 1.96 * drawn.std(axis=1, ddof=1) / np.sqrt(n)): "1.96 belongs to the normal "
        "distribution, and to many seeds. With few of them Student's t is far wider: `t_quantile(n - 1)`.",
        _power(half=lambda drawn, spread, n: 1.96 * spread / np.sqrt(n)): "You used the true spread. A study does not know "
        "it: take the standard deviation of its own n seeds, and `t_quantile(n - 1)`.",
        _power(half=lambda drawn, spread, n: t_quantile(n - 1) * spread / np.sqrt(n)): "The spread that you are told is the "
        "true one, which a study does not know: take the standard deviation of its own n seeds.",
        _power(half=lambda drawn, spread, n: t_quantile(n) * drawn.std(axis=1, ddof=1) / np.sqrt(n)): "n seeds have n - 1 "
        "degrees of freedom, since their mean is taken from them too: `t_quantile(n - 1)`.",
        _power(half=lambda drawn, spread, n: t_quantile(n - 1) * drawn.std(axis=1, ddof=1) / n): "Divide the standard "
        "deviation by the square root of n, not by n.",
        lambda *arguments: 100 * power(*arguments): "These are per cent. A share lies between 0 and 1.",
        _power(half=lambda drawn, spread, n: t_quantile(n - 1) * drawn.std(axis=1) / np.sqrt(n)): "The standard deviation "
        "of a sample is divided by n - 1: `ddof=1`. With five seeds it makes a difference.",
        _power(found=lambda mean, half: (mean - half > 0) * len(mean)): "That is the number of studies. Asked is their share.",
    },
    idea="Play the study many times with made-up seeds whose truth you know. In each, do what you would do with real "
    "seeds: mean, interval, verdict. How often is the verdict “higher”?",
    steps="rng.normal(difference, spread, (studies, n)) holds a study in each row. Half of a row's interval is "
    "t_quantile(n - 1) * its standard deviation (ddof=1) / np.sqrt(n); t_quantile is in lthviz.result. "
    "Return the mean of (row mean - half > 0).",
)  # fmt: skip
def check_power(answer):
    def case(difference, spread, n):
        compare(answer, difference, spread, n, np.random.default_rng(n), 20_000, same=_near)

    yield "five seeds, a difference as large as the spread"
    case(0.5, 0.5, 5)
    yield "no difference at all: false alarms on one side"
    case(0.0, 2.0, 5)
    yield "ten seeds, a difference of half the spread"
    case(1.0, 2.0, 10)
    yield "the truth is lower"
    case(-1.0, 0.8, 6)


# --- A verdict --------------------------------------------------------------------------------------------------------


def verdict(differences):
    """What paired differences allow one to say.

    differences : (n,) one a seed; NaN where a network diverged
    Returns "higher" or "lower" where the 95 % t-interval of the mean leaves out zero, else "not distinguishable".
    """
    there = differences[np.isfinite(differences)]
    if len(there) < 2:
        return "not distinguishable"
    half = t_quantile(len(there) - 1) * there.std(ddof=1) / np.sqrt(len(there))
    if there.mean() - half > 0:
        return "higher"
    return "lower" if there.mean() + half < 0 else "not distinguishable"


def _word(higher, lower):
    return "higher" if higher else "lower" if lower else "not distinguishable"


def _verdict(half, clean=lambda d: d[np.isfinite(d)]):
    """A verdict like the reference's with another interval: the raw material of the wrong answers."""

    def wrong(differences):
        there = clean(differences)
        with np.errstate(invalid="ignore", divide="ignore"):
            width = half(there, len(there)) if len(there) > 1 else np.nan
        return _word(there.mean() - width > 0, there.mean() + width < 0)

    return wrong


def _standard(there, n):
    return t_quantile(n - 1) * there.std(ddof=1) / np.sqrt(n)


def _counted(differences):
    n, mean = len(differences), np.nanmean(differences)
    half = t_quantile(n - 1) * np.nanstd(differences, ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return _word(mean - half > 0, mean + half < 0)


def _sign(differences):
    return _word(np.nanmean(differences) > 0, True)


@exercise(
    reference=verdict,
    wrong={
        _verdict(_standard, clean=lambda d: d): "A diverged network (NaN) spoils your interval, and the verdict with it. "
        "Leave that seed out, rather than put a zero for it, and count n anew.",
        lambda d: _word((d[np.isfinite(d)] > 0).all() and len(d) > 1, (d[np.isfinite(d)] < 0).all() and len(d) > 1): "You "
        "ask that all seeds agree. With enough seeds one of them nearly always disagrees, however clear the mean is.",
        _verdict(lambda there, n: t_quantile(n - 1) * there.std(ddof=1)): "Your interval is that of single seeds. For "
        "their mean divide by the square root of n.",
        _counted: "Four of these five seeds are left, so n is 4: with t_quantile(3) the interval holds zero.",
        _verdict(lambda there, n: 1.96 * there.std(ddof=1) / np.sqrt(n)): "Four seeds say little. Many seeds have 1.96, four "
        "have 3.18, `t_quantile(n - 1)`; with it and the standard deviation of a sample, `ddof=1`, this interval holds zero.",
        lambda d: verdict(d) if len(d) > 1 else _sign(d): "A single seed has no interval, so nothing can be said: "
        "“not distinguishable”.",
        _sign: "You went by the sign of the mean. It is never exactly zero, so you would always report a winner.",
        lambda d: "higher" if verdict(d) == "higher" else "lower": "What is not “higher” need not be “lower”: "
        "the interval may hold zero.",
    },
    idea="Three words, two questions: does the whole interval lie above zero? Below? If neither, the seeds cannot tell.",
    steps="Keep the finite differences; with fewer than two of them the answer is “not distinguishable”. half = "
    "t_quantile(n - 1) * std(ddof=1) / sqrt(n) with n the number that you kept. Compare mean - half and mean + half with 0.",
)  # fmt: skip
def check_verdict(answer):
    rng = np.random.default_rng(0)

    def case(differences):
        compare(
            answer,
            differences,
            same=lambda given, word: isinstance(given, str | np.ndarray) and str(given) == word,
        )

    yield "ten seeds that agree"
    case(np.array([0.2, 1.9, 0.4, 1.7, 0.3, 1.8, 0.9, 1.1, 0.5, 1.4]))
    yield "nine seeds that agree and one that does not"
    case(np.array([0.8, 0.9, 0.7, 1.0, 0.9, 0.8, 1.1, 0.9, 1.0, -0.1]))
    yield "ten seeds, the other way"
    case(np.array([-0.8, -0.9, -0.7, -1.0, -0.9, -0.8, -1.1, -0.9, -1.0, -0.6]))
    yield "a mean of 0.1 among differences of 1"
    case(np.array([1.0, -1.0, 1.2, -0.8, 0.9, -0.9, 1.0, -0.6]))
    yield "four seeds"
    case(np.array([0.0, 1.2, 1.0, 0.9]))
    yield "one of eight diverged"
    case(np.r_[2 + 0.1 * rng.normal(size=7), np.nan])
    yield "one of four diverged, the others agree"
    case(np.array([2.0, 2.1, np.nan, 1.9]))
    yield "one of five diverged, the others vary"
    case(np.array([-0.05, 1.0, np.nan, 1.1, 0.9]))
    yield "a single seed"
    case(np.array([0.7]))


# --- Choosing after looking -------------------------------------------------------------------------------------------


def chance_of_a_find(differences):
    """How likely a "difference" turns up at one density at least, if there is none at any.

    differences : (D, S) paired differences at D densities, S seeds; with no difference between the arms each
        seed's whole column might as well have the opposite sign
    Returns the share of all 2^S patterns of signs in which at least one density's 95 % t-interval leaves out zero.
    """
    seeds = differences.shape[1]
    finds = []
    for signs in itertools.product((1, -1), repeat=seeds):
        flipped = differences * signs
        half = t_quantile(seeds - 1) * flipped.std(axis=1, ddof=1) / np.sqrt(seeds)
        finds.append((abs(flipped.mean(axis=1)) > half).any())
    return np.mean(finds)


def _found(differences, quantile=t_quantile):
    """(patterns, D): where each pattern of signs finds a difference, above (1) or below (-1)."""
    seeds = differences.shape[1]
    signs = np.array(list(itertools.product((1, -1), repeat=seeds)))
    flipped = differences[None] * signs[:, None]
    mean, half = flipped.mean(-1), quantile(seeds - 1) * flipped.std(-1, ddof=1) / np.sqrt(seeds)
    return np.sign(mean) * (abs(mean) > half)


def _found_with(spread):
    """Like the reference, with another standard deviation."""

    def wrong(differences):
        seeds = differences.shape[1]
        flipped = differences[None] * np.array(list(itertools.product((1, -1), repeat=seeds)))[:, None]
        half = t_quantile(seeds - 1) * spread(flipped, differences) / np.sqrt(seeds)
        return (abs(flipped.mean(-1)) > half).any(1).mean()

    return wrong


def _best_only(differences):
    standard = differences.std(1, ddof=1)
    best = np.argmax(abs(differences.mean(1)) / standard)
    return (_found(differences)[:, best] != 0).mean()


@exercise(
    reference=chance_of_a_find,
    wrong={
        lambda d: (_found(d) != 0).mean(): "That is how often *one given* density raises a false alarm, on average. Whoever "
        "looks at all of them and reports one has as many chances as there are densities.",
        lambda d: (_found(d) > 0).any(1).mean(): "You counted only “higher”. A “lower” would be reported, too.",
        lambda d: (_found(d) != 0).all(1).mean(): "You asked that *all* densities show a difference. One is enough to be "
        "reported: any, not all.",
        lambda d: 1 - np.prod(1 - (_found(d) != 0).mean(0)): "You treated the densities as independent. They share their "
        "seeds: flip a seed's sign at all densities at once.",
        lambda d: 1 - 0.95 ** len(d): "That is a formula for densities that have nothing to do with each other. These share "
        "their seeds: count, over all patterns of signs.",
        _best_only: "You chose the best density once and flipped signs there only. In a world without any difference another "
        "density would have looked best: choose anew in every pattern.",
        lambda d: (_found(d, lambda n: 1.96) != 0).any(1).mean(): "1.96 is for many seeds: `t_quantile(S - 1)`.",
        _found_with(lambda flipped, d: flipped.std(-1)): "The standard deviation of a sample is divided by S - 1: `ddof=1`.",
        _found_with(lambda flipped, d: d.std(-1, ddof=1)): "You took the standard deviation of the differences as they came. "
        "Flipped signs move the mean, and with it how far the seeds lie from it: compute it anew in every pattern.",
        lambda d: 100 * chance_of_a_find(d): "These are per cent. A share lies between 0 and 1.",
        lambda d: float((_found(d)[0] != 0).any()): "That is whether the differences as they are hold a find. Asked is how "
        "often chance alone would give one: go through all patterns of signs.",
    },
    idea="If the two arms do not differ, it is chance which of them is called a and which b, in every seed anew. So swap "
    "them in all possible ways, and each time do what the eager author does: look at every density for a difference.",
    steps="itertools.product((1, -1), repeat=S) gives all patterns; differences * signs flips whole columns. For each: "
    "mean and std(ddof=1) over axis 1, half = t_quantile(S - 1) * std / sqrt(S), and is abs(mean) > half at any density? "
    "Return the share of patterns where it is.",
)  # fmt: skip
def check_chance_of_a_find(answer):
    rng = np.random.default_rng(5)
    yield "one density: nothing to choose"
    compare(answer, rng.normal(size=(1, 8)))
    yield "five densities that have nothing to do with each other"
    compare(answer, rng.normal(size=(5, 8)))
    yield "ten densities that rise and fall together"
    compare(answer, rng.normal(size=8) + 0.5 * rng.normal(size=(10, 8)))


# --- A registration ---------------------------------------------------------------------------------------------------

#: What a registration says, and how: the template of the lesson.
FIELDS = {
    "question": "one sentence",
    "direction": "“higher” or “lower”: what is expected of the first arm minus the second",
    "size": "the smallest difference that would count, in points, above zero",
    "arms": "at least two different names",
    "seeds": "at least two different seeds, one by one",
    "measure": "one text: which number, of what, when",
    "stopping_rule": "when the data are complete",
    "analysis": "which interval of what",
    "change_my_mind": "the outcome that would make you give the hypothesis up",
}


def missing(registration):
    """Which fields of a registration are missing, or say nothing.

    registration : dict; see FIELDS for what each field holds
    Returns the names of the fields at fault, in the order of FIELDS.
    """
    fault = []
    for name in FIELDS:
        value = registration.get(name)
        if name == "direction":
            good = value in ("higher", "lower")
        elif name == "size":
            good = isinstance(value, int | float) and value > 0
        elif name in ("arms", "seeds"):
            good = isinstance(value, list | tuple) and len(set(value)) >= 2 and len(set(value)) == len(value)
        else:
            good = isinstance(value, str) and bool(value.strip())
        if not good:
            fault.append(name)
    return fault


def _missing(**lenient):
    """Like the reference, but with another rule for one or several fields."""

    def wrong(registration):
        return [
            name
            for name in FIELDS
            if (
                not lenient[name](registration.get(name))
                if name in lenient
                else name in missing(registration)
            )
        ]

    return wrong


_TEXTS = ("question", "measure", "stopping_rule", "analysis", "change_my_mind")


@exercise(
    reference=missing,
    wrong={
        _missing(**dict.fromkeys(_TEXTS, lambda v: isinstance(v, str) and v)): "A text of blanks passes: use .strip().",
        _missing(direction=lambda v: isinstance(v, str) and v.strip()): "“Different” passes as a direction. Whoever is "
        "content with any difference can never be wrong: only “higher” or “lower” will do.",
        _missing(size=lambda v: isinstance(v, int | float)): "A size of zero passes. Then the smallest gap would confirm "
        "the hypothesis: it must be above zero.",
        _missing(seeds=lambda v: (isinstance(v, list | tuple) and len(v) > 1) or (isinstance(v, int) and v > 1)): "A mere "
        "number of seeds passes, or the same seed twice. Only seeds that are named cannot be exchanged for luckier ones.",
        _missing(arms=lambda v: isinstance(v, list | tuple) and len(v) > 1): "The same arm twice passes. A comparison needs "
        "two different ones.",
        _missing(measure=bool): "A list of measures passes. *The* primary measure is one text; with three of them, one "
        "will look good.",
        lambda r: [name for name in FIELDS if not r.get(name)]: "You only ask whether something stands there. Of direction, "
        "size, arms and seeds one can ask more: see FIELDS.",
        lambda r: [name for name in FIELDS if name not in r]: "You only ask whether the field is there. An empty one says "
        "nothing either.",
        lambda r: [name for name in r if name in missing(r)] + [name for name in FIELDS if name not in r]: "The fields come "
        "in the order of FIELDS, not in that of the registration.",
        lambda r: [name for name in r if name in missing(r)]: "You go through what the registration holds. What was left out "
        "is not in it: go through FIELDS.",
        lambda r: [name for name in FIELDS if name not in missing(r)]: "You return the fields that are in order. Asked are "
        "those that are not.",
        lambda r: sorted(missing(r)): "The fields come in the order of FIELDS, not of the alphabet.",
    },
    idea="For each field one question: if its author were tempted to change his mind after seeing the results, would what "
    "stands here stop him?",
    steps="Go through FIELDS. Texts: isinstance(value, str) and value.strip(). direction: in (“higher”, “lower”). size: a "
    "number above zero. arms and seeds: a list or tuple of at least two, with no repetition. registration.get(name) is "
    "None where a field is missing.",
)  # fmt: skip
def check_missing(answer):
    whole = {
        "change_my_mind": "an interval that lies below one point",
        "question": "Does a larger batch widen the gap between rewind and re-init?",
        "arms": ["rewind", "reinit"],
        "direction": "higher",
        "size": 1.0,
        "seeds": [20, 21, 22, 23],
        "measure": "test accuracy at the end of training, at 13 % density",
        "stopping_rule": "after these four seeds",
        "analysis": "95 % t-interval of the paired difference",
    }
    yield "nothing is missing"
    compare(answer, whole)
    yield "nothing is there"
    compare(answer, {})
    yield "a field is left out, another is empty"
    compare(answer, {name: value for name, value in whole.items() if name != "analysis"} | {"question": ""})
    yield "any difference will do, between an arm and itself"
    compare(answer, whole | {"direction": "different", "arms": ["rewind", "rewind"]})
    yield "blanks"
    compare(answer, whole | {"stopping_rule": "   "})
    yield "a size of zero"
    compare(answer, whole | {"size": 0})
    yield "ten seeds, but which?"
    compare(answer, whole | {"seeds": 10})
    yield "the same seed twice"
    compare(answer, whole | {"seeds": (4, 4)})
    yield "three primary measures"
    compare(answer, whole | {"measure": ["accuracy", "loss", "early-stop step"]})


EXERCISES = (check_power, check_verdict, check_chance_of_a_find, check_missing)
hint = ladder(*EXERCISES)
