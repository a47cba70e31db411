"""How many bytes a sparse layer takes (lesson 11)."""

import math

import numpy as np

from ...arms import LOOKS
from ...deploy import BITS, FORMATS, size
from ..explorer import Array, Axis, Bars, Choice, Curves, Explorer, Line, Sentence, Series, Text

LAYERS = {"fc1": (100, 196), "fc2": (50, 100), "fc3": (10, 50), "a layer of 4,096 by 4,096": (4096, 4096)}
DENSITIES = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01, 0.005]


def format_browser() -> Explorer:
    """The bytes of the formats of ``lthviz.deploy`` for the class-room network and a large layer (lesson 11).

    Traits: ``density``, ``bits`` (of a value), ``layer`` ("all", of the class-room network, or a name) and ``formats``.
    """
    choices = [list(LAYERS.values())[:3], *([shape] for shape in LAYERS.values())]
    places = [(density, bits, shapes) for density in DENSITIES for bits in BITS for shapes in choices]
    counted = np.array([[_bytes(form, *place) for place in places] for form in FORMATS], float)
    bytes_ = counted.reshape(len(FORMATS), len(DENSITIES), len(BITS), len(choices))
    bytes_[list(FORMATS).index("2:4"), np.array(DENSITIES) > 0.5] = np.nan  # such a mask keeps at most half
    share = bytes_ / bytes_[:1]
    dims = ("density", "bits", "all|layer")
    lines = [Line(form, form, *look) for form, look in zip(FORMATS, LOOKS[: len(FORMATS)], strict=True)]
    arrays = {
        "bytes": Array(bytes_, ("bar", *dims)),
        "share": Array(share, ("format", *dims)),
        "densities": Array(np.array(DENSITIES), ("density",)),
        "words": Text([_words(*place) for place in places], dims),
    }
    panels = [
        Sentence(text="words", width=12),
        Bars(array="bytes", along="bar", names=tuple(FORMATS), unit="bytes", width=5, title="Bytes of the weights"),
        Curves(y="share", x="densities", along="density", series="format", log=True, reverse=True, percent="xy",
               ylim=(0.0, 1.5), width=7, title="Bytes, compared with dense", xlabel="density, %, log scale",
               ylabel="of the dense bytes, %"),
    ]  # fmt: skip

    def static():
        from ...charts import lines as chart

        there = np.isfinite(share[:, :, -1, 0])
        drawn = {
            form: (100 * np.array(DENSITIES)[there[i]], 100 * share[i, there[i], -1, 0])
            for i, form in enumerate(FORMATS)
        }
        return chart(
            drawn, x="density (%, log scale)", y="of the dense bytes (%)", log=True,
            title="Bytes of the class-room network, 32 bits a value",
        )._repr_html_()  # fmt: skip

    axes = [
        Axis("density", DENSITIES, "Density", "{:.1%}", start=0.1),
        Axis("bits", list(BITS), "Bits of a value", start=32),
    ]
    choice = Choice("layer", list(LAYERS), "Layer", every="all three of the class-room network")
    text = "How many bytes the weights of a layer take in five formats, at every density and number of bits."
    return Explorer(
        axes, panels, arrays, Series("format", lines, "formats", "Formats"), [choice], text, static
    )


def _bytes(form, density, bits, shapes) -> int:
    return sum(size(shape, math.floor(density * math.prod(shape) + 0.5), form, bits) for shape in shapes)


def _words(density, bits, shapes) -> str:
    """Which format is the smallest, and from where on each of them pays; 2:4 is another way to prune."""
    found = {form: _bytes(form, density, bits, shapes) for form in FORMATS if form != "2:4"}
    best = min(found, key=found.get)
    dense = found["dense"]
    text = f"At {100 * density:g} % density, {bits} bits a value: "
    if best == "dense":
        text += f"nothing is smaller than dense, {dense:,} bytes."
    else:
        text += f"{best} is the smallest, {found[best]:,} bytes, {dense / found[best]:.1f} times smaller than dense."
    pays = []
    for form in list(found)[1:]:
        empty, full = (_bytes(form, d, bits, shapes) for d in (0, 1))
        pays.append(f"{form} below {100 * (dense - empty) / (full - empty):.0f} %")
    none = " No 2:4 mask keeps more than half." if density > 0.5 else ""
    return f"{text} Smaller than dense: {', '.join(pays)}.{none}"
