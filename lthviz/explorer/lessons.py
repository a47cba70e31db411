"""Small explorers of single lessons: 00, 02 and 04 of masks and comparisons, 08 to 10 of other methods."""

import math
from collections.abc import Mapping
from importlib.resources import files

import numpy as np

from ..arms import ARMS
from ..methods import METHODS
from ..result import Result, interval
from .explorer import (
    Array,
    Axis,
    Bars,
    Choice,
    Curves,
    Explorer,
    Line,
    Number,
    Picture,
    Sentence,
    Series,
    Stack,
    Text,
)
from .tickets import SPAN, pixels_kept


def mask_browser(result: Result) -> Explorer:
    """The mask of the first layer, round by round, with its density in numbers (lesson 00).

    Traits: ``round`` and ``seed`` ("all" or one of the seeds).

    Raises
    ------
    ValueError
        For a result whose first layer does not look at whole pictures.
    """
    layer, side = result.layers[0], result.picture_shape
    if side is None:
        raise ValueError(f"result: {layer} of {result.experiment.model} does not look at whole pictures.")
    rounds, density = list(range(result.rounds + 1)), result.density
    pruned_at = result.pruned_at[layer]
    units = pruned_at.shape[1]
    arrays = {
        "density": Array(density, ("round",)),
        "sparsity": Array(1 - density, ("round",)),
        "compression": Array(np.round(1 / np.maximum(density, 1e-9), 1), ("round",)),
        "pixels": Array(pixels_kept([pruned_at], [len(rounds)], side), ("round", "seed", "row", "column")),
        "pruned_at": Array(pruned_at, ("seed", "out", "in")),
    }
    panels = [
        Number(array="density", percent=True, title="density: kept of all", width=4),
        Number(array="sparsity", percent=True, title="sparsity: gone of all", width=4),
        Number(array="compression", title="compression: all per kept", width=4),
        Picture(array="pixels", rows="row", columns="column", spread="seed", average=True, width=5,
                title="What each input pixel keeps", unit=f"of {units} weights"),
        Picture(array="pruned_at", rows="out", columns="in", above="round", spread="seed", width=7,
                title=f"Mask of the first layer: {units} units, {pruned_at.shape[2]} inputs"),
    ]  # fmt: skip

    def static():
        from ..figures import mask_picture

        return mask_picture(result, min(5, result.rounds))._repr_html_()

    choice = Choice("seed", list(result.seeds), "Seed", every=f"all {len(result.seeds)} seeds")
    text = f"The mask of {layer} after each round of pruning. {result.experiment.describe()}"
    start = min(5, result.rounds)
    return Explorer(
        [Axis("round", rounds, "Round", start=start)], panels, arrays, None, [choice], text, static
    )


def pruning_browser(densities, accuracy: Mapping, kept: Mapping, sizes: Mapping) -> Explorer:
    """Layer-wise beside global pruning of the same trained networks (lesson 02).

    Parameters
    ----------
    densities : sequence of float, (D,)
        In (0, 1], densest first.
    accuracy : mapping of str to array (D, S)
        The accuracy of S networks, for "layer-wise" and "global".
    kept : mapping of str to mapping of str to array (D, S)
        For both, the weights kept in each layer.
    sizes : mapping of str to int
        All the weights of each layer.
    """
    scopes, layers = list(accuracy), list(sizes)
    seeds = np.shape(accuracy[scopes[0]])[1]
    looks = [("#0072B2", "o", ()), ("#D55E00", "s", (6, 3))]
    series = Series(
        "scope", [Line(name, name, *look) for name, look in zip(scopes, looks, strict=True)], "scopes"
    )
    arrays = {
        "accuracy": Array(np.stack([accuracy[scope] for scope in scopes]), ("scope", "density", "seed")),
        "densities": Array(np.asarray(densities, float), ("density",)),
        "words": Text(
            [
                _words(scope, accuracy[scope][d], kept[scope], d, densities[d])
                for scope in scopes
                for d in range(len(densities))
            ],
            ("scope", "density"),
        ),
    }
    bars = []
    for scope in scopes:
        arrays[scope] = Array(
            np.stack([kept[scope][layer] for layer in layers], 1), ("density", "layer", "seed")
        )
        bars.append(
            Bars(array=scope, along="layer", names=tuple(layers), of=tuple(sizes.values()), spread="seed",
                 title=f"Weights kept, {scope}", unit="weights")
        )  # fmt: skip
    panels = [
        Sentence(text="words", series="scope", width=12),
        Curves(y="accuracy", x="densities", along="density", series="scope", spread="seed", log=True, reverse=True,
               percent="xy", title="Accuracy, pruned and not trained again", width=7, xlabel="density, %, log scale",
               ylabel="accuracy, %"),
        Stack(panels=tuple(bars), width=5),
    ]  # fmt: skip

    def static():
        from ..charts import lines

        drawn = {scope: (100 * np.asarray(densities), 100 * np.asarray(accuracy[scope])) for scope in scopes}
        return lines(
            drawn, x="density (%, log scale)", y="accuracy (%)", title="Pruned, not trained again", log=True
        )._repr_html_()

    axis = Axis(
        "density",
        [float(d) for d in densities],
        "Density",
        "{:.0%}",
        start=float(densities[len(densities) // 2]),
    )
    choice = Choice("seed", list(range(seeds)), "Network", every=f"all {seeds} networks")
    text = "Accuracy and weights kept in each layer when networks are pruned layer by layer, and over all layers at once."
    return Explorer([axis], panels, arrays, series, [choice], text, static)


def _words(scope, accuracy, kept, place, density) -> str:
    mean = 100 * float(interval(accuracy)[0])
    text = f"At {100 * density:g} % density {scope} pruning leaves {mean:.1f} %."
    empty = [layer for layer, n in kept.items() if np.min(n[place]) == 0]
    return text + (f" Layer collapse: {', '.join(empty)} lost all its weights." if empty else "")


def paired_browser(result: Result, least: float = 0.1) -> Explorer:
    """The ticket minus each control, seed by seed, for the first n seeds (lesson 04).

    ``least`` is the lowest density shown: sparser networks differ so much that no seeds need to be counted.
    Traits: ``seeds_used`` (1 to all), ``round``, and ``arms``: the controls that are shown, "dense" among them.
    """
    controls = ["dense", *result.arms[1:]]
    density = result.density[result.density >= least]
    rounds, seeds = len(density), len(result.seeds)
    used = list(range(1, seeds + 1))
    ticket = result.accuracy("rewind")  # (round, seed)
    other = [ticket[:1] if arm == "dense" else result.accuracy(arm) for arm in controls]
    difference = np.stack([100 * (ticket - values)[:rounds] for values in other])
    looks = [ARMS[arm] for arm in result.arms[1:]]
    lines = [Line("dense", "dense network", "#0072B2", "o")] + [
        Line(arm.name, arm.label, arm.colour, arm.marker, arm.dash) for arm in looks
    ]
    first_n = np.where(np.arange(seeds) < np.array(used)[:, None], 0.0, np.nan)  # (seeds used, seed)
    arrays = {
        "difference": Array(
            difference[:, None] + first_n[:, None], ("control", "seeds_used", "round", "seed")
        ),
        "density": Array(density, ("round",)),
        "used": Array(np.array(used, float), ("seeds_used",)),
        "words": Text(
            [
                _paired_words(line.label, difference[row, r, :n], density[r])
                for row, line in enumerate(lines)
                for n in used
                for r in range(rounds)
            ],
            ("control", "seeds_used", "round"),
        ),
    }
    panels = [
        Sentence(text="words", series="control", width=12),
        Curves(y="difference", x="density", along="round", series="control", spread="seed", log=True, reverse=True,
               percent="x", width=6, title="Ticket minus control", xlabel="density, %, log scale",
               ylabel="difference, points (0: no difference)", ylim=_between(difference, 1), labels=False),
        Curves(y="difference", x="used", along="seeds_used", series="control", spread="seed", width=6,
               title="This round, with more and more seeds", xlabel="seeds used",
               ylabel="difference, points (0: no difference)", ylim=_between(difference, 1), labels=False),
    ]  # fmt: skip

    def static():
        from ..charts import lines as chart

        drawn = {line.label: (100 * density, values) for line, values in zip(lines, difference, strict=True)}
        return chart(
            drawn, x="density (%, log scale)", y="difference (points)", title="Ticket minus control", log=True
        )._repr_html_()

    start = int(np.argmin(abs(np.log(density / 0.5))))
    axes = [
        Axis("seeds_used", used, "Seeds used", start=min(3, seeds)),
        Axis("round", list(range(rounds)), "Round", start=start),
    ]
    text = (
        f"Paired differences of test accuracy, the ticket minus each control. {result.experiment.describe()}"
    )
    series = Series("control", lines, trait="arms", label="Controls")
    explorer = Explorer(axes, panels, arrays, series, [], text, static)
    explorer.arms = controls[:2]  # five bands at once are too many to begin with
    return explorer


def _paired_words(control, difference, density) -> str:
    mean, low, high = (float(part) for part in interval(difference))
    sure = "a single seed" if np.isnan(low) else f"95 % interval {low:+.1f} to {high:+.1f}"
    n = len(difference)
    seeds = f"{n} seed{'s' if n > 1 else ''}"
    return f"Ticket minus {control} at {100 * density:.1f} % density, {seeds}: {mean:+.1f} points ({sure})."


def _between(values, share) -> tuple[float, float]:
    """A scale that all values fit on, with ``share`` points to spare."""
    return float(np.nanmin(values)) - share, float(np.nanmax(values)) + share


def learning_rate_browser(results) -> Explorer:
    """Rewind and re-init at different learning rates (lesson 04); the results differ in ``lr`` alone.

    Trait: ``learning_rate``, in thousandths.
    """
    results = sorted(results, key=lambda result: result.experiment.lr)
    arms = [ARMS[arm] for arm in results[0].arms]
    arrays = {
        "accuracy": Array(
            np.stack([[result.accuracy(arm.name) for result in results] for arm in arms]),
            ("arm", "learning_rate", "round", "seed"),
        ),
        "density": Array(results[0].density, ("round",)),
        "words": Text(
            [
                result.verdict(result.rounds, against="dense" if arm.name == "rewind" else arm.name)
                for arm in arms
                for result in results
            ],
            ("arm", "learning_rate"),
        ),
    }
    series = Series(
        "arm", [Line(arm.name, arm.label, arm.colour, arm.marker, arm.dash) for arm in arms], "arms", "Arms"
    )
    panels = [
        Sentence(text="words", series="arm", versus=True, width=4, otherwise="Tick rewind, the ticket."),
        Curves(y="accuracy", x="density", along="round", series="arm", spread="seed", log=True, reverse=True,
               percent="xy", width=8, title="Accuracy against density", xlabel="density, %, log scale",
               ylabel="test accuracy, %"),
    ]  # fmt: skip

    def static():
        from ..figures import accuracy_against_density

        return accuracy_against_density(results)._repr_html_()

    thousandths = [round(1000 * result.experiment.lr, 6) for result in results]
    axis = Axis("learning_rate", thousandths, "Learning rate, in thousandths", "{:g}")
    text = f"Rewind and re-init at {len(results)} learning rates. {results[0].experiment.describe()}"
    return Explorer([axis], panels, arrays, series, [], text, static)


def at_init_browser(results) -> Explorer:
    """Methods that choose before training, each with its sanity checks, beside iterative pruning (lesson 08).

    Parameters
    ----------
    results : list of Result
        Iterative pruning first, for comparison; then one a method, alike in seeds and arms. Shown are the rounds that
        all of them have.

    Traits: ``round``, ``method`` (a label such as "SNIP", or "all": the mean over the methods), ``seed`` and ``arms``.

    Raises
    ------
    ValueError
        For results with different densities, seeds or, iterative pruning aside, arms.
    """
    imp, *others = results
    rounds = min(result.rounds for result in results) + 1
    density, layers, sizes = imp.density[:rounds], imp.layers, imp.sizes
    for result in others:
        alike = result.seeds == imp.seeds and result.arms == others[0].arms
        if not alike or not np.allclose(result.density[:rounds], density, atol=1e-3):
            raise ValueError(f"results: {result.experiment.method} differs in densities, seeds or arms.")
    methods, arms = [METHODS[result.experiment.method].label for result in others], others[0].arms
    lines = [
        Line(arm, "as chosen" if arm == "rewind" else look.label, look.colour, look.marker, look.dash)
        for arm, look in ((arm, ARMS[arm]) for arm in arms)
    ] + [Line("imp", METHODS["imp"].label, "#56504B", "v", (1, 3))]

    def with_mean(values):
        """The mean over the methods, then each method: the dimension all|method."""
        return np.concatenate([np.mean(values, 0, keepdims=True), values])

    reference = np.stack([imp.accuracy("rewind")[:rounds]] * (len(others) + 1))
    accuracy = np.stack(
        [with_mean(np.stack([result.accuracy(arm)[:rounds] for result in others])) for arm in arms]
        + [reference]
    )  # (line, all|method, round, seed)
    every = np.stack(
        [np.stack([result.kept[layer][:rounds] for layer in layers], 1) for result in others]
    )  # (method, round, layer, seed)
    arrays = {
        "accuracy": Array(accuracy, ("arm", "all|method", "round", "seed")),
        "density": Array(density, ("round",)),
        "kept": Array(with_mean(every), ("all|method", "round", "layer", "seed")),
        "words": Text(
            [
                _check_words(line, name, accuracy[0, m, r], accuracy[row, m, r], density[r])
                for row, line in enumerate(lines)
                for m, name in enumerate(["the mean of all", *methods])
                for r in range(rounds)
            ],
            ("arm", "all|method", "round"),
        ),
        "alarm": Text(
            [
                _alarm_in_words(chosen, r, layers, sizes)
                for chosen in (dict(zip(methods, every)), *({name: k} for name, k in zip(methods, every)))
                for r in range(rounds)
            ],
            ("all|method", "round"),
        ),
    }
    panels = [
        Sentence(text="words", series="arm", width=12),
        Curves(y="accuracy", x="density", along="round", series="arm", spread="seed", log=True, reverse=True,
               percent="xy", title="Accuracy against density", width=7, xlabel="density, %, log scale",
               ylabel="test accuracy, %", span=SPAN),
        Bars(array="kept", along="layer", names=layers, of=tuple(sizes[layer] for layer in layers), spread="seed",
             unit="weights", title="Weights kept, as chosen", width=5),
        Sentence(text="alarm", width=12),
    ]  # fmt: skip

    def static():
        from ..figures import accuracy_against_density

        return accuracy_against_density(others)._repr_html_()

    seeds = list(imp.seeds)
    choices = [
        Choice("method", methods, "Method", every=f"mean of all {len(methods)}"),
        Choice("seed", seeds, "Seed", every=f"all {len(seeds)} seeds"),
    ]
    start = int(np.argmin(abs(np.log(density / 0.07))))
    text = f"Masks chosen before training by {', '.join(methods)}, and their sanity checks. {others[0].experiment.describe()}"
    series = Series("arm", lines, "arms", "Arms")
    axis = Axis("round", list(range(rounds)), "Round", start=start)
    explorer = Explorer([axis], panels, arrays, series, choices, text, static)
    explorer.method = methods[0]
    explorer.arms = [line.name for line in lines if line.name != "invert"]
    return explorer


def _check_words(line, method, chosen, values, density) -> str:
    mean, low, high = (100 * float(part) for part in interval(values))
    if density == 1:
        return f"The dense network reaches {mean:.1f} %." if line.name == "rewind" else ""
    if line.name == "rewind":
        return f"{method[0].upper()}{method[1:]} at {100 * density:.1f} % of the weights: {mean:.1f} % ({low:.1f} to {high:.1f})."
    mean, low, high = (100 * float(part) for part in interval(chosen - values))
    return f"As chosen minus {line.label}: {mean:+.1f} points ({low:+.1f} to {high:+.1f})."


def _alarm_in_words(kept, round, layers, sizes) -> str:
    """``kept`` maps methods to arrays (R, L, S): is there a layer without weights?"""
    empty = {
        name: [layer for i, layer in enumerate(layers) if (values[round, i] == 0).any()]
        for name, values in kept.items()
    }
    said = [f"{', '.join(gone)} with {name}" for name, gone in empty.items() if gone]
    if said:
        return f"Layer collapse: no weight is left in {'; '.join(said)}."
    if len(kept) > 1:
        return "No layer is empty with any of the methods."
    values = next(iter(kept.values()))[round].mean(1)
    share = {layer: values[i] / sizes[layer] for i, layer in enumerate(layers)}
    least = min(share, key=share.get)
    return f"No layer is empty. The sparsest, {least}, keeps {100 * share[least]:.1f} %."


def mask_movie(courses: Mapping, steps, picture_shape: tuple[int, int]) -> Explorer:
    """How the weights of sparse networks change places while they learn, and how many were ever tried (lesson 09).

    Trait: ``step``.

    Parameters
    ----------
    courses : mapping of str to mapping of str to bool array (T, *shape)
        For two networks the masks of their layers after each exchange, as ``RigL.masks()`` gives them.
    steps : sequence of int, (T,)
        The step after which each mask was there, 0 for the first one.
    picture_shape : (height, width)
        Of what the units of the first layer look at.

    Raises
    ------
    ValueError
        For a first layer that does not look at whole pictures of that shape.
    """
    looks = [("#D55E00", "s", (6, 3)), ("#009E73", "^", (2, 2))]  # of RigL and SET, as in METHODS
    lines = [Line(name, name, *look) for name, look in zip(courses, looks, strict=True)]
    pictures, coverage, words = {}, [], []
    for name, masks in courses.items():
        first = np.asarray(next(iter(masks.values())))
        if first.shape[2:] != (math.prod(picture_shape),):
            raise ValueError(
                f"picture_shape={picture_shape}: a unit of the first layer of {name} has {first.shape[2:]} inputs."
            )
        for when, there in (("now", first), ("ever", np.logical_or.accumulate(first))):
            pictures[f"{name} {when}"] = Array(
                there.sum(1).reshape(-1, *picture_shape), ("step", "row", "column")
            )
        frames = np.concatenate(
            [np.asarray(layer).reshape(len(steps), -1) for layer in masks.values()], axis=1
        )
        tried = np.logical_or.accumulate(frames).mean(1)
        coverage.append(tried)
        new = [0, *(frames[1:] & ~frames[:-1]).sum(1)]
        words += [
            f"{name}, step {step:,}: {kept.sum():,} of {kept.size:,} weights are there, {come:,} of them new; "
            f"{100 * share:.1f} % have been there at some time."
            for step, kept, come, share in zip(steps, frames, new, tried, strict=True)
        ]
    arrays = pictures | {
        "coverage": Array(np.stack(coverage), ("course", "step")),
        "steps": Array(np.asarray(steps, float), ("step",)),
        "words": Text(words, ("course", "step")),
    }
    series = Series("course", lines, "courses", "Networks")
    panels = [
        Sentence(text="words", series="course", width=12),
        *(
            Stack(width=3, panels=tuple(
                Picture(array=f"{name} {when}", rows="row", columns="column", title=f"{name}: each pixel, {when}", unit="weights")
                for when in ("now", "ever")
            ))
            for name in courses
        ),
        Curves(y="coverage", x="steps", along="step", series="course", percent="y", width=6, title="Ever tried",
               covers=(0.0, float(np.max(coverage))), xlabel="optimiser step",
               ylabel="weights that were there at some time, %"),
    ]  # fmt: skip

    def static():
        from ..charts import lines as chart

        drawn = {name: (steps, 100 * tried) for name, tried in zip(courses, coverage, strict=True)}
        return chart(
            drawn, x="optimiser step", y="there at some time (%)", title="Weights ever tried"
        )._repr_html_()

    text = f"Where the weights of {' and '.join(courses)} are while they learn, and how many were ever tried."
    return Explorer(
        [Axis("step", [int(step) for step in steps], "Step")], panels, arrays, series, [], text, static
    )


def language_study() -> dict:
    """What ``lthviz.language.study`` found when ``python -m lthviz language`` last ran; arrays by name."""
    with np.load(files("lthviz") / "weights" / "lesson10.npz") as stored:
        return dict(stored)


def language_browser(study: Mapping) -> Explorer:
    """Perplexity, error of the layers and written text of pruned language models (lesson 10).

    ``study`` is what ``lthviz.language.study`` returns, or :func:`language_study`.
    Traits: ``sparsity``, ``strength`` (of the outliers), ``layer`` ("all" or a name), ``methods``.
    """
    methods, sparsities, strengths, layers = (
        study[name].tolist() for name in ("methods", "sparsities", "strengths", "layers")
    )
    looks = [("#0072B2", "o", ()), ("#D55E00", "s", (6, 3)), ("#009E73", "^", (2, 2))]
    lines = [Line(method, method, *look) for method, look in zip(methods, looks, strict=True)]
    perplexity, error = study["perplexity"], study["error"]
    arrays = {
        "perplexity": Array(perplexity, ("method", "strength", "sparsity", "seed")),
        "sparsities": Array(np.array(sparsities), ("sparsity",)),
        "error": Array(1000 * error.mean(3), ("bar", "strength", "sparsity", "layer")),
    }
    says = []
    for m, method in enumerate(methods):  # a panel each, which speaks of its own line alone
        arrays[f"words/{method}"] = Text(
            [
                f"Perplexity {perplexity[m, o, p].mean():.2f}: “{' '.join(study['sample'][m, o, p].split())} …”"
                if line == m
                else ""
                for line in range(len(methods))
                for o in range(len(strengths))
                for p in range(len(sparsities))
            ],
            ("method", "strength", "sparsity"),
        )
        says.append(Sentence(text=f"words/{method}", series="method", width=4, title=f"{method} writes"))
    panels = [
        Curves(y="perplexity", x="sparsities", along="sparsity", series="method", spread="seed", percent="x", width=7,
               title="Perplexity against sparsity", xlabel="sparsity, %", ylabel="perplexity on validation text"),
        Bars(array="error", along="bar", names=tuple(methods), spread="layer", width=5,
             title="Error of a layer's output", unit="thousandths"),
        *says,
    ]  # fmt: skip

    def static():
        from ..charts import lines as chart

        drawn = {name: (100 * study["sparsities"], perplexity[m, 0]) for m, name in enumerate(methods)}
        return chart(
            drawn, x="sparsity (%)", y="perplexity", title="Perplexity against sparsity, no outliers"
        )._repr_html_()

    axes = [
        Axis("sparsity", sparsities, "Sparsity", "{:.0%}", start=0.5),
        Axis("strength", strengths, "Outlier strength"),
    ]
    choice = Choice("layer", layers, "Layer", every=f"mean of all {len(layers)} layers")
    series = Series("method", lines, "methods", "Methods")
    text = "The tiny language model, pruned by three methods without training again, with and without outlier features."
    return Explorer(axes, panels, arrays, series, [choice], text, static)
