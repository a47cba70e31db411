"""The paper that figures are drawn on: pictures with words and numbers, lines with intervals, axes, labels.

Nothing here touches pyplot or changes matplotlib's settings, so figures may be drawn in any thread.
"""

import base64
import html
import io
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from .choices import unknown
from .result import interval

INK, MUTED, GRID = "#222222", "#595959", "#DDDDDD"
TEXT, HEADING = 12, 14  # points
LINE = 2.2
BLUE, ORANGE = "#0072B2", "#D55E00"
BLUES = LinearSegmentedColormap.from_list("lthviz", ["#F7F7F5", "#A8CFE6", "#0072B2", "#002B45"])


@dataclass(frozen=True)
class Picture:
    """A figure that speaks for itself: drawn, described, and as numbers.

    ``rows`` are the numbers in the figure, one mapping a row; ``caption`` is the finding in short.
    A notebook shows the picture as an image with alt text and a table to unfold.
    """

    figure: Figure = field(repr=False)
    description: str
    rows: list[dict] = field(repr=False)
    caption: str = ""

    def __post_init__(self):
        self.figure.draw_without_rendering()  # lays it out, once and for all: every later drawing is the same
        self.figure.set_layout_engine("none")

    def describe(self) -> str:
        """What is on the axes, the ranges, the order of the lines and the main finding, in one paragraph."""
        return self.description

    def table(self) -> list[dict]:
        """The numbers in the figure, one mapping a row."""
        return self.rows

    def svg(self) -> str:
        """The figure as an SVG that needs nothing else: no fonts, no links. The same numbers give the same text."""
        buffer = io.StringIO()
        self.figure.savefig(buffer, format="svg", metadata={"Date": None})
        text = buffer.getvalue()
        text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
        for i, name in enumerate(dict.fromkeys(re.findall(r'id="((?:image|[a-z])[0-9a-f]{10})"', text))):
            text = text.replace(name, f"i{i}")
        return text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(self.description)}" ', 1)

    def save(self, path) -> Path:
        """Save it; the ending decides: ``.svg``, ``.png`` or ``.pdf``."""
        path = Path(path)
        if path.suffix not in (".svg", ".png", ".pdf"):
            raise ValueError(f"path={str(path)!r}: a picture's name ends in .svg, .png or .pdf.")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".svg":
            path.write_text(self.svg(), encoding="utf-8")
        else:
            self.figure.savefig(path, dpi=200)
        return path

    def _repr_html_(self):
        image = base64.b64encode(self.svg().encode()).decode()
        return (
            f'<figure style="margin:0"><img alt="{html.escape(self.description)}" '
            f'style="max-width:100%;height:auto" src="data:image/svg+xml;base64,{image}">'
            f"<figcaption>{html.escape(self.caption)}<details><summary>The numbers in this figure</summary>"
            f"{_table(self.rows)}</details></figcaption></figure>"
        )

    def __str__(self):
        return self.description


@dataclass(frozen=True)
class Line:
    """One line to draw: ``x`` (X,) and ``values`` (X, S), one column a seed."""

    label: str
    colour: str
    marker: str
    dash: tuple
    x: np.ndarray
    values: np.ndarray

    @property
    def mean(self):
        return interval(self.values)[0]


def draw(axes, line, points, every=1):
    """Draw one line: mean, interval, a marker at every ``every``-th place, and the seeds as faint ``points``."""
    mean, low, high = interval(line.values)
    axes.fill_between(line.x, low, high, color=line.colour, alpha=0.16, lw=0, zorder=2)
    if points:
        x = np.broadcast_to(np.asarray(line.x)[:, None], line.values.shape)
        axes.plot(x.ravel(), line.values.ravel(), ".", color=line.colour, alpha=0.3, ms=5, mew=0, zorder=2.5)
    axes.plot(
        line.x, mean, color=line.colour, marker=line.marker, markevery=every, ms=7.5, mec="white", mew=0.9, lw=LINE,
        linestyle=(0, tuple(d / LINE for d in line.dash)) if line.dash else "-", label=line.label, zorder=4,
    )  # fmt: skip


def limits(lines, ceiling=None):
    """The range of all seeds, with a little air: at least a hundredth of the highest, so that ticks stay readable."""
    there = np.concatenate([line.values[np.isfinite(line.values)] for line in lines])
    if not len(there):
        return 0.0, float(ceiling or 1)
    low, high = float(there.min()), float(there.max())
    ceiling = ceiling if ceiling and high <= ceiling else None
    air = max(0.06 * (high - low), (0.01 * abs(high) - (high - low)) / 2) or 1.0
    return max(low - air, 0.0) if low >= 0 else low - air, min(high + air, ceiling) if ceiling else high + air


def least(lines):
    """The least density of all lines, in per cent; it is not known yet for an arm whose round is running."""
    return float(np.nanmin(np.concatenate([line.x for line in lines]), initial=100.0))


def blank(width, height, columns=1, rows=1, ratios=None):
    """An empty figure of that many inches and its axes, first row first."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
    return figure, panels(figure, columns, rows, ratios)


def panels(figure, columns=1, rows=1, ratios=None):
    """The axes of a figure (or subfigure), with light gridlines and letters of at least 11 points."""
    grid = figure.subplots(rows, columns, squeeze=False, width_ratios=ratios).ravel()
    for axes in grid:
        axes.set_facecolor("white")
        axes.grid(True, color=GRID, lw=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=INK, labelsize=TEXT, length=0, pad=6)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color("#999999")
        for axis in (axes.xaxis, axes.yaxis):
            axis.label.set(fontsize=TEXT + 1, color=INK)
            axis.labelpad = 8
    return grid


def density_axis(axes, lines):
    """Density in per cent on a logarithmic horizontal axis, 100 % on the left."""
    low = least(lines) / 1.12
    axes.set_xscale("log")
    axes.set_xlim(112, min(low, 80))
    axes.set_xlabel("weights kept (density, log scale)")
    plain_percent(axes.xaxis, low, 112)


def accuracy_axis(grid, lines, scale):
    """Per cent on a linear axis, or with scale "error" stretched towards 100 %: equal steps halve the error.

    The stretched axis ends at 100 % where a network errs in less than 0.05 %, and is then cut off at ``_FLOOR``.
    """
    if scale not in ("linear", "error"):
        raise unknown("scale", scale, ("linear", "error"))
    low, high = limits(lines, ceiling=100)
    if scale == "error":
        there = np.concatenate([line.values[np.isfinite(line.values)] for line in lines])
        errors = 100 - there if len(there) else np.array([1.0, 100.0])
        low = min(100 - min(100.0, 1.12 * errors.max()), 99.0)
        high = 100 - errors.min() / 1.25 if errors.min() > 1.25 * _FLOOR else 100.0
    for axes in grid:
        if scale == "error":
            axes.set_yscale("function", functions=(_stretch, lambda y: 100 - np.exp(-np.asarray(y, float))))
            ticks = (0, 20, 50, 70, 80, 85, 90, 92, 94, 95, 96, 97, 98, 99, 99.5, 99.8, 100)
            axes.yaxis.set_major_locator(
                FixedLocator(_spaced([t for t in ticks if low <= t <= high], low, high))
            )
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(FuncFormatter(lambda t, _: f"{t:g}"))
        axes.set_ylim(low, high)
        first = axes.get_subplotspec().is_first_col()
        axes.set_ylabel(
            ("test accuracy (%)" if scale == "linear" else "test accuracy (%)\nlog scale of the error")
            if first
            else ""
        )
    return low, high


_FLOOR = 0.04  # per cent: smaller errors are drawn as this one, as 0 would lie infinitely far up


def _stretch(y):
    return -np.log(np.maximum(100.0 - np.asarray(y, float), _FLOOR))


def _spaced(ticks, low, high):
    """Those ticks that do not come too near to the one before."""
    chosen = []
    for tick in ticks:
        if not chosen or _stretch(tick) - _stretch(chosen[-1]) > 0.07 * (_stretch(high) - _stretch(low)):
            chosen.append(tick)
    return chosen


def plain_percent(axis, low, high):
    """Ticks at 100 %, 50 %, 20 %, ... on a logarithmic axis."""
    ticks = [t for t in (100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01) if low <= t <= high]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda t, _: f"{t:g} %"))


def title(figure, text):
    """The headline of a figure, on the left."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=HEADING, color=INK, weight="bold")


def legend(figure):
    """A legend above several panels: the lines of all of them, each label once."""
    handles = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles, loc="outside upper left", ncols=min(5, len(handles)), frameon=False,
                  fontsize=TEXT, labelcolor=INK, handlelength=3)  # fmt: skip


def legend_inside(axes):
    """A legend in the lower left corner, where accuracy leaves room."""
    axes.legend(loc="lower left", frameon=False, fontsize=TEXT, labelcolor=INK, handlelength=3)


def level(axes, y, label):
    """A thin horizontal line to compare with."""
    if not math.isfinite(y):
        return
    axes.axhline(y, color=MUTED, lw=1.3, ls=(0, (1, 1.5)), zorder=1.5)
    if label:
        axes.annotate(label, (1, y), (-4, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
                      ha="right", va="bottom", fontsize=11, color=MUTED)  # fmt: skip


def end_labels(axes, lines):
    """Write each line's name behind its end, far enough apart to be read."""
    log = axes.get_yscale() == "log"
    ends = []
    for line in lines:
        there = np.flatnonzero(np.isfinite(line.mean) & ((line.mean > 0) | (not log)))
        if len(there):
            x, y = line.x[there[-1]], float(line.mean[there[-1]])
            height = axes.transAxes.inverted().transform(axes.transData.transform((x, y)))[1]
            ends.append([float(height), x, y, line])
    ends.sort(key=lambda end: end[0])
    places = apart([min(max(end[0], 0.0), 1.0) for end in ends], gap=0.068)
    for place, (_, x, y, line) in zip(places, ends, strict=True):
        axes.annotate(
            line.label, (x, y), (1.055, place), textcoords="axes fraction", va="center", fontsize=TEXT, color=INK,
            arrowprops={"arrowstyle": "-", "color": line.colour, "lw": 1.4, "shrinkA": 2, "shrinkB": 5, "relpos": (0, 0.5)},
            annotation_clip=False,
        )  # fmt: skip


def apart(wanted, gap):
    """The sorted places nearest to the wanted ones (least squares) that lie at least ``gap`` apart, within [0, 1]."""
    groups = []  # of neighbours that touch: [mean of the wanted places less their gaps, how many]
    for i, place in enumerate(wanted):
        groups.append([place - i * gap, 1])
        while len(groups) > 1 and groups[-2][0] >= groups[-1][0]:
            mean, n = groups.pop()
            groups[-1] = [(groups[-1][0] * groups[-1][1] + mean * n) / (groups[-1][1] + n), groups[-1][1] + n]
    flat = [mean for mean, n in groups for _ in range(n)]
    top = 1 - gap * (len(flat) - 1)
    return [min(max(place, 0.0), top) + i * gap for i, place in enumerate(flat)]


def image(axes, values, low, high, aspect="equal"):
    """A matrix as a picture, from light (``low``) to dark (``high``)."""
    axes.imshow(values, cmap=BLUES, vmin=low, vmax=high, interpolation="nearest", aspect=aspect)
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, color="#999999")


def summary(values):
    """Mean, interval and number of values, for a row of a table."""
    mean, low, high = (float(v) for v in interval(values))
    return {"mean": mean, "low": low, "high": high, "n": int(np.isfinite(values).sum())}


def _table(rows):
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{html.escape(str(key))}</th>' for key in rows[0])

    def cell(value):
        if isinstance(value, float):
            return f"{value:.4g}" if math.isfinite(value) else "–"
        return html.escape(str(value))

    body = "".join(
        "<tr>" + "".join(f"<td>{cell(value)}</td>" for value in row.values()) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
