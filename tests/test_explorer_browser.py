"""The explorer and the live panel in a real browser, under Voilà and in JupyterLab."""

from pathlib import Path

import nbformat
import numpy as np
import pytest

from lthviz.result import interval

from .browser import assert_no_console_errors, assert_offline, run_all_cells, wait_until
from .helpers import made_up

ROOT = Path(__file__).resolve().parent.parent
APP = ROOT / "notebooks" / "app.ipynb"
LINKED = """import ipywidgets
import lthviz
explorer = lthviz.explore()
label = ipywidgets.Label()
explorer.observe(lambda change: setattr(label, "value", f"Python says {change['new']}"), "round")
back = ipywidgets.Button(description="Back to 1")
back.on_click(lambda _: setattr(explorer, "round", 1))
ipywidgets.VBox([explorer, label, back])"""
#: Two rates with different numbers of rounds, in the order of the rates.
INVENTED = ({"rate": 0.25, "rounds": 6}, {"rate": 0.5, "rounds": 4})
NUMBERS = f"""import sys
sys.path.insert(0, {str(ROOT)!r})
import lthviz
from tests.helpers import made_up
lthviz.explore([made_up(**settings) for settings in {INVENTED!r}])"""
NO_LOGARITHM = """import numpy as np
from lthviz.explorer import Array, Axis, Curves, Explorer
arrays = {name: Array(np.array([0.0, -1.0, -2.0]), ("step",)) for name in "xy"}
Explorer([Axis("round", (0, 1))], [Curves(y="y", x="x", along="step", log=True)], arrays)"""
#: The tables, row by row, as they are written.
TABLES = """box => [...box.querySelectorAll('table')].map(
  table => [...table.rows].map(row => [...row.cells].map(cell => cell.textContent)))"""
#: How green each pixel of a canvas is, row by row: the more, the smaller the value.
GREEN = """canvas => {
  const {data, width} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return Array.from({length: canvas.height}, (_, y) => Array.from({length: width}, (_, x) => data[4 * (y * width + x) + 1]));
}"""
LIGHTEST = 0xF4  # the green of #f1f4f7, which means 0
#: The numbers on the vertical axes.
SCALES = """box => [...box.querySelectorAll('.lth-plot > svg')].map(
  svg => [...svg.querySelectorAll('.frame text[text-anchor=end]')].map(text => text.textContent))"""
#: What is drawn, as text: curves, pictures, numbers, sentence. Two frames later, since what changes its size is drawn
#: for it in the next frame.
PICTURE = """box => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))).then(() =>
  [...box.querySelectorAll('.lth-plot > svg')].map(svg => svg.innerHTML).join()
  + [...box.querySelectorAll('canvas')].map(canvas => canvas.toDataURL()).join()
  + [...box.querySelectorAll('.lth-number, .lth-sentence')].map(part => part.textContent).join())"""

pytestmark = pytest.mark.browser


@pytest.fixture(params=["voila", "lab"])
def door(request):
    """How a visitor comes in: the fixture that opens a notebook, and its name."""
    return request.param, request.getfixturevalue(request.param)


def write(code, path):
    """A notebook with one cell."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    return path


def enter(door, browser_page, notebook, **options):
    """A page with the notebook's explorer on it; what goes over its websockets is counted in ``page.sent``."""
    name, address = door
    page = browser_page(**options)
    page.sent = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: page.sent.append(frame)))
    page.goto(address(notebook))
    if name == "lab":
        run_all_cells(page)
    page.locator(".lth-plot path.line").first.wait_for(state="attached", timeout=60_000)
    return page


@pytest.fixture
def page(door, browser_page):
    page = enter(door, browser_page, APP)
    page.get_by_role("button", name="Train").wait_for(timeout=60_000)  # all cells have run
    yield page
    assert_no_console_errors(page)
    assert_offline(page)


def explorer(page):
    return page.locator(".lth").first


def picture(page) -> str:
    return explorer(page).evaluate(PICTURE)


def test_the_first_picture_needs_no_click(page):
    box = explorer(page)
    assert box.locator(".lth-plot > svg[role=img]").count() == 2
    assert all(
        box.locator("canvas").nth(i).bounding_box()["width"] > 50
        for i in range(box.locator("canvas").count())
    )
    assert "%" in box.locator(".lth-plot > svg").first.get_attribute("aria-label")
    assert box.locator("[aria-live=polite]").inner_text().endswith(".")
    assert box.locator(".lth-error").inner_text() == ""


def test_every_control_moves_the_picture(page):
    box = explorer(page)
    for slider in box.get_by_role("slider").all():
        before, text = picture(page), slider.get_attribute("aria-valuetext")
        slider.press("ArrowLeft" if slider.input_value() != "0" else "ArrowRight")
        assert slider.get_attribute("aria-valuetext") != text
        assert picture(page) != before
    before = picture(page)
    box.get_by_role("combobox").select_option(index=2)
    assert picture(page) != before
    before = picture(page)
    box.get_by_role("checkbox").nth(1).click()
    assert picture(page) != before


def test_without_a_ticked_curve_the_axes_stay(page):
    box = explorer(page)
    before = picture(page)
    for tick in box.get_by_role("checkbox").all():
        tick.uncheck()
    assert "no curve is ticked" in box.locator(".lth-plot > svg").first.get_attribute("aria-label")
    assert box.locator(".lth-plot .grid").count() > 4
    assert box.locator(".lth-error").inner_text() == ""
    for tick in box.get_by_role("checkbox").all():
        tick.check()
    assert picture(page) == before


def test_the_sentence_speaks_of_no_curve_that_is_hidden(page):
    box = explorer(page)
    ticks = dict(
        zip(("rewind", "reinit", "shuffle", "random", "small-dense"), box.get_by_role("checkbox").all())
    )
    said = box.locator("p.lth-sentence")
    assert "than re-init" in said.inner_text()
    ticks["reinit"].uncheck()
    assert "than shuffled mask" in said.inner_text() and "re-init" not in said.inner_text()
    box.get_by_role("combobox").select_option("3")
    assert "Seed 3" in said.inner_text() and "shuffled mask" in said.inner_text()
    for arm in ("shuffle", "random", "small-dense"):
        ticks[arm].uncheck()
    box.get_by_role("combobox").select_option("-1")
    assert "the ticket reaches" in said.inner_text() and "dense" in said.inner_text()
    assert not any(name in said.inner_text() for name in ("re-init", "mask", "small"))
    ticks["rewind"].uncheck()
    assert said.inner_text() == "Tick rewind, the ticket, to compare it with the others."


def test_a_curve_that_leaves_the_picture_is_named(page):
    box = explorer(page)
    names = box.locator(".lth-plot > svg").nth(1).locator("text.end")
    assert names.count() == 0
    box.get_by_role("slider", name="Round").press("End")
    assert sorted(names.all_text_contents()) == ["↓ random mask", "↓ shuffled mask", "↓ small dense"]
    box.locator("input[name=random]").uncheck()
    assert sorted(names.all_text_contents()) == ["↓ shuffled mask", "↓ small dense"]
    box.get_by_role("spinbutton", name="Prune rate").fill("80")
    box.get_by_role("spinbutton", name="Prune rate").press("Enter")
    line = box.locator(".lth-plot > svg").nth(1).locator("path.line").last  # rewind alone is in the picture
    edges = names.evaluate_all("names => names.map(name => name.getBBox().y)")
    left = names.evaluate_all("names => Math.min(...names.map(name => name.getBBox().x))")
    lowest = line.evaluate(
        """(line, left) => { // the line right of where the names begin
          const n = line.getTotalLength(), at = i => line.getPointAtLength((i * n) / 200);
          return Math.max(...Array.from({length: 201}, (_, i) => at(i)).filter(p => p.x > left).map(p => p.y));
        }""",
        left,
    )
    assert len(edges) == 3 and lowest < min(edges)  # no name lies over it
    page.set_viewport_size({"width": 700, "height": 900})
    wait_until(lambda: names.all_text_contents() == ["↓ 3 lines below"], 10, "few words in a small picture")


def test_a_logarithm_of_nothing_is_refused_in_words(voila, browser_page, tmp_path):
    page = browser_page(voila(write(NO_LOGARITHM, tmp_path / "zero.ipynb")))
    page.get_by_text("A logarithmic axis begins above zero").wait_for(timeout=60_000)


def test_what_does_not_exist_has_no_bar_and_is_not_told(voila, browser_page, tmp_path):
    code = "from lthviz.explorer.lessons.deploy import format_browser\nformat_browser()"
    page = enter(("voila", voila), browser_page, write(code, tmp_path / "formats.ipynb"))
    box, wide = explorer(page), "bars => bars.map(bar => bar.getBoundingClientRect().width)"
    box.get_by_role("slider", name="Density").press("Home")
    assert box.locator(".lth-bars dd").all_text_contents()[3:] == ["201,452 bytes", "–"]
    bars = box.locator(".lth-bars i").evaluate_all(wide)
    assert [round(bar / bars[3], 2) for bar in bars] == [0.5, 0.51, 0.75, 1.0, 0.0]
    picture = box.locator(".lth-plot > svg")
    assert "2:4" not in picture.get_attribute("aria-label")
    box.get_by_role("slider", name="Density").press("End")
    assert "2:4" in picture.get_attribute("aria-label")
    assert min(box.locator(".lth-bars i").evaluate_all(wide)) > 0


def test_arrow_keys_choose_an_answer_and_no_other_cell(lab, browser_page, tmp_path):
    code = 'from lthviz.explorer import Quiz\nQuiz("Which?", ["one", "two", "three"], "two")'
    page = browser_page(lab(write(code, tmp_path / "quiz.ipynb")))
    run_all_cells(page)
    answers = page.locator("input[type=radio]")
    answers.first.wait_for(timeout=60_000)
    page.locator(".lthviz-spoken").wait_for(state="attached")
    answers.first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    assert [answer.is_checked() for answer in answers.all()] == [False, True, False]
    assert page.evaluate("document.activeElement.type") == "radio"


def test_the_number_box_moves_the_slider_and_refuses_in_words(page):
    box = explorer(page)
    number, slider = box.get_by_role("spinbutton", name="Round"), box.get_by_role("slider", name="Round")
    number.fill("2")
    number.press("Enter")
    assert slider.input_value() == "2"
    before = picture(page)
    number.fill("999")
    number.press("Enter")
    assert "Round 999 does not exist" in box.get_by_role("alert").inner_text()
    assert "Allowed: 0 to" in box.get_by_role("alert").inner_text()
    assert number.input_value() == "2" and picture(page) == before
    for typed in ("2,5", "two", "", "1e9x", "-1"):  # as a person may type it; nothing is guessed
        number.fill(typed)
        number.press("Enter")
        assert f"{typed}" in box.get_by_role("alert").inner_text()
        assert "Allowed: 0 to" in box.get_by_role("alert").inner_text()
        assert number.input_value() == "2" and picture(page) == before
    rate = box.get_by_role("spinbutton", name="Prune rate")
    for typed in ("20 %", "20,0", "20"):
        rate.fill(typed)
        rate.press("Enter")
        assert box.get_by_role("alert").inner_text() == "" and rate.input_value() == "20"
    number.press("ArrowUp")
    assert box.get_by_role("alert").inner_text() == "" and slider.input_value() == "3"
    number.fill("999")
    number.press("Tab")
    assert "Round 999" in box.get_by_role("alert").inner_text()
    box.locator(".lth-sentence").last.click()  # whoever goes on has read it
    assert box.get_by_role("alert").inner_text() == ""
    slider.press("ArrowRight")
    assert slider.input_value() == "4"


def test_the_table_has_the_numbers_of_the_picture(page):
    box = explorer(page)
    box.get_by_text("Show as table").click()
    rows = box.locator("table").first.locator("tbody tr")
    rows.first.wait_for()
    assert rows.count() == int(box.get_by_role("slider", name="Round").get_attribute("max")) + 1
    assert "95 % interval over seeds" in box.locator("caption").first.inner_text()
    box.get_by_role("checkbox").nth(1).click()
    assert "re-init" not in box.locator("table").first.inner_text()


def test_a_line_can_be_read_off_and_chosen(page):
    box = explorer(page)
    plot = box.locator(".lth-plot > svg").first
    plot.hover()
    assert "±" in box.locator(".lth-tip:visible").inner_text()
    area = plot.bounding_box()
    plot.click(position={"x": 0.15 * area["width"], "y": area["height"] / 2})
    assert box.get_by_role("slider", name="Round").input_value() != "7"


def test_no_message_is_needed_for_a_move(door, browser_page):
    page = enter(door, browser_page, APP)
    if door[0] == "lab":
        pytest.skip("in JupyterLab Python hears of the position when the hand rests: the next test")
    slider = explorer(page).get_by_role("slider", name="Round")
    before, sent = picture(page), len(page.sent)
    for key in ["ArrowRight"] * 5 + ["ArrowLeft"] * 3:
        slider.press(key)
    page.evaluate("() => new Promise(heard => setTimeout(heard, 600))")  # silence takes a moment to hear
    assert picture(page) != before
    moves = [
        frame
        for frame in page.sent[sent:]
        if b"round" in (frame if isinstance(frame, bytes) else frame.encode())
    ]
    assert moves == []


def test_python_hears_of_a_move_and_the_browser_of_python(door, browser_page, tmp_path):
    page = enter(door, browser_page, write(LINKED, tmp_path / "linked.ipynb"))
    slider = explorer(page).get_by_role("slider", name="Round")
    number = explorer(page).get_by_role("spinbutton", name="Round")
    number.fill("5")
    number.press("Enter")
    page.get_by_text("Python says 5").wait_for(timeout=20_000)
    page.get_by_role("button", name="Back to 1").click()
    page.get_by_text("Python says 1").wait_for(timeout=20_000)
    wait_until(lambda: slider.input_value() == "1", 10, "the slider follows Python")
    assert_no_console_errors(page)


def per_cent(value) -> str:
    return f"{100 * value:.1f}\u202f%"


def cell(values) -> str:
    """How the table writes several seeds: the mean and the ends of its interval."""
    mean, low, high = map(per_cent, interval(values))
    return f"{mean} ({low} to {high})"


def number(text) -> float:
    return float(text.replace(",", "").rstrip("\u202f%"))


def test_every_number_on_the_page_is_that_of_the_results(voila, browser_page, tmp_path):
    results = [made_up(**settings) for settings in INVENTED]
    page = enter(("voila", voila), browser_page, write(NUMBERS, tmp_path / "numbers.ipynb"))
    box = explorer(page)
    box.get_by_text("Show as table").click()
    box.locator("tbody").first.wait_for()

    def move(name, value):
        spin = box.get_by_role("spinbutton", name=name)
        spin.fill(f"{value:g}")
        spin.press("Enter")

    def shown(result, r, seed=None):
        """Compare all that the page says at one point; ``seed=None`` is all seeds together."""
        arms, column = result.arms, slice(None) if seed is None else result.seeds.index(seed)
        write_cell = cell if seed is None else per_cent
        accuracies, learning = box.evaluate(TABLES)
        head, *rows = accuracies
        assert head[1:] == ["rewind", "re-init"]
        assert [row[1:] for row in rows] == [
            [write_cell(result.accuracy(arm)[round, column]) for arm in arms]
            for round in range(result.rounds + 1)
        ]
        assert [number(row[0]) for row in rows] == [float(f"{100 * d:.3g}") for d in result.density]
        head, *rows = learning
        assert [row[1:] for row in rows] == [
            [write_cell(result.curve(arm)[r, column, e]) for arm in arms] for e in range(len(result.steps))
        ]
        assert [number(row[0]) for row in rows] == result.steps.tolist()

        layer = f"{result.layers[0]}.weight"
        mask = np.asarray(result.mask(r, result.seeds[0] if seed is None else seed)[layer])
        picture = np.array(box.locator("canvas").nth(1).evaluate(GREEN))
        np.testing.assert_array_equal(picture < LIGHTEST, mask)
        which = f"seed {result.seeds[0]}: " if seed is None else ""
        caption = f"{which}{mask.sum():,} of {mask.size:,} kept"
        assert box.locator(".lth-caption").nth(1).inner_text() == caption

        seeds = result.seeds if seed is None else [seed]
        kept = np.mean([np.asarray(result.mask(r, s)[layer]).sum(0) for s in seeds], axis=0)
        largest = box.locator(".lth-caption").first.locator("span").first.inner_text()
        assert largest == f"{round(kept.max(), 1):g} of {len(mask)} weights"
        picture = np.array(box.locator("canvas").first.evaluate(GREEN)).ravel()
        assert (np.diff(picture[np.argsort(kept)]) <= 0).all()  # the more weights, the darker

        density, weights = (number(text) for text in box.locator(".lth-number b").all_inner_texts())
        assert density == float(f"{100 * result.density[r]:.3g}")
        assert weights == sum(layer[r, 0] for layer in result.kept.values())
        if seed is None:
            assert (
                box.locator("p.lth-sentence")
                .inner_text()
                .startswith(result.verdict(r).replace(" %", "\u202f%"))
            )

    for result in results:
        move("Prune rate", 100 * result.experiment.rate)
        for r in (0, 2, result.rounds):
            move("Round", r)
            shown(result, r)
    box.get_by_role("combobox", name="Seed").select_option("2")
    shown(result, r, seed=2)
    assert_no_console_errors(page)


def live(page):
    return page.locator(".lthviz-live")


def test_live_training_draws_and_finishes(page):
    panel = live(page)
    said = panel.get_by_role("status").first.element_handle()
    panel.get_by_role("button", name="Train").click()
    panel.locator(".lth-plot path.line").first.wait_for(state="attached", timeout=90_000)
    assert panel.get_by_role("button", name="Train").is_disabled()
    panel.get_by_text("Done:").wait_for(timeout=300_000)
    # the same element all the time: screen readers hear its words
    assert said.inner_text().startswith("Done:")
    assert panel.get_by_role("button", name="Train").is_enabled()
    slider = panel.locator(".lth").get_by_role("slider", name="Round")
    wait_until(lambda: slider.input_value() == "12", 10, "the picture follows the newest round")
    assert panel.locator(".lth").evaluate(SCALES) == explorer(page).evaluate(SCALES)
    before = panel.locator(".lth").evaluate(PICTURE)
    slider.press("ArrowLeft")
    assert panel.locator(".lth").evaluate(PICTURE) != before


def test_cancel_cancels_and_the_position_stays_where_the_user_put_it(page):
    panel = live(page)
    panel.get_by_role("button", name="Train").click()
    slider = panel.locator(".lth").get_by_role("slider", name="Round")
    slider.wait_for(timeout=90_000)
    wait_until(lambda: int(slider.get_attribute("max")) >= 2, 120, "two rounds")
    slider.press("Home")
    reached = int(slider.get_attribute("max"))
    wait_until(lambda: int(slider.get_attribute("max")) > reached, 120, "another round")
    assert slider.input_value() == "0"
    panel.get_by_role("button", name="Cancel").click()
    panel.get_by_text("Cancelled in round").wait_for(timeout=30_000)
    assert panel.get_by_role("button", name="Train").is_enabled()
    assert slider.input_value() == "0"


def test_bad_settings_are_said_without_a_traceback(page):
    panel = live(page)
    network = panel.locator("input[type=text]").first
    network.fill("mlp-banana")
    network.press("Tab")
    panel.get_by_role("button", name="Train").click()
    said = panel.get_by_text("mlp-banana").last
    said.wait_for(timeout=20_000)
    assert "Traceback" not in page.content() and ".py" not in panel.inner_text()
    assert panel.get_by_role("button", name="Train").is_enabled()
