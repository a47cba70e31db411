"""The Explorer: sliders over stored arrays, drawn in the browser.

An explorer is declared in Python: named axes become sliders, a choice becomes a drop-down, series become
check-boxes, and panels say what to draw at the chosen point. The arrays travel to the browser once, as binary
buffers; from then on every move is computed and drawn there, without the kernel.

Dimension names of an array
    "round"         an axis, a choice or the series: indexed by its position
    "rate/round"    a ragged pair: all rounds of the first rate, then all rounds of the second, ...
    "all|seed"      a choice with one entry more: entry 0 belongs to "all"
    anything else   a dimension of the array alone, such as "step" or "pixel"
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import anywidget
import numpy as np
import traitlets

from ..result import t_quantile
from ..serving import in_voila

HERE = Path(__file__).parent
ALL = "all"


@dataclass(frozen=True)
class Axis:
    """A slider with a number box.

    name: the name of the trait on the explorer, and of the dimension in the arrays.
    values: the numbers that exist, in order. format: how one of them is written, e.g. "{:.0%}".
    counts: for a ragged axis, {outer axis: how many of the values exist for each value of the outer axis}.
    start: the first position (the last value when ``follow``). follow: a position on the newest value stays on the
    newest value when the data grow.
    """

    name: str
    values: Sequence
    label: str = ""
    format: str = "{}"
    counts: Mapping[str, Sequence[int]] | None = None
    start: object = None
    follow: bool = False

    @property
    def title(self) -> str:
        """What stands above the slider."""
        return self.label or self.name.replace("_", " ").capitalize()

    def first(self):
        """The value to begin with."""
        if self.start is not None:
            return self.find(self.start)
        return self.values[-1 if self.follow else 0]

    def text(self, value) -> str:
        """One value as it is written beside the slider."""
        return self.format.format(value)

    def find(self, value):
        """The stored value equal to ``value``, or a TraitError that says what is allowed."""
        if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
            for known in self.values:
                if math.isclose(known, value, rel_tol=1e-9):
                    return known
        raise traitlets.TraitError(f"{self.name}={value!r}: {self.name} must be {allowed(self.values)}.")

    def spec(self) -> dict:
        """What the browser needs to build the slider."""
        texts = [self.text(value) for value in self.values]
        unit = "%" if texts[0].endswith("%") else ""
        return {
            "name": self.name,
            "label": self.title,
            "values": list(self.values),
            "texts": [text.replace("%", "\u202f%") for text in texts],
            "unit": unit,
            "box": [float(text.strip(" %")) if unit else value for text, value in zip(texts, self.values)],
            "outer": next(iter(self.counts), None) if self.counts else None,
            "counts": [int(n) for n in next(iter(self.counts.values()))] if self.counts else None,
            "follow": self.follow,
        }


@dataclass(frozen=True)
class Choice:
    """A drop-down: "all" (mean and interval over the values), or one of the values."""

    name: str
    values: Sequence
    label: str = ""
    every: str = "all"

    def find(self, value):
        """The stored value equal to ``value``, or "all"; or a TraitError that says what is allowed."""
        if isinstance(value, str) and value == ALL:
            return ALL
        for known in self.values:
            if not isinstance(value, bool) and known == value:
                return known
        raise traitlets.TraitError(
            f"{self.name}={value!r}: {self.name} must be 'all' or {allowed(self.values)}."
        )

    def first(self):
        """The value to begin with: "all"."""
        return ALL

    def spec(self) -> dict:
        """What the browser needs to build the drop-down."""
        return {
            "name": self.name,
            "label": self.label or self.name.capitalize(),
            "values": list(self.values),
            "every": self.every,
        }


@dataclass(frozen=True)
class Line:
    """How one series looks. marker: o s ^ D v; dash: an SVG dash pattern, empty for a solid line."""

    name: str
    label: str
    colour: str
    marker: str = "o"
    dash: tuple = ()
    short: str = ""


@dataclass(frozen=True)
class Series:
    """Check-boxes: which lines are drawn. ``name`` is the dimension in the arrays, ``trait`` the trait's name."""

    name: str
    lines: Sequence[Line]
    trait: str = "shown"
    label: str = ""

    def spec(self) -> dict:
        """What the browser needs to build the check-boxes and draw the lines."""
        lines = [
            {**asdict(line), "dash": list(line.dash), "short": line.short or line.label}
            for line in self.lines
        ]
        return {"name": self.name, "trait": self.trait, "label": self.label, "lines": lines}


@dataclass(frozen=True)
class Array:
    """Numbers with named dimensions; see the module's docstring for the names."""

    values: np.ndarray
    dims: tuple

    def spec(self) -> dict:
        """The numbers as they travel: bytes of the smallest type that holds them, with shape and dimensions."""
        values = np.asarray(self.values)
        if values.dtype.kind == "b":
            values = values.astype(np.uint8)
        elif values.dtype.kind in "iu":
            low, high = (values.min(), values.max()) if values.size else (0, 0)
            fits = (
                np.uint8 if low >= 0 and high < 2**8 else np.uint16 if low >= 0 and high < 2**16 else np.int32
            )
            values = values.astype(fits)
        else:
            values = values.astype(np.float32)
        data = np.ascontiguousarray(values).tobytes()
        return {
            "dims": list(self.dims),
            "shape": list(values.shape),
            "dtype": values.dtype.name,
            "data": data,
        }


@dataclass(frozen=True)
class Text:
    """Sentences with named dimensions, flattened in C order."""

    texts: Sequence[str]
    dims: tuple

    def spec(self) -> dict:
        """The sentences as they travel."""
        return {"dims": list(self.dims), "texts": list(self.texts)}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What all panels have: a title and a width in twelfths of the row."""

    title: str = ""
    width: int = 12

    def spec(self) -> dict:
        """What the browser needs to draw the panel: its kind and its fields."""
        return {"kind": type(self).__name__.lower(), **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class Curves(Panel):
    """Lines with mean and 95 % t-interval.

    y, x: names of arrays; along: the dimension that runs along the line; series: the dimension with one line each;
    spread: the dimension averaged over (when the choice of that name says "all").
    reference: one more thin line, {dimension: fixed index, ..., "label": its name}.
    ylim, xlim: fixed scales; without them all data of the visible series fit, at every position.
    covers: values that the scale of y shows in any case.
    span: the scale of y reaches at most so far below the highest value; lines that fall deeper leave the picture.
    percent: which of "x" and "y" are fractions to be shown as percentages.
    labels: name each line at its end, where there is room; a line that ends below the picture is always named.
    """

    y: str
    x: str
    along: str
    series: str | None = None
    spread: str | None = None
    xlabel: str = ""
    ylabel: str = ""
    log: bool = False
    reverse: bool = False
    percent: str = ""
    ylim: tuple | None = None
    xlim: tuple | None = None
    covers: tuple | None = None
    span: float | None = None
    reference: dict | None = None
    labels: bool = True
    height: float = 0.72


@dataclass(frozen=True, kw_only=True)
class Picture(Panel):
    """A matrix on a canvas: ``array`` > the current value of ``above`` (a mask), or the array's own values.

    rows, columns: dimensions of the array. unit: what the values count.
    spread: average over this dimension when its choice says "all" (without ``average``: show its first entry).
    """

    array: str
    rows: str
    columns: str
    above: str | None = None
    spread: str | None = None
    average: bool = False
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class Bars(Panel):
    """One horizontal bar for each entry of ``along``; ``names`` are written beside them, ``of`` is the full length."""

    array: str
    along: str
    names: tuple
    of: tuple | None = None
    spread: str | None = None
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class Number(Panel):
    """One big number. spread: average over it; percent: a fraction, shown as one; of: a total, written in small."""

    array: str
    spread: str | None = None
    percent: bool = False
    of: str = ""


@dataclass(frozen=True, kw_only=True)
class Sentence(Panel):
    """What is said at the chosen point.

    series: a dimension of the text, with one sentence for each line; those of the lines that are shown are said.
    versus: say one only, that of the second line shown; it compares with the first of all lines, which must be shown.
    otherwise: what is said when no sentence fits.
    """

    text: str
    series: str | None = None
    versus: bool = False
    otherwise: str = ""


@dataclass(frozen=True, kw_only=True)
class Stack(Panel):
    """Panels above one another."""

    panels: tuple = field(default=())

    def spec(self) -> dict:
        """As for other panels, with the panels inside."""
        return {"kind": "stack", "width": self.width, "panels": [panel.spec() for panel in self.panels]}


def allowed(values: Sequence) -> str:
    """What is allowed, in words: a range of whole numbers, or the values one by one."""
    whole = all(isinstance(value, (int, np.integer)) for value in values)
    if whole and len(values) > 2 and list(values) == list(range(values[0], values[-1] + 1)):
        return f"a whole number from {values[0]} to {values[-1]}"
    return "one of " + ", ".join(str(value) for value in values)


class _Position(traitlets.TraitType):
    """The value of an axis or a choice; only values that exist are accepted."""

    def __init__(self, start):
        super().__init__(default_value=start)
        self.tag(sync=True)

    def validate(self, obj, value):
        return obj._places[self.name].find(value)


class Explorer(anywidget.AnyWidget):
    """Sliders over finished results; declared in Python, computed and drawn in the browser.

    The position is a set of traits with the names of the axes: ``explorer.round = 5``, ``explorer.observe(f, "round")``
    and ``ipywidgets.link`` work; a value that does not exist raises ``traitlets.TraitError``.
    Moves of the mouse reach Python when the hand rests; the picture does not wait for that.

    axes, choices: sliders and drop-downs; each becomes a trait. series: the lines, with check-boxes.
    panels: what is drawn, in rows of twelve twelfths. arrays: {name: numbers or sentences} that the panels name.
    description: the whole in words. static: gives the HTML for viewers without widgets; called only there.
    Raises ValueError for an array of another shape than its dimensions promise, or a name that is taken.
    """

    _esm = HERE / "explorer.js"
    _css = HERE / "explorer.css"

    spec = traitlets.Dict().tag(sync=True)
    arrays = traitlets.Dict().tag(sync=True)
    _tell = traitlets.Bool().tag(sync=True)

    def __init__(
        self,
        axes: Sequence[Axis],
        panels: Sequence[Panel],
        arrays: Mapping[str, Array | Text],
        series: Series | None = None,
        choices: Sequence[Choice] = (),
        description: str = "",
        static: Callable[[], str] | None = None,
        **kwargs,
    ):
        self._axes, self._choices, self._series = tuple(axes), tuple(choices), series
        self._panels, self._description, self._static = tuple(panels), description, static
        self._places = {place.name: place for place in (*axes, *choices)}
        self._quiet, self._lock = False, threading.RLock()
        for name in self._places:
            if hasattr(type(self), name):
                raise ValueError(
                    f"name={name!r}: a widget already has an attribute of this name; choose another one."
                )
        _check(self._axes, self._choices, self._series, arrays)
        traits = {name: _Position(place.first()) for name, place in self._places.items()}
        for axis in self._axes:  # a position that does not exist at the first outer value is moved inside
            traits[axis.name].default_value = self._inside(
                axis, axis.first(), lambda name: traits[name].default_value
            )
        if series is not None:
            names = [line.name for line in series.lines]
            traits[series.trait] = traitlets.List(traitlets.Enum(names), default_value=names).tag(sync=True)
        self.add_traits(**traits)
        traitlets.HasTraits.add_traits(
            self, _exists=traitlets.validate(*self._places)(Explorer._check_position)
        )
        super().__init__(
            spec=self._make_spec(),
            arrays={name: array.spec() for name, array in arrays.items()},
            _tell=not in_voila(),
            **kwargs,
        )
        for axis in self._axes:
            if axis.counts:
                super().observe(self._clamp, names=[*axis.counts])

    # ---- position

    def _count(self, axis: Axis, read: Callable) -> int:
        if not axis.counts:
            return len(axis.values)
        outer, counts = next(iter(axis.counts.items()))
        return int(counts[list(self._places[outer].values).index(read(outer))])

    def _inside(self, axis: Axis, value, read: Callable):
        last = self._count(axis, read) - 1
        return axis.values[min(list(axis.values).index(value), last)]

    def _check_position(self, proposal):
        axis, value = self._places[proposal["trait"].name], proposal["value"]
        if isinstance(axis, Axis) and axis.counts:
            values = axis.values[: self._count(axis, lambda name: getattr(self, name))]
            if value not in values:
                outer = next(iter(axis.counts))
                raise traitlets.TraitError(
                    f"{axis.name}={value!r}: at {outer}={getattr(self, outer)!r}, "
                    f"{axis.name} must be {allowed(values)}."
                )
        return value

    def _clamp(self, change):
        for axis in self._axes:
            if axis.counts and change["name"] in axis.counts:
                inside = self._inside(axis, getattr(self, axis.name), lambda name: getattr(self, name))
                setattr(self, axis.name, inside)

    def observe(self, handler, names=traitlets.All, type="change"):
        """As in traitlets; somebody who observes a position is told about it, under Voilà too."""
        wanted = names if isinstance(names, (list, tuple)) else [names]
        if any(name is traitlets.All or name in getattr(self, "_places", ()) for name in wanted):
            self._tell = True
        super().observe(handler, names=names, type=type)

    def notify_change(self, change):
        """As in ipywidgets, but a position that follows growing data is not sent: the browser follows by itself."""
        if getattr(self, "_quiet", False) and change["name"] in self._places:
            traitlets.HasTraits.notify_change(self, change)
        else:
            super().notify_change(change)

    # ---- data

    def _make_spec(self) -> dict:
        return {
            "axes": [axis.spec() for axis in self._axes],
            "choices": [choice.spec() for choice in self._choices],
            "series": self._series.spec() if self._series else None,
            "panels": [panel.spec() for panel in self._panels],
            "description": self._description,
            "t": [round(float(t), 4) for t in t_quantile(np.arange(1, 41))],
        }

    def update(
        self,
        arrays: Mapping[str, Array | Text],
        axes: Sequence[Axis] | None = None,
        panels: Sequence[Panel] | None = None,
        choices: Sequence[Choice] | None = None,
        description: str | None = None,
    ) -> None:
        """Show other data at the same position; axes, choices and series keep their names.

        A position that no longer exists moves to the nearest one; an axis with ``follow`` that stood on its newest
        value moves to the new newest value.
        """
        axes = self._axes if axes is None else tuple(axes)
        choices = self._choices if choices is None else tuple(choices)
        places = {place.name: place for place in (*axes, *choices)}
        if set(places) != set(self._places):
            raise ValueError(f"axes={sorted(places)}: the names must stay {sorted(self._places)}.")
        _check(axes, choices, self._series, arrays)
        with self._lock:  # a move may arrive on another thread
            position = {
                axis.name: _carry(self._places[axis.name], axis, getattr(self, axis.name)) for axis in axes
            }
            for choice in choices:
                at = getattr(self, choice.name)
                position[choice.name] = at if at in choice.values else ALL
            self._axes, self._choices, self._places = axes, choices, places
            self._panels = self._panels if panels is None else tuple(panels)
            self._description = self._description if description is None else description
            self._quiet = True
            try:
                for axis in axes:
                    position[axis.name] = self._inside(axis, position[axis.name], position.__getitem__)
                with self.hold_trait_notifications():
                    for name, value in position.items():
                        setattr(self, name, value)
            finally:
                self._quiet = False
            with self.hold_sync():
                self.spec = self._make_spec()
                self.arrays = {name: array.spec() for name, array in arrays.items()}

    def set_state(self, sync_data):
        """As in ipywidgets: what the browser tells; one thread at a time."""
        with self._lock:
            super().set_state(sync_data)

    # ---- words

    def __repr__(self):
        at = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._places)
        return f"{type(self).__name__}({at})"

    def _repr_mimebundle_(self, **kwargs):
        """The widget; and, for viewers without widgets, its static twin: figure, table, sentence."""
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None or self._static is None or in_voila():
            return bundle
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        try:
            data["text/html"] = self._static()
        except (ImportError, ValueError, KeyError, AttributeError) as error:
            data["text/html"] = f"<p>{self._description}</p><p>The figure could not be drawn: {error}</p>"
        return data, metadata


def _carry(old: Axis, new: Axis, value):
    """Where ``value`` of the old axis lies on the new one: the newest, the same, or the nearest."""
    if new.follow and value == old.values[-1]:
        return new.values[-1]
    return min(new.values, key=lambda known: abs(known - value))


def _check(axes, choices, series, arrays) -> None:
    """Every array has the shape that its dimensions promise; otherwise a ValueError that names it."""
    sizes = {axis.name: len(axis.values) for axis in axes} | {
        choice.name: len(choice.values) for choice in choices
    }
    sizes |= {f"all|{choice.name}": len(choice.values) + 1 for choice in choices}
    if series is not None:
        sizes[series.name] = len(series.lines)
    for axis in axes:
        if not len(axis.values):
            raise ValueError(f"{axis.name}=[]: an axis needs at least one value.")
        for outer, counts in (axis.counts or {}).items():
            if len(counts) != sizes.get(outer) or max(counts) > len(axis.values) or min(counts) < 1:
                raise ValueError(
                    f"counts={list(counts)}: {axis.name} needs one count from 1 to {len(axis.values)} "
                    f"for each of the {sizes.get(outer, 0)} values of {outer}."
                )
            sizes[f"{outer}/{axis.name}"] = int(sum(counts))
    for name, array in arrays.items():
        if isinstance(array, Text):
            shape = tuple(sizes.get(dim, 0) for dim in array.dims)
            if math.prod(shape) != len(array.texts):
                raise ValueError(
                    f"{name}: {len(array.texts)} texts, but {array.dims} means {math.prod(shape)}."
                )
            continue
        shape = np.shape(array.values)
        if len(shape) != len(array.dims):
            raise ValueError(
                f"{name}: the array has {len(shape)} dimensions, but {len(array.dims)} names {array.dims}."
            )
        for dim, size in zip(array.dims, shape, strict=True):
            if dim in sizes and sizes[dim] != size:
                raise ValueError(f"{name}: dimension {dim!r} has {size} entries; it must have {sizes[dim]}.")
