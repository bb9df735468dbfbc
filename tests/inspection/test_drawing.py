"""Parts that the displays share: matplotlib on demand, axes to draw on, names that fit."""

import importlib
import io
import sys
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

import skfairlatent
from skfairlatent.inspection import (
    CounterfactualDisplay,
    FairnessAccuracyDisplay,
    GroupScoresDisplay,
    LatentCovarianceDisplay,
    TrainingCurvesDisplay,
)
from skfairlatent.inspection._drawing import (
    as_label,
    balanced_grid,
    find_axes,
    largest_of,
    shortened,
)


def test__import__does_without_matplotlib(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("skfairlatent.inspection")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(skfairlatent, "inspection", None)  # so that it is put back afterwards
    inspection = importlib.import_module("skfairlatent.inspection")
    assert inspection.LatentCovarianceDisplay is not LatentCovarianceDisplay


def test__from_latent__without_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    message = r'LatentCovarianceDisplay.from_latent.*pip install "skfairlatent\[plot\]"'
    with pytest.raises(ImportError, match=message):
        LatentCovarianceDisplay.from_latent(np.eye(3), label_slice=slice(0, 1))


class TestFindAxes:
    def test__find_axes__makes_a_figure(self):
        figure, axes = find_axes(None, (2, 3), (6, 4), n_axes=5, caller="Display")
        assert len(axes) == 5
        assert figure.get_size_inches().tolist() == [6, 4]

    def test__find_axes__divides_one(self):
        figure, (left, right) = plt.subplots(1, 2)
        found, axes = find_axes(right, (2, 2), (1, 1), caller="Display")
        assert found is figure
        assert len(axes) == 4
        whole = right.get_subplotspec().get_position(figure)
        for ax in axes:
            assert whole.contains(*ax.get_position().get_points().mean(axis=0))
        assert left in figure.axes

    def test__find_axes__draws_on_one_where_one_is_needed(self):
        _, ax = plt.subplots()
        assert find_axes(ax, (1, 1), (1, 1), caller="Display")[1] == [ax]

    def test__find_axes__takes_as_many_as_are_needed(self):
        _, given = plt.subplots(2, 2)
        assert find_axes(given, (1, 4), (1, 1), caller="Display")[1] == list(given.ravel())

    def test__find_axes__refuses_another_number(self):
        _, given = plt.subplots(1, 3)
        with pytest.raises(ValueError, match=r"ax holds 3 Axes, and Display draws on 2"):
            find_axes(given, (1, 2), (1, 1), caller="Display")

    @pytest.mark.parametrize("given", [3, "left", [3, 4], plt.Figure()])
    @pytest.mark.parametrize("n", [1, 2])
    def test__find_axes__refuses_what_is_no_axes(self, given, n):
        with pytest.raises(TypeError, match=r"ax is, or holds, .*: expected matplotlib Axes"):
            find_axes(given, (1, n), (1, 1), caller="Display")

    def test__find_axes__divides_axes_outside_a_grid(self):
        ax = plt.figure().add_axes((0.1, 0.1, 0.8, 0.8))
        with pytest.raises(ValueError, match=r"plt\.subplots"):
            find_axes(ax, (1, 2), (1, 1), caller="Display")


@pytest.mark.parametrize(
    ("n", "shape"), [(1, (1, 1)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3)), (7, (3, 3))]
)
def test__balanced_grid__has_few_gaps(n, shape):
    assert balanced_grid(n, 3) == shape


class TestShortened:
    def test__shortened__keeps_what_fits(self):
        assert shortened("Male=0, Young=1", 20) == "Male=0, Young=1"

    @pytest.mark.parametrize("lines", [1, 2, 3])
    def test__shortened__fits(self, lines):
        name = ", ".join(f"attribute {i}=value {i}" for i in range(20))
        found = shortened(name, 24, lines).split("\n")
        assert len(found) <= lines
        assert max(map(len, found)) <= 24

    def test__shortened__tells_names_apart_by_their_ends(self):
        names = [f"a very long name of a group that goes on and on, region {i}" for i in range(3)]
        assert len({shortened(name, 20) for name in names}) == 3


def test__as_label__writes_out_what_cannot_be_shown():
    assert as_label("a\x1b[31m\nb\ud800\u202e\ufffe") == r"a\x1b[31m\nb\ud800\u202e\ufffe"
    assert as_label("שלום 😀 $x_{$ 100 %") == "שלום 😀 $x_{$ 100 %"
    assert as_label(3) == "3"


@pytest.mark.parametrize(
    ("values", "expected"), [([], 0.1), ([np.nan, 0.2, np.inf], 0.2), ([np.nan], 0.1)]
)
def test__largest_of__leaves_out_what_is_undefined(values, expected):
    assert largest_of(values, 0.1) == expected


NAMES = ["$x_{$ 100 %\\", "a\ud800\x00\x1b\n<b>&", "b" * 400]


def _drawn_with_names(name):
    half = np.arange(60) % 2
    groups = pd.DataFrame({name: np.where(half, name, "b")})
    scores = np.random.default_rng(0).random(60)
    yield GroupScoresDisplay(
        np.where(half, name, "c"), scores, half, groups, score_name=name, rates=[name, name]
    ).plot()
    yield CounterfactualDisplay(
        {name: [[[0.8, 0.2], [0.3, 0.7]]], "other": [[[0.2, 0.2, 0.6], [0.1, 0.1, 0.8]]]},
        {name: [name, "c"], "other": [name, "c", "d"]},
        row_names=[name],
        edit_names=[name],
        images=None,
    ).plot()
    yield CounterfactualDisplay(
        {name: [[[0.8, 0.2], [0.3, 0.7]]]},
        {name: [name, "c"]},
        row_names=[name],
        edit_names=[name],
        images=np.zeros((1, 2, 4, 4, 3), dtype=np.uint8),
    ).plot()
    yield FairnessAccuracyDisplay(
        [0.9, 0.8],
        [0.2, 0.1],
        params=[{name: name}, {name: "c"}],
        best_index=0,
        accuracy_name=name,
        fairness_name=name,
    ).plot()
    history = pd.DataFrame({"epoch": [1, 2], "loss": [1.0, 0.5], f"loss_{name}": [1.0, 0.5]})
    yield TrainingCurvesDisplay(history, weights={name: 1.0}).plot()


@pytest.mark.parametrize("name", NAMES)
@pd.option_context("mode.string_storage", "python")  # pyarrow refuses lone surrogates
def test__displays__take_names_as_they_are(name):
    """No formulas, whatever they hold; nothing that an SVG cannot hold."""
    for display in _drawn_with_names(name):
        file = io.StringIO()
        with plt.rc_context({"svg.fonttype": "none"}):
            display.figure_.savefig(file, format="svg")
        ElementTree.fromstring(file.getvalue())  # noqa: S314 - written here


def test__names__do_not_go_through_tex_where_the_user_sets_it():
    with plt.rc_context({"text.usetex": True}):
        named = [
            text
            for display in _drawn_with_names("100_%")
            for text in display.figure_.findobj(Text)
            if "100_%" in text.get_text()
        ]
    assert len(named) > 10
    assert not any(text.get_usetex() for text in named)


def test__undefined_probabilities__are_written_so(texts):
    nan = float("nan")
    display = CounterfactualDisplay(
        {"hired": [[[0.8, 0.2], [nan, nan]]], "part": [[[nan] * 3, [0.1, 0.1, 0.8]]]},
        {"hired": [0, 1], "part": ["a", "b", "c"]},
    ).plot()
    found = texts(display.figure_)
    assert "0.20 → undefined" in found
    assert "undefined → c 0.80" in found
    assert not any(reading.changed.any() for reading in display.readings)
    display.figure_.draw_without_rendering()


def test__plot__leaves_the_global_style_alone():
    before = dict(plt.rcParams)
    rng = np.random.default_rng(0)
    LatentCovarianceDisplay.from_latent(rng.normal(size=(50, 4)), label_slice=slice(0, 1))
    GroupScoresDisplay.from_predictions(
        [0, 1] * 25, rng.random(50), sensitive_features=[0, 1] * 25
    )
    assert dict(plt.rcParams) == before


@pytest.mark.parametrize("style", ["dark_background", {"font.size": 20}])
def test__text__is_seen_on_a_dark_background_and_titles_do_not_overlap(style):
    y, groups = np.arange(80) % 2, np.arange(80) // 2 % 2
    with plt.style.context(style):
        display = GroupScoresDisplay(y, np.linspace(0, 1, 80), y == 1, groups, threshold=0.5)
        display.plot()
        figure = display.figure_
        figure.draw_without_rendering()
        ax = figure.axes[0]
        texts = [text for text in ax.texts if text.get_text().startswith(("≥", "0%"))]
        assert texts
        assert all(text.get_color() == plt.rcParams["text.color"] for text in texts)
        title, subtitle = (
            next(each for each in ax.findobj(Text) if each.get_text().startswith(begin))
            for begin in ("true label", "share selected")
        )
        assert title.get_window_extent().y0 >= subtitle.get_window_extent().y1 - 1
    plt.close(figure)
