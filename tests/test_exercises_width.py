"""Lesson 01: solutions against independent ways, the study made again in part, the explorers, and the lesson's claims."""

import copy
import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import traitlets

from lthviz import data, models, prune, studies
from lthviz.exercises import width as lesson
from lthviz.explorer.lessons.width import (
    GOALS,
    draws,
    lottery_browser,
    parent_browser,
    verdict,
    width_browser,
)
from lthviz.result import interval
from lthviz.studies import width as measured
from lthviz.train import batch_order, generator

from .helpers import shown

STUDY = studies.load("width")
WIDTHS, PARENTS = STUDY["widths"].tolist(), STUDY["parents"].tolist()


# Solutions


@pytest.mark.parametrize("hidden", [(7,), (100, 50), (3, 4, 5)])
def test_parameters_are_those_of_a_network_that_was_built(hidden):
    network = models.build("mlp-" + "-".join(map(str, hidden)), (14, 14), 10, torch.Generator())
    layers = [layer for layer in network if isinstance(layer, torch.nn.Linear)]
    built = [(layer.weight.numel(), layer.bias.numel()) for layer in layers]
    assert lesson.parameters([196, *hidden, 10]) == built


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.93, 1])
def test_zero_smallest_keeps_what_pruning_keeps(share):
    weight = np.random.default_rng(1).normal(size=(20, 10))
    kept = prune({"w": np.abs(weight)}, density=1 - share)["w"]
    assert np.array_equal(lesson.zero_smallest(weight, share), np.where(kept, weight, 0))


@pytest.mark.parametrize("budget", [1, 206, 207, 600, 1200, 2400])
def test_the_fair_width_is_the_first_that_is_large_enough(budget):
    large = (w for w in itertools.count(1) if models.weight_count(f"mlp-{w}", (14, 14), 10) >= budget)
    assert lesson.fair_width(budget, 196, 10) == next(large)


def test_a_width_rounded_to_the_nearest_is_refused():
    result = lesson.check_fair_width(lambda budget, inputs, classes: round(budget / (inputs + classes)))
    assert "to the nearest" in result.message


@pytest.mark.parametrize("draws", [1, 2, 3, 6])
def test_chance_is_the_sum_over_all_outcomes_with_a_win(draws):
    p = 0.3
    outcomes = itertools.product((p, 1 - p), repeat=draws)
    wins = sum(np.prod(outcome) for outcome in outcomes if p in outcome)
    assert lesson.chance(p, draws) == pytest.approx(wins)


# The study, made again in part


def test_wrong_labels_are_counted_exactly_and_stay_wrong_when_there_are_more():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    x, y = measured.few_digits(3, 400, [0, 0.1, 0.4, 1])
    right = y[0]
    assert [(labels != right).sum().item() for labels in y] == [0, 40, 160, 400]
    wrong = y[1] != right
    assert torch.equal(y[2][wrong], y[1][wrong]) and 0 <= y.min() and y.max() <= 9
    digits = data.load("mnist-5k-14")
    known = {picture.tobytes(): label for picture, label in zip(digits.x_train, digits.y_train, strict=True)}
    assert [known[picture.numpy().tobytes()] for picture in x] == right.tolist()
    assert not torch.equal(measured.few_digits(4, 400, [0])[1][0], right)
    assert torch.equal(torch.get_rng_state(), before[0]) and np.array_equal(
        np.random.get_state()[1], before[1]
    )


def test_a_part_of_the_sweep_comes_out_again():
    settings = measured.LEARNING | {"steps": 500}
    again = measured.sweep((3, 16), measured.NOISES, 2, **settings)
    for part in ("train", "test", "validation"):
        stored = STUDY[f"sweep/{part}"][[WIDTHS.index(3), WIDTHS.index(16)]][:, :, :2, :3]
        assert again[part].shape == stored.shape and abs(again[part] - stored).mean() < 0.002


def test_a_network_of_the_sweep_is_what_a_plain_loop_trains():
    settings = {"examples": 300, "steps": 60, "every": 30, "batch_size": 20, "lr": 0.01}
    found = measured.sweep((5,), (0.0, 0.5), 2, **settings)
    digits = data.load("mnist-5k-14")
    x, y = measured.few_digits(1, 300, [0, 0.5])
    network = models.build("mlp-5", (14, 14), 10, generator(1, "init"))
    begin, optimizer = copy.deepcopy(network), torch.optim.Adam(network.parameters(), lr=0.01)
    for batch in batch_order(1, 0, 300, 20, 60):
        optimizer.zero_grad()
        F.cross_entropy(network(x[batch]), y[1][batch]).backward()
        optimizer.step()
    with torch.no_grad():
        for part, examples, labels in (
            ("train", x, y[1]),
            ("test", torch.tensor(digits.x_test), torch.tensor(digits.y_test)),
            ("validation", torch.tensor(digits.x_validation), torch.tensor(digits.y_validation)),
        ):
            wrong = (network(examples).argmax(1) != labels).float().mean()
            assert found[part][0, 1, 1, -1] == pytest.approx(wrong.item(), abs=0.004)
        gone = (network.fc1.weight - begin.fc1.weight).norm() / begin.fc1.weight.norm()
    assert found["moved"][0, 1, 1] == pytest.approx(gone.item(), rel=1e-3)


def _plain(network, mask, x, y, order):
    """Train in an ordinary loop; what is pruned is put to zero after every step."""
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, kept in mask.items():
            parameters[name] *= kept
    optimizer = torch.optim.Adam(network.parameters(), lr=0.002)
    for batch in order:
        optimizer.zero_grad()
        F.cross_entropy(network(x[batch]), y[batch]).backward()
        optimizer.step()
        with torch.no_grad():
            for name, kept in mask.items():
                parameters[name] *= kept
    return network


def test_a_ticket_is_what_a_plain_loop_finds():
    """The parent of 12 units loses 72 of 2,472 weights: the first layer at a rate of 72 / (2352 + 120 / 2), the other at half."""
    found = measured.tickets("mlp-12", (2400,), 1, steps=200)
    digits = data.load("mnist-5k-14")
    x, y, x_test, y_test = (
        torch.tensor(getattr(digits, name)) for name in ("x_train", "y_train", "x_test", "y_test")
    )
    mask = {"fc1.weight": torch.ones(12, 196), "fc2.weight": torch.ones(10, 12)}
    first = models.build("mlp-12", (14, 14), 10, generator(0, "init"))
    parent = _plain(copy.deepcopy(first), mask, x, y, batch_order(0, 0, len(y), 60, 200))
    share = 72 / (2352 + 60)
    for name, rate in (("fc1.weight", share), ("fc2.weight", share / 2)):
        size = parent.get_parameter(name).abs().flatten().sort().values
        gone = round(rate * len(size))
        mask[name] = (parent.get_parameter(name).abs() > size[gone - 1]).float()
    assert (
        found["kept"][0, 0].tolist() == [int(kept.sum()) for kept in mask.values()]
        and found["kept"].sum() == 2400
    )
    ticket = _plain(first, mask, x, y, batch_order(0, 1, len(y), 60, 200))
    with torch.no_grad():
        right = (ticket(x_test).argmax(1) == y_test).float().mean().item()
    assert found["accuracy"][0, 0, 0] == pytest.approx(right, abs=0.004)
    assert found["rounds"].tolist() == [1]


def test_tickets_of_the_study_come_out_again():
    again = measured.tickets("mlp-12", (2400,), 2, steps=measured.STEPS)
    assert again["accuracy"][:, 0] == pytest.approx(STUDY["parent/accuracy"][0][:, 0, :2], abs=0.008)
    assert np.array_equal(again["kept"][0], STUDY["parent/kept"][0][0, :2])
    with pytest.raises(ValueError, match="scope='laier' is not known"):
        measured.tickets("mlp-12", (2400,), 2, steps=5, scope="laier")


def test_small_networks_of_the_study_come_out_again():
    again = measured.dense("mlp-3", 4, steps=measured.STEPS)
    assert again == pytest.approx(STUDY["small"][2][:4], abs=0.008)


def test_all_ways_of_pruning_end_at_the_budgets():
    for kept in (STUDY["parent/kept"], *(STUDY[f"way/{way}/kept"] for way in measured.WAYS)):
        assert abs(kept.sum(-1) - STUDY["budgets"][:, None]).max() <= 1
    sizes = [models.weight_count(f"mlp-{w}", (14, 14), 10) for w in STUDY["small_widths"].tolist()]
    assert sizes == [2472, 1236, 618]
    assert STUDY["small_widths"].tolist() == [
        lesson.fair_width(b, 196, 10) for b in STUDY["budgets"].tolist()
    ]


# The explorers


def test_the_browser_of_widths_shows_the_study():
    explorer = width_browser(STUDY)
    end = shown(explorer, "end")
    assert np.array_equal(end[0], STUDY["sweep/train"][..., -1]) and np.array_equal(
        end[1], STUDY["sweep/test"][..., -1]
    )
    words = shown(explorer, "words")[WIDTHS.index(32) * 4 + 3]
    mean = 100 * STUDY["sweep/test"][WIDTHS.index(32), 3, :, -1].mean()
    assert words.startswith("Width 32, 40 % wrong labels") and f"{mean:.1f} %" in words
    explorer.width, explorer.noise = 256, 0
    with pytest.raises(traitlets.TraitError):
        explorer.width = 7
    assert "<figure" in explorer._repr_mimebundle_()[0]["text/html"]


def test_the_browser_of_parents_shows_tickets_and_small_networks():
    explorer = parent_browser(STUDY)
    values = shown(explorer, "accuracy")  # (arm, parent, weights, seed)
    assert (
        np.array_equal(values[0, 2, 1, :16], STUDY["parent/accuracy"][2, 0, 1])
        and np.isnan(values[0, 2, 1, 16:]).all()
    )
    assert np.array_equal(values[-1, 3], STUDY["small"])
    explorer.weights = 600
    assert "<figure" in explorer._repr_mimebundle_()[0]["text/html"]


def test_draws_are_independent_draws():
    for b, goal in itertools.product(range(3), GOALS):
        found = draws(STUDY, b, goal)
        p = np.mean(STUDY["small"][b] >= np.float32(goal))
        single = np.mean(STUDY["parent/accuracy"][1, 0, b] >= np.float32(goal))
        for i, w in enumerate(PARENTS):
            measured_share = np.mean(STUDY["parent/accuracy"][i, 0, b] >= np.float32(goal))
            assert found["ticket"][0][i] == pytest.approx(measured_share)
            assert found["small"][0][i] == pytest.approx(lesson.chance(p, w / STUDY["small_widths"][b]))
            if w >= 25:
                assert found["parent"][0][i] == pytest.approx(lesson.chance(single, w / 25))
            else:
                assert np.isnan(found["parent"][0][i])
        for share, low, high in found.values():
            there = np.isfinite(share)
            assert (low[there] <= share[there] + 1e-9).all() and (share[there] <= high[there] + 1e-9).all()


def test_a_verdict_needs_intervals_that_do_not_touch():
    one = np.array([0.5, 0.5, 0.5]), np.array([0.4, 0.4, 0.4]), np.array([0.6, 0.6, 0.6])
    other = np.array([0.2, 0.7, np.nan]), np.array([0.1, 0.6, np.nan]), np.array([0.3, 0.8, np.nan])
    assert verdict(one, other) == ["more", "not distinguishable", "not distinguishable"]
    assert verdict(other, one)[0] == "fewer"


def test_the_browser_of_draws_says_what_its_lines_show():
    explorer = lottery_browser(STUDY)
    share, words = shown(explorer, "share"), shown(explorer, "words")
    found = draws(STUDY, 1, 0.89)
    assert share[0, 1, GOALS.index(0.89)] == pytest.approx(found["ticket"][0])
    assert f"{100 * found['ticket'][0][2]:.0f} % at 50" in words[len(GOALS) + GOALS.index(0.89)]
    explorer.weights, explorer.goal = 600, 0.84
    assert "<figure" in explorer._repr_mimebundle_()[0]["text/html"]


def test_the_explorers_need_no_torch():
    code = (
        "import sys\nfrom lthviz.studies import load\n"
        "from lthviz.explorer.lessons.width import lottery_browser, parent_browser, width_browser\n"
        "for browser in (width_browser, parent_browser, lottery_browser): browser(load('width'))\n"
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# What the prose of the lesson says


def points(part, time=-1):
    """(width, noise, seed) errors in per cent at a time of the sweep, by width."""
    return dict(zip(WIDTHS, 100 * STUDY[f"sweep/{part}"][..., time], strict=True))


def sign(difference):
    _, low, high = interval(difference)
    return "+" if low > 0 else "-" if high < 0 else "0"


def test_without_noise_more_units_than_needed_are_still_better():
    train, test = points("train"), points("test")
    assert all(train[w][0].mean() < 0.1 for w in WIDTHS if w >= 8) and train[5][0].mean() > 3
    assert all(train[w][0].max() == 0 for w in WIDTHS if w >= 12)
    assert [round(float(test[w][0].mean()), 1) for w in (8, 256)] == [14.8, 9.5]
    assert sign(test[256][0] - test[8][0]) == "-" == sign(test[256][0] - test[32][0])


def test_a_hump_shows_at_40_per_cent_and_a_second_descent_at_all_noises():
    test = points("test")
    rise = [sign(test[32][n] - test[8][n]) for n in range(4)]
    assert rise == ["-", "0", "0", "+"]
    assert all(sign(test[256][n] - test[32][n]) == "-" for n in range(4))
    assert [sign(test[256][n] - test[8][n]) for n in range(4)] == ["-", "-", "-", "0"]
    top = {w: round(float(test[w][3].mean()), 1) for w in (16, 24, 32, 48)}
    assert top == {16: 45.5, 24: 45.1, 32: 46.4, 48: 46.3}
    unlearned = points("train")
    assert [round(float(unlearned[w][3].mean()), 1) for w in (16, 48)] == [17.2, 0.5]


def test_a_stop_in_time_takes_the_hump_away():
    best = STUDY["sweep/validation"].argmin(-1)[..., None]
    stopped = 100 * np.take_along_axis(STUDY["sweep/test"], best, -1)[..., 0]
    at = {w: stopped[WIDTHS.index(w), 3] for w in WIDTHS}
    assert (best[WIDTHS.index(32) :, 3] == 1).all() and STUDY["sweep/every"] == 250
    assert sign(at[32] - at[8]) == "-" and at[32].mean() < points("test")[32][3].mean() / 2


def test_wide_networks_need_fewer_steps_and_each_of_their_weights_moves_less():
    learned = STUDY["sweep/train"][:, 2] < 0.01
    steps = np.where(learned.any(-1), STUDY["sweep/every"] * learned.argmax(-1), np.nan)
    mean = dict(zip(WIDTHS, steps.mean(1), strict=True))
    assert np.isnan(mean[24]) and 4000 < mean[32] < 4500 and mean[256] == 1300
    moved = STUDY["sweep/moved"][:, 2].mean(1)  # the noise of the steps
    assert (np.diff(moved[WIDTHS.index(3) :]) < 0).all()
    start = [
        np.mean([models.build(f"mlp-{w}", (14, 14), 10, generator(s, "init")).fc1.weight.norm().item() for s in range(5)])
        for w in (32, 256)
    ]  # fmt: skip
    relative = moved[[WIDTHS.index(32), WIDTHS.index(256)]]
    assert relative == pytest.approx((5.95, 3.22), abs=0.01) and relative * start == pytest.approx(
        (44, 48), abs=0.5
    )


def test_the_luck_of_the_seed_shrinks_up_to_about_12_units():
    spread = {w: float(np.ptp(errors[0])) for w, errors in points("test").items()}
    assert spread[2] > 7 and all(
        spread[few] > spread[more] for few, more in itertools.pairwise((2, 3, 5, 8, 12))
    )
    assert spread[12] < 2 and all(0.9 < spread[w] < 2.5 for w in WIDTHS if w >= 12)
    assert min(spread[32], spread[48], spread[64], spread[128]) > spread[12] > spread[16]


def tickets(parent, arm="rewind"):
    """(budget, seed) accuracies in points."""
    return 100 * STUDY["parent/accuracy"][PARENTS.index(parent), measured.ARMS.index(arm)]


def test_at_equal_steps_tickets_beat_small_networks_and_time_is_a_part_of_it():
    small, longer = 100 * STUDY["small"].mean(1), 100 * STUDY["long"].mean(1)
    gap = tickets(100).mean(1) - small
    assert gap == pytest.approx((2.8, 8.2, 29.2), abs=0.06)
    assert tickets(100, "patient").mean(1) - longer == pytest.approx((1.3, 3.8, 16.5), abs=0.06)
    assert (100 * STUDY["small"].max(1)).round(1).tolist() == pytest.approx([89.9, 87.0, 70.6], abs=0.01)
    assert (tickets(100).mean(1) > 100 * STUDY["small"].max(1)).all()


def test_with_time_the_best_small_network_comes_level_at_2400_weights_alone():
    best = 100 * STUDY["long"].max(1)
    assert STUDY["long"].shape == (3, 60) and best == pytest.approx((92.4, 90.3, 77.5), abs=0.01)
    means = np.array([tickets(parent, "patient").mean(1) for parent in (50, 100, 200)])
    assert (
        means[:, 0] == pytest.approx((92.4, 92.5, 92.6), abs=0.06)
        and (abs(means[:, 0] - best[0]) < 0.2).all()
    )
    assert means[1, 1:] == pytest.approx((91.5, 89.1), abs=0.06) and (means[:, 1:] - best[1:] > 1).all()


@pytest.mark.parametrize(
    "wide, narrow, signs",
    [
        (25, 12, "++0"),
        (50, 25, "++0"),
        (50, 12, "+++"),
        (100, 12, "++0"),
        (200, 50, "+0-"),
        (200, 12, "++0"),
    ],
)
def test_bigger_parents_give_better_tickets_up_to_a_point(wide, narrow, signs):
    assert "".join(map(sign, tickets(wide) - tickets(narrow))) == signs


def test_at_600_weights_only_the_parent_of_50_is_clearly_better_than_that_of_12():
    assert interval(tickets(50)[2] - tickets(12)[2]) == pytest.approx((0.62, 0.12, 1.12), abs=0.01)
    shares = dict(zip(PARENTS, np.transpose(draws(STUDY, 2, 0.87)["ticket"]), strict=True))
    assert shares[12][2] > max(shares[50][1], shares[100][1])
    for b, goal in ((0, 0.9), (1, 0.89)):
        few, *_, more, most, _ = np.transpose(draws(STUDY, b, goal)["ticket"])
        assert few[2] < min(more[1], most[1])


def test_blocks_of_a_wide_network_begin_smaller_than_small_networks():
    def deviation(width, layer):
        drawn = [models.build(f"mlp-{width}", (14, 14), 10, generator(s, "init")) for s in range(200)]
        return torch.cat([getattr(network, layer).weight.flatten() for network in drawn]).std().item()

    assert [deviation(w, "fc1") for w in (200, 12)] == pytest.approx((0.071, 0.098), abs=6e-4)
    assert [deviation(w, "fc2") for w in (200, 12)] == pytest.approx((0.098, 0.302), rel=0.01)


def test_time_does_not_save_the_widest_parent():
    mean, low, high = interval(tickets(200, "patient")[2] - tickets(50, "patient")[2])
    assert (mean, low, high) == pytest.approx((-1.5, -1.9, -1.1), abs=0.06)


def test_shuffled_masks_get_worse_in_wider_parents():
    drawn = np.array([tickets(parent, "shuffle").mean(1) for parent in PARENTS])
    assert drawn[[1, -1], 2] == pytest.approx((73.8, 52.7), abs=0.06)
    assert (np.diff(drawn[1:], axis=0) < 0).all()
    assert all(sign(row) == "-" for row in tickets(200, "shuffle") - tickets(12, "shuffle"))


def test_no_other_way_of_pruning_makes_the_widest_parents_ticket_better():
    usual = tickets(200)[2, :8]
    gaps = {way: 100 * STUDY[f"way/{way}/accuracy"][0, 2] - usual for way in measured.WAYS}
    assert {way: sign(gap) for way, gap in gaps.items()} == {"equal": "-", "global": "0", "hasty": "-"}
    pixels = STUDY["parent/kept"][:, 2, :, 0].mean(1) / STUDY["parent/units"][:, 2].mean(1)
    assert pixels[[PARENTS.index(200), PARENTS.index(50)]] == pytest.approx((2.7, 9.7), abs=0.06)
    assert STUDY["way/equal/kept"][2, :, 1].tolist() == [29] * 8


def test_the_arithmetic_of_independent_draws_does_not_hold():
    most = draws(STUDY, 1, 0.89)
    assert (100 * most["ticket"][0]).round().tolist() == [6, 69, 81, 100, 94] and most["small"][0].max() == 0
    assert verdict(most["ticket"], most["small"]) == ["not distinguishable"] + ["more"] * 4
    few = draws(STUDY, 2, 0.87)
    assert (100 * few["ticket"][0]).round().tolist() == [50, 75, 81, 81, 44]
    assert verdict(few["ticket"], few["parent"])[3:] == ["fewer", "fewer"]
    many = draws(STUDY, 0, 0.9)
    assert (100 * many["ticket"][0]).round().tolist() == [0, 31, 94, 100, 100]
    assert verdict(many["ticket"], many["small"])[1:] == ["more"] * 4
    assert set(verdict(many["ticket"], many["parent"])) == {"not distinguishable"}


def test_least_squares_is_worst_with_as_many_units_as_digits():
    digits = data.load("mnist-5k-14")
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(digits.y_train))[:200]
    first = rng.normal(size=(196, 1600)) * np.sqrt(2 / 196)
    seen, test = (
        np.maximum(x.reshape(len(x), -1) @ first, 0) for x in (digits.x_train[chosen], digits.x_test)
    )
    wrong = {
        n: np.mean((test[:, :n] @ (np.linalg.pinv(seen[:, :n]) @ np.eye(10)[digits.y_train[chosen]])).argmax(1) != digits.y_test)
        for n in (100, 200, 1600)
    }  # fmt: skip
    assert wrong[200] > 0.8 > 0.4 > wrong[100] > 0.3 > 0.21 > wrong[1600]
