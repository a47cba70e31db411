"""Every exercise of every lesson: the solution passes, each known wrong answer gets its own message, nothing raises.

What the solutions of a lesson are compared with, and the claims of its prose, are in ``test_exercises_LESSON.py``.
"""

import pkgutil
import random
from importlib import import_module

import numpy as np
import pytest
import torch

from lthviz import exercises
from lthviz.exercises import lottery_ticket

ROOMS = [
    room
    for room in (
        import_module(f"lthviz.exercises.{module.name}")
        for module in pkgutil.iter_modules(exercises.__path__)
    )
    if hasattr(room, "EXERCISES")
]
CHECKS = [(room, check) for room in ROOMS for check in room.EXERCISES]
WRONG = [(check, *wrong) for _, check in CHECKS for wrong in check.wrong.items()]


def _name(room) -> str:
    return room.__name__.rpartition(".")[2]


every_exercise = pytest.mark.parametrize(
    "room, check", CHECKS, ids=[f"{_name(room)}-{check.name}" for room, check in CHECKS]
)


def _boom(*arguments):
    raise ZeroDivisionError("division by zero")


@every_exercise
def test_solutions_pass_and_stubs_are_not_done(room, check):
    def stub(*arguments):
        raise NotImplementedError

    assert check(check.reference).passed
    assert check(stub).status == "Not done yet"
    assert all(room.hint(check.name, rung).text for rung in (1, 2, 3, 4))
    assert f"def {check.name}(" in room.hint(check.name, 4).code


@pytest.mark.parametrize(
    "check, mistake, message", WRONG, ids=[f"{c.name}{i}" for i, (c, *_) in enumerate(WRONG)]
)
def test_known_wrong_answers_get_their_message(check, mistake, message):
    result = check(mistake)
    assert not result.passed
    assert result.message == message


@every_exercise
def test_every_known_wrong_answer_has_a_message_of_its_own(room, check):
    assert check.wrong
    if (
        check.name != "controls"
    ):  # a table to fill in: a wrong row has one message, whatever was written into it
        assert len(set(check.wrong.values())) == len(check.wrong)


@every_exercise
@pytest.mark.parametrize(
    "answer", [_boom, lambda: None, lambda *arguments: None, lambda *arguments: 7, "text", None],
    ids=["raises", "no arguments", "none", "seven", "text", "nothing"],
)  # fmt: skip
def test_checks_report_and_never_raise(room, check, answer):
    result = check(answer)
    assert not result.passed
    assert result.message
    # there any exception of the answer's own is a break that it has found
    if answer is _boom and check is not lottery_ticket.check_invariants:
        assert "ZeroDivisionError" in result.message


@pytest.mark.parametrize("room", ROOMS, ids=_name)
def test_checks_leave_the_global_random_states_alone(room):
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    for check in room.EXERCISES:
        check(check.reference)
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(torch.get_rng_state(), before[2])
