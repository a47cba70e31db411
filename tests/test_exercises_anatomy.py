"""Lesson 05: right answers in other words, the explorer, the stored study made again, and what the prose says."""

import numpy as np
import pytest
import torch
import traitlets
from torch import nn

from lthviz import anatomy, run, studies
from lthviz.atlas_build import CLASS_ROOM
from lthviz.data import load
from lthviz.exercises import anatomy as lesson
from lthviz.explorer.lessons.anatomy import STARTS, anatomy_browser
from lthviz.models import build
from lthviz.result import interval
from lthviz.studies.anatomy import locality, taken_apart, untrained
from lthviz.train import generator

from .helpers import shown

SHARES = (51.6, 26.7, 13.9, 7.3, 3.9)


@pytest.fixture(scope="module")
def study():
    return studies.load("anatomy")


@pytest.fixture(scope="module")
def ticket():
    return run(CLASS_ROOM[0], progress=False)


# The exercises


@pytest.mark.parametrize("seed", range(4))
def test_right_answers_pass_in_other_words(seed):
    def signed(theta_0, mask, rng):
        rng.random(seed)
        fresh = {}
        for name in reversed(list(theta_0)):
            draw = np.sqrt(2 / sum(theta_0[name].shape)) * rng.standard_normal(theta_0[name].shape)
            fresh[name] = np.where(mask[name], np.copysign(draw, theta_0[name]), 0)
        return fresh

    def p_value(mask, shape, rng, draws):
        rng.random(seed)
        seen, n = anatomy.adjacent_pairs(mask, shape), 1
        for _ in range(draws):
            dealt = np.stack([rng.permutation(column) for column in mask.T], 1)
            n += anatomy.adjacent_pairs(dealt, shape) >= seen
        return float(n / (draws + 1))

    assert lesson.check_signed_reinit(signed).passed
    assert lesson.check_locality_p(p_value).passed
    assert lesson.check_adjacent_pairs(anatomy.adjacent_pairs).passed


def test_a_p_value_is_judged_by_what_is_wrong_with_it():
    def said(change):
        return lesson.check_locality_p(lambda *given: change(lesson.locality_p(*given))).message

    assert (
        said(lambda p: 100 * p)
        == "Chance never gives as many pairs here, so p is 1 / 200 = 0.005; yours is 0.5."
    )
    assert "yours is 0.995" in said(lambda p: 1 - p)
    assert "Does it end with `return`" in said(lambda p: None)
    assert said(lambda p: "small") == "A p-value is one number from 0 to 1, not 'small'."


def test_the_supermask_is_the_network_of_the_library_before_training(ticket):
    digits, mask = load("mnist-5k-14"), ticket.mask(9, 3)
    network = build("mlp-100-50", (14, 14), 10, generator(3, "init"))
    theta_0 = {
        name: w.detach().numpy().copy() for name, w in network.named_parameters() if name.endswith("weight")
    }
    mine = lesson.supermask_accuracy(theta_0, mask, digits.x_test.reshape(-1, 196), digits.y_test)
    with torch.no_grad():
        for module in network:
            if isinstance(module, nn.Linear):
                name = next(n for n, p in network.named_parameters() if p is module.weight)
                module.weight *= torch.tensor(mask[name])
        right = (network(torch.tensor(digits.x_test)).argmax(1).numpy() == digits.y_test).mean()
    assert mine == pytest.approx(right, abs=0.002)
    assert mine == pytest.approx(ticket.curve("rewind")[9, 3, 0], abs=0.002)


# The explorer


def test_the_switch_board_shows_what_was_measured(study):
    explorer = anatomy_browser(study)
    starts = [tuple(start) for start in study["starts"].tolist()]
    assert set(starts) == set(STARTS)
    for s, start in enumerate(STARTS):
        stored = study["accuracy"][:, starts.index(start)]  # (criterion, density, at, seed)
        assert np.array_equal(shown(explorer, "trained")[:, :, s], np.moveaxis(stored[:, :, 1:], 2, 1))
        assert np.array_equal(shown(explorer, "untrained")[:, s], stored[:, :, 0])
    pixels = shown(explorer, "pixels")
    assert np.allclose(pixels.sum((2, 3)).mean(0)[0] / 19600, 0.512, atol=0.001)
    words, order = shown(explorer, "words"), list(STARTS)
    reinit, density = order.index(("reinit", "zero")), 4
    said = words[np.ravel_multi_index((5, 1, reinit, density), (6, 2, 8, 5))]
    gap = 100 * (
        study["accuracy"][5, 0, density, 2]
        - study["accuracy"][5, starts.index(("reinit", "zero")), density, 2]
    )
    assert said.startswith(f"Rewind minus re-init: {gap.mean():+.1f} points")
    assert "not distinguishable" in said
    explorer.criterion, explorer.steps, explorer.density = "movement", 200, 0.039
    with pytest.raises(traitlets.TraitError):
        explorer.density = 0.5
    assert "<figure" in explorer._repr_mimebundle_()[0]["text/html"]


# The study, made again in part


def test_large_final_rewound_is_the_ticket_of_the_atlas(study, ticket):
    assert np.allclose(100 * study["density"], SHARES, atol=0.05)
    dense = ticket.accuracy("rewind")[0]
    assert np.abs(study["dense"][-1] - dense).max() < 0.01
    for place, r in enumerate(study["rounds"]):
        mine, theirs = study["accuracy"][0, 0, place, -1], ticket.accuracy("rewind")[r]
        assert study["density"][place] == pytest.approx(ticket.density[r])
        assert abs(mine.mean() - theirs.mean()) < 0.006 and np.abs(mine - theirs).max() < 0.02


def test_a_part_of_the_study_made_again(study):
    starts = [tuple(start) for start in study["starts"].tolist()][:2]
    again, masks = taken_apart("mnist-5k-14", ["movement"], starts, [1, 3], [4], study["at"].tolist())
    criterion = study["criteria"].tolist().index("movement")
    stored = study["accuracy"][criterion, :2, 0, :, 4]
    assert (
        np.abs(again["accuracy"][0, :, 1, 1:, 0] - stored[:, 1:]).max() < 0.015
    )  # rounding differs by population
    assert np.abs(again["flipped"][0, :, 1, 0] - study["flipped"][criterion, :2, 0, 4]).max() < 0.02
    first = masks["movement"]
    assert first.shape == (2, 1, 100, 196) and not (first[1] & ~first[0]).any()  # nested
    assert again["density"][1] == pytest.approx(study["density"][0])


def test_a_part_of_the_untrained_networks_made_again(study):
    again = untrained("mnist-5k-14", ["large_final_same_sign"], [6], [2])
    place = study["untrained_criteria"].tolist().index("large_final_same_sign")
    assert np.abs(again[0, :, 0, 0] - study["untrained"][place, :, 1, 2]).max() < 0.03


def test_locality_counted_on_the_tickets_of_the_atlas(study, ticket):
    first = np.array([[ticket.mask(12, seed)["fc1.weight"] for seed in range(3)]])
    again = locality(first, (14, 14), 20)
    assert again["pairs"][0] == pytest.approx(study["ticket/pairs"][3, :3], rel=0.1)
    assert again["expected"][:, 0] == pytest.approx(study["ticket/expected"][:, 3, :3], rel=0.1)


# What the prose says


def verdict(difference):
    mean, low, high = interval(100 * np.asarray(difference, float))
    return round(float(mean), 1), "+" if low > 0 else "-" if high < 0 else "0"


def read(differences):
    found = [verdict(one) for one in differences]
    return [mean for mean, _ in found], "".join(sign for _, sign in found)


def bounds(difference):
    return np.round(interval(100 * difference)[1:], 1).tolist()


@pytest.fixture(scope="module")
def at(study):
    """Accuracy (density, seed) by mask-1 action; at the end, for the ticket's criterion, with zeros."""
    criteria, starts = study["criteria"].tolist(), [tuple(start) for start in study["starts"].tolist()]

    def accuracy(action, when=-1, criterion="large_final", held="zero"):
        return study["accuracy"][criteria.index(criterion), starts.index((action, held)), :, when]

    return accuracy


def test_signs_are_worth_more_than_magnitudes_from_a_quarter_of_the_weights_on(at):
    sign = (at("rewind") - at("magnitudes") + at("signs") - at("reinit")) / 2
    size = (at("rewind") - at("signs") + at("magnitudes") - at("reinit")) / 2
    assert read(sign) == ([0.6, 1.2, 2.0, 3.0, 5.2], "+++++")
    means, said = read(size)
    assert said == "+++00" and means[:3] == [0.4, 0.3, 0.4]
    assert bounds(size[4]) == pytest.approx([-0.2, 1.2])
    assert read(sign - size)[1] == "0++++"


def test_the_signed_constant_is_as_hard_to_tell_from_the_ticket_as_the_prose_says(at):
    assert read(at("rewind") - at("constant"))[1] == "00000"
    assert read(at("rewind") - at("signs"))[1] == "+0000"
    for action in ("constant", "signs"):
        for difference in (at("rewind") - at(action))[0 if action == "constant" else 1 :]:
            _, low, high = interval(100 * difference)
            assert -0.7 < low and high < 0.7
    for action in ("magnitudes", "shuffle", "reinit"):
        assert read(at("rewind") - at(action))[1] == "+++++"
    means, said = read(at("shuffle") - at("reinit"))
    assert said == "0000+" and means[4] == 2.2
    assert bounds(at("shuffle")[4] - at("reinit")[4]) == pytest.approx([0.5, 3.9])


def test_early_in_training_the_ticket_is_ahead_of_everything(at):
    for action in ("signs", "constant", "magnitudes", "shuffle", "reinit"):
        means, said = read(at("rewind", 1) - at(action, 1))
        assert said == "+++++"
        if action in ("constant", "signs"):
            assert (min(means), max(means)) == {"constant": (0.5, 1.0), "signs": (1.4, 1.9)}[action]
        if action == "magnitudes":
            assert round(means[-1]) == 22


def test_kept_initial_weights_are_larger_than_their_layer(study, ticket):
    scales = np.zeros((len(SHARES), len(ticket.seeds), 3))
    for s, seed in enumerate(ticket.seeds):
        named = dict(build("mlp-100-50", (14, 14), 10, generator(seed, "init")).named_parameters())
        for place, r in enumerate(study["rounds"]):
            for i, (name, there) in enumerate(ticket.mask(r, seed).items()):
                weights = named[name].detach().double().numpy()
                scales[place, s, i] = np.linalg.norm(weights[there]) / there.sum() ** 0.5 / weights.std()
    mean = scales.mean(1)
    assert mean[0] == pytest.approx([1.175, 1.24, 1.15], abs=0.006)
    assert mean[2] == pytest.approx([1.38, 1.59, 1.41], abs=0.006)
    assert mean[4] == pytest.approx([1.41, 1.86, 1.61], abs=0.006)
    assert mean.min() == mean[0, 2] and mean.max() == mean[4, 1] and scales.min() > 1.1


def test_under_a_random_mask_the_initial_values_are_worth_nothing_that_can_be_told(at):
    rewind, signs, magnitudes, reinit = (
        at(action, criterion="random") for action in ("rewind", "signs", "magnitudes", "reinit")
    )
    sign = (rewind - magnitudes + signs - reinit) / 2
    assert read(rewind - reinit)[1] == read(sign)[1] == "00000"
    assert bounds(rewind[4] - reinit[4]) == pytest.approx([-1.2, 2.9])
    assert bounds(sign[4]) == pytest.approx([-2.1, 2.2])
    own = (at("rewind") - at("magnitudes") + at("signs") - at("reinit")) / 2
    assert read(own - sign)[1][4] == "+"


def test_few_signs_of_a_ticket_flip_and_a_third_of_fresh_ones(study):
    starts = [tuple(start) for start in study["starts"].tolist()]
    flipped = {start[0]: study["flipped"][0, s].mean(-1) for s, start in enumerate(starts[:6])}
    assert [round(100 * share) for share in flipped["rewind"][[0, -1]]] == [14, 6]
    for action in ("reinit", "magnitudes"):
        assert (flipped[action] > 0.25).all() and (flipped[action] < 0.37).all()
    for action in ("signs", "constant"):
        assert (flipped[action] < 0.2).all()


def test_criteria_that_see_where_a_weight_went_are_close_but_not_equal(at):
    for criterion in ("movement", "magnitude_increase"):
        means, said = read(at("rewind") - at("rewind", criterion=criterion))
        assert said == "00000" and max(np.abs(means)) <= 0.5
    ahead = at("rewind", criterion="magnitude_increase") - at("rewind", criterion="movement")
    assert read(ahead)[1] == "++00+"
    for place, said in ((0, [0.37, 0.01, 0.73]), (1, [0.50, 0.27, 0.73]), (4, [0.54, 0.02, 1.06])):
        assert np.round(interval(100 * ahead[place]), 2) == pytest.approx(said)
    means, said = read(at("rewind") - at("rewind", criterion="large_init"))
    assert said == "+++++" and (means[0], round(means[-1])) == (0.8, 16)
    assert round(100 * at("rewind", criterion="small_final")[3].mean()) == 18
    chance = read(at("rewind", criterion="large_init") - at("rewind", criterion="random"))
    assert "+" not in chance[1] and max(np.abs(chance[0])) < 1.5


def test_zeros_are_part_of_the_ticket_and_frozen_weights_help_a_random_mask(at):
    means, said = read(at("rewind") - at("rewind", held="freeze"))
    assert said == "+++++" and (min(means), max(means)) == (0.3, 2.1)
    means, said = read(at("rewind") - at("rewind", held="freeze_grown"))
    assert said == "000--" and means[3:] == [-0.5, -0.7]
    for held, mean in (("freeze", -6), ("freeze_grown", -9)):
        means, said = read(at("rewind", criterion="random") - at("rewind", criterion="random", held=held))
        assert round(means[4]) == mean and said[4] == "-"


def test_supermasks(study, at, ticket):
    read_untrained = [100 * ticket.curve("rewind")[r, :, 0].mean() for r in study["rounds"]]
    assert (round(min(read_untrained)), round(max(read_untrained))) == (57, 70)
    again = 100 * at("rewind", 0).mean(1)
    assert (round(float(again.min())), round(float(again.max()))) == (56, 70)
    for action in ("magnitudes", "shuffle", "reinit"):
        assert (np.abs(at(action, 0).mean(1) - 0.1) < 0.03).all()
    named, one = study["untrained_criteria"].tolist(), 100 * study["untrained"].mean(-1)
    constant = anatomy.KEPT.index("constant")
    assert round(float(one[named.index("large_final_same_sign"), constant, 1])) == 78
    assert one.max() == one[named.index("large_final_same_sign"), constant, 1]
    assert round(float(one[named.index("large_final"), constant, 4])) == 20
    assert round(100 * float(at("constant", 0)[4].mean())) == 74
    assert (np.abs(one[:, anatomy.KEPT.index("reinit")] - 10) < 3).all()
    for criterion in ("random", "large_init"):
        assert (np.abs(one[named.index(criterion), 0] - 10) < 2).all()
    assert (
        one[[named.index(c) for c in ("magnitude_increase", "large_final_same_sign", "large_final")], 0, :2]
        > 50
    ).all()
    assert one[named.index("movement"), 0].max() < 21 and one[named.index("movement"), 0, 0] > 15


def test_tickets_are_local_and_how_much_depends_on_the_null_model(study):
    times = study["ticket/pairs"] / study["ticket/expected"]
    assert study["ticket/nulls"].tolist() == ["layer", "pixel", "pixel and unit"]
    assert times[:, -1].mean(-1).round(1).tolist() == pytest.approx([4.0, 3.1, 2.5])
    assert (np.diff(times.mean(-1), axis=1) > 0).all()
    assert study["ticket/p"].max() == pytest.approx(0.01) and study["ticket/draws"] == 99
    assert study["random/p"].size == 150 and (study["random/p"] < 0.015).sum() == 2
    assert np.abs((study["random/pairs"] / study["random/expected"]).mean(-1) - 1).max() < 0.03


def test_on_signals_locality_is_weak(study):
    times = study["signals/pairs"] / study["signals/expected"]  # (null, density, seed)
    assert (interval(times[1])[1] > 1).tolist() == [True] * 4 + [False]
    assert times[1].mean(-1).round(2).tolist() == pytest.approx([1.03, 1.07, 1.10, 1.19, 1.25], abs=0.011)
    assert (np.median(study["signals/p"][1], axis=-1) > 0.015)[1:].all()
    assert (times[0].mean(-1) > times[1].mean(-1)).all()
    assert (interval(times[2])[1][2:] < 1.005).all()
