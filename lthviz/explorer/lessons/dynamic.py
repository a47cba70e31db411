"""The movie of a mask (lesson 09)."""

import math
from collections.abc import Mapping

import numpy as np

from ..explorer import Array, Axis, Curves, Explorer, Line, Picture, Sentence, Series, Stack, Text


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
        from ...charts import lines as chart

        drawn = {name: (steps, 100 * tried) for name, tried in zip(courses, coverage, strict=True)}
        return chart(
            drawn, x="optimiser step", y="there at some time (%)", title="Weights ever tried"
        )._repr_html_()

    text = f"Where the weights of {' and '.join(courses)} are while they learn, and how many were ever tried."
    return Explorer(
        [Axis("step", [int(step) for step in steps], "Step")], panels, arrays, series, [], text, static
    )
