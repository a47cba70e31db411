"""Pruning language models: each method against a slow one written from its paper, least squares, real architectures."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from lthviz import llm

METHODS = ("magnitude", "wanda", "sparsegpt")
VOCABULARY = 11


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Block(nn.Module):
    """Two linear layers with a bend between them, a residual, two settings that only the model knows; gives a tuple."""

    def __init__(self, width, hidden, draw):
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width, bias=False)
        for weight in self.parameters():
            weight.data = torch.randn(weight.shape, generator=draw, dtype=torch.float64) / 3

    def forward(self, x, scale, shift):
        return x + scale * self.down(torch.tanh(self.up(x))) + shift, "and more"


class Model(nn.Module):
    """A decoder without attention; inputs of a layer are strongly correlated."""

    def __init__(self, width=12, hidden=16, blocks=2, seed=0):
        super().__init__()
        draw = seeded(seed)
        self.embedding = nn.Embedding(VOCABULARY, width, dtype=torch.float64)
        self.blocks = nn.ModuleList(Block(width, hidden, draw) for _ in range(blocks))
        self.head = nn.Linear(width, VOCABULARY, dtype=torch.float64)
        mix = torch.randn(width, width, generator=draw, dtype=torch.float64)
        for weight in (self.embedding.weight, *self.head.parameters()):
            weight.data = torch.randn(weight.shape, generator=draw, dtype=torch.float64)
        self.embedding.weight.data = self.embedding.weight.data @ mix

    def forward(self, tokens):
        x = self.embedding(tokens)
        for block in self.blocks:
            x, _ = block(x, 0.7, shift=0.3)
        return self.head(x)


def calibration(sequences=10, length=16, seed=1, vocabulary=VOCABULARY):
    return torch.randint(vocabulary, (sequences, length), generator=seeded(seed))


def correlated(columns, tokens=200, seed=3):
    draw = seeded(seed)
    mix = torch.randn(columns, columns, generator=draw, dtype=torch.float64)
    return torch.randn(tokens, columns, generator=draw, dtype=torch.float64) @ mix


def neighbours(columns, tokens=400, seed=3):
    """Inputs correlated as 0.7 to the power of their distance."""
    place = torch.arange(columns, dtype=torch.float64)
    factor = torch.linalg.cholesky(0.7 ** (place[:, None] - place).abs())
    return torch.randn(tokens, columns, generator=seeded(seed), dtype=torch.float64) @ factor.T


def weights(rows, columns, seed=4):
    return torch.randn(rows, columns, generator=seeded(seed), dtype=torch.float64)


class Single(nn.Module):
    """A model of one block with one linear layer, whose inputs are the rows of ``x``: token t is row t."""

    def __init__(self, W, x):
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(x)
        layer = nn.Linear(W.shape[1], W.shape[0], bias=False, dtype=W.dtype)
        layer.weight.data = W.clone()
        self.blocks = nn.ModuleList([nn.Sequential(layer)])

    def forward(self, tokens):
        return self.blocks[0](self.embedding(tokens))


def pruned(W, x, method, **target):
    model = Single(W, x)
    report = llm.prune(model, torch.arange(len(x))[None], method, **target)
    return model.blocks[0][0].weight.data, report


def error(W, new, x):
    """‖(W - Ŵ)X‖² / ‖W X‖², straight from the outputs."""
    return float(((x @ W.T - x @ new.T) ** 2).sum() / ((x @ W.T) ** 2).sum())


# --- Slow twins, written from the papers: one row and one weight at a time, in plain Python and NumPy ---------------


def slow_wanda(W, x, sparsity=None, pattern=None):
    new = W.copy()
    norms = [math.sqrt(sum(value**2 for value in column)) for column in x.T]
    for row in new:

        def score(j, row=row):
            return abs(row[j]) * norms[j]

        groups = [range(len(row))] if pattern is None else [
            range(start, start + pattern[1]) for start in range(0, len(row), pattern[1])
        ]  # fmt: skip
        for group in groups:
            out = int(len(row) * sparsity) if pattern is None else pattern[1] - pattern[0]
            for j in sorted(group, key=score)[:out]:
                row[j] = 0.0
    return new


def slow_sparsegpt(W, x, sparsity=None, pattern=None, columns=128):
    """OBS with the inverse Hessian of the columns that are left, computed afresh for every column."""
    new, n = W.copy(), W.shape[1]
    H = 2 * x.T @ x
    for j in range(n):
        if H[j, j] == 0:
            H[j, j] = 1
    H = H + 0.01 * np.mean(np.diag(H)) * np.eye(n)
    inverse = [np.linalg.inv(H[j:, j:]) for j in range(n)]  # [0, 0] belongs to column j
    block = columns if pattern is None else columns // pattern[1] * pattern[1]
    removed = np.zeros(W.shape, bool)
    for j in range(n):
        if pattern is None and j % block == 0:
            places = [(i, k) for i in range(len(W)) for k in range(j, min(j + block, n))]
            places.sort(key=lambda place: new[place] ** 2 / inverse[place[1]][0, 0])
            for place in places[: int(sparsity * len(places))]:
                removed[place] = True
        if pattern is not None and j % pattern[1] == 0:
            for i in range(len(W)):
                order = sorted(range(j, j + pattern[1]), key=lambda k, i=i: new[i, k] ** 2 / inverse[k][0, 0])
                removed[i, order[: pattern[1] - pattern[0]]] = True
        for i in range(len(W)):
            if removed[i, j]:
                new[i, j:] -= new[i, j] / inverse[j][0, 0] * inverse[j][0]
                new[i, j] = 0.0
    return new


TARGETS = [{"sparsity": 0.3}, {"sparsity": 0.55}, {"sparsity": 0.8}, {"pattern": (2, 4)}, {"pattern": (4, 8)}]


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("method, slow", [("wanda", slow_wanda), ("sparsegpt", slow_sparsegpt)])
def test_a_slow_twin_gives_the_same_masks_and_weights(method, slow, target):
    W, x = weights(5, 24), correlated(24)
    new, _ = pruned(W, x, method, **target)
    expected = slow(W.numpy(), x.numpy(), **target)
    assert np.array_equal(new.numpy() != 0, expected != 0)
    assert np.allclose(new, expected, rtol=1e-8, atol=1e-10)


def test_sparsegpt_agrees_with_its_slow_twin_over_several_blocks_of_columns():
    W, x = weights(3, 150), correlated(150, tokens=200)
    new, _ = pruned(W, x, "sparsegpt", sparsity=0.5)
    expected = slow_sparsegpt(W.numpy(), x.numpy(), 0.5)
    assert np.array_equal(new.numpy() != 0, expected != 0)
    assert np.allclose(new, expected, rtol=1e-6, atol=1e-8)


def test_groups_that_do_not_fit_into_128_columns_stay_together():
    W, x = weights(3, 144), correlated(144, tokens=200)
    new, _ = pruned(W, x, "sparsegpt", pattern=(2, 6))
    expected = slow_sparsegpt(W.numpy(), x.numpy(), pattern=(2, 6))
    assert np.array_equal(new.numpy() != 0, expected != 0)
    assert ((new.view(3, -1, 6) != 0).sum(-1) == 2).all()


# --- What must be so ---------------------------------------------------------------------------------------------------


def white(columns, scale=1.0):
    """Inputs with H = a multiple of the identity: the rows are those of an orthogonal matrix."""
    return scale * torch.linalg.qr(correlated(columns, columns))[0]


def test_wanda_with_equal_norms_is_magnitude_row_by_row():
    W = weights(6, 20)
    new, _ = pruned(W, white(20, 3.0), "wanda", sparsity=0.35)
    for row, kept in zip(W, new, strict=True):
        smallest = set(row.abs().argsort()[:7].tolist())
        assert {j for j in range(20) if kept[j] == 0} == smallest


@pytest.mark.parametrize("sparsity, zeros", [(0.1, 1), (0.29, 5), (0.5, 9), (0.99, 17)])
def test_every_row_of_wanda_loses_equally_many(sparsity, zeros):
    new, _ = pruned(weights(7, 18), correlated(18), "wanda", sparsity=sparsity)
    assert ((new == 0).sum(1) == zeros).all() and zeros == int(18 * sparsity)


def test_sparsegpt_on_white_inputs_is_magnitude_in_each_block_of_columns():
    W = weights(4, 150)
    new, _ = pruned(W, white(150), "sparsegpt", sparsity=0.6)
    for part in (slice(0, 128), slice(128, 150)):
        size = W[:, part].abs().flatten()
        gone = set(size.argsort()[: int(0.6 * len(size))].tolist())
        assert set((new[:, part].flatten() == 0).nonzero().flatten().tolist()) == gone
    assert torch.allclose(new[new != 0], W[new != 0])


def test_one_weight_a_row_goes_as_the_closed_form_of_optimal_brain_surgery_says():
    # each row's first weight is tiny and the only one to go, so that all others are free to make up for it
    W, x = weights(4, 16), correlated(16)
    W[:, 0] = 1e-6 * torch.arange(1, 5)
    new, _ = pruned(W, x, "sparsegpt", sparsity=4 / 64)
    H = x.T @ x / len(x)
    inverse = torch.linalg.inv(H + 0.01 * H.diagonal().mean() * torch.eye(16))
    expected = W - torch.outer(W[:, 0] / inverse[0, 0], inverse[0])
    assert (new[:, 0] == 0).all() and (new[:, 1:] != 0).all()
    assert torch.allclose(new, expected, rtol=1e-9, atol=1e-12)


def test_leading_columns_that_go_together_leave_the_least_squares_solution():
    # the first six columns have next to no weight and go; all that make up for them come later
    W, x = weights(3, 14), correlated(14)
    W[:, :6] *= 1e-6
    new, _ = pruned(W, x, "sparsegpt", sparsity=18 / 42, damping=0)
    assert (new[:, :6] == 0).all()
    best = torch.linalg.lstsq(x[:, 6:], x @ W.T).solution.T
    assert torch.allclose(new[:, 6:], best, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_sparsegpt_lies_between_least_squares_and_magnitude(target, seed):
    # Not a theorem: on wilder mixtures, as `correlated` makes them, magnitude sometimes has the smaller error
    W, x = weights(16, 48, seed), neighbours(48, seed=seed)
    new, report = pruned(W, x, "sparsegpt", **target)
    best = torch.zeros_like(W)
    for row, kept in enumerate(new != 0):
        best[row, kept] = torch.linalg.lstsq(x[:, kept], x @ W[row]).solution
    removed_alone = W * (new != 0)
    simple, _ = pruned(W, x, "magnitude", **target)
    assert error(W, best, x) <= report.rows[0]["error"] + 1e-12
    assert report.rows[0]["error"] < error(W, removed_alone, x)
    assert report.rows[0]["error"] < error(W, simple, x)


def test_magnitude_removes_the_smallest_of_the_layer():
    W = weights(5, 9)
    new, _ = pruned(W, correlated(9), "magnitude", sparsity=0.4)
    assert torch.equal(new, W * (W.abs() > W.abs().flatten().sort().values[int(0.4 * 45) - 1]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pattern", [(2, 4), (4, 8), (1, 3)])
def test_patterns_hold_in_every_group(method, pattern):
    new, report = pruned(weights(5, 24), correlated(24), method, pattern=pattern)
    assert ((new.view(5, -1, pattern[1]) != 0).sum(-1) == pattern[0]).all()
    assert report.density == pattern[0] / pattern[1] and f"{pattern[0]}:{pattern[1]}" in repr(report)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_and_everything(method):
    model = Model()
    before = copy.deepcopy(model.state_dict())
    report = llm.prune(model, calibration(), method, sparsity=0)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert report.density == 1 and all(row["error"] == 0 for row in report.table())
    report = llm.prune(model, calibration(), method, sparsity=1)
    linear = [module.weight for module in model.blocks.modules() if isinstance(module, nn.Linear)]
    assert len(linear) == 4 and all((weight == 0).all() for weight in linear)
    assert report.density == 0 and report.rows[0]["error"] == pytest.approx(1)


@pytest.mark.parametrize("method", METHODS)
def test_equal_weights_are_counted_exactly(method):
    new, report = pruned(torch.ones(4, 10, dtype=torch.float64), white(10), method, sparsity=0.5)
    assert report.rows[0]["kept"] == 20
    if method != "sparsegpt":  # whose survivors may pass zero
        assert (new == 0).sum() == 20


@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
def test_inputs_that_are_always_zero_lose_their_weights_first_and_cost_nothing(method):
    W, x = weights(4, 12), correlated(12)
    x[:, [2, 7, 11]] = 0
    new, report = pruned(W, x, method, sparsity=0.25)
    assert (new[:, [2, 7, 11]] == 0).all() and report.rows[0]["error"] < 1e-20
    pruned(W, x, method, sparsity=0.5, damping=0)
    untouched, _ = pruned(W, x, method, sparsity=0)
    assert torch.equal(untouched, W)


def test_weights_of_sixteen_bits_are_pruned_exactly_too():
    W, x = weights(4, 16).bfloat16(), correlated(16).bfloat16()
    for method in METHODS:
        new, report = pruned(W, x, method, sparsity=0.5)
        assert new.dtype == torch.bfloat16 and report.rows[0]["kept"] == 32 >= (new != 0).sum()
        assert report.rows[0]["error"] == pytest.approx(error(W.double(), new.double(), x.double()), rel=1e-3)


# --- Block after block -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 4, 10])
@pytest.mark.parametrize("method, slow", [("wanda", slow_wanda), ("sparsegpt", slow_sparsegpt)])
def test_a_block_is_pruned_for_what_the_pruned_blocks_before_it_let_through(method, slow, batch_size):
    model, by_hand = Model(), Model()
    report = llm.prune(model, calibration(), method, 0.5, batch_size=batch_size)
    x = by_hand.embedding(calibration()).flatten(0, 1).detach()
    expected = []
    for block in by_hand.blocks:
        inputs = {
            "up": x,
            "down": torch.tanh(block.up(x)).detach(),
        }  # both as the whole block before it sees them
        for name, given in inputs.items():
            layer = getattr(block, name)
            old, new = layer.weight.data.clone(), slow(layer.weight.data.numpy(), given.numpy(), 0.5)
            layer.weight.data = torch.from_numpy(new)
            expected.append(error(old, layer.weight.data, given))
        x = block(x, 0.7, shift=0.3)[0].detach()
    for name, weight in by_hand.state_dict().items():
        assert torch.allclose(model.state_dict()[name], weight, rtol=1e-6, atol=1e-9), name
    assert [row["error"] for row in report.table()] == pytest.approx(expected, rel=1e-6)
    assert [row["name"] for row in report.rows] == [
        "blocks.0.up", "blocks.0.down", "blocks.1.up", "blocks.1.down",
    ]  # fmt: skip


def test_inputs_from_the_dense_blocks_would_have_given_another_second_block():
    dense, model = Model(), Model()
    llm.prune(model, calibration(), "sparsegpt", 0.7)
    x = dense.blocks[0](dense.embedding(calibration()), 0.7, shift=0.3)[0].flatten(0, 1).detach()
    other = slow_sparsegpt(dense.blocks[1].up.weight.data.numpy(), x.numpy(), 0.7)
    assert not np.allclose(model.blocks[1].up.weight.detach(), other, atol=1e-3)


def test_only_linear_layers_of_the_blocks_change_and_flags_stay():
    model = Model().train()
    model.blocks[0].eval()
    before = copy.deepcopy(model.state_dict())
    llm.prune(model, calibration(), "sparsegpt", 0.5)
    changed = {name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed == {f"blocks.{i}.{layer}.weight" for i in (0, 1) for layer in ("up", "down")}
    assert model.training and not model.blocks[0].training and model.blocks[1].training
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(weight.requires_grad for weight in model.parameters())


def test_the_output_head_is_not_even_computed():
    model, calls = Model(), []
    model.head.register_forward_hook(lambda *given: calls.append(given))
    llm.prune(model, calibration())
    assert calls == []
    model(calibration())
    assert len(calls) == 1


def test_the_report_reads_well():
    report = llm.prune(Model(), calibration(), "wanda", 0.25)
    start = "wanda, sparsity 25.0%: 576 of 768 weights kept (75.0%) in 4 layers; error of a layer's output "
    assert repr(report).startswith(start)
    worst = max(report.table(), key=lambda row: row["error"])
    assert repr(report).endswith(f"worst {worst['name']}")
    assert llm.prune(Model(), calibration()).target == "sparsity 50.0%"


# --- Architectures of transformers, from a small configuration: nothing is downloaded ---------------------------------


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32)  # fmt: skip
    return LlamaForCausalLM(config), 7 * 2


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=32,
            bos_token_id=0,
            eos_token_id=0,
        )
    ), 4 * 2


@pytest.fixture(scope="module", params=[llama, gpt2], ids=lambda build: build.__name__)
def trained(request):
    """A small model that has learnt to count upwards and downwards, and the number of its linear layers."""
    pytest.importorskip("transformers")
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(seeded(5).get_state())
        model, layers = request.param()
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for step in range(100):
            batch = counting(16, step)
            loss = model(batch, labels=batch).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model, layers


def test_experts_that_are_no_linear_layers_are_named_in_a_warning():
    transformers = pytest.importorskip("transformers")
    config = transformers.MixtralConfig(vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24,
                                        num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
                                        num_local_experts=3, max_position_embeddings=32)  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(seeded(6).get_state())
        model = transformers.MixtralForCausalLM(config)
    linear = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)}
    others = {
        name: value.clone()
        for name, value in model.model.layers.named_parameters()
        if value.ndim > 1 and id(value) not in linear
    }
    assert others, "this version of transformers builds its experts from linear layers: find another model"
    with pytest.warns(UserWarning, match="belong to no linear layer: they are not pruned") as seen:
        llm.prune(model, counting(8, 0), "wanda", 0.5)
    text = str(seen[0].message)
    assert f"{sum(value.numel() for value in others.values()):,} weights" in text
    assert text.startswith(f"model.layers.{next(iter(others))} and {len(others) - 1} more")
    for name, value in others.items():
        assert torch.equal(model.model.layers.get_parameter(name), value)


def counting(sequences, seed):
    draw = seeded(seed)
    start, way = (torch.randint(n, (sequences, 1), generator=draw) for n in (VOCABULARY, 2))
    return (start + (2 * way - 1) * torch.arange(20)) % VOCABULARY


@pytest.mark.parametrize("method", METHODS)
def test_models_of_transformers_are_pruned_and_still_work(trained, method):
    whole, layers = trained
    model = copy.deepcopy(whole)
    assert model.training and model.config.use_cache
    dense = llm.perplexity(model, counting(32, 1000))
    report = llm.prune(model, counting(32, 999), method, 0.3)
    assert len(report.rows) == layers and abs(report.density - 0.7) < 0.02
    assert model.training and model.config.use_cache
    for row in report.rows:
        weight = model.get_submodule(row["name"]).weight
        assert (weight != 0).sum() == row["kept"]
    assert dense < 1.5 and llm.perplexity(model, counting(32, 1000)) < VOCABULARY / 2
    for name, weight in model.named_parameters():
        same = torch.equal(weight, whole.get_parameter(name))
        assert same == (name.removesuffix(".weight") not in {row["name"] for row in report.rows}), name


@pytest.mark.parametrize("method", METHODS)
def test_replayed_blocks_see_what_the_model_gives_them(trained, method):
    """With other methods than replaying: hooks on the pruned model as a whole, one layer of the last block."""
    whole, _ = trained
    model, given = copy.deepcopy(whole), counting(16, 7)
    report = llm.prune(
        model, given, method, pattern=(2, 4), batch_size=5
    )  # without dropout, also while training
    model.eval()
    last = report.rows[-7 if len(report.rows) == 14 else -4]["name"]  # the first layer of the last block
    seen = []
    watch = model.get_submodule(last).register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(given, use_cache=False)
    watch.remove()
    x = seen[0].flatten(0, -2)
    old, new = whole.get_submodule(last).weight.detach(), model.get_submodule(last).weight.detach()
    if type(whole).__name__.startswith("GPT2"):
        old, new = old.T, new.T
    row = next(row for row in report.rows if row["name"] == last)
    assert row["error"] == pytest.approx(error(old, new, x), rel=1e-3)
    groups = new.reshape(len(new), -1, 4)
    assert ((groups != 0).sum(-1) == 2).all()


# --- Perplexity --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_perplexity_is_exp_of_the_mean_cross_entropy(batch_size):
    model, tokens = Model(), calibration(7, 9)
    total = []
    for row in tokens:
        chances = model(row[None])[0].detach().softmax(-1)
        total += [-math.log(chances[i, row[i + 1]]) for i in range(8)]
    assert llm.perplexity(model, tokens, batch_size=batch_size) == pytest.approx(math.exp(np.mean(total)))
    assert llm.perplexity(model, torch.cat([tokens.flatten(), tokens[0, :5]]), 9) == pytest.approx(
        math.exp(np.mean(total))
    )


def test_a_model_that_knows_nothing_is_as_perplexed_as_its_vocabulary_is_large():
    model = Model()
    for weight in model.head.parameters():
        weight.data.zero_()
    assert llm.perplexity(model, calibration()[0]) == pytest.approx(VOCABULARY)


# --- Errors come before any work, in one sentence --------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(method="wandaa"), "Did you mean 'wanda'"),
        (dict(sparsity=1.2), "sparsity=1.2"),
        (dict(sparsity=-0.1), "sparsity=-0.1"),
        (dict(sparsity=float("nan")), "sparsity=nan"),
        (dict(sparsity=0.5, pattern=(2, 4)), "not both"),
        (dict(pattern=(2, 5)), "5 must divide"),
        (dict(pattern=(4, 4)), "pattern's n=4"),
        (dict(pattern=(0, 4)), "pattern's n=0"),
        (dict(pattern="2:4"), "pattern='2:4'"),
        (dict(blocks="block"), "Did you mean 'blocks'"),
        (dict(damping=-1), "damping=-1"),
        (dict(batch_size=0), "batch_size=0"),
        (dict(calibration=torch.rand(3, 4)), "dtype torch.float32"),
        (dict(calibration=torch.zeros(3, dtype=torch.long)), "(3,)"),
        (dict(calibration=torch.zeros(0, 4, dtype=torch.long)), "at least one token"),
        (dict(calibration=torch.full((2, 4), VOCABULARY)), f"0 to {VOCABULARY - 1}"),
        (dict(calibration=torch.full((2, 4), -1)), "from -1"),
        (dict(calibration="a text"), "whole numbers, got str"),
    ],
    ids=str,
)
def test_impossible_arguments_are_answered_before_any_work(settings, words):
    model = Model()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError) as caught:
        llm.prune(model, **{"calibration": calibration(), **settings})
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_a_model_without_blocks_says_so():
    with pytest.raises(ValueError, match="blocks="):
        llm.prune(nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5)), torch.zeros(1, 3, dtype=torch.long))


def test_blocks_can_be_named_and_must_be_a_chain():
    model = Single(weights(4, 8), correlated(8))
    model.also = nn.ModuleList([nn.Linear(90, 90), nn.Linear(90, 90)])  # larger, but never called
    tokens = torch.arange(200)[None]
    with pytest.raises(ValueError, match="one after the other"):
        llm.prune(model, tokens)
    assert llm.prune(model, tokens, blocks="blocks").rows[0]["name"] == "blocks.0.0"
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_singular_second_moment_names_the_layer_and_what_to_do():
    x = torch.ones(4, 6, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"blocks\.0\.0 have no inverse with damping=0: raise damping"):
        pruned(weights(3, 6), x, "sparsegpt", sparsity=0.5, damping=0)
    pruned(weights(3, 6), x, "sparsegpt", sparsity=0.5)
    x[0, 0] = math.inf
    with pytest.raises(ValueError, match=r"inputs of blocks\.0\.0 are NaN or infinite"):
        pruned(weights(3, 6), x, "sparsegpt", sparsity=0.5)


def test_a_layer_that_no_token_reaches_is_named():
    model = Model()
    model.blocks[0].spare = nn.Linear(3, 3)
    with pytest.raises(ValueError, match=r"no calibration token reaches blocks\.0\.spare"):
        llm.prune(model, calibration())
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    "tokens, length, words",
    [
        (torch.rand(5), None, "dtype"),
        (torch.zeros(2, 6, dtype=torch.long), 3, "cut already"),
        (torch.zeros(6, dtype=torch.long), 7, "at most 6"),
        (torch.zeros(6, dtype=torch.long), 1, "at least 2"),
        (torch.zeros(6, 1, dtype=torch.long), None, "at least two"),
        (torch.full((6,), 99), None, "from 99 to 99"),
    ],
    ids=str,
)
def test_perplexity_says_what_is_wrong_with_its_tokens(tokens, length, words):
    with pytest.raises(ValueError, match=words):
        llm.perplexity(Model(), tokens, length)


def test_the_global_random_states_stay_as_they_are():
    model = Model()
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    for method in METHODS:
        llm.prune(model, calibration(), method)
        llm.perplexity(model, calibration())
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this computer has no CUDA")
@pytest.mark.parametrize("method", METHODS)
def test_cuda_gives_the_same(method):
    here, there = Model(), Model().cuda()
    llm.prune(here, calibration(), method, 0.5)
    llm.prune(there, calibration(), method, 0.5)
    for name, weight in here.state_dict().items():
        assert torch.allclose(there.state_dict()[name].cpu(), weight, rtol=1e-6, atol=1e-9)
    assert llm.perplexity(there, calibration()) == pytest.approx(llm.perplexity(here, calibration()))
