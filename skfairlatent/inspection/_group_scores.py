"""Display of the distribution of scores in each group, within each label."""

__all__ = ["GroupScoresDisplay"]

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import column_or_1d

from skfairlatent._validation.containers import reject_container, reject_other_order
from skfairlatent._validation.groups import check_length, encode_columns
from skfairlatent.inspection._drawing import (
    BLUE,
    GREY,
    LIGHT,
    PALE_BLUE,
    VERBATIM,
    balanced_grid,
    find_axes,
    ink,
    plain_axes,
    pyplot,
    set_titles,
    shortened,
)
from skfairlatent.metrics._group_counts import class_positions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

N_BINS = 40
NAME_WIDTH = 28
NAME_LINES = 3
# Panels side by side, before another line of them is begun.
N_COLUMNS = 3
MOST_LABELS = 12

Array = npt.NDArray[Any]

# With fewer rows, each score is drawn: a histogram would show chance.
FEWEST_ROWS = 20
# Share of the band of a group that its histogram fills.
HEIGHT = 0.8


class GroupScoresDisplay:
    """Distribution of scores by sensitive group, with one panel for each true label.

    All rows of a panel have the same true label, so that groups whose dark parts differ are
    treated differently. The share of the dark part, shown at the right, is the false and the true
    positive rate for two classes, and the recall for several. Equalised odds requires it to be
    equal in all groups of a panel; the title shows the gap. Groups of fewer than 20 rows, whose
    scores are drawn one by one, do not count for the gap. Use :meth:`from_estimator` or
    :meth:`from_predictions` to create a display.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.

    scores : array-like of shape (n_samples,)
        Scores, drawn along the horizontal axis.

    selected : array-like of shape (n_samples,), bool
        Rows to draw dark and to count.

    groups : array-like of shape (n_samples,) or (n_samples, n_attributes)
        Sensitive groups; several columns are crossed.

    threshold : float, default=None
        Score above which rows are selected, to be marked; None if there is no threshold.

    rates : sequence of str, default=None
        Name of the share of selected rows, for each label in sorted order.

    score_name : str, default="score"
        Name of the horizontal axis.

    Attributes
    ----------
    shares : ndarray of shape (n_labels, n_groups)
        Share of selected rows; NaN if there are no rows.

    counts : ndarray of shape (n_labels, n_groups)
        Number of rows.

    labels, group_names : list
        Names of the rows and columns of `shares` and `counts`.

    axes_ : ndarray of Axes
        One for each label, after `plot`.

    figure_ : Figure
        Figure of the axes, after `plot`.

    Raises
    ------
    ValueError
        If lengths differ, values are missing or not finite, or there are more than 12 labels.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from skfairlatent.inspection import GroupScoresDisplay
    >>> rng = np.random.default_rng(0)
    >>> y, group = rng.integers(2, size=(2, 1000))
    >>> scores = rng.beta(2 + y + group, 3, size=1000)
    >>> display = GroupScoresDisplay.from_predictions(y, scores, sensitive_features=group)
    >>> display.shares.shape
    (2, 2)
    >>> plt.close(display.figure_)
    """

    axes_: Any
    figure_: "Figure"

    def __init__(
        self,
        y_true: Any,
        scores: Any,
        selected: Any,
        groups: Any,
        *,
        threshold: float | None = None,
        rates: Sequence[str] | None = None,
        score_name: str = "score",
    ) -> None:
        y_true = column_or_1d(y_true)
        self.scores = column_or_1d(scores, dtype=np.float64)
        self.selected = column_or_1d(selected).astype(bool)
        crossed = encode_columns(groups).crossed
        self.group_codes, self.group_names = crossed.codes, crossed.values
        given = {"scores": self.scores, "selected": self.selected, "groups": self.group_codes}
        for name, values in given.items():
            check_length(name, len(values), len(y_true), "y_true")
        if not np.isfinite(self.scores).all():
            raise ValueError("scores hold NaN or infinite values: leave these rows out.")
        self.labels, self.label_codes = np.unique(y_true, return_inverse=True)
        if len(self.labels) > MOST_LABELS:
            raise ValueError(
                f"y_true holds {len(self.labels)} labels, and a panel is drawn for each: expected "
                f"at most {MOST_LABELS}. Give class labels, and the rows of some labels only."
            )
        self.threshold = threshold
        self.rates = rates
        self.score_name = score_name
        self.counts, self.shares = self._count()

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        sensitive_features: Any,
        threshold: float | None = None,
        ax: Any = None,
    ) -> Self:
        """Plot the scores of a fitted classifier.

        Parameters
        ----------
        estimator : classifier or Pipeline
            Fitted classifier with ``predict_proba`` or ``decision_function``.

        X : array-like
            Input of the estimator, preferably rows that it was not fitted on.

        y : array-like of shape (n_samples,)
            True labels.

        sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
            Sensitive groups; several columns are crossed.

        threshold : float, default=None
            Score above which the second of two classes is predicted; by default 0.5 for
            probabilities and 0 for a decision function.

        ax : Axes or array-like of Axes, default=None
            Axes to draw on, as for :meth:`plot`.

        Returns
        -------
        display : GroupScoresDisplay
            The display, already plotted.

        Raises
        ------
        TypeError
            If the estimator does not return scores.
        ImportError
            If matplotlib is not installed.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        classes = getattr(estimator, "classes_", None)
        if hasattr(estimator, "predict_proba"):
            scores, default, name = estimator.predict_proba(X), 0.5, "probability"
        elif hasattr(estimator, "decision_function"):
            scores, default, name = estimator.decision_function(X), 0.0, "decision function"
        else:
            raise TypeError(
                f"{type(estimator).__name__} has neither predict_proba nor decision_function: "
                "give a fitted classifier that has one, or scores to from_predictions."
            )
        n_rows = len(scores)  # X may be anything that the estimator takes
        check_length("y", len(column_or_1d(y)), n_rows)
        encoded = encode_columns(sensitive_features)
        check_length("sensitive_features", len(encoded.crossed.codes), n_rows)
        reject_other_order(y_true=y, sensitive_features=sensitive_features)
        return cls.from_predictions(
            y,
            scores,
            sensitive_features=encoded,
            threshold=default if threshold is None else threshold,
            classes=classes,
            score_name=name,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        scores: Any,
        *,
        sensitive_features: Any,
        threshold: float = 0.5,
        classes: Any = None,
        score_name: str = "score",
        ax: Any = None,
    ) -> Self:
        """Plot scores.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels.

        scores : array-like of shape (n_samples,) or (n_samples, n_classes)
            Scores of the second of two classes, or of each class. For several classes, the score
            of the true label is drawn, and rows for which it is the largest score are counted.

        sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
            Sensitive groups; several columns are crossed.

        threshold : float, default=0.5
            Score above which the second of two classes is predicted.

        classes : array-like of shape (n_classes,), default=None
            Labels of the columns of `scores`; None means those in `y_true`, sorted.

        score_name : str, default="score"
            Name of the scores.

        ax : Axes or array-like of Axes, default=None
            Axes to draw on, as for :meth:`plot`.

        Returns
        -------
        display : GroupScoresDisplay
            The display, already plotted.

        Raises
        ------
        ValueError
            If shapes are not consistent, or labels are not in `classes`.
        ImportError
            If matplotlib is not installed.
        """
        pyplot(f"{cls.__name__}.from_predictions")
        reject_container("y_true", y_true)
        reject_other_order(y_true=y_true, sensitive_features=sensitive_features)
        labels = column_or_1d(y_true)
        classes = np.unique(labels) if classes is None else np.asarray(classes)
        scores = np.asarray(scores, dtype=np.float64)
        _check_scores(scores, labels, classes)
        encoded = encode_columns(sensitive_features)
        check_length("sensitive_features", len(encoded.crossed.codes), len(labels), "y_true")
        if len(classes) > 2:
            codes = class_positions(labels, classes)
            display = cls(
                labels,
                scores[np.arange(len(labels)), codes],
                scores.argmax(axis=1) == codes,
                encoded,
                rates=["recall"] * len(classes),
                score_name=f"{score_name} of the true label",
            )
            return display.plot(ax)
        scores = scores[:, -1] if scores.ndim == 2 else scores
        rates = "false positive rate", "true positive rate"
        display = cls(
            labels,
            scores,
            scores >= threshold,
            encoded,
            threshold=threshold,
            rates=[rates[code] for code in class_positions(np.unique(labels), classes)],
            score_name=f"{score_name} of label {classes[-1]}",
        )
        return display.plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Plot the display.

        Parameters
        ----------
        ax : Axes or array-like of Axes, default=None
            Axes to draw on: one, which is divided into panels, or an array, one for each label.
            None creates a figure of a suitable size.

        Returns
        -------
        self : GroupScoresDisplay
            The display, with `axes_` and `figure_`.
        """
        n_labels, n_groups = self.shares.shape
        shape = balanced_grid(n_labels, N_COLUMNS)
        names = [shortened(name, NAME_WIDTH, NAME_LINES) for name in self.group_names]
        row_height = max(0.42, 0.17 * max(name.count("\n") + 1 for name in names))
        size = 3.7 * shape[1] + 1.6, shape[0] * (1.3 + row_height * max(n_groups, 2))
        self.figure_, axes = find_axes(
            ax, shape, size, n_axes=n_labels, caller=type(self).__name__
        )
        edges = np.histogram_bin_edges(self.scores, N_BINS, self._limits())
        for label, panel in enumerate(axes):
            self._draw(panel, label, edges)
            if label % shape[1] == 0:
                panel.set_yticks(range(n_groups), names, **VERBATIM)
            else:
                panel.set_yticks([])
        self.axes_ = np.array(axes, dtype=object)
        return self

    def _count(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        counts = np.zeros((len(self.labels), len(self.group_names)), dtype=np.int64)
        np.add.at(counts, (self.label_codes, self.group_codes), 1)
        hits = np.zeros(counts.shape)
        np.add.at(hits, (self.label_codes, self.group_codes), self.selected)
        shares = np.full(counts.shape, np.nan)
        return counts, np.divide(hits, counts, out=shares, where=counts > 0)

    def _limits(self) -> tuple[float, float]:
        """Return the range of the axis: [0, 1] for what may be probabilities."""
        shown = self.scores if self.threshold is None else [*self.scores, self.threshold]
        low, high = float(np.min(shown)), float(np.max(shown))
        if low >= 0 and high <= 1:
            return 0.0, 1.0
        margin = 0.02 * (high - low) or 0.5
        return low - margin, high + margin

    def _draw(self, ax: "Axes", label: int, edges: Array) -> None:
        plain_axes(ax, ("top", "right", "left"))
        ax.tick_params(axis="y", length=0)
        ax.set(xlim=(edges[0], edges[-1]), ylim=(len(self.group_names) - 0.5, -0.95))
        ax.set_xlabel(shortened(self.score_name, NAME_WIDTH, 2), fontsize="small", **VERBATIM)
        if self.threshold is not None:
            ax.axvline(self.threshold, color=ink(), lw=1, zorder=4)
            ax.annotate(
                f"≥ {self.threshold:g}",
                (self.threshold, 1),
                xycoords=("data", "axes fraction"),
                xytext=(3, 0),
                textcoords="offset points",
                va="top",
                color=ink(),
                fontsize="small",
                **VERBATIM,
            )
        for group in range(len(self.group_names)):
            rows = (self.label_codes == label) & (self.group_codes == group)
            draw_scores(ax, group, self.scores[rows], self.selected[rows], edges)
            write_share(ax, group, self.shares[label, group], self.counts[label, group])
        name = shortened(str(self.labels[label]), NAME_WIDTH)
        set_titles(ax, f"true label {name}", self._subtitle(label))

    def _subtitle(self, label: int) -> str:
        """Say what the dark share is, and how far it differs between groups of some size."""
        named = self.rates[label] if self.rates else "share selected"
        rate = f"{shortened(named, NAME_WIDTH)} (dark)"
        is_large = self.counts[label] >= FEWEST_ROWS
        if is_large.sum() < 2:
            return rate
        gap = f"{rate}, gap {np.ptp(self.shares[label][is_large]):.2f}"
        return gap if is_large.all() else f"{gap} where n ≥ {FEWEST_ROWS}"


def _check_scores(scores: Array, labels: Array, classes: Array) -> None:
    unknown = np.unique(labels[class_positions(labels, classes) < 0])
    if len(unknown):
        raise ValueError(
            f"y_true holds {unknown.tolist()}, which are not in classes {classes.tolist()}: give "
            "labels as the classifier was trained on them."
        )
    n = len(labels)
    expected = [(n, len(classes))] + ([(n,)] if len(classes) == 2 else [])
    if scores.shape not in expected:
        raise ValueError(
            f"scores has shape {scores.shape}: for {n} rows and the classes {classes.tolist()} "
            f"expected {' or '.join(map(str, expected))}. Pass classes= if y_true lacks some."
        )


def draw_scores(ax: "Axes", group: int, scores: Array, selected: Array, edges: Array) -> None:
    """Draw the scores of a group, those selected dark, in the band around y = `group`."""
    base = group + HEIGHT / 2
    ax.axhline(base, color=LIGHT, lw=0.8, zorder=1)
    if len(scores) < FEWEST_ROWS:
        for is_selected, colour in ((False, PALE_BLUE), (True, BLUE)):
            shown = scores[selected == is_selected]
            ax.vlines(shown, base - HEIGHT / 2, base, color=colour, lw=1.5, zorder=3)
        return
    total, _ = np.histogram(scores, edges)
    dark, _ = np.histogram(scores[selected], edges)
    # All of it pale, then the selected part over it.
    for heights, colour in ((total, PALE_BLUE), (dark, BLUE)):
        tops = base - HEIGHT * heights / total.max()
        ax.stairs(tops, edges, baseline=base, fill=True, color=colour, zorder=2)


def write_share(ax: "Axes", group: int, share: float, count: int) -> None:
    """Write the share of selected rows at the right of a group's band."""
    ax.annotate(
        f"{share:.0%} of {count:,}" if count else "no rows",
        (1, group + HEIGHT / 2),
        xycoords=("axes fraction", "data"),
        xytext=(6, 0),
        textcoords="offset points",
        va="bottom",
        color=ink() if count >= FEWEST_ROWS else GREY,
        fontsize="small",
        **VERBATIM,
    )
