"""Checks that answer like a patient teacher: they say what passed and what to mend, and never raise.

A check is a generator function with one argument, the student's function. It announces each case with
``yield "name of the case"`` and then tries it. :func:`compare` and :func:`note` remember what is wrong and go on
to the next case; :func:`expect` stops the check. :func:`exercise` turns it into an :class:`Exercise`::

    @exercise(reference=double, wrong={triple: "That is three times."}, idea="...", steps="...")
    def check_double(double):
        yield "two"
        compare(double, 2)

``wrong`` holds known wrong answers. A student's answer that equals what one of them gives gets its message.
"""

import copy
import html
import inspect
import traceback
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import update_wrapper
from pathlib import Path

import numpy as np

from ..masks import as_array
from ..prose import as_html
from ..serving import in_voila

_current: ContextVar["_Attempt"] = ContextVar("the check that is running")


class Wrong(Exception):
    """The answer is wrong; the message is for the student."""


@dataclass(frozen=True)
class Case:
    """One thing that was tried; ``message`` says what is wrong with it."""

    name: str
    message: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.message


@dataclass(frozen=True)
class CheckResult:
    """What a check found: true when everything passed, text and HTML for people.

    ``cases`` are those that were tried; ``message`` says what to mend first, ``hint`` where to get more help.
    """

    passed: bool
    cases: tuple[Case, ...]
    message: str
    hint: str = ""

    def __bool__(self):
        return self.passed

    @property
    def status(self) -> str:
        """``Passed``, ``Not done yet`` or ``Not right yet``."""
        if self.passed:
            return "Passed"
        return NOT_DONE if self.message.startswith(NOT_DONE) else "Not right yet"

    def _parts(self) -> tuple[str, list[str]]:
        """What is said above all, and beside each case: where several things are wrong, each stands at its case."""
        beside = [""] * len(self.cases)
        for i, case in enumerate(self.cases):
            beside[i] = "" if case.message in beside else case.message  # the same is said once
        if len(set(beside) - {""}) > 1:
            return "", beside
        return self.message.removeprefix(self.status).lstrip(". "), [""] * len(self.cases)

    def __repr__(self):
        message, beside = self._parts()
        lines = [
            f"{'✓' if case.passed else '✗'} {case.name}{f': {words}' if words else ''}"
            for case, words in zip(self.cases, beside, strict=True)
        ]
        return "\n".join([*lines, f"{self.status}. {message}".rstrip(), *([self.hint] if self.hint else [])])

    def _repr_html_(self):
        message, beside = self._parts()
        message = as_html(message)
        cases = "".join(
            f"<li>{'✓ passed' if case.passed else '✗ not yet'}: {html.escape(case.name)}"
            f"{f'<br>{as_html(words)}' if words else ''}</li>"
            for case, words in zip(self.cases, beside, strict=True)
        )
        parts = [
            f"<strong>{'✓' if self.passed else '○'} {self.status}.</strong> {message}",
            f"<ul style='margin: 0.4em 0; list-style: none; padding-left: 0'>{cases}</ul>" if cases else "",
            f"<p>{as_html(self.hint)}</p>" if self.hint else "",
        ]
        style = "border-left: 4px solid currentColor; padding: 0.3em 1em; margin: 0.5em 0"
        return f"<div role='status' style='{style}'>{''.join(parts)}</div>"


NOT_DONE = "Not done yet"


@dataclass(frozen=True)
class Hint:
    """One rung of the ladder of help."""

    title: str
    text: str
    code: str = ""

    def __repr__(self):
        return "\n".join(part for part in (self.title, self.text, self.code) if part)

    def _repr_html_(self):
        code = f"<pre>{html.escape(self.code)}</pre>" if self.code else ""
        return f"<p><strong>{html.escape(self.title)}</strong></p><p>{as_html(self.text)}</p>{code}"


class Exercise:
    """An exercise: call it with the student's function to check it; see :func:`exercise`."""

    def __init__(self, cases, reference, wrong, idea, steps):
        update_wrapper(self, cases)
        self.name = reference.__name__
        self.cases = cases
        self.reference = reference
        self.wrong = dict(wrong)
        self.idea = idea
        self.steps = steps
        self._last = None

    def __call__(self, answer) -> CheckResult:
        """Check the student's function. Never raises, whatever the function does."""
        self._last = self._check(answer)
        return self._last

    def _check(self, answer) -> CheckResult:
        if not callable(answer):
            how = f"The check needs the function itself, as in check_{self.name}({self.name})"
            return CheckResult(False, (), f"{how}; it got {_short(answer)}.")
        attempt, rung = _Attempt(self), 1
        token = _current.set(attempt)
        try:
            for name in self.cases(answer):
                attempt.cases.append(Case(name))
        except NotImplementedError:
            how = (
                "This page shows no code: exercises are solved in JupyterLab, which `make lab` opens."
                if in_voila()
                else "Write your code in place of `raise NotImplementedError`, run the cell, then this one again."
            )
            return CheckResult(False, (), f"{NOT_DONE}. {how}", self._more(1))
        except Wrong as wrong:
            attempt.note(str(wrong))
        # whatever a student's function raises is reported, not raised
        except (Exception, SystemExit) as error:
            rung = 1 if attempt.messages else 2
            attempt.note(f"Your function stopped with an error.\n{_where(error)}")
        finally:
            _current.reset(token)
        cases = tuple(attempt.cases)
        if attempt.messages:
            return CheckResult(False, cases, attempt.messages[0], self._more(rung))
        return CheckResult(True, cases, f"{self.name} does what it should in all {len(cases)} cases.")

    def _more(self, rung):
        return f'More help: `exercise.hint("{self.name}", {rung})`, up to 4.'

    @property
    def solution(self) -> str:
        """The source of the reference solution."""
        return inspect.getsource(self.reference)

    def hint(self, rung: int) -> Hint:
        """Help in four rungs: 1 the idea, 2 the first steps, 3 what your last check says, 4 the solution."""
        if rung == 1:
            return Hint(f"{self.name}, hint 1: the idea", self.idea)
        if rung == 2:
            return Hint(f"{self.name}, hint 2: shapes and steps", self.steps)
        if rung == 3:
            title = f"{self.name}, hint 3: your mistake"
            if self._last is not None and self._last.passed:
                return Hint(title, "Your last check passed: there is none.")
            failed = [case for case in self._last.cases if not case.passed] if self._last is not None else []
            if failed:
                text = "\n".join(f"In the case “{case.name}”: {case.message}" for case in failed)
                return Hint(title, text)
            common = "\n- ".join(dict.fromkeys(self.wrong.values()))
            return Hint(title, f"Run your check first. What often goes wrong here:\n- {common}")
        if rung == 4:
            return Hint(f"{self.name}, hint 4: a solution", "One way to do it:", self.solution)
        return Hint(f"{self.name}: no hint {rung!r}", RUNGS)


class _Attempt:
    """A check that is running: the cases so far, and what is wrong with them."""

    def __init__(self, exercise):
        self.exercise = exercise
        self.cases: list[Case] = []
        self.messages: list[str] = []

    def note(self, message):
        self.messages.append(message)
        if self.cases and self.cases[-1].passed:
            self.cases[-1] = Case(self.cases[-1].name, message)


RUNGS = "There are four: 1 the idea, 2 the first steps, 3 your mistake, 4 a solution."


def exercise(*, reference: Callable, wrong: Mapping[Callable, str], idea: str, steps: str):
    """Turn a generator of cases into an :class:`Exercise`.

    Parameters
    ----------
    reference : function
        A solution; its name is the exercise's name, and hint 4 shows its source.
    wrong : mapping of function to str
        Known wrong answers and what to say to a student who gives one.
    idea, steps : str
        Hints 1 and 2.
    """
    return lambda cases: Exercise(cases, reference, wrong, idea, steps)


def ladder(*exercises: Exercise) -> Callable:
    """The ``hint(name, rung)`` of a lesson."""
    by_name = {one.name: one for one in exercises}

    def hint(name: str, rung: int = 1) -> Hint:
        """Help with an exercise: 1 the idea, 2 the first steps, 3 your mistake, 4 a solution."""
        if name not in by_name:
            return Hint(f"No exercise is called {name!r}", f"There are: {', '.join(by_name)}.")
        return by_name[name].hint(rung)

    return hint


def expect(condition, message: str) -> None:
    """Stop the check with ``message`` unless ``condition`` holds."""
    if not condition:
        raise Wrong(message)


def note(condition, message: str) -> None:
    """The case is wrong, with ``message``, unless ``condition`` holds; the check goes on."""
    if not condition:
        _current.get().note(message)


CHANGED = (
    "The answer is right, but your function changed its argument `{}`. "
    "Work on a copy: whoever called you still needs the original."
)


def compare(answer: Callable, *arguments, same=None, show=True, outcome=None, times=1):
    """The student's answer for ``arguments`` must be the reference's; else the case is wrong, and the check goes on.

    Every function gets its own copy of the arguments. An answer that equals a known wrong one gets its
    message; otherwise expected and given are shown (not with ``show=False``). ``same(a, b)`` decides what
    is equal; by default :func:`equal`. For a function that changes its arguments and returns nothing,
    ``outcome(*arguments)`` is what is compared, after calling it ``times`` times.
    """
    try:
        _compare(_current.get().exercise, answer, arguments, same or equal, show, outcome, times)
    except Wrong as wrong:
        _current.get().note(str(wrong))


def _compare(exercise, answer, arguments, same, show, outcome, times):
    def call(function):
        own = copy.deepcopy(arguments)
        for _ in range(times):
            given = function(*own)
        return (given if outcome is None else outcome(*own)), own

    given, mine = call(answer)
    expect(given is not None, "Your function returned None. Does it end with `return`?")
    expected, _ = call(exercise.reference)
    if same(given, expected):
        names = list(inspect.signature(exercise.reference).parameters)
        for name, before, after in zip(names, arguments, mine, strict=False):
            expect(outcome is not None or _unchanged(before, after), CHANGED.format(name))
        return
    for mistake, message in exercise.wrong.items():
        try:
            known = same(given, call(mistake)[0])
        except Exception:  # a wrong answer may well break on this case
            continue
        if known:
            raise Wrong(message)
    raise Wrong(_difference(given, expected, show))


def equal(a, b) -> bool:
    """Whether two numbers, texts, lists, arrays, tensors, masks or mappings of them agree up to rounding."""
    if isinstance(b, Mapping):
        return isinstance(a, Mapping) and set(a) == set(b) and all(equal(a[name], b[name]) for name in b)
    if isinstance(b, str) or isinstance(a, str | Mapping):
        return type(a) is type(b) and a == b
    if isinstance(b, tuple) and isinstance(a, tuple | list):  # several results
        return len(a) == len(b) and all(map(equal, a, b))
    try:
        a, b = as_array(a), as_array(b)
        if b.dtype.kind == "U":
            return np.array_equal(a, b)
        return a.shape == b.shape and np.allclose(a, b, rtol=1e-6, atol=1e-9, equal_nan=True)
    except (TypeError, ValueError):
        return False


def _unchanged(before, after):
    holds_numbers = isinstance(before, Mapping | np.ndarray) or hasattr(before, "detach")
    return not holds_numbers or equal(after, before)


def _difference(given, expected, show):
    if isinstance(expected, Mapping):
        if not isinstance(given, Mapping):
            return f"Expected was a dictionary with {', '.join(expected)}; you returned {_short(given)}."
        if set(given) != set(expected):
            return f"Expected were the names {sorted(expected)}, but you returned {sorted(map(str, given))}."
        name = next(name for name in expected if not equal(given[name], expected[name]))
        return f"For {name!r}: {_difference(given[name], expected[name], show)}"
    if isinstance(expected, str | list):
        return f"Expected was {expected!r}; your function returned {_short(given)}."
    if isinstance(expected, tuple) and isinstance(given, tuple | list) and len(given) == len(expected):
        for number, (part, right) in enumerate(zip(given, expected), start=1):
            if not equal(part, right):
                return f"Of what you return, number {number}: {_difference(part, right, show)}"
    try:
        got, want = as_array(given), as_array(expected)
    except (TypeError, ValueError):
        return f"Your function returned {_short(given)}, which is no array."
    if got.dtype.kind not in "biufc":
        return f"Expected was {_kind(want)}; your function returned {_short(given)}."
    if got.shape != want.shape:
        return f"Expected was {_kind(want)}, but you returned {_kind(got)}."
    if not show or want.size > 40:
        return f"{int((~np.isclose(got, want)).sum())} of {want.size} entries differ from the expected ones."
    return f"Expected: {_numbers(want)}\nYours:    {_numbers(got)}"


def _kind(array):
    return "one number" if array.ndim == 0 else f"an array of shape {array.shape}"


def _numbers(array):
    array = array.astype(int) if array.dtype == bool else array
    text = np.array2string(array, precision=6, separator=", ", suppress_small=True)
    return text.replace("\n", "\n" + 10 * " ")


def _short(value):
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) < 60 else text[:57] + '...'}"


def _where(error):
    """What was raised, and the last line of the student's own code before it."""
    text = type(error).__name__
    try:
        text = f"{text}: {error}".rstrip(": ")
    except Exception:  # an exception of the student's own may have a broken __str__
        text += " (its message cannot be read)"
    package = str(Path(__file__).parent.parent)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(package)]
    mine = [f for f in frames if "site-packages" not in f.filename] or frames
    return f"{text}\nAt the line: {mine[-1].line}" if mine and mine[-1].line else text
