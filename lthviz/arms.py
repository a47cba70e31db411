"""The arms of a lottery-ticket experiment: what each one is called, means and looks like.

Colours are from the palette of Okabe and Ito (2008), safe for colour-blind readers;
each arm also has a marker and a dash of its own, so that no information is in colour alone.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Arm:
    """One way to start a sparse network.

    ``marker`` is a matplotlib marker, ``dash`` an SVG dash pattern in points (empty: a solid line); ``fresh``
    arms start every round from newly drawn weights instead of the stored ones.
    """

    name: str
    label: str
    sentence: str
    colour: str
    marker: str
    dash: tuple[float, ...]
    fresh: bool = False

    @property
    def short(self) -> str:
        """The label without what stands in brackets."""
        return self.label.split(" (")[0]


ARMS = {
    arm.name: arm
    for arm in (
        Arm("rewind", "rewind (the ticket)", "the ticket's mask, with its own initial weights", "#0072B2", "o", ()),
        Arm("reinit", "re-init", "the ticket's mask, with fresh random weights", "#D55E00", "s", (6, 3),
            fresh=True),
        Arm("shuffle", "shuffled mask", "the initial weights, under the ticket's mask permuted within each layer",
            "#009E73", "^", (2, 2)),
        Arm("random", "random mask", "the initial weights, under a mask pruned at random", "#CC79A7", "D",
            (8, 3, 2, 3)),
        Arm("small-dense", "small dense", "a dense network with as many weights as the ticket", "#56504B", "v",
            (1, 3), fresh=True),
        Arm("invert", "inverted scores", "the initial weights that the method's scores would remove first",
            "#5E1F9E", "P", (4, 1)),
    )
}  # fmt: skip

#: Looks for lines that are no arms: colour, marker, dash.
LOOKS = [(arm.colour, arm.marker, arm.dash) for arm in ARMS.values()]
