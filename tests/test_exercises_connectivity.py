"""Lesson 06: solutions against the library, the stored study, the explorer, and what the prose says."""

import numpy as np
import pytest
import torch
import traitlets
from torch import nn

from lthviz import connectivity as library
from lthviz import studies
from lthviz.exercises import connectivity as lesson
from lthviz.explorer.lessons.connectivity import connectivity_browser
from lthviz.result import interval
from lthviz.studies import connectivity as made

from .helpers import shown


@pytest.fixture(scope="module")
def study():
    return studies.load("connectivity")


# Solutions against the library


def layer(values):
    network = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3))
    names = {"weight": "0.weight", "bias": "0.bias", "mean": "1.running_mean", "variance": "1.running_var"}
    state = network.state_dict() | {names[name]: torch.tensor(array) for name, array in values.items()}
    network.load_state_dict(state)
    return network.double()


def test_the_layer_in_between_is_the_librarys():
    rng = np.random.default_rng(0)
    a, b = (
        {"weight": rng.normal(size=(3, 5))}
        | {name: rng.random(3) + 0.1 for name in ("bias", "mean", "variance")}
        for _ in range(2)
    )
    x = rng.normal(size=(30, 5))
    network = library.interpolate(layer(a), layer(b), 0.3)
    library.recalibrate(network, torch.tensor(x))
    mine = lesson.interpolate(a, b, 0.3, x)
    assert np.allclose(network[0].weight.detach(), mine["weight"], atol=1e-6)
    assert np.allclose(network[1].running_mean, mine["mean"], atol=1e-5)
    assert np.allclose(network[1].running_var, mine["variance"] * 30 / 29, atol=1e-5)  # as torch keeps it


def test_the_barrier_is_the_librarys():
    rng = np.random.default_rng(1)
    alphas = np.r_[0, np.sort(rng.random(9)), 1]
    for values in rng.random((20, 11)):
        assert lesson.barrier(values, alphas) == pytest.approx(library.barrier(values, alphas))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda step, rates: (rates, step), "Return two things"),
        (lambda step, rates: rates, "Return two things"),
        (lambda step, rates: (step, "rates"), "Return two things"),
        (lambda step, rates: (step + 1, rates), "The weights are those after step 0, not 1."),
        (lambda step, rates: (step, rates[1:]), "T - k = 10 steps need 10 learning rates; you gave 9."),
        (lambda step, rates: (step, [0.1] * len(rates)), "The learning rates should be [0.3, 0.3,"),
        (lambda step, rates: (np.int64(step), torch.tensor(rates)), "retraining does what it should"),
        (lambda step, rates: [float(step), list(rates)], "retraining does what it should"),
    ],
)  # fmt: skip
def test_an_answer_about_retraining_is_judged_part_by_part(change, message):
    assert lesson.check_retraining(lambda *given: change(*lesson.retraining(*given))).message.startswith(
        message
    )


def test_the_first_stable_step_by_a_slow_search():
    rng = np.random.default_rng(2)
    for barriers in 4 * rng.random((200, 5, 3)):
        slow = [k for k in range(5) if all(sum(row) / 3 < 2 for row in barriers[k:].tolist())]
        assert lesson.smallest_stable_step(range(5), barriers) == (slow[0] if slow else np.inf)


# The study, a part of it computed again


def test_the_stored_barriers_are_those_of_the_stored_errors(study):
    assert np.allclose(study["forks/barrier"], library.barrier(study["forks/error"]), atol=1e-4)
    assert study["forks/error"].shape == (3, 6, 10, 21) and np.array_equal(
        study["forks/alpha"], library.ALPHAS
    )


def test_two_forks_are_the_stored_ones(study):
    """Other computers round otherwise, and training at a high rate multiplies that: so stable settings, and a margin."""
    again = made.forks({name: made.SETTINGS[name] for name in ("Adam, 0.002", "SGD, 0.1")}, [0, 300], [3, 4])
    stored = study["forks/error"][:2][:, [0, 5]][:, :, 3:5]
    assert again["error"].shape == stored.shape
    assert np.abs(again["error"] - stored).max() < 2.0
    assert np.abs(again["error"] - stored).mean() < 0.5


def test_a_ticket_computed_again_is_near_the_stored_one_and_its_masks_are_nested(study):
    """One seed at the high rate: rounding alone leads elsewhere, so only what holds for any such run is asked."""
    small = made.tickets([0, 5], 2, [7])
    assert small["density"] == pytest.approx(study["tickets/density"][:3])
    assert np.abs(small["accuracy"][:, 0, :, 0] - study["tickets/accuracy"][:, 0, :3, 7]).max() < 5
    assert small["barrier"][0, 0, 0] > 0.5 and small["before"][1, 0, 1] > 30 > small["before"][0, 0, 1]
    assert (small["dense"][:, :, 0] == 0).all() and (small["before"][:, :, 0] == 0).all()
    weights, ones = made.start([7])
    same = made.trained([weights] * 2, [ones] * 2, [made.order([7], 1)[:, :30]] * 2, optimizer="sgd", lr=0.3)[
        -1
    ]
    assert all(torch.allclose(same[0][name], same[1][name], atol=1e-6) for name in weights)
    masks = made.pruned(same[0], ones, "imp", [7], 1)
    further = made.pruned(same[0], masks, "imp", [7], 2)
    assert all((masks[name] | ~further[name]).all() for name in masks)


def test_a_short_residual_study_has_the_shape_of_the_stored_one(study):
    before = torch.get_rng_state()
    small = made.residual([0, 3], 1, [0], steps=6)
    assert torch.equal(torch.get_rng_state(), before)
    for name in ("accuracy", "barrier", "stale"):
        assert small[name].shape == (2, 2, 2, 1) and np.isfinite(small[name]).all()
        assert study[f"residual/{name}"].shape == (2, 3, 3, 5)
    assert np.array_equal(
        small["accuracy"][0, :, 0], small["accuracy"][1, :, 0]
    )  # round 0 is the dense network
    network = made.residual_network(torch.Generator().manual_seed(0))
    assert sum(value.numel() for value in network.parameters()) == 3_482


# The explorer


def test_the_explorer_shows_the_study(study):
    explorer = connectivity_browser(study)
    assert np.array_equal(shown(explorer, "error"), study["forks/error"])
    assert np.array_equal(shown(explorer, "barrier"), study["forks/barrier"])
    words = np.reshape(shown(explorer, "words"), (3, 6, 21))
    for row, name in enumerate(study["forks/settings"]):
        for i, k in enumerate(study["forks/k"]):
            barrier = study["forks/barrier"][row, i].mean()
            error = study["forks/error"][row, i, :, 10].mean()
            assert words[row, i, 10].startswith(
                f"{name}, parted at step {k}: error {error:.1f} % at alpha 0.5, "
            )
            assert f"barrier {barrier:.1f} (" in words[row, i, 10]
            assert words[row, i, 10].endswith(", stable." if barrier < 2 else ", unstable.")
            assert "+0.0 points" in words[row, i, 0] and "+0.0 points" in words[row, i, 20]
    explorer.step, explorer.alpha, explorer.seed = 300, 1.0, 9
    with pytest.raises(traitlets.TraitError):
        explorer.step = 15
    assert "<figure" in explorer._repr_mimebundle_()[0]["text/html"]


# What the prose of the lesson says


def said(values):
    mean, low, high = (float(part) for part in interval(values))
    return [round(mean, 1), round(low, 1), round(high, 1)]


def test_copies_part_at_a_high_rate_and_only_early(study):
    barrier = study["forks/barrier"].mean(-1)
    assert barrier[:2].max() < 0.5
    assert barrier[:2, 0].round(1).tolist() == pytest.approx([0.3, 0.4])
    assert barrier[2, [0, 2, 4]].round(1).tolist() == pytest.approx([11.5, 3.7, 0.4], abs=0.06)
    error = study["forks/error"][2].mean(1)
    assert error[0, 10] > 2 * error[0, [0, 20]].mean()
    rows = study["forks/barrier"][2]
    high = interval(rows)[2]
    assert lesson.smallest_stable_step(study["forks/k"], rows) == 50
    assert lesson.smallest_stable_step(study["forks/k"], high[:, None]) == 100
    ends = study["forks/error"][:, :, :, [0, 20]].mean((1, 2, 3))
    assert ends[1] == pytest.approx(5.4, abs=0.15) and ends[2] == pytest.approx(9.0, abs=0.3)


@pytest.fixture(scope="module")
def tickets(study):
    """{arm: {quantity: (k, round, seed)}}, and the paired difference to the dense network of the same k."""
    found = {
        arm: {name: study[f"tickets/{name}"][i] for name in ("accuracy", "barrier", "before", "dense")}
        for i, arm in enumerate(study["tickets/arms"])
    }
    dense = found["imp"]["accuracy"][:, :1]
    return found | {f"{arm} gap": found[arm]["accuracy"] - dense for arm in study["tickets/arms"]}


def signs(differences):
    """For each row (round, seed) higher +, lower -, or not distinguishable 0."""
    _, low, high = interval(differences)
    return "".join("+" if a > 0 else "-" if b < 0 else "0" for a, b in zip(low, high, strict=True))


def test_pruning_makes_the_ticket_stable_and_not_its_controls(study, tickets):
    assert (100 * study["tickets/density"]).round(1).tolist() == [100, 50.5, 25.6, 13.1, 6.8, 3.5]
    barrier = {arm: tickets[arm]["barrier"][0].mean(-1) for arm in ("imp", "reinit", "random")}
    assert barrier["imp"].round(1).tolist() == pytest.approx([11.1, 3.3, 0.6, 0.1, 0.1, 0.1], abs=0.06)
    assert 2.9 < barrier["reinit"][1:].min() and barrier["reinit"][1:].max() < 9
    assert barrier["reinit"][1:3].round(1).tolist() == pytest.approx([5.2, 3.0], abs=0.06)
    assert barrier["random"].round(1)[2:4].tolist() == pytest.approx([0.3, 1.6], abs=0.06)
    assert (barrier["random"][4:] > 2).all()


def test_tickets_match_and_matching_goes_with_stability_where_random_masks_fail(tickets):
    assert [signs(tickets[f"{arm} gap"][0, 1:]) for arm in ("imp", "reinit", "random")] == [
        "0+++0",
        "00---",
        "00---",
    ]
    assert tickets["random gap"][0, 3].mean() == pytest.approx(-2.3, abs=0.06)
    for j in range(3):
        for arm in ("imp", "reinit", "random"):
            for r in (3, 4, 5):
                if signs(tickets[f"{arm} gap"][j, r : r + 1]) != "-":
                    assert arm == "imp" and tickets[arm]["barrier"][j, r].mean() < 2


def test_late_rewinding_helps_somewhat_on_the_digits(tickets):
    accuracy = tickets["imp"]["accuracy"][:, 1:]
    assert signs(accuracy[1] - accuracy[0]) == "00+00" and signs(accuracy[2] - accuracy[0]) == "+++00"
    assert (accuracy[1] - accuracy[0]).mean(1)[2] == pytest.approx(1.0, abs=0.06)
    assert (accuracy[2] - accuracy[0]).mean(1)[:3] == pytest.approx([0.7, 1.3, 1.2], abs=0.06)
    assert tickets["random"]["accuracy"][:, 5].mean(1) == pytest.approx([57, 35, 25], abs=0.5)


def test_rounds_of_the_ticket_are_connected(tickets):
    before, dense = (tickets["imp"][name].mean(-1) for name in ("before", "dense"))
    assert before[0, 1:3] == pytest.approx([6.9, 1.1], abs=0.06) and before[0, 3:].max() < 0.26
    assert 4.5 < dense[0, 1:].min() and dense[0, 1:].max() < 7.0
    assert dense[1, 1:].max() < 0.65 and dense[2, 1:].max() < 0.65
    reinit, chance = (tickets[arm]["dense"].mean(-1)[:, 1:] for arm in ("reinit", "random"))
    assert 44.5 < reinit[:2].min() and reinit[:2].max() < 58.5
    assert 20 < chance[0].min() and chance[0].max() < 39.5


def test_three_ways_to_train_again(study):
    schemes = study["retraining/schemes"].tolist()
    again = dict(zip(schemes, study["retraining/accuracy"], strict=True))
    away = dict(zip(schemes, study["retraining/barrier"].mean(-1), strict=True))
    first, weight, rate, fine = (again[scheme][1:] for scheme in schemes)
    dense = again["fine-tuning"][0]
    assert schemes == ["rewind to 0", "weight rewinding", "learning-rate rewinding", "fine-tuning"]
    assert dense.mean() == pytest.approx(93.3, abs=0.06)
    assert signs(weight - dense)[1:3] == "++" and abs(np.mean([a[:3] - dense for a in again.values()])) < 1
    below = [(dense - other[-1]).mean() for other in (first, weight, rate, fine)]
    assert max(below[:2]) < 1 and below[2:] == pytest.approx([2.2, 2.7], abs=0.06)
    assert (
        signs(weight - fine) == "0++++" and signs(weight - rate) == "0++++" and signs(rate - fine) == "00000"
    )
    assert (weight - fine).mean(1)[1:] == pytest.approx([0.7, 0.8, 1.5, 2.0], abs=0.06)
    assert 0.64 < (weight - rate).mean(1)[1:].min() and (weight - rate).mean(1).max() < 1.65
    assert signs(weight - first) == "00000"
    assert away["weight rewinding"][1:].max() < 0.6
    assert 4 < away["rewind to 0"][1:].min() and away["rewind to 0"][1:].max() < 7.2


def test_late_rewinding_helps_on_the_residual_network(study):
    assert study["residual/k"].tolist() == [0, 20, 100] and study["residual/density"].tolist() == [
        1,
        0.5,
        0.25,
    ]
    (ticket, chance), (apart, apart_chance) = study["residual/accuracy"], study["residual/barrier"]
    assert (
        ticket[:, 2].mean(1) == pytest.approx([93.2, 94.7, 95.2], abs=0.06)
        and chance[:, 2].mean(1).max() < 88
    )
    assert (
        apart[:, 2].mean(1) == pytest.approx([8.6, 1.9, 0.0], abs=0.06)
        and apart_chance[:, 2].mean(1).min() > 14
    )
    assert apart[0, :2].mean(1) == pytest.approx([10.8, 4.5], abs=0.06)
    assert said(ticket[2, 2] - ticket[0, 2]) == pytest.approx([2.0, 0.6, 3.3], abs=0.06)
    assert said(ticket[2, 0] - ticket[0, 0]) == pytest.approx([1.3, -0.1, 2.7], abs=0.06)  # the yardstick
    beyond = (ticket[2, 2] - ticket[0, 2]) - (ticket[2, 0] - ticket[0, 0])
    assert said(beyond) == pytest.approx([0.7, -0.9, 2.2], abs=0.06)
    assert signs(np.stack([ticket[2, 1] - ticket[0, 1], *(ticket[1, 1:] - ticket[0, 1:])])) == "000"
    assert said(ticket[0, 2] - ticket[0, 0]) == pytest.approx([-0.9, -3.2, 1.3], abs=0.06)
    assert said(ticket[0, 2] - chance[0, 2]) == pytest.approx([5.3, 0.9, 9.7], abs=0.06)


def test_interpolated_statistics_make_a_mountain(study):
    fresh, stale = study["residual/barrier"][0, 0, 0], study["residual/stale"][0, 0, 0]
    assert said(fresh)[0] == pytest.approx(10.8, abs=0.06) and said(stale)[0] == pytest.approx(37.4, abs=0.06)
    assert stale.mean() > 3 * fresh.mean() and (stale > fresh).sum() == 4 and signs([stale - fresh]) == "0"
    masked = study["residual/stale"][1, 0, 1] - study["residual/barrier"][1, 0, 1]
    assert said(masked) == pytest.approx([26.7, 7.8, 45.6], abs=0.06)


def test_what_matches_is_stable_only_where_pruning_costs_something(study):
    accuracy, barrier = study["tickets/accuracy"], study["tickets/barrier"]
    for j, r in ((1, 1), (1, 2), (2, 2)):  # steps 100 and 300, at 50 and 26 %: counterexamples
        assert said(accuracy[2, j, r] - accuracy[0, j, 0])[2] < 0  # the random mask is worse
        assert said(accuracy[1, j, r] - accuracy[0, j, 0])[2] > 0 and barrier[1, j, r].mean() > 2.4
    assert said(barrier[2, 1, 2]) == pytest.approx([0.5, -0.2, 1.1], abs=0.06)
    assert said(accuracy[2, 1, 2] - accuracy[0, 1, 0]) == pytest.approx([-2.3, -3.4, -1.3], abs=0.06)
