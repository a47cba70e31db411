"""Lesson 09: every solution passes, every known wrong answer gets its own message; the lesson's claims hold."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import traitlets

from lthviz import data, models
from lthviz.dynamic import SET, RigL, Schedule, exchange
from lthviz.exercises import dynamic as lesson
from lthviz.explorer.lessons import mask_movie
from lthviz.masks import erk
from lthviz.train import generator

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
    assert mine == pytest.approx(erk(shapes, density)) and max(mine.values()) <= 1
    kept = sum(mine[name] * np.prod(shape) for name, shape in shapes.items())
    assert kept == pytest.approx(density * sum(np.prod(shape) for shape in shapes.values()))


# The explorer


def course(seed, exchanges=4):
    rng = np.random.default_rng(seed)
    return {
        "fc1.weight": rng.random((exchanges + 1, 5, 12)) < 0.4,
        "fc2.weight": rng.random((exchanges + 1, 3, 5)) < 0.6,
    }


def shown(explorer, name):
    """An array or the sentences as the browser gets them."""
    spec = explorer.arrays[name]
    return (
        spec["texts"]
        if "texts" in spec
        else np.frombuffer(spec["data"], spec["dtype"]).reshape(spec["shape"])
    )


def test_the_movie_shows_the_masks_and_what_was_ever_tried():
    courses, steps = {"RigL": course(1), "SET": course(2)}, [0, 10, 20, 30, 40]
    explorer = mask_movie(courses, steps, (3, 4))
    for row, (name, masks) in enumerate(courses.items()):
        first = masks["fc1.weight"]
        assert np.array_equal(shown(explorer, f"{name} now").reshape(5, 12), first.sum(1))
        ever = [[first[: t + 1, :, pixel].any(0).sum() for pixel in range(12)] for t in range(5)]
        assert np.array_equal(shown(explorer, f"{name} ever").reshape(5, 12), ever)
        for t, step in enumerate(steps):
            there = [np.concatenate([layer[i].ravel() for layer in masks.values()]) for i in range(t + 1)]
            ever = 100 * np.mean(np.any(there, axis=0))
            assert shown(explorer, "coverage")[row, t] == pytest.approx(ever / 100)
            come = sum(b and not a for a, b in zip(there[-2], there[-1], strict=True)) if t else 0
            said = f"{name}, step {step}: {there[-1].sum()} of 75 weights are there, {come} of them new; {ever:.1f} %"
            assert shown(explorer, "words")[5 * row + t].startswith(said)
    explorer.step = 40
    with pytest.raises(traitlets.TraitError):
        explorer.step = 15
    assert "<figure" in explorer._repr_mimebundle_()[0]["text/html"]


def test_the_movie_refuses_pictures_of_another_size_and_steps_that_do_not_fit():
    courses = {"RigL": course(1), "SET": course(2)}
    with pytest.raises(ValueError, match=r"picture_shape=\(3, 3\)"):
        mask_movie(courses, [0, 10, 20, 30, 40], (3, 3))
    with pytest.raises(ValueError):
        mask_movie(courses, [0, 10, 20], (3, 4))


# What the prose of the lesson says, against the library and the results


@pytest.fixture(scope="module")
def early():
    """The lesson's networks at 5 %, by RigL and SET, after the first five exchanges: their masks of the first layer."""
    digits = data.load("mnist-5k-14")
    x, y = torch.tensor(digits.x_train), torch.tensor(digits.y_train)
    found = {}
    for method in (RigL, SET):
        network = models.build("mlp-100-50", digits.input_shape, digits.classes, generator(0, "init"))
        optimizer = torch.optim.Adam(network.parameters(), lr=0.002)
        sparse = method(network, optimizer, density=0.05, steps=3000, generator=generator(0, "mask"))
        draw = generator(0, "order")
        for _ in range(500):
            batch = torch.randint(len(y), (60,), generator=draw)
            optimizer.zero_grad()
            F.cross_entropy(network(x[batch]), y[batch]).backward()
            sparse.step()
        found[method.__name__] = sparse.masks()["fc1.weight"]
    return (digits.x_train > 0).mean(0).ravel() < 0.01, found


def test_rigl_leaves_the_blank_pixels_within_five_exchanges_and_set_slowly(early):
    blank, found = early
    assert blank.sum() == 57
    share = {name: (at := masks.sum(1))[:, blank].sum(1) / at.sum(1) for name, masks in found.items()}
    assert share["RigL"][0] == share["SET"][0] and 0.28 < share["RigL"][0] < 0.29
    assert share["RigL"][5] < 0.07 and 0.12 < share["SET"][5] < 0.19


def test_set_tries_more_than_rigl(early):
    tried = {name: lesson.coverage(masks)[5] for name, masks in early[1].items()}
    assert tried["SET"] > tried["RigL"] > 1.5 * 0.037


def test_the_schedule_has_22_exchanges_in_3000_steps():
    steps = [step for step in range(1, 3001) if Schedule(3000).fraction(step)]
    assert len(steps) == 22 and steps[-1] == 2200
