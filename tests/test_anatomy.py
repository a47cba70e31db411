"""The three switches of a ticket against weight-by-weight computations, locality against counting and enumeration."""

import random
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lthviz import anatomy, models
from lthviz.data import load
from lthviz.experiment import Experiment
from lthviz.masks import Mask
from lthviz.studies.anatomy import _Subject, _trained, locality
from lthviz.train import batch_order

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))]  # fmt: skip


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def weights(seed=0, device="cpu", shapes=((40, 30), (5, 40))):
    draw = seeded(seed)
    return {
        f"fc{i}.weight": (0.2 * torch.randn(shape, generator=draw)).to(device)
        for i, shape in enumerate(shapes, 1)
    }


def half(theta, seed=3):
    rng = np.random.default_rng(seed)
    return Mask({name: rng.random(w.shape) < 0.5 for name, w in theta.items()})


# Mask criteria

BY_HAND = {
    "large_final": lambda i, f: abs(f),
    "large_final_same_sign": lambda i, f: abs(f) if i * f > 0 else 0.0,
    "small_final": lambda i, f: -abs(f),
    "large_init": lambda i, f: abs(i),
    "movement": lambda i, f: abs(f - i),
    "magnitude_increase": lambda i, f: abs(f) - abs(i),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("criterion", BY_HAND)
def test_scores_weight_by_weight(criterion, device):
    initial, final = weights(0, device), weights(1, device)
    found = anatomy.scores(criterion, initial, final)
    for name, score in found.items():
        pairs = zip(initial[name].flatten().tolist(), final[name].flatten().tolist(), strict=True)
        assert score.shape == initial[name].shape and score.device == initial[name].device
        assert score.flatten().tolist() == pytest.approx([BY_HAND[criterion](i, f) for i, f in pairs])


def test_every_criterion_is_tested_and_chance_comes_from_the_generator():
    assert set(anatomy.CRITERIA) == {*BY_HAND, "random"}
    theta = weights()
    one, again, other = (anatomy.scores("random", theta, theta, seeded(s)) for s in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in theta)
    assert not torch.equal(one["fc1.weight"], other["fc1.weight"])


# Mask-1 actions


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("action", anatomy.KEPT)
def test_kept_weights_start_where_the_mask_is_and_nothing_changes(action, device):
    theta = weights(device=device)
    before, mask = {name: w.clone() for name, w in theta.items()}, half(theta)
    started = anatomy.kept(action, theta, mask, seeded())
    for name, values in started.items():
        there = torch.tensor(mask[name])
        assert values.device == theta[name].device and torch.equal(theta[name], before[name])
        assert not values.cpu()[~there].any() and (values.cpu()[there] != 0).all()
        values.add_(1)  # an own copy
        assert torch.equal(theta[name], before[name])


def test_signs_and_magnitudes_make_a_two_by_two_design():
    theta = weights()
    mask = half(theta)
    start = {action: anatomy.kept(action, theta, mask, seeded(4)) for action in anatomy.KEPT}
    for name, old in theta.items():
        at = torch.tensor(mask[name])
        value = {action: found[name][at] for action, found in start.items()}
        fresh, old_there = value["reinit"], old[at]
        assert torch.equal(value["rewind"], old_there)
        assert torch.equal(value["signs"], fresh.abs() * old_there.sign())
        assert torch.equal(value["magnitudes"], old_there.abs() * fresh.sign())
        assert torch.allclose(
            value["constant"], old_there.sign() * (old**2).mean().sub(old.mean() ** 2).sqrt()
        )
    agree = (start["reinit"]["fc1.weight"].sign() == theta["fc1.weight"].sign())[
        torch.tensor(mask["fc1.weight"])
    ]
    assert 0.4 < agree.float().mean() < 0.6


def test_a_shuffle_permutes_the_kept_values_and_a_reinit_draws_new_ones():
    theta = weights()
    mask = half(theta)
    shuffled, fresh = (anatomy.kept(action, theta, mask, seeded(5)) for action in ("shuffle", "reinit"))
    for name, old in theta.items():
        at = torch.tensor(mask[name])
        assert torch.equal(shuffled[name][at].sort().values, old[at].sort().values)
        assert not torch.equal(shuffled[name][at], old[at])
        assert not torch.isin(fresh[name][at], old).any()
    big = weights(shapes=((300, 200),))
    drawn = anatomy.kept("reinit", big, Mask.ones_like(big), seeded(6))["fc1.weight"]
    assert drawn.std() == pytest.approx(0.2, rel=0.02) and abs(drawn.mean()) < 0.004


# Mask-0 actions


@pytest.mark.parametrize("device", DEVICES)
def test_pruned_weights_are_held_weight_by_weight(device):
    initial, final = weights(0, device), weights(1, device)
    mask = half(initial)
    rule = {
        "zero": lambda i, f: 0.0,
        "freeze": lambda i, f: i,
        "freeze_grown": lambda i, f: i if abs(f) >= abs(i) else 0.0,
    }
    assert set(rule) == set(anatomy.PRUNED)
    for action, held in rule.items():
        found = anatomy.pruned(action, initial, final, mask)
        for name, values in found.items():
            cells = zip(
                initial[name].flatten().tolist(),
                final[name].flatten().tolist(),
                mask[name].ravel(),
                strict=True,
            )
            assert values.flatten().tolist() == [0.0 if kept else held(i, f) for i, f, kept in cells]


def test_training_leaves_frozen_weights_alone_and_moves_the_others_as_torch_does():
    digits, setting = load("mnist-5k-14"), Experiment(rounds=3)
    ticket = _Subject(setting, digits, "large_final", 0)
    ticket.final = {name: w * 1.1 for name, w in ticket.theta.items()}
    for round in range(3):
        ticket.prune(ticket.final, round)
    start, order = ticket.start("signs", "freeze", 3), batch_order(0, 3, len(digits.y_train), 60, 30)
    right, (ended,) = _trained(setting, digits, [start], [ticket], [order], [0, 30])
    assert right.shape == (2, 1) and right[1] > right[0]

    slow = {name: value.clone().requires_grad_() for name, value in start.items()}
    optimizer = torch.optim.Adam(slow.values(), lr=0.002)
    x, y = torch.tensor(digits.x_train).flatten(1), torch.tensor(digits.y_train)
    for batch in order:
        h = x[batch]
        for layer in ("fc1", "fc2", "fc3"):
            h = F.linear(h, slow[f"{layer}.weight"], slow[f"{layer}.bias"])
            h = h.relu() if layer != "fc3" else h
        optimizer.zero_grad()
        F.cross_entropy(h, y[batch]).backward()
        for name, kept in ticket.mask.items():
            slow[name].grad *= torch.tensor(kept)
        optimizer.step()
    for name, value in ended.items():
        assert torch.allclose(value, slow[name], atol=2e-5)
    for name, kept in ticket.mask.items():
        away = ~torch.tensor(kept)
        assert torch.equal(ended[name][away], ticket.theta[name][away]) and ended[name][away].any()


# Locality


def pairs_by_hand(mask, shape):
    """One unit after the other, one pixel after the other."""
    found = 0
    for unit in mask:
        kept = {place for place, there in zip(product(*map(range, shape)), unit, strict=True) if there}
        for place in kept:
            for axis in range(len(shape)):
                found += tuple(p + (a == axis) for a, p in enumerate(place)) in kept
    return found


@pytest.mark.parametrize("shape", [(4, 7), (1, 5), (9,)])
def test_adjacent_pairs_by_hand(shape):
    rng = np.random.default_rng(2)
    masks = rng.random((3, 6, int(np.prod(shape)))) < 0.5
    assert anatomy.adjacent_pairs(masks, shape).tolist() == [pairs_by_hand(mask, shape) for mask in masks]


@pytest.mark.parametrize("null", anatomy.NULLS)
def test_a_null_model_keeps_what_it_says_and_moves_the_rest(null):
    rng = np.random.default_rng(1)
    mask = rng.random((21, 30)) < np.outer(rng.random(21), rng.random(30))
    found = anatomy.permuted(mask, null, 8, seeded())
    assert found.shape == (8, 21, 30) and (found.sum((1, 2)) == mask.sum()).all()
    assert (found != mask).any((1, 2)).all() and len({one.tobytes() for one in found}) == 8
    pixels, units = (found.sum(1) == mask.sum(0)).all(), (found.sum(2) == mask.sum(1)).all()
    assert (pixels, units) == {"layer": (False, False), "pixel": (True, False), "pixel and unit": (True, True)}[null]  # fmt: skip


def test_chance_gives_the_pairs_that_probability_says():
    rng = np.random.default_rng(1)
    shape, units = (5, 6), 20
    mask = rng.random((units, 30)) < np.outer(rng.random(units), rng.random(30))
    neighbours = [(a, b) for a, b in product(range(30), repeat=2) if a < b and pairs_by_hand(np.isin(range(30), (a, b))[None], shape)]  # fmt: skip
    kept, places, at = mask.sum(), mask.size, mask.sum(0)
    expected = {
        "layer": units * len(neighbours) * kept * (kept - 1) / (places * (places - 1)),
        "pixel": sum(at[a] * at[b] / units for a, b in neighbours),
    }
    for null, mean in expected.items():
        pairs = anatomy.adjacent_pairs(anatomy.permuted(mask, null, 2000, seeded(7)), shape)
        assert abs(pairs.mean() - mean) < 4 * pairs.std() / np.sqrt(2000)


def test_trading_units_reach_every_matrix_with_the_same_sums_equally_often():
    mask = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1]], bool)
    cells = (np.array(bits, bool).reshape(3, 4) for bits in product((0, 1), repeat=12))
    alike = {
        m.tobytes() for m in cells if (m.sum(0) == mask.sum(0)).all() and (m.sum(1) == mask.sum(1)).all()
    }
    draws = 4000
    found = [m.tobytes() for m in anatomy.permuted(mask, "pixel and unit", draws, seeded(8))]
    assert set(found) == alike
    wanted = draws / len(alike)
    chi2 = sum((found.count(m) - wanted) ** 2 / wanted for m in alike)
    assert chi2 < len(alike) - 1 + 4 * np.sqrt(2 * (len(alike) - 1))


def test_locality_tells_units_that_share_a_taste_from_units_that_are_local():
    rng = np.random.default_rng(5)
    favour = np.outer(*2 * [[0.05, 0.3, 0.8, 0.8, 0.3, 0.05]]).ravel()
    taste = rng.random((12, 40, 36)) < favour  # all like the middle
    one = np.array([np.eye(6)[:, [k % 6]] @ np.ones((1, 6)) for k in range(40)], bool).reshape(40, 36)
    found = locality(np.array([taste, [one] * 12]), (6, 6), 49)
    assert found["nulls"].tolist() == list(anatomy.NULLS)
    assert found["p"][0, 0].max() == pytest.approx(0.02)  # the whole layer permuted: a taste passes for local
    for place in (1, 2):
        assert 0.3 < found["p"][place, 0].mean() < 0.7
        assert found["p"][place, 1].max() == pytest.approx(0.02)
        ratio = found["pairs"][0] / found["expected"][place, 0]
        assert abs(ratio.mean() - 1) < 0.02
    assert found["pairs"][:, 0].tolist() == [pairs_by_hand(taste[0], (6, 6)), 40 * 5]


# Refusals, random states


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda t: anatomy.scores("large_finale", t, t), "criterion='large_finale' is not known. Did you mean 'large_final'"),
        (lambda t: anatomy.kept("sign", t, half(t)), "action='sign' is not known. Did you mean 'signs'"),
        (lambda t: anatomy.pruned("freez", t, t, half(t)), "action='freez' is not known. Did you mean 'freeze'"),
        (lambda t: anatomy.permuted(np.ones((2, 4)), "pixels", 3, seeded()), "null='pixels' is not known"),
        (lambda t: anatomy.permuted(np.ones((2, 4)), "pixel", 0, seeded()), "draws=0: draws must be a whole number"),
        (lambda t: anatomy.adjacent_pairs(np.ones((2, 5)), (2, 2)), r"shape=\(2, 2\): a unit has 5 inputs, not 4"),
    ],
)  # fmt: skip
def test_impossible_arguments_are_answered_in_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call(weights())


def test_global_random_states_stay_as_they_are():
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    theta = weights()
    mask = half(theta)
    for action in anatomy.KEPT:
        anatomy.kept(action, theta, mask, seeded())
    anatomy.scores("random", theta, theta, seeded())
    for null in anatomy.NULLS:
        anatomy.permuted(mask["fc1.weight"], null, 2, seeded())
    assert random.getstate() == before[0] and np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(torch.get_rng_state(), before[2])


def test_nothing_is_drawn_from_the_global_generator():
    theta = {"fc1.weight": torch.randn(4, 3, generator=seeded())}
    mask, before = Mask.ones_like(theta), torch.get_rng_state()
    for draw in (
        lambda: anatomy.scores("random", theta, theta),
        lambda: anatomy.kept("reinit", theta, mask),
        lambda: anatomy.permuted(np.ones((3, 4)), "layer", 2, None),
        lambda: models.build("mlp-5", (4,), 3, None),
    ):
        with pytest.raises(
            ValueError, match="generator=None: generator must be a torch.Generator on the CPU"
        ):
            draw()
    assert torch.equal(torch.get_rng_state(), before)
