"""Serve the Ticket Lab with Voilà: `python -m lthviz app`.

This folder holds what Voilà needs beside the notebook: the settings (`config/voila.json`) and a page
template (`voila/templates/lthviz`) that loads nothing from another machine and says so when the Python
behind the page has stopped.  `make app`, the browser tests and the benchmarks all start Voilà through
`arguments` and `environment`, so that they look at the same page.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"


def arguments(notebook: str | os.PathLike, port: int, browser: bool = False) -> list[str]:
    """Command-line arguments for `voila` that show `notebook` at http://127.0.0.1:`port`/."""
    chosen = [str(notebook), f"--port={port}", "--Voila.port_retries=0"]
    chosen.append(f"--Voila.config_file_paths={HERE / 'config'}")
    return chosen if browser else [*chosen, "--no-browser"]


def environment(base: dict[str, str] | None = None) -> dict[str, str]:
    """A copy of `base` (default: this process's environment) in which Voilà finds our template."""
    env = dict(os.environ if base is None else base)
    env["JUPYTER_PATH"] = os.pathsep.join(filter(None, [str(HERE), env.get("JUPYTER_PATH")]))
    return env


def in_voila() -> bool:
    """True in a kernel that Voilà started: a page without code, where memory counts."""
    preheated = "VOILA_PREHEAT" in os.environ  # such a kernel starts before there is a request
    return preheated or os.environ.get("SERVER_SOFTWARE", "").startswith("voila")


def free_port(first: int = 0, tries: int = 20) -> int:
    """The first port from `first` upwards on which nothing listens; 0 lets the system choose.

    Raises OSError when `tries` ports in a row are taken.
    """
    for port in range(first, first + tries):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name != "nt")
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise OSError(f"no free port between {first} and {first + tries - 1}; choose another one with --port")


def _say_when_open(port: int, tries: int = 600) -> None:
    """Print the address once the server answers; give up quietly after a minute."""
    for _ in range(tries):
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                print(
                    f"\n  The Ticket Lab is open at  http://{HOST}:{port}/\n  Ctrl+C stops it.\n", flush=True
                )
                return
        time.sleep(0.1)


def _has_screen() -> bool:
    """Whether opening a browser makes sense: on Linux only where a display is there."""
    return not sys.platform.startswith("linux") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


def main(argv: list[str] | None = None) -> int:
    """Command line: `python -m lthviz app [NOTEBOOK] [--port N] [--no-browser]`."""
    parser = argparse.ArgumentParser(
        prog="python -m lthviz app", description="Open the Ticket Lab in a browser."
    )
    parser.add_argument(
        "notebook", nargs="?", default="notebooks/app.ipynb", help="notebook to show (%(default)s)"
    )
    parser.add_argument("--port", type=int, default=8866, help="first port to try (%(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    chosen = parser.parse_args(argv)
    if not Path(chosen.notebook).is_file():
        print(f"There is no notebook {chosen.notebook!r}: start this in the folder that holds notebooks/.")
        return 1
    try:
        from voila.app import main as voila
    except ImportError:
        print("Voilà is not installed in this Python: pip install voila")
        return 1
    try:
        port = free_port(chosen.port)
    except OSError as error:
        print(error)
        return 1
    if port != chosen.port:
        print(f"Port {chosen.port} is taken; using {port}.")
    os.environ.update(environment())
    threading.Thread(target=_say_when_open, args=(port,), daemon=True).start()
    voila(arguments(chosen.notebook, port, browser=_has_screen() and not chosen.no_browser))
    return 0
