"""How the Ticket Lab is served: ports, settings, and the command that starts it."""

import asyncio
import json
import os
import re
import socket
import sys
from pathlib import Path

import psutil
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from traitlets.utils.importstring import import_item

from lthviz import serving
from lthviz.serving.client import PromptClient

from .browser import Server, answers

APP = Path(__file__).resolve().parent.parent / "notebooks" / "app.ipynb"


@pytest.fixture
def taken():
    """A port on which something else listens."""
    with socket.socket() as other:
        other.bind((serving.HOST, 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_taken_port_is_passed_over(taken):
    assert serving.free_port(taken) > taken


def test_no_free_port_is_said_in_words(taken):
    with pytest.raises(OSError, match="choose another one with --port"):
        serving.free_port(taken, tries=1)


def test_our_template_comes_before_others():
    first, *rest = serving.environment({"JUPYTER_PATH": "mine"})["JUPYTER_PATH"].split(os.pathsep)
    assert (Path(first) / "voila/templates/lthviz/conf.json").is_file()
    assert rest == ["mine"]


def test_the_settings_keep_sources_paths_and_strangers_out():
    settings = json.loads((serving.HERE / "config" / "voila.json").read_text())
    page = settings["VoilaConfiguration"]
    assert settings["Voila"]["ip"] == "127.0.0.1"
    assert page["strip_sources"] and not page["show_tracebacks"] and page["file_allowlist"] == []
    assert page["allow_template_override"] == page["allow_theme_override"] == "NO"
    assert import_item(settings["AsyncKernelManager"]["client_factory"]) is PromptClient


def test_the_templates_name_no_other_machine():
    for path in (serving.HERE / "voila").rglob("*.*"):
        assert not re.search(r"https?://", path.read_text()), path.name


def test_the_command_passes_over_a_taken_port_and_ends_with_all_it_started(taken):
    command = [sys.executable, "-m", "lthviz", "app", str(APP), f"--port={taken}", "--no-browser"]
    port = serving.free_port(taken)
    url = f"http://{serving.HOST}:{port}/"
    with Server(command, dict(os.environ), url, f"{url}voila/static/voila.js", APP.parent) as server:
        assert f"Port {taken} is taken" in server.log()
        assert answers(url)
        kernels = server.kernels()
        assert kernels
        server.process.terminate()
        assert server.process.wait(30) == 0
        _, left = psutil.wait_procs(kernels, timeout=30)
        # a container without a process that reaps orphans keeps them as zombies
        assert not [kernel for kernel in left if kernel.status() != psutil.STATUS_ZOMBIE]


def kernel(*argv):
    """A kernel's manager with the client that the server uses; ``argv`` starts something else instead of a kernel."""
    manager = AsyncKernelManager(client_factory=PromptClient)
    if argv:
        manager._kernel_spec = KernelSpec(argv=[sys.executable, *argv], language="python")
    return manager


def test_the_client_goes_on_when_the_kernel_answers_and_hears_what_its_cells_print():
    async def ask():
        manager = kernel()
        await manager.start_kernel()
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(60)
            heard = []
            reply = await client.execute_interactive("print(6 * 7)", timeout=60, output_hook=heard.append)
            return reply["content"]["status"], [
                m["content"].get("text") for m in heard if m["msg_type"] == "stream"
            ]
        finally:
            client.stop_channels()
            await manager.shutdown_kernel(now=True)

    assert asyncio.run(ask()) == ("ok", ["42\n"])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit", "died before it answered"),
        ("import time; time.sleep(60)", "did not answer within 1 seconds"),
    ],
)
def test_a_kernel_that_does_not_answer_is_said(code, message):
    async def ask():
        manager = kernel("-c", code)
        await manager.start_kernel()
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(1)
        finally:
            client.stop_channels()
            await manager.shutdown_kernel(now=True)

    with pytest.raises(RuntimeError, match=message):
        asyncio.run(ask())
