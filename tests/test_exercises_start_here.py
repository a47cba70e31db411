"""Lesson 00: its numbers, and other ways to solve it."""

import subprocess
import sys

import numpy as np
import pytest

from lthviz.exercises import start_here


def test_the_numbers_that_the_lesson_mentions():
    assert start_here.density_after(0.2, 10) == pytest.approx(0.107, abs=5e-4)
    assert start_here.first_round_below(0.05, 0.2) == 14


def test_other_ways_to_solve_it_pass():
    assert start_here.check_density_after(lambda rate, rounds: np.prod([1 - rate] * rounds)).passed
    assert start_here.check_unused_inputs(lambda mask: np.sum(~np.any(mask, axis=0))).passed


def test_this_lesson_needs_no_torch():
    code = "import sys; from lthviz.exercises import start_here; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
