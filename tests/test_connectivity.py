"""Points between two networks, batch norm on the way, barriers, and many lines at once; against plain loops."""

import copy
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lthviz import data, models
from lthviz.connectivity import ALPHAS, Path, along, barrier, interpolate, path, recalibrate, train
from lthviz.train import batch_order, generator


def drawn(seed, norm=True):
    """A small network with batch norm and dropout whose every number is random."""
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():  # layers draw their first values from the global generator
        parts = [
            nn.Linear(6, 8),
            nn.BatchNorm1d(8) if norm else nn.Identity(),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(8, 3),
        ]
        network = nn.Sequential(*parts)
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=draw) + 0.1)
        for value in network.parameters():
            value.sub_(0.6)
    return network.eval()


@pytest.fixture
def examples():
    draw = torch.Generator().manual_seed(7)
    return torch.randn(90, 6, generator=draw), torch.randint(3, (90,), generator=draw)


@pytest.fixture
def untouched():
    """The global random states are what they were."""
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    yield
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(torch.get_rng_state(), before[2])


def state(network):
    flags = [module.training for module in network.modules()]
    momenta = [module.momentum for module in network.modules() if isinstance(module, nn.BatchNorm1d)]
    return {name: value.clone() for name, value in network.state_dict().items()}, flags, momenta


def same(before, after):
    return before[1:] == after[1:] and all(torch.equal(before[0][name], after[0][name]) for name in before[0])


# Points on the line


@pytest.mark.parametrize("alpha", [0, 1])
def test_the_ends_of_the_line_are_the_networks(alpha, examples, untouched):
    a, b = drawn(1), drawn(2)
    assert torch.equal(interpolate(a, b, alpha)(examples[0]), (a, b)[alpha](examples[0]))


def test_a_point_in_between_is_the_sum_by_hand():
    a, b = drawn(1), drawn(2)
    a[1].num_batches_tracked += 5
    between = interpolate(a, b, 0.3)
    for name, value in between.named_parameters():
        assert torch.allclose(value, 0.7 * a.get_parameter(name) + 0.3 * b.get_parameter(name))
    assert torch.allclose(between[1].running_var, 0.7 * a[1].running_var + 0.3 * b[1].running_var)
    assert between[1].num_batches_tracked == 5


def test_a_linear_network_is_linear_on_the_line(examples):
    a, b = nn.Linear(6, 3), nn.Linear(6, 3)
    for seed, network in enumerate((a, b)):
        for value in network.parameters():
            value.data = torch.randn(value.shape, generator=torch.Generator().manual_seed(seed))
    x = examples[0]
    assert torch.allclose(interpolate(a, b, 0.25)(x), 0.75 * a(x) + 0.25 * b(x), atol=1e-5)


@pytest.mark.parametrize("alpha", [-0.1, 1.2, float("nan"), "half"])
def test_points_outside_the_line_are_refused(alpha):
    with pytest.raises(ValueError, match=r"alpha=.* must be a number in \[0, 1\]"):
        interpolate(drawn(1), drawn(2), alpha)


def test_networks_that_do_not_fit_are_refused():
    wider = nn.Sequential(nn.Linear(6, 9))
    with pytest.raises(ValueError, match="differ in"):
        interpolate(nn.Sequential(nn.Linear(6, 8)), wider, 0.5)
    with pytest.raises(ValueError, match="differ in '1"):
        interpolate(drawn(1), drawn(2, norm=False), 0.5)


# Batch norm


def test_recalibration_is_what_a_plain_loop_finds(examples, untouched):
    network, x = drawn(1), examples[0]
    before = state(network)
    recalibrate(network, x)
    z = [[sum(w * v for w, v in zip(unit, row)) + c for unit, c in zip(network[0].weight.tolist(), network[0].bias.tolist())]
         for row in x.tolist()]  # fmt: skip
    for unit in range(8):
        values = [row[unit] for row in z]
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)  # as torch keeps it
        assert network[1].running_mean[unit].item() == pytest.approx(mean, abs=1e-4)
        assert network[1].running_var[unit].item() == pytest.approx(variance, rel=1e-4)
    after = state(network)
    assert before[1:] == after[1:]
    assert all(
        torch.equal(before[0][name], after[0][name])
        for name in before[0]
        if "running" not in name and "tracked" not in name
    )


def test_recalibration_of_two_layers_uses_the_first_as_it_is_now():
    draw = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3), nn.BatchNorm1d(3))
    x = torch.randn(50, 4, generator=draw)
    recalibrate(network.train(), x)
    assert network.training and network[1].training
    z = network[0](x)
    entering = torch.relu(
        (z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt() * network[1].weight + network[1].bias
    )
    assert torch.allclose(network[4].running_mean, network[3](entering).mean(0), atol=1e-5)
    assert torch.allclose(network[4].running_var, network[3](entering).var(0), atol=1e-5)


def test_recalibration_puts_everything_back_when_the_network_fails(examples):
    network = drawn(1).train()
    network[3].eval()
    before = state(network)[1:]
    with pytest.raises(RuntimeError):
        recalibrate(network, examples[0][:, :4])
    assert state(network)[1:] == before


# The path


def brute_force(a, b, x, y, alphas, statistics):
    """The same, one example after the other, from the arrays alone."""
    losses, errors = [], []
    for alpha in alphas:
        one, two = a.state_dict(), b.state_dict()
        s = {name: ((1 - alpha) * one[name] + alpha * two[name]).numpy() for name in one}
        if statistics is not None:
            z = statistics.numpy() @ s["0.weight"].T + s["0.bias"]
            s["1.running_mean"], s["1.running_var"] = z.mean(0), z.var(0, ddof=1)
        loss = wrong = 0
        for row, label in zip(x.numpy(), y.tolist()):
            z = s["0.weight"] @ row + s["0.bias"]
            z = (z - s["1.running_mean"]) / np.sqrt(s["1.running_var"] + 1e-5) * s["1.weight"] + s["1.bias"]
            logits = s["4.weight"] @ np.maximum(z, 0) + s["4.bias"]
            loss += np.log(np.exp(logits).sum()) - logits[label]
            wrong += int(logits.argmax() != label)
        losses.append(loss / len(y))
        errors.append(wrong / len(y))
    return losses, errors


@pytest.mark.parametrize("recomputed", [True, False])
def test_a_path_is_what_a_brute_force_loop_finds(recomputed, examples, untouched):
    a, b, (x, y) = drawn(1).train(), drawn(2), examples
    statistics = x[:40] if recomputed else False
    before = state(a), state(b)
    found = path(a, b, x, y, ALPHAS, statistics)
    losses, errors = brute_force(a, b, x, y, ALPHAS, statistics if recomputed else None)
    assert np.allclose(found.loss, losses, rtol=1e-4) and np.allclose(found.error, errors)
    assert np.array_equal(found.alpha, ALPHAS) and "barrier" in repr(found)
    assert "at alpha 0.2 and 0.5" in repr(Path(np.array([0.2, 0.5]), np.ones(2), np.ones(2)))
    assert same(before[0], state(a)) and same(before[1], state(b))


def test_statistics_matter_on_the_way_and_must_be_chosen(examples):
    a, b, (x, y) = drawn(1), drawn(2), examples
    with pytest.raises(ValueError, match="statistics=None: these networks have batch norm"):
        path(a, b, x, y)
    fresh, stale = path(a, b, x, y, statistics=x), path(a, b, x, y, statistics=False)
    assert abs(fresh.loss - stale.loss).max() > 0.002
    plain = drawn(1, norm=False), drawn(2, norm=False)
    assert np.array_equal(path(*plain, x, y).loss, path(*plain, x, y, statistics=x).loss)


def test_arrays_are_taken_as_tensors_are(examples):
    """Statistics too, which may not pass for False."""
    a, b, (x, y) = drawn(1), drawn(2), examples
    expected = path(a, b, x, y, statistics=x[:40])
    found = path(a, b, x.numpy(), y.numpy().astype(np.int32), statistics=x[:40].numpy().astype(float))
    assert np.array_equal(found.loss, expected.loss) and np.array_equal(found.error, expected.error)
    one, other = drawn(1), drawn(1)
    recalibrate(one, x), recalibrate(other, x.numpy())
    assert torch.equal(one[1].running_mean, other[1].running_mean)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"statistics": True}, "statistics is a bool: statistics must be a tensor or an array"),
        ({"statistics": [[1.0] * 6]}, "statistics is a list: statistics must be a tensor or an array"),
        ({"x": "digits"}, "x is a str: x must be a tensor or an array"),
        (
            {"y": torch.zeros(89)},
            r"x of shape \(90, 6\) and y of shape \(89,\): y must have one class for each row",
        ),
        ({"y": torch.zeros(90, 3)}, "y must have one class for each row"),
    ],
)
def test_what_are_no_examples_is_answered(examples, arguments, words):
    x, y = examples
    with pytest.raises(ValueError, match=words):
        path(drawn(1), drawn(2), **({"x": x, "y": y, "statistics": x} | arguments))


@pytest.mark.parametrize("kind, off", [(torch.float64, 1e-5), (torch.bfloat16, 0.05)])
def test_networks_of_other_types_take_the_same_examples(examples, kind, off):
    a, b, (x, y) = drawn(1), drawn(2), examples
    x, y = x.repeat(20, 1), y.repeat(20)  # so many losses that 16 bits cannot add them up
    expected = path(a, b, x, y, [0, 0.5, 1], statistics=x)
    found = path(a.to(kind), b.to(kind), x, y, [0, 0.5, 1], statistics=x.numpy())
    assert np.allclose(found.loss, expected.loss, atol=off) and np.allclose(
        found.error, expected.error, atol=off
    )
    assert next(a.parameters()).dtype == kind


def test_a_network_has_no_barrier_with_itself_and_none_is_left_behind(examples):
    a = drawn(3, norm=False)
    found = path(a, copy.deepcopy(a), *examples)
    assert barrier(found.error) == 0 and barrier(found.loss) == pytest.approx(0, abs=1e-6)


def test_other_places_of_the_same_units_make_a_barrier(examples):
    """Exchange the hidden units: the same function, elsewhere; the line between leaves it."""
    a, x = drawn(3, norm=False), examples[0]
    b, turned = copy.deepcopy(a), torch.arange(7, -1, -1)
    b[0].weight.data, b[0].bias.data = a[0].weight[turned].detach(), a[0].bias[turned].detach()
    b[4].weight.data = a[4].weight[:, turned].detach()
    assert torch.allclose(a(x), b(x), atol=1e-5)
    found = path(a, b, x, a(x).argmax(1))
    assert found.error[0] == found.error[-1] == 0 and barrier(found.loss) > 0.01


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this computer has no CUDA device")
def test_a_path_on_a_gpu_is_the_path_on_the_cpu(examples):
    a, b, (x, y) = drawn(1), drawn(2), examples
    there = path(a.cuda(), b.cuda(), x.cuda(), y.cuda(), statistics=x.cuda())
    assert np.allclose(there.loss, path(a.cpu(), b.cpu(), x, y, statistics=x).loss, rtol=1e-4)


# The barrier


def test_the_barrier_by_hand():
    alphas = np.array([0, 0.1, 0.5, 1])
    values = np.array([[1.0, 1.0, 1.0, 1.0], [2, 5, 3, 4], [4, 3, 2, 1], [0, 0.1, 0.5, 1], [0, 1, 1.25, 1]])
    assert barrier(values, alphas).tolist() == pytest.approx([0, 2.8, 0, 0, 0.9])


@pytest.mark.parametrize("seed", range(5))
def test_a_barrier_does_not_see_a_straight_line_and_turns_with_the_curve(seed):
    rng = np.random.default_rng(seed)
    values, slope = rng.random((3, 4, 21)), rng.normal(size=(3, 4, 1))
    assert (barrier(values) >= 0).all() and barrier(values).shape == (3, 4)
    assert np.allclose(barrier(values + slope * ALPHAS + 5), barrier(values))
    assert np.allclose(barrier(values[..., ::-1]), barrier(values))
    slow = max(v - (1 - a) * values[0, 0, 0] - a * values[0, 0, -1] for v, a in zip(values[0, 0], ALPHAS))
    assert barrier(values)[0, 0] == pytest.approx(slow)


@pytest.mark.parametrize(
    "alphas", [np.linspace(0, 1, 4), np.linspace(0, 0.9, 5), np.linspace(0.1, 1, 5), np.zeros((5, 1))]
)
def test_alphas_that_do_not_fit_are_refused(alphas):
    with pytest.raises(ValueError, match="the first 0 and the last 1"):
        barrier(np.zeros((2, 5)), alphas)


# Many networks side by side


@pytest.fixture(scope="module")
def digits():
    return data.load("mnist-5k-14")


def stacked(digits, seeds):
    networks = [
        models.build("mlp-12", digits.input_shape, digits.classes, generator(seed, "init")) for seed in seeds
    ]
    weights = {
        name: torch.stack([network.get_parameter(name).detach() for network in networks])
        for name, _ in networks[0].named_parameters()
    }
    draw = torch.Generator().manual_seed(1)
    masks = {
        name: torch.rand(value.shape, generator=draw) < 0.5
        for name, value in weights.items()
        if value.ndim == 3
    }
    return networks, weights, masks


@pytest.mark.parametrize("threads", [1, 2])
def test_training_side_by_side_is_training_one_by_one(threads, digits, untouched):
    networks, weights, masks = stacked(digits, range(3))
    order = torch.stack([batch_order(seed, 1, len(digits.y_train), 20, 12) for seed in range(3)])
    found = train("mlp-12", digits, weights, masks, order, [0, 5], threads, optimizer="sgd", lr=0.1)
    assert len(found) == 3
    x, y = torch.tensor(digits.x_train), torch.tensor(digits.y_train)
    for k, network in enumerate(networks):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)

        def hold(network=network, k=k):
            with torch.no_grad():
                for name, mask in masks.items():
                    network.get_parameter(name).mul_(mask[k])

        def equal(stage, network=network, k=k):
            for name, value in network.named_parameters():
                assert torch.allclose(found[stage][name][k], value, atol=1e-5), (stage, name)

        hold()
        for step in range(12):
            if step in (0, 5):
                equal((0, 5).index(step))
            optimizer.zero_grad()
            F.cross_entropy(network(x[order[k, step]]), y[order[k, step]]).backward()
            optimizer.step()
            hold()
        equal(2)


def test_many_lines_are_what_the_path_finds_for_each(digits, untouched):
    first, a, _ = stacked(digits, range(3))
    second, b, _ = stacked(digits, range(10, 13))
    before = {name: value.clone() for name, value in a.items()}
    loss, error = along("mlp-12", digits, a, b, [0, 0.3, 1])
    x, y = torch.tensor(digits.x_test), torch.tensor(digits.y_test)
    for k in range(3):
        one = path(first[k], second[k], x, y, [0, 0.3, 1])
        assert np.allclose(loss[k], one.loss, rtol=1e-4) and np.allclose(error[k], one.error, atol=1e-6)
    assert all(torch.equal(before[name], a[name]) for name in a)
