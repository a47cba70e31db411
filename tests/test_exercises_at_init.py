"""Lesson 08: the lesson's claims hold."""

import itertools
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import traitlets

import lthviz
from lthviz import criteria, data, models
from lthviz.atlas_build import CLASS_ROOM, METHODS_COMPARED
from lthviz.exercises import at_init as lesson
from lthviz.explorer.lessons.at_init import at_init_browser
from lthviz.result import interval
from lthviz.store import atlas_store
from lthviz.train import generator

CHECKS = lesson.EXERCISES


def test_nothing_here_touches_the_global_random_states():
    before = random.getstate(), np.random.get_state()[1].copy(), torch.random.get_rng_state()
    for check in CHECKS:
        check(check.reference)
    ones = {name: np.ones(shape, bool) for name, shape in
            (("fc1.weight", (100, 196)), ("fc2.weight", (50, 100)), ("fc3.weight", (10, 50)))}  # fmt: skip
    lesson.train_masks([ones], [0], 0)
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(torch.random.get_rng_state(), before[2])


# The references, each against something independent


@pytest.mark.parametrize("seed", range(3))
def test_snip_is_the_slope_of_the_loss_by_a_factor_on_each_weight(seed):
    model, (x, y) = lesson._network(seed).double(), lesson._batch(seed)
    scores = lesson.snip(model, x.double(), y)
    for name, values in scores.items():
        weight = model.get_parameter(name).data
        for place in np.ndindex(weight.shape):
            old, loss = float(weight[place]), []
            for factor in (1 + 1e-5, 1 - 1e-5):
                weight[place] = factor * old
                loss.append(F.cross_entropy(model(x.double()), y).item())
            weight[place] = old
            assert float(values[place]) == pytest.approx(abs(loss[0] - loss[1]) / 2e-5, rel=1e-4, abs=1e-9)


def test_grasp_agrees_with_the_whole_hessian():
    draw = torch.Generator().manual_seed(1)
    x, w = (torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in ((9, 4), (4,)))

    def loss(w):
        return torch.tanh(x @ w).pow(2).mean() + w.prod()

    hessian = torch.autograd.functional.hessian(loss, w)
    gradient = torch.autograd.functional.jacobian(loss, w)
    assert torch.allclose(lesson.grasp(loss, w), w * (hessian @ gradient), rtol=1e-10)


def test_synflow_is_the_flow_over_all_paths_that_use_the_weight():
    model = lesson._network(2, biases=False)
    first, second, third = (p.detach().abs() for p in model.parameters() if p.ndim == 2)
    through = [torch.zeros_like(w) for w in (first, second, third)]
    for i, a, b, o in itertools.product(*map(range, (6, 5, 4, 3))):
        worth = first[a, i] * second[b, a] * third[o, b]
        through[0][a, i] += worth
        through[1][b, a] += worth
        through[2][o, b] += worth
    for values, expected in zip(lesson.synflow(model, (6,)).values(), through, strict=True):
        assert torch.allclose(values, expected, rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_solutions_agree_with_the_library(seed):
    model, (x, y) = lesson._network(seed), lesson._batch(seed)
    for mine, theirs in (
        (lesson.snip(model, x, y), criteria.snip(model, F.cross_entropy, (x, y))),
        (lesson.synflow(model, (6,)), criteria.synflow(model, F.cross_entropy, (x, y))),
    ):
        assert mine.keys() == theirs.keys()
        assert all(torch.allclose(mine[name], theirs[name].float(), rtol=1e-4, atol=1e-7) for name in mine)


@pytest.mark.parametrize("density, n", [(0.01, 100), (0.37, 7), (1.0, 3)])
def test_the_schedule_keeps_the_same_fraction_each_time(density, n):
    densities = np.r_[1.0, lesson.exponential_schedule(density, n)]
    assert len(densities) == n + 1 and densities[-1] == pytest.approx(density)
    assert np.allclose(densities[1:] / densities[:-1], density ** (1 / n))


# The explorer of the lesson


@pytest.fixture(scope="module")
def imp():
    """The class-room result of iterative pruning."""
    return atlas_store().load(CLASS_ROOM[0])


@pytest.fixture(scope="module")
def chosen():
    """The class-room results of the methods that choose before training, by name."""
    wanted = ("snip", "grasp", "synflow", "magnitude", "random")
    return {e.method: atlas_store().load(e) for e in METHODS_COMPARED if e.method in wanted}


def _numbers(explorer, name):
    raw = explorer.arrays[name]
    return np.frombuffer(raw["data"], raw["dtype"]).reshape(raw["shape"])


def test_the_explorer_shows_each_method_and_their_mean(imp, chosen):
    results = [chosen["snip"], chosen["synflow"]]
    explorer = at_init_browser([imp, *results])
    assert explorer.method == "SNIP" and explorer.arms == ["rewind", "reinit", "shuffle", "imp"]
    explorer.method = "all"
    with pytest.raises(traitlets.TraitError, match="SynFlow"):
        explorer.method = "GraSP"
    accuracy = _numbers(explorer, "accuracy")  # (line, all|method, round, seed)
    assert explorer.arrays["accuracy"]["dims"] == ["arm", "all|method", "round", "seed"]
    for m in range(3):
        assert np.allclose(accuracy[4, m], imp.accuracy("rewind")[: accuracy.shape[2]])
    for line, arm in enumerate(("rewind", "reinit", "shuffle", "invert")):
        each = [result.accuracy(arm) for result in results]
        assert np.allclose(accuracy[line], [np.mean(each, 0), *each], atol=1e-6)
    kept = _numbers(explorer, "kept")
    assert np.array_equal(kept[1, 12, 0], chosen["snip"].kept["fc1"][12])


def test_the_explorer_says_in_words_what_it_shows(imp, chosen):
    explorer = at_init_browser([imp, chosen["snip"], chosen["synflow"]])
    rounds, methods = 19, 3
    words, alarm = (explorer.arrays[name]["texts"] for name in ("words", "alarm"))
    paired = chosen["snip"].compare("rewind", "shuffle", 12)
    assert words[(2 * methods + 1) * rounds + 12] == (
        f"As chosen minus shuffled mask: {100 * paired.mean:+.1f} points "
        f"({100 * paired.low:+.1f} to {100 * paired.high:+.1f})."
    )
    assert words[rounds + 12].startswith("SNIP at 7.3 % of the weights: 89.")
    at_0 = [text for text in words[::rounds] if text]
    assert len(at_0) == methods and all(text.startswith("The dense network") for text in at_0)
    assert alarm[12] == "No layer is empty with any of the methods."
    assert alarm[rounds + 12] == "No layer is empty. The sparsest, fc1, keeps 5.3 %."


def test_the_explorer_rings_when_a_layer_is_empty(imp, chosen):
    arrays = dict(chosen["snip"]._arrays)
    arrays["kept/fc2"] = arrays["kept/fc2"].copy()
    arrays["kept/fc2"][5, 3] = 0
    broken = lthviz.Result(chosen["snip"].experiment, arrays, chosen["snip"].meta)
    alarm = at_init_browser([imp, broken, chosen["grasp"]]).arrays["alarm"]["texts"]
    said = "Layer collapse: no weight is left in fc2 with SNIP."
    assert (alarm[5], alarm[19 + 5]) == (said, said)
    assert alarm[2 * 19 + 5].startswith("No layer is empty.") and alarm[6].startswith("No layer")


def test_the_explorer_takes_only_results_that_belong_together(imp, chosen):
    with pytest.raises(ValueError, match="random differs"):
        at_init_browser([imp, chosen["snip"], chosen["random"]])
    with pytest.raises(ValueError, match="snip differs"):
        at_init_browser([atlas_store().load(CLASS_ROOM[3]), chosen["snip"]])


# What the prose of the lesson says, against the results

SEEN = range(1, 12)  # the rounds down to 9 %
ABOUT = ("snip", "synflow", "magnitude")


def _verdicts(result, arm):
    """{verdict: the rounds with it} of the mask as chosen against one arm."""
    found = {"higher": [], "lower": [], "not distinguishable": []}
    for r in range(1, result.rounds + 1):
        found[result.compare("rewind", arm, r).verdict].append(r)
    return found


def _ahead(a, b):
    return interval(a - b)[1] > 0


def test_down_to_9_percent_it_hardly_matters_how_one_chooses(chosen):
    means = np.stack([result.accuracy("rewind").mean(1) for result in chosen.values()])
    spread = np.ptp(means, axis=0)
    assert (spread[:12] < 0.02).all() and (spread[13:] > 0.02).all()
    assert round(100 * chosen["snip"].density[11]) == 9 and chosen["snip"].density[13] < 0.06


def test_iterative_pruning_is_ahead_below_a_half_and_dearer(imp, chosen):
    for result in chosen.values():
        for r in range(4, result.rounds + 1):
            assert _ahead(imp.accuracy("rewind")[r], result.accuracy("rewind")[r])
        assert 60 < imp.cost[12] / result.cost[12] < 70 and 4.5 < imp.cost[12] < 5
        assert 0.035 < imp.accuracy("rewind")[12].mean() - result.accuracy("rewind")[12].mean() < 0.055
    assert chosen["snip"].density[4] < 0.5


def test_only_snip_is_ahead_of_the_lot_at_7_percent(chosen):
    def minus_lot(method):
        return interval(chosen[method].accuracy("rewind")[12] - chosen["random"].accuracy("rewind")[12])

    mean, low, _ = minus_lot("snip")
    assert low > 0 and 0.005 < mean < 0.015
    for method in ("grasp", "synflow", "magnitude"):
        _, low, high = minus_lot(method)
        assert low < 0 < high


def test_shuffling_within_layers_costs_less_than_a_point_down_to_9_percent(chosen):
    gaps = [chosen[m].compare("rewind", "shuffle", r) for m in ABOUT for r in SEEN]
    different = [gap for gap in gaps if gap.verdict != "not distinguishable"]
    assert len(gaps) == 33 and [gap.verdict for gap in different] == ["higher"] * 4
    assert max(gap.mean for gap in different) < 0.0065
    grasp = _verdicts(chosen["grasp"], "shuffle")
    assert grasp["lower"] == [2, 3, 4, 5, 6, 7, 9, 10, 11] and grasp["higher"] == [15, 16, 17, 18]
    assert all(abs(chosen["grasp"].compare("rewind", "shuffle", r).mean) < 0.0135 for r in SEEN)


def test_where_shuffling_begins_to_cost(chosen):
    sparse = {m: [r for r in _verdicts(chosen[m], "shuffle")["higher"] if r > 11] for m in chosen}
    assert sparse == {
        "snip": list(range(12, 19)), "grasp": [15, 16, 17, 18], "synflow": [15, 16, 17, 18],
        "magnitude": [], "random": [],
    }  # fmt: skip


def test_new_values_cost_nothing_and_help_grasp(chosen):
    gaps = [
        (m, r) for m in ABOUT for r in SEEN if r not in _verdicts(chosen[m], "reinit")["not distinguishable"]
    ]
    assert gaps == [("magnitude", 4), ("magnitude", 5)]
    assert _verdicts(chosen["grasp"], "reinit")["lower"] == list(range(2, 16))
    points = [100 * chosen["grasp"].compare("rewind", "reinit", r).mean for r in range(2, 16)]
    assert -1.6 < min(points) and max(points) < -0.7


def test_a_mask_by_lot_passes_both_checks_as_it_must(chosen):
    for arm in ("reinit", "shuffle"):
        assert len(_verdicts(chosen["random"], arm)["not distinguishable"]) >= 17


def test_the_ticket_fails_both_checks(imp):
    for r in (7, 11, 15):
        assert all(imp.compare("rewind", arm, r).verdict == "higher" for arm in ("reinit", "shuffle"))
    assert imp.compare("rewind", "shuffle", 10).mean > 0.03


def test_down_to_9_percent_equal_densities_are_within_about_a_point(imp, chosen):
    def minus_flat(method, r, arm="rewind"):
        return interval(100 * (chosen[method].accuracy(arm)[r] - imp.accuracy("random")[r]))

    assert np.allclose(imp.density[:19], chosen["snip"].density, atol=1e-3)
    assert all(abs(minus_flat(m, r)[0]) < 1.45 for m in chosen for r in SEEN)
    assert all(minus_flat("snip", r)[0] < 1.05 for r in SEEN)
    for r, ahead, behind in ((7, [], ["grasp"]), (11, ["snip"], ["grasp"]), (15, sorted(chosen), [])):
        assert sorted(m for m in chosen if minus_flat(m, r)[1] > 0) == ahead
        assert [m for m in chosen if minus_flat(m, r)[2] < 0] == behind
    assert [round(float(minus_flat("snip", r)[0]), 1) for r in (7, 11)] == [0.1, 1.0]
    assert minus_flat("snip", 15)[0] == pytest.approx(11.55, abs=0.06)
    assert minus_flat("grasp", 7)[0] == pytest.approx(-1.1, abs=0.05)
    assert minus_flat("random", 15)[0] == pytest.approx(5.5, abs=0.05)
    assert 100 * chosen["snip"].compare("rewind", "shuffle", 15).mean == pytest.approx(5.9, abs=0.05)
    for r in range(13, 19):  # below 6 % the numbers in each layer count
        assert minus_flat("random", r)[1] > 0
        assert all(minus_flat(m, r, "shuffle")[1] > 0 for m in chosen)


@pytest.mark.parametrize(
    "which, last, r, density, accuracy, cost", [(1, 4, 12, 6.75, 92.1, 1.96), (2, 2, 14, 4.64, 89.2, 1.25)]
)
def test_hasty_pruning_is_cheaper_and_still_ahead(chosen, which, last, r, density, accuracy, cost):
    hasty, snip = atlas_store().load(CLASS_ROOM[which]), chosen["snip"]
    assert round(100 * hasty.density[last], 2) == density and round(hasty.cost[last], 2) == cost
    assert 100 * hasty.accuracy("rewind")[last].mean() == pytest.approx(accuracy, abs=0.05)
    assert hasty.density[last] < snip.density[r] < hasty.density[last] + 0.006
    assert _ahead(hasty.accuracy("rewind")[last], snip.accuracy("rewind")[r])
    assert hasty.cost[last] / snip.cost[r] > 20


def test_inverting_hurts_every_method_grasp_least(chosen):
    at = {m: chosen[m].compare("rewind", "invert", 7).mean for m in ("snip", "grasp", "synflow", "magnitude")}
    assert min(at, key=at.get) == "grasp" and 0.005 < at["grasp"] < 0.015 and 0.5 < at["snip"] < 0.6
    assert all(len(_verdicts(chosen[m], "invert")["higher"]) >= 17 for m in at)
    assert (abs(chosen["synflow"].accuracy("invert")[1:] - 0.1) < 1e-6).all()


@pytest.fixture(scope="module")
def scored():
    """The lesson's untrained network and its hundred pictures."""
    digits = data.load("mnist-5k-14")
    network = models.build("mlp-100-50", digits.input_shape, digits.classes, generator(0, "init"))
    few = np.concatenate([np.flatnonzero(digits.y_train == label)[:10] for label in range(10)])
    return digits, network, (torch.tensor(digits.x_train[few]), torch.tensor(digits.y_train[few]))


@pytest.mark.filterwarnings("ignore:layer collapse")
def test_which_inverted_masks_cut_the_network(scored):
    _, network, batch = scored
    empty = {
        method: lthviz.prune_at_init(network, F.cross_entropy, batch, method, 0.02, invert=True).collapsed
        for method in ("snip", "grasp", "synflow", "magnitude")
    }
    assert {method: len(layers) for method, layers in empty.items()} == {
        "snip": 1, "grasp": 0, "synflow": 2, "magnitude": 0,
    }  # fmt: skip
    first = lthviz.prune_at_init(network, F.cross_entropy, batch, "synflow", 0.8, iterations=20, invert=True)
    assert first.collapsed
    assert (lesson.snip(network, *batch)["fc1.weight"] == 0).sum() > 2000


def test_scored_once_synflow_collapses_and_the_network_guesses(scored):
    digits, network, batch = scored
    with pytest.warns(UserWarning, match="layer collapse"):
        once = lthviz.prune_at_init(network, F.cross_entropy, batch, "synflow", 0.02, iterations=1)
    often = lthviz.prune_at_init(network, F.cross_entropy, batch, "synflow", 0.02)
    twice = lthviz.prune_at_init(network, F.cross_entropy, batch, "synflow", 0.02, iterations=2)
    assert list(once.collapsed) == ["fc1.weight"] and not often.collapsed
    assert twice["fc2.weight"].sum() < 20
    accuracy = lesson.train_masks([once, twice, often], [0, 0, 0], 0)
    assert accuracy[0] == pytest.approx(0.1) and accuracy[1] < 0.5 and accuracy[2] > 0.65
    assert (np.bincount(digits.y_test) == 100).all()


def test_train_masks_repeats_a_stored_result(chosen):
    result, r = (
        chosen["snip"],
        18,
    )  # so sparse that seeds and draws differ widely; another machine rounds otherwise
    again = lesson.train_masks([result.mask(r, seed) for seed in result.seeds], result.seeds, r)
    off = {arm: abs(again - result.accuracy(arm)[r]).mean() for arm in ("rewind", "reinit")}
    assert off["rewind"] < min(0.01, off["reinit"] / 2)


def _by_pixel(mask, rng):
    by_lot = {name: rng.permutation(kept.ravel()).reshape(kept.shape) for name, kept in mask.items()}
    return by_lot | {"fc1.weight": rng.permuted(mask["fc1.weight"], axis=0)}


@pytest.mark.parametrize("method", ["snip", "synflow"])
def test_the_pixels_explain_the_loss_of_snip_and_not_that_of_synflow(chosen, method):
    result, r = chosen[method], 15
    masks = [_by_pixel(result.mask(r, s), np.random.default_rng(s)) for s in result.seeds]
    assert all((m["fc1.weight"].sum(0) == result.mask(r, s)["fc1.weight"].sum(0)).all()
               for m, s in zip(masks, result.seeds))  # fmt: skip
    pixels = lesson.train_masks(masks, result.seeds, r)
    own, by_lot = result.accuracy("rewind")[r], result.accuracy("shuffle")[r]
    regained = (pixels - by_lot).mean() / (own - by_lot).mean()
    if method == "snip":
        assert _ahead(pixels, by_lot) and 0.5 < regained < 1
    else:
        assert not _ahead(pixels, by_lot) and _ahead(own, pixels) and regained < 0.5


def test_who_wastes_weights_on_white_pixels(chosen):
    digits = data.load("mnist-5k-14")
    inked = (digits.x_train.reshape(len(digits.x_train), -1) > 0).any(0)
    white = {
        m: np.mean([1 - result.mask(18, s)["fc1.weight"][:, inked].sum() / result.mask(18, s)["fc1.weight"].sum()
                    for s in result.seeds])
        for m, result in chosen.items()
    }  # fmt: skip
    assert white["snip"] == white["grasp"] == 0
    assert all(0.08 < white[m] < 0.13 for m in ("synflow", "magnitude", "random"))
    unread = (chosen["snip"].mask(12, 0)["fc1.weight"].sum(0) == 0).mean()
    assert unread > 0.5
