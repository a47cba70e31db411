"""python -m benchmarks [NAME ...]: run every measurement, or those named."""

import platform
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path


def machine() -> str:
    """One line: what was measured on."""
    import os

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "voila"))
    return f"{cores} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}, {packages}"


def main(names: list[str]) -> int:
    """Call main() of each module of this folder that has one."""
    known = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))
    unknown = set(names) - set(known)
    if unknown:
        print(f"There is no measurement {', '.join(sorted(unknown))}; there are: {', '.join(known)}.")
        return 2
    print(machine(), flush=True)
    for name in names or known:
        measure = getattr(import_module(f"benchmarks.{name}"), "main", None)
        if measure is not None:
            print(f"\n## {name}", flush=True)
            measure()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
