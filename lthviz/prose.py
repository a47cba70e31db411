"""Sentences with `code` and *emphasis*: as HTML, and plain for places that show text as it is."""

import html
import re

_EMPHASIS = re.compile(r"\*(?=\S)([^*]+)(?<=\S)\*")  # m * theta_0 has spaces: a product


def as_html(text: str) -> str:
    """HTML of a text; everything else in it is escaped, line breaks stay."""
    parts = re.split(r"`([^`]+)`", html.escape(text))
    parts[::2] = [_EMPHASIS.sub(r"<em>\1</em>", part) for part in parts[::2]]
    parts[1::2] = [f"<code>{part}</code>" for part in parts[1::2]]
    return "".join(parts).replace("\n", "<br>")


def as_text(text: str) -> str:
    """The same text without its marks."""
    parts = re.split(r"`([^`]+)`", text)
    parts[::2] = [_EMPHASIS.sub(r"\1", part) for part in parts[::2]]
    return "".join(parts)
