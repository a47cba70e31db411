"""Results: numbers, intervals and verdicts, checked against SciPy and by brute force. The results are made up."""

import math
import pickle
import re

import numpy as np
import pytest
from scipy import stats

from lthviz.result import Comparison, Result, interval, share_interval, t_quantile

from .helpers import made_up


@pytest.fixture(scope="module")
def result():
    return made_up(arms=("rewind", "reinit", "shuffle", "random", "small-dense"), seeds=5)


def with_accuracy(values, arms=("rewind", "reinit")):
    """A result whose final test accuracies are ``values``: {arm: (R, S)}."""
    shape = np.shape(values["rewind"])
    result = made_up(rounds=shape[0] - 1, seeds=shape[1], arms=arms)
    for arm, accuracy in values.items():
        result.curve(arm)[..., -1] = accuracy
    return result


@pytest.mark.parametrize("degrees", [*range(1, 31), 50, 99, 1000])
def test_t_quantile_is_that_of_scipy(degrees):
    assert float(t_quantile(degrees)) == pytest.approx(stats.t.ppf(0.975, degrees), rel=5e-4)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 11, 30])
def test_interval_is_that_of_scipy(n):
    values = np.random.default_rng(n).normal(0.9, 0.01, (4, n))
    mean, low, high = interval(values)
    for row in range(4):
        expected = stats.t.interval(0.95, n - 1, loc=values[row].mean(), scale=stats.sem(values[row]))
        np.testing.assert_allclose((low[row], high[row]), expected, rtol=2e-5)
        assert mean[row] == pytest.approx(values[row].mean())


def test_interval_leaves_out_what_is_not_measured():
    mean, low, high = interval([[1.0, np.nan, 3.0, np.inf], [1, np.nan, np.nan, np.nan], [np.nan] * 4])
    expected = stats.t.interval(0.95, 1, loc=2, scale=stats.sem([1, 3]))
    assert (low[0], high[0]) == pytest.approx(expected, rel=1e-4)
    assert mean[0] == 2 and mean[1] == 1 and math.isnan(mean[2])
    assert np.isnan([low[1], high[1], low[2], high[2]]).all()


def test_interval_along_another_axis():
    values = np.random.default_rng(0).random((6, 3))
    np.testing.assert_allclose(interval(values, 0), interval(values.T))


def test_a_comparison_is_the_paired_t_test(result):
    for round in range(1, result.rounds + 1):
        a, b = (result.accuracy(arm)[round] for arm in ("rewind", "reinit"))
        comparison = result.compare("rewind", "reinit", round)
        test = stats.ttest_rel(a, b)
        low, high = test.confidence_interval(0.95)
        assert comparison.mean == pytest.approx((a - b).mean())
        assert (comparison.low, comparison.high) == pytest.approx((low, high), rel=1e-3)
        assert (comparison.verdict != "not distinguishable") == (test.pvalue < 0.05)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.01, 0.02, "higher"), (-0.02, -0.01, "lower"), (-0.01, 0.02, "not distinguishable"),
     (0.0, 0.02, "not distinguishable"), (math.nan, math.nan, "not distinguishable")],
)  # fmt: skip
def test_verdicts(low, high, verdict):
    assert Comparison("rewind", "reinit", 5, (low + high) / 2, low, high).verdict == verdict


def test_comparisons_speak():
    assert str(Comparison("rewind", "reinit", 10, 0.021, 0.012, 0.03)) == (
        "rewind is higher than re-init: +2.1 points, 95 % interval +1.2 to +3.0 (n = 10, paired)."
    )
    assert "not distinguishable from re-init" in str(Comparison("rewind", "reinit", 10, 0.0, -0.01, 0.01))
    assert "proves nothing yet" in str(Comparison("rewind", "reinit", 1, 0.02, math.nan, math.nan))
    assert "not measured" in str(Comparison("rewind", "reinit", 0, math.nan, math.nan, math.nan))


def test_comparing_with_the_dense_network():
    result = with_accuracy(
        {"rewind": [[0.9, 0.91, 0.92], [0.95, 0.96, 0.97]], "reinit": np.full((2, 3), 0.8)}
    )
    comparison = result.compare("rewind", "dense", 1)
    assert comparison.mean == pytest.approx(0.05) and comparison.verdict == "higher"
    assert result.compare("reinit", "dense", 1).verdict == "lower"


def test_early_stopping_by_brute_force(result):
    loss, accuracy = result.curve("reinit", "validation_loss"), result.curve("reinit")
    for r in range(result.rounds + 1):
        for s in range(len(result.seeds)):
            best = min(range(len(result.steps)), key=lambda e, r=r, s=s: loss[r, s, e])
            assert result.early_stop_step("reinit")[r, s] == result.steps[best]
            assert result.accuracy("reinit", "early-stop")[r, s] == accuracy[r, s, best]


def test_early_stopping_ignores_what_is_not_measured():
    result = made_up()
    loss = result.curve("rewind", "validation_loss")
    loss[1, 0] = np.nan
    loss[1, 1, 2:] = np.nan
    loss[1, 2, 0], loss[1, 2, 1:] = np.inf, np.nan
    assert math.isnan(result.early_stop_step("rewind")[1, 0]) and math.isnan(
        result.early_stop_step("rewind")[1, 2]
    )
    assert result.early_stop_step("rewind")[1, 1] == result.steps[int(np.argmin(loss[1, 1, :2]))]
    assert math.isnan(result.accuracy("rewind", "early-stop")[1, 0])


def test_accuracy_at_a_step(result):
    step = int(result.steps[2])
    np.testing.assert_array_equal(result.accuracy("rewind", step), result.curve("rewind")[..., 2])
    np.testing.assert_array_equal(result.accuracy("rewind", int(result.steps[-1])), result.accuracy("rewind"))
    for bad in (step + 1, "ends", -1, None):
        with pytest.raises(ValueError, match=r"at=.* is not known.*early-stop"):
            result.accuracy("rewind", bad)


def test_bad_names_give_one_clear_sentence(result):
    for call in (lambda: result.curve("rewnd"), lambda: result.compare("rewind", "reset", 1),
                 lambda: result.diverged("dense"), lambda: result.arm_density("x")):  # fmt: skip
        with pytest.raises(ValueError, match=r"arm=.* is not known"):
            call()
    with pytest.raises(ValueError, match=r"quantity='accuracy' is not known\. Did you mean"):
        result.curve("rewind", "accuracy")
    with pytest.raises(ValueError, match="layer='fc9' is not known"):
        result.histogram("fc9")
    with pytest.raises(ValueError, match="seed=99 is not known"):
        result.mask(1, 99)
    for round in (-1, result.rounds + 1, 1.0, None):
        with pytest.raises(ValueError, match=f"round={round}: round must be a whole number"):
            result.compare("rewind", "reinit", round)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_masks_are_nested_and_fit_the_counts(scope):
    result = made_up(scope=scope)
    for row, seed in enumerate(result.seeds):
        masks = [result.mask(round, seed) for round in range(result.rounds + 1)]
        assert masks[0].density == 1
        for round, mask in enumerate(masks):
            assert mask.density == pytest.approx(result.density[round])
            for layer in result.layers:
                assert mask[f"{layer}.weight"].sum() == result.kept[layer][round, row]
            if round:
                assert mask.issubset(masks[round - 1])
    assert result.sizes == {"fc1": 19_600, "fc2": 5_000, "fc3": 500}
    assert result.mask(0, 0)["fc1.weight"].shape == (100, 196)


def test_the_table_has_the_means_and_deviations(result):
    rows = result.table()
    assert [row["round"] for row in rows] == list(range(result.rounds + 1))
    for arm in result.arms:
        np.testing.assert_allclose([row[f"{arm} mean"] for row in rows], result.accuracy(arm).mean(1))
        np.testing.assert_allclose([row[f"{arm} std"] for row in rows], result.accuracy(arm).std(1, ddof=1))
    single = made_up(seeds=1).table()
    assert all(math.isnan(row["rewind std"]) for row in single)


def test_matching_rounds_end_where_the_ticket_stays_worse():
    good, bad = [0.90, 0.91, 0.92], [0.80, 0.81, 0.82]

    def matching(*rewind):
        made = with_accuracy({"rewind": list(rewind), "reinit": np.full((len(rewind), 3), 0.5)})
        rounds = made.matching_rounds()
        assert not rounds or f"Down to {100 * made.density[rounds[-1]]:.1f} %" in made.describe()
        assert ("a marginal round" in made.describe()) == (len(rounds) == 3)
        return rounds

    assert matching(good, good, bad, bad, good) == [1]
    assert matching(good, good, bad, good) == [1, 2, 3]  # one false alarm
    assert matching(good, good, bad) == [1]  # nothing after it says that it was one
    assert matching(good, bad) == []


def test_a_single_seed_proves_nothing():
    result = made_up(seeds=1)
    assert result.matching_rounds() == []
    assert "distinguishably" not in result.describe()
    assert "proves nothing" in result.verdict(2)


def test_the_description_has_the_numbers(result):
    text = result.describe()
    assert f"dense network reaches {100 * result.accuracy('rewind')[0].mean():.1f} %" in text
    for arm in result.arms:
        assert (
            f"{100 * result.accuracy(arm)[-1].mean():.1f} % at {100 * result.arm_density(arm)[-1]:.1f} %"
            in text
        )
    better = sum(
        result.compare("rewind", "reinit", r).verdict == "higher" for r in range(1, result.rounds + 1)
    )
    assert f"Rewind is higher than re-init in {better} of {result.rounds} rounds" in text


def test_diverged_networks_and_empty_layers_are_named():
    result = made_up()
    assert result.collapsed == []
    result.kept["fc1"][3:, 1] = 0
    result.diverged("reinit")
    result._arrays["diverged/reinit"][2, 0] = True
    assert result.collapsed == [(3, "fc1"), (4, "fc1")]
    text = result.describe()
    assert "Layer collapse: fc1 lost all its weights in round 3." in text
    assert "Diverged networks: 1 of reinit." in text


def test_verdicts_in_words(result):
    assert "Round 0 is the dense network" in result.verdict(0)
    text = result.verdict(3)
    assert (
        f"{100 * result.density[3]:.1f} %" in text
        and f"{100 * result.accuracy('rewind')[3].mean():.1f} %" in text
    )
    assert text.endswith("(n = 5, paired).")
    alone = made_up(arms="rewind")
    assert "dense" in alone.verdict(2)


def broken(result, arm, round, seeds):
    """The same result, as if some networks of one round had diverged."""
    for quantity in ("test_accuracy", "validation_accuracy", "validation_loss"):
        result._arrays[f"{quantity}/{arm}"][round, seeds] = np.nan
    result._arrays[f"diverged/{arm}"][round, seeds] = True
    return result


def test_a_verdict_speaks_of_pairs_and_says_how_many_networks_diverged():
    result = broken(broken(made_up(seeds=5), "rewind", 2, [0]), "reinit", 2, [0, 3])
    ticket, control = (result.accuracy(arm)[2][[1, 2, 4]] for arm in ("rewind", "reinit"))
    text = result.verdict(2)
    assert f"reaches {100 * ticket.mean():.1f} %; re-init reaches {100 * control.mean():.1f} %" in text
    assert f"{100 * (ticket - control).mean():+.1f} points" in text and "(n = 3, paired)" in text
    assert text.endswith("2 of 5 seeds diverged and are left out.")
    assert "diverged" not in result.verdict(3) and "1 of 5 seeds diverged" in result.verdict(
        2, against="dense"
    )
    none = broken(made_up(), "reinit", 2, slice(None)).verdict(2, against="reinit")
    assert "than dense" in none and none.endswith("All networks of re-init diverged.")
    assert "1 of 5 seeds diverged" in broken(made_up(seeds=5), "rewind", 0, [3]).verdict(0)


def test_where_every_network_diverged_nobody_is_told_to_wait():
    result = broken(made_up(), "rewind", 2, slice(None))
    assert "diverged" in result.verdict(2) and "training" not in result.verdict(2)


def test_results_that_are_still_running():
    result = made_up(finished_rounds=2)
    assert result.rounds == 3 and not result.finished and "still running" in repr(result)
    assert np.isnan(result.accuracy("rewind")[3]).all() and np.isfinite(result.accuracy("rewind")[2]).all()
    assert np.isfinite(result.accuracy("rewind", 50)[3]).all()
    assert result.matching_rounds() and max(result.matching_rounds()) <= 2
    assert math.isnan(result.table()[3]["rewind mean"])
    assert "still training" in result.verdict(3)
    assert "Still running" in result.describe() and "nan" not in result.describe()
    assert "cannot be compared" in str(result.compare("rewind", "reinit", 3))


@pytest.mark.parametrize("trained", [-1, 0, 1, 2])
def test_only_rounds_that_are_trained_to_their_end_are_counted(trained):
    text = made_up(finished_rounds=trained).describe()
    n = max(trained, 0)
    assert f"Still running: {n} {'round' if n == 1 else 'rounds'} so far." in text
    assert ("is higher than" in text) == (n > 0)
    assert n == 0 or re.search(rf"is higher than re-init in \d of {n} rounds?\.", text)


def test_results_travel_to_other_processes(result):
    again = pickle.loads(pickle.dumps(result))
    assert isinstance(again, Result) and again.experiment == result.experiment
    np.testing.assert_array_equal(again.accuracy("reinit"), result.accuracy("reinit"))
    assert again.describe() == result.describe()


def test_the_very_first_moment_has_no_numbers_yet():
    result = made_up(finished_rounds=-1)
    assert result.rounds == 0
    assert "nan" not in result.describe()
    assert "still training" in result.verdict(0)


@pytest.mark.parametrize("hits, n", [(0, 16), (16, 16), (3, 10), (150, 300)])
def test_the_interval_of_a_share_is_wilsons(hits, n):
    from scipy.stats import binomtest

    known = binomtest(hits, n).proportion_ci(method="wilson")
    assert share_interval(hits, n) == pytest.approx((hits / n, known.low, known.high), abs=1e-6)
