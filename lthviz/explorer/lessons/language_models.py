"""Pruned language models (lesson 10)."""

from collections.abc import Mapping

import numpy as np

from ...arms import LOOKS
from ..explorer import Array, Axis, Bars, Choice, Curves, Explorer, Line, Sentence, Series, Text


def language_browser(study: Mapping) -> Explorer:
    """Perplexity, error of the layers and written text of pruned language models (lesson 10).

    ``study`` is ``lthviz.studies.load("language_models")``.
    Traits: ``sparsity``, ``strength`` (of the outliers), ``layer`` ("all" or a name), ``methods``.
    """
    methods, sparsities, strengths, layers = (
        study[name].tolist() for name in ("methods", "sparsities", "strengths", "layers")
    )
    lines = [Line(method, method, *look) for method, look in zip(methods, LOOKS[: len(methods)], strict=True)]
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
        says.append(
            Sentence(
                text=f"words/{method}",
                series="method",
                width=4,
                title=f"{method} writes",
                otherwise=f"Tick {method} to read what it writes.",
            )
        )
    panels = [
        Curves(y="perplexity", x="sparsities", along="sparsity", series="method", spread="seed", percent="x", width=7,
               title="Perplexity against sparsity", xlabel="sparsity, %", ylabel="perplexity on validation text"),
        Bars(array="error", along="bar", names=tuple(methods), spread="layer", width=5,
             title="Error of a layer's output", unit="thousandths"),
        *says,
    ]  # fmt: skip

    def static():
        from ...charts import lines as chart

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
