"""Scores and pruning at initialisation, against finite differences, explicit Hessians and the papers' own laws."""

import copy
import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils import prune as torch_prune

import lthviz
from lthviz import Mask, criteria, prune, prune_at_init
from lthviz.at_init import CRITERIA
from lthviz.tickets import snapshot

DERIVED = ("snip", "grasp", "synflow")


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def ready(model, seed=0):
    """The model with parameters and running statistics drawn from a generator of its own."""
    source = draw(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 1 / math.sqrt(parameter[0].numel()) if parameter.ndim > 1 else 0.3
            parameter.normal_(0, scale, generator=source)
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point():
                buffer.normal_(0.2, 0.3, generator=source)
                if name.endswith("var"):
                    buffer.abs_().add_(0.5)
    return model


class Residual(nn.Module):
    """Convolutions, normalisation, dropout, a residual connection."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.block = nn.Conv2d(3, 3, 3, padding=1)
        self.inner = nn.GroupNorm(1, 3)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(3, 4)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = x + torch.relu(self.inner(self.block(x)))
        return self.head(self.drop(x.mean((2, 3))))


def mlp(widths=(5, 6, 4, 3), bias=True, activation=nn.Tanh):
    layers = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b, bias=bias), activation()]
    return nn.Sequential(*layers[:-1])


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


NETS = {"mlp": (mlp, (5,)), "cnn": (cnn, (1, 6, 6)), "residual": (Residual, (1, 5, 5))}


def case(name, seed=0, dtype=torch.float64):
    """A network, and a batch for it."""
    build, shape = NETS[name]
    source = draw(seed + 100)
    x = torch.randn(8, *shape, generator=source, dtype=dtype)
    return ready(build(), seed).to(dtype), (x, torch.randint(0, 3, (8,), generator=source))


def score(method, model, batch, loss_fn=F.cross_entropy):
    options = {"generator": draw()} if method == "random" else {}
    return getattr(criteria, method)(model, loss_fn, batch, **options)


def flat(scores):
    return torch.cat([values.flatten() for values in scores.values()])


# SNIP


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NETS)
def test_snip_is_the_derivative_by_a_factor_on_each_weight(name, training):
    model, (x, y) = case(name)
    model.train(training)
    scores = criteria.snip(model, F.cross_entropy, (x, y))
    rng = torch.get_rng_state()
    for parameter, found in scores.items():
        for place in range(0, found.numel(), 3):
            losses = []
            for factor in (1 + 1e-5, 1 - 1e-5):
                copied = copy.deepcopy(model)
                with torch.no_grad():
                    copied.get_parameter(parameter).view(-1)[place] *= factor
                torch.set_rng_state(rng)  # the same dropout
                losses.append(F.cross_entropy(copied(x), y).item())
            torch.set_rng_state(rng)
            slope = abs(losses[0] - losses[1]) / 2e-5
            assert found.view(-1)[place].item() == pytest.approx(slope, rel=1e-4, abs=1e-8)
    assert all(values.dtype == torch.float64 for values in scores.values())


def test_a_frozen_weight_has_its_score_too_and_an_unused_one_has_zero():
    model, batch = case("mlp")
    expected = criteria.snip(model, F.cross_entropy, batch)
    model[0].weight.requires_grad_(False)
    model.add_module("spare", nn.Identity())
    model.spare.layer = nn.Linear(2, 2).double()  # no signal ever gets there
    with torch.no_grad():
        found = criteria.snip(model, F.cross_entropy, batch)
    assert torch.equal(found["0.weight"], expected["0.weight"])
    for method in DERIVED:
        assert not score(method, model, batch)["spare.layer.weight"].any()


# GraSP


class Point(nn.Module):
    """A layer that gives its own weights, so that any function of them can be the loss."""

    def __init__(self, values):
        super().__init__()
        self.layer = nn.Linear(len(values), 1, bias=False).double()
        self.layer.weight.data.copy_(values)

    def forward(self, x):
        return self.layer.weight + 0 * x.sum()


def test_grasp_on_a_quadratic_whose_hessian_is_known():
    source = draw(1)
    root = torch.randn(6, 6, generator=source, dtype=torch.float64)
    hessian, line = root @ root.T, torch.randn(6, generator=source, dtype=torch.float64)
    theta = torch.randn(6, generator=source, dtype=torch.float64)

    def loss_fn(weights, y):
        return (weights @ hessian @ weights.T).sum() / 2 + (weights @ line).sum()

    found = criteria.grasp(Point(theta), loss_fn, (torch.ones(1), torch.ones(1)))["layer.weight"][0]
    torch.testing.assert_close(found, theta * (hessian @ (hessian @ theta + line)))


def hessian_and_gradient(model, batch, temperature=1.0):
    """Both by the prunable weights, as one flat vector; and that vector."""
    weights = criteria.prunable(model)
    theta = torch.cat([weight.detach().flatten() for weight in weights.values()])

    def loss(vector):
        parts = vector.split([weight.numel() for weight in weights.values()])
        state = {name: part.view_as(w) for (name, w), part in zip(weights.items(), parts)}
        return F.cross_entropy(torch.func.functional_call(model, state, batch[0]) / temperature, batch[1])

    return (
        torch.autograd.functional.hessian(loss, theta),
        torch.autograd.functional.jacobian(loss, theta),
        theta,
    )


@pytest.mark.parametrize("temperature", [1.0, 200.0])
def test_grasp_against_the_explicit_hessian(temperature):
    model, batch = case("mlp", seed=2)
    hessian, gradient, theta = hessian_and_gradient(model, batch, temperature)
    found = criteria.grasp(model, F.cross_entropy, batch, temperature=temperature)
    torch.testing.assert_close(flat(found), theta * (hessian @ gradient), rtol=1e-8, atol=1e-16)
    assert (flat(found) < 0).any() and (flat(found) > 0).any()


def test_removing_what_grasp_scores_lowest_raises_the_gradient_flow():
    model, batch = case("mlp", seed=3)
    scores = flat(criteria.grasp(model, F.cross_entropy, batch))
    sizes = [weight.numel() for weight in criteria.prunable(model).values()]
    step = 1e-4

    def flow(place, share):
        """g·g when a share of one weight is taken away."""
        changed = copy.deepcopy(model)
        with torch.no_grad():
            index = place
            for weight, size in zip(criteria.prunable(changed).values(), sizes):
                if 0 <= index < size:
                    weight.view(-1)[index] *= 1 - share
                index -= size
        loss = F.cross_entropy(changed(batch[0]), batch[1])
        gradients = torch.autograd.grad(loss, list(criteria.prunable(changed).values()))
        return sum((g * g).sum() for g in gradients).item()

    for place in (scores.argmin().item(), scores.argmax().item()):
        rise = (flow(place, step) - flow(place, -step)) / (2 * step)
        assert rise == pytest.approx(-2 * scores[place].item(), rel=1e-5)
    assert flow(scores.argmin().item(), step) > flow(0, 0.0) > flow(scores.argmax().item(), step)


def test_grasp_after_a_mask_counts_the_flow_of_what_is_left():
    model, batch = case("mlp", seed=4)
    mask = prune(criteria.random(model, generator=draw()), density=0.5, scope="global")
    masked = copy.deepcopy(model)
    lthviz.apply_mask(masked, mask)
    hessian, gradient, theta = hessian_and_gradient(masked, batch)
    left = torch.cat([torch.tensor(mask[name]).flatten() for name in mask])
    expected = theta * (hessian[:, left] @ gradient[left])
    torch.testing.assert_close(flat(criteria.grasp(masked, F.cross_entropy, batch, mask=mask)), expected)
    kept = prune_at_init(model, F.cross_entropy, batch, "grasp", 0.2, mask=mask)
    places = torch.cat([torch.tensor(kept[name]).flatten() for name in kept])
    worst = expected[places].min()
    assert kept.issubset(mask) and (expected[left & ~places] <= worst).all()


# SynFlow


def bias_free(kind):
    if kind == "mlp":
        return ready(mlp((7, 9, 4, 5), bias=False, activation=nn.ReLU)), torch.randn(3, 7, generator=draw())
    layers = (
        nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(3, 4, 3, bias=False),
        nn.ReLU(), nn.Flatten(), nn.Linear(4, 3, bias=False),
    )  # fmt: skip
    return ready(nn.Sequential(*layers)), torch.randn(3, 1, 6, 6, generator=draw())


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_synflow_is_conserved_through_every_unit_and_layer(kind):
    model, x = bias_free(kind)
    scores = list(criteria.synflow(model, None, (x, torch.zeros(3))).values())
    absolute = copy.deepcopy(model).double()
    with torch.no_grad():
        for parameter in absolute.parameters():
            parameter.abs_()
        flow = absolute(torch.ones_like(x[:1], dtype=torch.float64)).sum()
    for values in scores:
        assert values.dtype == torch.float64 and (values >= 0).all()
        torch.testing.assert_close(values.sum(), flow, rtol=1e-12, atol=0)
    for below, above in pairwise(scores):
        into, out = below.flatten(1).sum(1), above.transpose(0, 1).flatten(1).sum(1)
        torch.testing.assert_close(into, out, rtol=1e-12, atol=0)


def test_synflow_makes_biases_and_buffers_absolute_and_uses_running_statistics():
    model, batch = case("cnn", seed=5)
    model.train()
    found = criteria.synflow(model, None, batch)
    absolute = copy.deepcopy(model).eval()
    with torch.no_grad():
        for values in absolute.state_dict().values():
            values.abs_()
    for name, values in found.items():
        weight = absolute.get_parameter(name)
        for place in range(0, values.numel(), 3):
            flows = []
            for factor in (1.001, 0.999):
                with torch.no_grad():
                    kept = weight.view(-1)[place].item()
                    weight.view(-1)[place] *= factor
                    flows.append(absolute(torch.ones_like(batch[0][:1])).sum().item())
                    weight.view(-1)[place] = kept
            slope = abs(flows[0] - flows[1]) / 0.002
            assert values.view(-1)[place].item() == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_synflow_sees_nothing_of_the_data_and_survives_what_float32_cannot_hold():
    deep = ready(mlp((20,) * 31, bias=False, activation=nn.ReLU))
    with torch.no_grad():
        for parameter in deep.parameters():
            parameter.mul_(1e-2)  # R is about 1e-40
    x = torch.randn(4, 20, generator=draw())
    one = criteria.synflow(deep, None, (x, torch.zeros(4)))
    two = criteria.synflow(deep, None, (torch.zeros(9, 20), torch.ones(9)))
    assert all(torch.equal(one[name], two[name]) and (one[name] > 0).all() for name in one)


UNEQUAL = (40, 300, 5, 10)  # 12,000, 1,500 and 50 weights


def test_a_hundred_iterations_of_synflow_avoid_the_collapse_of_one():
    model = ready(mlp(UNEQUAL, bias=False, activation=nn.ReLU))
    batch = (torch.zeros(1, 40), torch.zeros(1))
    with pytest.warns(UserWarning, match=r"layer collapse: synflow at density 0\.01 .* in 0\.weight\.$"):
        once = prune_at_init(model, None, batch, "synflow", 0.01, iterations=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        often = prune_at_init(model, None, batch, "synflow", 0.01)
    assert once.collapsed == ["0.weight"] and often.collapsed == []
    assert once.kept == often.kept == math.floor(0.01 * 13_550 + 0.5)
    masked = copy.deepcopy(model)
    lthviz.apply_mask(masked, often)
    assert all(values.sum() > 0 for values in criteria.synflow(masked, None, batch).values())


# All of them


def frozen(model):
    """Everything a criterion might have changed."""
    gradients = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    flags = [module.training for module in model.modules()]
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    numpy_state = np.random.get_state()
    return snapshot(model), gradients, flags, wanted, torch.get_rng_state(), numpy_state


def assert_untouched(model, before):
    state, gradients, flags, wanted, rng, numpy_state = before
    now = frozen(model)
    assert all(torch.equal(now[0][name], values) for name, values in state.items())
    for name, gradient in gradients.items():
        assert (gradient is None) == (now[1][name] is None)
        assert gradient is None or torch.equal(gradient, now[1][name])
    assert (flags, wanted) == now[2:4] and torch.equal(rng, now[4])
    assert all(np.array_equal(a, b) for a, b in zip(numpy_state, now[5]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", CRITERIA)
def test_no_criterion_leaves_a_trace(method, dtype):
    model, batch = case("residual", dtype=dtype)
    model.train()
    model.norm.eval()  # flags that differ from module to module
    model.stem.weight.grad = torch.ones_like(model.stem.weight)
    model.head.bias.requires_grad_(False)
    before, x = frozen(model), batch[0].clone()
    scores = score(method, model, batch)
    assert_untouched(model, before)
    assert torch.equal(batch[0], x)
    assert {name: values.shape for name, values in scores.items()} == {
        name: weight.shape for name, weight in criteria.prunable(model).items()
    }
    for values in scores.values():
        assert not values.requires_grad
        values += 1
    prune_at_init(model, F.cross_entropy, batch, method, 0.5, generator=draw(), iterations=2)
    assert_untouched(model, before)
    model.norm.train()
    before = frozen(model)
    score(method, model, batch)
    assert_untouched(model, before)


@pytest.mark.parametrize("method", ["snip", "grasp"])
def test_nor_when_the_loss_raises(method):
    model, batch = case("residual")
    before = frozen(model.train())

    def broken(output, y):
        torch.rand(3)
        raise RuntimeError("no loss today")

    with pytest.raises(RuntimeError, match="no loss today"):
        score(method, model, batch, broken)
    assert_untouched(model, before)


def test_nor_when_the_model_raises_in_synflow():
    model, (_, y) = case("residual")
    model.train()
    model.norm.eval()
    before = frozen(model)
    with pytest.raises(RuntimeError):
        criteria.synflow(model, None, (torch.zeros(8, 2, 5, 5), y))
    assert_untouched(model, before)


def test_a_shared_weight_is_scored_once_with_all_its_uses():
    source = draw(6)
    x, y = torch.randn(8, 4, generator=source), torch.randint(0, 4, (8,), generator=source)
    twice = ready(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)))
    twice[2].weight = twice[0].weight
    weight = twice[0].weight
    assert list(criteria.prunable(twice)) == ["0.weight"]
    gradient = torch.autograd.grad(F.cross_entropy(twice(x), y), weight)[0]
    found = criteria.snip(twice, F.cross_entropy, (x, y))
    torch.testing.assert_close(found["0.weight"], (gradient * weight).abs().detach())
    mask = prune_at_init(twice, F.cross_entropy, (x, y), "synflow", 0.5)
    lthviz.apply_mask(twice, mask)
    assert mask.size == 16 and int((twice[2].weight != 0).sum()) == 8


def test_an_embedding_that_a_linear_layer_shares_is_left_alone():
    class Language(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 7, bias=False)
            self.embed = nn.Embedding(7, 3)
            self.embed.weight = self.head.weight
            self.mix = nn.Linear(3, 3)

        def forward(self, tokens):
            return self.head(torch.tanh(self.mix(self.embed(tokens)))).transpose(1, 2)

    model, tokens = ready(Language()), torch.arange(6).view(2, 3)
    for method in CRITERIA:
        assert list(score(method, model, (tokens, tokens))) == ["mix.weight"]


def test_arrays_are_as_good_as_tensors():
    model, (x, y) = case("mlp")
    for method in DERIVED:
        tensors, arrays = score(method, model, (x, y)), score(method, model, (x.numpy(), y.numpy()))
        assert torch.equal(flat(tensors), flat(arrays))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", DERIVED)
def test_a_batch_of_other_number_types_is_cast_to_the_model_s(method, dtype):
    model, (x, y) = case("mlp", dtype=dtype)
    x = x.to(torch.bfloat16)  # what every floating type holds exactly
    expected = score(method, model, (x.to(dtype), y))
    for values in (x, x.float().numpy(), x.double().numpy()):
        for labels in (y, y.to(torch.int32), y.numpy().astype(np.int32), y.to(torch.uint8)):
            assert torch.equal(flat(score(method, model, (values, labels))), flat(expected))
    mask = prune_at_init(model, F.cross_entropy, (x.double().numpy(), y.int()), method, 0.5)
    assert mask == prune_at_init(model, F.cross_entropy, (x.to(dtype), y), method, 0.5)


def test_targets_that_are_no_labels_are_cast_too():
    model, (x, _) = case("mlp", dtype=torch.float32)
    targets = np.linspace(-1, 1, 24).reshape(8, 3)
    expected = criteria.snip(model, F.mse_loss, (x, torch.tensor(targets, dtype=torch.float32)))
    assert torch.equal(flat(criteria.snip(model, F.mse_loss, (x, targets))), flat(expected))


@pytest.mark.parametrize("method", CRITERIA)
def test_a_bfloat16_model_is_pruned_like_any_other(method):
    model, batch = case("mlp", dtype=torch.bfloat16)
    mask = prune_at_init(model, F.cross_entropy, batch, method, 0.5, generator=draw())
    assert mask.kept == 33
    wide = {name: values.float() for name, values in score(method, model, batch).items()}
    if method != "synflow":  # which takes a hundred steps
        assert mask == prune(wide, density=0.5, scope="global")


def test_a_mapping_is_taken_for_the_mask_it_makes():
    model, batch = case("mlp")
    mask = prune(criteria.random(model, generator=draw()), density=0.5, scope="global")
    mapping = {name: torch.tensor(kept) for name, kept in mask.items()}
    for method in ("snip", "grasp"):
        found = prune_at_init(model, F.cross_entropy, batch, method, 0.2, mask=mapping)
        assert found == prune_at_init(model, F.cross_entropy, batch, method, 0.2, mask=mask)
    one, other = (criteria.grasp(model, F.cross_entropy, batch, mask=given) for given in (dict(mask), mask))
    assert torch.equal(flat(one), flat(other))


@pytest.mark.filterwarnings("error")
def test_the_arrays_of_a_data_set_are_taken_as_they_are():
    digits = lthviz.data.load("mnist-5k-14")
    assert not digits.x_train.flags.writeable
    model = ready(nn.Sequential(nn.Flatten(), nn.Linear(196, 20), nn.ReLU(), nn.Linear(20, 10)))
    batch = digits.x_train[:50], digits.y_train[:50]
    for method in DERIVED:
        assert prune_at_init(model, F.cross_entropy, batch, method).kept == 412


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this computer")
@pytest.mark.parametrize("method", CRITERIA)
def test_on_cuda_the_scores_are_those_of_the_cpu(method):
    model, batch = case("cnn")
    here = score(method, model, batch)
    rng = torch.cuda.get_rng_state()
    there = score(method, copy.deepcopy(model).cuda(), batch)
    torch.testing.assert_close(flat(there).cpu(), flat(here))
    assert torch.equal(torch.cuda.get_rng_state(), rng)
    prune_at_init(copy.deepcopy(model).cuda(), F.cross_entropy, batch, method, 0.5, generator=draw())


# prune_at_init, against a slow second implementation for bias-free ReLU MLPs, straight from the papers


def slow_top(scores, alive, keep):
    """Of the living (layer, place) those with the highest scores, one by one."""
    ranked = sorted(alive, key=lambda where: scores[where[0]][where[1]], reverse=True)
    return set(ranked[:keep])


def slow_snip(weights, x, y):
    """Algorithm 1 of Lee et al.: auxiliary c, derivative at one by central differences, normalised by the sum."""

    def loss(layer, place, c):
        h = x
        for i, weight in enumerate(weights):
            factor = np.ones(weight.shape)
            if i == layer:
                factor[place] = c
            h = h @ (factor * weight).T
            h = np.maximum(h, 0) if i < len(weights) - 1 else h
        h = h - h.max(1, keepdims=True)
        return np.mean(np.log(np.exp(h).sum(1)) - h[np.arange(len(y)), y])

    scores = [
        {
            place: abs(loss(i, place, 1 + 1e-5) - loss(i, place, 1 - 1e-5)) / 2e-5
            for place in np.ndindex(weight.shape)
        }
        for i, weight in enumerate(weights)
    ]
    total = sum(sum(part.values()) for part in scores)
    return [{place: value / total for place, value in part.items()} for part in scores]


def slow_synflow(weights):
    """|W_ij| times all paths from ones to its input and from its output to the sum."""
    scores = []
    for i, weight in enumerate(weights):
        before, after = np.ones(weights[0].shape[1]), np.ones(weights[-1].shape[0])
        for below in weights[:i]:
            before = np.abs(below) @ before
        for above in reversed(weights[i + 1 :]):
            after = np.abs(above).T @ after
        scores.append({p: abs(weight[p]) * after[p[0]] * before[p[1]] for p in np.ndindex(weight.shape)})
    return scores


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("method", DERIVED)
def test_a_slow_second_implementation_chooses_the_same_mask(method, seed):
    model = ready(mlp((5, 8, 7, 4), bias=False, activation=nn.ReLU), seed).double()
    source = draw(seed + 50)
    x = torch.randn(12, 5, generator=source, dtype=torch.float64)
    y = torch.randint(0, 4, (12,), generator=source)
    weights = [weight.detach().numpy().copy() for weight in criteria.prunable(model).values()]
    alive = {(i, place) for i, weight in enumerate(weights) for place in np.ndindex(weight.shape)}
    size, density, rounds = len(alive), 0.5, 20 if method == "synflow" else 1
    for k in range(1, rounds + 1):
        if method == "snip":
            scores = slow_snip(weights, x.numpy(), y.numpy())
        elif method == "synflow":
            scores = slow_synflow(weights)
        else:
            hessian, gradient, theta = hessian_and_gradient(model, (x, y))
            values, scores = iter((theta * (hessian @ gradient)).tolist()), []
            for weight in weights:
                scores.append({place: next(values) for place in np.ndindex(weight.shape)})
        alive = slow_top(scores, alive, math.floor(size * density ** (k / rounds) + 0.5))
        for i, weight in enumerate(weights):
            for place in np.ndindex(weight.shape):
                weight[place] *= (i, place) in alive
    iterations = {"iterations": rounds} if method == "synflow" else {}
    mask = prune_at_init(model, F.cross_entropy, (x, y), method, density, **iterations)
    assert {(i, tuple(p)) for i, name in enumerate(mask) for p in np.argwhere(mask[name]).tolist()} == alive


def test_the_normalisation_of_snip_changes_no_ranking():
    model, batch = case("cnn")
    scores = criteria.snip(model, F.cross_entropy, batch)
    total = flat(scores).sum()
    normalised = {name: values / total for name, values in scores.items()}
    mask = prune(normalised, density=0.2, scope="global")
    assert prune_at_init(model, F.cross_entropy, batch, density=0.2) == mask


@pytest.mark.filterwarnings("ignore:layer collapse")
@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("method", CRITERIA)
def test_a_ladder_is_one_nested_chain_with_exact_counts(method, invert):
    model, batch = case("cnn", seed=7)
    mask, source = None, draw()
    for density in (1.0, 0.8, 0.55, 0.3, 0.3, 0.1, 0.02, 0.0):
        below = prune_at_init(
            model, F.cross_entropy, batch, method, density, mask=mask, invert=invert, generator=source, iterations=3
        )  # fmt: skip
        assert below.kept == math.floor(density * below.size + 0.5)
        assert mask is None or below.issubset(mask)
        mask = below


def test_the_schedule_goes_from_the_density_of_the_mask():
    model = ready(mlp(UNEQUAL, bias=False, activation=nn.ReLU))
    batch = (torch.zeros(1, 40), torch.zeros(1))
    half = prune_at_init(model, None, batch, "synflow", 0.25, iterations=4)
    whole = prune_at_init(model, None, batch, "synflow", 0.0625, iterations=8)
    assert prune_at_init(model, None, batch, "synflow", 0.0625, iterations=4, mask=half) == whole
    assert prune_at_init(model, None, batch, "synflow", 0.5, mask=half) == half
    assert prune_at_init(model, None, batch, "synflow", 0.0625) == prune_at_init(
        model, None, batch, "synflow", 0.0625, iterations=100
    )
    assert prune_at_init(model, None, batch, "synflow", 0.0625, iterations=1) != whole


@pytest.mark.filterwarnings("ignore:layer collapse")
@pytest.mark.parametrize("method", CRITERIA)
def test_inverted_the_other_end_of_the_ranking_is_kept(method):
    model, batch = case("mlp", seed=8)
    settings = {"method": method, "iterations": 1}
    best = prune_at_init(model, F.cross_entropy, batch, density=1 / 3, generator=draw(), **settings)
    rest = prune_at_init(
        model, F.cross_entropy, batch, density=2 / 3, generator=draw(), invert=True, **settings
    )
    assert all((best[name] ^ rest[name]).all() for name in best)


def test_random_depends_on_its_generator_alone():
    model, _ = case("mlp")
    one, same, other = (
        prune_at_init(model, None, None, "random", 0.5, generator=draw(seed)) for seed in (0, 0, 1)
    )
    assert one == same != other


# What is not allowed


@pytest.mark.parametrize("method", DERIVED)
def test_scores_that_are_not_finite_are_refused_by_name(method):
    model, batch = case("mlp")
    with torch.no_grad():
        model[2].weight[0, 0] = math.nan
    with pytest.raises(ValueError, match=rf"the {method} scores of '0.weight' are not all finite"):
        score(method, model, batch)
    with pytest.raises(ValueError, match="the magnitude scores of '2.weight' are not all finite"):
        prune_at_init(model, F.cross_entropy, batch, "magnitude")


@pytest.mark.parametrize("method", ["snip", "grasp"])
def test_a_loss_that_is_no_number_or_no_scalar_is_refused(method):
    model, batch = case("mlp")
    with pytest.raises(ValueError, match="scores of '0.weight' are not all finite"):
        score(method, model, batch, lambda output, y: output.sum() * math.nan)
    with pytest.raises(ValueError, match=r"loss_fn gave a tensor of shape \(8,\): it must give a scalar"):
        score(method, model, batch, lambda output, y: F.cross_entropy(output, y, reduction="none"))
    with pytest.raises(ValueError, match="a scalar that depends on the weights"):
        score(method, model, batch, lambda output, y: (output.argmax(1) == y).double().mean())


@pytest.mark.parametrize("method", DERIVED)
def test_a_batch_that_is_no_pair_of_equal_lengths_is_refused(method):
    model, (x, y) = case("mlp")
    for batch, said in (
        (x, r"a pair \(x, y\) of tensors or arrays, got Tensor"),
        ((x, y, y), "a pair"),
        ((x, y[:5]), r"x of shape \(8, 5\) and y of shape \(5,\)"),
        ((x[:0], y[:0]), "at least one"),
    ):
        with pytest.raises(ValueError, match=said):
            score(method, model, batch)


def test_settings_that_are_not_allowed_are_refused_before_any_work():
    model, batch = case("mlp")

    def unused(output, y):
        raise AssertionError("this must not be reached")

    for settings, said in (
        ({"method": "snap"}, "method='snap' is not known. Did you mean 'snip'"),
        ({"method": "prunable"}, "method='prunable' is not known"),
        ({"density": 1.5}, r"density=1\.5: density must be a number in \[0, 1\]"),
        ({"density": math.nan}, "density=nan"),
        ({"iterations": 0}, "iterations=0: iterations must be a whole number of at least 1"),
        ({"method": "random"}, "generator=None: method='random' needs a torch.Generator"),
        ({"mask": Mask({"0.weight": np.ones((6, 5))})}, r"the mask is for \['0.weight'\], but got"),
    ):
        with pytest.raises(ValueError, match=said):
            prune_at_init(model, unused, batch, **settings)
    with pytest.raises(ValueError, match="temperature=0: temperature must be"):
        criteria.grasp(model, unused, batch, temperature=0)
    with pytest.raises(ValueError, match="no linear or convolution layer"):
        prune_at_init(nn.Sequential(nn.Flatten()), unused, batch)


@pytest.mark.parametrize(
    "compute", [parametrizations.weight_norm, parametrizations.spectral_norm,
                lambda layer: torch_prune.l1_unstructured(layer, "weight", 0.5)]
)  # fmt: skip
def test_a_weight_that_is_computed_from_others_is_refused_by_name(compute):
    model = nn.Sequential(nn.Linear(4, 3), compute(nn.Linear(3, 2)))
    with pytest.raises(ValueError, match=r"'1\.weight' is no parameter but computed from others"):
        criteria.magnitude(model)
    with pytest.raises(ValueError, match=r"'1\.weight' is no parameter"):
        prune_at_init(model, F.cross_entropy, (torch.zeros(2, 4), torch.zeros(2, dtype=int)))


@pytest.mark.parametrize("method", DERIVED)
def test_a_model_without_parameters_is_refused(method):
    with pytest.raises(ValueError, match="no linear or convolution layer"):
        score(method, nn.Flatten(), (torch.zeros(2, 4), torch.zeros(2)))


def test_random_scores_need_a_generator_and_never_draw_from_torch_s_own():
    model, _ = case("mlp")
    before = torch.get_rng_state()
    for given in (None, 0):
        with pytest.raises(ValueError, match=f"generator={given}: generator must be a torch.Generator"):
            criteria.random(model, generator=given)
    assert torch.equal(torch.get_rng_state(), before)
