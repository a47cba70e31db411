"""Lesson 04: the listing has its bug."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

import lthviz
from lthviz import atlas
from lthviz.atlas_build import CLASS_ROOM, LEARNING_RATES
from lthviz.exercises import reinit as lesson
from lthviz.explorer.lessons.reinit import learning_rate_browser, paired_browser
from lthviz.result import interval
from lthviz.store import atlas_store

from .helpers import made_up

CHECKS = lesson.EXERCISES


@pytest.mark.parametrize("seed", range(5))
def test_right_answers_pass_whatever_order_they_draw_in(seed):
    def reversed_layers(theta_0, mask, rng):
        rng.random(seed)  # some other use of the generator first
        fresh = {}
        for name in reversed(list(theta_0)):
            std = np.sqrt(2 / sum(theta_0[name].shape))
            fresh[name] = std * rng.standard_normal(theta_0[name].shape) * mask[name]
        return fresh

    def by_choice(mask, rng):
        rng.random(seed)
        shuffled = {}
        for name, kept in mask.items():
            flat = np.zeros(kept.size, int)
            flat[rng.choice(kept.size, int(kept.sum()), replace=False)] = 1
            shuffled[name] = flat.reshape(kept.shape)
        return shuffled

    def loop(a, b, rng, draws=2000):
        rng.random(seed)
        difference = a - b
        means = [rng.choice(difference, len(difference)).mean() for _ in range(draws)]
        return [float(x) for x in np.percentile(means, [2.5, 97.5])]

    assert lesson.check_reinit(reversed_layers).passed
    assert lesson.check_shuffle_within_layer(by_choice).passed
    assert lesson.check_bootstrap_interval(loop).passed


def test_the_bootstrap_agrees_with_the_t_interval_for_many_seeds():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 200), rng.normal(0, 1, 200)
    assert np.allclose(lesson.bootstrap_interval(a, b, rng), interval(a - b)[1:], atol=0.03)


def test_random_is_as_good_an_answer_as_shuffle():
    assert lesson.check_controls(lambda: lesson.controls() | {"places": "random"}).passed


def test_every_wrong_claim_is_named_and_the_right_ones_are_credited():
    given = {"values": "dense", "places": "shuffle", "size": "banana"}
    result = lesson.check_controls(lambda: given)
    assert [case.passed for case in result.cases] == [False, True, False, False]
    assert [case.message.split(".")[0] for case in result.cases] == [
        "For “values” keep the mask and change only the values: which arm does that?", "",
        "'banana' is no arm", "None is no arm",
    ]  # fmt: skip
    assert all(part in repr(result) for part in ("For “values”", "✓ places", "'banana'", "None is no arm"))
    assert "<br>For “values”" in result._repr_html_() and "passed: places" in result._repr_html_()


def test_cause_and_symptom_are_judged_each_by_itself():
    result = lesson.check_audit(lambda: (8, 17))
    assert [case.passed for case in result.cases] == [True, False, True]
    result = lesson.check_audit(lambda: (8, 19))
    assert "Line 8" in repr(result) and "Line 19" in repr(result)


def test_an_experiment_hears_of_all_that_it_lacks():
    poor = lthviz.Experiment(rate=0.2, rounds=1, arms=("shuffle",), seeds=2)
    said = lesson.check_matching_experiment(lambda: poor).message
    assert said.split("\n") == [lesson.NO_REINIT, lesson.NOT_ENOUGH_SEEDS, lesson.TOO_DENSE]


def test_the_listing_has_the_bug_it_is_shown_for():
    start, ticket, control = lesson.first_layers(seed=0)
    assert not np.array_equal(start, ticket)
    assert not np.array_equal(ticket, control)
    mended = lesson.LISTING.replace(
        "    np.random.seed(seed)\n", "    np.random.seed(seed)\n    torch.manual_seed(seed)\n"
    )
    assert mended != lesson.LISTING
    start, ticket, control = lesson.first_layers(seed=0, listing=mended)
    assert np.array_equal(start, ticket)
    assert not np.array_equal(ticket, control)


def test_the_lines_of_the_audit_are_those_of_the_listing():
    lines = lesson.LISTING.splitlines()
    cause, symptom = lesson.audit()
    assert "seed" in lines[cause - 1]
    first = next(number for number, line in enumerate(lines, 1) if "#" in line)
    assert symptom == first
    assert "rewind" in lines[symptom - 1]


def test_nothing_here_touches_the_global_random_states():
    before = random.getstate(), np.random.get_state()[1].copy(), torch.random.get_rng_state()
    lesson.first_layers()
    for check in CHECKS[:-1]:
        check(check.reference)
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(torch.random.get_rng_state(), before[2])


# The explorers of the lesson


def test_the_paired_explorer_shows_the_differences_of_the_first_seeds():
    result = made_up(arms=("reinit", "shuffle"), seeds=5)
    explorer = paired_browser(result)
    raw = explorer.arrays["difference"]
    difference = np.frombuffer(raw["data"], raw["dtype"]).reshape(raw["shape"])
    assert raw["dims"] == ["control", "seeds_used", "round", "seed"]
    controls = [line["name"] for line in explorer.spec["series"]["lines"]]
    assert controls == ["dense", "reinit", "shuffle"]
    for n in (1, 2, 5):
        assert np.isfinite(difference[:, n - 1, :, :n]).all() and np.isnan(difference[:, n - 1, :, n:]).all()
    for row, control in enumerate(controls):
        for round in range(raw["shape"][2]):
            whole = result.compare("rewind", control, round)
            expected = 100 * np.array([whole.mean, whole.low, whole.high])
            assert np.allclose(interval(difference[row, 4, round]), expected, atol=1e-4)


def test_the_paired_explorer_says_in_words_what_it_shows():
    result = made_up(arms=("reinit",), seeds=4)
    explorer = paired_browser(result)
    words = explorer.arrays["words"]["texts"]
    rounds = len(words) // 8
    assert "Ticket minus dense network" in words[0] and "1 seed:" in words[0] and "a single seed" in words[0]
    whole = result.compare("rewind", "reinit", 2)
    assert words[(4 + 3) * rounds + 2] == (
        f"Ticket minus re-init at {100 * result.density[2]:.1f} % density, 4 seeds: {100 * whole.mean:+.1f} points "
        f"(95 % interval {100 * whole.low:+.1f} to {100 * whole.high:+.1f})."
    )


def test_the_paired_explorer_leaves_out_what_is_too_sparse():
    result = made_up(rate=0.8, rounds=3)
    assert len(paired_browser(result)._axes[1].values) == (result.density >= 0.1).sum()
    assert len(paired_browser(result, least=0)._axes[1].values) == result.rounds + 1


def test_the_learning_rate_explorer_has_one_place_for_each_rate():
    results = [made_up(lr=lr) for lr in (0.01, 0.0005)]
    explorer = learning_rate_browser(results)
    assert [axis.values for axis in explorer._axes] == [[0.5, 10.0]]
    explorer.learning_rate = 10.0
    assert "alt=" in explorer._static()


# What the prose of the lesson says, against the results


@pytest.fixture(scope="module")
def classroom():
    """The class-room result that the lesson shows."""
    return atlas_store().load(CLASS_ROOM[0])


def test_the_order_of_the_arms(classroom):
    sparse = np.flatnonzero((classroom.density < 0.1) & (classroom.density > 0.02))
    for round in sparse:
        mean = {arm: classroom.accuracy(arm)[round].mean() for arm in classroom.arms}
        assert mean["rewind"] > mean["reinit"] > max(mean["shuffle"], mean["random"])
        assert min(mean["shuffle"], mean["random"]) > mean["small-dense"] or round == sparse[-1]


def test_shuffle_and_random_differ_by_chance_only(classroom):
    verdicts = [classroom.compare("shuffle", "random", r).verdict for r in range(1, classroom.rounds + 1)]
    assert sum(verdict != "not distinguishable" for verdict in verdicts) <= 3


def test_the_gap_grows_as_the_network_gets_sparser(classroom):
    gaps = [classroom.compare("rewind", "reinit", round).mean for round in (1, 7, 12, 17, classroom.rounds)]
    assert gaps == sorted(gaps)


def test_single_seeds_disagree_where_the_mean_is_small(classroom):
    difference = classroom.accuracy("rewind")[3] - classroom.accuracy("reinit")[3]
    assert difference.max() > 3 * abs(difference).min()
    assert np.ptp(difference) > difference.mean() > 0


def test_the_ticket_reads_most_digits_before_a_step_and_the_control_starts_as_usual(classroom):
    start = {arm: classroom.curve(arm)[7][:, 0].mean() for arm in ("rewind", "reinit")}
    assert start["rewind"] > 0.6
    assert start["reinit"] < 0.15 and classroom.curve("rewind")[0][:, 0].mean() < 0.15


def test_the_places_count_when_they_are_scarce(classroom):
    def ahead(other, r):
        return classroom.compare("reinit", other, r).verdict == "higher"

    both = [r for r in range(1, 13) if ahead("random", r) and ahead("shuffle", r)]
    assert both == [6, 10, 11, 12]


@pytest.fixture(scope="module")
def grid():
    """The gap at 13 % density and the dense network's accuracy on validation data, for each way to train."""
    shipped = {result.experiment: result for result in atlas()}
    return {
        (e.optimizer, e.lr, e.steps): (
            shipped[e].compare("rewind", "reinit", 3),
            shipped[e].curve("rewind", "validation_accuracy")[0, :, -1].mean(),
        )
        for e in LEARNING_RATES
    }


def test_only_the_setting_with_too_few_steps_stands_out(grid):
    gap = {setting: paired.mean for setting, (paired, _) in grid.items()}
    dense = {setting: accuracy for setting, (_, accuracy) in grid.items()}
    short = ("adam", 0.0005, 250)
    others = [setting for setting in grid if setting != short]
    assert gap[short] > 3 * max(gap[setting] for setting in others)
    assert dense[short] < min(dense[setting] for setting in others) - 0.03
    assert gap[short] > gap["adam", 0.0005, 1000] > gap["adam", 0.0005, 4000]
    assert abs(gap["adam", 0.0005, 4000] - gap["adam", 0.002, 1000]) < 0.005


def test_rewind_is_ahead_at_every_rate_and_the_gap_does_not_shrink(grid):
    assert all(paired.verdict == "higher" for paired, _ in grid.values())
    assert grid["adam", 0.02, 1000][0].mean > grid["adam", 0.002, 1000][0].mean
    sgd = {lr: both for (optimizer, lr, _), both in grid.items() if optimizer == "sgd"}
    assert max(sgd, key=lambda lr: sgd[lr][1]) == min(sgd, key=lambda lr: sgd[lr][0].mean) == 0.1


def test_the_grid_is_small():
    folder = Path(lthviz.__file__).parent / "atlas"
    assert sum((folder / f"{e.key}.npz").stat().st_size for e in LEARNING_RATES) < 1e6
