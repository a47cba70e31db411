"""find_ticket on modules of one's own, against the protocol and against the population trainer."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils import prune as torch_prune

import lthviz
from lthviz import criteria, data, models
from lthviz.tickets import snapshot
from lthviz.train import generator


class Residual(nn.Module):
    """A user's model: convolution, batch norm, dropout, a residual connection."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.block = nn.Conv2d(4, 4, 3, padding=1)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(4, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x[:, None])))
        x = x + torch.relu(self.block(x))
        return self.head(self.drop(x.mean((2, 3))))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def found():
    model = Residual()
    before, rng = snapshot(model), torch.get_rng_state()
    optimisers = []

    def optimizer(parameters):
        optimisers.append(torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-3))
        assert not optimisers[-1].state
        return optimisers[-1]

    ticket = lthviz.find_ticket(
        model, "mnist-5k-14", rate=0.3, rounds=3, steps=30, optimizer=optimizer, progress=False
    )
    return model, before, rng, optimisers, ticket


def test_the_users_model_and_random_state_are_untouched(found):
    model, before, rng, _, ticket = found
    assert same(snapshot(model), before)
    assert torch.equal(torch.get_rng_state(), rng)
    assert same(ticket.theta_0, before)


def test_the_ticket_is_mask_times_theta_0_buffers_included(found):
    _, before, _, _, ticket = found
    state = ticket.model.state_dict()
    assert any(name.endswith("running_mean") for name in state)
    for name, value in before.items():
        kept = (
            torch.tensor(ticket.mask[name])
            if name in ticket.mask
            else torch.ones_like(value, dtype=torch.bool)
        )
        assert torch.equal(state[name], torch.where(kept, value, torch.zeros_like(value)))


def test_counts_follow_the_ladder_and_every_round_has_a_fresh_optimiser(found):
    *_, optimisers, ticket = found
    assert set(ticket.mask) == {"stem.weight", "block.weight", "head.weight"}
    for name, size, share in (
        ("stem.weight", 36, 0.3),
        ("block.weight", 144, 0.3),
        ("head.weight", 40, 0.15),
    ):
        for _ in range(3):
            size -= int(np.floor(share * size + 0.5))
        assert ticket.mask[name].sum() == size
    assert len({id(optimiser) for optimiser in optimisers}) == 4
    assert ticket.density[0] == 1.0 and len(ticket.accuracy) == 4
    assert ticket.density[-1] == pytest.approx(ticket.mask.density)


def test_agrees_with_the_population_trainer():
    experiment = lthviz.Experiment(rounds=2, steps=60, seeds=(3,), model="mlp-30-20")
    result = lthviz.run(experiment, store=False, progress=False)
    model = models.build("mlp-30-20", (14, 14), 10, generator(3, "init"))
    ticket = lthviz.find_ticket(model, "mnist-5k-14", rounds=2, steps=60, seed=3, progress=False)
    expected = result.mask(2, 3)
    for name in expected:
        assert (ticket.mask[name] == expected[name]).mean() > 0.995
    assert ticket.density == pytest.approx(result.density)
    assert ticket.accuracy == pytest.approx(result.accuracy("rewind")[:, 0], abs=0.01)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_one_round_is_the_plain_loop_and_torch_s_own_pruning(scope):
    """With two losses, which lead to two tickets."""
    digits = data.load("mnist-5k-14")
    x, y = torch.tensor(digits.x_train), torch.tensor(digits.y_train)
    found = []
    for loss_fn in (F.cross_entropy, F.multi_margin_loss):
        network = models.build("mlp-20", (14, 14), 10, generator(0, "init"))
        ticket = lthviz.find_ticket(
            network,
            digits,
            rate=0.5,
            rounds=1,
            steps=40,
            loss_fn=loss_fn,
            scope=scope,
            seed=4,
            progress=False,
        )
        optimiser = torch.optim.Adam(network.parameters(), lr=0.002)
        for batch in lthviz.train.batch_order(4, 0, 3500, 60, 40):
            optimiser.zero_grad()
            loss_fn(network(x[batch]), y[batch]).backward()
            optimiser.step()
        if scope == "global":
            layers = [(network.fc1, "weight"), (network.fc2, "weight")]
            torch_prune.global_unstructured(layers, torch_prune.L1Unstructured, amount=0.5)
        else:
            torch_prune.l1_unstructured(network.fc1, "weight", 0.5)
            torch_prune.l1_unstructured(network.fc2, "weight", 0.25)
        for layer in ("fc1", "fc2"):
            expected = network.get_submodule(layer).weight_mask.numpy().astype(bool)
            assert (ticket.mask[f"{layer}.weight"] == expected).mean() > 0.995
        found.append(ticket.mask)
    assert (found[0]["fc1.weight"] != found[1]["fc1.weight"]).mean() > 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_late_rewinding_goes_back_to_step_k(dtype):
    """Also in a float64 model, which gets its examples in float64."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(196, 10)).to(dtype)
    settings = dict(rounds=1, steps=20, seed=1, progress=False)
    late = lthviz.find_ticket(model, "mnist-5k-14", rewind_step=8, **settings)
    short = copy.deepcopy(model)
    lthviz_order = lthviz.train.batch_order(1, 0, 3500, 60, 20)
    digits = data.load("mnist-5k-14")
    optimiser = torch.optim.Adam(short.parameters(), lr=0.002)
    for batch in lthviz_order[:8]:
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(
            short(torch.tensor(digits.x_train, dtype=dtype)[batch]), torch.tensor(digits.y_train)[batch]
        )
        loss.backward()
        optimiser.step()
    for name, value in short.state_dict().items():
        torch.testing.assert_close(late.theta_0[name], value)
    assert len(late.accuracy) == 2


def test_every_module_is_trained_in_the_mode_it_came_in_and_comes_back_in_it():
    settings = dict(rounds=1, rate=0.5, steps=6, rewind_step=3, progress=False)
    frozen = Residual()
    frozen.norm.eval()
    flags = {name: module.training for name, module in frozen.named_modules()}
    before = snapshot(frozen)
    ticket = lthviz.find_ticket(frozen, "mnist-5k-14", **settings)
    for model in (frozen, ticket.model):
        assert {name: module.training for name, module in model.named_modules()} == flags
    for name in ("norm.running_mean", "norm.running_var"):
        assert torch.equal(ticket.theta_0[name], before[name])
    assert not torch.equal(ticket.theta_0["norm.weight"], before["norm.weight"])
    thawed = lthviz.find_ticket(frozen.train(), "mnist-5k-14", **settings)
    assert not torch.equal(thawed.theta_0["norm.running_mean"], before["norm.running_mean"])
    assert all(module.training for module in thawed.model.modules())


def test_a_model_that_is_in_eval_mode_as_a_whole_is_trained_and_comes_back_in_train_mode():
    model = Residual().eval()
    settings = dict(rounds=1, rate=0.5, steps=6, rewind_step=3, progress=False)
    ticket = lthviz.find_ticket(model, "mnist-5k-14", **settings)
    expected = lthviz.find_ticket(copy.deepcopy(model).train(), "mnist-5k-14", **settings)
    assert not any(module.training for module in model.modules())
    assert all(module.training for module in ticket.model.modules())
    assert torch.any(ticket.theta_0["norm.running_mean"] != 0)
    assert ticket.mask == expected.mask and same(ticket.theta_0, expected.theta_0)


def test_the_accuracy_is_that_of_eval_mode():
    model = nn.Sequential(nn.Linear(6, 2), nn.Dropout(0.9999))
    x = torch.randn(400, 6, generator=torch.Generator().manual_seed(0))
    ticket = lthviz.find_ticket(model, (x, (x[:, 0] > 0).long()), rounds=0, steps=1, progress=False, lr=1e-9)
    held = np.random.default_rng([0, 2]).permutation(400)[:80]  # the fifth that from_arrays holds out
    assert ticket.accuracy == [((model[0](x).argmax(1) == (x[:, 0] > 0))[held]).double().mean().item()]


class Anyhow(nn.Module):
    """Layers registered in another order than that in which the signal passes them; one gets no signal."""

    def __init__(self):
        super().__init__()
        self.head, self.body, self.spare = nn.Linear(20, 10), nn.Linear(196, 20), nn.Linear(30, 20)

    def forward(self, x):
        return self.head(torch.relu(self.body(x.flatten(1))))


def test_half_the_rate_is_for_the_layer_that_is_called_last():
    settings = dict(rate=0.4, rounds=2, steps=2, progress=False)
    mask = lthviz.find_ticket(Anyhow(), "mnist-5k-14", **settings).mask
    assert list(mask) == ["head.weight", "body.weight", "spare.weight"]
    assert [kept.sum() for kept in mask.values()] == [
        128,
        1411,
        216,
    ]  # 0.8^2, 0.6^2 and 0.6^2, each round rounded
    everywhere = lthviz.find_ticket(Anyhow(), "mnist-5k-14", scope="global", **settings).mask
    assert everywhere.kept == 1699  # 4,720 * 0.6^2, likewise


class Borrowed(nn.Module):
    """Its output layer is used without being called."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(196, 20), nn.Linear(20, 10)

    def forward(self, x):
        return F.linear(torch.relu(self.body(x.flatten(1))), self.head.weight)


class Attentive(nn.Module):
    """Attention multiplies by the weight of its ``out_proj`` without calling it; the head is called."""

    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 1, batch_first=True), nn.Linear(4, 10)

    def forward(self, x):
        rows = x.flatten(1).unflatten(1, (-1, 4))
        return self.head(self.attention(rows, rows, rows)[0].mean(1))


@pytest.mark.parametrize("model", [Borrowed(), Attentive()], ids=["head", "attention"])
def test_weights_that_are_used_without_their_layer(model):
    mask = lthviz.find_ticket(model, "mnist-5k-14", rate=0.5, rounds=1, steps=1, progress=False).mask
    assert [kept.mean() for kept in mask.values()] == [0.5, 0.75]


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, lambda model: torch.compile(model, backend="eager")],
    ids=["parallel", "compiled"],
)
def test_a_wrapped_model_gets_the_ticket_of_the_model(wrap):
    x, y = torch.rand(80, 6, generator=generator(0, "x")), torch.arange(80) % 3
    model = models.build("mlp-5", (6,), 3, generator(0, "init"))
    settings = dict(rate=0.5, rounds=1, steps=3, batch_size=20, progress=False)
    plain, wrapped = (lthviz.find_ticket(one, (x, y), **settings) for one in (model, wrap(model)))
    assert wrapped.accuracy == plain.accuracy
    for (_, one), (name, other) in zip(plain.mask.items(), wrapped.mask.items(), strict=True):
        assert np.array_equal(one, other), name


def test_rounds_are_counted_for_the_layer_that_is_called_last():
    model = Anyhow()
    model.body = nn.Linear(196, 2)
    model.head = nn.Linear(2, 10)
    with pytest.raises(
        ValueError, match=r"rounds=9 at rate=0.8 leaves no weight in body.weight after round 5"
    ):
        lthviz.find_ticket(model, "mnist-5k-14", rate=0.8, rounds=9, progress=False)


def test_masking_once_is_not_enough_and_apply_mask_is():
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(64, 5, generator=draw), torch.randint(0, 3, (64,), generator=draw)

    def revived(hold):
        layer = nn.Sequential(nn.Linear(5, 3))
        optimiser = torch.optim.Adam(layer.parameters(), lr=0.01)
        nn.functional.cross_entropy(layer(x), y).backward()
        optimiser.step()
        mask = lthviz.prune(criteria.magnitude(layer), rate=0.5)
        lthviz.apply_mask(layer, mask)
        for _ in range(3):
            optimiser.zero_grad()
            nn.functional.cross_entropy(layer(x), y).backward()
            optimiser.step()
            if hold:
                lthviz.apply_mask(layer, mask)
        return int((layer[0].weight.detach().numpy()[~mask["0.weight"]] != 0).sum())

    assert revived(hold=False) > 0
    assert revived(hold=True) == 0


def test_what_cannot_be_pruned_is_said():
    with pytest.raises(ValueError, match="no linear or convolution layer"):
        lthviz.find_ticket(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(196)), "mnist-5k-14")
    with pytest.raises(ValueError, match=r"rate=1\.5"):
        lthviz.find_ticket(Residual(), "mnist-5k-14", rate=1.5)
    with pytest.raises(ValueError, match="diverged"):
        lthviz.find_ticket(
            nn.Sequential(nn.Flatten(), nn.Linear(196, 10), nn.Linear(10, 10)), "mnist-5k-14", rounds=1, steps=40,
            optimizer=lambda p: torch.optim.SGD(p, lr=1e6), progress=False,
        )  # fmt: skip


X = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)


class Pair(nn.Linear):
    def forward(self, x):
        return super().forward(x), x


@pytest.mark.parametrize(
    ("model", "data", "settings", "sentence"),
    [
        (nn.Linear(6, 2), (X, Y + 1), {}, "labels up to 2, but the model has 2 outputs: labels must be from 0 to 1"),
        (nn.Linear(5, 2), (X, Y), {}, r"cannot take a batch with x of shape \(60, 6\) .* multiplied \(60x6 and 5x2\)"),
        (nn.Conv2d(1, 2, 3), (X, Y), {}, r"cannot take a batch with x of shape \(60, 6\)"),
        (nn.Sequential(nn.Unflatten(1, (2, 3)), nn.Linear(3, 2)), (X, Y), {},
         r"logits of shape \(60, classes\) for 60 examples, got shape \(60, 2, 2\)"),
        (Pair(6, 2), (X, Y), {}, "logits of shape .* got tuple"),
        (nn.Linear(6, 2), (X, Y), {"loss_fn": lambda *pair: F.cross_entropy(*pair, reduction="none")}, "must give a scalar"),
        (nn.Linear(6, 2), (X, Y), {"seed": -1}, "seed=-1: seed must be a whole number of at least 0"),
        (nn.Linear(6, 2), (X, np.array(["no", "yes"])[Y]), {}, "y must hold whole numbers"),
        (nn.Linear(6, 2), torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y)), {}, "data must be .* got TensorDataset"),
        (nn.Linear(6, 2), X, {}, "data must be .* got ndarray"),
        (nn.Linear(6, 2), (X, Y, X), {}, "data must be .* got tuple"),
        (nn.Flatten(), (X, Y), {}, "no linear or convolution layer"),
        (nn.Sequential(parametrizations.weight_norm(nn.Linear(6, 4)), nn.Linear(4, 2)), (X, Y), {}, "'0.weight' is no parameter"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_before_training(model, data, settings, sentence):
    def optimizer(parameters):
        raise AssertionError("this must not be reached")

    with pytest.raises(ValueError, match=sentence):
        lthviz.find_ticket(model, data, rounds=1, optimizer=optimizer, progress=False, **settings)


def test_the_mask_may_be_a_mapping():
    layer, other = nn.Linear(3, 2), nn.Linear(3, 2)
    other.load_state_dict(layer.state_dict())
    mask = lthviz.prune(criteria.magnitude(layer), rate=0.5)
    lthviz.apply_mask(layer, mask)
    lthviz.apply_mask(other, {name: torch.tensor(kept) for name, kept in mask.items()})
    assert torch.equal(layer.weight, other.weight) and (layer.weight == 0).sum() == 3
    for wrong, sentence in (({"heavy": [1, 0]}, "the mask is for"), ([1, 0], "a Mask needs a mapping")):
        with pytest.raises(ValueError, match=sentence):
            lthviz.apply_mask(layer, wrong)


def test_arrays_of_ones_own():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(400, 6)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    ticket = lthviz.find_ticket(nn.Linear(6, 2), (x, y), rounds=2, steps=100, lr=0.05, progress=False)
    assert ticket.accuracy[-1] > 0.9
    assert ticket.mask["weight"][:, 0].all()  # the one feature that matters survives


def test_rounds_that_would_empty_a_layer_are_refused_before_training():
    model = nn.Sequential(nn.Flatten(), nn.Linear(196, 3), nn.Linear(3, 10))
    with pytest.raises(ValueError, match=r"rounds=9 at rate=0.8 leaves no weight in 1.weight after round 5"):
        lthviz.find_ticket(model, "mnist-5k-14", rate=0.8, rounds=9, progress=False)


def test_a_device_that_is_not_there_is_said_before_training(tmp_path):
    with pytest.raises(ValueError, match=r"device='gpu0' is not on this computer. Allowed: cpu"):
        lthviz.find_ticket(nn.Linear(196, 10), "mnist-5k-14", device="gpu0", progress=False)
    with pytest.raises(ValueError, match="device='gpu0'"):
        lthviz.run(lthviz.Experiment(rounds=1, steps=5), store=tmp_path, device="gpu0", progress=False)
    assert not list(tmp_path.rglob("*.npz"))
