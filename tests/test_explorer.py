"""The explorer in the kernel: positions, limits, links, data, words."""

import ipywidgets
import numpy as np
import pytest
import traitlets

import lthviz
from lthviz.explorer import (
    Array,
    Axis,
    Choice,
    Curves,
    Explorer,
    Line,
    Number,
    Predict,
    Quiz,
    Sentence,
    Series,
    Text,
    TrainLive,
    explore,
)
from lthviz.explorer.tickets import MASK_LIMIT

from .helpers import made_up

SMALL = {"steps": 30, "seeds": 2, "evaluate_every": 10, "arms": ("rewind", "reinit", "small-dense")}
ROUNDS = {0.2: 4, 0.5: 2}


@pytest.fixture(scope="module")
def results():
    """Two small experiments, really trained, that differ in rate and rounds."""
    return [
        lthviz.run(lthviz.Experiment(rate=rate, rounds=rounds, **SMALL), store=False, progress=False)
        for rate, rounds in ROUNDS.items()
    ]


@pytest.fixture
def explorer(results):
    return explore(results)


def ladder(counts=(3, 5)):
    """A made-up explorer: level depends on side."""
    axes = [
        Axis("side", (1.0, 2.5), "Side"),
        Axis("level", range(5), "Level", counts={"side": counts}, follow=True),
    ]
    n = sum(counts)
    arrays = {
        "height": Array(np.arange(2 * n * 3, dtype=float).reshape(2, n, 3), ("who", "side/level", "try")),
        "place": Array(np.arange(n), ("side/level",)),
        "words": Text([str(i) for i in range(n * 4)], ("side/level", "all|try")),
    }
    panels = [
        Curves(y="height", x="place", along="level", series="who", spread="try"),
        Number(array="place", title="place"),
        Sentence(text="words"),
    ]
    series = Series("who", (Line("a", "A", "#0072B2"), Line("b", "B", "#D55E00", "s")))
    return {
        "axes": axes,
        "panels": panels,
        "arrays": arrays,
        "series": series,
        "choices": [Choice("try", (7, 8, 9))],
    }


def read(explorer, name):
    """An array as the browser gets it."""
    sent = explorer.arrays[name]
    return np.frombuffer(sent["data"], sent["dtype"]).reshape(sent["shape"])


# ---- position


def test_the_position_is_a_set_of_traits(explorer):
    assert explorer.rate == 0.2 and explorer.seed == "all"
    explorer.round = 3
    explorer.seed = 1
    explorer.rate = np.float64(0.5)
    assert (explorer.rate, explorer.seed) == (0.5, 1)


def test_a_rate_with_fewer_rounds_moves_the_round_inside(explorer):
    explorer.round = 4
    explorer.rate = 0.5
    assert explorer.round == 2
    explorer.rate = 0.2
    assert explorer.round == 2


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("round", 99, ["round=99", "from 0 to 4"]),
        ("round", -1, ["round=-1", "from 0 to 4"]),
        ("round", "two", ["round='two'", "from 0 to 4"]),
        ("round", True, ["round=True", "from 0 to 4"]),
        ("rate", 0.3, ["rate=0.3", "0.2, 0.5"]),
        ("rate", float("nan"), ["rate=nan", "0.2, 0.5"]),
        ("seed", 5, ["seed=5", "'all'", "0, 1"]),
    ],
)
def test_a_value_that_does_not_exist_is_refused_in_words(explorer, name, value, words):
    before = getattr(explorer, name)
    with pytest.raises(traitlets.TraitError) as error:
        setattr(explorer, name, value)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert getattr(explorer, name) == before


def test_a_round_that_exists_only_at_another_rate_is_refused(explorer):
    explorer.rate = 0.5
    with pytest.raises(
        traitlets.TraitError, match=r"round=3: at rate=0.5, round must be a whole number from 0 to 2"
    ):
        explorer.round = 3
    assert explorer.round <= 2


def test_an_arm_that_did_not_run_is_refused(explorer):
    explorer.arms = ["rewind"]
    with pytest.raises(traitlets.TraitError):
        explorer.arms = ["shuffle"]
    assert explorer.arms == ["rewind"]


def test_observe_and_link(explorer):
    seen = []
    explorer.observe(lambda change: seen.append(change["new"]), "round")
    slider = ipywidgets.IntSlider(max=4)
    ipywidgets.link((explorer, "round"), (slider, "value"))
    slider.value = 3
    assert explorer.round == 3
    explorer.round = 1
    assert slider.value == 1
    assert seen[-2:] == [3, 1]


def test_the_browser_may_set_several_values_at_once(explorer):
    explorer.rate, explorer.round = 0.5, 0
    explorer.set_state({"round": 4, "rate": 0.2})
    assert (explorer.rate, explorer.round) == (0.2, 4)


def test_somebody_who_observes_is_told_under_voila_too(results, monkeypatch):
    monkeypatch.setenv("SERVER_SOFTWARE", "voila/0.5")
    explorer = explore(results)
    assert not explorer._tell
    explorer.observe(print, "round")
    assert explorer._tell


# ---- data


def test_the_browser_gets_the_numbers_of_the_results(explorer, results):
    for name, attribute in (("accuracy", "accuracy"), ("curve", "curve"), ("arm_density", "arm_density")):
        wanted = np.stack(
            [
                np.concatenate([getattr(result, attribute)(arm) for result in results])
                for arm in results[0].arms
            ]
        )
        np.testing.assert_allclose(read(explorer, name), wanted, rtol=1e-6)
    np.testing.assert_array_equal(read(explorer, "steps"), results[0].steps)
    kept = np.concatenate([sum(result.kept.values()) for result in results])
    np.testing.assert_array_equal(read(explorer, "kept"), kept)


def test_the_pictures_are_the_masks(explorer, results):
    result, round, seed = results[1], 2, 1
    mask = np.asarray(result.mask(round, seed)["fc1.weight"])
    row = results[0].rounds + 1 + round
    np.testing.assert_array_equal(read(explorer, "pixels")[row, seed], mask.sum(0).reshape(14, 14))
    np.testing.assert_array_equal(read(explorer, "pruned_at")[1, seed] > round, mask)


def test_the_sentence_is_the_verdict_of_the_result(explorer, results):
    sent = explorer.arrays["verdict"]
    assert sent["dims"] == ["arm", "rate/round", "all|seed"]
    rows = sum(result.rounds + 1 for result in results)
    row = results[0].rounds + 1 + 2
    for place, against in enumerate(("dense", "reinit", "small-dense")):
        everything, _, alone = sent["texts"][3 * (place * rows + row) :][:3]
        assert everything.startswith(results[1].verdict(2, against=against))
        assert alone.startswith("Seed 1")
    assert "small dense" in everything and "small dense" in alone and "re-init" not in everything + alone


def test_a_seed_that_diverged_is_not_waited_for():
    result = made_up(seeds=3)
    result._arrays["test_accuracy/rewind"][2, 1] = np.nan
    result._arrays["diverged/rewind"][2, 1] = True
    texts = explore(result).arrays["verdict"]["texts"]
    assert texts[4 * 2 + 2] == "Seed 1, round 2: the network diverged."
    assert "not measured yet" not in " ".join(texts)


def sentence(result, round):
    """What the explorer says of all seeds together, the ticket against the first control."""
    sent = explore(result).arrays["verdict"]["texts"]
    return sent[(result.rounds + 1 + round) * (len(result.seeds) + 1)]


def test_a_tie_of_few_seeds_is_not_called_a_failure():
    noisy = {"noise": 0.1, "arms": ("rewind", "reinit"), "rounds": 1}
    few, many = made_up(seeds=3, **noisy), made_up(seeds=10, **noisy)
    assert "not distinguishable" in few.verdict(1) and "not distinguishable" in many.verdict(1)
    assert sentence(few, 1).endswith(
        "Three seeds make a wide interval; more would tell whether there is a difference."
    )
    assert sentence(many, 1) == many.verdict(1)
    clear = made_up(noise=0.0001, seeds=3)
    assert "higher" in clear.verdict(4) and sentence(clear, 4) == clear.verdict(4)


def test_what_travels_is_small(explorer):
    assert sum(len(array.get("data", b"")) for array in explorer.arrays.values()) < 3_000_000
    assert MASK_LIMIT < 3_000_000


def test_results_that_differ_in_more_than_the_rate_are_refused(results):
    other = lthviz.run(
        lthviz.Experiment(rate=0.5, rounds=1, **SMALL | {"steps": 20}), store=False, progress=False
    )
    with pytest.raises(ValueError, match="steps is 30 in one and 20 in another"):
        explore([results[0], other])
    with pytest.raises(ValueError, match="each only once"):
        explore([results[0], results[0]])


def test_a_running_result_is_shown_as_far_as_it_got():
    seen = []
    experiment = lthviz.Experiment(rounds=2, **SMALL)
    lthviz.run(experiment, store=False, progress=False, watch=lambda moment: seen.append(moment.result))
    explorer = explore(seen[1])
    assert explorer.round == 0
    assert np.isnan(read(explorer, "accuracy")).any()
    assert (
        "not measured" in explorer.arrays["verdict"]["texts"][1]
        or "training" in explorer.arrays["verdict"]["texts"][0]
    )


# ---- the generic explorer


def test_arrays_of_a_wrong_shape_are_named():
    parts = ladder()
    parts["arrays"] = parts["arrays"] | {"place": Array(np.arange(7), ("side/level",))}
    with pytest.raises(ValueError, match="place: dimension 'side/level' has 7 entries; it must have 8"):
        Explorer(**parts)
    parts["arrays"]["place"] = Array(np.zeros((2, 2)), ("side/level",))
    with pytest.raises(ValueError, match="place: the array has 2 dimensions"):
        Explorer(**parts)


def test_counts_must_fit():
    parts = ladder()
    parts["axes"][1] = Axis("level", range(5), counts={"side": (3, 6)})
    with pytest.raises(ValueError, match=r"counts=\[3, 6\]"):
        Explorer(**parts)


def test_a_name_that_a_widget_needs_is_refused():
    with pytest.raises(ValueError, match="name='layout'"):
        Explorer(axes=[Axis("layout", (1, 2))], panels=[], arrays={})


def test_new_data_keep_the_position_and_the_newest_is_followed():
    first, second = ladder((3, 3)), ladder((4, 5))
    first["axes"][1] = Axis("level", range(3), counts={"side": (3, 3)}, follow=True)
    explorer = Explorer(**first)
    assert explorer.level == 2  # the newest
    explorer.update(second["arrays"], second["axes"])
    assert explorer.level == 3  # the newest at this side
    explorer.level = 1
    explorer.update(ladder((5, 5))["arrays"], ladder((5, 5))["axes"])
    assert explorer.level == 1
    explorer.update(first["arrays"], first["axes"])
    assert explorer.level == 1
    with pytest.raises(ValueError, match="the names must stay"):
        explorer.update({}, [Axis("other", (1,))])


def test_it_speaks_plainly(explorer):
    assert repr(explorer) == f"Explorer(rate=0.2, round={explorer.round}, seed='all')"


# ---- the static twin


def test_viewers_without_widgets_see_a_figure_a_table_and_a_sentence(explorer, results):
    data = explorer._repr_mimebundle_()[0]
    assert "application/vnd.jupyter.widget-view+json" in data
    page = data["text/html"]
    assert "<img" in page and "alt=" in page and "<table" in page and results[0].verdict(4) in page


def test_the_served_app_gets_no_twin(explorer, monkeypatch):
    monkeypatch.setenv("SERVER_SOFTWARE", "voila/0.5")
    assert "text/html" not in explorer._repr_mimebundle_()[0]


# ---- train live


@pytest.fixture
def live():
    panel = TrainLive(rounds=1, steps=50, seeds=2)
    yield panel
    panel.cancel()
    panel.wait(60)


def test_live_training_ends_with_a_picture(live):
    live.train()
    assert live._train_button.disabled and not live._cancel_button.disabled
    live.wait(120)
    assert not live.running and live.status.startswith("Done: 8 networks")
    assert not live._train_button.disabled and live._cancel_button.disabled
    assert live.result.finished and live.explorer.round == 1
    np.testing.assert_allclose(read(live.explorer, "curve")[0], live.result.curve("rewind"), rtol=1e-6)


def test_cancel_stops_soon_and_keeps_what_was_measured(live):
    live._controls["steps"].value, live._controls["rounds"].value = 2000, 25
    live.train()
    while live.explorer is None:
        live.wait(0.02)
        assert live.running, live.status
    live.cancel()
    live.wait(60)
    assert not live.running and live.status.startswith("Cancelled")
    assert not live._train_button.disabled
    assert live.explorer is not None and not live.result.finished


def test_bad_settings_are_said_in_words_and_nothing_runs(live):
    live._controls["model"].value = "mlp-banana"
    live._train_button.click()
    assert not live.running and live.status.startswith("Network 'mlp-banana' is not known.")
    assert "Traceback" not in live._status.words and "/" not in live.status
    assert not live._train_button.disabled
    live._controls["model"].value = "mlp-100-50"
    assert live.status == ""


def test_impossible_settings_are_said_in_the_words_of_the_controls(live):
    live._controls["rounds"].value, live._controls["rate"].value = 25, 0.9
    live._train_button.click()
    assert live.status.startswith("Rounds 25 at Prune rate 90 % leaves no weight in fc2") and not live.running
    live._arms["shuffle"].value = True
    assert live.status == ""


def test_what_is_typed_out_of_range_is_said_and_not_taken(live):
    boxes = {
        box.description: box
        for box in live._form.children[0].children
        for box in getattr(box, "children", ())
    }
    boxes["Seeds, number"].value = 50
    assert live.status == "Seeds 50 is not possible. Allowed: 1 to 10."
    assert live.settings["seeds"] == boxes["Seeds, number"].value == 2
    boxes["Prune rate in %"].value = 95
    assert live.status == "Prune rate 95 % is not possible. Allowed: 5 to 90 %."
    boxes["Prune rate in %"].value = 35
    assert live.status == ""
    assert live.settings["rate"] == 0.35
    live._controls["rate"].value = 0.6
    assert boxes["Prune rate in %"].value == 60


def test_what_fails_in_the_background_is_said_and_the_button_comes_back(live, monkeypatch):
    monkeypatch.setattr("lthviz.explorer.live.declare", lambda *_, **__: 1 / 0)
    live.train()
    live.wait(120)
    assert "ZeroDivisionError" in live.status and not live._train_button.disabled


def test_changed_settings_are_said(live):
    live.train()
    live.wait(120)
    assert live.cue == ""
    live._controls["rate"].value = 0.5
    assert "the picture below is for" in live.cue and "20 % a round" in live.cue
    live._controls["rate"].value = 0.2
    assert live.cue == ""


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="colour='red' is not a setting"):
        TrainLive(colour="red")


def test_networks_that_are_too_large_for_a_page_are_refused_before_they_are_made():
    live = TrainLive()
    live._controls["model"].value = "mlp-20000-20000"
    live._train_button.click()
    assert not live.running and "404,120,000 weights" in live.status and "at most 50,000,000" in live.status


def test_the_scale_is_that_of_the_results_above_where_the_data_are_the_same():
    from lthviz.explorer.tickets import classroom, usual_accuracy

    low, high = usual_accuracy("mnist-5k-14")
    assert high == max(result.accuracy(arm).max() for result in classroom() for arm in result.arms)
    assert high - low == pytest.approx(0.45)
    assert usual_accuracy("mnist1d") is None


# ---- predict and quiz


def test_predict_a_number():
    card = Predict("How accurate?", 94.2, low=80, high=100, unit="%")
    card.sliders[0].value = 91
    card.button.click()
    assert card.gap == pytest.approx(3.2) and "3.2 points higher" in card.message and card.sliders[0].disabled
    assert card._spoken.words == card.message
    assert "<svg" in card._picture.value and "aria-label" in card._picture.value


def test_nothing_is_revealed_before_a_prediction():
    card = Predict("How accurate?", 94.2, low=80, high=100, unit="%")
    card.button.click()
    assert card.gap is None and "Predict first" in card.message and "94.2" not in card.message
    assert not card.sliders[0].disabled and card._picture.value == ""
    card.sliders[0].value = 95
    card.sliders[0].value = 90  # back in the middle: that is a prediction, too
    card.button.click()
    assert card.gap == pytest.approx(4.2)


@pytest.mark.parametrize(
    ("low", "high", "unit", "step"),
    [(0, 100, "%", 1), (80, 100, "%", 0.5), (0, 8, "points", 0.5), (0, 1, "", 0.01), (0, 5000, "steps", 1)],
)
def test_a_prediction_is_as_fine_as_it_can_be_meant(low, high, unit, step):
    assert Predict("?", float(high), low=low, high=high, unit=unit).sliders[0].step == step


def test_what_was_counted_is_predicted_in_whole_numbers():
    card = Predict("How many people?", 7, low=0, high=10, unit="people")
    card.sliders[0].value = 6
    card.commit()
    assert card.sliders[0].step == 1 and "You said 6 people" in card.message
    assert Predict("How much?", 7.0, low=0, high=10).sliders[0].step == 0.1


def test_predict_a_curve():
    card = Predict("The curve?", [94, 92, 80], x=[100, 10, 1], low=50, high=100, unit="%", x_unit="% density")
    for slider, value in zip(card.sliders, (94, 92, 90)):
        slider.value = value
    card.commit()
    assert card.gap == pytest.approx(10 / 3) and "farthest at 1 % density" in card.message
    with pytest.raises(ValueError, match="x has 2 places, but truth 3 values"):
        Predict("?", [1, 2, 3], x=[1, 2])


def test_marks_of_emphasis_and_code_are_shown_as_such():
    quiz = Quiz(
        "Is `m * theta_0` *the* ticket, 2 * 3 < 7?", ("`yes`", "no"), "`yes`", "It *is*: m * theta_0 * 1."
    )
    shown = quiz.children[0].value
    assert "Is <code>m * theta_0</code> <em>the</em> ticket, 2 * 3 &lt; 7?" in shown
    quiz.options.label = "yes"
    quiz.check()
    assert quiz.correct and quiz.message == "Right. It is: m * theta_0 * 1."


def test_quiz_explains_and_never_raises():
    quiz = Quiz("Which?", ("a", "b"), "b", {"a": "That is the other one.", "b": "Because."})
    quiz.check()
    assert quiz.correct is None and "Choose" in quiz.message
    quiz.options.value = "a"
    quiz.button.click()
    assert quiz.correct is False and "the other one" in quiz.message
    quiz.options.value = "b"
    quiz.check()
    assert quiz.correct is True and quiz.message == "Right. Because."
    with pytest.raises(ValueError, match="answer='c'"):
        Quiz("?", ("a", "b"), "c")
