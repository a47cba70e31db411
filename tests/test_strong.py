"""Strong tickets: subset sums against exhaustive search, the hidden network against its bound, edge-popup against a slow one."""

import math
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import lthviz
from lthviz import data, models, strong
from lthviz.train import Population, generator

numbers = st.floats(-4, 4, allow_nan=False)


def exhaustive(values, target):
    """The least error of all subsets, one by one."""
    return min(
        abs(sum(v for v, there in zip(values, chosen, strict=True) if there) - target)
        for chosen in product((False, True), repeat=len(values))
    )


@settings(max_examples=80, deadline=None)
@given(st.lists(numbers, max_size=9), numbers)
def test_the_best_subset_is_that_of_exhaustive_search(values, target):
    chosen = strong.best_subset(values, target)
    assert chosen.dtype == bool and chosen.shape == (len(values),)
    assert abs(np.array(values, float)[chosen].sum() - target) == pytest.approx(
        exhaustive(values, target), abs=1e-12
    )


def test_a_planted_subset_of_thirty_numbers_is_found():
    rng = np.random.default_rng(0)
    values, planted = rng.uniform(-1, 1, 30), rng.random(30) < 0.5
    assert (
        abs(values[strong.best_subset(values, values[planted].sum())].sum() - values[planted].sum()) < 1e-12
    )


def test_extreme_subsets():
    assert strong.best_subset([], 0.3).tolist() == []
    assert (
        strong.best_subset([1.0, 2.0, 4.0], 100).all() and not strong.best_subset([1.0, 2.0, 4.0], -5).any()
    )
    assert strong.best_subset([1.0, 2.0, 4.0, 8.0], 5.2).tolist() == [True, False, True, False]
    assert strong.subset_sums([1, 2, 4]).tolist() == list(range(8))


@pytest.mark.parametrize(
    "arguments, word",
    [
        (([[1.0]], 0), "values"), (([math.nan], 0), "values"), (([0.1] * 41, 0), "len"), (([0.1], math.inf), "target"),
        (([0.1], "a"), "target"),
    ],
)  # fmt: skip
def test_subsets_of_nothing_sensible_are_refused(arguments, word):
    with pytest.raises(ValueError, match=word):
        strong.best_subset(*arguments)


# A network in a random one


def as_given(weights, x):
    for i, weight in enumerate(weights):
        x = x @ weight.T
        x = x.relu() if i < len(weights) - 1 else x
    return x


@pytest.fixture(scope="module")
def hidden():
    """Weights of a 4-6-3 network, and the random one that holds it, without and with its mask."""
    draw = generator(0, "target")
    weights = [torch.randn(6, 4, generator=draw), torch.randn(3, 6, generator=draw)]
    dense, mask = strong.hide(weights, 24, generator(0, "hide"))
    network, _ = strong.hide(weights, 24, generator(0, "hide"))
    lthviz.apply_mask(network, mask)
    return weights, dense, network, mask


def pair_error(pair, weight):
    """The largest error in a weight, of what the two layers make of positive and of negative inputs."""
    one = torch.eye(weight.shape[1])
    with torch.no_grad():
        return max((pair(one).T - weight).abs().max().item(), (-pair(-one).T - weight).abs().max().item())


def test_one_weight_is_approximated_within_its_error_times_x():
    weight = torch.tensor([[0.37]])
    network, mask = strong.hide([weight], 26, generator(3, "hide"))
    lthviz.apply_mask(network, mask)
    eps = pair_error(network, weight)
    x = torch.linspace(-5, 5, 101)[:, None]
    with torch.no_grad():
        off = (network(x) - 0.37 * x).abs()
    assert 0 < eps < 0.01 and (off <= eps * x.abs() + 1e-6).all()
    assert (off > 0.9 * eps * x.abs() - 1e-6).any()  # and no better than that


def test_the_taken_products_are_the_best_there_are(hidden):
    weights, _, _, _ = hidden
    small = [weights[0][:2, :2]]
    dense, mask = strong.hide(small, 10, generator(5, "hide"))
    first, second = (dense.get_submodule(f"fc1{letter}").weight.detach().double() for letter in "ab")
    taken = mask["fc1b.weight"]
    for k, j in product(range(2), range(2)):
        own = np.arange(10 * j, 10 * j + 10)
        for sign in (1, -1):
            units = [i for i in own if sign * first[i, j] > 0]
            products = [float(first[i, j] * second[k, i]) for i in units]
            mine = abs(
                sum(p for p, i in zip(products, units, strict=True) if taken[k, i]) - float(small[0][k, j])
            )
            assert mine == pytest.approx(exhaustive(products, float(small[0][k, j])), abs=1e-9)


def test_a_hidden_network_stays_within_the_bound(hidden):
    (w1, w2), _, network, _ = hidden
    eps1, eps2 = pair_error(network[:3], w1), pair_error(network[4:], w2)
    x = torch.randn(200, 4, generator=generator(1, "x")) * 3
    with torch.no_grad():
        off = (network(x) - as_given((w1, w2), x)).abs()
        within = network[:4](x)
    bound = eps2 * within.sum(1, keepdim=True) + eps1 * x.abs().sum(1, keepdim=True) * w2.abs().sum(1)
    assert eps1 < 0.3 and (off <= bound + 1e-5).all() and off.max() > 0.01 * bound.min()


def test_what_is_hidden_is_a_mask_of_random_weights(hidden):
    weights, dense, network, mask = hidden
    assert [tuple(array.shape) for array in mask.values()] == [(96, 4), (6, 96), (144, 6), (3, 144)]
    for name, kept in mask.items():
        drawn, left = dense.get_parameter(name).detach(), network.get_parameter(name).detach()
        assert torch.equal(left, drawn * torch.tensor(kept))
        assert len(drawn.unique()) > 0.99 * drawn.numel()  # no number was written into it
    firsts = dense.fc1a.weight
    assert firsts.min() < -0.95 and firsts.max() > 0.95 and abs(firsts.mean()) < 0.1
    assert (mask["fc1a.weight"].sum(1) <= 1).all()  # a unit hears its own input
    again, same = strong.hide(weights, 24, generator(0, "hide"))
    other, _ = strong.hide(weights, 24, generator(1, "hide"))
    assert (
        same == mask and torch.equal(again.fc1a.weight, firsts) and not torch.equal(other.fc1a.weight, firsts)
    )


def test_more_numbers_make_a_better_copy(hidden):
    weights = hidden[0]
    errors = []
    for n in (8, 16, 32):
        network, mask = strong.hide(weights, n, generator(0, "hide"))
        lthviz.apply_mask(network, mask)
        x = torch.randn(100, 4, generator=generator(1, "x"))
        with torch.no_grad():
            errors.append((network(x) - as_given(weights, x)).abs().mean().item())
    assert errors[0] > 4 * errors[1] > 16 * errors[2]


def test_layers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="6 outputs is followed by one with 5 inputs"):
        strong.hide([torch.ones(6, 4), torch.ones(3, 5)], 4, generator(0, "hide"))
    for n in (0, 41, 2.5):
        with pytest.raises(ValueError, match="n="):
            strong.hide([torch.ones(2, 2)], n, generator(0, "hide"))


# Edge-popup


@pytest.fixture(scope="module")
def digits():
    found = data.load("mnist-5k-14")
    return tuple(
        torch.tensor(getattr(found, f"{what}_{part}")) for part in ("train", "test") for what in "xy"
    )


def drawn(architecture, seed=0, shape=(14, 14)):
    network = models.build(architecture, shape, 10, generator(seed, "init"))
    strong.redraw(network, "signed constant", generator(seed, "weights"))
    return network


def accuracy(network, mask, x, y):
    lthviz.apply_mask(network, mask)
    with torch.no_grad():
        return (network(x).argmax(1) == y).float().mean().item()


def by_hand(weights, x, y, keep, steps, lr, draw):
    """Edge-popup from the paper for a network of linear layers: backward pass and Adam written out, in float64."""
    scores = [(torch.rand(w.shape, generator=draw) * 2 - 1) / math.sqrt(w.shape[1]) for w in weights]
    scores = [score.double().numpy() for score in scores]
    weights = [w.double().numpy() for w in weights]
    mean, square = [np.zeros_like(s) for s in scores], [np.zeros_like(s) for s in scores]

    def masks():
        found = []
        for score, k in zip(scores, keep, strict=True):
            mask = np.zeros(score.size)
            mask[np.argsort(-np.abs(score.ravel()))[:k]] = 1
            found.append(mask.reshape(score.shape))
        return found

    for t in range(1, steps + 1):
        batch = torch.randint(len(y), (60,), generator=draw)
        effective = [w * m for w, m in zip(weights, masks(), strict=True)]
        entering = [x[batch].flatten(1).double().numpy()]
        for i, w in enumerate(effective):
            z = entering[-1] @ w.T
            entering.append(np.maximum(z, 0) if i < len(effective) - 1 else z)
        delta = np.exp(entering[-1] - entering[-1].max(1, keepdims=True))
        delta = delta / delta.sum(1, keepdims=True) - np.eye(10)[y[batch].numpy()]
        delta /= 60
        for i in reversed(range(len(weights))):
            gradient = delta.T @ entering[i] * weights[i] * np.sign(scores[i])
            delta = (delta @ effective[i]) * (entering[i] > 0)
            mean[i] = 0.9 * mean[i] + 0.1 * gradient
            square[i] = 0.999 * square[i] + 0.001 * gradient**2
            step = mean[i] / (1 - 0.9**t) / (np.sqrt(square[i] / (1 - 0.999**t)) + 1e-8)
            scores[i] = scores[i] - lr * step
    return masks()


def test_edge_popup_is_the_papers_algorithm(digits):
    x, y = digits[:2]
    network = drawn("mlp-12-8")
    weights = [layer.weight.detach() for layer in network if isinstance(layer, nn.Linear)]
    keep = [math.floor(0.3 * w.numel() + 0.5) for w in weights]
    slow = by_hand(weights, x, y, keep, 40, 0.002, generator(0, "popup"))
    mask = strong.edge_popup(network, F.cross_entropy, (x, y), 0.3, steps=40, generator=generator(0, "popup"))
    apart = sum((a != b).sum() for a, b in zip(mask.values(), slow, strict=True))
    untouched = strong.edge_popup(
        network, F.cross_entropy, (x, y), 0.3, steps=1, lr=1e-9, generator=generator(0, "popup")
    )
    moved = sum((a != b).sum() for a, b in zip(untouched.values(), slow, strict=True))
    assert moved > 200 and apart <= 4  # float32 against float64: a weight at the border may differ


def test_side_by_side_is_as_one_by_one(digits):
    x, y = digits[:2]
    networks = [drawn("mlp-12-8", seed) for seed in (0, 1)]
    parameters = {
        name: torch.stack([network.get_parameter(name).detach() for network in networks])
        for name, _ in networks[0].named_parameters()
    }
    masks = {
        name: torch.ones_like(p, dtype=torch.bool)
        for name, p in parameters.items()
        if name.endswith("weight")
    }
    population = Population("mlp-12-8", 10, parameters, masks, x, y, 60)
    draws = [generator(seed, "popup") for seed in (0, 1)]
    popup = strong.Popup(population, 0.3, draws)
    for _ in range(40):
        popup.step(torch.stack([torch.randint(len(y), (60,), generator=draw) for draw in draws]))
    for k, network in enumerate(networks):
        mask = strong.edge_popup(
            network, F.cross_entropy, (x, y), 0.3, steps=40, generator=generator(k, "popup")
        )
        assert sum((mask[name] != popup.masks[name][k].numpy()).sum() for name in mask) <= 4
        for name, kept in popup.masks.items():
            assert torch.equal(population.parameters[name][k], network.get_parameter(name).detach() * kept[k])


class Picky(nn.Module):
    """Convolution, batch norm, dropout and a bias: everything that a search might disturb."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 6, 3, stride=2), nn.BatchNorm2d(6)
        self.drop, self.out = nn.Dropout(0.2), nn.Linear(6 * 36, 10)

    def forward(self, x):
        return self.out(self.drop(self.norm(self.conv(x[:, None])).relu().flatten(1)))


def test_nothing_but_the_mask_comes_of_it(digits):
    x, y = digits[:2]
    with torch.random.fork_rng():
        network = Picky()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random_states = torch.get_rng_state(), np.random.get_state()[1].copy()
    mask = strong.edge_popup(network, F.cross_entropy, (x, y), 0.4, steps=30, generator=generator(0, "popup"))
    strong.hide([torch.ones(2, 2)], 4, generator(0, "hide"))
    strong.redraw(drawn("mlp-4"), "kaiming normal", generator(0, "weights"))
    assert torch.equal(torch.get_rng_state(), random_states[0])
    assert np.array_equal(np.random.get_state()[1], random_states[1])
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert [row["kept"] for row in mask.layers] == [math.floor(0.4 * n + 0.5) for n in (54, 2160)]
    assert set(mask) == {"conv.weight", "out.weight"}


def test_a_mask_is_found_that_a_random_one_is_not(digits):
    x, y, x_test, y_test = digits
    found = strong.edge_popup(
        drawn("mlp-100-50"), F.cross_entropy, (x, y), 0.5, steps=150, generator=generator(0, "popup")
    )
    chance = found.shuffle(np.random.default_rng(0))
    assert accuracy(drawn("mlp-100-50"), found, x_test, y_test) > 0.75
    assert accuracy(drawn("mlp-100-50"), chance, x_test, y_test) < 0.3
    assert accuracy(drawn("mlp-100-50", seed=1), found, x_test, y_test) < 0.3  # it belongs to its weights


def test_density_is_what_is_kept_and_all_of_it_is_the_network(digits):
    x, y = digits[:2]
    for density in (0.1, 0.9, 1.0):
        mask = strong.edge_popup(
            drawn("mlp-12-8"), F.cross_entropy, (x, y), density, steps=2, generator=generator(0, "p")
        )
        assert mask.density == pytest.approx(density, abs=0.01)


@pytest.mark.parametrize(
    "settings, word",
    [
        ({"density": 1.2}, "density"), ({"density": 0.001}, "leaves no weight in fc2"), ({"steps": 0}, "steps"),
        ({"batch_size": 1.5}, "batch_size"),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused_before_any_work(digits, settings, word):
    with pytest.raises(ValueError, match=word):
        strong.edge_popup(drawn("mlp-12-8"), None, digits[:2], generator=None, **settings)


@pytest.mark.parametrize("draw", [None, 3, np.random.default_rng(0)])
def test_nothing_is_drawn_without_a_generator(digits, draw):
    network, before = drawn("mlp-12-8"), torch.get_rng_state()
    parameters = {name: p.detach()[None] for name, p in network.named_parameters()}
    masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in parameters.items() if p.ndim == 3}
    population = Population("mlp-12-8", 10, parameters, masks, *digits[:2], 60)
    for call in (
        lambda: strong.edge_popup(network, F.cross_entropy, digits[:2], generator=draw),
        lambda: strong.redraw(network, "kaiming normal", draw),
        lambda: strong.hide([torch.ones(2, 2)], 4, draw),
        lambda: strong.Popup(population, 0.3, [draw]),
    ):
        with pytest.raises(ValueError, match=r"generator=.*: generator must be a torch.Generator on the CPU"):
            call()
    assert torch.equal(torch.get_rng_state(), before)


class Spare(nn.Module):
    """A layer of its own beside a network, whose output counts nothing, or is not asked for at all."""

    def __init__(self, network, asked):
        super().__init__()
        self.network, self.asked = network, asked
        with torch.random.fork_rng():
            self.spare = nn.Linear(196, 4)

    def forward(self, x):
        found = self.network(x)
        return found + 0 * self.spare(x.flatten(1)).sum() if self.asked else found


def test_a_layer_without_a_part_in_the_loss_is_ignored(digits):
    asked, not_asked = (
        strong.edge_popup(
            Spare(drawn("mlp-12-8"), asked),
            F.cross_entropy,
            digits[:2],
            0.3,
            steps=20,
            generator=generator(0, "p"),
        )
        for asked in (True, False)
    )
    assert asked["spare.weight"].sum() == math.floor(0.3 * 4 * 196 + 0.5)
    assert asked == not_asked


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_networks_of_other_types_have_masks_too(digits, kind):
    x, y = digits[:2]
    mask = strong.edge_popup(
        drawn("mlp-12-8").to(kind),
        F.cross_entropy,
        (x.to(kind), y),
        0.3,
        steps=3,
        generator=generator(0, "p"),
    )
    assert mask.density == pytest.approx(0.3, abs=0.01)


def test_gradients_of_a_population_take_no_step(digits):
    x, y = digits[:2]
    network = drawn("mlp-12-8")
    parameters = {name: p.detach()[None] for name, p in network.named_parameters()}
    masks = {
        name: torch.rand(p.shape, generator=generator(0, "m")) < 0.5
        for name, p in parameters.items()
        if p.ndim == 3
    }
    population = Population("mlp-12-8", 10, parameters, masks, x, y, 60)
    gradients = population.gradients(torch.arange(60)[None])
    for name, mask in masks.items():
        network.get_parameter(name).data *= mask[0]
    F.cross_entropy(network(x[:60]), y[:60]).backward()
    for name, parameter in network.named_parameters():
        assert torch.allclose(gradients[name][0], parameter.grad, atol=1e-6)
        assert torch.equal(population.parameters[name][0], parameter.detach())


def test_the_two_draws_share_their_signs():
    network, other = drawn("mlp-100-50"), drawn("mlp-100-50")
    biases = network.fc1.bias.detach().clone()
    strong.redraw(other, "kaiming normal", generator(0, "weights"))
    for name, weight in network.named_parameters():
        if name.endswith("weight"):
            std = math.sqrt(2 / weight.shape[1])
            drawn_ = other.get_parameter(name).detach()
            assert torch.equal(weight.detach(), std * drawn_.sign())
            assert (
                drawn_.std().item() == pytest.approx(std, rel=0.1) and abs(drawn_.mean().item()) < 0.2 * std
            )
    assert torch.equal(network.fc1.bias, biases)
    with pytest.raises(ValueError, match="Did you mean 'signed constant'"):
        strong.redraw(network, "signed", generator(0, "weights"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_finds_a_mask_too(digits):
    x, y, x_test, y_test = digits
    network = drawn("mlp-100-50").cuda()
    mask = strong.edge_popup(
        network, F.cross_entropy, (x.cuda(), y.cuda()), 0.5, steps=150, generator=generator(0, "popup")
    )
    assert accuracy(drawn("mlp-100-50"), mask, x_test, y_test) > 0.75
