"""Help for browser tests: start a notebook server, watch what a page says and asks for.

`Server` runs Voilà or JupyterLab in a process of its own on a free port and ends it with everything it
started.  `Watch` listens to one Playwright page.  Nothing here waits for a fixed time: `wait_until` asks
again and again until an answer comes or the time is up.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlsplit

import psutil

from lthviz import serving

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
]
HERE_NAMES = {"127.0.0.1", "localhost", "::1"}
# Voilà 0.5 ships older shared front-end modules than current extensions ask for, and says so; widgets work.
KNOWN_NOISE = ("Unsatisfied version",)


def wait_until(ask: Callable[[], object], seconds: float, what: str, step: float = 0.1) -> object:
    """Call `ask` until it returns something true and return that; TimeoutError naming `what` otherwise."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(step)


def answers(url: str) -> bool:
    """Whether a GET of `url` on this machine is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=60) as reply:
            return reply.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


class Server:
    """A notebook server in its own process; use as a context manager.

    `command` and `env` start it, `url` is its address, `ready` is asked until it answers 200.
    """

    def __init__(
        self, command: list[str], env: dict[str, str], url: str, ready: str, cwd: Path, seconds: float = 60
    ):
        self.url = url
        self._log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT
        )
        try:
            wait_until(lambda: self._alive() and answers(ready), seconds, f"{command[:3]} answers")
        except BaseException:
            self.stop()
            raise

    def _alive(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"the server ended at once:\n{self.log()}")
        return True

    def log(self) -> str:
        """What the server has printed so far."""
        # pread leaves the position alone, which the server's own writing shares
        return os.pread(self._log.fileno(), 1 << 20, 0).decode(errors="replace")

    def kernels(self) -> list[psutil.Process]:
        """The kernel processes of this server, oldest first."""
        kernels = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if any("ipykernel" in word for word in child.cmdline()):
                    kernels.append(child)
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        return sorted(kernels, key=lambda kernel: kernel.create_time())

    def kernel_of(self, page) -> psutil.Process:
        """The kernel process behind a Voilà page."""
        kernel_id = json.loads(page.locator("#jupyter-config-data").text_content())["kernelId"]
        return next(
            kernel for kernel in self.kernels() if any(kernel_id in word for word in kernel.cmdline())
        )

    def stop(self) -> None:
        """End the server and every process that it started."""
        try:
            family = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        for child in family:
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, timeout=10)
        self._log.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_voila(notebook: str | Path, *options: str) -> Server:
    """Voilà showing `notebook` with the settings of `make app`, and `options` on top."""
    notebook = Path(notebook).resolve()
    port = serving.free_port()
    url = f"http://{serving.HOST}:{port}/"
    command = [sys.executable, "-m", "voila", *serving.arguments(notebook, port), *options]
    # any answered page would use up the kernel that is kept warm for the first visitor: ask for a file instead
    ready = f"{url}voila/static/voila.js"
    return Server(command, serving.environment(), url, ready, notebook.parent)


def start_lab(notebook: str | Path, settings: Path) -> Server:
    """JupyterLab without a token in the folder of `notebook`, with settings of its own in `settings`."""
    notebook = Path(notebook).resolve()
    port = serving.free_port()
    env = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(settings / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(settings / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(settings / "workspaces"),
        "JUPYTER_RUNTIME_DIR": str(settings / "runtime"),
        "IPYTHONDIR": str(settings / "ipython"),
    }
    overrides = settings / "config" / "labconfig" / "page_config.json"
    overrides.parent.mkdir(parents=True, exist_ok=True)
    # no news and no look for updates: a test never leaves this machine
    overrides.write_text(
        json.dumps({"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}})
    )
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}", f"--ip={serving.HOST}"]
    command += ["--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.allow_root=True"]
    command += [f"--ServerApp.root_dir={notebook.parent}", "--LabApp.extension_manager=readonly"]
    url = f"http://{serving.HOST}:{port}/lab/tree/{quote(notebook.name)}?reset"
    return Server(command, env, url, f"http://{serving.HOST}:{port}/api/status", notebook.parent)


class Watch:
    """Remembers what a page wrote to the console and what it asked of other machines."""

    def __init__(self, page):
        self.errors: list[str] = []
        self.outside: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._address(request.url))
        page.on("websocket", lambda socket: self._address(socket.url))

    def _console(self, message) -> None:
        if message.type == "error" and not any(noise in message.text for noise in KNOWN_NOISE):
            self.errors.append(message.text)

    def _address(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https", "ws", "wss", "ftp"} and parts.hostname not in HERE_NAMES:
            self.outside.append(url)


def assert_offline(page) -> None:
    """The page has asked nothing of another machine."""
    assert page.watch.outside == [], f"the page left this machine: {page.watch.outside}"


def assert_no_console_errors(page) -> None:
    """The page has written no error to its console (known noise of Voilà aside)."""
    assert page.watch.errors == [], "console errors:\n" + "\n".join(page.watch.errors)


def run_all_cells(page) -> None:
    """In JupyterLab: run every cell of the open notebook (returns when the run has begun)."""
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
    page.get_by_text("| Idle").first.wait_for(timeout=60_000)  # before that, Lab would ask which kernel
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
