"""The methods that choose which weights stay: what each one is called, means and looks like.

Looking at names needs no torch. How a method works is in ``criteria``, ``at_init``, ``dynamic`` and ``rounds``.
"""

from dataclasses import dataclass

_CONTROLS = ("rewind", "reinit", "shuffle", "small-dense")


@dataclass(frozen=True)
class Method:
    """One way to find a sparse network.

    ``kind`` says when it chooses: "iterative" by training again and again, "at-init" before any training, "dynamic"
    during the one training. ``chosen`` is a participle for sentences; ``arms`` are those that it may be compared with.
    """

    name: str
    label: str
    kind: str
    chosen: str
    sentence: str
    colour: str
    marker: str
    dash: tuple[float, ...]
    arms: tuple[str, ...] = _CONTROLS

    @property
    def network(self) -> str:
        """What sentences call the sparse network: only iterative pruning finds a ticket in the paper's sense."""
        return "ticket" if self.kind == "iterative" else "network"


METHODS = {
    method.name: method
    for method in (
        Method("imp", "IMP, rewound", "iterative", "rewound",
            "iterative magnitude pruning: train, remove the smallest weights, rewind, repeat "
            "(Frankle and Carbin 2019)", "#0072B2", "o", (), arms=("rewind", "reinit", "shuffle", "random", "small-dense")),
        Method("snip", "SNIP", "at-init", "chosen by SNIP",
            "what the loss would feel first if a weight went (Lee et al. 2019)", "#D55E00", "s", (6, 3),
            arms=(*_CONTROLS, "invert")),
        Method("grasp", "GraSP", "at-init", "chosen by GraSP",
            "what keeps the flow of the gradient (Wang et al. 2020)", "#009E73", "^", (2, 2),
            arms=(*_CONTROLS, "invert")),
        Method("synflow", "SynFlow", "at-init", "chosen by SynFlow",
            "what most paths from input to output lead through; it sees no data (Tanaka et al. 2020)",
            "#CC79A7", "D", (8, 3, 2, 3), arms=(*_CONTROLS, "invert")),
        Method("magnitude", "magnitude at init", "at-init", "chosen by initial magnitude",
            "the largest of the initial weights", "#56504B", "v", (1, 3), arms=(*_CONTROLS, "invert")),
        Method("random", "random (ERK)", "at-init", "chosen at random",
            "at random, with the layers' densities of Erdos-Renyi-Kernel (Evci et al. 2020)",
            "#5E1F9E", "P", (4, 1)),
        Method("set", "SET", "dynamic", "found by SET",
            "the smallest weights give way to others at random, again and again (Mocanu et al. 2018)",
            "#009E73", "^", (2, 2)),
        Method("rigl", "RigL", "dynamic", "found by RigL",
            "the smallest weights give way to those with the largest gradients (Evci et al. 2020)",
            "#D55E00", "s", (6, 3)),
    )
}  # fmt: skip
