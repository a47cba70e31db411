"""The population trainer against the plain loop: nn.Module, torch.optim, mask after every step."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lthviz import models
from lthviz.train import Population, batch_order, generator

OPTIMIZERS = {
    "adam": (dict(optimizer="adam", lr=0.002), lambda p: torch.optim.Adam(p, lr=0.002)),
    "adam with decay": (
        dict(optimizer="adam", lr=0.002, weight_decay=0.01),
        lambda p: torch.optim.Adam(p, lr=0.002, weight_decay=0.01),
    ),
    "sgd with momentum and decay": (
        dict(optimizer="sgd", lr=0.05, momentum=0.9, weight_decay=0.01),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    ),
}
NETWORKS = {"mlp-20-12": (6, 6), "conv-2": (8, 8)}


def networks(name, K, classes=4):
    return [models.build(name, NETWORKS[name], classes, generator(k, "init")) for k in range(K)]


def random_masks(network, K, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand((K, *weight.shape), generator=draw) < 0.4
        for name, weight in network.named_parameters()
        if name.endswith("weight")
    }


def population(name, nets, masks, x, y, **settings):
    """A population that learns, step by step, from the batches x (steps, K, B, *shape) and y (steps, K, B)."""
    stacked = {
        key: torch.stack([net.get_parameter(key).detach() for net in nets])
        for key, _ in nets[0].named_parameters()
    }
    return Population(name, 4, stacked, masks, x.flatten(0, 2), y.flatten(), y.shape[2], **settings)


def numbers(y):
    """Which examples the population above learns from at each step: (steps, K, B)."""
    return torch.arange(y.numel(), device=y.device).view(y.shape)


def batches(name, K, steps, seed=1):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn((steps, K, 10, *NETWORKS[name]), generator=draw)
    return x, torch.randint(0, 4, (steps, K, 10), generator=draw)


def plain_loop(network, masks, optimizer, x, y):
    network = copy.deepcopy(network)
    weights = dict(network.named_parameters())
    optimiser = optimizer(network.parameters())

    @torch.no_grad()
    def hold():
        for key, mask in masks.items():
            weights[key] *= mask

    hold()
    for batch, labels in zip(x, y, strict=True):
        optimiser.zero_grad()
        F.cross_entropy(network(batch), labels).backward()
        optimiser.step()
        hold()
    return network


@pytest.mark.parametrize("settings, optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_plain_loop(name, settings, optimizer):
    nets = networks(name, 3)
    masks = random_masks(nets[0], 3)
    x, y = batches(name, 3, 25)
    trained = population(name, nets, masks, x, y, **settings)
    for batch in numbers(y):
        trained.step(batch)
    for k, net in enumerate(nets):
        expected = plain_loop(net, {key: mask[k] for key, mask in masks.items()}, optimizer, x[:, k], y[:, k])
        for key, weight in expected.named_parameters():
            torch.testing.assert_close(trained.parameters[key][k], weight.detach(), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("settings", [s for s, _ in OPTIMIZERS.values()], ids=OPTIMIZERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_pruned_weights_are_exactly_zero_after_every_step(name, settings):
    nets = networks(name, 2)
    masks = random_masks(nets[0], 2)
    x, y = batches(name, 2, 12)
    trained = population(name, nets, masks, x, y, **settings)
    for batch in numbers(y):
        trained.step(batch)
        for key, mask in masks.items():
            assert (trained.parameters[key][~mask] == 0).all()
            assert (trained.parameters[key][mask] != 0).any()


def test_every_kept_weight_with_a_gradient_moves_negative_ones_too():
    nets = networks("mlp-20-12", 1)
    masks = random_masks(nets[0], 1)
    x, y = batches("mlp-20-12", 1, 1)
    trained = population("mlp-20-12", nets, masks, x, y, optimizer="sgd", lr=0.1, momentum=0.0)
    before = {key: value.clone() for key, value in trained.parameters.items()}
    trained.step(numbers(y)[0])
    masked = copy.deepcopy(nets[0])
    with torch.no_grad():
        for key, mask in masks.items():
            masked.get_parameter(key).mul_(mask[0])
    F.cross_entropy(masked(x[0, 0]), y[0, 0]).backward()
    for key, mask in masks.items():
        should = mask[0] & (masked.get_parameter(key).grad.abs() > 1e-4)
        moved = trained.parameters[key][0] != before[key][0]
        assert should.any() and (moved[should]).all()
        assert moved[should & (before[key][0] < 0)].all()


def test_a_network_does_not_depend_on_its_neighbours():
    nets = networks("mlp-20-12", 4)
    masks = random_masks(nets[0], 4)
    x, y = batches("mlp-20-12", 4, 30)
    together = population("mlp-20-12", nets, masks, x, y)
    alone = population("mlp-20-12", nets[2:3], {key: mask[2:3] for key, mask in masks.items()}, x, y)
    for batch in numbers(y):
        together.step(batch)
        alone.step(batch[2:3])
    for key in alone.parameters:
        torch.testing.assert_close(
            together.parameters[key][2], alone.parameters[key][0], atol=1e-5, rtol=1e-4
        )


def test_a_diverged_network_leaves_the_others_alone():
    nets = networks("mlp-20-12", 2)
    masks = {key: torch.ones_like(mask) for key, mask in random_masks(nets[0], 2).items()}
    x, y = batches("mlp-20-12", 2, 5)
    broken = copy.deepcopy(nets)
    with torch.no_grad():
        broken[0].get_parameter("fc1.weight").fill_(float("inf"))
    ill, healthy = (population("mlp-20-12", start, masks, x, y) for start in (broken, nets))
    for batch in numbers(y):
        ill.step(batch)
        healthy.step(batch)
    loss, _ = ill.evaluate(x[0, 0], y[0, 0])
    assert not np.isfinite(loss[0]) and np.isfinite(loss[1])
    for key in healthy.parameters:
        assert torch.equal(ill.parameters[key][1], healthy.parameters[key][1])


@pytest.mark.parametrize("name", NETWORKS)
def test_evaluation_equals_the_module(name, monkeypatch):
    nets = networks(name, 2)
    masks = {key: torch.ones_like(mask) for key, mask in random_masks(nets[0], 2).items()}
    x, y = batches(name, 1, 1)
    trained, x, y = population(name, nets, masks, x, y), x[0, 0], y[0, 0]
    monkeypatch.setattr("lthviz.train.CHUNK", 4)  # three parts of unequal size: every example counts once
    loss, accuracy = trained.evaluate(x, y)
    for k, net in enumerate(nets):
        logits = net(x).detach()
        assert loss[k] == pytest.approx(F.cross_entropy(logits, y).item(), rel=1e-5)
        assert accuracy[k] == pytest.approx((logits.argmax(1) == y).float().mean().item())


def test_batches_pass_over_every_example():
    order = batch_order(0, 0, examples=30, batch_size=6, steps=15)
    assert order.shape == (15, 6)
    for i in range(3):
        assert sorted(order[5 * i : 5 * i + 5].flatten().tolist()) == list(range(30))
    assert torch.equal(order, batch_order(0, 0, 30, 6, 15))
    assert not torch.equal(order, batch_order(1, 0, 30, 6, 15))
    assert not torch.equal(order, batch_order(0, 1, 30, 6, 15))


def test_roles_draw_independently():
    draws = {
        (seed, role, round): tuple(torch.rand(3, generator=generator(seed, role, round)).tolist())
        for seed in (0, 1)
        for role in ("init", "order", "reinit")
        for round in (0, 1)
    }
    assert len(set(draws.values())) == len(draws)


@pytest.mark.parametrize("name", ["mlp-30-20", "lenet-300-100", "conv-2"])
def test_initial_weights_are_glorot_normal(name):
    network = models.build(name, (28, 28), 10, generator(0, "init"))
    for key, weight in network.named_parameters():
        if key.endswith("bias"):
            assert (weight == 0).all()
        elif weight.numel() > 1000:
            receptive = weight[0, 0].numel()
            std = (2 / ((weight.shape[0] + weight.shape[1]) * receptive)) ** 0.5
            assert weight.std().item() == pytest.approx(std, rel=0.1)
            assert (weight.abs() > 2.5 * std).any()  # a normal's tail, no uniform draw


def test_lenet_has_the_papers_weights():
    assert models.weight_count("lenet-300-100", (28, 28), 10) == 266_200


def test_shrunk_networks_fit_their_budget():
    for budget in (300, 2_000, 9_000, 25_100, 50_000):
        small = models.narrowed("mlp-100-50", (14, 14), 10, budget)
        weights = models.weight_count(small, (14, 14), 10)
        assert weights <= budget
        network = models.build(small, (14, 14), 10, generator(0, "init"))
        assert sum(p.numel() for n, p in network.named_parameters() if n.endswith("weight")) == weights
    assert models.weight_count(models.narrowed("mlp-100-50", (14, 14), 10, 50_000), (14, 14), 10) == 25_100


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("name", NETWORKS)
def test_cuda_equals_cpu(name):
    nets = networks(name, 3)
    masks = random_masks(nets[0], 3)
    x, y = batches(name, 3, 10)
    here = population(name, nets, masks, x, y)
    there = population(name, nets, masks, x.cuda(), y.cuda(), device="cuda")
    for batch in numbers(y):
        here.step(batch)
        there.step(batch.cuda())
    for key in here.parameters:
        torch.testing.assert_close(there.parameters[key].cpu(), here.parameters[key], atol=1e-4, rtol=1e-3)
