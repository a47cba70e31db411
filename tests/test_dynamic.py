"""SET and RigL: against a slow RigL written from the paper, exact counts, nothing revived, nothing drawn in secret."""

import copy
import io
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import nn

import lthviz
from lthviz import models
from lthviz.dynamic import SET, RigL, Schedule, exchange
from lthviz.train import Population

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.005, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.005, weight_decay=0.1),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.005, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.002, momentum=0.9),
}
METHODS = {"set": SET, "rigl": RigL}
SHAPE, CLASSES, BATCH = (6, 6), 4, 10


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def network(name="mlp-12-8", seed=0):
    return models.build(name, SHAPE, CLASSES, chance(seed))


def batches(steps, seed=1):
    draw = chance(seed)
    x = torch.randn((steps, BATCH, *SHAPE), generator=draw)
    return x, torch.randint(0, CLASSES, (steps, BATCH), generator=draw)


def course(method, steps=40, optimizer="adam", model=None, generator=None, **arguments):
    """The trained model, its sparse trainer, and after every step a copy of what is there."""
    model = model or network()
    optimiser = OPTIMIZERS[optimizer](model.parameters())
    arguments = dict(density=0.3, steps=steps, every=5) | arguments
    sparse = METHODS[method](model, optimiser, generator=generator or chance(7), **arguments)
    moments = [moment(model, sparse)]
    for x, y in zip(*batches(steps), strict=True):
        optimiser.zero_grad()
        F.cross_entropy(model(x), y).backward()
        sparse.step()
        moments.append(moment(model, sparse))
    return model, sparse, moments


def moment(model, sparse):
    weights = {name: model.get_parameter(name) for name in sparse.mask}
    state = {
        name: {
            key: value.clone()
            for key, value in sparse.optimizer.state.get(weight, {}).items()
            if torch.is_tensor(value)
        }
        for name, weight in weights.items()
    }
    return {
        "weights": {name: weight.detach().clone() for name, weight in model.named_parameters()},
        "mask": {name: torch.tensor(mask) for name, mask in sparse.mask.items()},
        "state": state,
    }


def on_update(moments, sparse):
    """The moments just before each exchange, just after it, and one step later."""
    return [(moments[step - 1], moments[step], moments[step + 1]) for step, _ in sparse.history]


# the exchange of one layer


def slowly(weight, mask, scores, fraction):
    """Algorithm 1 of Evci et al. (2020) for one layer, one weight after the other."""
    active = [i for i in range(len(weight)) if mask[i]]
    moving = int(fraction * len(active))
    stays = set(active)
    for _ in range(moving):
        stays.remove(min(stays, key=lambda i: (abs(weight[i]), i)))
    free = [i for i in range(len(weight)) if i not in stays]
    for _ in range(moving):
        best = max(free, key=lambda i: (scores[i], i))
        free.remove(best)
        stays.add(best)
    return [i in stays for i in range(len(weight))]


@settings(max_examples=150, deadline=None)
@given(
    size=st.integers(1, 24),
    seed=st.integers(0, 10**6),
    fraction=st.floats(0, 1),
    levels=st.integers(1, 30),
    share=st.floats(0, 1),
)
def test_exchange_is_the_papers_one_by_one(size, seed, fraction, levels, share):
    """For any size, density and fraction, and with any number of ties in weights and scores."""
    rng = np.random.default_rng(seed)
    weight = torch.tensor(rng.integers(-levels, levels + 1, size), dtype=torch.float32)
    scores = torch.tensor(rng.integers(0, levels, size), dtype=torch.float32)
    mask = torch.tensor(rng.random(size) < share)
    before = weight.clone(), mask.clone(), scores.clone()
    new = exchange(weight, mask, scores, fraction)
    assert new.tolist() == slowly(weight.tolist(), mask.tolist(), scores.tolist(), fraction)
    assert new.sum() == mask.sum()
    for value, old in zip((weight, mask, scores), before, strict=True):
        assert torch.equal(value, old)


def test_the_shape_of_a_layer_does_not_matter():
    draw = chance()
    weight, scores = torch.randn(6, 5, 3, 3, generator=draw), torch.rand(6, 5, 3, 3, generator=draw)
    mask = torch.rand(weight.shape, generator=draw) < 0.3
    expected = exchange(weight.flatten(), mask.flatten(), scores.flatten(), 0.4).view(weight.shape)
    assert torch.equal(exchange(weight, mask, scores, 0.4), expected)
    last = [value.contiguous(memory_format=torch.channels_last) for value in (weight, mask, scores)]
    assert torch.equal(exchange(*last, 0.4), expected)


def test_fraction_one_moves_everything_to_the_highest_scores():
    scores = torch.tensor([0.1, 0.9, 0.3, 0.8, 0.2])
    mask = torch.tensor([True, False, True, False, False])
    new = exchange(torch.tensor([5.0, 0, 6, 0, 0]), mask, scores, 1.0)
    assert new.tolist() == [False, True, False, True, False]


def test_a_diverged_layer_keeps_its_count():
    weight = torch.full((10,), math.nan)
    mask = torch.arange(10) < 6
    assert exchange(weight, mask, weight.abs(), 0.5).sum() == 6


# the schedule


def test_schedule_is_a_cosine_that_ends():
    schedule = Schedule(steps=1000, alpha=0.4, every=50, until=0.6)
    for step in range(1, 1001):
        due = step % 50 == 0 and step < 600
        expected = 0.4 * math.cos(math.pi * step / 1200) ** 2 if due else 0.0  # the half-angle form
        assert schedule.fraction(step) == pytest.approx(expected, abs=1e-12)
    assert schedule.fraction(550) > 0 == schedule.fraction(600)


def test_schedule_of_the_paper():
    schedule = Schedule(steps=10_000)
    due = [step for step in range(1, 10_001) if schedule.fraction(step)]
    assert due == list(range(100, 7500, 100))
    fractions = [schedule.fraction(step) for step in due]
    assert fractions == sorted(fractions, reverse=True)
    assert fractions[0] == pytest.approx(0.3, abs=1e-3)
    assert Schedule(steps=400, until=0).fraction(100) == Schedule(steps=400, alpha=0).fraction(100) == 0


# whole trainings


def rigl_from_the_paper(model, optimizer, mask, steps, every, alpha, until):
    """RigL with explicit masks: masked weights in front, optimiser by hand, one layer after the other."""
    weights = {name: model.get_parameter(name) for name in mask}
    mask = {name: torch.tensor(values) for name, values in mask.items()}
    seen = [copy.deepcopy(mask)]

    def hold():
        with torch.no_grad():
            for name, weight in weights.items():
                weight[~mask[name]] = 0.0

    hold()
    end = until * steps
    for t, (x, y) in enumerate(zip(*batches(steps), strict=True), start=1):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        if t % every == 0 and t < end and alpha:
            f = alpha / 2 * (1 + math.cos(t * math.pi / end))
            for name, weight in weights.items():
                old = mask[name].clone()
                new = slowly(
                    weight.detach().flatten().tolist(),
                    old.flatten().tolist(),
                    weight.grad.abs().flatten().tolist(),
                    f,
                )
                mask[name] = torch.tensor(new).view(old.shape)
                for value in optimizer.state[weight].values():
                    if value is not None and value.shape == weight.shape:
                        value[mask[name] & ~old] = 0.0
        else:
            optimizer.step()
        hold()
        seen.append(copy.deepcopy(mask))
    return seen


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_rigl_equals_the_papers_mask_for_mask(optimizer):
    model, sparse, moments = course("rigl", optimizer=optimizer)
    other = network()
    first = {name: mask[0] for name, mask in sparse.masks().items()}
    expected = rigl_from_the_paper(other, OPTIMIZERS[optimizer](other.parameters()), first, 40, 5, 0.3, 0.75)
    assert len(sparse.history) == 5
    for here, there in zip(moments, expected, strict=True):
        for name in there:
            assert torch.equal(here["mask"][name], there[name])
    for name, weight in model.named_parameters():
        assert torch.equal(weight, other.get_parameter(name))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_nothing_outside_the_mask_is_ever_revived(method, optimizer):
    *_, moments = course(method, optimizer=optimizer)
    for now in moments:
        for name, mask in now["mask"].items():
            assert (now["weights"][name][~mask] == 0).all()
    first, last = moments[0]["mask"], moments[-1]["mask"]
    assert any((first[name] & ~last[name]).any() for name in first)  # weights with a past were dropped


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_exchange_moves_nothing_but_places(method, optimizer):
    """Counts stay, kept weights and biases are untouched, new ones and their state are zero, others keep theirs."""
    _, sparse, moments = course(method, optimizer=optimizer)
    assert [step for step, _ in sparse.history] == [5, 10, 15, 20, 25]
    grown_at_all = 0
    for before, after, _ in on_update(moments, sparse):
        for name, weight in after["weights"].items():
            if name not in after["mask"]:
                assert torch.equal(weight, before["weights"][name])
                continue
            old, new = before["mask"][name], after["mask"][name]
            born = new & ~old
            grown_at_all += int(born.sum())
            assert new.sum() == old.sum()
            assert (weight[born] == 0).all()
            assert torch.equal(weight[new & old], before["weights"][name][new & old])
            for key, value in after["state"][name].items():
                remembered = before["state"][name][key]
                if value.shape == weight.shape:
                    assert (value[born] == 0).all()
                    assert torch.equal(value[new & old], remembered[new & old])
                else:
                    assert torch.equal(value, remembered)
    assert grown_at_all > 30


def test_new_weights_learn():
    _, sparse, moments = course("rigl")
    for before, after, later in on_update(moments, sparse):
        for name, mask in after["mask"].items():
            born = mask & ~before["mask"][name]
            assert not born.any() or (later["weights"][name][born] != 0).any()


def test_a_dropped_weight_with_the_highest_gradient_comes_straight_back_with_its_value():
    model = nn.Sequential(nn.Linear(4, 2, bias=False))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sparse = RigL(model, optimizer, density=0.5, steps=100, every=1, alpha=0.6, generator=chance())
    weight = model[0].weight
    active = sparse.mask["0.weight"].reshape(-1).nonzero()[0]
    with torch.no_grad():
        weight.view(-1)[torch.tensor(active)] = torch.tensor([0.1, 0.2, 3.0, 4.0])
    weight.grad = torch.zeros_like(weight)
    weight.grad.view(-1)[active[0]] = -9.0
    weight.grad.view(-1)[active[2]] = 20.0  # stays anyway, so it takes no place
    free = next(i for i in range(8) if i not in active)
    weight.grad.view(-1)[free] = 5.0
    optimizer.state[weight]["momentum_buffer"] = torch.full_like(weight, 2.0)
    sparse.step()
    assert sparse.history[0][1]["0.weight"].tolist() == sorted([int(active[1]), free])
    values = weight.detach().view(-1)
    assert values[active[0]] == pytest.approx(0.1)
    assert values[active[1]] == values[free] == 0
    momentum = optimizer.state[weight]["momentum_buffer"].view(-1)
    assert momentum[active[0]] == 2.0 and momentum[free] == 0.0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_alpha_zero_is_static_masked_training(method, optimizer):
    model, sparse, _ = course(method, optimizer=optimizer, alpha=0)
    assert sparse.history == []
    plain = network()
    optimiser = OPTIMIZERS[optimizer](plain.parameters())
    lthviz.apply_mask(plain, sparse.mask)
    for x, y in zip(*batches(40), strict=True):
        optimiser.zero_grad()
        F.cross_entropy(plain(x), y).backward()
        optimiser.step()
        lthviz.apply_mask(plain, sparse.mask)
    for name, weight in plain.named_parameters():
        assert torch.equal(weight, model.get_parameter(name))


@pytest.mark.parametrize("method", METHODS)
def test_alpha_one_and_density_one_are_allowed(method):
    _, sparse, _ = course(method, alpha=1.0, until=1.0, every=1, steps=12)
    assert len(sparse.history) == 11
    counts = {name: mask.reshape(len(mask), -1).sum(1) for name, mask in sparse.masks().items()}
    assert all((kept == kept[0]).all() for kept in counts.values())
    _, dense, _ = course(method, density=1.0, steps=12)
    assert dense.mask.kept == dense.mask.size


def test_set_grows_everywhere_alike():
    """Each free place equally often: those that were empty and those just left."""
    weight, mask = torch.arange(1.0, 21), torch.arange(20) < 8
    draw, grown = chance(3), torch.zeros(20)
    draws = 2000
    for _ in range(draws):
        grown += exchange(weight, mask, torch.rand(20, generator=draw), 0.5)
    assert (grown[4:8] == draws).all()
    free = torch.cat([grown[:4], grown[8:]])
    assert free.sum() == 4 * draws
    # four of sixteen without replacement: a count's variance is 3/4 of the binomial's, and the counts add up
    statistic = chisquare(free.numpy()).statistic / (1 - 4 / 16) * (1 - 1 / 16)
    assert 4 < statistic < 35  # chi-square with 15 degrees of freedom: outside in 1 of 250 draws


def test_set_draws_from_its_generator_alone():
    runs = [course("set", generator=chance(seed))[1].mask for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    rigl = [course("rigl", generator=chance(1)) for _ in range(2)]
    assert rigl[0][1].mask == rigl[1][1].mask


@pytest.mark.parametrize("method", METHODS)
def test_random_state_of_others_is_untouched(method):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    course(method)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


# history, resuming, company


@pytest.mark.parametrize("method", METHODS)
def test_history_plays_the_course(method):
    _, sparse, moments = course(method)
    frames = sparse.masks()
    steps = [0, *(step for step, _ in sparse.history)]
    for name, played in frames.items():
        assert played.shape == (len(steps), *sparse.mask[name].shape) and played.dtype == bool
        for frame, step in zip(played, steps, strict=True):
            assert (frame == moments[step]["mask"][name].numpy()).all()
        assert (played[-1] == sparse.mask[name]).all()
    for _, changes in sparse.history:
        assert sum(map(len, changes.values())) > 0
    assert repr(sparse).startswith(f"{type(sparse).__name__} after 40 of 40 steps: Mask:")


@pytest.mark.parametrize("method", METHODS)
def test_a_stored_training_goes_on_where_it_stopped(method):
    whole, sparse, _ = course(method, steps=40)
    half = network()
    optimizer = OPTIMIZERS["adam"](half.parameters())
    trainer = METHODS[method](half, optimizer, density=0.3, steps=40, every=5, generator=chance(7))
    xs, ys = batches(40)

    def train(model, optimizer, trainer, steps):
        for step in steps:
            optimizer.zero_grad()
            F.cross_entropy(model(xs[step]), ys[step]).backward()
            trainer.step()

    train(half, optimizer, trainer, range(18))
    stored, state = io.BytesIO(), trainer.state_dict()
    torch.save([half.state_dict(), optimizer.state_dict(), state], stored)
    train(half, optimizer, trainer, range(18, 21))
    assert state["steps_done"] == 18 and len(state["history"]) == 3 < len(trainer.history)
    stored.seek(0)
    states = torch.load(stored, weights_only=True)
    model = network(seed=9)
    optimizer = OPTIMIZERS["adam"](model.parameters())
    trainer = METHODS[method](model, optimizer, density=0.3, steps=40, every=5, generator=chance(99))
    for part, state in zip((model, optimizer, trainer), states, strict=True):
        part.load_state_dict(state)
    train(model, optimizer, trainer, range(18, 40))
    for name, weight in whole.named_parameters():
        assert torch.equal(weight, model.get_parameter(name))
    for name, frames in sparse.masks().items():
        assert (frames == trainer.masks()[name]).all()


def test_a_deep_copy_trains_alone():
    model = network()
    sparse = SET(
        model, OPTIMIZERS["sgd"](model.parameters()), density=0.3, steps=40, every=2, generator=chance()
    )
    twin, other = copy.deepcopy((model, sparse))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    x, y = batches(1)
    for _ in range(4):
        F.cross_entropy(twin(x[0]), y[0]).backward()
        other.step()
    assert other.mask != sparse.mask and sparse.history == []
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name])
        assert name.endswith("bias") or not torch.equal(twin.state_dict()[name], before[name])


def test_schedulers_clipping_and_convolutions_are_good_company():
    model = network("conv-2")
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
    sparse = RigL(
        model, optimizer, density=0.2, steps=12, every=3, distribution="uniform", generator=chance()
    )
    kept = [row["kept"] for row in sparse.mask.layers]
    assert kept == [math.floor(0.2 * row["size"] + 0.5) for row in sparse.mask.layers]
    for x, y in zip(*batches(12), strict=True):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        sparse.step()
        scheduler.step()
        lthviz.apply_mask(twin := copy.deepcopy(model), sparse.mask)
        assert all(map(torch.equal, twin.parameters(), model.parameters()))
    assert len(sparse.history) == 2 and [row["kept"] for row in sparse.mask.layers] == kept
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_a_frozen_layer_keeps_its_values(method):
    model = network()
    model.fc1.requires_grad_(False)
    _, sparse, _ = course(method, model=model, distribution="uniform", steps=20, generator=chance())
    frames, before = sparse.masks(), network().fc1.weight.detach()
    assert (frames["fc1.weight"] == frames["fc1.weight"][0]).all()
    assert torch.equal(model.fc1.weight.detach(), before * torch.tensor(sparse.mask["fc1.weight"]))
    assert (frames["fc2.weight"][0] != frames["fc2.weight"][-1]).any()


@pytest.mark.parametrize("why", ["unused", "frozen"])
def test_a_layer_without_a_gradient_keeps_its_mask_and_the_others_go_on(why):
    """They exchange as without it."""
    plain, model = network(), network()
    model.add_module("spare", nn.Identity())
    model.spare.layer = nn.Linear(CLASSES, CLASSES)
    if why == "frozen":
        model.spare.layer.requires_grad_(False)
        model.spare.forward = lambda x: x + 0 * model.spare.layer(x)
    settings = dict(distribution="uniform", steps=20, generator=None)
    _, alone, _ = course("rigl", model=plain, **settings)
    before = model.spare.layer.weight.detach().clone()
    _, sparse, _ = course("rigl", model=model, **settings)
    frames = sparse.masks()
    assert len(frames["fc1.weight"]) > 2
    for name, expected in alone.masks().items():
        assert (frames[name] == expected).all() and (expected[0] != expected[-1]).any()
    assert (frames["spare.layer.weight"] == sparse.mask["spare.layer.weight"]).all()
    kept = torch.tensor(sparse.mask["spare.layer.weight"])
    assert torch.equal(model.spare.layer.weight.detach(), before * kept)


@pytest.mark.parametrize("method", METHODS)
def test_a_bfloat16_model_keeps_its_counts(method):
    model = network().bfloat16()
    trainer = METHODS[method](
        model, OPTIMIZERS["sgd"](model.parameters()), density=0.3, steps=20, every=2, generator=chance()
    )
    before = trainer.mask
    for x, y in zip(*batches(20), strict=True):
        trainer.optimizer.zero_grad()
        F.cross_entropy(model(x.bfloat16()), y).backward()
        trainer.step()
    after = trainer.mask
    assert after != before and [row["kept"] for row in after.layers] == [row["kept"] for row in before.layers]


@pytest.mark.parametrize("method", METHODS)
def test_a_generator_is_needed(method):
    model, before = network(), torch.get_rng_state()
    with pytest.raises(ValueError, match="generator=None"):
        METHODS[method](model, OPTIMIZERS["sgd"](model.parameters()), density=0.3, steps=9, generator=None)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_densities_are_erks():
    model = models.build("lenet-300-100", (28, 28), 10, chance())
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    sparse = RigL(model, optimizer, density=0.05, steps=100, generator=chance())
    shapes = {name: mask.shape for name, mask in sparse.mask.items()}
    for name, density in lthviz.masks.erk(shapes, 0.05).items():
        assert sparse.mask[name].sum() == math.floor(density * sparse.mask[name].size + 0.5)


# the population


SETTINGS = {
    "sgd": dict(optimizer="sgd", lr=0.05, momentum=0.9, weight_decay=0.01),
    "adam": dict(optimizer="adam", lr=0.005, weight_decay=0.01),
}


def populated(name, method, settings, K=3, steps=40, **schedule):
    """Each network alone in its trainer, and all of them in one population from the same masks and batches."""
    schedule = dict(steps=steps, every=5) | schedule
    nets = [network(name, seed=k) for k in range(K)]
    alone, started = [], [chance(10 + k) for k in range(K)]
    for net, draw in zip(nets, started, strict=True):
        optimizer = OPTIMIZERS[settings](net.parameters())
        alone.append(METHODS[method](net, optimizer, density=0.3, generator=draw, **schedule))
    generators = [copy.deepcopy(draw) for draw in started]  # behind the draw of the first mask
    x, y = zip(*[batches(steps, seed=20 + k) for k in range(K)], strict=True)
    parameters = {key: torch.stack([net.get_parameter(key).detach() for net in nets]) for key, _ in nets[0].named_parameters()}  # fmt: skip
    masks = {key: torch.stack([torch.tensor(one.mask[key]) for one in alone]) for key in alone[0].mask}
    examples, labels = torch.stack(x).flatten(0, 2), torch.stack(y).flatten()
    together = Population(name, CLASSES, parameters, masks, examples, labels, BATCH, **SETTINGS[settings])
    numbers = torch.arange(K * steps * BATCH).view(K, steps, BATCH)
    for step in range(steps):
        fraction = alone[0].schedule.fraction(step + 1)
        if fraction:
            together.exchange(numbers[:, step], fraction, method, generators)
        else:
            together.step(numbers[:, step])
        for k, (net, trainer) in enumerate(zip(nets, alone, strict=True)):
            trainer.optimizer.zero_grad()
            F.cross_entropy(net(x[k][step]), y[k][step]).backward()
            trainer.step()
        yield together, nets, alone


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", ["mlp-12-8", "conv-2"])
def test_a_population_equals_single_networks(name, settings, method):
    for together, nets, alone in populated(name, method, settings, steps=40 if name == "mlp-12-8" else 16):
        for k, (net, trainer) in enumerate(zip(nets, alone, strict=True)):
            for key, mask in trainer.mask.items():
                assert (together.masks[key][k].numpy() == mask).all()
                assert (together.parameters[key][k][~together.masks[key][k]] == 0).all()
            for key, weight in net.named_parameters():
                torch.testing.assert_close(together.parameters[key][k], weight.detach(), atol=2e-5, rtol=1e-4)
    assert len(alone[0].history) > 1


def small_population(K=2):
    nets = [network(seed=k) for k in range(K)]
    parameters = {key: torch.stack([net.get_parameter(key).detach() for net in nets]) for key, _ in nets[0].named_parameters()}  # fmt: skip
    masks = {key: value != 0 for key, value in parameters.items() if key.endswith("weight")}
    masks = {key: mask & (torch.rand(mask.shape, generator=chance(4)) < 0.3) for key, mask in masks.items()}
    x, y = batches(1)
    return Population("mlp-12-8", CLASSES, parameters, masks, x[0], y[0], BATCH), masks


def test_a_population_copies_its_masks_and_draws_from_its_generators_alone():
    together, masks = small_population()
    before, state = {key: mask.clone() for key, mask in masks.items()}, torch.get_rng_state()
    together.exchange(torch.arange(BATCH).repeat(2, 1), 0.5, "set", [chance(1), chance(2)])
    assert torch.equal(torch.get_rng_state(), state)
    for key, mask in masks.items():
        assert torch.equal(mask, before[key]) and not torch.equal(together.masks[key], mask)
        assert torch.equal(together.masks[key].flatten(1).sum(1), mask.flatten(1).sum(1))


def test_a_diverged_network_exchanges_alone():
    (ill, _), (healthy, _) = small_population(), small_population()
    ill.parameters["fc1.weight"][0] = math.nan
    batch = torch.arange(BATCH).repeat(2, 1)
    for together in (ill, healthy):
        together.exchange(batch, 0.5, "rigl")
        together.step(batch)
    for key, mask in healthy.masks.items():
        assert torch.equal(ill.masks[key][1], mask[1])
        assert torch.equal(ill.parameters[key][1], healthy.parameters[key][1])
        assert ill.masks[key][0].sum() == mask[0].sum()


# what is refused


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"density": 1.5}, r"density=1.5: density must be a number in \[0, 1\]"),
        ({"density": 0}, "density=0 leaves no weight in fc1.weight, fc2.weight, fc3.weight"),
        ({"steps": 0}, "steps=0: steps must be a whole number of at least 1"),
        ({"every": 0}, "every=0"),
        ({"alpha": 1.2}, r"alpha=1.2: alpha must be a number in \[0, 1\]"),
        ({"until": -1}, "until=-1"),
        ({"distribution": "erd"}, "distribution='erd' is not known. Did you mean 'erk'"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_bad_arguments_change_nothing(method, arguments, sentence):
    model, draw = network(), chance()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=sentence):
        METHODS[method](
            model, OPTIMIZERS["sgd"](model.parameters()), generator=draw,
            **dict(density=0.3, steps=10) | arguments,
        )  # fmt: skip
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_optimizer_must_be_that_of_the_model():
    with pytest.raises(ValueError, match=r"does not train 'fc1.weight'"):
        RigL(network(), OPTIMIZERS["sgd"](network().parameters()), density=0.3, steps=9, generator=chance())


def test_an_exchange_needs_a_fraction():
    with pytest.raises(ValueError, match=r"fraction=1.5: fraction must be a number in \[0, 1\]"):
        exchange(torch.ones(3), torch.ones(3, dtype=torch.bool), torch.ones(3), 1.5)


def test_rigl_needs_a_gradient():
    model = network()
    sparse = RigL(
        model, OPTIMIZERS["sgd"](model.parameters()), density=0.3, steps=9, every=1, generator=chance()
    )
    with pytest.raises(ValueError, match=r"gradients of the weights: call backward\(\) before step\(\)"):
        sparse.step()
    assert sparse.steps_done == 0 and sparse.history == []


def test_states_of_another_network_are_refused():
    _, sparse, _ = course("set")
    model = network("mlp-20")
    other = SET(model, OPTIMIZERS["sgd"](model.parameters()), density=0.3, steps=9, generator=chance())
    with pytest.raises(ValueError, match="the mask is for"):
        other.load_state_dict(sparse.state_dict())


def test_a_population_refuses_what_it_does_not_know():
    together, _ = small_population()
    batch = torch.arange(BATCH).repeat(2, 1)
    with pytest.raises(ValueError, match="method='rigel' is not known. Did you mean 'rigl'"):
        together.exchange(batch, 0.3, "rigel")
    for generators in (None, [chance()]):
        with pytest.raises(ValueError, match="one for each of 2 networks, got [01]"):
            together.exchange(batch, 0.3, "set", generators)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("method", METHODS)
def test_cuda_equals_cpu(method):
    draw = chance()
    weight, scores = torch.randn(50, 30, generator=draw), torch.rand(50, 30, generator=draw)
    mask = torch.rand(50, 30, generator=draw) < 0.2
    there = exchange(weight.cuda(), mask.cuda(), scores.cuda(), 0.3)
    assert torch.equal(there.cpu(), exchange(weight, mask, scores, 0.3))
    model = network().cuda()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    sparse = METHODS[method](model, optimizer, density=0.3, steps=20, every=2, generator=chance())
    kept = [row["kept"] for row in sparse.mask.layers]
    for x, y in zip(*batches(20), strict=True):
        optimizer.zero_grad()
        F.cross_entropy(model(x.cuda()), y.cuda()).backward()
        sparse.step()
    assert len(sparse.history) == 7 and [row["kept"] for row in sparse.mask.layers] == kept
    for name, mask in sparse.mask.items():
        assert (model.get_parameter(name).detach().cpu().numpy()[~mask] == 0).all()
