"""Lesson 03: every solution passes, every known wrong answer gets its own message; the lesson's claims hold."""

import inspect

import numpy as np
import pytest

from lthviz import atlas, find_ticket
from lthviz.exercises import lottery_ticket as lesson
from lthviz.result import interval

WRONG = [(check, mistake, message) for check in lesson.EXERCISES for mistake, message in check.wrong.items()]


def _boom(*arguments):
    raise ZeroDivisionError("division by zero")


@pytest.mark.parametrize("check", lesson.EXERCISES, ids=lambda check: check.name)
def test_solutions_pass_and_stubs_are_not_done(check):
    def stub(*arguments):
        raise NotImplementedError

    assert check(check.reference).passed
    assert check(stub).status == "Not done yet"
    assert all(lesson.hint(check.name, rung).text for rung in (1, 2, 3, 4))
    assert f"def {check.name}(" in lesson.hint(check.name, 4).code


@pytest.mark.parametrize(
    "check, mistake, message", WRONG, ids=[f"{c.name}{i}" for i, (c, _, _) in enumerate(WRONG)]
)
def test_known_wrong_answers_get_their_message(check, mistake, message):
    result = check(mistake)
    assert not result.passed
    assert result.message == message


@pytest.mark.parametrize("check", lesson.EXERCISES, ids=lambda check: check.name)
def test_every_known_wrong_answer_has_a_message_of_its_own(check):
    assert len(set(check.wrong.values())) == len(check.wrong)


@pytest.mark.parametrize("check", lesson.EXERCISES, ids=lambda check: check.name)
@pytest.mark.parametrize(
    "answer", [_boom, lambda: None, lambda *arguments: None, lambda *arguments: 7, "text", None],
    ids=["raises", "no arguments", "none", "seven", "text", "nothing"],
)  # fmt: skip
def test_checks_report_and_never_raise(check, answer):
    result = check(answer)
    assert not result.passed
    assert result.message
    if answer is _boom:
        assert "ZeroDivisionError" in result.message or check is lesson.check_invariants


def test_checks_leave_the_global_random_state_alone():
    before = np.random.get_state()[1].copy()
    for check in lesson.EXERCISES:
        check(check.reference)
    assert np.array_equal(np.random.get_state()[1], before)


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
    wanted = {"dataset": "mnist-5k-14", "model": "mlp-100-50"}
    return {r.experiment.rate: r for r in atlas() if wanted.items() <= r.experiment.config.items()}


def test_the_ticket_matches_for_a_long_way_and_reinit_does_not(classroom):
    result = classroom[0.2]
    matching = result.matching_rounds()
    assert result.density[matching[-1]] < 0.4
    for round in (3, 7, 12, 17):
        assert result.compare("rewind", "reinit", round).verdict == "higher"
    gaps = [result.compare("rewind", "reinit", round).mean for round in (3, 7, 12, 17)]
    assert gaps == sorted(gaps)


def test_in_round_6_the_ticket_learns_first_and_the_control_last(classroom):
    result = classroom[0.2]
    early = result.steps <= 300
    ticket, control = (result.curve(arm)[6].mean(0)[early][1:] for arm in ("rewind", "reinit"))
    dense = result.curve("rewind")[0].mean(0)[early][1:]
    assert (ticket > dense).all() and (dense > control).all()
    gap = result.curve("rewind")[6].mean(0) - result.curve("reinit")[6].mean(0)
    assert gap[early][1:].max() > 2 * gap[-1] > 0


def test_moderate_tickets_stop_earlier_than_dense_and_very_sparse_ones_late(classroom):
    result = classroom[0.2]
    ticket, control = (result.early_stop_step(arm).mean(1) for arm in ("rewind", "reinit"))
    moderate = (result.density < 0.7) & (result.density > 0.2)
    assert ticket[moderate].max() < ticket[0]
    assert ticket[-1] > ticket[0]
    assert (control[1:] > ticket[1:]).all()


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
