"""Predict, commit, reveal; and questions with an answer that is explained.

Both are plain ipywidgets. Nothing here raises for an answer, right or wrong: what was answered is said in words.
"""

import html
import math
from collections.abc import Sequence
from numbers import Integral

import ipywidgets as widgets

from ..prose import as_html, as_text
from .live import Spoken, guarded

_TEXT = "font-size:15px;line-height:1.5;margin:0.2em 0;max-width:46em"
_GUESS, _TRUTH = "#D55E00", "#0072B2"  # Okabe and Ito


class _Card(widgets.VBox):
    """A question, controls, a place for words and one for a picture. Texts may have `code` and *emphasis*."""

    def __init__(self, question: str, *controls):
        self.message = ""
        self._spoken, self._picture = Spoken(), widgets.HTML()
        heading = widgets.HTML(f'<p style="{_TEXT};font-weight:600">{as_html(question)}</p>')
        parts = [heading, *controls, self._spoken, self._picture]
        super().__init__(parts, layout=widgets.Layout(width="100%"))
        self.add_class("lthviz-card")

    def _say(self, words: str, picture: str = "") -> None:
        self.message = self._spoken.words = as_text(words)
        self._picture.value = picture


class Predict(_Card):
    """Predict a number or a curve, commit, and see what really came out.

    Parameters
    ----------
    question : str
    truth : float or sequence of float
        What was measured, in the unit of the question: one number, or one value for each of ``x``. What is an int was
        counted, and is predicted in whole numbers.
    x : sequence of float, optional
        For a curve: where the values belong, for example densities in per cent.
    low, high : float
        The range of the sliders.
    unit, x_unit : str
        Written behind the numbers, for example "%".
    explanation : str
        Said after the reveal.

    The traits of ``sliders`` hold the prediction; ``commit()`` does what the button does; ``gap`` is the mean
    distance between prediction and truth (None before).
    """

    def __init__(self, question, truth, x: Sequence[float] | None = None, low=0.0, high=100.0, unit="", x_unit="",
                 explanation=""):  # fmt: skip
        self.truth = [float(truth)] if x is None else [float(value) for value in truth]
        self.x = None if x is None else [float(value) for value in x]
        if self.x is not None and len(self.x) != len(self.truth):
            raise ValueError(
                f"x has {len(self.x)} places, but truth {len(self.truth)} values: one for each is needed."
            )
        if not low < high:
            raise ValueError(f"low={low} and high={high}: low must be below high.")
        self.low, self.high, self.unit, self.x_unit, self.explanation = low, high, unit, x_unit, explanation
        self.gap: float | None = None
        decimals = max(0, -math.floor(math.log10((high - low) / 100)))
        self.step = 10.0**-decimals
        if unit in ("%", "points"):  # nobody predicts tenths of a point
            self.step, decimals = max(self.step, 0.5), min(decimals, 1)
        if isinstance(truth, Integral):
            self.step, decimals = max(self.step, 1.0), 0
        self._moved = False
        names = ["Your prediction"] if x is None else [f"at {value:g} {x_unit}".strip() for value in self.x]
        self.sliders = [
            widgets.FloatSlider(value=(low + high) / 2, min=low, max=high, step=self.step, description=name, readout_format=f".{decimals}f",
                                style={"description_width": "9em"}, layout=widgets.Layout(width="32em", max_width="100%"))
            for name in names
        ]  # fmt: skip
        for slider in self.sliders:
            slider.observe(lambda _: setattr(self, "_moved", True), names="value")
        self.button = widgets.Button(
            description="Commit and reveal", button_style="primary", layout=widgets.Layout(width="13em")
        )
        super().__init__(question, *self.sliders, self.button)
        self.button.on_click(guarded(self._say)(lambda _: self.commit()))

    def commit(self) -> None:
        """Fix the prediction and show the truth beside it; ask for a prediction where no slider was moved."""
        if not self._moved:
            self._say("Predict first: move " + ("the slider." if self.x is None else "the sliders."))
            return
        guesses = [slider.value for slider in self.sliders]
        for control in (*self.sliders, self.button):
            control.disabled = True
        gaps = [truth - guess for truth, guess in zip(self.truth, guesses)]
        self.gap = sum(map(abs, gaps)) / len(gaps)
        if self.x is None:
            way = "higher than" if gaps[0] > 0 else "lower than"
            words = f"Measured: {self._write(self.truth[0])}. You said {self._write(guesses[0])}: "
            near = self.gap <= max(0.02 * (self.high - self.low), self.step / 2)
            words += "very near." if near else f"the truth is {self._write(self.gap, 'points')} {way} that."
        else:
            worst = max(range(len(gaps)), key=lambda i: abs(gaps[i]))
            words = (
                f"On average you were {self._write(self.gap, 'points')} away; farthest at {self.x[worst]:g} {self.x_unit}: "
                f"you said {self._write(guesses[worst])}, measured was {self._write(self.truth[worst])}."
            )
        words = f"{words} {self.explanation}".strip()
        self._say(words, self._draw(guesses, words))

    def _write(self, value: float, percent: str = "%") -> str:
        return f"{value:.3g} {percent if self.unit == '%' else self.unit}".strip()

    def _draw(self, guesses, words) -> str:
        """Prediction and truth in one picture (SVG): circles and a solid line, squares and a dashed line."""
        n, width, height = len(guesses), 460, 220 if self.x else 70
        places = [60 + 370 * (i / (n - 1) if n > 1 else 0.5) for i in range(n)]

        def y(value):
            share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
            return 185 - 165 * share

        parts = []
        if self.x is None:
            for value, colour, word, line in (
                (guesses[0], _GUESS, "you", 20),
                (self.truth[0], _TRUTH, "measured", 62),
            ):
                at = 40 + 380 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
                anchor = "start" if at < 150 else "end" if at > 310 else "middle"
                parts.append(f'<circle cx="{at:.0f}" cy="38" r="7" fill="{colour}"/>')
                parts.append(
                    f'<text x="{at:.0f}" y="{line}" text-anchor="{anchor}">{word} {html.escape(self._write(value))}</text>'
                )
            parts.insert(0, '<path d="M40 38H420" stroke="currentColor" opacity=".4" stroke-width="2"/>')
        else:
            for value in (self.low, (self.low + self.high) / 2, self.high):
                parts.append(f'<path d="M60 {y(value):.0f}H430" stroke="currentColor" opacity=".2"/>')
                parts.append(f'<text x="52" y="{y(value) + 5:.0f}" text-anchor="end">{value:g}</text>')
            for place, x in zip(places, self.x):
                parts.append(f'<text x="{place:.0f}" y="208" text-anchor="middle">{x:g}</text>')
            for values, colour, dash in ((guesses, _GUESS, "6 4"), (self.truth, _TRUTH, "")):
                line = "L".join(f"{place:.0f} {y(value):.0f}" for place, value in zip(places, values))
                parts.append(
                    f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2.5" stroke-dasharray="{dash}"/>'
                )
                for place, value in zip(places, values):
                    mark = (
                        f'<rect x="{place - 5:.0f}" y="{y(value) - 5:.0f}" width="10" height="10" fill="{colour}"/>'
                        if values is guesses
                        else f'<circle cx="{place:.0f}" cy="{y(value):.0f}" r="5" fill="{colour}"/>'
                    )
                    parts.append(mark)
        key = (
            ""
            if self.x is None
            else f'<p style="{_TEXT}">squares, dashed: your prediction; circles, solid: measured</p>'
        )
        return (
            f'<svg role="img" aria-label="{html.escape(words)}" viewBox="0 0 {width} {height}" '
            f'style="width:100%;max-width:{width}px;font-size:15px" fill="currentColor">{"".join(parts)}</svg>{key}'
        )


class Quiz(_Card):
    """One question, several choices, one right answer, and why.

    ``answer`` is the right choice itself (or its position); ``explanation`` may be a mapping from choice to a
    sentence, so that a wrong answer meets its own misconception.
    """

    def __init__(self, question: str, choices: Sequence[str], answer: str | int, explanation=""):
        self.choices = [str(choice) for choice in choices]
        self.answer = self.choices[answer] if isinstance(answer, int) else str(answer)
        if self.answer not in self.choices:
            raise ValueError(
                f"answer={answer!r}: the answer must be one of the choices: {', '.join(self.choices)}."
            )
        self.explanation = explanation
        self.correct: bool | None = None
        self.options = widgets.RadioButtons(
            options=[(as_text(choice), choice) for choice in self.choices],
            value=None,
            layout=widgets.Layout(width="auto"),
        )
        self.button = widgets.Button(description="Check", button_style="primary")
        super().__init__(question, self.options, self.button)
        self.button.on_click(guarded(self._say)(lambda _: self.check()))

    def check(self) -> None:
        """Say whether the chosen answer is right, and why."""
        chosen = self.options.value
        if chosen is None:
            self._say("Choose an answer first.")
            return
        self.correct = chosen == self.answer
        why = self.explanation.get(chosen, "") if isinstance(self.explanation, dict) else self.explanation
        self._say(f"{'Right.' if self.correct else 'Not quite.'} {why}".strip())
