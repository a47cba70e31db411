"""Train it live: choose an experiment, press Train, and watch real networks learn."""

import logging
import re
import threading
import time
from collections.abc import Callable
from functools import wraps

import anywidget
import ipywidgets as widgets
import traitlets

from ..arms import ARMS
from ..experiment import Cancelled, Experiment
from ..methods import METHODS
from .explorer import Explorer
from .tickets import declare, usual_accuracy

log = logging.getLogger("lthviz")
log.addHandler(logging.NullHandler())  # details for those who ask for them; never on a visitor's page

PAUSE = 0.2  # seconds between two pictures
MOST = 50_000_000  # weights of all networks together: about a gigabyte while they train
DATA = {
    "digits, 14×14 pixels": "mnist-5k-14",
    "digits, 28×28 pixels": "mnist-5k",
    "clothes, 14×14 pixels": "fashion-5k-14",
    "clothes, 28×28 pixels": "fashion-5k",
    "signals of 40 points": "mnist1d",
}
NETWORKS = ("mlp-100-50", "mlp-30", "mlp-50-20", "mlp-300-100", "lenet-300-100")
WAYS = {name: label for label, name in DATA.items()}


def guarded(say: Callable[[str], None]):
    """A decorator for callbacks: what goes wrong is said in the widget; details go to the log "lthviz"."""

    def decorate(callback):
        @wraps(callback)
        def safe(*args, **kwargs):
            try:
                return callback(*args, **kwargs)
            except ValueError as error:  # our own sentences: they name argument, value and what is allowed
                say(str(error))
            except Exception as error:
                log.exception("a callback failed")
                say(
                    f"Something went wrong here ({type(error).__name__}). The settings are as before; please try again."
                )

        return safe

    return decorate


class Spoken(anywidget.AnyWidget):
    """What screen readers say in a box of widgets: ``words``, in one place that stays, and the sliders' names."""

    words = traitlets.Unicode().tag(sync=True)

    _css = """
    .lthviz-spoken { font-size: 15px; line-height: 1.5; max-width: 46em; margin: 0.2em 2px; }
    .lthviz-spoken:empty { margin: 0; }
    .lthviz-card .widget-radio-box label { display: flex; flex-direction: row-reverse; justify-content: flex-end; height: auto; font-size: 15px; line-height: 1.5; white-space: normal; }
    .lthviz-card .widget-radio-box input { flex: none; margin: 0.2em 0.5em 0 0; }
    """
    _esm = """
    export default { render({ model, el }) {
      const place = document.createElement("p"); // a live region must be there before its words change
      place.className = "lthviz-spoken";
      place.setAttribute("role", "status");
      place.setAttribute("aria-live", "polite");
      const say = () => { place.textContent = model.get("words"); };
      model.on("change:words", say);
      say();
      el.append(place);
      const name = () => el.parentElement?.querySelectorAll(".widget-slider [role=slider]").forEach((handle) =>
        handle.setAttribute("aria-label", handle.closest(".widget-slider").querySelector("label").textContent));
      const own = (event) => { if (event.key.startsWith("Arrow")) event.stopPropagation(); }; // the notebook would go to another cell
      const later = new MutationObserver(name); // for sliders that come after this
      let frame = requestAnimationFrame(function begin() {
        if (!el.parentElement) { frame = requestAnimationFrame(begin); return; } // not on the page yet
        name();
        el.parentElement.addEventListener("keydown", own);
        later.observe(el.parentElement, { childList: true, subtree: true });
      });
      return () => { model.off("change:words", say); cancelAnimationFrame(frame); later.disconnect(); };
    } };
    """


class TrainLive(widgets.VBox):
    """A panel that runs a real lottery-ticket experiment in the background and draws it while it learns.

    ``train()`` and ``cancel()`` do what the buttons do; ``explorer`` is the picture (None before the first
    evaluation), ``result`` the newest :class:`lthviz.Result`, ``status`` and ``cue`` what is said in words.
    Nothing is stored; torch is imported when Train is pressed, not before.
    """

    def __init__(self, **settings):
        self.explorer: Explorer | None = None
        self.result = None
        self.status = self.cue = ""
        self._refused = False  # whether the status says what does not go
        self._thread: threading.Thread | None = None
        self._cancel = threading.Event()
        self._shown: dict | None = None  # the settings that belong to the picture
        self._drawn = 0.0
        self._build()
        super().__init__([self._heading, self._form, self._actions, self._status, self._cue, self._picture])
        self.add_class("lthviz-live")
        for name, value in settings.items():
            if name not in self._controls:
                raise ValueError(f"{name}={value!r} is not a setting. Allowed: {', '.join(self._controls)}.")
            self._controls[name].value = value
            if self._controls[name].value != value:  # a slider moves what it does not have to its end
                control = self._controls[name]
                raise ValueError(
                    f"{name}={value!r}: {name} must be between {control.min:g} and {control.max:g}."
                )
        self._say("Choose, then press Train: real networks learn on this computer, in a few seconds.")

    # ---- what is on the page

    def _build(self):
        wide = {"style": {"description_width": "5.8em"}, "layout": widgets.Layout(**_WIDE)}
        slide = wide | {
            "layout": widgets.Layout(flex="1 1 auto"),
            "readout": False,
            "continuous_update": False,
        }
        self._controls = {
            "dataset": widgets.Dropdown(options=DATA, value="mnist-5k-14", description="Data", **wide),
            "model": widgets.Combobox(
                options=NETWORKS, value="mlp-100-50", ensure_option=False, continuous_update=False, description="Network", **wide
            ),
            "rate": widgets.FloatSlider(
                value=0.2, min=0.05, max=0.9, step=0.05, description="Prune rate", **slide
            ),
            "rounds": widgets.IntSlider(value=12, min=1, max=25, description="Rounds", **slide),
            "seeds": widgets.IntSlider(value=3, min=1, max=10, description="Seeds", **slide),
            "steps": widgets.IntSlider(
                value=400, min=50, max=2000, step=50, description="Steps", **slide
            ),
        }  # fmt: skip
        ticks = widgets.Layout(width="auto", margin="0 1.2em 0 0")
        self._arms = {
            arm: widgets.Checkbox(value=arm in ("rewind", "reinit"), disabled=arm == "rewind", indent=False,
                                  description=ARMS[arm].label, layout=ticks)
            for arm in METHODS["imp"].arms
        }  # fmt: skip
        self._heading = widgets.HTML(_STYLE, layout=widgets.Layout(display="none"))
        flow = widgets.Layout(flex_flow="row wrap", width="100%")
        self._form = widgets.VBox(
            [
                widgets.Box([*map(self._with_box, self._controls.values())], layout=flow),
                widgets.Box([*self._arms.values()], layout=flow),
            ],
            layout=widgets.Layout(width="100%"),
        )
        button = widgets.Layout(width="9em", height="2.6em")
        self._train_button = widgets.Button(
            description="Train", button_style="primary", icon="play", layout=button
        )
        self._cancel_button = widgets.Button(description="Cancel", disabled=True, icon="stop", layout=button)
        self._bar = widgets.FloatProgress(
            min=0, max=1, layout=widgets.Layout(flex="1 1 12em", height="2.6em")
        )
        self._actions = widgets.Box(
            [self._train_button, self._cancel_button, self._bar],
            layout=widgets.Layout(
                flex_flow="row wrap", width="100%", margin="0.6em 0 0 0", align_items="center"
            ),
        )
        self._status, self._cue = Spoken(), Spoken()
        self._cue.add_class("lthviz-cue")
        self._picture = widgets.VBox([], layout=widgets.Layout(width="100%"))
        self._train_button.on_click(guarded(self._refuse)(lambda _: self.train()))
        self._cancel_button.on_click(guarded(self._refuse)(lambda _: self.cancel()))
        for control in (*self._controls.values(), *self._arms.values()):
            control.observe(guarded(self._refuse)(lambda _: self._changed()), names="value")

    def _with_box(self, control):
        """A slider and its number box, where what is typed out of range is said and not taken."""
        if isinstance(control, (widgets.Dropdown, widgets.Combobox)):
            return control
        part = isinstance(control, widgets.FloatSlider)  # shown in per cent
        name, shown = control.description, lambda value: round(100 * value, 4) if part else value
        box = (widgets.FloatText if part else widgets.IntText)(
            value=shown(control.value),
            description=f"{name} in %" if part else f"{name}, number",
            layout=widgets.Layout(width="4.8em"),
        )
        box.add_class("lthviz-number")

        def typed(change):
            value = change.new / 100 if part else change.new
            if control.min <= value <= control.max:
                control.value = value
                return
            allowed = f"{shown(control.min):g} to {shown(control.max):g}{' %' if part else ''}"
            self._refuse(f"{name} {change.new:g}{' %' if part else ''} is not possible. Allowed: {allowed}.")
            box.value = shown(control.value)

        box.observe(guarded(self._refuse)(typed), names="value")
        control.observe(lambda change: setattr(box, "value", shown(change.new)), names="value")
        unit = widgets.Label("%" if part else "", layout=widgets.Layout(width="1.2em"))
        return widgets.HBox([control, box, unit], layout=widgets.Layout(**_WIDE))

    def _say(self, words: str) -> None:
        self.status = self._status.words = words
        self._refused = False

    def _refuse(self, words: str) -> None:
        """Say what does not go, in the words of the controls; it is taken back when a control changes."""

        def in_words(found):
            name, value = found.groups()
            value = f"{100 * float(value):g} %" if name == "rate" else value
            return f"{self._controls[name].description} {value}"

        self._say(re.sub(rf"\b({'|'.join(self._controls)})=('[^']*'|[\w.]*\w)", in_words, words))
        self._refused = True

    def _changed(self) -> None:
        if self._refused:
            self._say("")
        self._mark_stale()

    def _mark_stale(self) -> None:
        """Say in words when the picture belongs to other settings than those chosen now."""
        stale = self._shown is not None and self._shown != self.settings
        self.cue = self._cue.words = (
            f"Settings changed: the picture below is for {_in_words(self._shown)}. Press Train."
            if stale
            else ""
        )

    # ---- what it does

    @property
    def settings(self) -> dict:
        """What is chosen now: arguments of :class:`lthviz.Experiment`."""
        chosen = {name: control.value for name, control in self._controls.items()}
        arms = tuple(arm for arm, box in self._arms.items() if box.value)
        return chosen | {"rate": round(chosen["rate"], 4), "model": chosen["model"].strip(), "arms": arms}

    @property
    def running(self) -> bool:
        """Whether networks are being trained now."""
        return self._thread is not None and self._thread.is_alive()

    def train(self) -> None:
        """Start the chosen experiment in the background."""
        if self.running:
            return
        settings = self.settings
        experiment = Experiment(**settings, evaluate_every=max(10, settings["steps"] // 8))
        weights = sum(experiment.ladder()[0].values())
        networks = len(experiment.seeds) * len(experiment.arms)
        if weights * networks > MOST:
            raise ValueError(
                f"model={settings['model']!r} has {weights:,} weights, and {networks} such networks are too large for "
                f"this page: at most {MOST:,} weights together. Choose a smaller network, fewer seeds or fewer arms."
            )
        self._cancel = threading.Event()
        self._train_button.disabled, self._cancel_button.disabled = True, False
        self._bar.value, self._bar.bar_style = 0.0, "info"
        self._thread = threading.Thread(
            target=self._work, args=(experiment, settings, self._cancel), name="lthviz-train", daemon=True
        )
        self._thread.start()

    def cancel(self) -> None:
        """Stop within one step; what was measured stays on the screen."""
        if self.running:
            self._cancel.set()
            self._say("Stopping ...")

    def wait(self, timeout: float | None = None) -> None:
        """Return when training has ended (or after ``timeout`` seconds)."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _work(self, experiment: Experiment, settings: dict, cancel: threading.Event) -> None:
        """The background thread; it touches widgets' values only, and always gives the buttons back."""
        try:
            guarded(self._refuse)(self._run)(experiment, settings, cancel)
        finally:
            self._train_button.disabled, self._cancel_button.disabled = False, True

    def _run(self, experiment, settings, cancel):
        import sys

        if "torch" not in sys.modules:
            self._say("Loading torch: the first time this takes a few seconds.")
        from ..runs import run

        begun = None
        new: Explorer | None = None
        limits, usual = _density_limits(experiment), usual_accuracy(experiment.dataset)

        def show(result):
            nonlocal new
            self.result, self._shown = result, settings
            declared = declare([result], follow=True, xlim=limits, covers=usual)
            if new is None:
                old, new = self.explorer, Explorer(**declared)
                self.explorer = new
                self._picture.children = [new]
                self._mark_stale()
                if old is not None:
                    old.close()
            else:
                new.update(declared["arrays"], declared["axes"], declared["panels"], declared["choices"])
            self._drawn = time.monotonic()

        def watch(moment):
            nonlocal begun
            begun = begun or (time.monotonic(), moment.done)
            if time.monotonic() - self._drawn < PAUSE and moment.done < 1:
                return
            show(moment.result)
            self._bar.value = moment.done
            left = _left(time.monotonic() - begun[0], moment.done - begun[1], 1 - moment.done)
            self._say(f"Round {moment.round} of {experiment.rounds}. {left}")

        start = time.monotonic()
        try:
            result = run(experiment, store=False, progress=False, watch=watch, cancel=cancel)
        except Cancelled:
            self._bar.bar_style = "warning"
            finished = self.result.rounds if new is not None else 0
            self._say(
                f"Cancelled in round {finished}. The picture keeps what was measured."
                if new
                else "Cancelled."
            )
            return
        show(result)
        self._bar.value, self._bar.bar_style = 1.0, "success"
        networks = len(experiment.seeds) * len(experiment.arms) * (experiment.rounds + 1)
        self._say(
            f"Done: {networks} networks trained in {time.monotonic() - start:.1f} seconds. Move the sliders."
        )


_STYLE = (
    "<style>.lthviz-live{--jp-widgets-font-size:15px;--jp-widgets-inline-height:32px;--jp-widgets-inline-label-width:6em}"
    ".lthviz-live .lthviz-number .widget-label{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}"
    ".lthviz-live .lthviz-cue{font-weight:600}"
    ".lthviz-live :is(input,select,button,[role=slider]):focus-visible{outline:3px solid #0072B2;outline-offset:2px}</style>"
)
_WIDE = {"width": "25em", "max_width": "100%"}


def _in_words(settings: dict) -> str:
    where = WAYS.get(settings["dataset"], settings["dataset"])
    rounds, seeds = (
        f"{settings[name]} {name if settings[name] > 1 else name[:-1]}" for name in ("rounds", "seeds")
    )
    return (
        f"{where}, {settings['model']}, {100 * settings['rate']:g} % a round, {rounds}, {seeds}, "
        f"{settings['steps']:,} steps"
    )


def _left(elapsed: float, done: float, rest: float) -> str:
    """The time that is left, in words."""
    if done <= 0 or elapsed <= 0:
        return "The time that is left will show in a moment."
    seconds = elapsed / done * rest
    if seconds < 90:
        return f"About {max(1, round(seconds))} second{'s' if round(seconds) > 1 else ''} left."
    return f"About {round(seconds / 60)} minutes left."


def _density_limits(experiment: Experiment) -> tuple[float, float]:
    """The densities that this experiment will reach: the axis stands still while the curves grow."""
    ladder = experiment.ladder()
    return sum(ladder[-1].values()) / sum(ladder[0].values()), 1.0
