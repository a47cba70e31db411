"""Exercises of lesson 00: rate, density, and reading a mask."""

import math

import numpy as np

from .check import compare, exercise, ladder


def density_after(rate, rounds):
    """The fraction of the weights that is left after some rounds of pruning, from 0 to 1."""
    return (1 - rate) ** rounds


def first_round_below(density, rate):
    """The first round after which strictly less than ``density`` of the weights is left."""
    rounds = 0
    while (1 - rate) ** rounds >= density:
        rounds += 1
    return rounds


def unused_inputs(mask):
    """How many inputs no unit looks at, for the mask ``(out, in)`` of a linear layer."""
    return int((mask.sum(axis=0) == 0).sum())


def _of_all(rate, rounds):
    return 1 - rate * rounds


def _sparsity(rate, rounds):
    return 1 - (1 - rate) ** rounds


def _removed_power(rate, rounds):
    return rate**rounds


def _one_short(rate, rounds):
    return (1 - rate) ** (rounds - 1)


@exercise(
    reference=density_after,
    wrong={
        _of_all: "You took the rate off all the weights, round after round. A round removes a fraction "
        "of the weights that are still there, so every round removes fewer.",
        _sparsity: "That is the sparsity, the part that is gone. The density is the part that is left: "
        "1 - sparsity.",
        _removed_power: "You multiplied the part that a round removes. Multiply the part that it "
        "leaves: 1 - rate.",
        _one_short: "That is the density one round earlier. After 0 rounds everything is there, after 1 "
        "round 1 - rate.",
    },
    idea="A round does not look at how many weights there were in the beginning. It takes its share of "
    "what is left. Start with 100 weights and a rate of 0.2: how many are left after one round? And "
    "then after a second?",
    steps="One number goes in for the rate, one for the rounds; one number between 0 and 1 comes out. "
    "Each round multiplies the density by the same factor. Which one? How often?",
)
def check_density_after(density_after):
    """The closed form of the density."""
    yield "two rounds at rate 0.2"
    compare(density_after, 0.2, 2)
    yield "no round: everything is there"
    compare(density_after, 0.2, 0)
    yield "ten rounds at rate 0.2"
    compare(density_after, 0.2, 10)
    yield "three rounds at rate 0.5: an eighth"
    compare(density_after, 0.5, 3)


def _last_round_above(density, rate):
    return math.floor(math.log(density) / math.log(1 - rate))


def _at_or_below(density, rate):
    rounds = 0
    while (1 - rate) ** rounds > density:
        rounds += 1
    return rounds


def _first_below_of_all(density, rate):
    return math.floor((1 - density) / rate) + 1


def _sparsity_asked(density, rate):
    return first_round_below(1 - density, rate)


def _no_whole_number(density, rate):
    return math.log(density) / math.log(1 - rate)


@exercise(
    reference=first_round_below,
    wrong={
        _at_or_below: "Nearly: after that round exactly the asked density is left. Asked for is "
        "strictly less.",
        _last_round_above: "One round too early: after that round there is still more left than asked for.",
        _first_below_of_all: "You took the rate off all the weights, round after round. A round removes a "
        "fraction of the weights that are still there.",
        _sparsity_asked: "You found the round where less than 1 - density is left. Here `density` is "
        "the part that stays.",
        _no_whole_number: "Nearly: rounds are whole numbers. Which one is the first below?",
    },
    idea="Go round by round, as the algorithm does: start with a density of 1 and keep multiplying "
    "until it is low enough. Count.",
    steps="A whole number comes out. With a loop: `rounds = 0`, and as long as the density after "
    "`rounds` rounds is at least the one asked for, add 1. (With logarithms it takes one line, and care "
    "at the edges.)",
)
def check_first_round_below(first_round_below):
    """Solving the closed form for the round."""
    yield "rate 0.2, less than 5 %"
    compare(first_round_below, 0.05, 0.2)
    yield "rate 0.5, less than 0.3: two rounds leave a quarter"
    compare(first_round_below, 0.3, 0.5)
    yield "rate 0.5, less than 0.25: exactly 0.25 is not less"
    compare(first_round_below, 0.25, 0.5)
    yield "rate 0.1, less than 1 %"
    compare(first_round_below, 0.01, 0.1)


def _unused_units(mask):
    return int((mask.sum(axis=1) == 0).sum())


def _zeros(mask):
    return int((mask == 0).sum())


def _used_inputs(mask):
    return int((mask.sum(axis=0) > 0).sum())


def _fraction_unused(mask):
    return float((mask.sum(axis=0) == 0).mean())


@exercise(
    reference=unused_inputs,
    wrong={
        _unused_units: "You counted units (rows) that lost every connection. Inputs are the columns: "
        "the shape is (out, in).",
        _zeros: "You counted every removed weight. Asked for are inputs that lost all of them: whole "
        "columns of zeros.",
        _used_inputs: "You counted the inputs that are still used. Asked for are the others.",
        _fraction_unused: "That is the fraction of the inputs. Asked for is their number.",
    },
    idea="In the mask of a linear layer a row belongs to one unit of the layer, a column to one input. "
    "An input is unused when its whole column is 0.",
    steps="`mask` has the shape (out, in). `mask.sum(axis=0)` adds up along the rows: one number for "
    "each column. Count how many of them are 0.",
)
def check_unused_inputs(unused_inputs):
    """Reading a mask, column by column."""
    yield "one unit, three inputs, the middle one unused"
    compare(unused_inputs, np.array([[1, 0, 1]]))
    yield "three units, four inputs"
    compare(unused_inputs, np.array([[1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 1]]))
    yield "everything kept"
    compare(unused_inputs, np.ones((3, 5), int))
    yield "everything pruned"
    compare(unused_inputs, np.zeros((2, 5), int))


EXERCISES = (check_density_after, check_first_round_below, check_unused_inputs)
hint = ladder(*EXERCISES)
