"""Lesson 07: its solutions against the library, its explorers, and the claims of its prose on the stored study."""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import traitlets
from scipy import stats

from lthviz import apply_mask, run, strong, studies
from lthviz.atlas_build import CLASS_ROOM
from lthviz.exercises import strong as lesson
from lthviz.explorer.lessons.strong import subset_browser, supermask_browser
from lthviz.result import interval
from lthviz.studies import strong as recipe
from lthviz.train import generator

from .helpers import shown

HALF, MIDDLE = 3, 2  # half of the weights kept; the class-room network


@pytest.fixture(scope="module")
def study():
    return studies.load("strong")


# The solutions


@pytest.mark.parametrize("n", range(15))
def test_the_solution_finds_what_the_library_finds(n):
    rng = np.random.default_rng(n)
    values, target = rng.uniform(-1, 1, n), rng.uniform(-1, 1)
    mine, library = lesson.best_subset(values, target), strong.best_subset(values, target)
    assert np.array_equal(mine, library)


def test_another_subset_that_is_as_good_passes():
    def backwards(values, target):
        return lesson.best_subset(values[::-1], target)[::-1]

    def as_numbers(values, target):
        return lesson.best_subset(values, target).astype(int)

    assert lesson.check_best_subset(backwards).passed and lesson.check_best_subset(as_numbers).passed


def test_a_list_of_positions_is_no_subset():
    assert not lesson.check_best_subset(lambda v, t: np.flatnonzero(lesson.best_subset(v, t))).passed


def test_what_was_returned_in_another_shape_is_told():
    best = lesson.best_subset
    for wrong in (
        lambda v, t: np.flatnonzero(best(v, t)),
        lambda v, t: (best(v, t), 0.3),
        lambda v, t: v[best(v, t)].sum(),
    ):
        assert "not their positions, values or sum" in lesson.check_best_subset(wrong).message
    flat = lesson.check_popup_step(lambda *a: (lesson.popup_step(*a)[0], lesson.popup_step(*a)[1].ravel()))
    assert "of the shape of the weights" in flat.message
    assert "choices" in lesson.check_proof(lambda: lesson.proof() | {"sum": ["nothing"]}).message


def test_other_ways_to_write_it_pass():
    assert lesson.check_popup_step(lambda *arguments: list(lesson.popup_step(*arguments))).passed
    shouted = {blank: f" {choice.upper()}" for blank, choice in lesson.proof().items()}
    assert lesson.check_proof(lambda: shouted).passed


def test_one_step_of_the_solution_is_one_of_autograd():
    draw = generator(0, "step")
    weight, score = (torch.randn(6, 5, generator=draw, dtype=torch.float64) for _ in range(2))
    x, y = torch.randn(20, 5, generator=draw, dtype=torch.float64), torch.randint(6, (20,), generator=draw)
    effective = (
        weight
        * torch.tensor(lesson.popup_step(weight.numpy(), score.numpy(), 0 * score.numpy(), 0.0, 0.4)[1])
    ).requires_grad_()
    F.cross_entropy(x @ effective.T, y).backward()
    size = (
        score.abs().requires_grad_()
    )  # a mask that is |score| itself has the same gradient at the same place
    (effective.grad * weight * size).sum().backward()
    new, mask = lesson.popup_step(weight.numpy(), score.numpy(), effective.grad.numpy(), 0.1, 0.4)
    assert np.allclose(new, score - 0.1 * size.grad * score.sign())
    assert mask.sum() == 12 and abs(new)[mask].min() > abs(new)[~mask].max()


def test_a_changed_weight_is_told():
    def trains(weight, score, gradient, lr, density):
        new = lesson.popup_step(weight, score, gradient, lr, density)
        weight -= lr * gradient
        return new

    assert "changed its argument `weight`" in lesson.check_popup_step(trains).message


def test_every_sentence_of_the_proof_has_one_true_choice():
    for blank, (_, choices) in lesson.PROOF.items():
        assert [choice for choice, why in choices.items() if not why] == [lesson.proof()[blank]]


def test_the_proofs_last_blank_by_counting():
    rng = np.random.default_rng(0)
    for n in (1, 3, 6, 9):
        farthest = min(recipe.farthest(rng.uniform(-1, 1, n)) for _ in range(50))
        assert n >= np.log2(1 / (2 * farthest))


# The study


def test_the_farthest_target_by_trying_many():
    rng = np.random.default_rng(1)
    for n in (1, 2, 5, 8):
        values = rng.uniform(-1, 1, n)
        sums = [np.dot(chosen, values) for chosen in product((0, 1), repeat=n)]
        tried = max(min(abs(s - target) for s in sums) for target in np.linspace(-0.5, 0.5, 2001))
        assert recipe.farthest(values) == pytest.approx(tried, abs=6e-4)


def test_the_stored_subset_sums_are_those_of_the_recipe(study):
    again = recipe.subsets(sizes=10, draws=3, targets=10, sorted_up_to=10)
    assert study["error"].shape == (28, 100, 10) and study["worst"].shape == (20, 100)
    full = np.random.default_rng([0, 7]).uniform(-1, 1, 38)  # numbers of draw 0, then its targets
    values, wanted = full[:28], full[28:] / 2
    off = [min(abs(np.dot(c, values[:6]) - t) for c in product((0, 1), repeat=6)) for t in wanted]
    assert study["error"][5, 0] == pytest.approx(off, rel=1e-4)
    assert again["worst"] == pytest.approx(study["worst"][:10, :3], rel=1e-4)
    assert (again["error"].max(2) <= again["worst"] + 1e-7).all()


def test_the_stored_examples_are_the_best(study):
    numbers, targets, taken = study["numbers"], study["targets"], study["taken"]
    for n, t in ((1, 0), (8, 5), (12, 4)):
        least = min(abs(np.dot(c, numbers[:n]) - targets[t]) for c in product((0, 1), repeat=n))
        assert abs(taken[n - 1, t] @ numbers - targets[t]) == pytest.approx(least, abs=1e-9)
        assert not taken[n - 1, t, n:].any()


def test_the_stored_masks_are_found_again(study):
    again = recipe.supermasks(["mlp-25-12"], ["signed constant"], [0.5], range(2), [0, 50, 100])
    assert np.allclose(again["popup"][0, 0, 0], study["popup"][0, 0, HALF, :3, :2], atol=0.02)
    assert np.allclose(again["dense"][0, 0], study["dense"][0, 0, :3, :2], atol=0.02)
    assert np.allclose(again["random"][0, 0, 0], study["random"][0, 0, HALF, :2], atol=0.01)
    assert np.ptp(again["popup"][0, 0, 0, 1:]) > 0  # two seeds, two steps: not one number four times


# The explorers


def test_the_playground_counts_successes_and_adds_up(study):
    explorer = subset_browser(study)
    share = shown(explorer, "share")
    assert share.shape == (2, 10, 20)
    assert share[0, 7, 11] == pytest.approx((study["error"][11] <= 1 / 256).mean())
    assert share[1, 7, 11] == pytest.approx((study["worst"][11] <= 1 / 256).mean())
    assert (np.diff(share, axis=1) <= 0).all() and (share[0] >= share[1]).all()
    said, total = shown(explorer, "example")[11 * 6 + 4], 0
    for panel in explorer.spec["panels"][4:]:
        for name, bar in zip(panel["names"], shown(explorer, panel["array"])[11, 4], strict=True):
            total += float(name) * (bar > 0)
            assert bar == pytest.approx(1000 * abs(float(name)), abs=0.06) or bar == 0
    assert float(said.split("the sum ")[1].split(". ")[0]) == pytest.approx(total, abs=6e-4)
    assert "The target is +0.3" in said and "4,096 subsets" in said
    assert (
        f"reached for {100 * share[0, 7, 11]:.0f} % of the targets" in shown(explorer, "chances")[7 * 20 + 11]
    )
    explorer.numbers, explorer.bits, explorer.target = 20, 10, -0.5
    with pytest.raises(traitlets.TraitError):
        explorer.numbers = 21
    assert "<figure" in explorer._repr_mimebundle_()[0]["text/html"]


def test_the_mask_browser_shows_the_study_and_compares_within_seeds(study):
    explorer = supermask_browser(study)
    accuracy = shown(explorer, "accuracy")
    assert accuracy.shape == (5, 5, 6, 5)
    assert np.array_equal(accuracy[1], study["popup"][0, :, :, -1]) and np.array_equal(
        accuracy[2], study["popup"][1, :, :, -1]
    )
    assert np.array_equal(accuracy[0, 4, 1], study["dense"][0, 4, -1]) and np.array_equal(
        accuracy[3], study["random"][0]
    )
    mean, low, high = interval(100 * (accuracy[1, MIDDLE, HALF] - accuracy[0, MIDDLE, HALF]))
    said = shown(explorer, "words")[(1 * 5 + MIDDLE) * 6 + HALF]
    assert f"{mean:+.1f} points from trained ({low:+.1f} to {high:+.1f})" in said and "50 % kept" in said
    mean, low, high = interval(100 * (study["popup"][1, MIDDLE, HALF, -1] - study["dense"][1, MIDDLE, -1]))
    said = shown(explorer, "words")[(2 * 5 + MIDDLE) * 6 + HALF]  # Kaiming normal: the same weights, trained
    assert f"{mean:+.1f} points from trained ({low:+.1f} to {high:+.1f})" in said
    explorer.width, explorer.density = 400, 0.9
    with pytest.raises(traitlets.TraitError):
        explorer.width = 300
    assert "<figure" in explorer._repr_mimebundle_()[0]["text/html"]


# What the prose of the lesson says


def gap(a, b):
    """The paired difference in points: mean, low, high, to a tenth."""
    return tuple(round(float(part), 1) for part in interval(100 * (np.asarray(a, float) - b)))


def percent(values):
    return round(100 * float(np.mean(values)), 1)


def test_what_a_bit_costs(study):
    sizes, typical, worst = (
        np.arange(1, 29),
        np.median(study["error"], axis=(1, 2)),
        np.median(study["worst"], axis=1),
    )
    assert np.argmax(typical < 0.001) + 1 == 11
    for first, one, every in ((1, 1.07, 1.28), (8, 1.04, 1.19)):
        assert lesson.numbers_per_bit(sizes[first - 1 :], typical[first - 1 :]) == pytest.approx(
            one, abs=0.006
        )
        assert lesson.numbers_per_bit(sizes[first - 1 : 20], worst[first - 1 :]) == pytest.approx(
            every, abs=0.006
        )
    bits, every = -np.log2(study["error"]).mean((1, 2)), -np.log2(study["worst"])
    assert [round(float(bits[n - 1]), 1) for n in (10, 20, 28)] == [10.0, 19.3, 27.3]
    assert [round(float(every[n - 1].mean()), 1) for n in (10, 20)] == [6.5, 14.8]
    assert (every <= np.arange(2, 22)[:, None] + 1e-6).all()  # nothing beats counting
    assert [round(100 * (study["error"][n - 1] <= 2.0**-8).mean()) for n in (8, 14)] == [47, 100]
    assert round(1 / typical[11], -3) == 3_000 and 1 / typical[15] < 48_000 < 1 / typical[16]  # the quiz


def test_a_weight_is_off_where_few_units_have_the_sign_and_not_where_it_is_large():
    n, weight = 24, torch.randn(16, 30, generator=generator(0, "target"))
    network, mask = strong.hide([weight], n, generator(0, "few"))
    drawn = network[0].weight.detach().view(30, n, 30).diagonal(dim1=0, dim2=2).T  # each input's own units
    units = torch.stack([(drawn > 0).sum(1), (drawn < 0).sum(1)]).expand(16, 2, 30)
    apply_mask(network, mask)
    with torch.no_grad():
        off = torch.stack([network(torch.eye(30)).T - weight, -network(-torch.eye(30)).T - weight], 1).abs()
    size = weight.abs()[:, None].expand(16, 2, 30)
    assert stats.spearmanr(off.ravel(), units.ravel()).statistic < -0.6
    assert abs(stats.spearmanr(off.ravel(), size.ravel()).statistic) < 0.15
    worst = off.ravel() >= off.quantile(0.98)
    assert units.ravel()[worst].float().mean() < 0.8 * n / 2


def test_how_good_found_masks_are(study):
    popup, dense = study["popup"][..., -1, :], study["dense"][:, :, -1]
    assert study["architectures"].tolist()[MIDDLE] == "mlp-100-50" and study["densities"][HALF] == 0.5
    assert [percent(popup[0, a, HALF]) for a in (0, 2, 4)] == [68.5, 87.6, 92.8]
    assert [percent(dense[0, a]) for a in (0, 1)] == [91.3, 93.1]
    assert gap(popup[0, 4, HALF], dense[0, 4]) == (-2.0, -2.8, -1.2)
    assert gap(popup[0, MIDDLE, HALF], dense[0, MIDDLE]) == (-6.5, -7.6, -5.4)
    assert [gap(popup[0, a, HALF], dense[0, a])[0] for a in (0, 4)] == [-22.8, -2.0]
    assert (interval(popup - dense[:, :, None])[2] < 0).all()  # training is better at every width and density
    assert [percent(popup[i, MIDDLE, HALF]) for i in (0, 1)] == [87.6, 85.9]
    assert [percent(popup[i, MIDDLE, 5]) for i in (0, 1)] == [64.0, 59.6]
    means = popup[0].mean(-1)
    assert means.argmax(1).tolist() == [4, HALF, HALF, HALF, HALF] and means[0, 4] - means[0, HALF] < 0.02
    assert [round(100 * float(means[a, 0])) for a in (0, 4)] == [21, 81]


def test_width_helps_and_the_draw_on_average(study):
    popup = study["popup"][..., -1, :]
    steps = [gap(popup[0, a + 1, HALF], popup[0, a, HALF]) for a in range(4)]
    assert [mean for mean, _, _ in steps] == [12.9, 6.2, 3.0, 2.2] and all(low > 0 for _, low, _ in steps)
    draw = [gap(popup[0, MIDDLE, d], popup[1, MIDDLE, d]) for d in range(6)]
    assert all(mean > 0 for mean, _, _ in draw)
    assert [low > 0 for _, low, _ in draw] == [True, False, False, False, True, False]


def test_a_mask_belongs_to_its_weights_and_random_ones_are_at_chance(study):
    for a in range(5):
        _, low, high = gap(study["other"][0, a, HALF], study["random"][0, a, HALF])
        assert low < 0 < high
    assert (abs(study["random"].mean(-1) - 0.1) < 0.04).all() and (
        abs(study["other"].mean(-1) - 0.1) < 0.04
    ).all()


def test_more_steps_do_not_help_the_mask_and_training_is_ahead_at_every_count(study):
    assert study["at"].tolist() == [0, 50, 100, 250, 500, 1000] and study["longer_steps"].tolist() == [
        0,
        1000,
        5000,
    ]
    assert gap(study["longer"][2], study["longer"][1]) == (0.2, -0.8, 1.1)
    assert np.array_equal(study["longer"][1], study["popup"][0, MIDDLE, HALF, -1])
    for a in (MIDDLE, 4):
        start = [study["dense"][0, a, 0].mean(), study["popup"][0, a, HALF, 0].mean()]
        assert start == pytest.approx([0.1, 0.1], abs=0.03)  # chance: nothing is ahead before the first step
        assert (study["dense"][0, a, 1:].mean(-1) > study["popup"][0, a, HALF, 1:].mean(-1)).all()


def test_the_untrained_ticket_beside_them(study):
    ticket, popup = run(CLASS_ROOM[0], progress=False), study["popup"][..., -1, :]
    rounds = [ticket.nearest_round(d) for d in study["densities"]]
    reads = 100 * ticket.curve("rewind")[rounds, :, 0]
    assert [round(100 * d, 1) for d in ticket.density[rounds]] == [9.0, 21.5, 33.3, 51.6, 64.3, 100.0]
    assert [round(v) for v in reads.mean(1)[[1, 3]]] == [67, 57] and reads[-1].mean() < 12
    assert [round(float(v), 1) for v in interval(reads[0])] == [65.5, 58.2, 72.9]
    assert round(ticket.cost[rounds[0] - 1], 1) == 4.6  # the search alone, without training what it found
    for seed in ticket.seeds:
        kept = ticket.mask(rounds[0], seed).items()
        assert [round(100 * float(mask.mean()), 1) for _, mask in kept] == [8.6, 8.6, 31.4]
    for i, expected in enumerate([(58.5, 51.6, 65.5), (41.0, 34.2, 47.9)]):
        assert tuple(round(100 * float(v), 1) for v in interval(popup[i, MIDDLE, 0])) == expected
