"""How long until the Ticket Lab answers, and how much memory a visitor costs.

    python -m benchmarks serving

"Preheated" is how `make app` serves: a kernel that has already run the notebook waits for the next visitor.
A visit is a fresh browser context: nothing is cached.  "Interactive" means that the round slider is on the
page.  Memory is the proportional set size (PSS) of a process: pages shared with others count in part.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import psutil

from tests.browser import CHROMIUM, CHROMIUM_ARGS, Server, start_voila, wait_until

APP = Path(__file__).resolve().parent.parent / "notebooks" / "app.ipynb"
VISITS = 5


def pss(pid: int) -> float:
    """Proportional set size of a process in MB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/{pid}/smaps_rollup has no line Pss")


def has_torch(pid: int) -> bool:
    """Whether a process has loaded torch's library."""
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()


def at_rest(processes: list[psutil.Process]) -> bool:
    """Whether the processes used no processor time during half a second."""

    def used() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    before = used()
    time.sleep(0.5)
    return used() - before < 0.02


def pool_is_full(server: Server, visitors: int) -> bool:
    """Whether one kernel more than there are visitors has run the notebook and waits."""
    kernels = server.kernels()
    return len(kernels) > visitors and at_rest(kernels)


def visit(browser, url: str) -> tuple[float, object]:
    """Open the page in a fresh context; seconds until the slider is there, and the page."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    start = time.perf_counter()
    page.goto(url)
    page.get_by_role("slider", name="Round").first.wait_for(timeout=120_000)
    return time.perf_counter() - start, page


def visits(browser, notebook: Path, preheat: bool) -> dict:
    """Start a server, visit it VISITS times, and measure; all pages stay open until the end."""
    start = time.perf_counter()
    with start_voila(notebook, f"--preheat_kernel={preheat}") as server:
        _, page = visit(browser, server.url)
        cold = time.perf_counter() - start
        pages, seconds = [page], []
        for _ in range(VISITS):
            if preheat:
                wait_until(
                    lambda: pool_is_full(server, len(pages)), 60, "a kernel waits for the next visitor"
                )
            else:
                wait_until(lambda: at_rest(server.kernels()), 60, "the kernels are at rest")
            took, page = visit(browser, server.url)
            seconds.append(took)
            pages.append(page)
        wait_until(lambda: at_rest(server.kernels()), 60, "the kernels are at rest")
        kernels = [server.kernel_of(page).pid for page in pages]
        found = {
            "cold": cold,
            "median": statistics.median(seconds),
            "slowest": max(seconds),
            "kernel": statistics.median(map(pss, kernels)),
            "server": pss(server.process.pid),
            "torch": sum(map(has_torch, kernels)),
        }
    for page in pages:
        page.context.close()
    return found


def main(notebook: Path = APP) -> None:
    """Print a table; needs Chromium and /proc (Linux)."""
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None or not Path("/proc/self/smaps_rollup").exists():
        print("not measured: this needs Chromium and Linux")
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        plain, heated = (visits(browser, notebook, preheat) for preheat in (False, True))
        browser.close()
    rows = [
        ("from starting the server to an interactive page, s", "cold", ".1f"),
        (f"from navigation to an interactive page, median of {VISITS}, s", "median", ".1f"),
        ("the slowest of them, s", "slowest", ".1f"),
        ("memory of a visitor's kernel, PSS, MB", "kernel", ".0f"),
        ("memory of the server, PSS, MB", "server", ".0f"),
        (f"kernels that have loaded torch, of {VISITS + 1}", "torch", "d"),
    ]
    width = max(len(what) for what, *_ in rows)
    print(f"{'':{width}}  {'no preheating':>14}  {'preheated':>9}")
    for what, name, how in rows:
        print(f"{what:{width}}  {plain[name]:>14{how}}  {heated[name]:>9{how}}")


if __name__ == "__main__":
    main()
