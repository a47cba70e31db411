"""Bytes against real files, packing, units that may go, int8, ONNX, and the stored study of lesson 11."""

import copy
import inspect
import math
import random
import subprocess
import sys
from itertools import groupby
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import lthviz
from lthviz import deploy, models, studies
from lthviz.atlas_build import CLASS_ROOM
from lthviz.masks import Mask
from lthviz.store import atlas_store
from lthviz.tickets import apply_mask
from lthviz.train import generator

TYPES = {8: np.int8, 16: np.float16, 32: np.float32}
MODES = sorted(deploy.FORMATS)


def weights_of(shape, density, bits, seed=0):
    """Weights of a type with exactly that share of them different from zero, and 2:4 where that is enough."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(1, 100, shape)
    gone = rng.permutation(weight.size)[math.floor(density * weight.size) :]
    weight.ravel()[gone] = 0
    return weight.astype(TYPES[bits])


def two_of_four(weight):
    """At most two of every four places in a row, the first ones that are kept."""
    matrix = weight.reshape(len(weight), -1)
    for row in matrix:
        for start in range(0, len(row), 4):
            row[start : start + 4][np.flatnonzero(row[start : start + 4])[2:]] = 0
    return weight


# --- Bytes


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=4), st.floats(0, 1), st.sampled_from([8, 16, 32]),
    st.sampled_from(MODES),
)  # fmt: skip
def test_a_file_has_the_claimed_size_and_gives_the_weights_back(shape, density, bits, form):
    weight = weights_of(tuple(shape), density, bits)
    if form == "2:4":
        weight = two_of_four(weight)
    arrays = deploy.pack(weight, form)
    on_disk = b"".join(array.tobytes() for array in arrays)
    assert len(on_disk) == deploy.size(weight.shape, np.count_nonzero(weight), form, bits)
    back = deploy.unpack(arrays, form, weight.shape)
    assert back.dtype == weight.dtype and np.array_equal(back, weight)


def test_files_on_disk(tmp_path):
    """The bytes that the file system counts, for a whole network."""
    mask = atlas_store().load(CLASS_ROOM[0]).mask(12, 0)
    claimed = deploy.sizes(mask)
    assert list(claimed) == ["dense", "bitmask", "CSR-16", "CSR-32"]
    for form, expected in claimed.items():
        path = tmp_path / form
        with path.open("wb") as file:
            for kept in mask.values():
                for array in deploy.pack(kept.astype(np.float32), form):
                    array.tofile(file)
        assert path.stat().st_size == expected
    assert claimed["dense"] == 25_100 * 4 and claimed["bitmask"] == math.ceil(25_100 / 8) + 4 * mask.kept


def test_csr_is_that_of_scipy():
    sparse = pytest.importorskip("scipy.sparse")
    weight = weights_of((7, 30), 0.2, 32)
    pointer, column, value = deploy.pack(weight, "CSR-32")
    other = sparse.csr_matrix(weight)
    assert np.array_equal(pointer, other.indptr) and np.array_equal(column, other.indices)
    assert np.array_equal(value, other.data)


def test_two_of_four_of_the_language_lesson_fits():
    rng = np.random.default_rng(2)
    weight = rng.normal(size=(6, 16)).astype(np.float32)
    scores = np.abs(weight).reshape(6, 4, 4)
    keep = scores >= np.sort(scores, -1)[..., 2:3]
    pruned = weight * keep.reshape(6, 16)
    assert np.array_equal(deploy.unpack(deploy.pack(pruned, "2:4"), "2:4", (6, 16)), pruned)
    assert deploy.sizes(Mask({"w": pruned != 0}))["2:4"] == 6 * 8 * 4 + 6 * 8 * 2 // 8
    with pytest.raises(ValueError, match="more than two values in four places"):
        deploy.pack(weight, "2:4")
    assert "2:4" not in deploy.sizes(Mask({"w": weight != 0}))


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("form", ["bitmask", "CSR-16", "CSR-32"])
def test_the_break_even_is_where_counting_bytes_says(form, bits):
    shape = (64, 80)
    dense = deploy.size(shape, 0, "dense", bits)
    pays = [deploy.size(shape, kept, form, bits) < dense for kept in range(64 * 80 + 1)]
    assert sum(pays) and pays == sorted(pays, reverse=True)
    assert abs(deploy.break_even(shape, form, bits) - sum(pays) / (64 * 80)) < 1e-3


def test_the_break_even_in_the_papers_formulas():
    """A bit for each place pays below 1 - 1/bits; an index of i bits for each value below bits / (bits + i)."""
    large = (4096, 4096)
    assert deploy.break_even(large, "bitmask") == 1 - 1 / 32
    assert deploy.break_even(large, "bitmask", 8) == 1 - 1 / 8
    assert deploy.break_even(large, "CSR-32") == pytest.approx(1 / 2, abs=1e-3)
    assert deploy.break_even(large, "CSR-16") == pytest.approx(2 / 3, abs=1e-3)
    assert deploy.break_even(large, "CSR-16", 8) == pytest.approx(1 / 3, abs=1e-3)
    assert deploy.break_even(large, "2:4") == 1 and deploy.break_even((1, 1), "2:4") == 0
    assert deploy.break_even(large, "dense") == 0


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: deploy.size((2, 3), 1, "CSR"), "form='CSR' is not known. Did you mean 'CSR-"),
        (lambda: deploy.size((2, 3), 1, "dense", 12), "bits=12 is not known."),
        (lambda: deploy.size((2, 3), 7, "dense"), "kept=7: kept must be a whole number of at least 0 and at most 6"),
        (lambda: deploy.size((6,), 1, "dense"), "at least two dimensions"),
        (lambda: deploy.size((2, 2**16 + 1), 1, "CSR-16"), "16 bits number 65,536 columns"),
        (lambda: deploy.pack(np.zeros((2, 3)), "bitmask"), "weight is of type float64: its values must have 8, 16 or 32"),
        (lambda: deploy.pack(torch.zeros(2, 3).bfloat16(), "bitmask"), "weight is of type torch.bfloat16"),
        (lambda: deploy.sizes(Mask({"w": np.ones((2, 2))}), 7), "bits=7"),
        (lambda: deploy.measure({"one": lambda: None}, 0), "repeats=0"),
    ],
)  # fmt: skip
def test_impossible_arguments_are_answered(call, words):
    with pytest.raises(ValueError) as error:
        call()
    assert words in str(error.value)


# --- int8


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99), st.floats(0, 1))
def test_int8_moves_no_weight_by_more_than_half_a_step(rows, columns, seed, density):
    rng = np.random.default_rng(seed)
    weight = (rng.normal(size=(rows, columns)) * (rng.random((rows, columns)) < density)).astype(np.float32)
    values, scales = deploy.quantize(weight)
    assert values.dtype == np.int8 and scales.shape == (rows, 1) and scales.dtype == np.float32
    assert (np.abs(values * scales - weight) <= scales / 2 * (1 + 1e-4)).all()
    assert not values[weight == 0].any() and np.abs(values.astype(int)).max() <= 127
    full = np.abs(weight).max(1) > 0
    assert (np.abs(values.astype(int)).max(1)[full] == 127).all() and (scales[~full] == 1).all()


def test_int8_of_a_convolution_has_a_scale_a_filter():
    assert deploy.quantize(np.ones((3, 2, 5, 5)))[1].shape == (3, 1, 1, 1)


def test_int8_of_sixteen_bits_is_that_of_the_same_numbers_in_thirty_two():
    weight = torch.randn(5, 7, generator=generator(0, "weight")).bfloat16()
    for mine, other in zip(deploy.quantize(weight), deploy.quantize(weight.float().numpy())):
        assert np.array_equal(mine, other)


# --- Units that may go


def random_mask(model, density, draw, kill=True):
    """A mask at random places, with some whole rows and columns gone."""
    masks = {}
    for name, weight in model.named_parameters():
        if weight.ndim < 2:
            continue
        kept = torch.rand(weight.shape, generator=draw) < density
        if kill:
            kept[torch.rand(len(kept), generator=draw) < 0.3] = False
            kept[:, torch.rand(kept.shape[1], generator=draw) < 0.2] = False
        masks[name] = kept
    last = list(masks)[-1]
    masks[last][0] = True  # not everything
    return Mask(masks)


def randomise(model, draw):
    """Weights, biases and statistics of a normalisation that are nothing special."""
    with torch.no_grad():
        for value in (*model.parameters(), *model.buffers()):
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=draw) * 2 - 0.8)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_var.abs_().add_(0.1)
    return model.eval()


def undrawn(*parts):
    """A Sequential of layers, made without moving torch's own generator."""
    with torch.random.fork_rng():
        return nn.Sequential(*[part() for part in parts])


NETWORKS = {
    "mlp": ((14, 14), lambda: models.build("mlp-30-20", (14, 14), 10, generator(0, "init"))),
    "conv-2": ((12, 12), lambda: models.build("conv-2", (12, 12), 10, generator(0, "init"))),
    "no padding": ((3, 13, 13), lambda: undrawn(
        lambda: nn.Conv2d(3, 8, 3, stride=2), nn.ReLU, lambda: nn.Conv2d(8, 6, 2, dilation=2), nn.ReLU,
        lambda: nn.AvgPool2d(2), nn.Flatten, lambda: nn.Linear(24, 7), nn.ReLU, lambda: nn.Linear(7, 4))),
    "normalised": ((2, 9, 9), lambda: undrawn(
        lambda: nn.Conv2d(2, 8, 3, padding=1, bias=False), lambda: nn.BatchNorm2d(8), nn.ReLU,
        lambda: nn.Conv2d(8, 9, 3, bias=False), lambda: nn.BatchNorm2d(9), nn.ReLU,
        lambda: nn.AdaptiveAvgPool2d(2), nn.Flatten, lambda: nn.BatchNorm1d(36), lambda: nn.Dropout(0.5),
        lambda: nn.Linear(36, 12, bias=False), lambda: nn.BatchNorm1d(12, affine=False), nn.ReLU,
        lambda: nn.Linear(12, 3, bias=False), lambda: nn.Softmax(1))),
    "max pool with a rim": ((1, 8, 8), lambda: undrawn(
        lambda: nn.Conv2d(1, 6, 3), nn.ReLU, lambda: nn.MaxPool2d(3, padding=1), lambda: nn.Conv2d(6, 5, 2),
        nn.Identity, nn.Flatten, lambda: nn.Linear(5, 3))),
}  # fmt: skip


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("density", [0.9, 0.3, 0.06])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_shrunk_network_says_the_same(name, density, device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    shape, build = NETWORKS[name]
    draw = generator(3, f"{name} {density}")
    model = randomise(build(), draw).to(device).train()
    mask = random_mask(model, density, draw)
    x = torch.rand(16, *shape, generator=draw).to(device)
    before = copy.deepcopy(model.state_dict())
    small = deploy.shrink(model, mask)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.training and not any(part.training for part in small.modules())
    apply_mask(model.eval(), mask)
    with torch.no_grad():
        assert torch.allclose(small(x), model(x), rtol=1e-4, atol=1e-4)
    sizes = [sum(p.numel() for p in m.parameters() if p.ndim > 1) for m in (small, model)]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("seed", range(4))
def test_no_dead_unit_is_left_in_a_multilayer_perceptron(seed):
    draw = generator(seed, "mask")
    model = randomise(models.build("mlp-20-15-10", (12,), 4, generator(0, "init")), draw)
    mask = random_mask(model, 0.12, draw)
    dead = deploy.dead_units(mask)
    small = deploy.shrink(model, mask)
    widths = [len(small.get_parameter(name)) for name in dead]
    assert widths == [max(1, int((~gone).sum())) for gone in dead.values()]
    assert sum(gone.sum() for gone in dead.values()) > 5


def test_dead_units_are_those_without_a_path(seed=5):
    """Against a walk along every path of a small network."""
    rng = np.random.default_rng(seed)
    mask = Mask(
        {f"{i}": rng.random(shape) < 0.25 for i, shape in enumerate([(6, 5), (7, 6), (5, 7), (3, 5)])}
    )
    layers = list(mask.values())

    def forward(layer, unit):
        return layer == 3 or any(
            layers[layer + 1][v, unit] and forward(layer + 1, v) for v in range(len(layers[layer + 1]))
        )

    def backward(layer, unit):
        return layer < 0 or any(
            layers[layer][unit, u] and backward(layer - 1, u) for u in range(layers[layer].shape[1])
        )

    found = list(deploy.dead_units(mask).values())
    assert len(found) == 3 and any(gone.any() for gone in found)
    for layer, gone in enumerate(found):
        assert gone.tolist() == [not (forward(layer, u) and backward(layer, u)) for u in range(len(gone))]


def test_dead_units_across_a_flattened_convolution():
    conv, fc, out = np.ones((3, 1, 3, 3), bool), np.zeros((4, 12), bool), np.ones((2, 4), bool)
    fc[:2, 4:8] = True  # only the second filter is needed, and two of the units
    gone = deploy.dead_units({"conv": conv, "fc": fc, "out": out})
    assert gone["conv"].tolist() == [True, False, True] and gone["fc"].tolist() == [False, False, True, True]
    with pytest.raises(ValueError, match="out has 5 inputs, which do not fit the 4 units"):
        deploy.dead_units({"fc": fc, "out": np.ones((2, 5), bool)})


def test_dead_units_across_a_flattened_linear():
    """Its columns are position after position: here three positions of two units."""
    out = np.ones((2, 6), bool)
    out[:, [0, 2, 4]] = False
    assert deploy.dead_units({"fc": np.ones((2, 4), bool), "out": out})["fc"].tolist() == [True, False]


def test_a_constant_in_front_of_a_padding_convolution_stays():
    """Its border cannot be folded; a constant of 0 can."""
    model = models.build("conv-2", (8, 8), 3, generator(0, "init")).eval()
    mask = {name: np.ones(w.shape, bool) for name, w in model.named_parameters() if w.ndim > 1}
    mask["conv1.weight"][:3] = False
    with torch.no_grad():
        model.conv1.bias[:3] = torch.tensor([0.5, 0.0, -0.5])  # behind the ReLU 0.5, 0 and 0
    assert deploy.shrink(model, Mask(mask)).conv1.out_channels == 6


def test_a_network_that_says_the_same_to_everybody_keeps_a_unit_a_layer():
    model = randomise(models.build("mlp-9-8", (5,), 3, generator(0, "init")), generator(0, "values"))
    mask = Mask({name: np.zeros(w.shape, bool) for name, w in model.named_parameters() if w.ndim > 1})
    small = deploy.shrink(model, mask)
    assert [len(w) for w in small.parameters() if w.ndim > 1] == [1, 1, 3]
    apply_mask(model, mask)
    x = torch.rand(4, 5, generator=generator(0, "x"))
    assert torch.allclose(small(x), model(x))


@pytest.mark.parametrize(
    "part, words",
    [
        (lambda: nn.Sigmoid(), "model[1] is a Sigmoid; shrink knows Linear, Conv2d"),
        (lambda: nn.Sequential(nn.ReLU()), "model[1] is a Sequential"),
        (lambda: nn.AvgPool2d(3, padding=1), "model[1] is a AvgPool2d; shrink knows those without padding"),
        (lambda: nn.AvgPool2d(2, divisor_override=3), "without padding and divisor_override"),
        (lambda: nn.MaxPool2d(2, padding=1, dilation=2), "with padding or dilation, not with both"),
        (lambda: nn.BatchNorm2d(3), "model[1] is a BatchNorm2d with 3 inputs, which do not fit the 4 units before it"),
        (lambda: nn.BatchNorm1d(4), "model[1] is a BatchNorm1d behind a convolution; shrink needs a Flatten"),
        (lambda: nn.BatchNorm2d(4, track_running_stats=False), "those with running statistics"),
        (lambda: nn.Conv2d(4, 4, 3, groups=2), "groups=1"),
        (lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), "padding_mode='zeros'"),
        (lambda: nn.Flatten(2), "from dimension 1 to the last"),
        (lambda: nn.ReLU(), "model[2] is a Linear behind a convolution; shrink needs a Flatten"),
    ],
)  # fmt: skip
def test_layers_for_which_it_would_not_be_exact_are_refused(part, words):
    model = undrawn(lambda: nn.Conv2d(1, 4, 3), part, lambda: nn.Linear(4, 2))
    with pytest.raises(ValueError) as error:
        deploy.shrink(model, Mask({"0.weight": np.ones((4, 1, 3, 3))}))
    assert words in str(error.value)


@pytest.mark.parametrize(
    "between, columns, words",
    [
        ((lambda: nn.MaxPool2d(2),), 4, "model[1] is a MaxPool2d behind a Linear or a Flatten"),
        ((lambda: nn.BatchNorm2d(4),), 4, "model[1] is a BatchNorm2d behind a Linear or a Flatten"),
        ((lambda: nn.BatchNorm1d(3),), 4, "model[1] is a BatchNorm1d with 3 inputs, which do not fit the 4 units"),
        ((lambda: nn.BatchNorm1d(4), nn.Flatten), 16, "model[1] is a BatchNorm1d of more than two dimensions"),
        ((nn.ReLU,), 5, "model[2] is a Linear with 5 inputs, which do not fit the 4 units before it"),
        ((nn.Flatten,), 6, "model[2] is a Linear with 6 inputs, which do not fit the 4 units before it"),
        ((lambda: nn.Conv2d(4, 4, 1),), 4, "model[1] is a Conv2d behind a Linear or a Flatten"),
        ((lambda: nn.LayerNorm(4),), 4, "model[1] is a LayerNorm"),
    ],
)  # fmt: skip
def test_what_mixes_the_features_of_a_linear_is_refused(between, columns, words):
    model = undrawn(lambda: nn.Linear(2, 4), *between, lambda: nn.Linear(columns, 2))
    with pytest.raises(ValueError) as error:
        deploy.shrink(model, Mask({"0.weight": np.ones((4, 2))}))
    assert words in str(error.value)


def fitting_layers(x, draw):
    """Layers that may follow values of this shape, whether shrink knows them there or not."""
    n = int(torch.randint(1, 5, (), generator=draw))
    flag = bool(torch.randint(2, (), generator=draw))
    layers = [
        lambda: nn.Linear(x.shape[-1], n, bias=flag),
        lambda: nn.ReLU(inplace=flag),
        nn.Flatten,
        lambda: nn.Dropout(0.5),
    ]
    if x.ndim < 4:
        layers.append(lambda: nn.BatchNorm1d(x.shape[1], affine=flag))
    else:
        layers.append(lambda: nn.BatchNorm2d(x.shape[1], affine=flag))
        layers.append(lambda: nn.Conv2d(x.shape[1], n, 1 + flag, padding=n % 2, bias=n < 3))
    if x.ndim > 2:
        layers.append(lambda: nn.MaxPool2d(2, 1 + flag, n % 2, ceil_mode=n < 3))
        layers.append(lambda: nn.AvgPool2d(2, ceil_mode=flag, divisor_override=3 if n == 4 else None))
        layers.append(lambda: nn.AdaptiveAvgPool2d(n))
    return layers


def any_network(draw):
    """A Sequential of whatever fits, in float64; inputs for it; whether a BatchNorm1d has three dimensions."""
    shapes = [(5,), (3, 4), (2, 4, 5), (1, 6, 6)]
    x = inputs = torch.randn(4, *shapes[int(torch.randint(4, (), generator=draw))], generator=draw).double()
    parts, deep = [], False
    while sum(isinstance(part, nn.Linear | nn.Conv2d) for part in parts) < 3 and len(parts) < 9:
        layers = fitting_layers(x, draw)
        which = 0 if len(parts) > 4 else int(torch.randint(len(layers), (), generator=draw))
        part = randomise(undrawn(layers[which]), draw)[0].double().eval()
        try:
            with torch.no_grad():
                x = part(x.clone())
        except RuntimeError:  # too small a picture for this pool
            continue
        deep |= isinstance(part, nn.BatchNorm1d) and x.ndim == 3
        parts.append(part)
    return nn.Sequential(*parts), inputs, deep


def test_any_shrunk_network_says_the_same_or_is_refused():
    """Six hundred networks of layers in any order, for rows, sequences and pictures."""
    smaller = refused = 0
    for seed in range(600):
        draw = generator(seed, "any network")
        model, x, deep = any_network(draw)
        mask = random_mask(model, 0.6, draw)
        try:
            small = deploy.shrink(model, mask)
        except ValueError as error:
            assert "shrink" in str(error) or "do not fit" in str(error)
            refused += 1
            continue
        apply_mask(model, mask)
        with torch.no_grad():
            expected = model(x.clone())
            if deep:  # cannot be seen in the model; then the smaller network does not take the input
                try:
                    small(x.clone())
                except RuntimeError:
                    continue
            found = small(x.clone())
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9), (seed, model)
        smaller += sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
    assert smaller > 150 and refused < 300


@pytest.mark.parametrize("positions", [1, 3])
def test_a_linear_at_several_positions_and_a_flatten(positions):
    for seed in range(20):
        draw = generator(seed, "positions")
        model = undrawn(
            lambda: nn.Linear(4, 3), lambda: nn.ReLU(inplace=True), nn.Flatten,
            lambda: nn.BatchNorm1d(3 * positions), lambda: nn.Linear(3 * positions, 2),
        )  # fmt: skip
        if seed % 2:
            model[3].bias = None  # as with bias=False, which newer versions of torch have
        mask = random_mask(randomise(model, draw), 0.7, draw, kill=False)
        mask = Mask({**mask, "0.weight": mask["0.weight"] & (np.arange(3) > 0)[:, None]})
        x = torch.rand(5, positions, 4, generator=draw)
        small = deploy.shrink(model, mask)
        assert small[0].out_features < 3 and small[4].in_features == positions * small[0].out_features
        apply_mask(model, mask)
        with torch.no_grad():
            assert torch.allclose(small(x), model(x), atol=1e-5)


@pytest.mark.parametrize("kind, off", [(torch.float64, 1e-12), (torch.bfloat16, 0.1)])
def test_other_types_shrink_too(kind, off):
    shape, build = NETWORKS["normalised"]
    draw = generator(0, "types")
    model = randomise(build(), draw).to(kind)
    mask = random_mask(model, 0.3, draw)
    small, x = deploy.shrink(model, mask), torch.rand(8, *shape, generator=draw).to(kind)
    apply_mask(model, mask)
    with torch.no_grad():
        assert small(x).dtype == kind and torch.allclose(small(x), model(x), rtol=off, atol=off)


class Residual(nn.Sequential):
    """Not only one layer after the other."""

    def forward(self, x):
        return x + super().forward(x)


def test_other_models_are_refused():
    linear = undrawn(lambda: nn.Linear(2, 2))[0]
    mask = Mask({"0.weight": np.ones((2, 2))})
    with pytest.raises(ValueError, match="model=Linear: model must be a torch.nn.Sequential"):
        deploy.shrink(linear, mask)
    with pytest.raises(ValueError, match="used twice"):
        deploy.shrink(nn.Sequential(linear, nn.ReLU(), linear), mask)
    tied = undrawn(lambda: nn.Linear(2, 2))[0]
    tied.weight = linear.weight
    with pytest.raises(ValueError, match="no parameter that two layers share"):
        deploy.shrink(nn.Sequential(linear, nn.ReLU(), tied), mask)
    with pytest.raises(ValueError, match="model=Residual: .* a forward of its own"):
        deploy.shrink(Residual(linear, nn.ReLU()), mask)
    hooked = undrawn(lambda: nn.Linear(2, 2), nn.ReLU, lambda: nn.Linear(2, 2))
    hooked[1].register_forward_hook(lambda layer, inputs, output: output + 1)
    with pytest.raises(ValueError, match=r"model\[1\] is a ReLU with a forward hook"):
        deploy.shrink(hooked, mask)
    with pytest.raises(ValueError, match="the mask"):
        deploy.shrink(nn.Sequential(linear), Mask({"fc9.weight": np.ones((2, 2))}))


# --- Time and ONNX


@pytest.mark.parametrize("device, kind", [("cpu", torch.float32), ("cuda", torch.float16)])
def test_every_way_to_multiply_gives_the_same_product(device, kind):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    draw = generator(0, "weights")
    weight = torch.randn(64, 128, generator=draw)
    weight.view(64, 32, 4)[..., 2:] = 0
    weight, x = weight.to(device, kind), torch.randn(128, 64, generator=draw).to(device, kind)
    ways = deploy.products(weight, x)
    able = device == "cuda" and torch.cuda.get_device_capability() >= (8, 0)
    assert list(ways) == ["dense", "CSR", *(["2:4"] if able else [])]
    csr = inspect.getclosurevars(ways["CSR"]).nonlocals["csr"]
    assert csr.col_indices().dtype == csr.crow_indices().dtype == torch.int32
    for way in ways.values():
        assert torch.allclose(
            way().float(), weight.float() @ x.float(), rtol=2e-2, atol=5e-1 if able else 1e-4
        )


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_a_type_is_multiplied_in_the_ways_that_there_are_for_it(kind):
    draw = generator(0, "weights")
    weight, x = (torch.randn(shape, generator=draw).to(kind) for shape in ((6, 8), (8, 3)))
    ways = deploy.products(weight, x)
    assert list(ways) == (["dense", "CSR"] if kind == torch.float64 else ["dense"])
    assert all(torch.allclose(way().double(), (weight @ x).double()) for way in ways.values())
    assert set(deploy.measure(ways, 1)) == set(ways)


def test_measuring_gives_one_value_a_repetition_and_leaves_the_threads():
    threads, seen = torch.get_num_threads(), []
    found = deploy.measure(
        {"a": lambda: seen.append(torch.get_num_threads()), "b": lambda: sum(range(5000))}, 4
    )
    assert {name: values.shape for name, values in found.items()} == {"a": (4,), "b": (4,)}
    assert all((values > 0).all() for values in found.values()) and set(seen) == {1}
    assert torch.get_num_threads() == threads


def test_a_measurement_is_of_one_call_and_the_calls_take_turns(monkeypatch):
    clock, order = [0.0], []
    monkeypatch.setattr(deploy, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def lasting(name, seconds):
        def call():
            clock[0] += seconds
            order.append(name)

        return call

    found = deploy.measure({"short": lasting("short", 0.0001), "long": lasting("long", 0.001)}, 5)
    assert np.allclose(found["short"], 0.0001) and np.allclose(found["long"], 0.001)
    turns = [name for name, _ in groupby(order)]
    assert turns == ["short", "long"] * (len(turns) // 2) and len(turns) >= 2 * 5


def needs_onnx():
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed")


@pytest.mark.parametrize("name", ["mlp", "conv-2"])
def test_an_onnx_file_says_what_the_model_says(name, tmp_path):
    needs_onnx()
    shape, build = NETWORKS[name]
    draw = generator(1, name)
    model = randomise(build(), draw)
    mask = random_mask(model, 0.3, draw)
    small = deploy.shrink(model, mask).train()
    deploy.export(small, torch.rand(2, *shape, generator=draw), tmp_path / "net.onnx")
    assert small.training and [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    run = deploy.onnx_function(tmp_path / "net.onnx")
    for batch in (1, 5):
        x = torch.rand(batch, *shape, generator=draw)
        assert np.allclose(run(x.numpy()), small.eval()(x).detach().numpy(), rtol=1e-4, atol=1e-4)


def test_exporting_leaves_every_training_flag_and_the_random_state(tmp_path):
    needs_onnx()
    draw = generator(0, "values")
    model = randomise(
        undrawn(lambda: nn.Linear(4, 3), lambda: nn.BatchNorm1d(3), lambda: nn.Dropout(0.5)), draw
    )
    model.train()[1].eval()  # a frozen batch norm
    flags, before = [module.training for module in model.modules()], torch.get_rng_state()
    deploy.export(model, torch.rand(2, 4, generator=draw), tmp_path / "net.onnx")
    assert [module.training for module in model.modules()] == flags == [True, True, False, True]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_double_model_is_exported_as_such_and_other_types_are_answered(tmp_path):
    needs_onnx()
    draw, path = generator(0, "values"), tmp_path / "net.onnx"
    model, x = undrawn(lambda: nn.Linear(4, 3)).double(), torch.rand(2, 4, generator=draw)
    with pytest.raises(
        ValueError, match="example is of type torch.float32: it must be of the model's, torch.float64"
    ):
        deploy.export(model, x, path)
    with pytest.raises(ValueError, match="model holds torch.bfloat16.*export model.float()"):
        deploy.export(copy.deepcopy(model).bfloat16(), x.bfloat16(), path)
    assert not path.exists()
    deploy.export(model, x.double(), path)
    found = deploy.onnx_function(path)(x.double().numpy())
    assert found.dtype == np.float64 and np.allclose(found, model(x.double()).detach().numpy(), rtol=1e-12)


def test_without_onnx_a_sentence_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(deploy, "find_spec", lambda package: None)
    with pytest.raises(ImportError, match=r"onnx is not installed.*lthviz\[deploy\]"):
        deploy.export(nn.Identity(), torch.ones(2, 2), tmp_path / "x")
    with pytest.raises(ImportError, match="onnxruntime is not installed"):
        deploy.onnx_function(tmp_path / "x")


# --- The house


def test_nothing_touches_the_global_random_states():
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    model = models.build("mlp-9-8", (5,), 3, generator(0, "init"))
    mask = random_mask(model, 0.3, generator(0, "mask"))
    deploy.shrink(model, mask)
    deploy.sizes(mask), deploy.dead_units(mask), deploy.quantize(model.fc1.weight)
    deploy.measure(deploy.products(torch.eye(3), torch.eye(3)), 2)
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(torch.get_rng_state(), before[2])


def test_counting_bytes_and_the_explorer_need_no_torch():
    code = (
        "import sys, lthviz.deploy\nfrom lthviz.explorer.lessons.deploy import format_browser\nformat_browser()\n"
        "print({'torch', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


# --- The study


def test_a_part_of_the_study_again():
    from lthviz.studies.deploy import made_small

    stored, again = studies.load("deploy"), made_small(seeds=range(2), rounds=1)
    assert np.allclose(again["accuracy"], stored["accuracy"][:, :2, :2], atol=0.01)
    assert np.allclose(again["int8"], stored["int8"][:, :2, :2], atol=0.01)
    for name in stored:
        if name.startswith("pruned_at/"):
            assert ((again[name] > 1) == (stored[name][:2] > 1)).mean() > 0.99


def test_the_tickets_of_the_study_are_those_of_the_atlas():
    stored, atlas = studies.load("deploy"), atlas_store().load(CLASS_ROOM[0])
    assert stored["seeds"].tolist() == list(atlas.seeds) and stored["rate"] == atlas.experiment.rate
    rounds = stored["accuracy"].shape[1]
    assert np.allclose(stored["accuracy"][0].mean(1), atlas.accuracy("rewind")[:rounds].mean(1), atol=0.004)
    for layer in atlas.layers:
        for r in range(rounds):
            there = stored[f"pruned_at/layer/{layer}"] > r
            assert there.sum() == atlas.kept[layer][r].sum()
        first = stored[f"pruned_at/layer/{layer}"] > 1
        assert (first == (atlas.pruned_at[layer] > 1)).mean() > 0.99


def test_the_public_room():
    assert lthviz.deploy is deploy
