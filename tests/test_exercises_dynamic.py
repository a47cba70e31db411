"""Lesson 09: every solution passes, every known wrong answer gets its own message; the lesson's claims hold."""

import numpy as np
import pytest
import torch

from lthviz import masks
from lthviz.dynamic import exchange
from lthviz.exercises import dynamic as lesson

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
        assert "ZeroDivisionError" in result.message


def test_checks_leave_the_global_random_state_alone():
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    for check in lesson.EXERCISES:
        check(check.reference)
    assert np.array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


def test_a_masked_gradient_and_an_argument_that_is_changed_are_told():
    def masked(weight, gradient, mask, fraction):
        return lesson.rigl_step(weight, gradient * mask, mask, fraction)

    def in_place(weight, gradient, mask, fraction):
        weight[:], mask[:] = lesson.rigl_step(weight, gradient, mask, fraction)
        return weight, mask

    assert lesson.check_rigl_step(masked).message == lesson.NOTHING_MOVED
    assert "changed its argument" in lesson.check_rigl_step(in_place).message


def test_rigl_step_may_give_other_starting_values_and_be_told_so():
    def drawn(weight, gradient, mask, fraction):
        values, new = lesson.rigl_step(weight, gradient, mask, fraction)
        return values + (new & ~mask) * np.random.default_rng(3).normal(size=mask.shape), new

    assert lesson.check_rigl_step(drawn).message == lesson.NOT_ZERO


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.3, 0.77, 1.0])
def test_the_solution_moves_what_the_library_moves(fraction):
    rng = np.random.default_rng(1)
    mask = rng.random((20, 30)) < 0.2
    weight, gradient = rng.normal(size=mask.shape) * mask, rng.normal(size=mask.shape)
    values, new = lesson.rigl_step(weight, gradient, mask, fraction)
    library = exchange(*map(torch.tensor, (weight, mask, np.abs(gradient))), fraction)
    assert np.array_equal(new, library.numpy()) and new.sum() == mask.sum()
    assert np.array_equal(values, np.where(new & mask, weight, 0))


@pytest.mark.parametrize("density", [0.01, 0.1, 0.2, 0.52, 0.9, 1.0])
def test_the_solution_shares_as_the_library_does(density):
    shapes = {"conv": (16, 8, 3, 3), "fc1": (30, 30), "fc2": (12, 12), "fc3": (2, 12)}
    mine = lesson.erk(shapes, density)
    assert mine == pytest.approx(masks.erk(shapes, density)) and max(mine.values()) <= 1
    kept = sum(mine[name] * np.prod(shape) for name, shape in shapes.items())
    assert kept == pytest.approx(density * sum(np.prod(shape) for shape in shapes.values()))
