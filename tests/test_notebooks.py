"""The lessons as software: their structure, their solved versions, and the claims that their prose makes.

That every notebook runs as it is, with no exercise solved, is nbmake's part (see ``pyproject.toml``).
"""

import copy
import json
import re
from importlib import import_module
from itertools import pairwise

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from lthviz.atlas_build import CLASS_ROOM
from lthviz.exercises.solutions import solve
from lthviz.result import interval
from lthviz.store import atlas_store

from .conftest import ROOT

FOLDER = ROOT / "notebooks"
LESSONS = sorted(FOLDER.glob("[0-9]*.ipynb"))
FRONT = {
    "id": str, "title": str, "objectives": list, "prerequisites": list, "minutes": dict, "level": str,
    "terms": list, "papers": list, "exercises": str,
}  # fmt: skip
ENDING = ["Quiz", "What this toy does not show", "Summary", "Papers", "Next"]
FIGURE = re.compile(r"^(figures|charts)\.(?!spread)\w+\(|^(lthviz\.explore|\w+_browser)\(", re.MULTILINE)
FORBIDDEN = re.compile(
    r"pip install|conda install|urllib|requests\.|https?://|\.download\(|manual_seed\(\d|np\.random\.seed"
)
HEADER = re.compile(r"^Difficulty [1-5] of 5, importance [1-5] of 5, about (\d+) minutes\.$", re.MULTILINE)
QUIZ = re.compile(r"(from lthviz\.explorer import .*\s+)?Quiz\(.*\)", re.DOTALL)


def read(path) -> dict:
    return json.loads(path.read_text("utf-8"))


def source(cell) -> str:
    return "".join(cell["source"])


def front(notebook) -> dict:
    return notebook["metadata"].get("lthviz", {})


def mark(cell) -> dict:
    return cell["metadata"].get("lthviz", {})


def headings(notebook) -> list[tuple[int, str]]:
    found = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            text = re.sub(r"^```.*?^```", "", source(cell), flags=re.MULTILINE | re.DOTALL)
            found += [(len(marks), title) for marks, title in re.findall(r"^(#+) (.+)$", text, re.MULTILINE)]
    return found


# Each rule gives the complaints about a notebook.


def clean(notebook, ids):
    """nbformat 4.5, Python 3, nothing left of a run."""
    if (notebook["nbformat"], notebook["nbformat_minor"]) != (4, 5):
        yield "not nbformat 4.5"
    if notebook["metadata"].get("kernelspec", {}).get("name") != "python3":
        yield "the kernel is not python3"
    for cell in notebook["cells"]:
        if cell.get("outputs") or cell.get("execution_count") is not None:
            yield f"cell {cell['id']} has outputs or a count"


def front_matter(notebook, ids):
    """All the entries, of the right kind; prerequisites exist; the same is said in the prose."""
    meta = front(notebook)
    for key, kind in FRONT.items():
        if not isinstance(meta.get(key), kind) or (key != "prerequisites" and not meta[key]):
            yield f"front matter: {key} is missing"
            return
    if set(meta["minutes"]) != {"read", "do", "compute"} or not all(
        isinstance(n, int) and n >= 0 for n in meta["minutes"].values()
    ):
        yield "front matter: minutes needs read, do and compute"
    for needed in meta["prerequisites"]:
        if re.fullmatch(r"\d\d", needed) and needed not in ids:
            yield f"front matter: prerequisite {needed} does not exist"
    prose = "\n".join(source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    plain = re.sub(r"[*`]", "", prose)
    for objective in meta["objectives"]:
        if objective.rstrip(".") not in plain:
            yield f"the objective {objective!r} is not in the prose"
    for minutes in set(meta["minutes"].values()):
        if str(minutes) not in plain:
            yield f"the prose does not say {minutes} minutes"


def heading_order(notebook, ids):
    """One H1, which is the title; no level left out; the fixed ending."""
    found = headings(notebook)
    if [title for level, title in found if level == 1] != [front(notebook).get("title")] or found[0][0] != 1:
        yield "the first and only H1 is not the title"
    for (before, _), (level, title) in pairwise(found):
        if level > before + 1:
            yield f"the heading {title!r} leaves out a level"
    second = [title for level, title in found if level == 2]
    if second[-len(ENDING) :] != ENDING:
        yield f"the lesson does not end with {', '.join(ENDING)}"


def cells(notebook, ids):
    """At most 25 lines of code, none wider than a page; prose before code; no network, installs or global seeds."""
    before = None
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            if before is None or before["cell_type"] != "markdown":
                yield f"cell {cell['id']} has no prose before it"
            if len(source(cell).splitlines()) > 25:
                yield f"cell {cell['id']} has more than 25 lines"
            if max(map(len, source(cell).splitlines())) > 96:
                yield f"cell {cell['id']} has a line of more than 96 letters"
            if re.search(r"[\d}.]%[^\w(]", source(cell)):
                yield f"cell {cell['id']} writes 2% for 2 %"
            if FORBIDDEN.search(source(cell)):
                yield f"cell {cell['id']}: {FORBIDDEN.search(source(cell))[0]!r} is not allowed"
        elif re.search(r"\$[^$\n]+\$", re.sub(r"`[^`]*`", "", source(cell))):
            yield f"cell {cell['id']} writes a formula in TeX, which Voilà shows raw where there is no network"
        before = cell


def figures_explained(notebook, ids):
    """After every figure and explorer: what you see, and what it means."""
    for cell, after in zip(notebook["cells"], [*notebook["cells"][1:], None]):
        if cell["cell_type"] == "code" and FIGURE.search(source(cell)):
            text = source(after) if after is not None and after["cell_type"] == "markdown" else ""
            if "**What you see.**" not in text or "**What it means.**" not in text:
                yield f"cell {cell['id']} draws a figure that is not explained"


def objectives_met(notebook, ids):
    """An exercise or a quiz for each objective."""
    met = {number for cell in notebook["cells"] for number in mark(cell).get("objectives", ())}
    for number, objective in enumerate(front(notebook).get("objectives", ()), start=1):
        if number not in met:
            yield f"no exercise or quiz for objective {number}: {objective}"


def exercises(notebook, ids):
    """Header in words, stub that is not done, check right under it, and a reference that exists."""
    all_cells = notebook["cells"]
    for i, cell in enumerate(all_cells):
        name = mark(cell).get("exercise")
        if name is None:
            continue
        if not hasattr(import_module(f"lthviz.exercises.{front(notebook)['exercises']}"), f"check_{name}"):
            yield f"there is no check_{name}"
        if f"def {name}(" not in source(cell) or "raise NotImplementedError" not in source(cell):
            yield f"the stub of {name} is missing"
        if not any(f"exercise.check_{name}({name})" in source(later) for later in all_cells[i + 1 : i + 3]):
            yield f"{name} is not checked right under its stub"
        if not any(HEADER.search(source(earlier)) for earlier in all_cells[max(0, i - 5) : i]):
            yield f"{name} has no header with difficulty, importance and minutes"


def minutes(notebook, ids):
    """The exercises' minutes fit into the lesson's."""
    headers = [HEADER.findall(source(cell)) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    total = sum(int(n) for found in headers for n in found)
    if total > front(notebook)["minutes"]["do"]:
        yield f"the exercises take {total} minutes, the front matter says {front(notebook)['minutes']['do']}"


def answers_hidden(notebook, ids):
    """The source of a quiz, which names the answer, is folded away."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and QUIZ.fullmatch(source(cell).strip()):
            if not cell["metadata"].get("jupyter", {}).get("source_hidden"):
                yield f"cell {cell['id']} shows the answer of its quiz"


def links(notebook, ids):
    """Links to other lessons lead somewhere."""
    for cell in notebook["cells"]:
        for target in re.findall(r"\]\(([^)#:]+\.ipynb)\)", source(cell)):
            if not (FOLDER / target).exists():
                yield f"cell {cell['id']} links to {target}, which does not exist"


RULES = (
    clean, front_matter, heading_order, cells, figures_explained, objectives_met, exercises, minutes, answers_hidden,
    links,
)  # fmt: skip


@pytest.fixture(scope="module")
def ids():
    return {front(read(path)).get("id") for path in LESSONS}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_structure(path, rule, ids):
    assert list(rule(read(path), ids)) == []


def test_cell_ids_are_unique():
    for path in LESSONS:
        nbformat.validate(nbformat.read(path, 4))
        found = [cell["id"] for cell in read(path)["cells"]]
        assert len(found) == len(set(found)), path.stem


# Every rule notices what it is there for.


def _outputs(notebook):
    next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")["execution_count"] = 3


def _no_terms(notebook):
    del notebook["metadata"]["lthviz"]["terms"]


def _unknown_prerequisite(notebook):
    front(notebook)["prerequisites"].append("77")


def _silent_objective(notebook):
    front(notebook)["objectives"][0] = "Fly"


def _second_title(notebook):
    notebook["cells"][-1]["source"].append("\n# Another title\n")


def _jump(notebook):
    notebook["cells"][2]["source"].append("\n#### Deep down\n")


def _no_summary(notebook):
    for cell in notebook["cells"]:
        cell["source"] = [line.replace("## Summary", "**Summary**") for line in cell["source"]]


def _no_prose(notebook):
    del notebook["cells"][2]


def _long(notebook):
    notebook["cells"][1]["source"] += ["\n# line"] * 30


def _wide(notebook):
    notebook["cells"][1]["source"].append("\n# " + 95 * "x")


def _tex(notebook):
    notebook["cells"][0]["source"] = [*notebook["cells"][0]["source"], "\nso $w_j$ stays"]


def _percent(notebook):
    notebook["cells"][1]["source"].append('\nprint(f"{0.02:.0%} left")')


def _installs(notebook):
    notebook["cells"][1]["source"].append("\n!pip install something")


def _unexplained(notebook):
    for cell in notebook["cells"]:
        cell["source"] = [line.replace("**What it means.**", "So:") for line in cell["source"]]


def _one_objective_more(notebook):
    front(notebook)["objectives"].append("Check that everything")


def _stub(notebook):
    return next(i for i, cell in enumerate(notebook["cells"]) if "exercise" in mark(cell))


def _solved_in_place(notebook):
    cell = notebook["cells"][_stub(notebook)]
    cell["source"] = [line.replace("raise NotImplementedError", "return 0") for line in cell["source"]]


def _unchecked(notebook):
    del notebook["cells"][_stub(notebook) + 1 : _stub(notebook) + 3]


def _no_header(notebook):
    for cell in notebook["cells"]:
        cell["source"] = [line.replace("Difficulty", "Hardness") for line in cell["source"]]


def _hurried(notebook):
    front(notebook)["minutes"]["do"] = 5


def _quiz_open(notebook):
    for cell in notebook["cells"]:
        cell["metadata"].pop("jupyter", None)


def _broken_link(notebook):
    notebook["cells"][-1]["source"].append("\n[gone](99_gone.ipynb)")


@pytest.mark.parametrize(
    "rule, damage",
    [
        (clean, _outputs),
        (front_matter, _no_terms),
        (front_matter, _unknown_prerequisite),
        (front_matter, _silent_objective),
        (heading_order, _second_title),
        (heading_order, _jump),
        (heading_order, _no_summary),
        (cells, _no_prose),
        (cells, _long),
        (cells, _wide),
        (cells, _percent),
        (cells, _tex),
        (cells, _installs),
        (figures_explained, _unexplained),
        (objectives_met, _one_objective_more),
        (exercises, _solved_in_place),
        (exercises, _unchecked),
        (exercises, _no_header),
        (minutes, _hurried),
        (answers_hidden, _quiz_open),
        (links, _broken_link),
    ],
    ids=lambda value: value.__name__.strip("_"),
)
def test_every_rule_can_fail(rule, damage, ids):
    notebook = copy.deepcopy(read(FOLDER / "00_start_here.ipynb"))
    assert list(rule(notebook, ids)) == []
    damage(notebook)
    assert list(rule(notebook, ids)) != []


# The solved versions, with what the prose says as assertions behind the last cell

CLAIMS = {
    "01_why_so_many_parameters": """
small, wide = (train_one(w, x, some_wrong, 2000) for w in (8, 128))
assert error(small, x, some_wrong) > 15 and error(wide, x, some_wrong) < 4
assert error(misled, x_test, y_test) > 93  # worse than guessing
assert errors[0.5] - errors[0] < 1  # the smaller half costs less than a point
assert 20 < errors[0.8] < 40 and 50 < errors[0.9] < 70
""",
    "02_magnitude_pruning": """
at, whole, single = densities.index, alone["layer-wise"].mean(1), alone["global"].mean(1)
assert whole[at(0.8)] > whole[0] - 0.01 and single[at(0.6)] > single[0] - 0.02  # the first cost next to nothing
assert whole[at(0.02)] < 0.2 and single[at(0.01)] < 0.2  # down to chance
assert single[at(0.2)] > whole[at(0.2)] and single[at(0.1)] > whole[at(0.1)]  # global falls later
share = {layer: kept["global"][layer][at(0.1)].mean() / sizes[layer] for layer in layers}
assert share["fc1"] < share["fc2"] < share["fc3"]
delicate = {name: np.mean([scan[name][at(0.1)] for scan in scans]) for name in weights}
assert min(delicate, key=delicate.get) == "fc3.weight"
assert come_back(False) > 1000 and come_back(True) > 1000
for label, values in tuned.items():
    assert (values.mean(1) > alone[label][rows][:, : len(some)].mean(1)).all()  # training on helps
    assert abs(values[0].mean() - control.mean()) < 0.015  # at 30 % near the dense networks trained on
    assert values[1].mean() < control.mean() - 0.01  # at 10 % below them
    assert values[-1].mean() < 0.8  # the loss stays
assert 0.001 < control.mean() - dense.mean() < 0.01 and control.mean() > tuned["global"][0].mean() - 0.005
verdict = [paired("a", one, "b", other).verdict for one, other in zip(tuned["global"], tuned["layer-wise"])]
assert verdict == ["not distinguishable"] * 2 + ["higher"] * 2  # 30 % and 10 %, then 5 % and 2 %
assert apart < 1e-4
assert (both["single weights"][1:].mean(1) > both["whole units"][1:].mean(1)).all()
cost = [paired("a", one, "b", other) for one, other in zip(both["single weights"][1:], both["whole units"][1:])]
assert [gap.verdict for gap in cost] == ["not distinguishable"] + ["higher"] * 5  # undecided at 80 %
""",
    "11_does_sparsity_pay": """
assert 0.7 * len(dense_file) > len(zipped) and 1.2 < len(zipped) / deploy.sizes(masks("layer", 9)[0])["bitmask"] < 1.33
assert round(tenth["dense"] / tenth["bitmask"], 1) == 7.6 and 4.5 < tenth["dense"] / tenth["CSR-32"] < 5
assert widths(small) == "86 - 48 - 10" and abs(accuracy(small) - accuracy(ticket)) < 0.2
assert widths(deploy.shrink(fresh, full)) == "100 - 50 - 10" and widths(deploy.shrink(fresh, empty)) == "1 - 1 - 10"
assert widths(narrow_conv) == "8 - 12 - 32 - 10" and apart < 1e-4
assert list(chosen.values()) == ["dense, int8", "ticket, bitmask, int8", "whole units"] and len(options) == 8
assert csr == 28_596 > devices["a watch, little memory"][1]
""",
    "07_strong_tickets": """
assert abs(abs(sums[best] - 0.3) - 0.00015) < 5e-6 and needed == 11
assert (aim.argmax(1) == y_test).float().mean() > 0.87  # the target has learned
assert 36 < rows[8][1] < 39 and 96 < rows[24][1] < 99 and rows[40][1] > 99.5 and abs(rows[40][0] - 89) < 1
assert mask.density == 0.5 and all(same[k].equal(v) for k, v in random_network(0).state_dict().items())
assert accuracy(random_network(0), mask) > 80 > 20 > accuracy(random_network(1), mask)
""",
    "12_criticisms_and_your_own_study": """
double = leads[0.001] - leads[0.0]  # the registered study, run live
assert len(double) == 10 and outcome.seeds == tuple(registration["seeds"]) == tuple(range(100, 110))
assert exercise.missing(registration) == []
assert exercise.verdict(double) == "not distinguishable" and interval(double)[2] < registration["size"] / 2
assert all(interval(lead)[1] > 2 and abs(lead.mean() - 3.6) < 0.4 for lead in leads.values())
assert double.std(ddof=1) < 0.9  # less than the 1.2 reckoned with
""",
}


def verdicts(notebook) -> dict[str, str]:
    """For every exercise what its check said."""
    said = {}
    for cell in notebook.cells:
        found = re.search(r"^exercise\.check_(\w+)\(", source(cell), re.MULTILINE)
        if cell.cell_type == "code" and found:
            said[found[1]] = "".join(output.get("data", {}).get("text/plain", "") for output in cell.outputs)
    return said


def printed(notebook) -> list[str]:
    """Every line that a cell printed in words of its own; code that is shown is none."""
    shown = [cell for cell in notebook.cells if cell.cell_type == "code" and "inspect." not in source(cell)]
    texts = [output.get("text", "") for cell in shown for output in cell.outputs if "text" in output]
    return [line for text in texts for line in text.splitlines()]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_solved_notebooks_pass_every_check(path):
    notebook = nbformat.reads(json.dumps(solve(read(path))), 4)
    notebook.cells.append(nbformat.v4.new_code_cell(CLAIMS.get(path.stem, "")))
    NotebookClient(notebook, timeout=180, resources={"metadata": {"path": str(FOLDER)}}).execute()
    said = verdicts(notebook)
    stubs = {mark(cell)["exercise"] for cell in read(path)["cells"] if "exercise" in mark(cell)}
    assert stubs and set(said) == stubs
    assert {name: text for name, text in said.items() if "Passed" not in text} == {}
    assert (
        printed(notebook) and [line for line in printed(notebook) if len(line) > 130] == []
    )  # nothing breaks in a word


# What the prose says, against the results


@pytest.fixture(scope="module")
def classroom():
    """The class-room result that lesson 00 shows."""
    return atlas_store().load(CLASS_ROOM[0])


def test_lesson_00_the_corners_go_first(classroom):
    ends = slice(2), slice(-2, None)
    for seed in classroom.seeds:
        left = classroom.mask(10, seed)["fc1.weight"].sum(0).reshape(14, 14)
        corners = [left[rows, columns].mean() for rows in ends for columns in ends]
        assert np.mean(corners) < left.mean() / 2


def test_lesson_00_masks_are_nested(classroom):
    for r in range(classroom.rounds):
        assert classroom.mask(r + 1, 0).issubset(classroom.mask(r, 0))


def test_lesson_00_accuracy_holds_for_long_and_then_falls(classroom):
    mean = interval(classroom.accuracy("rewind"))[0]
    assert (mean[classroom.density > 0.2] > mean[0] - 0.01).all()
    assert mean[-1] < mean[0] - 0.05


def test_the_app_says_what_the_ticket_reads_before_a_single_step(classroom):
    app = "".join(source(cell) for cell in read(FOLDER / "app.ipynb")["cells"])
    assert "21 %" in app and "before a single step, the ticket already reads about two thirds" in app
    r = classroom.nearest_round(0.2)  # where the app opens
    assert round(100 * classroom.density[r]) == 21
    assert abs(classroom.curve("rewind")[r, :, 0].mean() - 2 / 3) < 0.03
