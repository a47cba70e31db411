"""Fixtures shared by all tests; the browser ones skip, with the reason, where no browser is installed."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config):
    """Tests, and the notebooks and servers they start, keep results in a folder of their own."""
    config.own_store = tempfile.TemporaryDirectory(prefix="lthviz-test-store-")
    os.environ["LTHVIZ_STORE"] = config.own_store.name
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "passive"
    )  # as lthviz does, for tests that import torch before it


def pytest_unconfigure(config):
    """Drop that folder."""
    config.own_store.cleanup()


def _no_browser(reason: str) -> None:
    """Skip, or fail where LTHVIZ_NEED_BROWSER says that a browser must be there."""
    (pytest.fail if os.environ.get("LTHVIZ_NEED_BROWSER") else pytest.skip)(reason)


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the project."""
    return ROOT


def _servers(start):
    """A factory that starts one server a notebook, hands it out again when asked again, and ends them all."""
    running = {}

    def get(notebook):
        path = Path(notebook).resolve()
        if path not in running or running[path].process.poll() is not None:
            running[path] = start(path)
        return running[path]

    return running, get


@pytest.fixture(scope="session")
def voila_server():
    """Factory: voila_server(notebook) -> browser.Server, with .url, .kernels(), .log()."""
    from . import browser

    running, get = _servers(browser.start_voila)
    yield get
    for server in running.values():
        server.stop()


@pytest.fixture(scope="session")
def voila(voila_server):
    """Factory: voila(notebook) -> address of the page that Voilà makes of it, set up as in `make app`."""
    return lambda notebook: voila_server(notebook).url


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """Factory: lab(notebook) -> address of the notebook in a JupyterLab without a token."""
    from . import browser

    running, get = _servers(lambda path: browser.start_lab(path, tmp_path_factory.mktemp("jupyterlab")))
    yield lambda notebook: get(notebook).url
    for server in running.values():
        server.stop()


@pytest.fixture(scope="module")
def chromium():
    """A headless Chromium (Playwright's synchronous interface), one for all tests of a module."""
    if importlib.util.find_spec("playwright") is None:
        _no_browser("playwright is not installed: pip install playwright")
    from playwright.sync_api import sync_playwright

    from . import browser

    if browser.CHROMIUM is None:
        _no_browser("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        window = playwright.chromium.launch(executable_path=browser.CHROMIUM, args=browser.CHROMIUM_ARGS)
        yield window
        window.close()


@pytest.fixture
def browser_page(chromium):
    """Factory: browser_page(url=None, **context options) -> a fresh Playwright page.

    The page has `.watch`, which `browser.assert_offline(page)` and
    `browser.assert_no_console_errors(page)` read.  Pages close at the end of the test.
    """
    from . import browser

    contexts = []

    def open_page(url: str | None = None, **options):
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.watch = browser.Watch(page)
        if url is not None:
            page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
