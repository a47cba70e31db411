"""How fast a slider of the explorer moves the picture, and how soon the live panel draws.

    python -m benchmarks explorer

A move is one press of an arrow key on a slider of the Ticket Lab.  "Computed and drawn" is the script's own
time; "to the frame" runs from the key press (the event's own time stamp) to the animation frame that carries the
new picture; "to the pixels" to the moment when that frame has been painted.  Frames come every 16.7 ms, so a press
waits 8 ms for the next one on average, whatever the script does.
"""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from pathlib import Path

from tests.browser import CHROMIUM, CHROMIUM_ARGS, run_all_cells, start_lab, start_voila

APP = Path(__file__).resolve().parent.parent / "notebooks" / "app.ipynb"
MOVES = 30

LISTEN = """slider => {
  const box = slider.closest('.lth'), plots = [...box.querySelectorAll('.lth-plot > svg')];
  const picture = () => plots.map(plot => plot.getAttribute('aria-label')).join();
  const channel = new MessageChannel();
  window.moves = [];
  slider.addEventListener('keydown', event => {
    const before = picture(), start = event.timeStamp;
    let frames = 0;
    const look = () => {
      if (picture() === before) return ++frames < 120 && requestAnimationFrame(look);
      const frame = performance.now() - start;
      channel.port1.onmessage = () => window.moves.push([frame, performance.now() - start]);
      channel.port2.postMessage(0);
    };
    requestAnimationFrame(look);
  }, true);
}"""
COMPUTE = """slider => {
  const times = [];
  for (let i = 0; i < 30; i++) {
    const start = performance.now();
    slider.value = (+slider.value + 1) % (+slider.max + 1);
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    times.push(performance.now() - start);
  }
  return times;
}"""


def spread(times) -> str:
    """Median and 95th percentile."""
    times = sorted(times)
    return f"{statistics.median(times):5.1f} ms median  {times[int(0.95 * (len(times) - 1))]:5.1f} ms p95"


def open_app(browser, server, lab: bool):
    """The Ticket Lab on a fresh page, its explorer drawn; and the list of what it sends to the server."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    sent = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(len(frame))))
    page.goto(server.url)
    if lab:
        run_all_cells(page)
    page.locator(".lth-plot path.line").first.wait_for(state="attached", timeout=120_000)
    return page, sent


def moves(page, sent, name: str) -> None:
    """Print the latency of one slider."""
    slider = page.locator(".lth").first.get_by_role("slider", name=name)
    if slider.count() == 0:
        return
    slider.press("Home")
    slider.evaluate(LISTEN)
    steps = int(slider.get_attribute("max"))
    before = len(sent)
    for i in range(MOVES):
        slider.press("ArrowRight" if (i // steps) % 2 == 0 else "ArrowLeft")
        page.wait_for_function("n => window.moves.length > n", arg=i, timeout=10_000)
    frames, pixels = zip(*page.evaluate("window.moves"))
    computed = slider.evaluate(COMPUTE)
    print(f"  {name:12} computed and drawn {spread(computed)}")
    print(f"  {'':12} to the frame       {spread(frames)}")
    print(f"  {'':12} to the pixels      {spread(pixels)}    websocket messages sent: {len(sent) - before}")


def live(page) -> None:
    """Print how soon the live panel draws and ends, the first time (torch is loaded) and again."""
    panel = page.locator(".lthviz-live")
    for words in ("first click, loads torch", "second click"):
        start = time.perf_counter()
        panel.get_by_role("button", name="Train").click()
        panel.get_by_text(re.compile(r"Round \d+ of")).first.wait_for(timeout=120_000)
        panel.locator(".lth-plot path.line").first.wait_for(state="attached", timeout=120_000)
        first = time.perf_counter() - start
        panel.get_by_text("Done:").wait_for(timeout=600_000)
        done = time.perf_counter() - start
        print(f"  live, {words}: first curve after {first:.1f} s, done after {done:.1f} s")


def main() -> None:
    """Print the latency of the sliders under Voilà and in JupyterLab, and the times of the live panel."""
    if CHROMIUM is None:
        print("chromium is not installed: nothing measured")
        return
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        for lab in (False, True):
            print("JupyterLab" if lab else "Voilà", flush=True)
            with start_lab(APP, Path(folder)) if lab else start_voila(APP) as server:
                page, sent = open_app(browser, server, lab)
                for name in ("Round", "Prune rate"):
                    moves(page, sent, name)
                live(page)
                page.context.close()
        browser.close()
