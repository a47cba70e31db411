"""A notebook with its exercises solved: ``python -m lthviz.exercises.solutions NOTEBOOK SOLVED``."""

import copy
import json
import sys
from importlib import import_module
from pathlib import Path


def solve(notebook: dict) -> dict:
    """A copy of a notebook (as JSON) in which every stub is the reference solution."""
    solved = copy.deepcopy(notebook)
    room = solved["metadata"].get("lthviz", {}).get("exercises")
    for cell in solved["cells"]:
        name = cell["metadata"].get("lthviz", {}).get("exercise")
        if name and cell["cell_type"] == "code":
            cell["source"] = getattr(import_module(f"lthviz.exercises.{room}"), f"check_{name}").solution
    return solved


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    text = json.dumps(solve(json.loads(Path(sys.argv[1]).read_text("utf-8"))), indent=1, ensure_ascii=False)
    Path(sys.argv[2]).write_text(text + "\n", "utf-8")
