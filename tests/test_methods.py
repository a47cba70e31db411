"""Methods beside iterative pruning, in experiments: the same protocol, each checked by a plain loop of its own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import lthviz
from lthviz import criteria, data, dynamic, models, rounds, train
from lthviz.atlas_build import CLASS_ROOM, LONGER, METHODS_COMPARED
from lthviz.masks import erk, prune
from lthviz.methods import METHODS
from lthviz.result import interval
from lthviz.store import atlas_store

SMALL = lthviz.Experiment(model="mlp-30-20", rounds=4, rate=0.4, steps=250, seeds=2, evaluate_every=50)
OTHERS = [name for name in METHODS if name != "imp"]


def small(method, **settings):
    arms = [arm for arm in METHODS[method].arms if arm != "small-dense"]
    return replace(SMALL, method=method, arms=arms, **settings)


@pytest.fixture(scope="module")
def results():
    return {name: lthviz.run(small(name), store=False, progress=False) for name in METHODS}


def fresh(seed):
    return models.build(SMALL.model, (14, 14), 10, train.generator(seed, "init"))


@pytest.mark.parametrize("method", OTHERS)
def test_a_method_keeps_as_many_weights_as_iterative_pruning(results, method):
    total = sum(results["imp"].sizes.values())
    for r in range(SMALL.rounds + 1):
        wanted = results["imp"].mask(r, 0).kept
        slack = (
            3 if METHODS[method].kind == "dynamic" or method == "random" else 0
        )  # rounded in each of three layers
        for seed in SMALL.seeds:
            assert abs(results[method].mask(r, seed).kept - wanted) <= slack
        assert results[method].density[r] == pytest.approx(wanted / total, abs=slack / total)


@pytest.mark.parametrize("method", ["snip", "grasp", "magnitude"])
def test_masks_before_training_rank_the_scores_of_the_initial_weights(results, method):
    """One look at ten pictures of each class, by the same criterion called on an ordinary module."""
    digits = data.load("mnist-5k-14")
    for seed in SMALL.seeds:
        order = torch.randperm(len(digits.y_train), generator=train.generator(seed, "score")).numpy()
        chosen = np.concatenate([order[digits.y_train[order] == label][:10] for label in range(10)])
        batch = torch.tensor(digits.x_train[chosen]), torch.tensor(digits.y_train[chosen])
        scores = getattr(criteria, method)(fresh(seed), F.cross_entropy, batch)
        ranked = np.sort(np.concatenate([value.numpy().ravel() for value in scores.values()]))[::-1]
        for r in range(1, SMALL.rounds + 1):
            mask = results[method].mask(r, seed)
            least = ranked[mask.kept - 1]
            for name, value in scores.items():  # equal scores may go or stay
                assert mask[name][value.numpy() > least].all() and not mask[name][value.numpy() < least].any()


def test_synflow_chain_is_the_exponential_schedule_over_all_rounds(results):
    for seed in SMALL.seeds:
        mask, network = None, fresh(seed)
        digits = data.load("mnist-5k-14")
        batch = torch.tensor(digits.x_train[:1]), torch.tensor(digits.y_train[:1])
        for r in range(1, SMALL.rounds + 1):
            density = results["imp"].mask(r, seed).density
            mask = lthviz.prune_at_init(network, F.cross_entropy, batch, "synflow", density,
                                        iterations=rounds.SYNFLOW, mask=mask)  # fmt: skip
            assert mask == results["synflow"].mask(r, seed)


@pytest.mark.parametrize("method", [name for name in METHODS if "invert" in METHODS[name].arms])
def test_inverted_scores_keep_what_would_go_first(method):
    experiment = small(method)
    state = rounds.start(experiment, data.load("mnist-5k-14"))
    masks = rounds.masks_of(experiment, state, SMALL.rounds)
    kept = {arm: sum(int(layer[0].sum()) for layer in masks[arm].values()) for arm in ("rewind", "invert")}
    assert kept["rewind"] == kept["invert"] > 0
    if method != "synflow":  # which scores again after each iteration
        for layer, ticket in masks["rewind"].items():
            assert not (ticket & masks["invert"][layer]).any()


def test_random_masks_have_the_densities_of_erk_and_are_nested(results):
    shapes = {name: array.shape for name, array in results["random"].mask(0, 0).items()}
    for r in range(1, SMALL.rounds + 1):
        mask = results["random"].mask(r, 1)
        wanted = erk(shapes, results["imp"].mask(r, 1).density)
        for row in mask.layers:
            assert row["density"] == pytest.approx(wanted[row["name"]], abs=1 / row["size"])
        assert mask.issubset(results["random"].mask(r - 1, 1))


@pytest.mark.parametrize("method", ["set", "rigl"])
def test_dynamic_training_equals_the_wrapper_around_a_module(results, method):
    """The last round again: a plain loop with torch's Adam and the public SET or RigL, on the same batches."""
    result, r = results[method], SMALL.rounds
    digits = data.load("mnist-5k-14")
    x, y = torch.tensor(digits.x_train), torch.tensor(digits.y_train)
    kind = {"set": dynamic.SET, "rigl": dynamic.RigL}[method]
    for column, seed in enumerate(SMALL.seeds):
        network = fresh(seed)
        optimizer = torch.optim.Adam(network.parameters(), lr=SMALL.lr)
        density = results["imp"].mask(r, seed).density
        sparse = kind(
            network, optimizer, density=density, steps=SMALL.steps, generator=train.generator(seed, "mask")
        )
        sparse.generator = train.generator(seed, "grow", r)
        for batch in train.batch_order(seed, r, len(y), SMALL.batch_size, SMALL.steps):
            optimizer.zero_grad()
            F.cross_entropy(network(x[batch]), y[batch]).backward()
            sparse.step()
        assert len(sparse.history) == 1  # 250 steps, the last quarter without: one exchange, at step 100
        # float tolerance may tip a near tie between two weights, no more
        mask = result.mask(r, seed)
        assert sum((mask[name] != sparse.mask[name]).sum() for name in mask) <= 4
        right = (network(torch.tensor(digits.x_test)).argmax(1).numpy() == digits.y_test).mean()
        assert result.accuracy("rewind")[r, column] == pytest.approx(right, abs=0.02)


def test_dynamic_masks_moved_and_their_controls_train_under_the_last_ones(results):
    first = prune(criteria.random(fresh(0), generator=train.generator(0, "mask")), density=0.5)
    shapes = {name: array.shape for name, array in first.items()}
    scores = criteria.random(fresh(0), generator=train.generator(0, "mask"))
    begin = prune(scores, density=erk(shapes, results["imp"].mask(2, 0).density))
    end = results["rigl"].mask(2, 0)
    moved = sum(int((begin[name] & ~end[name]).sum()) for name in end)
    assert moved > 0 and [row["kept"] for row in begin.layers] == [row["kept"] for row in end.layers]
    with pytest.raises(ValueError, match="not nested"):
        results["rigl"].pruned_at  # noqa: B018
    digits, column = data.load("mnist-5k-14"), 0
    x, y = torch.tensor(digits.x_train), torch.tensor(digits.y_train)
    control = models.build(SMALL.model, (14, 14), 10, train.generator(0, "reinit", 2))
    optimizer = torch.optim.Adam(control.parameters(), lr=SMALL.lr)
    lthviz.apply_mask(control, end)
    for batch in train.batch_order(0, 2, len(y), SMALL.batch_size, SMALL.steps):
        optimizer.zero_grad()
        F.cross_entropy(control(x[batch]), y[batch]).backward()
        optimizer.step()
        lthviz.apply_mask(control, end)
    with torch.no_grad():
        loss = F.cross_entropy(
            control(torch.tensor(digits.x_validation)), torch.tensor(digits.y_validation)
        ).item()
    assert results["rigl"].curve("reinit", "validation_loss")[2, column, -1] == pytest.approx(loss, rel=2e-3)
    for layer, kept in results["rigl"].kept.items():
        assert (results["rigl"].histogram(layer)[2][2].sum(-1) == kept[2]).all()


@pytest.mark.parametrize("method", ["snip", "rigl"])
def test_an_interrupted_experiment_ends_with_the_same_bits(results, tmp_path, method):
    import threading

    cancel = threading.Event()

    def watch(moment):
        if moment.round == 2:
            cancel.set()

    with pytest.raises(lthviz.Cancelled):
        lthviz.run(small(method), store=tmp_path, progress=False, watch=watch, cancel=cancel)
    resumed = lthviz.run(small(method), store=tmp_path, progress=False)
    whole = results[method]
    for name in whole._arrays:
        np.testing.assert_array_equal(resumed._arrays[name], whole._arrays[name], err_msg=name)
    again = lthviz.run(small(method), store=tmp_path, progress=False)  # read from the store
    assert again.mask(3, 1) == whole.mask(3, 1)


def test_round_0_is_the_same_dense_network_for_every_method(results):
    for name in OTHERS:
        np.testing.assert_allclose(
            results[name].accuracy("rewind")[0], results["imp"].accuracy("rewind")[0], atol=0.004
        )


def test_the_method_is_part_of_the_address_and_imp_keeps_the_old_one():
    keys = {name: replace(SMALL, method=name).key for name in METHODS}
    assert len(set(keys.values())) == len(METHODS)
    assert "method" not in SMALL.config
    for name in METHODS:
        experiment = small(name)
        assert lthviz.Experiment.from_config(experiment.config) == experiment


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(method="snipp"), "Did you mean 'snip'"),
        (dict(method="snip", arms=("random",)), "no such arm"),
        (dict(arms=("invert",)), "no such arm"),
        (dict(method="rigl", arms=("invert",)), "no such arm"),
        (dict(method="snip", rewind_step=10), "rewind_step=10"),
        (dict(method="set", scope="global"), "scope='global'"),
        (dict(method="rigl", steps=133), "at least 134"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        replace(SMALL, **settings)


def test_cost_counts_the_search(results):
    density = results["imp"].density
    np.testing.assert_allclose(results["imp"].cost, [sum(density[: r + 1]) for r in range(len(density))])
    late = lthviz.run(replace(SMALL, rewind_step=50, arms=()), store=False, progress=False)
    np.testing.assert_allclose(late.cost[1], 1 + late.density[1] * 200 / 250)
    np.testing.assert_allclose(results["snip"].cost, results["snip"].density)
    # RigL by hand: of 250 steps 249 train what is there; that at step 100 computes the gradient of everything
    # (forward, and backward to the inputs, over what is there), and none comes after three quarters
    d = results["rigl"].density[3]
    assert results["rigl"].cost[3] == pytest.approx((249 * d + (2 * d + 1) / 3) / 250)


@pytest.mark.parametrize("method", OTHERS)
def test_words_and_explorer_name_the_method(results, method):
    result, label = results[method], METHODS[method].label
    short = label.split(" (")[0]
    assert label in result.describe() and "rewound" not in result.describe()
    assert METHODS[method].chosen in result.verdict(3) and short.lower() in result.verdict(3).lower()
    explorer = lthviz.explore(result)
    assert label in explorer._repr_mimebundle_()[0]["text/html"]
    assert ("pruned_at" in explorer.arrays) == (METHODS[method].kind != "dynamic")


def test_the_fair_picture_shows_the_numbers_of_the_results(results):
    shown = list(results.values())
    picture = lthviz.figures.methods(shown, density=0.2)
    assert len(picture.table()) == len(METHODS) * (SMALL.rounds + 1)
    for name, result in results.items():
        rows = [row for row in picture.table() if row["method"] == METHODS[name].label]
        np.testing.assert_allclose([row["mean"] for row in rows], interval(result.accuracy("rewind"))[0])
        np.testing.assert_allclose([row["cost"] for row in rows], result.cost)
        assert METHODS[name].label in picture.describe()
    chart, places = picture.figure.axes[-1], [result.nearest_round(0.2) for result in shown]
    dots = [line.get_xdata()[0] for line in chart.lines if line.get_linestyle() == "None"]
    np.testing.assert_allclose(dots, [result.cost[r] for result, r in zip(shown, places)])
    means = [100 * np.array(interval(result.accuracy("rewind")[r])) for result, r in zip(shown, places)]
    assert [text.get_text() for text in chart.texts] == [f"{m:.1f} ± {m - low:.1f} %" for m, low, _ in means]
    two = lthviz.figures.methods([results["imp"], results["snip"]])
    assert len(two.figure.axes) == 3  # no panel without a line
    with pytest.raises(ValueError, match="steps differs"):
        other = lthviz.run(replace(SMALL, steps=10, rounds=0), store=False, progress=False)
        lthviz.figures.methods([shown[0], other])


def test_results_of_different_methods_stand_side_by_side_under_their_names(results):
    picture = lthviz.figures.accuracy_against_density(
        [results["snip"], results["imp"]], arms=("rewind", "reinit")
    )
    assert [axes.get_title(loc="left") for axes in picture.figure.axes] == ["SNIP", "IMP, rewound"]
    with pytest.raises(ValueError, match="method is 'imp' in one and 'snip' in another"):
        lthviz.explore([
            lthviz.run(replace(SMALL, rate=rate, method=method, rounds=1), store=False, progress=False)
            for rate, method in ((0.4, "imp"), (0.5, "snip"))
        ])  # fmt: skip


def test_looks_can_be_told_apart_within_a_kind():
    for kind in {method.kind for method in METHODS.values()}:
        shown = [METHODS["imp"], *(m for m in METHODS.values() if m.kind == kind and m.name != "imp")]
        for part in ("colour", "marker", "dash"):
            assert len({getattr(method, part) for method in shown}) == len(shown)


@pytest.mark.parametrize("experiment", METHODS_COMPARED[1:6], ids=lambda experiment: experiment.method)
def test_shipped_masks_before_training_can_be_recomputed(experiment):
    """Rounding differs between machines and may tip near ties, no more."""
    shipped = atlas_store().load(experiment)
    column = len(shipped.seeds) - 1
    sample = replace(experiment, seeds=(shipped.seeds[column],))
    state = rounds.start(sample, data.load(experiment.dataset))
    for layer, there in shipped.pruned_at.items():
        assert (state[f"pruned_at/{layer}"][0] == there[column]).mean() > 0.999, layer


def test_a_sample_of_shipped_dynamic_training_can_be_recomputed():
    experiment = LONGER[2]
    shipped = atlas_store().load(experiment)
    sample = replace(experiment, seeds=(shipped.seeds[-1],))
    digits = data.load(experiment.dataset)
    measured, _ = rounds.train_round(sample, digits, 5, rounds.start(sample, digits))
    there = shipped.curve("rewind")[5, -1]
    np.testing.assert_allclose(measured["test_accuracy/rewind"][0], there, atol=0.03)
    agreement = [(measured[f"mask/{layer}"][0] == shipped.mask(5, shipped.seeds[-1])[f"{layer}.weight"]).mean()
                 for layer in shipped.layers]  # fmt: skip
    assert min(agreement) > 0.9


def test_what_the_readme_says_of_the_methods_is_in_the_atlas():
    imp = atlas_store().load(CLASS_ROOM[0])
    for experiment in METHODS_COMPARED[1:]:
        other = atlas_store().load(experiment)
        for r in range(10, 19):  # from 11 % of the weights down
            difference = imp.accuracy("rewind")[r] - other.accuracy("rewind")[r]
            assert interval(difference)[1] > 0, (experiment.method, r)
            assert imp.cost[r] > 4 and other.cost[r] < 0.2
