"""The mask of one layer, round by round (lesson 00)."""

import numpy as np

from ...result import Result
from ..explorer import Array, Axis, Choice, Explorer, Number, Picture
from ..tickets import pixels_kept


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
        from ...figures import mask_picture

        return mask_picture(result, min(5, result.rounds))._repr_html_()

    choice = Choice("seed", list(result.seeds), "Seed", every=f"all {len(result.seeds)} seeds")
    text = f"The mask of {layer} after each round of pruning. {result.experiment.describe()}"
    start = min(5, result.rounds)
    return Explorer(
        [Axis("round", rounds, "Round", start=start)], panels, arrays, None, [choice], text, static
    )
