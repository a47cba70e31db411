"""python -m lthviz app | doctor | try METHOD | atlas | study NAME | language | picture | fetch NAME"""

import sys
from importlib import import_module
from inspect import signature

# command: (module of lthviz whose main does it, what it does)
COMMANDS = {
    "app": ("serving", "open the Ticket Lab in a browser"),
    "doctor": ("doctor", "check this installation and say how to mend it"),
    "try": ("demo", "see one method at work: imp, snip, grasp, synflow, set, rigl, wanda, sparsegpt, ..."),
    "atlas": ("atlas_build", "train the shipped results again"),
    "study": ("studies", "make again what lessons measured beside the atlas"),
    "language": ("language", "train the language model of lesson 10 again"),
    "picture": ("figures", "draw the pictures of the README again"),
    "fetch": ("data", "download a full data set: mnist or fashion-mnist"),
}


def usage() -> str:
    """One line a command."""
    lines = [f"  python -m lthviz {name:8} {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(["Commands:", *lines])


def fetch(names: list[str]) -> int:
    """Download the data sets `names`, one after the other; say where they are, or why not."""
    from . import data

    if not names:
        print("Say which: python -m lthviz fetch mnist")
        return 2
    for name in names:
        try:
            print(f"{name} is in {data.download(name)}")
        except (ConnectionError, ValueError) as error:
            print(error)
            return 1
    return 0


def main(arguments: list[str]) -> int:
    """Run one command; the exit status is 0 when it went well."""
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name not in COMMANDS:
        print(f"There is no command {name!r}.\n{usage()}")
        return 2
    if name != "app" and any(word.startswith("-") for word in rest):
        print(f"python -m lthviz {name}: {COMMANDS[name][1]}. It knows no options.")
        return 0 if set(rest) <= {"-h", "--help"} else 2
    if name == "fetch":
        return fetch(rest)
    command = import_module(f"lthviz.{COMMANDS[name][0]}").main
    if name == "app":
        return command(rest)
    try:
        signature(command).bind(*rest)
    except TypeError as error:
        print(f"python -m lthviz {' '.join(arguments)}: {error}.\n{usage()}")
        return 2
    return command(*rest) or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
