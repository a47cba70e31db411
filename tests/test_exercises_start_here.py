"""Lesson 00: every solution passes, every known wrong answer gets its own message."""

import subprocess
import sys

import numpy as np
import pytest

from lthviz.exercises import start_here

WRONG = [
    (check, mistake, message) for check in start_here.EXERCISES for mistake, message in check.wrong.items()
]


@pytest.mark.parametrize("check", start_here.EXERCISES, ids=lambda check: check.name)
def test_solutions_pass_and_stubs_are_not_done(check):
    def stub(*arguments):
        raise NotImplementedError

    assert check(check.reference).passed
    assert check(stub).status == "Not done yet"
    assert all(start_here.hint(check.name, rung).text for rung in (1, 2, 3, 4))


@pytest.mark.parametrize("check, mistake, message", WRONG, ids=[f"{c.name}{m.__name__}" for c, m, _ in WRONG])
def test_known_wrong_answers_get_their_message(check, mistake, message):
    result = check(mistake)
    assert not result.passed
    assert result.message == message


def test_the_numbers_that_the_lesson_mentions():
    assert start_here.density_after(0.2, 10) == pytest.approx(0.107, abs=5e-4)
    assert start_here.first_round_below(0.05, 0.2) == 14


def test_other_ways_to_solve_it_pass():
    assert start_here.check_density_after(lambda rate, rounds: np.prod([1 - rate] * rounds)).passed
    assert start_here.check_unused_inputs(lambda mask: np.sum(~np.any(mask, axis=0))).passed


def test_this_lesson_needs_no_torch():
    code = "import sys; from lthviz.exercises import start_here; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
