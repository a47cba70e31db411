"""Plain sentences for values that are not allowed."""

import math
import operator
from difflib import get_close_matches


def unknown(argument: str, value, allowed) -> ValueError:
    """A ValueError that names the argument, the value, the nearest names and what is allowed."""
    allowed = [str(name) for name in allowed]
    near = get_close_matches(str(value), allowed, n=2, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
    return ValueError(f"{argument}={value!r} is not known.{hint} Allowed: {', '.join(allowed)}.")


def number(argument: str, value, low, high, *, open_ends: bool = False) -> float:
    """``value`` as a float within [low, high], or within (low, high) with ``open_ends``."""
    brackets = "()" if open_ends else "[]"
    allowed = f"a number in {brackets[0]}{low}, {high}{brackets[1]}"
    try:
        x = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{argument}={value!r}: {argument} must be {allowed}.") from None
    inside = low < x < high if open_ends else low <= x <= high
    if not inside:
        raise ValueError(f"{argument}={value!r}: {argument} must be {allowed}.")
    return x


def count(argument: str, value, low: int, high: int | None = None) -> int:
    """``value`` as an int of at least ``low`` (and at most ``high``)."""
    allowed = f"a whole number of at least {low}" + ("" if high is None else f" and at most {high}")
    try:
        n = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        n = None
    if n is None:
        raise ValueError(f"{argument}={value!r}: {argument} must be {allowed}.")
    if n < low or (high is not None and n > high):
        raise ValueError(f"{argument}={n}: {argument} must be {allowed}.")
    return n


def must_draw(generator) -> None:
    """Refuse what is no ``torch.Generator`` on the CPU: with None torch draws from its global generator."""
    if getattr(getattr(generator, "device", None), "type", None) != "cpu" or not hasattr(
        generator, "manual_seed"
    ):
        raise ValueError(f"generator={generator!r}: generator must be a torch.Generator on the CPU.")
