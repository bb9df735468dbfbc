"""What the displays share: matplotlib on demand, axes to draw on, names that fit."""

import importlib
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

import skfairlatent
from skfairlatent.inspection import GroupScoresDisplay, LatentCovarianceDisplay
from skfairlatent.inspection._drawing import balanced_grid, find_axes, shortened


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


def test__plot__leaves_the_global_style_alone():
    before = dict(plt.rcParams)
    rng = np.random.default_rng(0)
    LatentCovarianceDisplay.from_latent(rng.normal(size=(50, 4)), label_slice=slice(0, 1))
    GroupScoresDisplay.from_predictions(
        [0, 1] * 25, rng.random(50), sensitive_features=[0, 1] * 25
    )
    assert dict(plt.rcParams) == before
