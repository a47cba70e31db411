"""Lesson 09: the lesson's claims hold."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import traitlets

from lthviz import data, models, run
from lthviz.atlas_build import CLASS_ROOM, LONGER, METHODS_COMPARED
from lthviz.dynamic import SET, RigL, Schedule, exchange
from lthviz.exercises import dynamic as lesson
from lthviz.explorer.lessons.dynamic import mask_movie
from lthviz.masks import erk
from lthviz.result import interval
from lthviz.train import generator

from .helpers import shown


def test_a_masked_gradient_and_an_argument_that_is_changed_are_told():
    def masked(weight, gradient, mask, fraction):
        return lesson.rigl_step(weight, gradient * mask, mask, fraction)

    def in_place(weight, gradient, mask, fraction):
        weight[:], mask[:] = lesson.rigl_step(weight, gradient, mask, fraction)
        return weight, mask

    assert lesson.check_rigl_step(masked).message == lesson.NOTHING_MOVED
    assert "changed its argument" in lesson.check_rigl_step(in_place).message


def test_rigl_step_may_give_other_starting_values_and_be_told_so():
    def drawn(weight, gradient, mask, fraction):
        values, new = lesson.rigl_step(weight, gradient, mask, fraction)
        return values + (new & ~mask) * np.random.default_rng(3).normal(size=mask.shape), new

    assert lesson.check_rigl_step(drawn).message == lesson.NOT_ZERO


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.3, 0.77, 1.0])
def test_the_solution_moves_what_the_library_moves(fraction):
    rng = np.random.default_rng(1)
    mask = rng.random((20, 30)) < 0.2
    weight, gradient = rng.normal(size=mask.shape) * mask, rng.normal(size=mask.shape)
    values, new = lesson.rigl_step(weight, gradient, mask, fraction)
    library = exchange(*map(torch.tensor, (weight, mask, np.abs(gradient))), fraction)
    assert np.array_equal(new, library.numpy()) and new.sum() == mask.sum()
    assert np.array_equal(values, np.where(new & mask, weight, 0))


@pytest.mark.parametrize("density", [0.01, 0.1, 0.2, 0.52, 0.9, 1.0])
def test_the_solution_shares_as_the_library_does(density):
    shapes = {"conv": (16, 8, 3, 3), "fc1": (30, 30), "fc2": (12, 12), "fc3": (2, 12)}
    mine = lesson.erk(shapes, density)
    assert mine == pytest.approx(erk(shapes, density)) and max(mine.values()) <= 1
    kept = sum(mine[name] * np.prod(shape) for name, shape in shapes.items())
    assert kept == pytest.approx(density * sum(np.prod(shape) for shape in shapes.values()))


# The explorer


def course(seed, exchanges=4):
    rng = np.random.default_rng(seed)
    return {
        "fc1.weight": rng.random((exchanges + 1, 5, 12)) < 0.4,
        "fc2.weight": rng.random((exchanges + 1, 3, 5)) < 0.6,
    }


def test_the_movie_shows_the_masks_and_what_was_ever_tried():
    courses, steps = {"RigL": course(1), "SET": course(2)}, [0, 10, 20, 30, 40]
    explorer = mask_movie(courses, steps, (3, 4))
    for row, (name, masks) in enumerate(courses.items()):
        first = masks["fc1.weight"]
        assert np.array_equal(shown(explorer, f"{name} now").reshape(5, 12), first.sum(1))
        ever = [[first[: t + 1, :, pixel].any(0).sum() for pixel in range(12)] for t in range(5)]
        assert np.array_equal(shown(explorer, f"{name} ever").reshape(5, 12), ever)
        for t, step in enumerate(steps):
            there = [np.concatenate([layer[i].ravel() for layer in masks.values()]) for i in range(t + 1)]
            ever = 100 * np.mean(np.any(there, axis=0))
            assert shown(explorer, "coverage")[row, t] == pytest.approx(ever / 100)
            come = sum(b and not a for a, b in zip(there[-2], there[-1], strict=True)) if t else 0
            said = f"{name}, step {step}: {there[-1].sum()} of 75 weights are there, {come} of them new; {ever:.1f} %"
            assert shown(explorer, "words")[5 * row + t].startswith(said)
    explorer.step = 40
    with pytest.raises(traitlets.TraitError):
        explorer.step = 15
    assert "<figure" in explorer._repr_mimebundle_()[0]["text/html"]


def test_the_movie_refuses_pictures_of_another_size_and_steps_that_do_not_fit():
    courses = {"RigL": course(1), "SET": course(2)}
    with pytest.raises(ValueError, match=r"picture_shape=\(3, 3\)"):
        mask_movie(courses, [0, 10, 20, 30, 40], (3, 3))
    with pytest.raises(ValueError):
        mask_movie(courses, [0, 10, 20], (3, 4))


# What the prose of the lesson says, against the library and the results


@pytest.fixture(scope="module")
def live():
    """The lesson's networks at 5 % until RigL's tenth exchange and SET's fifth.

    {method: masks of the first layer}, RigL's loss before the tenth exchange, after it, and with random values.
    """
    digits = data.load("mnist-5k-14")
    x, y = torch.tensor(digits.x_train), torch.tensor(digits.y_train)
    found, losses = {}, []
    for method, steps in ((RigL, 1000), (SET, 500)):
        network, fresh = (
            models.build("mlp-100-50", digits.input_shape, digits.classes, generator(seed, "init"))
            for seed in (0, 1)
        )
        optimizer = torch.optim.Adam(network.parameters(), lr=0.002)
        sparse = method(network, optimizer, density=0.05, steps=3000, generator=generator(0, "mask"))
        draw = generator(0, "order")
        for step in range(1, steps + 1):
            if step == 1000:
                losses.append(F.cross_entropy(network(x), y).item())
                before = sparse.mask
            batch = torch.randint(len(y), (60,), generator=draw)
            optimizer.zero_grad()
            F.cross_entropy(network(x[batch]), y[batch]).backward()
            sparse.step()
        found[method.__name__] = sparse.masks()["fc1.weight"]
        if method is RigL:
            losses.append(F.cross_entropy(network(x), y).item())
            for name, mask in sparse.mask.items():
                new = torch.tensor(mask & ~before[name])
                network.get_parameter(name).data[new] = fresh.get_parameter(name).data[new]
            losses.append(F.cross_entropy(network(x), y).item())
    blank = (digits.x_train > 0).mean(0).ravel() < 0.01
    return blank, found, losses


def test_rigl_leaves_the_blank_pixels_within_five_exchanges_and_set_slowly(live):
    blank, found, _ = live
    assert blank.sum() == 57
    share = {name: (at := masks.sum(1))[:, blank].sum(1) / at.sum(1) for name, masks in found.items()}
    assert share["RigL"][0] == share["SET"][0] and 0.28 < share["RigL"][0] < 0.29
    assert share["RigL"][5] < 0.07 and 0.12 < share["SET"][5] < 0.19


def test_what_rigl_keeps_at_blank_pixels_was_there_from_the_start(live):
    blank, found, _ = live
    left = found["RigL"][-1][:, blank]
    assert left.sum() > 10 and (left & ~found["RigL"][0][:, blank]).sum() <= 2


def test_set_tries_more_than_rigl(live):
    tried = {name: lesson.coverage(masks)[5] for name, masks in live[1].items()}
    assert tried["SET"] > tried["RigL"] > 1.5 * 0.037


def test_an_exchange_costs_next_to_nothing_and_random_values_do(live):
    before, after, drawn = live[2]
    assert 0.28 < before < 0.42 and abs(after - before) < 0.01
    assert drawn - after > 0.02


def test_the_schedule_has_22_exchanges_in_3000_steps_7_in_1000_and_37_in_5000():
    when = {n: [step for step in range(1, n + 1) if Schedule(n).fraction(step)] for n in (1000, 3000, 5000)}
    assert {n: len(steps) for n, steps in when.items()} == {1000: 7, 3000: 22, 5000: 37}
    assert when[3000][-1] == 2200


@pytest.fixture(scope="module")
def methods():
    """The results of the lesson: IMP and the methods with 1,000 steps, and three with 5,000."""
    wanted = [e for e in METHODS_COMPARED if e.method in ("snip", "random", "set", "rigl")]
    found = {e.method: run(e, progress=False) for e in wanted} | {"imp": run(CLASS_ROOM[0], progress=False)}
    found |= {f"imp {e.rate}": run(e, progress=False) for e in CLASS_ROOM[1:3]}
    return found | {f"{e.method} longer": run(e, progress=False) for e in LONGER}


DENSITIES = (0.5, 0.2, 0.1, 0.05, 0.03, 0.02)


def gaps(methods, a, b):
    """The paired difference of two methods at the lesson's six densities: verdicts and means in points."""
    rounds = [methods["rigl"].nearest_round(density) for density in DENSITIES]
    differences = [methods[a].accuracy("rewind")[r] - methods[b].accuracy("rewind")[r] for r in rounds]
    return read([interval(100 * difference) for difference in differences])


def read(found):
    return ["+" if low > 0 else "-" if high < 0 else "0" for _, low, high in found], [
        mean for mean, _, _ in found
    ]


def test_the_densities_are_those_of_the_prose(methods):
    rounds = [methods["rigl"].nearest_round(density) for density in DENSITIES]
    assert [round(100 * methods["rigl"].density[r], 1) for r in rounds] == [51.6, 21.5, 9.0, 4.8, 3.1, 2.1]
    assert np.allclose(methods["rigl"].density[rounds], methods["imp"].density[rounds], atol=1e-3)
    assert [round(100 * d, 1) for d in methods["rigl longer"].density[1:]] == [50.5, 25.6, 13.1, 6.8, 3.5]


@pytest.mark.parametrize(
    "a, b, verdicts, sparsest",
    [
        ("set", "random", "0+0+++", (3.4, 8.1, 19.0)),
        ("rigl", "random", "00++++", (4.1, 13.3, 37.2)),
        ("rigl", "set", "000+++", (0.7, 5.2, 18.2)),
        ("rigl", "snip", "0000++", (0.3, 2.0, 2.6)),
        ("set", "snip", "0000--", (-0.4, -3.2, -15.6)),
        ("rigl", "imp", "0-----", (-4.3, -4.4, -7.0)),
    ],
)
def test_at_equal_density(methods, a, b, verdicts, sparsest):
    said, means = gaps(methods, a, b)
    assert "".join(said) == verdicts
    assert means[3:] == pytest.approx(sparsest, abs=0.051)


def test_what_they_cost(methods):
    cost = {name: result.cost for name, result in methods.items()}
    rounds = [methods["rigl"].nearest_round(density) for density in DENSITIES]
    ratio = cost["imp"][rounds] / cost["rigl"][rounds]
    assert 18 < ratio[1] < 22 and 90 < ratio[3] < 105 and 140 < ratio[4] < 160 and 200 < ratio[5] < 225
    assert cost["rigl"][rounds[3]] - cost["set"][rounds[3]] == pytest.approx(0.0022, abs=5e-5)


@pytest.mark.parametrize(
    "method, verdicts, means",
    [
        ("random longer", "-----", (-0.6, -1.4, -2.0, -2.8, -9.2)),
        ("set longer", "0----", (0.0, -0.7, -1.0, -1.8, -2.2)),
        ("rigl longer", "+00--", (0.7, 0.3, -0.3, -1.7, -1.6)),
    ],
)
def test_with_five_times_the_steps_against_imp(methods, method, verdicts, means):
    longer, imp = methods[method], methods["imp"]
    near = [imp.nearest_round(density) for density in longer.density[1:]]
    found = read(
        [
            interval(100 * (longer.accuracy("rewind")[r] - imp.accuracy("rewind")[other]))
            for r, other in enumerate(near, start=1)
        ]
    )
    assert "".join(found[0]) == verdicts and found[1] == pytest.approx(means, abs=0.051)
    assert (imp.density[near] > longer.density[1:]).all()
    ratio = imp.cost[near] / (5 * methods["rigl longer"].cost[1:])
    assert ratio.round(1).tolist() == pytest.approx([1.2, 3.1, 6.8, 13.7, 26.0], abs=0.4)


@pytest.mark.parametrize(
    "method, verdicts, means",
    [
        ("random longer", "-----", (-0.6, -1.2, -1.6, -1.9, -7.7)),
        ("rigl longer", "+00-0", (0.7, 0.5, 0.2, -0.8, -0.1)),
    ],
)
def test_with_five_times_the_steps_against_imp_of_the_same_densities(methods, method, verdicts, means):
    longer, halving = methods[method], methods["imp 0.5"]
    assert np.array_equal(longer.density[1:], halving.density[1:6]) and longer.seeds == halving.seeds
    gap = [
        interval(100 * (longer.accuracy("rewind")[r] - halving.accuracy("rewind")[r])) for r in range(1, 6)
    ]
    found = read(gap)
    assert "".join(found[0]) == verdicts and found[1] == pytest.approx(means, abs=0.06)
    assert method == "random longer" or gap[3][1:] == pytest.approx((-1.2, -0.4), abs=0.051)


def test_what_it_costs_depends_on_how_patiently_one_prunes(methods):
    longer, halving = 5 * methods["rigl longer"].cost[1:], methods["imp 0.5"].cost[1:6]
    assert longer.round(1).tolist() == [2.5, 1.3, 0.7, 0.3, 0.2]
    assert halving.round(1).tolist() == [1.5, 1.8, 1.9, 2.0, 2.0]
    ratio = halving / longer
    assert (ratio > 1).tolist() == [False, True, True, True, True] and ratio[3] > 5 and 9 < ratio[4] < 11
    found = {}
    for name in ("imp", "imp 0.5", "imp 0.8"):
        r = methods[name].nearest_round(0.05)
        density, accuracy = methods[name].density[r], methods[name].accuracy("rewind")[r].mean()
        found[name] = (r, round(100 * density, 1), round(methods[name].cost[r], 1), round(100 * accuracy, 1))
    assert found == {
        "imp": (14, 4.8, 4.9, 92.1),
        "imp 0.5": (4, 6.8, 2.0, 92.1),
        "imp 0.8": (2, 4.6, 1.3, 89.2),
    }
    rigl, hasty = methods["rigl"], methods["imp 0.8"]
    assert 24 < hasty.cost[2] / rigl.cost[rigl.nearest_round(0.05)] < 26


def test_with_five_times_the_steps_rigl_leads_where_more_weights_are_left(methods):
    a, b, c = (methods[f"{name} longer"].accuracy("rewind")[1:] for name in ("rigl", "set", "random"))
    said, means = read([interval(100 * difference) for difference in a - b])
    assert "".join(said) == "+++00" and means[:3] == pytest.approx((0.8, 1.0, 0.7), abs=0.051)
    assert all(interval(difference)[1] > 0 for difference in [*(b - c), *(a - c)])
    assert methods["rigl longer"].compare("rewind", "dense", 1).verdict == "higher"
    dense = [100 * methods[name].accuracy("rewind")[0].mean() for name in ("rigl", "rigl longer")]
    assert dense == pytest.approx((93.8, 94.0), abs=0.051)


def test_most_of_what_rigl_gains_lies_in_the_places(methods):
    rounds = [methods["rigl"].nearest_round(density) for density in DENSITIES[1:]]
    for name, own, places in (("rigl", "00+++", "00+++"), ("set", "000++", "0++++")):
        result = methods[name]
        compared = [result.compare("rewind", "reinit", r) for r in rounds]
        assert "".join("+" if c.verdict == "higher" else "0" for c in compared) == own
        moved = [
            interval(100 * (result.accuracy("reinit")[r] - result.accuracy("shuffle")[r])) for r in rounds
        ]
        assert "".join(read(moved)[0]) == places
        if name == "rigl":
            assert [100 * c.mean for c in compared[2:]] == pytest.approx((0.9, 1.8, 2.8), abs=0.051)
            assert moved[-1][0] == pytest.approx(31.5, abs=0.051)


def test_blank_paper_is_a_part_of_the_story_and_not_the_whole(methods, live):
    share, r = {}, methods["rigl"].nearest_round(0.03)
    for name in ("imp", "snip", "random", "set", "rigl"):
        result = methods[name]
        at = np.sum([result.mask(r, seed)["fc1.weight"].sum(0) for seed in result.seeds], axis=0)
        share[name] = round(100 * at[live[0]].sum() / at.sum())
    assert share == {"imp": 7, "snip": 0, "random": 29, "set": 21, "rigl": 8}
    accuracy = {name: methods[name].accuracy("rewind")[r].mean() for name in share}
    assert accuracy["imp"] > accuracy["rigl"] > accuracy["snip"] > accuracy["set"] > accuracy["random"]
