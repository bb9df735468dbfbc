"""Scores by group: the shares are the rates, and every group of any number of labels is drawn."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from fairlearn.metrics import MetricFrame, false_positive_rate, true_positive_rate
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.svm import LinearSVC

from skfairlatent.inspection import GroupScoresDisplay
from skfairlatent.metrics import equalized_odds_difference

RATES = {"false positives": false_positive_rate, "true positives": true_positive_rate}


def _draw(n=400, n_labels=2, n_groups=2, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(n_labels, size=n)
    group = rng.integers(n_groups, size=n)
    if n_labels == 2:
        return y, rng.beta(2 + y + group, 3), group
    scores = rng.dirichlet(np.ones(n_labels), size=n)
    scores[np.arange(n), y] += 0.3
    return y, scores / scores.sum(axis=1, keepdims=True), group


class TestShares:
    def test__from_estimator__shares_are_the_rates_of_a_metric_frame(self, pipe, data):
        display = GroupScoresDisplay.from_estimator(
            pipe, data.data, data.target, sensitive_features=data.sensitive_features
        )
        frame = MetricFrame(
            metrics=RATES,
            y_true=data.target,
            y_pred=pipe.predict(data.data),
            sensitive_features=data.sensitive_features,
        )
        np.testing.assert_allclose(display.shares, frame.by_group.to_numpy(dtype=float).T)
        assert display.group_names[0] == "gender=female, age=30-60"

    def test__from_predictions__gaps_are_those_of_equalised_odds(self, texts):
        y, scores, group = _draw()
        display = GroupScoresDisplay.from_predictions(
            y, scores, sensitive_features=group, threshold=0.6
        )
        gap = equalized_odds_difference(y, scores >= 0.6, sensitive_features=group, agg="mean")
        assert np.ptp(display.shares, axis=1).mean() == pytest.approx(gap)
        for label, ax in enumerate(display.axes_):
            assert f"gap {np.ptp(display.shares[label]):.2f}" in " ".join(texts(ax))
            assert f"true label {label}" in texts(ax)

    def test__from_predictions__of_several_classes_shares_are_the_recall(self, texts):
        y, scores, group = _draw(n_labels=3)
        display = GroupScoresDisplay.from_predictions(y, scores, sensitive_features=group)
        hit = scores.argmax(axis=1) == y
        for label in range(3):
            for g in range(2):
                expected = hit[(y == label) & (group == g)].mean()
                assert display.shares[label, g] == pytest.approx(expected)
        assert display.threshold is None
        assert "recall" in " ".join(texts(display.axes_[0]))

    def test__from_predictions__two_columns_are_those_of_predict_proba(self):
        y, scores, group = _draw()
        both = np.column_stack((1 - scores, scores))
        one = GroupScoresDisplay.from_predictions(y, scores, sensitive_features=group)
        two = GroupScoresDisplay.from_predictions(y, both, sensitive_features=group)
        np.testing.assert_array_equal(one.shares, two.shares)

    def test__from_predictions__rows_of_one_label_only(self, texts):
        y, scores, group = _draw()
        display = GroupScoresDisplay.from_predictions(
            y[y == 1], scores[y == 1], sensitive_features=group[y == 1], classes=[0, 1]
        )
        assert display.shares.shape == (1, 2)
        assert "true positive rate" in " ".join(texts(display.axes_[0]))


class TestFromEstimator:
    def test__from_estimator__takes_a_decision_function(self, data):
        model = LinearSVC().fit(data.data, data.target)
        display = GroupScoresDisplay.from_estimator(
            model, data.data, data.target, sensitive_features=data.sensitive_features["gender"]
        )
        assert display.threshold == 0
        selected = np.average(display.shares, weights=display.counts)
        assert selected == pytest.approx(model.predict(data.data).mean())

    def test__from_estimator__names_the_class(self, data, texts):
        names = np.array(["no", "yes"])[data.target]
        model = LogisticRegression(max_iter=1000).fit(data.data, names)
        display = GroupScoresDisplay.from_estimator(
            model, data.data, names, sensitive_features=data.sensitive_features["gender"]
        )
        assert "probability of label yes" in texts(display.axes_[0])
        assert "true label no" in texts(display.axes_[0])

    def test__from_estimator__needs_scores(self, data):
        class Plain(NearestCentroid):
            predict_proba = decision_function = property()

        with pytest.raises(TypeError, match="neither predict_proba nor decision_function"):
            GroupScoresDisplay.from_estimator(
                Plain(), data.data, data.target, sensitive_features=data.target
            )


class TestPlot:
    def test__plot__small_groups_are_drawn_row_by_row_and_left_out_of_the_gap(self, texts):
        y, scores, group = _draw()
        group[:3] = 2  # of three rows
        display = GroupScoresDisplay.from_predictions(y, scores, sensitive_features=group)
        for label, ax in enumerate(display.axes_):
            gap = np.ptp(display.shares[label, :2])
            assert f"gap {gap:.2f} where n ≥ 20" in " ".join(texts(ax))
            drawn = sum(len(lines.get_segments()) for lines in ax.collections)
            assert drawn == display.counts[label, 2]

    def test__plot__an_empty_cell_says_so(self, texts):
        y, scores, group = _draw()
        group[y == 1] = 0
        display = GroupScoresDisplay.from_predictions(y, scores, sensitive_features=group)
        assert np.isnan(display.shares[1, 1])
        assert "no rows" in texts(display.axes_[1])

    @pytest.mark.slow
    def test__plot__twelve_groups_of_long_names_and_five_labels(self):
        y, scores, group = _draw(1500, n_labels=5, n_groups=12)
        names = [f"a group whose name is so long that it fills several lines: {i}" for i in group]
        display = GroupScoresDisplay.from_predictions(y, scores, sensitive_features=names)
        assert display.axes_.shape == (5,)
        ticks = [text.get_text() for text in display.axes_[0].get_yticklabels()]
        assert len(set(ticks)) == 12
        display.figure_.canvas.draw()
        boxes = [text.get_window_extent() for text in display.axes_[0].get_yticklabels()]
        assert all(upper.y0 >= lower.y1 - 1 for upper, lower in itertools.pairwise(boxes))

    def test__plot__the_threshold_is_marked(self, texts):
        y, scores, group = _draw()
        display = GroupScoresDisplay.from_predictions(
            y, scores, sensitive_features=group, threshold=0.25
        )
        assert "≥ 0.25" in texts(display.axes_[0])
        assert any(np.allclose(line.get_xdata(), 0.25) for line in display.axes_[0].lines)

    def test__plot__scores_all_alike(self):
        display = GroupScoresDisplay.from_predictions(
            [0, 1] * 30, [7.0] * 60, sensitive_features=[0, 0, 1, 1] * 15
        )
        display.figure_.canvas.draw()

    def test__plot__into_given_axes(self):
        _, axes = plt.subplots(1, 2)
        y, scores, group = _draw()
        display = GroupScoresDisplay.from_predictions(y, scores, sensitive_features=group, ax=axes)
        assert list(display.axes_) == list(axes)


class TestErrors:
    def test__from_predictions__unknown_label(self):
        y, scores, group = _draw()
        with pytest.raises(ValueError, match=r"y_true holds \[1\], which are not in classes"):
            GroupScoresDisplay.from_predictions(
                y, scores, sensitive_features=group, classes=[0, 5]
            )

    def test__from_predictions__shape_of_the_scores(self):
        y, scores, group = _draw(n_labels=3)
        with pytest.raises(ValueError, match=r"expected \(400, 3\)"):
            GroupScoresDisplay.from_predictions(y, scores[:, 0], sensitive_features=group)

    @pytest.mark.parametrize("short", ["y", "sensitive_features"])
    def test__from_estimator__names_what_has_another_length(self, pipe, data, short):
        given = {"y": data.target, "sensitive_features": data.sensitive_features}
        given[short] = given[short][:5]
        message = f"X has {len(data.data)} rows and {short} has 5. Give {short} one value"
        with pytest.raises(ValueError, match=message):
            GroupScoresDisplay.from_estimator(pipe, data.data, **given)

    def test__from_predictions__names_what_has_another_length(self):
        y, scores, group = _draw()
        with pytest.raises(ValueError, match="y_true has 400 rows and sensitive_features has 5"):
            GroupScoresDisplay.from_predictions(y, scores, sensitive_features=group[:5])
        with pytest.raises(ValueError, match="y_true has 400 rows and groups has 5"):
            GroupScoresDisplay(y, scores, scores > 0.5, group[:5])

    def test__init__non_finite_scores(self):
        y, scores, group = _draw()
        scores[3] = np.nan
        with pytest.raises(ValueError, match="NaN or infinite"):
            GroupScoresDisplay(y, scores, scores > 0.5, group)

    def test__init__too_many_labels(self):
        y = np.arange(40)
        with pytest.raises(ValueError, match="40 labels"):
            GroupScoresDisplay(y, y / 40, y > 20, y % 2)


@pytest.mark.parametrize("kind", [bool, np.int8, float, object])
def test__labels__equal_those_of_the_classifier_whatever_holds_them(kind):
    y = (np.arange(40) % 3 == 0).astype(kind)
    scores = np.linspace(0, 1, 40)
    for classes in ([0, 1], np.array([False, True])):
        display = GroupScoresDisplay.from_predictions(
            y, scores, sensitive_features=np.arange(40) % 2, classes=classes
        )
        assert display.rates == ["false positive rate", "true positive rate"]


def test__classes__name_the_columns_in_their_order():
    y = np.array(["c", "a", "b"] * 10)
    scores = np.eye(3)[np.arange(30) % 3]  # columns c, a, b: each row's own is 1
    display = GroupScoresDisplay.from_predictions(
        y, scores, classes=["c", "a", "b"], sensitive_features=np.arange(30) // 3 % 2
    )
    assert (display.scores == 1).all()
    assert display.selected.all()


def test__one_group_and_scores_that_are_all_the_same__are_drawn(texts):
    display = GroupScoresDisplay.from_predictions(
        [0, 1] * 20, np.full(40, 3.0), sensitive_features=["all"] * 40, threshold=3.0
    )
    display.figure_.draw_without_rendering()
    assert "100% of 20" in texts(display.axes_[0])
