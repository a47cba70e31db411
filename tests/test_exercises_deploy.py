"""Lesson 11: solutions against the library, the explorer, and what the prose says of the study."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from lthviz import deploy, models, studies
from lthviz.atlas_build import CLASS_ROOM
from lthviz.exercises import deploy as lesson
from lthviz.explorer.lessons.deploy import DENSITIES, LAYERS, format_browser
from lthviz.masks import Mask
from lthviz.result import interval
from lthviz.store import atlas_store
from lthviz.train import generator

# --- Solutions against the library


@pytest.mark.parametrize("shape, density", [((30, 50), 0.2), ((1, 9), 1.0), ((8, 3), 0.0)])
def test_csr_bytes_are_the_librarys(shape, density):
    mask = np.random.default_rng(0).random(shape) < density
    for value_bits in (8, 16, 32):
        for index_bits in (16, 32):
            expected = deploy.size(shape, int(mask.sum()), f"CSR-{index_bits}", value_bits)
            assert lesson.csr_bytes(mask, value_bits, index_bits) == expected


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_break_evens_are_those_of_a_large_layer(bits):
    for index in (16, 32):
        bitmask, csr = lesson.break_even(bits, index)
        assert bitmask == pytest.approx(deploy.break_even((4096, 4096), "bitmask", bits))
        assert csr == pytest.approx(deploy.break_even((4096, 4096), f"CSR-{index}", bits), abs=1e-3)


def test_remove_units_is_shrink_on_one_hidden_layer():
    draw = generator(0, "values")
    model = models.build("mlp-12", (7,), 4, generator(0, "init")).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(torch.randn(value.shape, generator=draw))
        model.fc1.weight[:3] = 0
        model.fc2.weight[:, 2:5] = 0
    full = Mask({name: np.ones(w.shape) for name, w in model.named_parameters() if w.ndim > 1})
    parts = [
        value.detach().numpy()
        for value in (model.fc1.weight, model.fc1.bias, model.fc2.weight, model.fc2.bias)
    ]
    small = deploy.shrink(model, full)
    theirs = [value.detach().numpy() for value in small.parameters()]
    mine = lesson.remove_units(*parts)
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(mine, theirs, strict=True)) and len(mine[0]) == 7
    x = np.random.default_rng(1).normal(size=(7, 20))
    before, after = (
        w2 @ np.maximum(w1 @ x + b1[:, None], 0) + b2[:, None] for w1, b1, w2, b2 in (parts, mine)
    )
    assert np.allclose(before, after, atol=1e-5)


def test_deployment_against_a_sorted_table():
    rng = np.random.default_rng(0)
    names = ("bytes", "memory", "microseconds")
    for _ in range(200):
        options = [dict(zip(("accuracy", *names), rng.integers(0, 6, 4).tolist())) for _ in range(5)]
        device = dict(zip(names, rng.integers(0, 6, 3).tolist()))
        ranked = sorted(range(5), key=lambda i: (-options[i]["accuracy"], options[i]["bytes"], i))
        fitting = [i for i in ranked if all(options[i][name] <= device[name] for name in names)]
        assert lesson.deployment(options, device) == (fitting or [-1])[0]


def test_other_ways_to_write_it_pass():
    def pruned_by_loops(W1, b1, W2, b2):
        b2, stays = b2.copy(), []
        for unit in range(len(W1)):
            if not (W1[unit] != 0).any():
                b2 += W2[:, unit] * max(b1[unit], 0)
            elif (W2[:, unit] != 0).any():
                stays.append(unit)
        return W1[stays], b1[stays], W2[:, stays], b2

    assert lesson.check_remove_units(pruned_by_loops).passed
    assert lesson.check_csr_bytes(
        lambda mask, v, i: np.count_nonzero(mask) * (v / 8 + i / 8) + 4 * len(mask) + 4
    ).passed
    assert lesson.check_break_even(lambda v, i: [(v - 1) / v, 1 / (1 + i / v)]).passed
    assert lesson.check_break_even(lambda v, i: (Fraction(v - 1, v), Fraction(v, v + i))).passed


def test_none_is_no_number():
    def silent(options, device):
        number = lesson.deployment(options, device)
        return number if number >= 0 else None

    assert lesson.check_deployment(silent).message == "Nothing fits: return -1, not None."


# --- The explorer


def test_the_explorer_shows_the_bytes_of_the_library():
    explorer = format_browser()
    raw = explorer.arrays["bytes"]
    shown = np.frombuffer(raw["data"], raw["dtype"]).reshape(raw["shape"])
    assert raw["dims"] == ["bar", "density", "bits", "all|layer"] and len(explorer._static()) > 1000
    for f, form in enumerate(deploy.FORMATS):
        for d, density in enumerate(DENSITIES):
            for b, bits in enumerate(deploy.BITS):
                layers = [
                    deploy.size(shape, int(np.floor(density * np.prod(shape) + 0.5)), form, bits)
                    for shape in LAYERS.values()
                ]
                right = np.array([sum(layers[:3]), *layers])
                if form == "2:4" and density > 0.5:  # such a mask keeps at most half
                    right = np.full(len(right), np.nan)
                assert np.allclose(shown[f, d, b], right, rtol=1e-6, equal_nan=True)
    raw = explorer.arrays["share"]
    share = np.frombuffer(raw["data"], raw["dtype"]).reshape(raw["shape"])
    assert np.allclose(share, shown / shown[:1], rtol=1e-6, equal_nan=True) and np.isnan(share).any()
    words = np.array(explorer.arrays["words"]["texts"]).reshape(shown.shape[1:])
    assert "bitmask is the smallest, 13,178 bytes, 7.6 times" in words[DENSITIES.index(0.1), 2, 0]
    assert "nothing is smaller than dense, 25,100 bytes" in words[0, 0, 0]
    rare = ["No 2:4 mask keeps more than half" in words[d, 0, 0] for d in range(len(DENSITIES))]
    assert rare == [density > 0.5 for density in DENSITIES]
    assert "bitmask below 87 %, CSR-16 below 32 %, CSR-32 below 19 %" in words[0, 0, 0]
    assert "bitmask below 97 %, CSR-16 below 66 %, CSR-32 below 50 %" in words[0, 2, 0]
    last = shown[:, DENSITIES.index(0.07)], shown[:, DENSITIES.index(0.05)]
    assert (last[0][1] < last[0][2])[:, [0, 1, 4]].all() and (last[1][1] > last[1][2])[
        :, 4
    ].all()  # about 1 in 16


def test_where_csr_passes_the_bitmask():
    def counted(density, form):
        shapes = list(LAYERS.values())[:3]
        return sum(deploy.size(shape, round(density * np.prod(shape)), form) for shape in shapes)

    assert (counted(0.05, "bitmask"), counted(0.05, "CSR-16")) == (8158, 8182)
    assert counted(0.045, "bitmask") > counted(0.045, "CSR-16")
    kept = 4096 * 4096 // 16
    large = [deploy.size((4096, 4096), kept, form) for form in ("bitmask", "CSR-16")]
    assert large[1] == pytest.approx(large[0], rel=3e-3)


# --- What the prose says, against the study


@pytest.fixture(scope="module")
def study():
    return studies.load("deploy")


@pytest.fixture(scope="module")
def masks(study):
    """{way: [round] of [seed] masks}."""
    rounds, layers = study["accuracy"].shape[1], ("fc1", "fc2", "fc3")
    return {
        way: [
            [Mask({layer: study[f"pruned_at/{way}/{layer}"][s] > r for layer in layers}) for s in range(10)]
            for r in range(rounds)
        ]
        for way in study["ways"].tolist()
    }


@pytest.fixture(scope="module")
def atlas():
    return atlas_store().load(CLASS_ROOM[0])


def test_what_accuracy_costs_in_bytes(study, masks):
    ticket, _, units = 100 * study["accuracy"].mean(2)
    int8, _, int8_units = 100 * study["int8"].mean(2)
    assert (
        ticket[0].round(1) == 93.8
        and int8[0].round(1) == 93.7
        and ticket[9].round(1) == int8[9].round(1) == 93.6
    )
    rows = 4 * sum(kept.any(1).sum() for kept in masks["layer"][9][0].values())
    small = deploy.sizes(masks["layer"][9][0], 8)["bitmask"] + rows
    assert round(small, -2) == 7300 and 13.5 < 100_400 / small < 14.5
    assert 25_100 + 4 * 160 == 25_740
    assert units[8].round(1) == int8_units[8].round(1) == 90.6
    for r in range(1, 12):  # at every number of bytes single weights are ahead
        at = deploy.sizes(masks["layer"][r][0])["bitmask"]
        same = [s for s in range(len(units)) if masks["units"][s][0].kept * 4 <= at]
        assert units[same[0]] < ticket[r]


def test_int8_costs_nothing_that_we_could_see(study):
    for r in (0, 6, 9, 12, 15, 18):
        _, low, high = interval(100 * (study["int8"][0, r] - study["accuracy"][0, r]))
        assert low < 0 < high and max(-low, high) < 0.135


def test_units_that_die_in_tickets(masks):
    def share(way, r):
        return 100 * np.mean(
            [np.concatenate(list(deploy.dead_units(m).values())).mean() for m in masks[way][r]]
        )

    assert [round(100 * masks["layer"][r][0].density, 1) for r in (9, 10, 15, 18)] == [13.9, 11.2, 3.9, 2.1]
    assert share("layer", 10) < 1 and round(share("layer", 15)) == 12 and round(share("layer", 18)) == 30
    assert 0.6 < 1.5 * share("layer", 9) < 1.2  # units of 150
    assert all(share("global", r) <= share("layer", r) for r in range(19))
    assert [round(150 - 1.5 * share("global", r)) for r in (15, 18)] == [141, 120]


def test_the_ticket_against_the_dense_network(study):
    ticket = 100 * study["accuracy"][0]
    rows = [[round(float(v), 2) for v in interval(ticket[r] - ticket[0])] for r in (9, 10)]
    assert rows == [[-0.21, -0.44, 0.02], [-0.41, -0.74, -0.08]]


def test_whole_units_against_the_ticket_and_a_small_dense_network(study, masks, atlas):
    ticket, _, units = 100 * study["accuracy"]
    rounds = (2, 4, 6, 8, 10)
    assert [round(100 * masks["units"][r][0].density) for r in rounds] == [64, 41, 27, 17, 11]
    found = [interval(ticket[r] - units[r]) for r in rounds]
    assert [round(float(mean), 1) for mean, _, _ in found] == [0.2, 1.0, 1.9, 3.0, 5.5]
    assert [low > 0 for _, low, _ in found] == [False, True, True, True, True]
    small = 100 * atlas.accuracy("small-dense")
    for r in rounds:
        assert atlas.arm_density("small-dense")[r] == pytest.approx(masks["units"][r][0].density)
        _, low, high = interval(units[r] - small[r])
        assert low < 0 < high and high - low < 2.6
    assert [round(float(v), 1) for v in interval(units[8] - small[8])] == [0.1, -0.9, 1.0]


def test_what_the_search_costs(atlas):
    e = atlas.experiment
    paid = (atlas.cost[1:16] - 1) * 3 * e.steps * e.batch_size / (1 - atlas.density[1:16])
    assert (abs(paid - 730_000) < 7_000).all()
    assert 3 * e.steps * e.batch_size * (1 - e.rate) / e.rate == pytest.approx(720_000)
    assert 3 * e.steps * e.batch_size * (1 - 0.5) / 0.5 == 720_000 / 4


def test_which_layers_keep_weights(study, masks):
    def mean(r, layer):
        return np.mean([mask[layer].mean() for mask in masks["global"][r]])

    for r in range(1, 19):
        assert mean(r, "fc1") < mean(r, "fc2") < mean(r, "fc3")
    assert 0.5 < mean(9, "fc3") < 0.56 and 19_600 / 25_100 > 0.78
    pixels = np.mean([mask["fc1"].any(0).reshape(14, 14) for mask in masks["global"][15]], 0)
    rim = np.ones((14, 14), bool)
    rim[2:-2, 2:-2] = False
    assert pixels[rim].mean() < 0.5 < 0.8 < pixels[~rim].mean()
    for r in (9, 12, 15):  # the untrained weights, ranked alike
        alike = []
        for seed in range(10):
            model = models.build("mlp-100-50", (14, 14), 10, generator(seed, "init"))
            sizes = [
                np.abs(model.get_parameter(f"{layer}.weight").detach().numpy())
                for layer in masks["global"][r][0]
            ]
            least = np.sort(np.concatenate([one.ravel() for one in sizes]))[-masks["global"][r][seed].kept]
            alike.append([one >= least for one in sizes])
        share = [np.mean([one[i].mean() for one in alike]) for i in range(3)]
        assert all(
            abs(share[i] - mean(r, layer)) < (0.01, 0.02, 0.08)[i]
            for i, layer in enumerate(("fc1", "fc2", "fc3"))
        )
        if r == 9:
            assert [round(100 * one) for one in share] == [10, 24, 46]
            assert [round(100 * mean(r, layer)) for layer in ("fc1", "fc2", "fc3")] == [10, 25, 53]
        read, theirs = (
            np.mean([one.any(0) for one in some], 0).reshape(14, 14)
            for some in ([m["fc1"] for m in masks["global"][r]], [one[0] for one in alike])
        )
        assert read.sum() < theirs.sum() and abs(theirs[rim].mean() - theirs[~rim].mean()) < 0.05
    layer, glob, _ = 100 * study["accuracy"]
    assert interval(glob[9] - layer[9])[1] < 0 < interval(glob[9] - layer[9])[2]
    mean, _, high = interval(glob[15] - layer[15])
    assert round(float(mean), 1) == -0.7 and high < 0
    assert masks["global"][15][0].density < masks["layer"][15][0].density
