"""Lesson 12: the solutions against independent computations, the explorer, and the lesson's claims."""

import itertools

import numpy as np
import pytest
import traitlets
from scipy import stats

from lthviz import charts, run
from lthviz.atlas_build import (
    CLASS_ROOM,
    CONV,
    FASHION,
    LEARNING_RATES,
    LENET,
    LONGER,
    METHODS_COMPARED,
    MNIST1D,
)  # fmt: skip
from lthviz.exercises import critique as lesson
from lthviz.explorer.lessons.critique import CLAIMS, claim_browser
from lthviz.result import interval, t_quantile

from .helpers import made_up, shown

# The solutions


@pytest.mark.parametrize(
    "difference, spread, n", [(0, 1, 4), (0.5, 0.8, 25), (1, 1.2, 10), (2, 0.8, 2), (-1, 1, 6)]
)
def test_power_is_that_of_the_noncentral_t(difference, spread, n):
    """P(T > t) for T with n - 1 degrees of freedom and noncentrality d sqrt(n) / s (Cohen 1988 tabulates it)."""
    truth = stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, difference * np.sqrt(n) / spread)
    found = lesson.power(difference, spread, n, np.random.default_rng(1), studies=40_000)
    assert found == pytest.approx(truth, abs=0.01)


@pytest.mark.parametrize("n", [2, 3, 10, 40])
def test_the_verdict_is_that_of_a_t_test(n):
    rng = np.random.default_rng(n)
    told = set()
    for shift in np.linspace(-2, 2, 41):
        differences = rng.normal(shift, 1, n)
        test = stats.ttest_1samp(differences, 0)
        word = "not distinguishable" if test.pvalue > 0.05 else "higher" if test.statistic > 0 else "lower"
        told.add(word)
        assert lesson.verdict(differences) == word
        assert lesson.verdict(np.r_[differences, np.nan]) == word
        assert lesson.verdict(-differences) == {"higher": "lower", "lower": "higher"}.get(word, word)
    assert len(told) > 1


def test_a_verdict_may_come_from_numpy_but_not_from_a_narrower_interval():
    def by(quantile, ddof=1, clean=lambda d: d[np.isfinite(d)]):
        def verdict(differences):
            there = clean(differences)
            if len(there) < 2:
                return "not distinguishable"
            half = quantile(len(there)) * there.std(ddof=ddof) / np.sqrt(len(there))
            words = ["higher", "lower", "not distinguishable"]
            return np.select([there.mean() > half, there.mean() < -half], words[:2], words[2])

        return verdict

    assert lesson.check_verdict(by(lambda n: t_quantile(n - 1))).passed
    assert "`ddof=1`" in lesson.check_verdict(by(t_quantile)).message
    assert "`ddof=1`" in lesson.check_verdict(by(lambda n: t_quantile(n - 1), ddof=0)).message
    assert "a zero" in lesson.check_verdict(by(lambda n: t_quantile(n - 1), clean=np.nan_to_num)).message


def test_the_chance_of_a_find_is_that_of_single_t_tests():
    rng = np.random.default_rng(2)
    differences = rng.normal(size=6) + 0.7 * rng.normal(size=(4, 6))
    finds = 0
    for pattern in range(2**6):
        signs = np.array([1 if pattern >> seed & 1 else -1 for seed in range(6)])
        finds += min(stats.ttest_1samp(row * signs, 0).pvalue for row in differences) < 0.05
    assert lesson.chance_of_a_find(differences) == finds / 2**6


def test_the_chance_of_a_find_does_not_know_the_signs_and_grows_with_the_densities():
    differences = np.random.default_rng(3).normal(size=(12, 7))
    chances = [lesson.chance_of_a_find(differences[:many]) for many in (1, 4, 12)]
    assert chances[0] < chances[1] < chances[2]
    assert lesson.chance_of_a_find(differences * np.array([1, -1, -1, 1, 1, -1, 1])) == chances[2]
    assert (
        lesson.chance_of_a_find(np.repeat(differences[:1], 9, axis=0)) == chances[0]
    )  # nothing new to choose


def test_every_field_of_a_registration_can_be_missing():
    whole = dict.fromkeys(lesson.FIELDS, "in words") | {
        "direction": "lower",
        "size": 0.5,
        "arms": ["a", "b"],
        "seeds": (3, 4),
    }
    assert lesson.missing(whole) == []
    assert lesson.missing(whole | {"remark": ""}) == []
    assert lesson.missing(whole | {"seeds": (3, 3, 4)}) == ["seeds"]
    for name in lesson.FIELDS:
        assert lesson.missing({key: value for key, value in whole.items() if key != name}) == [name]
        assert lesson.missing(whole | {name: None}) == [name]
    assert lesson.missing(dict(reversed(whole.items())) | {"analysis": " ", "arms": []}) == [
        "arms",
        "analysis",
    ]


# The table of verdicts


def test_the_table_says_what_the_numbers_say():
    rng = np.random.default_rng(0)
    cells = {
        "first": {"up": 3 + rng.random(5), "down": -3 - rng.random(5)},
        "second": {"up": rng.normal(0, 9, 5)},
    }
    picture = charts.verdicts(cells, title="A page", finding="Two of three are clear.")
    said = {(row["row"], row["column"]): row for row in picture.table()}
    assert {place: row["verdict"] for place, row in said.items()} == {
        ("first", "up"): "higher", ("first", "down"): "lower", ("second", "up"): "not distinguishable",
    }  # fmt: skip
    test = stats.t.interval(0.95, 4, np.mean(cells["second"]["up"]), stats.sem(cells["second"]["up"]))
    row = said["second", "up"]
    assert (row["low"], row["high"], row["n"]) == (
        pytest.approx(test[0], abs=0.01),
        pytest.approx(test[1], abs=0.01),
        5,
    )
    drawn = [text.get_text() for text in picture.figure.axes[0].texts]
    assert drawn.count("not measured") == 1 and sum(text.startswith(("▲", "▼", "?")) for text in drawn) == 3
    assert "A page" in picture.describe() and "first, down: lower" in picture.describe()
    assert picture.caption.startswith("Two of three are clear.")


# The explorer

ARMS = ("rewind", "reinit", "shuffle", "small-dense")


@pytest.fixture
def pair():
    return {
        "one": made_up(arms=ARMS, seeds=4),
        "two": made_up(arms=("rewind", "reinit"), seeds=4, noise=0.02),
    }


def test_a_claim_is_the_comparison_of_the_result(pair):
    for claim in CLAIMS:
        for result in pair.values():
            for at in ("end", "early-stop"):
                differences = claim.differences(result, at)
                if claim.name in ("places", "size") and result is pair["two"]:
                    assert differences is None
                    continue
                for r in range(result.rounds + 1):
                    compared = result.compare(claim.a, claim.b, r, at)
                    assert interval(differences[r]) == pytest.approx(
                        [100 * part for part in (compared.mean, compared.low, compared.high)]
                    )


def test_the_explorer_shows_and_counts_the_verdicts(pair):
    explorer = claim_browser(pair)
    rounds = int((pair["one"].density >= 0.04).sum())
    differences = shown(explorer, "difference")
    assert differences.shape == (2, len(CLAIMS), rounds, 4)
    spoken = [np.array(shown(explorer, f"words/{name}")).reshape(2, len(CLAIMS), rounds) for name in pair]
    assert not any(spoken[0][1].ravel()) and not any(
        spoken[1][0].ravel()
    )  # each speaks of its own line alone
    words = np.stack([spoken[0][0], spoken[1][1]])
    count = np.array(shown(explorer, "count")).reshape(len(CLAIMS), rounds)
    for column, claim in enumerate(CLAIMS):
        assert claim.sentence in shown(explorer, "claims")[column]
        for r in range(1, rounds):
            told = []
            for row, (name, result) in enumerate(pair.items()):
                measured = claim.differences(result)
                if measured is None:
                    assert words[row, column, r] == f"{name}: not measured."
                    continue
                assert differences[row, column, r] == pytest.approx(measured[r], abs=1e-4)
                told.append(lesson.verdict(measured[r]))
                assert f"%: {told[-1]}, {measured[r].mean():+.1f} points" in words[row, column, r]
            parts = [
                f"{told.count(word)} {word}"
                for word in ("higher", "not distinguishable", "lower")
                if word in told
            ]
            assert count[column, r] == f"Round {r}: of {len(told)} settings {', '.join(parts)}."
    explorer.claim = 4
    with pytest.raises(traitlets.TraitError):
        explorer.claim = 5
    assert "<figure" in explorer._repr_mimebundle_()[0]["text/html"]


def test_settings_that_cannot_be_set_side_by_side_are_refused(pair):
    for other in (made_up(rate=0.2, seeds=4), made_up(seeds=3)):
        with pytest.raises(ValueError, match="'three' differs"):
            claim_browser(pair | {"three": other})


# What the prose of the lesson says, against the results


@pytest.fixture(scope="module")
def settings():
    chosen = {"digits": CLASS_ROOM[0], "clothes": FASHION, "signals": MNIST1D, "lenet": LENET, "cnn": CONV}
    return {name: run(experiment, progress=False) for name, experiment in chosen.items()}


@pytest.fixture(scope="module")
def methods():
    return [run(experiment, progress=False) for experiment in METHODS_COMPARED]


def signs(rows) -> str:
    return "".join({"higher": "+", "lower": "-"}.get(lesson.verdict(row), "0") for row in rows)


def claim(name):
    return next(one for one in CLAIMS if one.name == name)


@pytest.mark.parametrize(
    "name, verdicts", [("values", "+++++"), ("places", "00+0"), ("size", "+++++"), ("match", "0+00-")]
)
def test_the_first_page(settings, name, verdicts):
    measured = [(claim(name).differences(r), r.nearest_round(0.2)) for r in settings.values()]
    assert signs(rows[r] for rows, r in measured if rows is not None) == verdicts


def test_each_claim_has_a_range(settings):
    everywhere = {
        one.name: [
            "".join(
                {
                    signs([rows[r]])
                    for rows in [one.differences(s) for s in settings.values()]
                    if rows is not None
                }
            )
            for r in range(15)
        ]
        for one in CLAIMS
    }
    first = {
        name: next(r for r in range(15) if set(said[r:]) == {"+"})
        for name, said in everywhere.items()
        if name != "match"
    }
    assert first == {"values": 6, "places": 11, "size": 5}
    assert everywhere["match"][14] == "-" and "0" in everywhere["match"][13]
    for r, low, high in ((6, 0.26, 0.281), (11, 0.086, 0.102), (14, 0.044, 0.057)):
        assert all(low < result.density[r] < high for result in settings.values())
    gain = signs(claim("match").differences(settings["clothes"])[:15])
    assert gain == "000000+++++000-"
    start = [signs([claim("values").differences(s)[0]]) for s in settings.values()]
    assert start == ["0", "0", "0", "0", "+"]  # the false alarm: nothing is pruned yet
    early = [
        next(r for r in range(15) if "-" in signs([claim("match").differences(s)[r]]))
        for s in settings.values()
    ]
    assert min(early) == early[4] == 2  # the CNN first


def test_late_rewinding_does_not_show_here(settings, methods):
    rounds = [settings["digits"].nearest_round(d) for d in (0.5, 0.2, 0.1, 0.05, 0.03, 0.02)]
    gaps = 100 * (methods[0].accuracy("rewind") - settings["digits"].accuracy("rewind")[:19])[rounds]
    assert methods[0].experiment.rewind_step == 100 and methods[0].seeds == settings["digits"].seeds
    assert signs(gaps) == "000-00" and gaps[3].mean() == pytest.approx(-0.4, abs=0.05)


def test_masks_chosen_before_training(settings, methods):
    found = {result.experiment.method: result for result in methods[1:]}
    for density, wanted in (
        (0.1, ("000-", "----", "000-", "000-")),
        (0.03, ("+++-", "+0+-", "+0+-", "000-")),
    ):
        r, means = settings["digits"].nearest_round(density), []
        for name, verdicts in zip(("snip", "grasp", "synflow", "magnitude"), wanted, strict=True):
            own = found[name].accuracy("rewind")[r]
            others = [found[name].accuracy("shuffle")[r], found[name].accuracy("reinit")[r],
                      found["random"].accuracy("rewind")[r], settings["digits"].accuracy("rewind")[r]]  # fmt: skip
            assert signs(own - other for other in others) == verdicts
            means.append([100 * (own - other).mean() for other in others])
        means = np.array(means).round(1)
        if density == 0.1:
            assert (means[:, 3].max(), means[:, 3].min()) == pytest.approx((-3.6, -5.3), abs=0.051)
        else:
            assert (means[:3, 0].min(), means[:3, 0].max()) == pytest.approx((8.2, 10.2), abs=0.051)
            assert (means[:3, 2].min(), means[:3, 2].max()) == pytest.approx((8.5, 11.3), abs=0.051)


def test_fewer_seeds_tell_other_stories(settings):
    digits = settings["digits"]

    def same(differences, n):
        ten = lesson.verdict(differences)
        told = [
            lesson.verdict(differences[list(c)]) if n > 1 else "higher" if differences[c[0]] > 0 else "lower"
            for c in itertools.combinations(range(10), n)
        ]
        return round(100 * np.mean([word == ten for word in told]))

    values, match = claim("values").differences(digits), claim("match").differences(digits)
    assert [same(values[3], n) for n in (1, 2, 7, 8)] == [90, 11, 86, 100]
    assert [same(values[7], n) for n in (1, 3, 4, 5)] == [100, 44, 99, 100]
    assert same(match[7], 1) == 0 and all(same(match[7], n) > 90 for n in range(2, 11))
    assert [same(match[11], n) for n in (1, 9)] == [90, 50]
    assert (match[7] > 0).sum() == 3
    spreads = values[1:12].std(1, ddof=1)
    assert 0.5 < spreads.min() and spreads.max() < 0.9


def test_the_moment_changes_eight_verdicts_and_turns_none(settings):
    changed, total = [], 0
    for density in (0.5, 0.2, 0.1, 0.05):
        for one in CLAIMS:
            for name, result in settings.items():
                if one.differences(result) is not None:
                    r = result.nearest_round(density)
                    words = [signs([one.differences(result, at)[r]]) for at in ("end", "early-stop")]
                    total += 1
                    if words[0] != words[1]:
                        changed.append((density, one.name, name, *words))
    assert (len(changed), total) == (8, 76)
    assert all("0" in words for _, _, _, *words in changed)
    assert (0.2, "match", "clothes", "+", "0") in changed and (0.2, "match", "signals", "0", "+") in changed
    signals = settings["signals"]
    gained = [
        100 * (signals.accuracy("rewind") - signals.accuracy("rewind", "early-stop"))[r].mean()
        for r in (0, 8)
    ]
    assert gained == pytest.approx((4.0, 1.8), abs=0.051)
    assert all(450 < signals.early_stop_step("rewind")[r].mean() < 500 for r in (0, 8))


def test_choosing_the_density_afterwards(settings):
    digits = settings["digits"]
    null = 100 * (digits.accuracy("shuffle") - digits.accuracy("random"))[1:]
    assert null.shape == (21, 10) and signs(null) == 21 * "0"
    assert lesson.chance_of_a_find(null) == pytest.approx(0.605, abs=0.005)
    clothes = settings["clothes"]
    gain = claim("match").differences(clothes)[1:][clothes.density[1:] >= 0.1]
    chosen = []
    for half in map(list, itertools.combinations(range(10), 5)):
        best = gain[np.argmax(gain[:, half].mean(1))]
        chosen.append((best[half].mean(), np.delete(best, half).mean()))
    assert len(chosen) == 252 and np.mean(chosen, 0) == pytest.approx((1.25, 0.97), abs=0.006)


def test_an_untuned_baseline_makes_a_gain(settings):
    grid = [run(experiment, progress=False) for experiment in LEARNING_RATES]
    values, match = ([claim(name).differences(result)[3] for result in grid] for name in ("values", "match"))
    assert signs(values) == 9 * "+" and signs(match) == "--0-00--+"
    means = [gap.mean() for gap in values]
    assert (min(means), max(means)) == pytest.approx((2.05, 20.77), abs=0.01)
    last = grid[-1]
    assert (last.experiment.optimizer, last.experiment.lr) == ("sgd", 0.3)
    dense = [100 * result.accuracy("rewind")[0].mean() for result in grid]
    assert (dense[7], dense[8]) == pytest.approx((94.56, 91.52), abs=0.006)
    assert (match[0].mean(), match[8].mean()) == pytest.approx((-5.3, 0.94), abs=0.006)
    for arm, r, best in (("rewind", 0, 7), ("rewind", 3, 7), ("reinit", 3, 4)):
        quality = [
            result.curve(arm, "validation_accuracy")[r, :, -1].mean()
            if result.experiment.steps == 1000
            else 0
            for result in grid
        ]
        assert np.argmax(quality) == best  # SGD at 0.1 serves dense and ticket best, not re-init
    assert (grid[4].experiment.optimizer, grid[4].experiment.lr) == ("adam", 0.008)
    reinit = grid[4].accuracy("reinit")[3]
    assert 100 * reinit.mean() == pytest.approx(91.98, abs=0.006)
    lead = interval(100 * (grid[7].accuracy("rewind")[3] - reinit))
    assert lead == pytest.approx((1.89, 1.28, 2.50), abs=0.006)
    assert interval(match[7]) == pytest.approx((-0.69, -1.09, -0.29), abs=0.006)


def test_equal_density_is_not_equal_cost(settings, methods):
    imp, hasty = settings["digits"], run(CLASS_ROOM[1], progress=False)
    rigl = next(result for result in methods if result.experiment.method == "rigl")
    longer, r = run(LONGER[2], progress=False), imp.nearest_round(0.14)
    assert longer.experiment.method == "rigl" and longer.experiment.steps == 5 * rigl.experiment.steps
    gaps = [
        100 * (imp.accuracy("rewind")[r] - rigl.accuracy("rewind")[r]),
        100 * (hasty.accuracy("rewind")[3] - longer.accuracy("rewind")[3]),
    ]
    assert signs(gaps) == "+0" and gaps[0].mean() == pytest.approx(2.6, abs=0.051)
    cost = [imp.cost[r], rigl.cost[r], hasty.cost[3], 5 * longer.cost[3]]
    assert cost == pytest.approx([4.5, 0.1, 1.9, 0.7], abs=0.051)
    assert hasty.density[3] == longer.density[3]


def test_the_seeds_that_the_prose_asks_for():
    def exact(difference, n, spread=0.8):
        return stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, difference * np.sqrt(n) / spread)

    for difference, enough, before in ((2, 4, 3), (1, 8, 6), (0.5, 25, 20)):
        assert exact(difference, before) < 0.78 and exact(difference, enough) > 0.81
    assert exact(0.25, 30) < 0.5
    assert [exact(d, 10, 1.2) for d in (0.5, 1, 1.5, 2)] == pytest.approx([0.21, 0.65, 0.94, 1.0], abs=0.02)
    assert exact(1, 13, 1.2) < 0.8 < exact(1, 14, 1.2)
