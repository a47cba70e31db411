"""Figures: the numbers in them are those of the results, and they can be read by everybody, also in words."""

import base64
import html
import itertools
import re
import subprocess
import sys
import threading
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from scipy import stats

from lthviz import canvas, figures
from lthviz.arms import ARMS, LOOKS
from lthviz.atlas_build import CLASS_ROOM, METHODS_COMPARED
from lthviz.data import from_arrays
from lthviz.experiment import Experiment
from lthviz.figures import Picture
from lthviz.methods import METHODS
from lthviz.result import interval
from lthviz.store import Store, atlas_store

from .helpers import made_up

ALL = METHODS["imp"].arms


@pytest.fixture(scope="module")
def result():
    return made_up(arms=ALL, seeds=5)


EVERY = {
    "accuracy": figures.accuracy_against_density,
    "accuracy at early stop": lambda r: figures.accuracy_against_density(
        r, ["rewind", "reinit"], "early-stop"
    ),
    "accuracy at a step": lambda r: figures.accuracy_against_density(r, at=100, scale="error"),
    "several": lambda r: figures.accuracy_against_density(
        [r, made_up(rate=0.8, rounds=2)], ["rewind", "reinit"]
    ),
    "one arm of several": lambda r: figures.accuracy_against_density(
        [r, made_up(rate=0.8, rounds=2)], "rewind"
    ),
    "curves": lambda r: figures.learning_curves(r, 2),
    "loss": lambda r: figures.learning_curves(r, 2, ["reinit"], "validation_loss"),
    "dense curves": lambda r: figures.learning_curves(r, 0, ["rewind"]),
    "early stop": figures.early_stop_against_density,
    "histograms": lambda r: figures.weight_histograms(r, 2),
    "mask": lambda r: figures.mask_picture(r, 3, 1),
    "signal": lambda r: figures.mask_picture(made_up(dataset="mnist1d"), 3),
    "filters": lambda r: figures.mask_picture(made_up(dataset="mnist-5k", model="conv-2"), 2),
    "layers": figures.survival_by_layer,
    "tickets": figures.tickets,
}


@pytest.fixture(scope="module")
def pictures(result):
    return {name: draw(result) for name, draw in EVERY.items()}


def lines(picture, axes=0):
    """{label: line} of the lines with a name."""
    return {
        line.get_label(): line for line in picture.figure.axes[axes].get_lines() if line.get_label()[0] != "_"
    }


def bands(axes):
    """Lower and upper ends of the shaded intervals, one pair a line, in the order drawn."""
    found = []
    for collection in axes.collections:
        vertices = collection.get_paths()[0].vertices if collection.get_paths() else np.empty((0, 2))
        xs = np.unique(vertices[:, 0])
        found.append({x: (min(v := vertices[vertices[:, 0] == x, 1]), max(v)) for x in xs})
    return found


def test_accuracy_lines_are_the_means(result, pictures):
    drawn = lines(pictures["accuracy"])
    assert list(drawn) == [ARMS[arm].label for arm in ALL]
    for arm in ALL:
        line = drawn[ARMS[arm].label]
        np.testing.assert_allclose(line.get_xdata(), 100 * result.arm_density(arm))
        np.testing.assert_allclose(line.get_ydata(), 100 * result.accuracy(arm).mean(1))
        assert line.get_color() == ARMS[arm].colour and line.get_marker() == ARMS[arm].marker


def test_bands_are_the_intervals_of_scipy(result, pictures):
    for arm, band in zip(ALL, bands(pictures["accuracy"].figure.axes[0]), strict=True):
        for r, x in enumerate(100 * result.arm_density(arm)):
            values = 100 * result.accuracy(arm)[r]
            expected = stats.t.interval(0.95, len(values) - 1, loc=values.mean(), scale=stats.sem(values))
            np.testing.assert_allclose(band[x], expected, rtol=1e-4)


def test_tables_hold_what_is_drawn(result, pictures):
    rows = pictures["accuracy"].table()
    assert len(rows) == (result.rounds + 1) * len(ALL)
    for row in rows:
        values = result.accuracy(row["arm"])[row["round"]]
        assert row["density"] == result.arm_density(row["arm"])[row["round"]]
        np.testing.assert_allclose(
            [row["mean"], row["low"], row["high"]], [float(v) for v in interval(values)]
        )
        assert row["n"] == 5
    early = pictures["accuracy at early stop"].table()
    assert {row["arm"] for row in early} == {"rewind", "reinit"}
    assert early[0]["mean"] == pytest.approx(result.accuracy("rewind", "early-stop")[0].mean())
    at_step = pictures["accuracy at a step"].table()
    assert at_step[0]["mean"] == pytest.approx(result.accuracy("rewind", 100)[0].mean())


def test_learning_curves_are_the_means(result, pictures):
    drawn = lines(pictures["curves"])
    for arm in ALL:
        np.testing.assert_allclose(drawn[ARMS[arm].label].get_ydata(), 100 * result.curve(arm)[2].mean(0))
    np.testing.assert_allclose(drawn["dense network"].get_ydata(), 100 * result.curve("rewind")[0].mean(0))
    loss = lines(pictures["loss"])
    assert set(loss) == {"re-init", "dense network", "lowest validation loss"}
    expected = result.curve("reinit", "validation_loss")[2].mean(0)
    np.testing.assert_allclose(loss["re-init"].get_ydata(), expected)
    ring = next(line for line in pictures["loss"].figure.axes[0].get_lines() if len(line.get_xdata()) == 1)
    assert ring.get_xdata()[0] == result.early_stop_step("reinit")[2].mean()
    assert "dense network" not in lines(pictures["dense curves"])


def test_early_stop_lines_are_the_mean_steps(result, pictures):
    for arm in ALL:
        line = lines(pictures["early stop"])[ARMS[arm].label]
        np.testing.assert_allclose(line.get_ydata(), result.early_stop_step(arm).mean(1))


def test_histograms_are_shares_of_the_counts(result, pictures):
    rows = [row for row in pictures["histograms"].table() if row["layer"] == "fc2"]
    edges, initial, final = result.histogram("fc2")
    np.testing.assert_allclose([row["from"] for row in rows], edges[:-1])
    for key, counts in (
        ("all initial", initial[0]), ("survivors initial", initial[2]), ("survivors after training", final[2])
    ):  # fmt: skip
        expected = (100 * counts / counts.sum(1, keepdims=True)).mean(0)
        np.testing.assert_allclose([row[key] for row in rows], expected)
        assert sum(row[key] for row in rows) == pytest.approx(100)


def test_mask_pictures_count_the_weights_of_each_pixel(result, pictures):
    mask = result.mask(3, 1)["fc1.weight"]
    left, right = pictures["mask"].figure.axes[:2]
    np.testing.assert_array_equal(left.images[0].get_array(), mask.sum(0).reshape(14, 14))
    np.testing.assert_array_equal(right.images[0].get_array(), mask)
    assert sum(row["kept"] for row in pictures["mask"].table()) == mask.sum()
    signal = made_up(dataset="mnist1d").mask(3, 0)["fc1.weight"].sum(0)
    heights = [bar.get_height() for bar in pictures["signal"].figure.axes[0].patches if bar.get_height() > 0]
    assert heights[: len(signal)] == signal[signal > 0].tolist()
    conv = made_up(dataset="mnist-5k", model="conv-2").mask(2, 0)
    assert np.nansum(pictures["filters"].figure.axes[0].images[0].get_array()) == conv["conv1.weight"].sum()
    kernels = pictures["filters"].figure.axes[1].images[0].get_array()
    np.testing.assert_array_equal(kernels, conv["conv2.weight"].sum((2, 3)))


def test_the_random_mask_beside_it_is_right():
    """Against draws of random masks."""
    shape, kept = (20, 30), 60
    rng = np.random.default_rng(0)
    flat = np.zeros((2000, 600), bool)
    flat[:, :kept] = True
    counts = rng.permuted(flat, axis=1).reshape(-1, *shape).sum(1)
    mean, std, empty = figures._random_counts(shape, kept)
    assert mean == pytest.approx(counts.mean()) and std == pytest.approx(counts.std(), rel=0.02)
    assert empty == pytest.approx((counts == 0).sum(1).mean(), rel=0.05)
    exact = stats.hypergeom(600, 20, 60)
    assert (mean, std, empty) == pytest.approx((exact.mean(), exact.std(), 30 * exact.pmf(0)))
    assert figures._random_counts(shape, 600) == (20, 0, 0)
    assert figures._random_counts(shape, 0) == pytest.approx((0, 0, 30))


def test_layers_lose_what_the_masks_say(result, pictures):
    for layer, line in lines(pictures["layers"]).items():
        np.testing.assert_allclose(line.get_ydata(), 100 * result.kept[layer][:, 0] / result.sizes[layer])


def test_density_runs_from_100_percent_on_the_left(pictures):
    for name in ("accuracy", "early stop", "tickets"):
        axes = pictures[name].figure.axes[0]
        assert axes.get_xscale() == "log" and axes.get_xlim()[0] > 100 > axes.get_xlim()[1]
        ticks = axes.xaxis.get_major_locator()()
        labels = [axes.xaxis.get_major_formatter()(tick) for tick in ticks]
        assert labels[:3] == ["100 %", "50 %", "20 %"]


@pytest.mark.parametrize("name", EVERY)
def test_axes_are_labelled_and_letters_large_enough(pictures, name):
    figure = pictures[name].figure
    figure.draw_without_rendering()
    for axes in figure.axes:
        if axes.get_label() == "<colorbar>" or axes.images:
            continue
        first = axes.get_subplotspec().is_first_col()
        assert axes.get_xlabel() and (axes.get_ylabel() or not first)
        assert axes.xaxis.get_gridlines()[0].get_visible()
    for text in figure.findobj(matplotlib.text.Text):
        if text.get_text().strip():
            assert text.get_fontsize() >= 11, text.get_text()


@pytest.mark.parametrize("name", EVERY)
def test_labels_do_not_overlap_or_leave_the_picture(pictures, name):
    figure = pictures[name].figure
    figure.draw_without_rendering()
    box = figure.bbox
    names = {arm.label for arm in ARMS.values()} | {"dense network"}
    ends = []
    for text in figure.findobj(matplotlib.text.Annotation):
        extent = matplotlib.text.Text.get_window_extent(text)
        assert extent.x0 >= box.x0 - 1 and extent.x1 <= box.x1 + 1, text.get_text()
        if text.get_text() in names and text.arrow_patch is not None:
            ends.append(extent)
    for a, b in itertools.combinations(ends, 2):
        assert not a.overlaps(b)


def test_places_are_the_nearest_that_lie_apart():
    for wanted in ([0.5, 0.5, 0.5], [0.0, 0.0, 0.9], [0.2, 0.21, 0.4, 0.41], [1.0, 1.0, 1.0], [0.3]):
        places = canvas.apart(wanted, 0.1)
        assert all(b - a >= 0.1 - 1e-9 for a, b in itertools.pairwise(places))
        assert places[0] >= 0 and places[-1] <= 1 + 1e-9
    assert canvas.apart([0.5, 0.5, 0.5], 0.1) == pytest.approx([0.4, 0.5, 0.6])
    assert canvas.apart([0.2, 0.8], 0.1) == [0.2, 0.8]


# --------------------------------------------------------------------------------- for everybody's eyes

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
VISION = {
    "ordinary": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour):
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE L*a*b* of linear RGB."""
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / TO_XYZ.sum(1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(a, b):
    light = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (a, b))
    return (light[1] + 0.05) / (light[0] + 0.05)


@pytest.mark.parametrize("vision", VISION)
def test_arm_colours_stay_apart_for_every_kind_of_colour_vision(vision):
    seen = {arm: lab(np.asarray(VISION[vision]) @ linear(ARMS[arm].colour)) for arm in ARMS}
    for a, b in itertools.combinations(ARMS, 2):
        assert np.linalg.norm(seen[a] - seen[b]) > 12, (a, b)


def test_no_information_is_in_colour_alone():
    assert len({arm.marker for arm in ARMS.values()}) == len({arm.dash for arm in ARMS.values()}) == len(ARMS)
    assert len({(marker, dash) for _, marker, dash in LOOKS}) == len(LOOKS)


def test_arms_can_be_told_apart_in_grey():
    """Two arms whose greys are close differ in marker and dash; all are dark enough on white (3:1 for graphics)."""
    for arm in ARMS.values():
        assert contrast(arm.colour, "white") >= 2.9, arm
    for text in (canvas.INK, canvas.MUTED):
        assert contrast(text, "white") >= 4.5


# ------------------------------------------------------------------------------------------- in words


@pytest.mark.parametrize("name", EVERY)
def test_pictures_have_an_alternative_text_and_a_table(pictures, name):
    picture = pictures[name]
    page = picture._repr_html_()
    alt = html.unescape(re.search(r'<img alt="([^"]*)"', page)[1])
    assert alt == picture.describe() == str(picture) and len(alt) > 100
    assert "nan" not in alt and "None" not in alt
    assert page.startswith("<figure") and page.endswith("</figcaption></figure>") and picture.caption
    assert page.count("<tr>") == len(picture.table()) + 1
    svg = base64.b64decode(re.search(r'base64,([^"]+)"', page)[1]).decode()
    assert svg == picture.svg()


def test_descriptions_have_the_numbers(result, pictures):
    text = pictures["accuracy"].describe()
    assert f"dense network reaches {100 * result.accuracy('rewind')[0].mean():.1f} %" in text
    last = {arm: 100 * result.accuracy(arm)[-1].mean() for arm in ALL}
    order = ", ".join(
        f"{ARMS[arm].label} ({last[arm]:.1f} %)" for arm in sorted(ALL, key=last.get, reverse=True)
    )
    assert f"from highest to lowest: {order}" in text
    assert f"to {100 * min(result.arm_density(arm)[-1] for arm in ALL):.3g} % on the right" in text
    widest = max(range(1, result.rounds + 1), key=lambda r: abs(result.compare("rewind", "reinit", r).mean))
    assert str(result.compare("rewind", "reinit", widest)) in text
    low, high = pictures["accuracy"].figure.axes[0].get_ylim()
    assert f"vertical axis, {low:.0f} to {high:.0f} %" in text
    assert "5 seeds" in text and "mlp-100-50 on mnist-5k-14" in text
    curves = pictures["curves"].describe()
    assert f"rewind (the ticket) ({100 * result.curve('rewind')[2, :, -1].mean():.1f} %)" in curves
    assert f"dense network at step {result.early_stop_step('rewind')[0].mean():,.0f}" in curves
    mask = result.mask(3, 1)["fc1.weight"]
    assert f"keeps {mask.sum():,} of 19,600 weights" in pictures["mask"].describe()
    assert f"{(mask.sum(0) == 0).sum()} have lost all their weights" in pictures["mask"].describe()


def test_descriptions_do_not_claim_what_one_seed_cannot_show():
    text = figures.accuracy_against_density(made_up(seeds=1)).describe()
    assert "a single seed, so no interval" in text and "proves nothing" in text
    assert "distinguishably" not in text


def test_a_worse_ticket_is_called_worse():
    result = made_up()
    result.curve("rewind")[1:] -= 0.3
    text = figures.accuracy_against_density(result).describe()
    assert "rewind is lower than re-init" in text and "distinguishably worse" not in text


@pytest.mark.parametrize("seeds", [1, 3])
def test_methods_describe_the_axis_that_is_drawn(seeds):
    picture = figures.methods([made_up(seeds=seeds), made_up(seeds=seeds, rounds=2)])
    low, high = picture.figure.axes[0].get_ylim()
    assert f"vertical axis, {low:.0f} to {high:.0f} %" in picture.describe()
    assert "nan" not in picture.describe()


def test_the_shipped_picture_of_methods_is_described_as_the_atlas_draws_it():
    found = [atlas_store().load(experiment) for experiment in (CLASS_ROOM[0], *METHODS_COMPARED)]
    shipped = Path(__file__).resolve().parent.parent / "docs" / "methods.svg"
    assert ET.parse(shipped).getroot().get("aria-label") == figures.methods(found).describe()


def test_special_characters_are_escaped():
    picture = Picture(canvas.blank(3, 2)[0], 'a "quoted" <b> & more', [{"<x>": "<y>"}], "<script>")
    page = picture._repr_html_()
    assert "<script>" not in page and "<b>" not in page and "<y>" not in page and "<x>" not in page
    assert ET.fromstring(picture.svg()).get("aria-label") == 'a "quoted" <b> & more'


def broken():
    result = made_up(seeds=3)
    result._arrays["kept/fc1"][3:, 1] = 0
    result._arrays["diverged/reinit"][2:, :2] = True
    result.curve("reinit")[2:, :2] = np.nan
    result.curve("reinit", "validation_loss")[2:, :2] = np.nan
    return result


def words(picture):
    return " ".join(text.get_text() for text in picture.figure.findobj(matplotlib.text.Text))


@pytest.mark.parametrize("name", ["accuracy", "early stop", "tickets"])
def test_failures_are_named_in_the_figure_and_in_words(name):
    result = broken()
    picture = EVERY[name](result)
    where = f"{100 * result.density[2]:.3g} %"
    assert f"re-init: 6 of 15 networks diverged, first at {where}" in words(picture)
    assert "layer collapse" in words(picture) and "fc1 is empty" in words(picture)
    assert f"re-init: 6 of 15 networks diverged, first at {where}" in picture.describe()
    assert "Layer collapse: fc1 loses all its weights in round 3" in picture.describe()


def test_collapse_is_named_beside_the_layers():
    picture = figures.survival_by_layer(broken())
    assert "layer collapse" in words(picture) and "Layer collapse" in picture.describe()


@pytest.mark.parametrize("order", [1, -1])
def test_panels_with_different_arms_share_one_legend(order):
    several = [made_up(), made_up(arms="rewind", rounds=2)][::order]
    figure = figures.accuracy_against_density(several).figure
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(labels) == sorted(ARMS[arm].label for arm in ("rewind", "reinit"))


def test_each_panel_names_its_own_failures():
    picture = figures.accuracy_against_density([made_up(arms="rewind", rounds=2), broken()])
    notes = [" ".join(text.get_text() for text in axes.texts) for axes in picture.figure.axes]
    assert "diverged" not in notes[0] and "re-init: 6 of 15 networks diverged" in notes[1]


# ---------------------------------------------------------------------------------- running and odd results


@pytest.mark.parametrize("finished", [-1, 0, 2])
def test_results_that_are_still_running_can_be_drawn(finished):
    result = made_up(arms=ALL, finished_rounds=finished)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = [
            figures.accuracy_against_density(result),
            figures.learning_curves(result, result.rounds),
            figures.early_stop_against_density(result),
            figures.survival_by_layer(result),
            figures.mask_picture(result, result.rounds),
            figures.tickets(result),
            figures.early_stop_against_density(result, "reinit"),
            figures.accuracy_against_density(result, "reinit"),
        ]
        for picture in drawn:
            assert "nan" not in re.sub(r"base64,[^\"]*", "", picture._repr_html_())
            assert ET.fromstring(picture.svg()) is not None
    if finished >= 0:
        figures.weight_histograms(result, finished)
    with pytest.raises(ValueError, match=r"round=\d+ is still training"):
        figures.weight_histograms(result, result.rounds)


@pytest.mark.parametrize("scale", ["linear", "error"])
@pytest.mark.parametrize("level", [0.0, 0.9, 0.9995, 1.0])
def test_networks_that_are_all_equally_good_stay_within_the_axes(level, scale):
    result = made_up()
    for arm in result.arms:
        result.curve(arm)[:] = level
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = [figures.accuracy_against_density(result, scale=scale), figures.methods([result])]
    for picture in drawn:
        axes = picture.figure.axes[0]
        low, high = axes.get_ylim()
        assert low <= 100 * level <= high
        inside = axes.transAxes.inverted().transform(axes.transData.transform((100, 100 * level)))[1]
        assert -1e-9 <= inside <= 1 + 1e-9
        assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 2
        assert axes.yaxis.get_offset_text().get_text() == ""


def test_a_perfect_network_beside_others_reaches_the_top_of_the_stretched_axis():
    result = made_up()
    result.curve("rewind")[:] = 1.0
    axes = figures.accuracy_against_density(result, scale="error").figure.axes[0]
    assert axes.get_ylim()[1] == 100 and 100 in axes.get_yticks()
    others = axes.transData.transform([(100, accuracy) for accuracy in (90, 95, 97.5)])[:, 1]
    assert others[1] - others[0] == pytest.approx(others[2] - others[1])  # equal steps halve the error


def test_more_results_than_can_be_told_apart_are_refused():
    eleven = [made_up(rate=rate / 20, rounds=1) for rate in range(5, 16)]
    with pytest.raises(ValueError, match="results: 11 lines"):
        figures.accuracy_against_density(eleven, "rewind")
    drawn = lines(figures.accuracy_against_density(eleven[:6], "rewind")).values()
    assert len({(line.get_marker(), line.get_color()) for line in drawn}) == 6


@pytest.mark.parametrize(
    "settings",
    [
        {"rounds": 0},
        {"seeds": 1},
        {"arms": "rewind", "rounds": 1},
        {"model": "mlp-5", "rounds": 3},
        {"scope": "global", "model": "mlp-10-10-10-10-10-10"},
    ],
)
def test_small_results_can_be_drawn(settings):
    result = made_up(**settings)
    for name in ("accuracy", "early stop", "layers", "tickets"):
        assert "nan" not in EVERY[name](result).describe()
    for draw in (figures.learning_curves, figures.weight_histograms, figures.mask_picture):
        assert "nan" not in draw(result, result.rounds).describe()


def test_results_of_your_own_data():
    rng = np.random.default_rng(0)
    own = from_arrays(rng.random((60, 5, 7)), rng.integers(0, 3, 60), name="mine")
    result = made_up(dataset=own, model="mlp-10", batch_size=10, rounds=2)
    picture = figures.mask_picture(result, 2)
    assert picture.figure.axes[0].images[0].get_array().shape == (5, 7)
    result.experiment = Experiment.from_config(
        result.experiment.config
    )  # as read from a store: the shape is not known
    assert "as bars" in figures.mask_picture(result, 2).describe()


def test_bad_arguments_give_one_clear_sentence(result):
    few = made_up()
    for call, sentence in [
        (lambda: figures.accuracy_against_density(few, ["rewind", "random"]), "arm='random' is not known"),
        (lambda: figures.accuracy_against_density([]), "at least one result"),
        (lambda: figures.accuracy_against_density(few, []), "at least one arm"),
        (lambda: figures.accuracy_against_density(few, at=3), "at=3 is not known"),
        (lambda: figures.accuracy_against_density(few, scale="log"), "scale='log' is not known"),
        (lambda: figures.learning_curves(few, 99), "round=99"),
        (lambda: figures.learning_curves(few, 1, quantity="accuracy"), "quantity='accuracy' is not known"),
        (lambda: figures.mask_picture(few, 1, 7), "seed=7 is not known"),
        (lambda: figures.weight_histograms(few, -1), "round=-1"),
        (lambda: figures.tickets(made_up(dataset="mnist1d")), "on pictures"),
        (lambda: figures.tickets(made_up(dataset="mnist-5k", model="conv-2")), "fully connected"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            call()


# ------------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("name", EVERY)
def test_an_svg_needs_nothing_else(pictures, name):
    svg = pictures[name].svg()
    root = ET.fromstring(svg)
    assert root.get("role") == "img" and root.get("aria-label") == pictures[name].describe()
    for element in root.iter():
        assert not element.tag.endswith(("script", "}text", "foreignObject"))
        for key, value in element.attrib.items():
            if key.endswith("href"):
                assert value.startswith(("#", "data:image/png;base64,"))
            assert "url(" not in value or "url(#" in value
    assert "<!DOCTYPE" not in svg and "<!ENTITY" not in svg and "@import" not in svg
    assert set(re.findall(r'https?://[^"\s<]+', svg)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert len(ids) == len(set(ids)) and set(re.findall(r"#(i\d+)\b", svg)) <= set(ids)
    assert len(svg) < 400_000


def test_the_same_numbers_give_the_same_svg(result):
    for name in ("accuracy", "mask"):
        assert EVERY[name](result).svg() == EVERY[name](result).svg()


def test_pictures_can_be_saved(tmp_path, pictures):
    picture = pictures["layers"]
    assert picture.save(tmp_path / "new" / "a.svg").read_text(encoding="utf-8") == picture.svg()
    assert picture.save(str(tmp_path / "a.png")).read_bytes().startswith(b"\x89PNG")
    assert picture.save(tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(ValueError, match=r"ends in \.svg"):
        picture.save(tmp_path / "a")


def test_matplotlib_stays_as_it_was(result):
    before = dict(matplotlib.rcParams)
    for name in EVERY:
        EVERY[name](result)._repr_html_()
    assert dict(matplotlib.rcParams) == before


def test_figures_do_not_need_pyplot():
    code = """
        import sys
        from tests.helpers import made_up
        from lthviz import canvas, figures
        figures.accuracy_against_density(made_up())._repr_html_()
        print([name for name in ("matplotlib.pyplot", "torch", "pandas") if name in sys.modules])
        """.replace("\n        ", "\n")
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_style_of_the_users_own_does_not_make_figures_unreadable(result):
    with matplotlib.rc_context({"text.color": "white", "axes.labelcolor": "white", "xtick.color": "white",
                                "figure.facecolor": "black", "axes.facecolor": "black", "font.size": 4}):  # fmt: skip
        for name in ("accuracy", "curves", "histograms", "mask", "signal", "filters", "several", "tickets"):
            figure = EVERY[name](result).figure
            figure.draw_without_rendering()
            assert figure.get_facecolor()[:3] == (1, 1, 1)
            for text in figure.findobj(matplotlib.text.Text):
                if text.get_text().strip():
                    assert to_hex(text.get_color()).upper() in (canvas.INK, canvas.MUTED), text.get_text()
                    assert text.get_fontsize() >= 11, text.get_text()


def test_several_threads_may_draw_at_once(result):
    expected, found = EVERY["accuracy"](result).svg(), []

    def draw():
        found.append(EVERY["accuracy"](result).svg())

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_the_pictures_of_the_readme_are_drawn_from_the_atlas(tmp_path, capsys, monkeypatch):
    assert figures.main(str(tmp_path)) == 0
    said = capsys.readouterr().out
    for name in ("tickets", "methods"):
        assert (tmp_path / f"{name}.svg").stat().st_size > 10_000 and f"{name}.svg" in said
    monkeypatch.setattr("lthviz.store.atlas_store", lambda: Store(tmp_path))
    assert figures.main(str(tmp_path)) == 1
    assert "python -m lthviz atlas" in capsys.readouterr().out
