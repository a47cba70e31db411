"""The exercises of lesson 01: counting parameters, removing small weights, a fair small network, independent draws."""

import math
from itertools import pairwise

import numpy as np

from .check import compare, exercise, ladder

# --- Counting ---------------------------------------------------------------------------------------------------------


def parameters(widths):
    """How many weights and biases each layer of a fully connected network has.

    widths : how many numbers go in, how many units each hidden layer has, how many classes come out
    Returns a list with one pair (weights, biases) for each layer, first layer first.
    """
    return [(widths[i] * widths[i + 1], widths[i + 1]) for i in range(len(widths) - 1)]


@exercise(
    reference=parameters,
    wrong={
        lambda widths: [
            (below * here, below) for below, here in pairwise(widths)
        ]: "The weights are right. But a layer has one bias for each unit that it *gives*, not for each number it takes.",
        lambda widths: [
            (below * here, 1) for below, here in pairwise(widths)
        ]: "The weights are right. But every unit has a bias of its own, not one for the whole layer.",
        lambda widths: [
            (below * here + here, here) for below, here in pairwise(widths)
        ]: "You counted the biases among the weights. They are asked apart: weights are pruned, biases never are.",
        lambda widths: [
            (below + here, here) for below, here in pairwise(widths)
        ]: "You added the two widths. Every input is connected with every unit: multiply.",
        lambda widths: [
            (below * here, here) for below, here in pairwise(widths[:-1])
        ]: "A layer is missing: the one that gives the classes has weights, too.",
        lambda widths: (
            [(widths[0], widths[0])] + [(below * here, here) for below, here in pairwise(widths)]
        ): "The pixels are no layer: they have no weights in front of them. Three widths make two layers.",
        lambda widths: [
            sum(below * here for below, here in pairwise(widths)),
            sum(widths[1:]),
        ]: "That is the sum over the layers. Asked is a pair for each layer.",
    },
    idea="A layer takes some numbers and gives others. There is a weight for every pair of one that goes in and one that "
    "comes out, and a bias for every one that comes out.",
    steps="Layer number i takes widths[i] numbers and gives widths[i + 1]. Its pair is (in * out, out).",
)
def check_parameters(answer):
    yield "three inputs, two classes, nothing between"
    compare(answer, [3, 2])
    yield "one hidden layer of 8 units on 196 pixels"
    compare(answer, [196, 8, 10])
    yield "the class-room network"
    compare(answer, [196, 100, 50, 10])


# --- Small weights ----------------------------------------------------------------------------------------------------


def zero_smallest(weight, share):
    """The weights with the smallest of them at zero.

    weight : array of any shape; must stay as it is
    share : from 0 to 1; int(share * number of weights) of them become zero, those nearest to zero
    Returns a new array of the same shape.
    """
    gone = np.argsort(np.abs(weight), axis=None, kind="stable")[: int(share * weight.size)]
    rest = weight.copy()
    rest.flat[gone] = 0
    return rest


def _at_zero(weight, order, count):
    rest = weight.copy()
    rest.flat[order[:count]] = 0
    return rest


def _below(weight, share):
    return np.where(np.abs(weight) <= share * np.abs(weight).max(), 0, weight)


def _each_unit(weight, share):
    return np.stack([zero_smallest(row, share) for row in weight.reshape(len(weight), -1)]).reshape(
        weight.shape
    )


@exercise(
    reference=zero_smallest,
    wrong={
        lambda weight, share: _at_zero(
            weight, np.argsort(weight, axis=None), int(share * weight.size)
        ): "You sorted the weights by value, so the most negative ones went, however large. *Small* means near zero: sort "
        "the magnitudes.",
        lambda weight, share: _at_zero(
            weight, np.argsort(-np.abs(weight), axis=None), int(share * weight.size)
        ): "You removed the largest ones.",
        lambda weight, share: _at_zero(
            weight, np.argsort(np.abs(weight), axis=None), math.ceil((1 - share) * weight.size)
        ): "You kept `share` of the weights. It is the share that becomes zero.",
        _below: "You removed what is below `share` times the largest. Half of the *weights* is not half of the *range*: most "
        "weights are small, so far more than half went.",
        lambda weight, share: np.where(
            np.abs(weight) <= np.abs(weight).mean(), 0, weight
        ): "You removed what is below the mean, whatever `share` says. Count: int(share * number of weights).",
        lambda weight, share: zero_smallest(weight, share)[
            zero_smallest(weight, share) != 0
        ]: "You gave back the survivors alone, so nobody knows where they belong. Keep the shape, with zeros in it.",
        lambda weight, share: zero_smallest(
            weight, share
        ).ravel(): "The right weights are zero, but you gave them back in one row. Keep the shape of the array.",
        _each_unit: "You removed that share in each row. Asked are the smallest of the whole array.",
    },
    idea="Rank the weights by how far they are from zero, and count off the first int(share * number) of them.",
    steps="np.argsort(np.abs(weight), axis=None) gives places in the flattened array, smallest magnitude first. Copy the "
    "weights; .flat[places] = 0 writes into the copy.",
)
def check_zero_smallest(answer):
    yield "two of four"
    compare(answer, np.array([0.5, -2.0, -0.1, 1.0]), 0.5)
    yield "none at all"
    compare(answer, np.array([0.5, -2.0, -0.1, 1.0]), 0)
    yield "all of them"
    compare(answer, np.array([[0.5, -2.0], [-0.1, 1.0]]), 1)
    yield "a layer of 7 by 9, 30 %"
    draw = np.random.default_rng(0).normal(size=(7, 9)) * np.linspace(0.5, 2, 7)[:, None]
    compare(answer, draw, 0.3)


# --- A fair small network ---------------------------------------------------------------------------------------------


def fair_width(budget, inputs, classes):
    """The hidden units of a small dense network to compare a ticket with.

    budget : how many weights the ticket has
    inputs, classes : how many pixels a picture has, and how many classes there are
    Returns the least width of one hidden layer at which the dense network has no fewer weights than the ticket (biases
    do not count).
    """
    return int(np.ceil(budget / (inputs + classes)))


@exercise(
    reference=fair_width,
    wrong={
        lambda budget, inputs, classes: (
            budget // (inputs + classes)
        ): "You rounded down (or to the nearest, which is down here): the small network has fewer weights than "
        "the ticket. Then a ticket that wins may have won by size. Give the small one no fewer.",
        lambda budget, inputs, classes: (
            budget // (inputs + classes) + 1
        ): "One too many where the budget comes out even.",
        lambda budget, inputs, classes: math.ceil(
            budget / inputs
        ): "You counted the first layer alone. A hidden unit has weights to every class, too.",
        lambda budget, inputs, classes: math.ceil(
            (budget - classes) / (inputs + classes + 1)
        ): "You counted biases. The ticket's budget is of weights: compare like with like, and mention the biases.",
        lambda budget, inputs, classes: budget / (inputs + classes): "A width is a whole number.",
    },
    idea="What does one hidden unit cost? A weight from every pixel, and one to every class.",
    steps="width * (inputs + classes) >= budget; the least such width is the quotient, rounded up (np.ceil).",
)
def check_fair_width(answer):
    yield "four inputs, three classes, a hundred weights"
    compare(answer, 100, 4, 3)
    yield "a budget that comes out even"
    compare(answer, 2060, 196, 10)
    for budget in (2400, 1200, 600):
        yield f"the digits, a ticket of {budget:,} weights"
        compare(answer, budget, 196, 10)


# --- Independent draws ------------------------------------------------------------------------------------------------


def chance(p, draws):
    """How likely at least one of several independent draws wins.

    p : how likely one draw wins, from 0 to 1
    draws : how many there are; need not be whole
    """
    return 1 - (1 - p) ** draws


@exercise(
    reference=chance,
    wrong={
        lambda p, draws: (
            p * draws
        ): "That is how many wins to *expect*; with 0.3 and 5 draws it would be a chance above 1. Two "
        "wins are no better than one: ask for the chance that *none* wins.",
        lambda p, draws: min(
            1.0, p * draws
        ): "Cut off at 1 it looks like a chance, but with 0.5 and 2 draws nothing is certain. "
        "Ask for the chance that *none* wins.",
        lambda p, draws: p**draws: "That is the chance that *every* draw wins.",
        lambda p, draws: 1 - p**draws: "That is the chance that at least one draw *loses*.",
        lambda p, draws: (1 - p) ** draws: "That is the chance that none wins. You are one step away.",
        lambda p, draws: (
            p * (1 - p) ** (draws - 1) * draws
        ): "That is the chance that *exactly* one wins. Two are as welcome.",
    },
    idea="It is easier to say how nothing happens: all draws lose, one after the other, independently.",
    steps="One draw loses with 1 - p; all of them with (1 - p) ** draws; at least one wins with 1 minus that.",
)
def check_chance(answer):
    yield "five draws"
    compare(answer, 0.3, 5)
    yield "one draw"
    compare(answer, 0.3, 1)
    yield "two draws, a coin"
    compare(answer, 0.5, 2)
    yield "never, and always"
    compare(answer, 0.0, 8)
    compare(answer, 1.0, 8)
    yield "no whole number of draws"
    compare(answer, 0.05, 50 / 12)


EXERCISES = (check_parameters, check_zero_smallest, check_fair_width, check_chance)
hint = ladder(*EXERCISES)
