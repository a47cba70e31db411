"""The explorer: sliders over finished results, training live, predict-then-reveal, quizzes.

Importing this room needs neither torch nor matplotlib.
"""

from importlib import import_module

_HOME = {
    "Array": "explorer",
    "Axis": "explorer",
    "Bars": "explorer",
    "Choice": "explorer",
    "Curves": "explorer",
    "Explorer": "explorer",
    "Line": "explorer",
    "Number": "explorer",
    "Picture": "explorer",
    "Predict": "predict",
    "Quiz": "predict",
    "Sentence": "explorer",
    "Series": "explorer",
    "Stack": "explorer",
    "Text": "explorer",
    "TrainLive": "live",
    "explore": "tickets",
}
__all__ = list(_HOME)


def __getattr__(name):
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module 'lthviz.explorer' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
