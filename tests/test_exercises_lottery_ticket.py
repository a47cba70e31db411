"""Lesson 03: the lesson's claims hold."""

import inspect

import numpy as np
import pytest

from lthviz import data, find_ticket, models
from lthviz.atlas_build import CLASS_ROOM
from lthviz.exercises import lottery_ticket as lesson
from lthviz.result import interval
from lthviz.store import atlas_store
from lthviz.train import generator


def test_a_function_that_misses_two_kinds_of_break_is_told_both_and_credited_the_others():
    def partly(run):
        for round, mask in enumerate(run.masks):
            for name, kept in mask.items():
                assert np.allclose(run.starts[round][name], run.theta_0[name] * kept)
                assert not round or not (kept & ~run.masks[round - 1][name]).any()

    result = lesson.check_invariants(partly)
    assert [case.passed for case in result.cases] == [True, True, True, True, False, False]
    assert lesson.REGROWN in repr(result) and lesson.NEARLY in repr(result)


def test_practice_really_trains_in_place_and_keeps_pruned_weights_at_zero():
    practice = lesson.Practice()
    mask, start = lesson.imp(practice.theta_0, practice.train, 0.3, 3)
    trained = practice.train(start, mask)
    assert trained is start
    for name, kept in mask.items():
        assert not trained[name][~kept].any()
        assert (trained[name][kept] != practice.theta_0[name][kept]).mean() > 0.5  # some units may be cut off


def test_imp_may_train_a_returned_dictionary_as_well():
    def assigning(theta_0, train, rate, rounds):
        mask = lesson.Mask.ones_like(theta_0)
        for _ in range(rounds):
            weights = train({name: theta_0[name] * mask[name] for name in theta_0}, dict(mask))
            mask = lesson.prune({name: np.abs(weights[name]) for name in weights}, rate=rate, mask=mask)
        return dict(mask), {name: theta_0[name] * mask[name] for name in theta_0}

    assert lesson.check_imp(assigning).passed


def test_invariants_may_be_written_in_other_ways():
    def other(run):
        for r, (mask, start, end) in enumerate(zip(run.masks, run.starts, run.ends, strict=True)):
            assert r == 0 or mask.issubset(run.masks[r - 1])
            for name in mask:
                assert np.array_equal(start[name], np.where(mask[name], run.theta_0[name], 0))
                assert np.abs(end[name][~mask[name]]).sum() == 0

    assert lesson.check_invariants(other).passed


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5, 0.8])
@pytest.mark.parametrize("rounds", [1, 3, 12])
def test_the_search_pays_after_one_over_rate_trainings(rate, rounds):
    assert lesson.search_bill(rate, rounds)[2] == pytest.approx(1 / rate)


# What the prose of the lesson says, against the results


@pytest.fixture(scope="module")
def classroom():
    """The class-room results of the atlas, by rate."""
    return {experiment.rate: atlas_store().load(experiment) for experiment in CLASS_ROOM}


def test_the_ticket_matches_for_a_long_way_and_reinit_does_not(classroom):
    result = classroom[0.2]
    matching = result.matching_rounds()
    assert 0.1 < result.density[matching[-1]] < 0.13
    assert [r for r in matching if result.compare("rewind", "dense", r).verdict == "lower"] == [8]
    for round in (3, 7, 12, 17):
        assert result.compare("rewind", "reinit", round).verdict == "higher"
    gaps = [result.compare("rewind", "reinit", round).mean for round in (3, 7, 12, 17)]
    assert gaps == sorted(gaps)


def test_fewer_seeds_stretch_the_match_and_shorten_the_stricter_statement(classroom):
    result = classroom[0.2]
    gap = result.accuracy("rewind") - result.accuracy("rewind")[0]
    strict = {}
    for seeds in (3, 5, 10):
        _, low, high = interval(gap[:, :seeds])
        assert (high[12] > 0) == (seeds < 10)
        strict[seeds] = result.density[1:][np.minimum.accumulate(low[1:]) > -0.01].min()
    assert strict[3] > 0.25 and 0.08 < strict[10] < 0.1


def test_before_the_first_step_the_ticket_reads_and_all_others_guess(classroom):
    result = classroom[0.2]
    start = {arm: result.curve(arm)[[3, 6, 12], :, 0].mean(1) for arm in ("rewind", "reinit", "shuffle")}
    assert 0.5 < start["rewind"][0] < 0.6
    assert (0.6 < start["rewind"][1:]).all() and (start["rewind"][1:] < 0.75).all()
    assert max(start["reinit"].max(), start["shuffle"].max(), result.curve("rewind")[0, :, 0].mean()) < 0.15


def test_in_round_6_the_ticket_starts_ahead_and_the_gap_shrinks_from_the_first_step(classroom):
    result = classroom[0.2]
    early = result.steps <= 300
    ticket, control = (result.curve(arm)[6].mean(0)[early] for arm in ("rewind", "reinit"))
    dense = result.curve("rewind")[0].mean(0)[early]
    assert (ticket > dense).all() and (dense[1:] > control[1:]).all()
    gap = result.curve("rewind")[6].mean(0) - result.curve("reinit")[6].mean(0)
    assert gap.argmax() == 0 and gap[0] > 10 * gap[-1] > 0
    assert (np.diff(gap[early]) < 0).all()


def test_moderate_tickets_stop_earlier_than_dense_and_very_sparse_ones_late(classroom):
    result = classroom[0.2]
    step, control = result.early_stop_step("rewind"), result.early_stop_step("reinit")
    draws = [result.early_stop_step(arm)[0] for arm in ("rewind", "reinit", "small-dense")]
    assert len({draw.mean() for draw in draws}) == 3 and draws[0].mean() == max(draw.mean() for draw in draws)
    mean, low, high = interval(step - np.mean(draws, axis=0))
    moderate = (result.density < 0.7) & (result.density > 0.15)
    assert (high[moderate] < 0).all()
    assert -220 < mean[moderate].min() and mean[moderate].max() < -80
    for round in (1, 9, 10):
        assert low[round] < 0 < high[round]
    assert (low[11:] > 0).all()
    assert (control[1:].mean(1) > step[1:].mean(1)).all()


def test_a_rate_of_99_percent_leaves_2_percent_since_the_output_layer_loses_half():
    digits = data.load("mnist-5k-14")
    network = models.build("mlp-100-50", digits.input_shape, digits.classes, generator(0, "init"))
    mask = find_ticket(network, digits, rate=0.99, rounds=1, steps=1, progress=False).mask
    assert mask.kept == 196 + 50 + 252
    assert mask["fc3.weight"].sum() == 252


def test_haste_hurts_where_it_is_tight_and_not_where_it_is_not(classroom):
    slow, fast = classroom[0.2], classroom[0.8]
    differences = []
    for round in range(1, fast.rounds + 1):
        same = slow.nearest_round(fast.density[round])
        differences.append(slow.accuracy("rewind")[same] - fast.accuracy("rewind")[round])
    assert interval(differences[-1])[1] > 0
    assert differences[-1].mean() > differences[0].mean()


def test_the_loop_that_the_lesson_prints_is_there():
    source = inspect.getsource(find_ticket)
    assert "        theta = snapshot" in source
    assert "rewind(network, theta, mask)" in source.split("        theta = snapshot")[1]
