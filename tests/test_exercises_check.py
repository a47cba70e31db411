"""The runner of checks: it reports, it never raises, it names the mistake."""

import json
import subprocess
import sys

import numpy as np
import pytest

from lthviz.exercises.check import compare, equal, exercise, ladder

from .conftest import ROOT


def double(x):
    return 2 * x


def triple(x):
    return 3 * x


@exercise(reference=double, wrong={triple: "That is three times."}, idea="Add it to itself.", steps="x + x")
def check_double(double):
    """Twice as much."""
    yield "two"
    compare(double, 2)
    yield "an array"
    compare(double, np.arange(3.0))


def stub(x):
    raise NotImplementedError


def fails(x):
    return x["a"]


def changes_its_argument(x):
    x *= 2
    return x


def test_a_right_answer_passes_every_case():
    result = check_double(double)
    assert result and result.passed and result.status == "Passed"
    assert [case.name for case in result.cases] == ["two", "an array"]
    assert "Passed" in repr(result) and "✓ passed: two" in result._repr_html_()


def test_a_known_wrong_answer_is_named():
    result = check_double(triple)
    assert not result and result.message == "That is three times."
    assert [(case.name, case.passed) for case in result.cases] == [("two", False), ("an array", False)]
    assert repr(result).count("three times") == result._repr_html_().count("three times") == 1


def test_what_is_right_is_credited_and_all_that_is_wrong_is_said():
    def half(x):
        return 4 if isinstance(x, int) else 5 * x

    result = check_double(half)
    assert [case.passed for case in result.cases] == [True, False] and "Yours:    [ 0.,  5., 10.]" in repr(
        result
    )

    def other(x):
        return 3 * x if isinstance(x, int) else 5 * x

    result = check_double(other)
    assert not any(case.passed for case in result.cases) and result.message == "That is three times."
    for text in (repr(result), result._repr_html_(), check_double.hint(3).text):
        assert "That is three times." in text and "Yours:    [ 0.,  5., 10.]" in text
    assert repr(result).splitlines()[0] == "✗ two: That is three times."


def test_a_stub_is_not_done_yet():
    result = check_double(stub)
    assert not result and result.status == "Not done yet" and result.cases == ()
    assert "Not done yet" in repr(result) and "Not done yet" in result._repr_html_()
    assert "Write your code" in result.message


def test_where_no_code_is_seen_nobody_is_asked_to_write_it(monkeypatch):
    monkeypatch.setenv("SERVER_SOFTWARE", "voila/0.5.13")
    result = check_double(stub)
    assert "make lab" in result.message and "Write" not in result.message


@pytest.mark.parametrize(
    "answer, part",
    [
        (fails, "TypeError: 'int' object is not subscriptable"),
        (fails, 'return x["a"]'),
        (changes_its_argument, "changed its argument `x`"),
        (lambda x: None, "returned None"),
        (lambda x: "four", "returned str 'four'"),
        (lambda x: (1, 2), "shape (2,)"),
        (lambda x: object(), "returned object"),
        (lambda: 4, "TypeError"),
        (lambda x: {}, "returned dict"),
        (lambda x: 5 * x, "Expected: 4"),
        (4, "needs the function itself"),
        (None, "needs the function itself"),
    ],
)
def test_whatever_is_given_is_reported_and_nothing_raised(answer, part):
    result = check_double(answer)
    assert not result.passed
    assert part in repr(result)
    assert result._repr_html_().startswith("<div role='status'")


def test_html_shows_code_as_text():
    result = check_double(lambda x: "<script>")
    assert "<script>" not in result._repr_html_()


def test_keyboard_interrupt_gets_through():
    def interrupted(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_double(interrupted)


def test_the_ladder_of_help():
    hint = ladder(check_double)
    assert hint("double", 1).text == "Add it to itself."
    assert hint("double", 2).text == "x + x"
    check_double(triple)
    assert "That is three times." in hint("double", 3).text
    assert "return 2 * x" in hint("double", 4).code
    check_double(double)
    assert "passed" in hint("double", 3).text
    assert "double" in hint("dubble", 1).text
    assert "There are four" in hint("double", 7).text


def test_solutions_are_written_into_a_copy(tmp_path):
    source, target = ROOT / "notebooks" / "00_start_here.ipynb", tmp_path / "solved.ipynb"
    command = [sys.executable, "-m", "lthviz.exercises.solutions", str(source), str(target)]
    before = source.read_bytes()
    subprocess.run(command, check=True, cwd=ROOT)
    assert source.read_bytes() == before and b"raise NotImplementedError" in before
    solved = json.loads(target.read_text("utf-8"))
    assert "NotImplementedError" not in json.dumps(solved)
    assert len(solved["cells"]) == len(json.loads(before)["cells"])
    assert subprocess.run(command[:3], capture_output=True, cwd=ROOT).returncode == 1


def test_equal():
    assert equal(0.1 + 0.2, 0.3) and equal([1, 2], np.array([1, 2])) and equal({"a": 1}, {"a": True})
    assert not equal({"a": 1}, {"b": 1}) and not equal([1, 2], [[1, 2]]) and not equal("a", 1)
    assert (
        equal(["a", "b"], ["a", "b"])
        and not equal(["a"], ["b"])
        and not equal([], ["a"])
        and not equal(["a"], [])
    )


def test_words_and_lists_of_words_are_told_as_such():
    def letters(n):
        return ["a", "b"][:n]

    @exercise(
        reference=letters, wrong={lambda n: ["b", "a"][:n]: "The other way round."}, idea=".", steps="."
    )
    def check_letters(letters):
        yield "two letters"
        compare(letters, 2)

    assert check_letters(letters).passed
    assert check_letters(lambda n: ["b", "a"]).message == "The other way round."
    assert (
        check_letters(lambda n: ["a"]).message
        == "Expected was ['a', 'b']; your function returned list ['a']."
    )


def test_of_several_results_the_wrong_one_is_named():
    def halves(n):
        return np.arange(n), np.arange(n + 1)

    @exercise(reference=halves, wrong={}, idea=".", steps=".")
    def check_halves(halves):
        yield "two"
        compare(halves, 2)

    assert check_halves(lambda n: [np.arange(n), np.arange(n + 1)]).passed
    message = check_halves(lambda n: (np.arange(n), np.arange(n + 1) + 1)).message
    assert message.startswith("Of what you return, number 2: Expected: ")
    assert "no array" not in check_halves(lambda n: (np.arange(n), np.arange(n))).message


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError


@pytest.mark.parametrize(
    ("error", "said"), [(SystemExit(3), "SystemExit: 3"), (Unspeakable(), "Unspeakable")]
)
def test_whatever_is_raised_is_reported(error, said):
    def leaves(x):
        raise error

    result = check_double(leaves)
    assert not result and said in repr(result) and said in result._repr_html_()
