"""Layer-wise beside global pruning (lesson 02)."""

from collections.abc import Mapping

import numpy as np

from ...arms import LOOKS
from ...result import interval
from ..explorer import Array, Axis, Bars, Choice, Curves, Explorer, Line, Sentence, Series, Stack, Text


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
    series = Series(
        "scope",
        [Line(name, name, *look) for name, look in zip(scopes, LOOKS[: len(scopes)], strict=True)],
        "scopes",
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
        from ...charts import lines

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
