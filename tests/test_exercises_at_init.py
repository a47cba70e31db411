"""Lesson 08: every solution passes, every known wrong answer gets its own message; the lesson's claims hold."""

import itertools
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lthviz import criteria
from lthviz.exercises import at_init as lesson

CHECKS = lesson.EXERCISES
WRONG = [(check, mistake, message) for check in CHECKS for mistake, message in check.wrong.items()]


def _boom(*arguments):
    raise ZeroDivisionError("division by zero")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
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


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_every_known_wrong_answer_has_a_message_of_its_own(check):
    assert len(set(check.wrong.values())) == len(check.wrong)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
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


def test_nothing_here_touches_the_global_random_states():
    before = random.getstate(), np.random.get_state()[1].copy(), torch.random.get_rng_state()
    for check in CHECKS:
        check(check.reference)
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(torch.random.get_rng_state(), before[2])


# The references, each against something independent


@pytest.mark.parametrize("seed", range(3))
def test_snip_is_the_slope_of_the_loss_by_a_factor_on_each_weight(seed):
    model, (x, y) = lesson._network(seed).double(), lesson._batch(seed)
    scores = lesson.snip(model, x.double(), y)
    for name, values in scores.items():
        weight = model.get_parameter(name).data
        for place in np.ndindex(weight.shape):
            old, loss = float(weight[place]), []
            for factor in (1 + 1e-5, 1 - 1e-5):
                weight[place] = factor * old
                loss.append(F.cross_entropy(model(x.double()), y).item())
            weight[place] = old
            assert float(values[place]) == pytest.approx(abs(loss[0] - loss[1]) / 2e-5, rel=1e-4, abs=1e-9)


def test_grasp_agrees_with_the_whole_hessian():
    draw = torch.Generator().manual_seed(1)
    x, w = (torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in ((9, 4), (4,)))

    def loss(w):
        return torch.tanh(x @ w).pow(2).mean() + w.prod()

    hessian = torch.autograd.functional.hessian(loss, w)
    gradient = torch.autograd.functional.jacobian(loss, w)
    assert torch.allclose(lesson.grasp(loss, w), w * (hessian @ gradient), rtol=1e-10)


def test_synflow_is_the_flow_over_all_paths_that_use_the_weight():
    model = lesson._network(2, biases=False)
    first, second, third = (p.detach().abs() for p in model.parameters() if p.ndim == 2)
    through = [torch.zeros_like(w) for w in (first, second, third)]
    for i, a, b, o in itertools.product(*map(range, (6, 5, 4, 3))):
        worth = first[a, i] * second[b, a] * third[o, b]
        through[0][a, i] += worth
        through[1][b, a] += worth
        through[2][o, b] += worth
    for values, expected in zip(lesson.synflow(model, (6,)).values(), through, strict=True):
        assert torch.allclose(values, expected, rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_solutions_agree_with_the_library(seed):
    model, (x, y) = lesson._network(seed), lesson._batch(seed)
    for mine, theirs in (
        (lesson.snip(model, x, y), criteria.snip(model, F.cross_entropy, (x, y))),
        (lesson.synflow(model, (6,)), criteria.synflow(model, F.cross_entropy, (x, y))),
    ):
        assert mine.keys() == theirs.keys()
        assert all(torch.allclose(mine[name], theirs[name].float(), rtol=1e-4, atol=1e-7) for name in mine)


@pytest.mark.parametrize("density, n", [(0.01, 100), (0.37, 7), (1.0, 3)])
def test_the_schedule_keeps_the_same_fraction_each_time(density, n):
    densities = np.r_[1.0, lesson.exponential_schedule(density, n)]
    assert len(densities) == n + 1 and densities[-1] == pytest.approx(density)
    assert np.allclose(densities[1:] / densities[:-1], density ** (1 / n))
