"""Masks and pruning: exact counts, nested masks, the same choice as PyTorch's own pruning."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from lthviz.experiment import Experiment
from lthviz.masks import Mask, erk, prune, uniform

SHAPES = {"fc1.weight": (7, 11), "fc2.weight": (5, 7), "fc3.weight": (3, 5)}


def scores(seed=0, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return {name: rng.random(shape, dtype=np.float32) for name, shape in shapes.items()}


def module(values):
    layer = nn.Linear(values.shape[1], values.shape[0], bias=False)
    layer.weight = nn.Parameter(torch.tensor(values))
    return layer


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.35, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_layer_scope_chooses_as_torch_l1_unstructured(seed, rate):
    values = scores(seed)
    mask = prune(values, rate=rate)
    for name, array in values.items():
        layer = torch_prune.l1_unstructured(
            module(array), "weight", amount=int(np.floor(rate * array.size + 0.5))
        )
        np.testing.assert_array_equal(mask[name], layer.weight_mask.numpy() > 0)


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.35, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_global_scope_chooses_as_torch_global_unstructured(seed, rate):
    values = scores(seed)
    layers = {name: module(array) for name, array in values.items()}
    amount = int(np.floor(rate * sum(array.size for array in values.values()) + 0.5))
    torch_prune.global_unstructured(
        [(layer, "weight") for layer in layers.values()],
        pruning_method=torch_prune.L1Unstructured,
        amount=amount,
    )
    mask = prune(values, rate=rate, scope="global")
    for name, layer in layers.items():
        np.testing.assert_array_equal(mask[name], layer.weight_mask.numpy() > 0)


def test_repeated_rounds_choose_as_torch_does():
    values, mask, layers = scores(3), None, {}
    for _ in range(4):
        survivors = {
            name: array.size if mask is None else int(mask[name].sum()) for name, array in values.items()
        }
        mask = prune(values, rate=0.3, mask=mask)
        for name, array in values.items():
            layer = layers.setdefault(name, module(array))
            torch_prune.l1_unstructured(layer, "weight", amount=int(np.floor(0.3 * survivors[name] + 0.5)))
            np.testing.assert_array_equal(mask[name], layer.weight_mask.numpy() > 0)


def test_equal_scores_go_from_the_lowest_index():
    mask = prune({"w": np.ones((2, 5))}, rate=0.3)
    assert mask["w"].tolist() == [[False, False, False, True, True], [True] * 5]
    both = prune({"a": np.ones(4), "b": np.ones(4)}, rate=0.5, scope="global")
    assert not both["a"].any() and both["b"].all()
    assert both.collapsed == ["a"]


def test_ties_at_the_border_are_cut_exactly():
    mask = prune({"w": np.array([2.0, 1, 1, 1, 0, 3])}, rate=0.5)
    assert mask["w"].tolist() == [True, False, False, True, False, True]


def test_a_survivor_with_score_zero_is_no_pruned_weight():
    """A weight that is exactly 0.0 and alive goes before others, but counts as alive until then."""
    mask = Mask({"w": np.array([0, 1, 1, 1, 1], bool)})
    values = {"w": np.array([9.0, 0.0, 0.0, 1.0, 2.0])}
    smaller = prune(values, rate=0.25, mask=mask)
    assert smaller["w"].tolist() == [False, False, True, True, True]


shapes = st.dictionaries(
    st.sampled_from("abcd"), st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=3
)


@settings(max_examples=80, deadline=None)
@given(
    shapes=shapes,
    seed=st.integers(0, 10**6),
    rates=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=4),
    scope=st.sampled_from(["layer", "global"]),
    levels=st.integers(1, 50),
)
def test_masks_are_nested_and_counts_exact(shapes, seed, rates, scope, levels):
    """For any shapes, rates and scores with any number of ties."""
    rng = np.random.default_rng(seed)
    mask = None
    for rate in rates:
        values = {name: rng.integers(0, levels, shape) for name, shape in shapes.items()}
        smaller = prune(values, rate=rate, mask=mask, scope=scope)
        before = Mask.ones_like(values) if mask is None else mask
        assert smaller.issubset(before)
        groups = [list(values)] if scope == "global" else [[name] for name in values]
        for names in groups:
            alive = sum(int(before[name].sum()) for name in names)
            left = sum(int(smaller[name].sum()) for name in names)
            assert left == alive - int(np.floor(rate * alive + 0.5))
            gone = [values[name][before[name] & ~smaller[name]] for name in names]
            kept = [values[name][smaller[name]] for name in names]
            gone, kept = np.concatenate(gone), np.concatenate(kept)
            if len(gone) and len(kept):
                assert gone.max() <= kept.min()
        mask = smaller


def test_the_output_layer_loses_half_as_much():
    values = {"fc1.weight": np.arange(1000.0), "fc2.weight": np.arange(100.0)}
    mask = prune(values, rate=0.2, output_layer="fc2.weight")
    assert [row["kept"] for row in mask.layers] == [800, 90]
    assert prune(values, density=0.5, output_layer="fc2.weight")["fc2.weight"].sum() == 75


def test_density_counts_all_weights_and_revives_none():
    values = {"w": np.arange(10.0)}
    mask = prune(values, density=0.34)
    assert mask.kept == 3
    assert prune(values, density=0.8, mask=mask) == mask
    assert prune(values, density=0).kept == 0
    assert prune(values, density=1).kept == 10


def test_each_layer_may_have_a_density_of_its_own():
    values, densities = scores(), {"fc1.weight": 0.1, "fc2.weight": 0.5, "fc3.weight": 1.0}
    mask = prune(values, density=densities)
    assert [row["kept"] for row in mask.layers] == [8, 18, 15]  # 7.7, 17.5 and 15, halves rounded up
    for name, density in densities.items():
        assert (mask[name] == prune({name: values[name]}, density=density)[name]).all()
    assert prune(values, density=uniform(SHAPES, 0.3)) == prune(values, density=0.3)
    more = {"fc1.weight": 0.15, "fc2.weight": 0.7, "fc3.weight": 1.0}
    assert prune(values, density=more, mask=mask) == mask  # none is revived


@settings(max_examples=200, deadline=None)
@given(density=st.floats(0, 1), size=st.integers(1, 400))
def test_a_density_is_rounded_as_written(density, size):
    values = {"w": np.arange(size)}
    expected = int(np.floor(density * size + 0.5))
    assert prune(values, density=density).kept == expected
    assert prune(values, density={"w": density}).kept == expected


def erk_by_bisection(shapes, density):
    """d = min(1, eps * sum(shape) / prod(shape)) for the eps that keeps as many weights as wanted."""
    sizes = {name: np.prod(shape) for name, shape in shapes.items()}

    def at(eps):
        return {name: min(1.0, eps * sum(shape) / sizes[name]) for name, shape in shapes.items()}

    low, high = 0.0, float(max(sizes.values()))
    for _ in range(200):
        middle = (low + high) / 2
        kept = sum(value * sizes[name] for name, value in at(middle).items())
        low, high = (middle, high) if kept < density * sum(sizes.values()) else (low, middle)
    return at(high)


LENET = {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}
LAYERS = st.dictionaries(
    st.sampled_from("abcdef"),
    st.lists(st.integers(1, 12), min_size=2, max_size=4).map(tuple),
    min_size=1,
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(shapes=LAYERS, density=st.floats(0, 1))
def test_erk_keeps_what_was_asked_and_no_layer_more_than_it_has(shapes, density):
    densities = erk(shapes, density)
    assert list(densities) == list(shapes)
    assert all(0 <= value <= 1 for value in densities.values())
    for name, value in erk_by_bisection(shapes, density).items():
        assert densities[name] == pytest.approx(value, abs=1e-9)
    mask = prune({name: np.zeros(shape) for name, shape in shapes.items()}, density=densities)
    assert abs(mask.kept - density * mask.size) <= len(shapes) / 2 + 1e-6


def test_erk_of_lenet_by_hand():
    low = erk(LENET, 0.05)  # no layer is full
    eps = 0.05 * 266_200 / (1084 + 400 + 110)
    assert low == pytest.approx(
        {"fc1": eps * 1084 / 235_200, "fc2": eps * 400 / 30_000, "fc3": eps * 110 / 1000}
    )
    high = erk(LENET, 0.2)  # the output layer would have 3.67 times what it has
    eps = (0.2 * 266_200 - 1000) / (1084 + 400)
    assert high == pytest.approx({"fc1": eps * 1084 / 235_200, "fc2": eps * 400 / 30_000, "fc3": 1.0})
    assert erk(LENET, 1) == uniform(LENET, 1) == dict.fromkeys(LENET, 1.0)
    kernels = erk({"conv": (8, 4, 3, 3), "fc": (10, 50)}, 0.1)
    assert kernels["conv"] / kernels["fc"] == pytest.approx((18 / 288) / (60 / 500))


@settings(max_examples=100, deadline=None)
@given(
    shapes=LAYERS,
    densities=st.lists(st.floats(0.001, 1), min_size=2, max_size=5),
    seed=st.integers(0, 10**6),
)
def test_random_masks_of_falling_densities_are_nested(shapes, densities, seed):
    values, larger = scores(seed, shapes), None
    for density in sorted(densities, reverse=True):
        mask = prune(values, density=erk(shapes, density))
        assert larger is None or mask.issubset(larger)
        larger = mask


PAPER = {3: 51.28, 7: 21.07, 9: 13.52, 12: 6.95, 15: 3.58, 18: 1.85, 20: 1.19}


def test_lenet_ladder_prints_the_densities_of_the_paper():
    """Frankle and Carbin (2019): 20 % a round, 10 % in the output layer; from 266,200 weights on."""
    ladder = Experiment(dataset="mnist-5k", model="lenet-300-100", rate=0.2, rounds=20).ladder()
    for round, percent in PAPER.items():
        exact = 100 * (265_200 * 0.8**round + 1000 * 0.9**round) / 266_200
        assert f"{exact:.2f}" == f"{percent:.2f}"
        assert 100 * sum(ladder[round].values()) / 266_200 == pytest.approx(percent, abs=0.006)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_the_ladder_says_what_prune_does(scope):
    experiment = Experiment(rate=0.3, rounds=6, scope=scope)
    values = {f"{layer}.weight": array for layer, array in scores(5, experiment.layer_shapes).items()}
    mask, output = Mask.ones_like(values), list(values)[-1] if scope == "layer" else None
    for step in experiment.ladder():
        if scope == "layer":
            assert [row["kept"] for row in mask.layers] == list(step.values())
        assert mask.kept == sum(step.values())
        mask = prune(values, rate=0.3, mask=mask, scope=scope, output_layer=output)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "either rate or density"),
        ({"rate": 0.2, "density": 0.5}, "either rate or density"),
        ({"rate": 0}, r"rate=0: rate must be a number in \(0, 1\)"),
        ({"rate": 1}, "rate=1: rate must be"),
        ({"rate": float("nan")}, "rate=nan"),
        ({"rate": "much"}, "rate='much'"),
        ({"density": 1.5}, r"density=1.5: density must be a number in \[0, 1\]"),
        ({"density": {"w": 1.5}}, "density of 'w'=1.5"),
        ({"density": {"v": 0.5}}, r"the densities are for \['v'\], but got \['w'\]"),
        ({"density": {"w": 0.5}, "scope": "global"}, "needs scope='layer' and no output_layer"),
        ({"density": {"w": 0.5}, "output_layer": "w"}, "output_layer='w'"),
        ({"rate": 0.2, "scope": "globl"}, "scope='globl' is not known. Did you mean 'global'"),
        ({"rate": 0.2, "output_layer": "fc9"}, "output_layer='fc9' is not known"),
        ({"rate": 0.2, "mask": Mask({"v": [1]})}, r"the mask is for \['v'\], but got \['w'\]"),
        ({"rate": 0.2, "mask": Mask({"w": [1, 0]})}, r"shape \(2,\), but got shape \(3,\)"),
    ],
)
def test_bad_arguments_give_one_clear_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        prune({"w": np.arange(3.0)}, **arguments)


@pytest.mark.parametrize("distribution", [erk, uniform])
def test_a_distribution_needs_a_density(distribution):
    with pytest.raises(ValueError, match=r"density=1.1: density must be a number in \[0, 1\]"):
        distribution(SHAPES, 1.1)


def test_scores_must_be_numbers_where_weights_are_alive():
    values = {"w": np.array([np.nan, 1.0, 2.0])}
    with pytest.raises(ValueError, match="'w' contain NaN"):
        prune(values, rate=0.5)
    alive = prune(values, rate=0.5, mask=Mask({"w": [0, 1, 1]}))
    assert alive["w"].tolist() == [False, False, True]


def test_prune_wants_scores_by_name():
    with pytest.raises(ValueError, match="scores"):
        prune(np.arange(3.0), rate=0.5)
    with pytest.raises(ValueError, match="at least one"):
        prune({}, rate=0.5)


def test_tensors_are_welcome_and_left_alone():
    values = {"w": torch.tensor([3.0, 1.0, 2.0], requires_grad=True)}
    assert prune(values, rate=0.4)["w"].tolist() == [True, False, True]
    assert Mask({"w": torch.tensor([1, 0, 1])})["w"].tolist() == [True, False, True]


def test_a_mask_is_a_value():
    entries = {"a": np.array([[1, 0], [1, 1]]), "b": np.array([0, 0])}
    mask = Mask(entries)
    entries["a"][:] = 0
    assert list(mask) == ["a", "b"] and len(mask) == 2 and mask["a"].sum() == 3
    assert (mask.size, mask.kept, mask.density, mask.sparsity) == (6, 3, 0.5, 0.5)
    assert mask.layers[0] == {"name": "a", "shape": (2, 2), "size": 4, "kept": 3, "density": 0.75}
    assert mask.collapsed == ["b"]
    assert repr(mask) == "Mask: 3 of 6 weights kept (50.0%), 2 layers; collapsed: b"
    assert mask == Mask(dict(mask)) and mask != Mask.ones_like(mask)
    with pytest.raises(ValueError, match="read-only"):
        mask["a"][0, 0] = False
    with pytest.raises(TypeError):
        hash(mask)


@pytest.mark.parametrize(
    "entries", [{}, None, [1, 0], {"w": [0.5]}, {"w": [2]}, {"w": []}, {1: [1]}, {"w": [np.nan]}]
)
def test_a_mask_holds_zeros_and_ones_only(entries):
    with pytest.raises(ValueError, match="Mask"):
        Mask(entries)


def test_shuffle_keeps_the_counts_of_each_layer():
    mask = prune(scores(), rate=0.4)
    shuffled = mask.shuffle(np.random.default_rng(0))
    assert [row["kept"] for row in shuffled.layers] == [row["kept"] for row in mask.layers]
    assert shuffled != mask
    assert shuffled == mask.shuffle(np.random.default_rng(0))


def test_nested_masks_are_recognised():
    small, large = Mask({"w": [1, 0, 0]}), Mask({"w": [1, 0, 1]})
    assert small.issubset(large) and not large.issubset(small) and small.issubset(small)
    with pytest.raises(ValueError, match="the mask is for"):
        small.issubset(Mask({"v": [1, 1, 1]}))


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_bfloat16_scores_choose_as_the_same_numbers_in_float32(scope):
    draw = torch.Generator().manual_seed(0)
    coarse = {name: torch.rand(shape, generator=draw).bfloat16() for name, shape in SHAPES.items()}
    assert any(len(values.unique()) < values.numel() for values in coarse.values())  # there are ties
    fine = {name: values.float() for name, values in coarse.items()}
    assert prune(coarse, rate=0.4, scope=scope) == prune(fine, rate=0.4, scope=scope)


def test_a_mask_of_bfloat16_zeros_and_ones():
    assert Mask({"w": torch.tensor([1, 0]).bfloat16()}) == Mask({"w": [1, 0]})


def test_a_mapping_is_taken_for_the_mask_it_makes():
    before = prune(scores(0), rate=0.4)
    for mapping in (dict(before), {name: torch.tensor(kept) for name, kept in before.items()}):
        assert prune(scores(1), rate=0.3, mask=mapping) == prune(scores(1), rate=0.3, mask=before)
    with pytest.raises(ValueError, match="every entry of 'a' must be 0 or 1"):
        prune({"a": np.ones(2)}, rate=0.5, mask={"a": [0.5, 1]})
    with pytest.raises(ValueError, match="a Mask needs a mapping"):
        prune({"a": np.ones(2)}, rate=0.5, mask=np.ones(2))
