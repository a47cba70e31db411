"""Charts of a lesson's own numbers: lines, histograms, pictures, tables of verdicts, each a :class:`lthviz.canvas.Picture`.

The figures of results are in :mod:`lthviz.figures`; these take plain arrays.
"""

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from . import canvas
from .arms import LOOKS
from .canvas import INK, MUTED, TEXT, Picture
from .methods import METHODS
from .result import Comparison, interval


def lines(
    series, *, x: str, y: str, title: str, log: bool = False, over: str = "seeds", finding: str = ""
) -> Picture:
    """Lines with their 95 % t-intervals over seeds, or other repetitions, and these as points.

    Parameters
    ----------
    series : mapping of str to (x values (X,), values (X,) or (X, S))
        One line each; with a second dimension its columns are seeds. Where all are labels of methods that look
        different, the lines look as these do everywhere.
    x, y : str
        What is on the axes, with its unit.
    title : str
    log : bool
        A logarithmic horizontal axis: upwards, but for an ``x`` that begins with "density" from 100 % on the left down.
    over : str
        What was repeated.
    finding : str
        The main finding, for the caption and the description.
    """
    if not 1 <= len(series) <= len(LOOKS):
        raise ValueError(f"series: {len(series)} lines; from 1 to {len(LOOKS)} can be told apart.")
    drawn = []
    known = {m.label: (m.colour, m.marker, m.dash) for m in METHODS.values()}
    if len({known.get(label) for label in series} - {None}) < len(series):
        known = dict(zip(series, LOOKS, strict=False))
    for label, (where, values) in series.items():
        values, look = np.asarray(values, float), known[label]
        drawn.append(canvas.Line(label, *look, np.asarray(where, float), values.reshape(len(values), -1)))
    figure, (axes,) = canvas.blank(8.6, 4.9)
    low, high = canvas.limits(drawn, ceiling=101 if "%" in y else None)
    axes.set_ylim(low, high)
    axes.set(xlabel=x, ylabel=y)
    if log and not x.startswith("density"):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,g}"))
    elif log:
        least = min(line.x[line.x > 0].min() for line in drawn) / 1.12
        most = max(line.x.max() for line in drawn) * 1.12
        axes.set_xscale("log")
        axes.set_xlim(most, least)
        canvas.plain_percent(axes.xaxis, least, most)
    elif all((line.x == line.x.round()).all() for line in drawn):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for line in drawn:
        canvas.draw(axes, line, points=line.values.shape[1] > 1 and len(drawn) <= 3)
    _legend(figure, 5 if sum(len(line.label) for line in drawn) < 50 else 2)
    canvas.title(figure, title)
    seeds = max(line.values.shape[1] for line in drawn)
    repeated = f"mean and 95 % interval over {seeds} {over}" if seeds > 1 else "one line each, no repetition"
    ends = "; ".join(f"{line.label}: {_ends(line)}" for line in drawn)
    text = f"Line chart, {title}: {y} (vertical axis, {low:.3g} to {high:.3g}) against {x} (horizontal axis), {repeated}. {ends}."
    rows = [
        {"line": line.label, x: float(place)} | canvas.summary(row)
        for line in drawn
        for place, row in zip(line.x, line.values)
    ]
    return Picture(figure, f"{text} {finding}".strip(), rows, finding or f"{title}; {repeated}.")


def histogram(
    values, *, x: str, title: str, gone=None, bins: int = 60, finding: str = "", of: str = "weights"
) -> Picture:
    """Histograms of weights or other numbers, one panel each; ``gone`` marks those that are pruned.

    Parameters
    ----------
    values : mapping of str to array
        One panel each.
    x : str
        What the values are.
    gone : mapping of str to bool array, optional
        Where a value is removed.
    of : str
        What is counted.
    """
    figure, grid = canvas.blank(max(6.0, 4.1 * len(values)), 4.1, len(values))
    rows, words = [], []
    for axes, (name, numbers) in zip(grid, values.items(), strict=True):
        numbers = np.ravel(numbers)
        out = np.ravel(gone[name]) if gone else np.zeros(numbers.size, bool)
        edges = np.linspace(-(width := np.abs(numbers).max()), width, bins + 1)
        whole, pruned = (np.histogram(part, edges)[0] for part in (numbers, numbers[out]))
        axes.stairs(whole, edges, fill=True, color="#0072B2", alpha=0.85, label="stay" if gone else of)
        if gone:
            axes.stairs(
                pruned,
                edges,
                fill=True,
                facecolor="#E8C9B5",
                edgecolor="#D55E00",
                hatch="///",
                lw=1,
                label="go",
            )
        axes.set_title(name, loc="left", fontsize=TEXT + 1, color=INK)
        axes.set_xlabel(x)
        words.append(f"{name}: {numbers.size:,} values from {numbers.min():.3g} to {numbers.max():.3g}, standard deviation "
                     f"{numbers.std():.3g}" + (f", {int(out.sum()):,} go" if gone else ""))  # fmt: skip
        rows += [
            {"panel": name, "from": float(a), "to": float(b), "all": int(n), "go": int(m)}
            for a, b, n, m in zip(edges, edges[1:], whole, pruned)
        ]
    grid[0].set_ylabel(f"number of {of}")
    _legend(figure, 2)
    canvas.title(figure, title)
    text = (
        f"Histograms, {title}, one panel each: number of {of} (vertical axis) against {x} (horizontal axis). "
    )
    caption = finding or "; ".join(words) + "."
    return Picture(figure, f"{text}{'; '.join(words)}. {finding}".strip(), rows, caption)


def pictures(values, *, unit: str, title: str, finding: str = "") -> Picture:
    """Small matrices beside one another, four in a row, on one scale from light (0) to dark.

    Parameters
    ----------
    values : mapping of str to array (height, width), none of them negative
        Up to 12 pictures by their names.
    unit : str
        What the numbers are.
    title : str
    finding : str
        As for :func:`lines`.
    """
    if not 1 <= len(values) <= 12:
        raise ValueError(f"values: {len(values)} pictures; from 1 to 12 fit.")
    most = max(float(np.max(picture)) for picture in values.values()) or 1.0
    columns = min(4, len(values))
    height = -(-len(values) // columns)
    figure, grid = canvas.blank(2.5 * columns, 2.75 * height + 1.1, columns, height)
    for axes in grid[len(values) :]:
        axes.remove()
    for axes, (name, picture) in zip(grid, values.items(), strict=False):
        canvas.image(axes, picture, 0, most)
        axes.set_title(name, loc="left", fontsize=TEXT, color=INK)
    bar = figure.colorbar(
        grid[0].images[0], ax=list(grid[: len(values)]), location="bottom", shrink=0.5, aspect=40
    )
    bar.set_label(unit, fontsize=TEXT, color=INK)
    bar.ax.tick_params(labelsize=TEXT, colors=INK, length=3)
    bar.outline.set_visible(False)
    canvas.title(figure, title)
    rows = [
        {"picture": name, "row": i, "values": " ".join(f"{value:.3g}" for value in line)}
        for name, picture in values.items()
        for i, line in enumerate(np.asarray(picture))
    ]
    words = "; ".join(
        f"{name}: {np.mean(picture):.3g} on average, {np.max(picture):.3g} at most"
        for name, picture in values.items()
    )
    text = f"{len(values)} pictures, {title}, dark means many: {unit}. {words}. {finding}".strip()
    return Picture(figure, text, rows, finding or f"{words}.")


_SIGNS = {"higher": ("▲", "#CFE3F1"), "lower": ("▼", "#F6D9C6"), "not distinguishable": ("?", "white")}


def verdicts(cells, *, title: str, finding: str = "") -> Picture:
    """A table of comparisons: in each cell the verdict, the mean difference and its 95 % t-interval.

    Parameters
    ----------
    cells : mapping of str to mapping of str to array (S,)
        {row: {column: paired differences in points, one a seed}}; a column that a row lacks, or that has only NaN, was
        not measured. Of a single seed the difference is shown without a verdict.
    title : str
    finding : str
        The main finding, for the caption and the description.
    """
    columns = list(dict.fromkeys(column for row in cells.values() for column in row))
    wide = max(1.6, 0.11 * max(map(len, columns)))  # inches
    width = 0.11 * max(map(len, cells)) + wide * len(columns)
    figure, (axes,) = canvas.blank(width, 0.9 + 0.78 * len(cells))
    axes.grid(False)
    axes.set(xlim=(0, len(columns)), ylim=(len(cells), 0))
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
    axes.set_yticks(np.arange(len(cells)) + 0.5, cells)
    axes.xaxis.tick_top()
    for spine in axes.spines.values():
        spine.set_visible(False)
    rows, said = [], []
    for y, (name, row) in enumerate(cells.items()):
        for x, column in enumerate(columns):
            values = np.asarray(row.get(column, []), float)
            found = canvas.summary(values)
            if found["n"] == 0:
                axes.text(
                    x + 0.5, y + 0.5, "not measured", ha="center", va="center", fontsize=11, color=MUTED
                )
                continue
            mean, low, high = found["mean"], found["low"], found["high"]
            verdict, sign, colour, sure = "a single seed", "", "white", "no interval"
            if found["n"] > 1:
                verdict = Comparison(name, column, found["n"], mean, low, high).verdict
                sign, colour = _SIGNS[verdict]
                sure = f"{low:+.1f} to {high:+.1f}"
            axes.fill_between([x + 0.02, x + 0.98], y + 0.04, y + 0.96, color=colour, ec="#999999", lw=0.8)
            axes.text(x + 0.5, y + 0.34, f"{sign} {mean:+.1f}".strip(), ha="center", va="center", fontsize=TEXT,
                      color=INK, weight="bold" if sign in ("▲", "▼") else "normal")  # fmt: skip
            axes.text(x + 0.5, y + 0.71, sure, ha="center", va="center", fontsize=11,
                      color=INK)  # fmt: skip
            rows.append({"row": name, "column": column, "verdict": verdict} | found)
            said.append(f"{name}, {column}: {verdict}, {mean:+.1f} ({sure})")
    canvas.title(figure, title)
    text = f"Table of verdicts, {title}: mean paired differences in points with their 95 % intervals. {'; '.join(said)}."
    how = "▲ higher, ▼ lower, ? not distinguishable; mean difference and 95 % interval, in points."
    return Picture(figure, f"{text} {finding}".strip(), rows, f"{finding} {how}".strip())


def _ends(line):
    """The first and the last place at which a line has a value, in words."""
    there = np.flatnonzero(np.isfinite(line.mean))
    places = np.unique([*there[:1], *there[-1:]])
    return ", ".join(f"{line.mean[i]:.4g} at {line.x[i]:.4g}" for i in places) or "not measured"


def _legend(figure, columns):
    """Below the axes: the title stands above them."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    place = {"loc": "outside lower left", "ncols": columns, "handlelength": 3}
    figure.legend(handles, labels, frameon=False, fontsize=TEXT, labelcolor=INK, **place)


def spread(values) -> str:
    """Mean and 95 % interval over seeds, in words, for accuracies in [0, 1]: ``94.1 % (93.9 to 94.3)``."""
    mean, low, high = (100 * part for part in interval(np.asarray(values, float)))
    return f"{mean:.1f} % ({low:.1f} to {high:.1f})" if np.isfinite(low) else f"{mean:.1f} %"
