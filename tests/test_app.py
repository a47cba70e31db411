"""The Ticket Lab as a visitor meets it: through Voilà, with the settings of `make app`."""

import urllib.error
import urllib.request
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

from lthviz.serving import in_voila

from .browser import assert_no_console_errors, assert_offline, wait_until

APP = Path(__file__).resolve().parent.parent / "notebooks" / "app.ipynb"
STOPPED = "The Python behind this page has stopped"

pytestmark = pytest.mark.browser


@pytest.fixture
def page(voila, browser_page):
    """The Ticket Lab, its sliders there."""
    return until_interactive(browser_page(voila(APP)))


def slider(page):
    """The slider that chooses the round."""
    return page.get_by_role("slider", name="Round").first


def until_interactive(page):
    """Wait until the slider is on the page; if it does not come, say what is there instead."""
    from playwright.sync_api import TimeoutError as TooLate

    try:
        slider(page).wait_for(timeout=120_000)
    except TooLate:
        pytest.fail(f"no slider came; the page says:\n{page.inner_text('body')}\nerrors: {page.watch.errors}")
    return page


def maps(kernel) -> str:
    """The files that a process has mapped into its memory."""
    return Path(f"/proc/{kernel.pid}/maps").read_text()


def test_the_page_is_there_without_a_click_and_without_errors(page):
    assert page.locator("svg:visible").first.is_visible()
    assert page.locator("canvas:visible, svg:visible").count() > 0
    assert page.locator("pre.jp-mod-error, .jp-RenderedText[data-mime-type*=stderr]").count() == 0
    assert page.locator("#lthviz-banner").is_hidden()
    assert_no_console_errors(page)
    assert_offline(page)


def test_axe_finds_nothing_that_keeps_people_out(page):
    from axe_playwright_python.sync_playwright import Axe

    page.get_by_role("slider", name="Steps").wait_for()  # the live panel is there, its sliders have names
    page.get_by_text("Show as table").click()
    found = Axe().run(page).response
    assert found["passes"]
    faults = [
        (fault["id"], fault["help"], node["html"]) for fault in found["violations"] for node in fault["nodes"]
    ]
    assert faults == []
    assert_no_console_errors(page)


def test_the_sliders_answer(page):
    before = slider(page).input_value()
    key = "ArrowLeft" if float(before) > float(slider(page).get_attribute("min") or 0) else "ArrowRight"
    slider(page).press(key)
    assert slider(page).input_value() != before
    assert_no_console_errors(page)


def test_looking_loads_no_torch(page, voila_server):
    kernel = voila_server(APP).kernel_of(page)
    if not Path(f"/proc/{kernel.pid}/maps").exists():
        pytest.skip("this system does not tell which libraries a process has loaded")
    slider(page).press("ArrowLeft")
    assert "libtorch" not in maps(kernel)


def test_a_kernel_that_waits_for_a_visitor_knows_that_it_is_behind_a_page(page, voila_server, monkeypatch):
    kernel = voila_server(APP).kernel_of(page)
    for name in ("SERVER_SOFTWARE", "VOILA_PREHEAT"):
        monkeypatch.delenv(name, raising=False)
    assert not in_voila()
    monkeypatch.setenv("VOILA_PREHEAT", kernel.environ()["VOILA_PREHEAT"])
    assert in_voila()


def test_no_source_reaches_the_visitor(page):
    assert "import lthviz" not in page.content()


def test_the_page_fits_a_phone(voila, browser_page):
    page = until_interactive(browser_page(voila(APP), viewport={"width": 390, "height": 844}))
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390, f"the page is {width} pixels wide on a screen of 390"


def test_a_dead_kernel_is_said_and_the_sliders_go_on(page, voila_server):
    voila_server(APP).kernel_of(page).kill()
    page.get_by_text(STOPPED).wait_for(timeout=20_000)
    before = slider(page).input_value()
    key = "ArrowLeft" if float(before) > float(slider(page).get_attribute("min") or 0) else "ArrowRight"
    slider(page).press(key)
    assert slider(page).input_value() != before
    page.get_by_role("button", name="Reload the page").click()
    until_interactive(page)
    assert page.locator("#lthviz-banner").is_hidden()


def test_a_dead_server_is_said(browser_page):
    from .browser import start_voila

    with start_voila(APP) as server:
        page = until_interactive(browser_page(server.url))
    page.get_by_text("The server has stopped").wait_for(timeout=20_000)
    assert slider(page).is_visible()


def test_closing_the_page_ends_its_kernel(page, voila_server):
    kernel = voila_server(APP).kernel_of(page)
    page.goto("about:blank")
    wait_until(lambda: not kernel.is_running() or kernel.status() == "zombie", 20, "the kernel ends")


def status(url: str, method: str = "GET") -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=30) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize(
    "path",
    ["api/kernels", "api/contents/app.ipynb", "voila/files/app.ipynb", "voila/files/../tests/conftest.py"],
)
def test_nothing_but_the_page_is_served(voila, path):
    assert status(voila(APP) + path) in (403, 404)


def notebook(path, *cells):
    """A file with these cells: markdown, where a text begins with "#", else code."""
    kinds = {True: nbformat.v4.new_markdown_cell, False: nbformat.v4.new_code_cell}
    made = nbformat.v4.new_notebook(cells=[kinds[text.startswith("#")](text) for text in cells])
    made.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(made, path)
    return path


WIDE = f"""# What *a* reader of `<b>&` sees

https://example.org/{"x" * 300} and [lesson 03](03_lottery_ticket.ipynb)

| {"| ".join("abcdefghijkl")} |
|{"-|" * 12}
| {"| ".join(12 * ["a long word"])} |

```python
{"y" * 200}
```"""


def test_a_page_of_any_notebook_fits_a_small_screen_and_goes_on_after_an_error(voila, browser_page, tmp_path):
    path = notebook(
        tmp_path / "any.ipynb", "1 / 0", WIDE, "print('still', 'here')\nprint('word ' * 40)", "print(1)"
    )
    page = browser_page(voila(path), viewport={"width": 400, "height": 800})
    page.get_by_text("still here").wait_for(timeout=60_000)
    assert page.title() == "What a reader of <b>& sees"
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    said = page.inner_text("body")
    assert "There was an error when executing cell [1]." in said and "ZeroDivision" not in said
    assert "lesson 03" in said and page.locator("a[href*=ipynb]").count() == 0
    table = page.locator("table").first
    assert table.evaluate("table => table.scrollWidth > table.clientWidth")  # it scrolls by itself
    lines = page.locator("pre", has_text="word").evaluate("pre => pre.getClientRects()[0].width")
    assert lines <= 400
    assert_offline(page)


@pytest.mark.parametrize("cells", [(), ("",), ("# ",)], ids=["none", "an empty one", "an empty title"])
def test_a_notebook_without_words_has_a_page_too(voila, browser_page, tmp_path, cells):
    page = browser_page(voila(notebook(tmp_path / "bare.ipynb", *cells)))
    page.locator("#loading").wait_for(state="detached", timeout=60_000)
    assert page.title() == "bare"
    assert_no_console_errors(page)


def test_a_choice_that_wraps_lies_over_no_other(voila, browser_page, tmp_path):
    code = f"from lthviz.explorer import Quiz\nQuiz('Which?', ['{'a long answer ' * 8}', 'two', '{'another ' * 9}'], 'two')"
    page = browser_page(
        voila(notebook(tmp_path / "quiz.ipynb", code)), viewport={"width": 400, "height": 800}
    )
    page.get_by_role("button", name="Check").wait_for(timeout=60_000)
    boxes = [place.bounding_box() for place in page.locator(".widget-radio-box label").all()]
    boxes.append(page.get_by_role("button", name="Check").bounding_box())
    assert len(boxes) == 4 and boxes[0]["height"] > 40  # it does wrap
    assert all(one["y"] + one["height"] <= next["y"] + 1 for one, next in pairwise(boxes))
