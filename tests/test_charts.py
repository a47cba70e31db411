"""Charts of a lesson's own numbers, and the explorers of lessons 00 and 02."""

import numpy as np
import pytest
import traitlets

from lthviz import charts
from lthviz.explorer.lessons.magnitude import pruning_browser
from lthviz.explorer.lessons.start_here import mask_browser
from lthviz.methods import METHODS
from lthviz.result import interval

from .helpers import made_up

DENSITIES = [1.0, 0.5, 0.2]


def test_lines_say_what_they_show():
    rng = np.random.default_rng(0)
    values = {"one": 90 + rng.random((3, 4)), "two": 80 + rng.random((3, 4))}
    picture = charts.lines(
        {name: ([100, 50, 20], rows) for name, rows in values.items()},
        x="density (%)",
        y="accuracy (%)",
        title="Two ways",
        log=True,
        finding="One is higher.",
    )
    text = picture.describe()
    assert all(
        word in text for word in ("Two ways", "density (%)", "accuracy (%)", "4 seeds", "One is higher.")
    )
    row = picture.table()[4]
    assert (row["line"], row["density (%)"], row["n"]) == ("two", 50.0, 4)
    assert row["mean"] == pytest.approx(interval(values["two"][1])[0])
    assert "<img alt=" in picture._repr_html_()
    left, right = picture.figure.axes[0].get_xlim()
    assert left > right  # dense on the left


def test_more_lines_than_can_be_told_apart_are_refused():
    with pytest.raises(ValueError, match="7 lines"):
        charts.lines({str(i): ([0, 1], [0, 1]) for i in range(7)}, x="x", y="y", title="Many")


def test_methods_keep_their_looks_where_these_differ():
    def colours(*labels):
        picture = charts.lines({label: ([0, 1], [0, 1]) for label in labels}, x="x", y="y", title="Methods")
        return [line.get_color() for line in picture.figure.axes[0].lines]

    snip, rigl = METHODS["snip"], METHODS["rigl"]
    assert colours("GraSP", "SNIP") == [METHODS["grasp"].colour, snip.colour]
    assert snip.colour == rigl.colour and len(set(colours("SNIP", "RigL"))) == 2
    assert len(set(colours("SNIP", "something else"))) == 2


def test_pictures_share_one_scale_and_say_what_they_show():
    values = {"one": np.eye(3), "two": 4 * np.ones((3, 3))}
    picture = charts.pictures(values, unit="weights", title="Two matrices")
    shown = [axes.images[0] for axes in picture.figure.axes if axes.images]
    assert [np.asarray(image.get_array()).tolist() for image in shown] == [
        v.tolist() for v in values.values()
    ]
    assert {image.get_clim() for image in shown} == {(0.0, 4.0)}
    assert picture.table()[5] == {"picture": "two", "row": 2, "values": "4 4 4"}
    for words in ("Two matrices", "weights", "two: 4 on average, 4 at most"):
        assert words in picture.describe()
    with pytest.raises(ValueError, match="13 pictures"):
        charts.pictures({str(i): np.eye(2) for i in range(13)}, unit="x", title="Many")


def test_a_single_value_a_place_has_no_interval():
    picture = charts.lines({"a": ([0, 1], [3.0, 4.0])}, x="x", y="y", title="Plain")
    assert np.isnan(picture.table()[0]["low"]) and "no repetition" in picture.describe()


def test_a_line_with_a_gap_is_described_by_the_values_that_are_there():
    gap = {"a": ([0, 1, 2, 3], [np.nan, 3.0, 4.0, np.nan]), "b": ([0, 1], [np.nan, np.nan])}
    text = charts.lines(gap, x="x", y="y", title="Gaps").describe()
    assert "a: 3 at 1, 4 at 2" in text and "b: not measured" in text and "nan" not in text


def test_numbers_that_are_all_alike_have_readable_ticks():
    for y, value in (("accuracy (%)", 100.0), ("loss", 0.0), ("steps", 12345.0)):
        (axes,) = charts.lines({"a": ([0, 1], [value] * 2)}, x="x", y=y, title="Level").figure.axes
        low, high = axes.get_ylim()
        assert low <= value <= high and axes.yaxis.get_offset_text().get_text() == ""


def test_a_verdict_needs_more_than_one_value():
    picture = charts.verdicts({"row": {"one": [1.0], "none": [np.nan], "two": [1.0, 1.1]}}, title="T")
    text = picture.describe()
    assert "row, one: a single seed, +1.0 (no interval)" in text and "nan" not in text
    assert "row, none" not in text and "row, two: higher" in text
    assert "nan" not in " ".join(shown.get_text() for shown in picture.figure.axes[0].texts)
    assert [(row["column"], row["n"]) for row in picture.table()] == [("one", 1), ("two", 2)]


def test_histograms_count_everything_once():
    weights = {"fc1": np.linspace(-1, 1, 101), "fc2": np.linspace(-2, 2, 50)}
    gone = {name: np.abs(values) < 0.5 for name, values in weights.items()}
    rows = charts.histogram(weights, gone=gone, x="weight", title="Weights").table()
    for name, values in weights.items():
        assert sum(row["all"] for row in rows if row["panel"] == name) == values.size
        assert sum(row["go"] for row in rows if row["panel"] == name) == gone[name].sum()


def test_spread_in_words():
    assert charts.spread([0.94]) == "94.0 %"
    assert charts.spread([0.93, 0.95]) == "94.0 % (81.3 to 106.7)"


def test_mask_browser_shows_the_stored_masks():
    result = made_up(model="mlp-8")
    browser = mask_browser(result)
    browser.round, browser.seed = 2, 1
    assert np.frombuffer(browser.arrays["density"]["data"], np.float32) == pytest.approx(result.density)
    pixels = np.frombuffer(browser.arrays["pixels"]["data"], np.uint8).reshape(result.rounds + 1, 3, 14, 14)
    kept = result.mask(2, 1)["fc1.weight"].sum(0).reshape(14, 14)
    assert np.array_equal(pixels[2, 1], kept)
    with pytest.raises(traitlets.TraitError, match="round"):
        browser.round = 99
    assert "<img alt=" in browser._repr_mimebundle_()[0]["text/html"]


def test_mask_browser_needs_pictures():
    with pytest.raises(ValueError, match="whole pictures"):
        mask_browser(made_up(dataset="mnist1d", model="mlp-8"))


def test_pruning_browser_says_where_a_layer_collapsed():
    accuracy = {"layer-wise": np.array([[0.9, 0.9], [0.8, 0.8], [0.5, 0.6]])}
    accuracy["global"] = accuracy["layer-wise"] + 0.01
    kept = {
        scope: {"fc1": np.array([[8, 8], [4, 4], [2, 2]]), "fc2": np.array([[4, 4], [2, 2], [1, 1]])}
        for scope in accuracy
    }
    kept["global"]["fc2"][2] = [1, 0]
    browser = pruning_browser(DENSITIES, accuracy, kept, {"fc1": 8, "fc2": 4})
    words = browser.arrays["words"]["texts"]  # layer-wise at three densities, then global
    assert "80.0 %" in words[1] and "layer-wise" in words[1] and "collapse" not in words[1]
    assert "81.0 %" in words[4] and "global" in words[4] and "collapse" not in words[4]
    assert "collapse" not in words[2] and "collapse: fc2" in words[5]
    browser.density = 0.2
    assert "<img alt=" in browser._repr_mimebundle_()[0]["text/html"]


def test_a_logarithmic_axis_for_densities_falls_and_for_other_things_rises():
    values = np.random.default_rng(0).random((3, 4))
    bytes_ = charts.lines(
        {"a": ([2, 20, 100], values)}, x="kilobytes", y="accuracy", title="T", log=True, over="turns"
    )
    (axes,) = bytes_.figure.axes
    low, high = axes.get_xlim()
    assert axes.get_xscale() == "log" and low < 2 and high > 100
    ticks = [label.get_text() for label in axes.get_xticklabels()]
    assert {"5", "50"} <= set(ticks) and "interval over 4 turns" in bytes_.describe()
    share = charts.lines(
        {"a": ([1, 10, 100], values)}, x="share of the rate, %", y="cost, %", title="T", log=True
    )
    low, high = share.figure.axes[0].get_xlim()
    assert low < 1 and high > 100
    above = charts.lines({"a": ([1, 2], [150, 180])}, x="steps", y="cost, % of dense", title="T")
    low, high = above.figure.axes[0].get_ylim()
    assert low < 150 and high > 180
    density = charts.lines({"a": ([100, 20, 2], values)}, x="density (%)", y="accuracy", title="T", log=True)
    low, high = density.figure.axes[0].get_xlim()
    assert low > 100 and high < 2 and "interval over 4 seeds" in density.describe()


def test_pictures_show_their_arrays_on_one_scale():
    values = {"low": np.arange(6.0).reshape(2, 3), "high": 10 * np.arange(6.0).reshape(2, 3)}
    picture = charts.pictures(values, unit="weights", title="Two")
    images = [axes.images[0] for axes in picture.figure.axes if axes.images]
    for image, array in zip(images, values.values(), strict=False):
        np.testing.assert_array_equal(image.get_array(), array)
        assert image.get_clim() == (0, 50)
    assert [row["values"] for row in picture.table()][:2] == ["0 1 2", "3 4 5"]
    with pytest.raises(ValueError, match="13 pictures"):
        charts.pictures({str(i): np.ones((2, 2)) for i in range(13)}, unit="weights", title="T")
