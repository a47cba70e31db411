"""Figures of results. Each is a :class:`Picture`: a matplotlib figure, its description in words, its numbers.

Every function takes results and gives a picture; none touches pyplot or changes matplotlib's settings,
so figures may be drawn in any thread. Lines are means over seeds, bands their 95 % t-intervals.
"""

import math

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from . import canvas
from .arms import ARMS, LOOKS
from .canvas import BLUE, BLUES, INK, MUTED, ORANGE, TEXT, Picture
from .choices import unknown
from .methods import METHODS
from .result import Result, interval

QUANTITIES = {
    "test_accuracy": "test accuracy (%)",
    "validation_accuracy": "validation accuracy (%)",
    "validation_loss": "validation loss (cross-entropy)",
}


def accuracy_against_density(
    results: Result | list[Result], arms=None, at: str | int = "end", scale: str = "linear"
) -> Picture:
    """Test accuracy against density.

    Parameters
    ----------
    results : Result or list of Result
        One result gives one line an arm. Several results give a panel each, or, with a single
        arm, one line a result.
    arms : sequence of str, optional
        Which arms; without it all that ran.
    at : "end", "early-stop" or int
        When accuracy is read off; see :meth:`Result.accuracy`.
    scale : "linear" or "error"
        A linear axis, or one stretched towards 100 % (the logarithm of the error), which keeps small
        differences between good networks visible beside bad ones.

    Raises
    ------
    ValueError
        For an arm that did not run, a step that was not measured, or more results in one panel than lines can be told
        apart.
    """
    several = [results] if isinstance(results, Result) else list(results)
    if not several:
        raise ValueError("results=[]: at least one result is needed.")
    names = _differences(several)
    chosen = [_chosen(result, arms) for result in several]
    panels, one_method = [], len({result.experiment.method for result in several}) == 1
    for result, shown in zip(several, chosen, strict=True):
        panels.append([
            canvas.Line(result.look(arm).label if one_method else ARMS[arm].short, *_look(arm), 100 * result.arm_density(arm), 100 * result.accuracy(arm, at))
            for arm in shown
        ])  # fmt: skip
    if len(several) > 1 and max(map(len, chosen)) == 1:
        if len(several) > len(LOOKS):
            raise ValueError(f"results: {len(several)} lines; up to {len(LOOKS)} can be told apart.")
        lines = [panel[0] for panel in panels]
        panels = [
            [canvas.Line(n, *k, line.x, line.values) for n, k, line in zip(names, LOOKS, lines, strict=False)]
        ]

    columns = min(3, len(panels))
    down = math.ceil(len(panels) / columns)
    figure, grid = canvas.blank(
        8.6 if columns == 1 else 4.4 * columns, 4.9 if down == 1 else 4.0 * down, columns, down
    )
    low, high = canvas.accuracy_axis(grid, [line for panel in panels for line in panel], scale)
    for axes, panel, result, shown, name in zip(grid, panels, several, chosen, names, strict=False):
        canvas.density_axis(axes, panel)
        if len(panels) > 1:
            axes.set_title(name, loc="left", fontsize=TEXT + 1, color=INK)
        if len(several) == len(panels):
            dense = interval(result.accuracy("rewind", at)[0])[0]
            canvas.level(axes, 100 * dense, "dense network" if len(panels) == 1 else "")
        for line in panel:
            canvas.draw(axes, line, points=len(panel) <= 2)
        if len(several) == len(panels):
            _mark_failures(axes, result, shown)
    for axes in grid[len(panels) :]:
        axes.remove()
    if len(panels) == 1:
        canvas.end_labels(grid[0], panels[0])
        headline = _name(several[0]) if len(several) == 1 else f"{chosen[0][0]}: {_common(several)}"
        canvas.title(figure, headline if at == "end" else f"{headline}, {_when(at)}")
    else:
        canvas.legend(figure)

    text = (
        f"Line chart of test accuracy {_when(at)} (vertical axis, {low:.0f} to {high:.0f} %{_stretched(scale)}) against density, the "
        f"share of the weights that is kept (horizontal axis, logarithmic, from 100 % on the left to "
        f"{canvas.least([line for panel in panels for line in panel]):.3g} % on the right)"
    )
    caption = ""
    for result, shown, name in zip(several, chosen, names, strict=True):
        part, finding = _accuracy_in_words(result, shown, at)
        text += f". {name}: {part}" if len(several) > 1 else f". {part}"
        caption += (f"{name}: " if len(several) > 1 else "") + finding + " "
    rows = []
    for result, shown, name in zip(several, chosen, names, strict=True):
        prefix = {"result": name} if len(several) > 1 else {}
        for r in range(result.rounds + 1):
            for arm in shown:
                x, values = float(result.arm_density(arm)[r]), result.accuracy(arm, at)[r]
                rows.append(prefix | {"round": r, "arm": arm, "density": x} | canvas.summary(values))
    return Picture(figure, text, rows, caption.strip())


def learning_curves(result: Result, round: int, arms=None, quantity: str = "test_accuracy") -> Picture:
    """How the networks of one round learn: a quantity against optimiser steps, with the dense network beside.

    ``quantity`` is ``test_accuracy``, ``validation_accuracy`` or ``validation_loss``. A ring on each
    line marks the step of the lowest validation loss, the mean over seeds.
    """
    if quantity not in QUANTITIES:
        raise unknown("quantity", quantity, QUANTITIES)
    round, shown = result._round(round), _chosen(result, arms)
    scale = 1 if quantity == "validation_loss" else 100
    lines = [
        canvas.Line(
            result.look(arm).label, *_look(arm), result.steps, scale * result.curve(arm, quantity)[round].T
        )
        for arm in shown
    ]
    if round > 0:
        dense = scale * result.curve("rewind", quantity)[0].T
        lines.append(canvas.Line("dense network", INK, "", (4, 2, 1, 2), result.steps, dense))
    figure, (axes,) = canvas.blank(8.6, 4.9)
    low, high = _learning_limits(lines, quantity)
    axes.set_ylim(low, high)
    axes.set_ylabel(QUANTITIES[quantity])
    axes.set_xlabel("optimiser steps")
    axes.set_xlim(0, result.steps[-1])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    stops = {}
    for line, arm, row in zip(lines, [*shown, "rewind"], [round] * len(shown) + [0], strict=False):
        canvas.draw(axes, line, points=False, every=max(1, len(result.steps) // 10))
        stop = float(interval(result.early_stop_step(arm)[row])[0])
        if math.isfinite(stop):
            stops[line.label] = stop
            height = np.interp(stop, line.x, line.mean)
            ring = {"marker": "o", "mfc": "none", "mec": line.colour, "ms": 15, "mew": 2, "clip_on": False}
            axes.plot([stop], [height], **ring, zorder=6)
    if stops:
        axes.plot([], [], "o", mfc="none", mec=MUTED, ms=11, mew=2, label="lowest validation loss")
        last = axes.get_lines()[-1]
        axes.legend(handles=[last], loc="lower right" if scale == 100 else "upper right", frameon=False,
                    fontsize=TEXT, labelcolor=INK)  # fmt: skip
    canvas.end_labels(axes, lines)
    where = f"round {round}, {_share(result.density[round])} of the weights"
    canvas.title(figure, f"{_name(result)}: {where}")

    words = QUANTITIES[quantity]
    text = (
        f"Learning curves of {_name(result)} in {where}: {words} (vertical axis, {low:.3g} to {high:.3g}) against "
        f"optimiser steps (horizontal axis, 0 to {result.steps[-1]:,}); {_over_seeds(result)}. "
    )
    order = _order(
        [(line.label, line.mean[-1]) for line in lines], lambda v: f"{v:.3g}" if scale == 1 else f"{v:.1f} %"
    )
    caption = f"At the last step, from highest to lowest: {order}." if order else "Still training."
    begin = [f"{line.label} {line.mean[0]:.1f} %" for line in lines if math.isfinite(line.mean[0])]
    if begin and scale == 100:
        caption += f" Before the first step: {', '.join(begin)}."
    if stops:
        rank = ", ".join(
            f"{label} at step {step:,.0f}" for label, step in sorted(stops.items(), key=lambda s: s[1])
        )
        caption += f" Lowest validation loss, from earliest to latest: {rank}."
    rows = [
        {"step": int(step), "arm": line.label} | canvas.summary(line.values[e] / scale)
        for e, step in enumerate(result.steps)
        for line in lines
    ]
    return Picture(figure, text + caption + _failures_in_words(result, shown), rows, caption)


def early_stop_against_density(result: Result, arms=None) -> Picture:
    """How soon the networks learn: the step of the lowest validation loss against density."""
    shown = _chosen(result, arms)
    lines = [
        canvas.Line(result.look(arm).label, *_look(arm), 100 * result.arm_density(arm), _stops(result, arm))
        for arm in shown
    ]
    figure, (axes,) = canvas.blank(8.6, 4.9)
    canvas.density_axis(axes, lines)
    low, high = 0, 1.08 * float(result.steps[-1])
    axes.set_ylim(low, high)
    axes.set_ylabel("step of the lowest validation loss")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
    for line in lines:
        canvas.draw(axes, line, points=len(lines) <= 2)
    canvas.level(axes, float(result.steps[-1]), "end of training")
    _mark_failures(axes, result, shown)
    canvas.end_labels(axes, lines)
    canvas.title(figure, _name(result))
    text = (
        f"Line chart of the optimiser step at which validation loss is lowest (vertical axis, 0 to "
        f"{result.steps[-1]:,} steps) against density (horizontal axis, logarithmic, from 100 % on the left to "
        f"{canvas.least(lines):.3g} % on the right): {_name(result)}, {_over_seeds(result)}. "
    )
    caption, late = _early_stop_in_words(result, shown, lines)
    rows = [
        {"round": r, "arm": arm, "density": float(line.x[r] / 100)} | canvas.summary(line.values[r])
        for r in range(result.rounds + 1)
        for arm, line in zip(shown, lines, strict=True)
    ]
    return Picture(figure, text + caption + late + _failures_in_words(result, shown), rows, caption + late)


def weight_histograms(result: Result, round: int) -> Picture:
    """The values of the ticket's weights, layer by layer: before training and after, beside all initial weights.

    Each curve is the share of its weights a bin, the mean over seeds.

    Raises
    ------
    ValueError
        For a round that is not there, or not trained to its end yet.
    """
    round = result._round(round)
    layers = result.layers
    first = f"histogram/{layers[0]}/initial"  # while round 0 is trained there is none
    there = len(result._arrays[first]) if first in result._arrays else 0
    if round >= there:
        upto = f"up to round {there - 1}" if there else "once a round has been trained"
        raise ValueError(f"round={round} is still training: histograms are there {upto}.")
    figure, grid = canvas.blank(max(6.0, 4.1 * len(layers)), 4.3, len(layers))
    rows, words = [], []
    for axes, layer in zip(grid, layers, strict=True):
        edges, initial, final = result.histogram(layer)
        every, start, end = (_shares(counts) for counts in (initial[0], initial[round], final[round]))
        inner = edges[1:-1]  # the end bins hold all that lies further out: said in words
        axes.stairs(
            interval(every, 0)[0][1:-1], inner, fill=True, color="#D9D5CE", label="all initial weights"
        )
        looks = [
            (start, BLUE, (), "survivors, initial values"),
            (end, ORANGE, (3, 1.5), "survivors, after training"),
        ]
        for share, colour, dash, label in looks:
            mean, low, high = (part[1:-1] for part in interval(share, 0))
            axes.stairs(high, inner, baseline=low, fill=True, color=colour, alpha=0.18)
            axes.stairs(mean, inner, color=colour, lw=2, linestyle=(0, dash) if dash else "-", label=label)
        axes.set_title(f"{layer}: {_share(_layer_density(result, layer)[round])} kept", loc="left",
                       fontsize=TEXT + 1, color=INK)  # fmt: skip
        axes.set_xlabel("weight")
        axes.set_ylim(0, 1.3 * axes.dataLim.y1)
        means = [interval(share, 0)[0] for share in (every, start, end)]
        _fit(axes, inner, [mean[1:-1] for mean in means])
        beyond = means[2][0] + means[2][-1]
        if beyond >= 1:
            axes.text(0.98, 0.98, f"after training, {beyond:.0f} % lie\nbeyond {inner[0]:.2g} and {inner[-1]:.2g}",
                      transform=axes.transAxes, ha="right", va="top", fontsize=11, color=INK,
                      bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2})  # fmt: skip
        centres = (edges[:-1] + edges[1:]) / 2
        sizes = [_spread(edges, mean) for mean in means]
        near = [float(np.nansum(mean[abs(centres) < sizes[0]])) for mean in means]
        words.append(
            f"{layer}: standard deviation {sizes[0]:.3g} for all initial weights, {sizes[1]:.3g} for the survivors' "
            f"initial values and {'at least ' if beyond >= 1 else ''}{sizes[2]:.3g} after training; within one standard deviation of all initial "
            f"weights around zero lie {near[0]:.0f} %, {near[1]:.0f} % and {near[2]:.0f} %; beyond {inner[0]:.2g} and "
            f"{inner[-1]:.2g}, outside the panel, lie {beyond:.1f} % after training"
        )
        for b in range(len(centres)):
            rows.append({
                "layer": layer, "from": float(edges[b]), "to": float(edges[b + 1]),
                "all initial": float(means[0][b]), "survivors initial": float(means[1][b]),
                "survivors after training": float(means[2][b]),
            })  # fmt: skip
    grid[0].set_ylabel("weights in each bin (%)")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower left", ncols=3, frameon=False, fontsize=TEXT, labelcolor=INK
    )
    where = f"round {round}, {_share(result.density[round])} of the weights"
    canvas.title(figure, f"{_name(result)}: {where}")
    caption = "; ".join(words) + "."
    text = (
        f"Histograms of the weights of {_name(result)} in {where}, one panel a layer: share of the weights "
        f"(vertical axis, %) against weight (horizontal axis); mean over {len(result.seeds)} seeds. "
    )
    return Picture(figure, text + caption, rows, f"{_name(result)}, {where}.")


def mask_picture(result: Result, round: int, seed: int | None = None) -> Picture:
    """What the ticket keeps of the first layer, for one seed (the first one if not named).

    Pictures: how many weights of every input pixel are left, beside the first layer's mask, one row a
    unit and one column an input. Signals: bars. Convolutions: the filters, beside the counts left in
    the second layer's filters. Counts stand beside what a random mask of the same density would give.
    """
    seed = result.seeds[0] if seed is None else seed
    mask, round = result.mask(round, seed), result._round(round)
    layer = result.layers[0]
    first = mask[f"{layer}.weight"]
    where = f"{_name(result)}, round {round}, seed {seed}"
    if first.ndim == 4:
        return _filter_picture(result, mask, layer, where)
    shape = result.picture_shape
    counts = first.sum(0)
    mean, std, empty = _random_counts(first.shape, int(first.sum()))
    figure, (left, right) = canvas.blank(10.4, 4.6, 2, ratios=(1, 1.45))
    if shape:
        top = max(float(counts.max()), mean + 2 * std, 1.0)
        canvas.image(left, counts.reshape(shape), 0, top)
        left.set_title("weights left of each input pixel", loc="left", fontsize=TEXT, color=INK)
        _colour_bar(figure, left, 0, top, mean, std)
        rows = [{"row": i // shape[1], "column": i % shape[1], "kept": int(n)} for i, n in enumerate(counts)]
    else:
        left.bar(np.arange(len(counts)), counts, color="#0072B2", width=0.8)
        left.axhspan(mean - 2 * std, mean + 2 * std, color="#56504B", alpha=0.18, lw=0)
        left.axhline(mean, color=INK, lw=1.3, ls="--", label="random mask (mean, ± 2 standard deviations)")
        left.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), frameon=False, fontsize=11, labelcolor=INK)
        left.set_xlabel("input")
        left.set_ylabel("weights left")
        left.yaxis.set_major_locator(MaxNLocator(integer=True))
        rows = [{"input": i, "kept": int(n)} for i, n in enumerate(counts)]
    canvas.image(right, first, 0, 1, aspect="auto")
    right.set_title(
        f"{layer}: {int(first.sum()):,} of {first.size:,} weights kept", loc="left", fontsize=TEXT, color=INK
    )
    right.set_xlabel(f"input (1 to {first.shape[1]})")
    right.set_ylabel(f"unit (1 to {first.shape[0]})")
    canvas.title(figure, where)
    gone, units = int((counts == 0).sum()), int((first.sum(1) == 0).sum())
    caption = (
        f"{layer} keeps {int(first.sum()):,} of {first.size:,} weights ({_share(first.mean())}). Of {len(counts)} inputs "
        f"{gone} have lost all their weights; with a random mask of the same density about {empty:.1f} would. "
        f"An input keeps {counts.min()} to {counts.max()} weights; with a random mask {mean:.1f}, give or take {std:.1f}."
    )
    if shape:
        ring = _border(shape)
        caption += (
            f" Pixels of the outer ring keep {counts.reshape(shape)[ring].mean():.1f} on average, the others "
            f"{counts.reshape(shape)[~ring].mean():.1f}."
        )
    if units:
        caption += f" {units} of {first.shape[0]} units have no input left."
    text = (
        f"Two panels, {where}. Left: how many first-layer weights each input keeps"
        f"{f', as a picture of {shape[0]} by {shape[1]} pixels' if shape else ', as bars'}. Right: the mask of "
        f"{layer}, one row for each of {first.shape[0]} units, one column for each of {first.shape[1]} inputs. "
    )
    return Picture(figure, text + caption, rows, caption)


def survival_by_layer(result: Result) -> Picture:
    """The density of every layer against the round of pruning."""
    rounds = np.arange(result.rounds + 1)
    lines = [
        canvas.Line(layer, *LOOKS[i % len(LOOKS)], rounds, 100 * result.kept[layer] / result.sizes[layer])
        for i, layer in enumerate(result.layers)
    ]
    figure, (axes,) = canvas.blank(8.6, 4.7)
    axes.set_yscale("log")
    positive = [v for line in lines for v in line.values[np.isfinite(line.values) & (line.values > 0)]]
    low, high = min([*positive, 50]) / 1.3, 125
    axes.set_ylim(low, high)
    canvas.plain_percent(axes.yaxis, low, high)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(-0.2, result.rounds + 0.2)
    axes.set_xlabel("round of pruning")
    axes.set_ylabel("weights kept in the layer (log scale)")
    for line in lines:
        canvas.draw(axes, line, points=False)
    canvas.end_labels(axes, lines)
    _mark_collapse(axes, result, lambda r: r)
    canvas.title(figure, _name(result))
    order = _order([(line.label, line.mean[-1]) for line in lines], lambda v: f"{v:.3g} %")
    caption = f"After {result.rounds} rounds, from densest to sparsest: {order}." + _collapse_in_words(result)
    text = (
        f"Line chart of the share of the weights each layer keeps (vertical axis, logarithmic, {low:.2g} to 100 %) "
        f"against rounds of pruning (horizontal axis, 0 to {result.rounds}): {_name(result)}, "
        f"{result.experiment.scope} scope, {_over_seeds(result)}. "
    )
    rows = [
        {"round": int(r), "layer": line.label} | canvas.summary(line.values[r] / 100)
        for r in rounds
        for line in lines
    ]
    return Picture(figure, text + caption, rows, caption)


def tickets(result: Result, rounds: tuple[int, int] | None = None, arms=None) -> Picture:
    """The course in one wide picture: accuracy against density, and which input pixels survive at two rounds.

    ``rounds`` are by default those nearest to 20 % and 5 % density. Needs a data set of pictures and
    a network without convolutions.
    """
    shown = _chosen(result, arms)
    layer = result.layers[0]
    shape = result.picture_shape
    if shape is None:
        raise ValueError(f"tickets() needs a fully connected network on pictures, not {_name(result)}.")
    if rounds is None:
        rounds = (result.nearest_round(0.2), result.nearest_round(0.05))
    lines = [
        canvas.Line(
            result.look(arm).label, *_look(arm), 100 * result.arm_density(arm), 100 * result.accuracy(arm)
        )
        for arm in shown
    ]
    figure = Figure(figsize=(14.5, 4.6), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
    chart, gallery = figure.subfigures(1, 2, width_ratios=(1.3, 1))
    axes, images = canvas.panels(chart)[0], canvas.panels(gallery, columns=len(rounds))
    canvas.density_axis(axes, lines)
    low, high = canvas.accuracy_axis([axes], lines, "error")
    canvas.level(axes, 100 * float(interval(result.accuracy("rewind")[0])[0]), "dense network")
    for line in lines:
        canvas.draw(axes, line, points=False)
    _mark_failures(axes, result, shown)
    canvas.end_labels(axes, lines)
    canvas.title(chart, "Accuracy against what is left of the network")
    relative = []
    for round in rounds:
        kept = np.mean([result.mask(round, seed)[f"{layer}.weight"] for seed in result.seeds], 0)  # (out, in)
        relative.append(kept.mean(0).reshape(shape) / max(kept.mean(), 1e-12))
    top = min(3, math.ceil(max(float(picture.max()) for picture in relative)))
    for image, picture, round in zip(images, relative, rounds, strict=True):
        canvas.image(image, picture, 0, top)
        image.set_title(
            f"{_share(result.density[round])} of the weights", loc="left", fontsize=TEXT + 1, color=INK
        )
    bar = gallery.colorbar(
        ScalarMappable(Normalize(0, top), BLUES),
        ax=images,
        location="bottom",
        shrink=0.9,
        pad=0.04,
        aspect=28,
    )
    bar.set_ticks(range(top + 1), labels=["none", *(f"{t}×" for t in range(1, top)), f"{top}× or more"])
    bar.ax.tick_params(labelsize=TEXT, colors=INK, length=4)
    bar.set_label("weights left of each pixel; 1× is what a random mask leaves", fontsize=TEXT, color=INK)
    bar.outline.set_visible(False)
    canvas.title(gallery, "What the ticket looks at")
    part, finding = _accuracy_in_words(result, shown, "end")
    ring = _border(shape)
    seen = "; ".join(
        f"at {_share(result.density[round])} density pixels of the outer ring keep {picture[ring].mean():.2f} times as many "
        f"weights as with a random mask, the others {picture[~ring].mean():.2f} times"
        for round, picture in zip(rounds, relative, strict=True)
    )
    text = (
        f"Left: line chart of test accuracy at the end of training (vertical axis, {low:.0f} to {high:.0f} %{_stretched('error')}) against "
        f"density (horizontal axis, logarithmic, from 100 % on the left to {canvas.least(lines):.3g} % on the "
        f"right). {part} Right: which pixels of the input the tickets look at, mean over {len(result.seeds)} seeds; {seen}."
    )
    rows = [
        {"round": r, "arm": arm, "density": float(line.x[r] / 100)} | canvas.summary(line.values[r] / 100)
        for r in range(result.rounds + 1)
        for arm, line in zip(shown, lines, strict=True)
    ]
    return Picture(figure, text, rows, finding)


def methods(results: list[Result], density: float = 0.07) -> Picture:
    """The one fair picture: accuracy against density of different methods, and what each one costs.

    Parameters
    ----------
    results : list of Result
        One a method, alike in all else; iterative pruning may come several times with different rewind steps. The first
        is drawn in every panel, for comparison.
    density : float
        At which density accuracy and cost are set against each other.

    Raises
    ------
    ValueError
        For results on different networks, data, seeds or lengths of training.
    """
    for key in ("dataset", "model", "seeds", "steps", "optimizer", "lr", "batch_size"):
        if len({getattr(result.experiment, key) for result in results}) > 1:
            raise ValueError(
                f"results: {key} differs; methods are compared on one network, one data set and one budget."
            )
    names = [_method_name(result) for result in results]
    looks = []
    for i, result in enumerate(results):
        look = METHODS[result.experiment.method]
        again = i and result.experiment.method == results[0].experiment.method
        looks.append(("#5E1F9E", "P", (4, 1)) if again else (look.colour, look.marker, look.dash))
    lines = [
        canvas.Line(name, *look, 100 * result.density, 100 * result.accuracy("rewind"))
        for name, look, result in zip(names, looks, results, strict=True)
    ]
    kinds = {
        "iterative": "Train, prune, rewind, repeat",
        "at-init": "Before training",
        "dynamic": "While training",
    }
    groups = {
        title: [
            line for line, r in zip(lines, results, strict=True) if METHODS[r.experiment.method].kind == kind
        ]
        for kind, title in kinds.items()
    }
    groups = {title: group for title, group in groups.items() if group}
    columns = len(groups) + 1
    figure, grid = canvas.blank(
        6.2 * min(columns, 2), 4.4 * math.ceil(columns / 2), min(columns, 2), math.ceil(columns / 2)
    )
    low, high = canvas.accuracy_axis(grid[: len(groups)], lines, "error")
    dense = float(interval(results[0].accuracy("rewind")[0])[0])
    for axes, (title, group) in zip(grid, groups.items(), strict=False):
        canvas.density_axis(axes, lines)
        axes.set_title(title, loc="left", fontsize=TEXT + 1, color=INK)
        axes.set_ylabel("test accuracy (%)\nlog scale of the error")
        canvas.level(axes, 100 * dense, "dense network")
        drawn = group if lines[0] in group else [lines[0], *group]
        for line in drawn:
            canvas.draw(axes, line, points=False)
        canvas.legend_inside(axes)
    for axes in grid[columns:]:
        axes.remove()
    places = [result.nearest_round(density) for result in results]
    chart, rows = grid[len(groups)], []
    chart.set_xscale("log")
    costs = [float(result.cost[r]) for result, r in zip(results, places, strict=True)]
    for i, (look, result, r) in enumerate(zip(looks, results, places, strict=True)):
        mean, begin, _ = (100 * float(part) for part in interval(result.accuracy("rewind")[r]))
        sure = f" ± {mean - begin:.1f}" if math.isfinite(begin) else ""
        chart.plot(costs[i], i, color=look[0], marker=look[1], markersize=9, linestyle="none")
        chart.annotate(f"{mean:.1f}{sure} %", (costs[i], i), (9, 0), textcoords="offset points", va="center",
                       fontsize=TEXT, color=INK)  # fmt: skip
    chart.axvline(1, color=MUTED, lw=1.3, ls=(0, (1, 1.5)), zorder=1.5)
    chart.set_yticks(range(len(results)), names)
    chart.set_xlim(min(costs) / 2, max(costs) * 12)
    chart.set_ylim(len(results) - 0.4, -0.6)
    at = _share(results[0].density[places[0]])
    chart.set_title(f"Cost and accuracy at {at} of the weights", loc="left", fontsize=TEXT + 1, color=INK)
    chart.set_xlabel("cost with search (dense trainings, log scale)")
    chart.xaxis.set_major_formatter(FuncFormatter(lambda t, _: f"{t:g}"))
    for result, name in zip(results, names, strict=True):
        for r in range(result.rounds + 1):
            rows.append(
                {
                    "method": name,
                    "round": r,
                    "density": float(result.density[r]),
                    "cost": float(result.cost[r]),
                }
                | canvas.summary(result.accuracy("rewind")[r])
            )
    said = [
        f"{name} {100 * float(interval(result.accuracy('rewind')[r])[0]):.1f} % for {result.cost[r]:.2f} dense trainings"
        for name, result, r in zip(names, results, places, strict=True)
    ]
    finding = f"At about {_share(results[0].density[places[0]])} of the weights: {'; '.join(said)}. Dense: {100 * dense:.1f} %."
    text = (
        f"Line charts of test accuracy at the end of training (vertical axis, {low:.0f} to {high:.0f} %{_stretched('error')}) "
        f"against density (horizontal axis, logarithmic, 100 % on the left), one for methods that {', '.join(groups).lower()}; "
        f"and a dot chart of the cost of each method (horizontal axis, logarithmic, in trainings of the dense network). Means over "
        f"{len(results[0].seeds)} seeds with 95 % intervals. {finding}"
    )
    canvas.title(figure, "Ways to a sparse network")
    return Picture(figure, text, rows, finding)


def _method_name(result) -> str:
    late = result.experiment.rewind_step
    return f"IMP, rewound to step {late}" if late else METHODS[result.experiment.method].label


def _look(arm):
    return ARMS[arm].colour, ARMS[arm].marker, ARMS[arm].dash


def _chosen(result, arms):
    arms = result.arms if arms is None else [arms] if isinstance(arms, str) else list(arms)
    if not arms:
        raise ValueError("arms=[]: at least one arm is needed.")
    return [result._arm(arm) for arm in arms]


def _learning_limits(lines, quantity):
    """The range of the means; of accuracies at most the upper 45 points, of losses without the steep start (a tenth)."""
    loss = quantity == "validation_loss"
    means = np.concatenate([line.mean[len(line.mean) // 10 if loss else 0 :] for line in lines])
    means = means[np.isfinite(means)]
    if not len(means):
        return (0.0, 1.0) if loss else (0.0, 100.0)
    low, high = float(means.min()), float(means.max())
    low = low if loss else max(low, high - 45.0)
    air = 0.06 * max(high - low, 1e-3)
    return max(0.0, low - air), (high + air if loss else min(100.0, high + air))


def _mark_failures(axes, result, arms):
    """Say in the figure which networks diverged, and where a layer lost all its weights."""
    _mark_collapse(axes, result, lambda r: 100 * result.density[r])
    words = _divergence(result, arms)
    if words:
        axes.text(0.02, 0.03, "\n".join(words), transform=axes.transAxes, fontsize=11, color=INK, va="bottom", zorder=7,
                  bbox={"facecolor": "white", "edgecolor": "#999999", "boxstyle": "round,pad=0.4"})  # fmt: skip


def _mark_collapse(axes, result, place):
    if not result.collapsed:
        return
    round, layer = result.collapsed[0]
    axes.axvline(place(round), color=INK, lw=1.3, ls=(0, (5, 2, 1, 2)), zorder=1.8)
    empty = int((result.kept[layer][round] == 0).sum())
    text = f"layer collapse:\n{layer} is empty\nin {empty} of {len(result.seeds)} seeds"
    axes.annotate(text, (place(round), 1), (-6, -6), xycoords=("data", "axes fraction"),
                  textcoords="offset points", ha="right", va="top", fontsize=11, color=INK, zorder=7,
                  bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2})  # fmt: skip


def _colour_bar(figure, axes, low, high, mean, std):
    bar = figure.colorbar(
        ScalarMappable(Normalize(low, high), BLUES), ax=axes, location="bottom", pad=0.04, shrink=0.95
    )
    bar.locator = MaxNLocator(5, integer=True)
    bar.update_ticks()
    bar.ax.tick_params(labelsize=TEXT, colors=INK, length=3)
    bar.outline.set_visible(False)
    bar.ax.plot([mean - 2 * std, mean + 2 * std], [0.5, 0.5], color="#D55E00", lw=3, solid_capstyle="butt",
                transform=bar.ax.get_xaxis_transform())  # fmt: skip
    bar.ax.plot(
        [mean], [0.5], "o", color="#D55E00", mec="white", ms=9, transform=bar.ax.get_xaxis_transform()
    )
    bar.set_label("orange: random mask (mean, ± 2 st. dev.)", fontsize=11, color=INK)


def _fit(axes, edges, shares):
    """Show the bins that hold something."""
    there = np.flatnonzero(np.nan_to_num(np.stack(shares)).max(0) > 0.02)
    if len(there):
        axes.set_xlim(edges[there[0]], edges[there[-1] + 1])


def _filter_picture(result, mask, layer, where):
    first = mask[f"{layer}.weight"]
    second_name = result.layers[1]
    second = mask[f"{second_name}.weight"]
    figure, (left, right) = canvas.blank(10.4, 4.8, 2, ratios=(1.3, 1))
    across = math.ceil(math.sqrt(2 * len(first)))
    down = math.ceil(len(first) / across)
    height, width = first.shape[2:]
    wall = np.full((down * (height + 1) + 1, across * (width + 1) + 1), np.nan)
    for i, kept in enumerate(first[:, 0]):
        y, x = (i // across) * (height + 1) + 1, (i % across) * (width + 1) + 1
        wall[y : y + height, x : x + width] = kept
    canvas.image(left, wall, 0, 1)
    left.set_title(
        f"{layer}: {int(first.sum())} of {first.size} weights kept (dark)",
        loc="left",
        fontsize=TEXT,
        color=INK,
    )
    counts = second.reshape(*second.shape[:2], -1).sum(-1)
    full = int(np.prod(second.shape[2:], dtype=int))
    canvas.image(right, counts, 0, full)
    right.set_title(f"{second_name}: weights left of each kernel", fontsize=TEXT, color=INK)
    right.set_xlabel(f"input channel (1 to {second.shape[1]})")
    right.set_ylabel(f"filter (1 to {second.shape[0]})")
    kept, per_kernel = int(second.sum()), second.size // full
    mean, std, empty = _random_counts((full, per_kernel), kept)
    bar = figure.colorbar(ScalarMappable(Normalize(0, full), BLUES), ax=right, location="right", shrink=0.9)
    bar.ax.tick_params(labelsize=TEXT, colors=INK, length=3)
    bar.outline.set_visible(False)
    canvas.title(figure, where)
    blank = int((first.reshape(len(first), -1).sum(1) == 0).sum())
    caption = (
        f"{layer} keeps {int(first.sum())} of {first.size} weights; {blank} of {len(first)} filters are empty. "
        f"{second_name} keeps {kept:,} of {second.size:,}; {int((counts == 0).sum())} of {counts.size} kernels are empty, "
        f"with a random mask of the same density about {empty:.1f} would be "
        f"({mean:.1f} weights a kernel, give or take {std:.1f})."
    )
    text = (
        f"Two panels, {where}. Left: the mask of each of {len(first)} filters of {layer}, {height} by {width}. Right: how "
        f"many of {full} weights are left in each kernel of {second_name}, one row a filter, one column an input channel. "
    )
    rows = [
        {"filter": i, "channel": j, "kept": int(counts[i, j])}
        for i in range(len(counts))
        for j in range(counts.shape[1])
    ]
    return Picture(figure, text + caption, rows, caption)


def _random_counts(shape, kept):
    """What a random mask gives: mean and standard deviation of the weights an input keeps, and empty inputs.

    ``shape`` is (weights an input has, inputs); counts are hypergeometric.
    """
    own, inputs = shape
    size = own * inputs
    share = kept / size
    mean = own * share
    std = math.sqrt(own * share * (1 - share) * (size - own) / max(size - 1, 1))
    if kept > size - own:
        return mean, std, 0.0
    log = math.lgamma
    chance = log(size - own + 1) + log(size - kept + 1) - log(size - own - kept + 1) - log(size + 1)
    return mean, std, inputs * math.exp(chance)


def _border(shape):
    ring = np.ones(shape, bool)
    ring[1:-1, 1:-1] = False
    return ring


def _layer_density(result, layer):
    return result.kept[layer].mean(1) / result.sizes[layer]


def _shares(counts):
    """Counts (S, B) as per cent of each seed's total; NaN where there is nothing."""
    total = counts.sum(-1, keepdims=True).astype(float)
    return 100 * counts / np.where(total > 0, total, np.nan)


def _spread(edges, share):
    """The standard deviation of binned values."""
    centres, weight = (edges[:-1] + edges[1:]) / 2, np.nan_to_num(share)
    if weight.sum() == 0:
        return math.nan
    mean = np.average(centres, weights=weight)
    return float(np.sqrt(np.average((centres - mean) ** 2, weights=weight)))


def _share(density):
    return f"{100 * float(density):.3g} %"


def _name(result):
    return f"{result.experiment.model} on {result.experiment.dataset_key}"


def _when(at):
    return {"end": "at the end of training", "early-stop": "at the lowest validation loss"}.get(
        at
    ) or f"after {at:,} steps"


def _stretched(scale):
    return ", stretched towards 100 % as the logarithm of the error" if scale == "error" else ""


def _over_seeds(result):
    n = len(result.seeds)
    return f"mean and 95 % interval over {n} seeds" if n > 1 else "a single seed, so no interval"


def _differences(results):
    """Names that tell results apart by the settings in which they differ."""
    configs = [result.experiment.config | {"method": result.experiment.method} for result in results]
    differing = [key for key in configs[0] if any(config[key] != configs[0][key] for config in configs)]
    differing = [key for key in differing if key not in ("rounds", "lr", "arms") or len(differing) == 1] or [
        "model",
        "dataset",
    ]

    def word(key, value):
        if key == "rate":
            return f"{_share(value)} a round"
        if key == "method":
            return METHODS[value].label
        if key in ("model", "dataset", "optimizer", "scope"):
            return f"{value} scope" if key == "scope" else str(value)
        return f"{key.replace('_', ' ')} {value if not isinstance(value, list) else len(value)}"

    return [", ".join(word(key, config[key]) for key in differing) for config in configs]


def _common(results):
    names = {_name(result) for result in results}
    return names.pop() if len(names) == 1 else f"{len(results)} experiments"


def _order(pairs, number):
    there = [(label, value) for label, value in pairs if math.isfinite(value)]
    return ", ".join(f"{label} ({number(value)})" for label, value in sorted(there, key=lambda p: -p[1]))


def _accuracy_in_words(result, arms, at):
    """What an accuracy chart shows of one result, and the main finding: two strings."""
    means = {arm: interval(result.accuracy(arm, at))[0] for arm in arms}
    text = f"{_name(result)}, {_over_seeds(result)}."
    dense = float(interval(result.accuracy("rewind", at)[0])[0])
    if math.isfinite(dense):
        text += f" The dense network reaches {100 * dense:.1f} %."
    for arm in arms:
        rounds = sorted({result.nearest_round(density) for density in (0.5, 0.2, 0.05)} - {0})
        shown = [r for r in rounds if math.isfinite(means[arm][r])]
        places = [f"{100 * means[arm][r]:.1f} % at {_share(result.arm_density(arm)[r])}" for r in shown]
        text += f" {result.look(arm).label}: {', '.join(places)}." if places else ""
    measured = [r for r in range(1, result.rounds + 1) if all(math.isfinite(means[arm][r]) for arm in arms)]
    if measured and len(arms) > 1:
        order = _order(
            [(result.look(arm).label, means[arm][measured[-1]]) for arm in arms], lambda v: f"{100 * v:.1f} %"
        )
        text += f" At {_share(result.density[measured[-1]])} density, from highest to lowest: {order}."
    finding = _finding(result, arms, at, measured)
    return f"{text} {finding}" + _failures_in_words(result, arms), finding


def _finding(result, arms, at, measured):
    if not measured:
        return "Nothing below the dense network has been measured yet."
    sentences = []
    if "rewind" in arms:
        sentences += filter(None, [result.matching_in_words(at)])
        other = next((arm for arm in arms if arm != "rewind"), None)
        if other:
            gaps = [result.compare("rewind", other, r, at) for r in measured]
            widest = int(np.argmax([abs(gap.mean) for gap in gaps]))
            sentences.append(f"The gap to {result.look(other).label} is widest at {_share(result.density[measured[widest]])}: "
                             f"{gaps[widest]}")  # fmt: skip
    if not sentences:
        last = result.compare(arms[0], "dense", measured[-1], at)
        sentences.append(f"At {_share(result.density[measured[-1]])}: {last}")
    return " ".join(sentences)


def _stops(result, arm):
    """(R, S) the step of the lowest validation loss of the networks that were trained to the end."""
    return np.where(np.isfinite(result.accuracy(arm)), result.early_stop_step(arm), np.nan)


def _early_stop_in_words(result, arms, lines):
    measured = [r for r in range(1, result.rounds + 1) if all(math.isfinite(line.mean[r]) for line in lines)]
    dense = float(interval(_stops(result, "rewind")[0])[0])
    if not measured or not math.isfinite(dense):
        return "Nothing below the dense network has been measured yet.", ""
    text = f"The dense network has its lowest validation loss at step {dense:,.0f}."
    for arm, line in zip(arms, lines, strict=True):
        soonest = measured[int(np.argmin(line.mean[measured]))]
        text += f" {result.look(arm).label}: earliest at step {line.mean[soonest]:,.0f} ({_share(line.x[soonest] / 100)})."
    order = ", ".join(
        f"{line.label} (step {line.mean[measured[-1]]:,.0f})"
        for line in sorted(lines, key=lambda n: n.mean[measured[-1]])
    )
    text += f" At {_share(result.density[measured[-1]])}, from earliest to latest: {order}."
    edge = [result.look(arm).label for arm in arms if (_stops(result, arm) == result.steps[-1]).any()]
    late = f" Some networks of {', '.join(edge)} were still improving when training ended." if edge else ""
    return text, late


def _divergence(result, arms):
    words = []
    for arm in arms:
        broken = result.diverged(arm)
        if broken.any():
            first = _share(result.arm_density(arm)[int(np.flatnonzero(broken.any(1))[0])])
            words.append(
                f"{result.look(arm).label}: {int(broken.sum())} of {broken.size} networks diverged, first at {first}"
            )
    return words


def _collapse_in_words(result):
    if not result.collapsed:
        return ""
    round, layer = result.collapsed[0]
    empty, where = int((result.kept[layer][round] == 0).sum()), _share(result.density[round])
    return (
        f" Layer collapse: {layer} loses all its weights in round {round}, at {where} density, "
        f"in {empty} of {len(result.seeds)} seeds."
    )


def _failures_in_words(result, arms):
    words = _divergence(result, arms)
    return (f" {'; '.join(words)}." if words else "") + _collapse_in_words(result)


def main(folder: str = "docs") -> int:
    """Draw the pictures of the README from the atlas: ``python -m lthviz picture [FOLDER]``."""
    from .atlas_build import CLASS_ROOM, METHODS_COMPARED
    from .store import atlas_store

    found = [atlas_store().load(experiment) for experiment in (CLASS_ROOM[0], *METHODS_COMPARED)]
    if not all(found):
        print("The atlas lacks results that the pictures show: run `python -m lthviz atlas` first.")
        return 1
    for name, picture in (("tickets", tickets(found[0])), ("methods", methods(found))):
        print(f"{picture.save(f'{folder}/{name}.svg')}: {picture.description}")
    return 0
