"""Accuracy against fairness of the candidates of a search."""

__all__ = ["FairnessAccuracyDisplay"]

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from skfairlatent._user_warnings import warn_user
from skfairlatent._wording import some_of
from skfairlatent.exceptions import UndefinedMetricWarning
from skfairlatent.inspection._drawing import (
    BLUE,
    GREEN,
    GREY,
    LIGHT,
    VERBATIM,
    VERMILION,
    find_axes,
    ink,
    plain_axes,
    pyplot,
    set_titles,
    shortened,
    write_undefined,
)
from skfairlatent.selection import MostAccurateWithin, criterion_of, pareto_front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# How the scores of skfairlatent.metrics.fairness_scorers read on an axis.
NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "equalized_odds": "equalised odds gap, mean over labels",
    "equalized_odds_worst": "equalised odds gap, largest",
    "demographic_parity": "demographic parity gap",
    "demographic_parity_ratio": "demographic parity ratio",
    "true_positive_rate_parity": "gap of true positive rates",
    "worst_group_accuracy": "worst-group accuracy",
}
# Scores of which more is fairer, also where they are 0 for each candidate.
SCORES_OF_FAIRNESS = ("worst_group_accuracy", "demographic_parity_ratio")
# With more candidates than this, only those that matter have error bars.
MOST_BARS = 20
# Parameters of the chosen candidate that are written out.
MOST_PARAMS = 4
TEXT_WIDTH = 34

Floats = npt.NDArray[np.float64]


class FairnessAccuracyDisplay:
    """Accuracy against fairness of the candidates of a search, with the frontier and the choice.

    Candidates on the frontier are filled: no other is both fairer and more accurate. The line
    shows the best accuracy for each bound on unfairness. Use :meth:`from_search` to create a
    display.

    Parameters
    ----------
    accuracy, fairness : array-like of shape (n_candidates,)
        Means over the folds. Candidates with NaN are left out; if none is left, the panel says
        that the plot is undefined. `fairness` is a gap, or, with `greater_is_better`, a score.

    accuracy_std, fairness_std : array-like of shape (n_candidates,), default=None
        Standard deviations over the folds, for the error bars; None or NaN means no bar.

    params : sequence of dict, default=None
        Parameters of each candidate. Those of the chosen candidate that vary are shown.

    best_index : int, default=None
        Position of the chosen candidate.

    bound : float, default=None
        Largest allowed gap, to be marked.

    accuracy_name, fairness_name : str
        Names of the scores, by default ``"accuracy"`` and ``"equalized_odds"``.

    greater_is_better : bool, default=False
        Whether higher values of `fairness` are fairer, as for worst-group accuracy.

    Attributes
    ----------
    front : ndarray of int
        Positions of the candidates on the frontier, from the fairest to the most accurate.

    ax_ : Axes
        Axes of the plot, after `plot`.

    figure_ : Figure
        Figure of the axes, after `plot`.

    Raises
    ------
    ValueError
        If lengths differ.

    Warns
    -----
    UndefinedMetricWarning
        If no candidate has both scores.

    See Also
    --------
    skfairlatent.selection.pareto_front : The frontier as a table.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skfairlatent.inspection import FairnessAccuracyDisplay
    >>> display = FairnessAccuracyDisplay(
    ...     accuracy=[0.83, 0.81, 0.78],
    ...     fairness=[0.21, 0.04, 0.06],
    ...     params=[{"C": 1}, {"C": 2}, {"C": 3}],
    ...     best_index=1,
    ... ).plot()
    >>> display.front.tolist()
    [1, 0]
    >>> plt.close(display.figure_)
    """

    ax_: "Axes"
    figure_: "Figure"

    def __init__(  # noqa: PLR0913 - arrays, and what to call them
        self,
        accuracy: Any,
        fairness: Any,
        *,
        accuracy_std: Any = None,
        fairness_std: Any = None,
        params: Sequence[Mapping[str, Any]] | None = None,
        best_index: int | None = None,
        bound: float | None = None,
        accuracy_name: str = "accuracy",
        fairness_name: str = "equalized_odds",
        greater_is_better: bool = False,
    ) -> None:
        given = {
            "accuracy": accuracy,
            "fairness": fairness,
            "accuracy_std": accuracy_std,
            "fairness_std": fairness_std,
        }
        scores = {
            name: np.asarray(np.nan if values is None else values, dtype=np.float64)
            for name, values in given.items()
        }
        n = scores["accuracy"].size
        lengths = {name: values.size for name, values in scores.items() if values.ndim}
        lengths |= {} if params is None else {"params": len(params)}
        if set(lengths.values()) != {n}:
            raise ValueError(f"Lengths differ: {lengths}. Expected one entry per candidate.")
        self.accuracy, self.fairness, self.accuracy_std, self.fairness_std = (
            np.broadcast_to(values, n) for values in scores.values()
        )
        self.params = params
        self.best_index = best_index
        self.bound = bound
        self.accuracy_name = accuracy_name
        self.fairness_name = fairness_name
        self.greater_is_better = greater_is_better
        self.front = self._front()

    @classmethod
    def from_search(
        cls,
        search: Any,
        *,
        fairness: str | None = None,
        accuracy: str | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Plot the candidates of a fitted search.

        Parameters
        ----------
        search : GridSearchCV, FairLatentTransformerCV or the like
            Fitted search with ``scoring=fairness_scorers()`` or other named scores.

        fairness : str, default=None
            Name of the fairness score. None means that of `refit`, if it is a
            :class:`~skfairlatent.selection.MostAccurateWithin` with a name, otherwise that of the
            criterion of the scorers.

        accuracy : str, default=None
            Name of the other score. None means that of `refit`, otherwise ``"accuracy"``.

        ax : Axes, default=None
            Axes to draw on; None creates a new figure.

        Returns
        -------
        display : FairnessAccuracyDisplay
            The display, already plotted. Differences, which scikit-learn negates as scores, are
            shown as differences.

        Raises
        ------
        ValueError
            If the search is not fitted, or has no such scores.
        ImportError
            If matplotlib is not installed.
        """
        pyplot(f"{cls.__name__}.from_search")
        results = getattr(search, "cv_results_", None)
        if results is None:
            raise ValueError(
                f"{type(search).__name__} has no cv_results_: expected a fitted search, such as "
                "GridSearchCV(..., scoring=fairness_scorers()).fit(X, y, sensitive_features=s)."
            )
        rule = getattr(search, "rule_", None) or getattr(search, "refit", None)
        rule = rule if isinstance(rule, MostAccurateWithin) else None
        accuracy = accuracy or (rule.accuracy if rule else "accuracy")
        by_rule = (rule.fairness if rule else None) or criterion_of(results)
        fairness = fairness or by_rule
        accuracies, gaps = _scores(results, accuracy), _scores(results, fairness)
        # Differences are negated, so that only scores of which more is better are above 0.
        greater_is_better = fairness in SCORES_OF_FAIRNESS or bool((gaps[0] > 0).any())
        display = cls(
            accuracies[0],
            gaps[0] if greater_is_better else np.abs(gaps[0]),
            accuracy_std=accuracies[1],
            fairness_std=gaps[1],
            params=results.get("params"),
            best_index=getattr(search, "best_index_", None),
            bound=rule.bound if rule and fairness == by_rule else None,
            accuracy_name=accuracy,
            fairness_name=fairness,
            greater_is_better=greater_is_better,
        )
        return display.plot(ax)

    def plot(self, ax: "Axes | None" = None, *, error_bars: bool = True) -> Self:
        """Plot the display.

        Parameters
        ----------
        ax : Axes, default=None
            Axes to draw on; None creates a new figure.

        error_bars : bool, default=True
            Whether to show one standard deviation over the folds on each side.

        Returns
        -------
        self : FairnessAccuracyDisplay
            The display, with `ax_` and `figure_`.
        """
        self.figure_, (self.ax_,) = find_axes(ax, (1, 1), (6.4, 4.6), caller=type(self).__name__)
        plain_axes(self.ax_)
        self._set_names(error_bars=error_bars)
        if not len(self.front):
            write_undefined(self.ax_)
            self.ax_.set_xticks([])
            return self
        self._draw_candidates(error_bars=error_bars)
        self._draw_front()
        self._draw_bound()
        self._draw_best()
        return self

    @property
    def _is_shown(self) -> npt.NDArray[np.bool_]:
        return np.isfinite(self.accuracy) & np.isfinite(self.fairness)

    def _front(self) -> npt.NDArray[np.int64]:
        if not self._is_shown.any():
            warn_user(
                f"No candidate has both {self.accuracy_name!r} and {self.fairness_name!r}, so "
                "that nothing can be drawn. pareto_front(search.cv_results_) says why.",
                UndefinedMetricWarning,
            )
            return np.empty(0, dtype=np.int64)
        # As a gap: of a score, what is missing to the best.
        gap = self.fairness
        if self.greater_is_better:
            gap = gap[self._is_shown].max() - gap
        results = {"mean_test_accuracy": self.accuracy, "mean_test_fairness": -gap}
        return np.asarray(pareto_front(results, fairness="fairness").index, dtype=np.int64)

    def _set_names(self, *, error_bars: bool) -> None:
        n, n_left_out = int(self._is_shown.sum()), int((~self._is_shown).sum())
        notes = ["filled: on the frontier"]
        if self.bound is not None:
            notes.append(f"shaded: within {self.bound:g}")
        if error_bars and np.isfinite([self.accuracy_std, self.fairness_std]).any():
            notes.append("bars: ± one s.d. over folds")
        title = f"{n} candidate" + "s" * (n != 1)
        title += f" ({n_left_out} without scores left out)" if n_left_out else ""
        set_titles(self.ax_, title, "; ".join(notes))
        name, accuracy = (
            NAMES.get(each, shortened(each, TEXT_WIDTH))
            for each in (self.fairness_name, self.accuracy_name)
        )
        arrow = f"{name}, fairer →" if self.greater_is_better else f"← fairer, {name}"
        self.ax_.locator_params(axis="x", nbins=7)
        self.ax_.set_xlabel(arrow, **VERBATIM)
        self.ax_.set_ylabel(accuracy, **VERBATIM)

    def _draw_candidates(self, *, error_bars: bool) -> None:
        is_front = np.isin(np.arange(len(self.accuracy)), self.front)
        marked = is_front.copy()
        if self.best_index is not None:
            marked[self.best_index] = True
        with_bars = self._is_shown & (marked if len(marked) > MOST_BARS else True)
        if error_bars:
            self.ax_.errorbar(
                self.fairness[with_bars],
                self.accuracy[with_bars],
                xerr=_finite_or_0(self.fairness_std[with_bars]),
                yerr=_finite_or_0(self.accuracy_std[with_bars]),
                fmt="none",
                ecolor=LIGHT,
                elinewidth=1,
                zorder=1,
            )
        for rows, fill in ((self._is_shown & ~is_front, "white"), (is_front, BLUE)):
            edge = BLUE if fill == BLUE else GREY
            self.ax_.scatter(
                self.fairness[rows], self.accuracy[rows], s=36, c=fill, edgecolors=edge, zorder=3
            )

    def _draw_front(self) -> None:
        """Draw the best accuracy for each bound, out to the edge on the unfair side."""
        gap, accuracy = self.fairness[self.front], self.accuracy[self.front]
        low, high = self.ax_.get_xlim()
        if not self.greater_is_better:
            high = max(high, 1.1 * (self.bound or 0.0))
            low = -0.015 * high  # 0, and half of a point there
        edge = low if self.greater_is_better else high
        self.ax_.plot(
            [*gap, edge], [*accuracy, accuracy[-1]], color=BLUE, lw=1.2, ds="steps-post", zorder=2
        )
        self.ax_.set_xlim(low, high)
        self.ax_.annotate(
            "frontier",
            (edge, accuracy[-1]),
            xytext=(0, 4),
            textcoords="offset points",
            ha="left" if self.greater_is_better else "right",
            color=BLUE,
            fontsize="small",
        )

    def _draw_bound(self) -> None:
        if self.bound is None:
            return
        self.ax_.axvspan(
            self.ax_.get_xlim()[0], self.bound, color=GREEN, alpha=0.1, lw=0, zorder=0
        )

    def _draw_best(self) -> None:
        """Mark the chosen candidate and describe it in the corner where no other can be."""
        best = self.best_index
        if best is None or not np.isfinite(self.accuracy[best] + self.fairness[best]):
            return
        point = self.fairness[best], self.accuracy[best]
        self.ax_.scatter(*point, s=110, marker="D", c=VERMILION, edgecolors="white", zorder=4)
        lines = [
            f"chosen: {shortened(self.accuracy_name, TEXT_WIDTH)} {point[1]:.3f}, "
            f"{shortened(self.fairness_name, TEXT_WIDTH)} {point[0]:.3f}"
        ]
        lines += _varying(self.params, best)
        bottom, top = self.ax_.get_ylim()
        room = 0.075 * (len(lines) + 1)
        self.ax_.set_ylim(bottom, top + room * (top - bottom))
        is_right = self.greater_is_better
        self.ax_.annotate(
            "\n".join(lines),
            point,
            xytext=(0.98 if is_right else 0.02, 0.98),
            textcoords="axes fraction",
            ha="right" if is_right else "left",
            va="top",
            color=ink(),
            fontsize="small",
            **VERBATIM,
            arrowprops={
                "arrowstyle": "-",
                "color": VERMILION,
                "relpos": (1 if is_right else 0, 0),
                "shrinkB": 6,
            },
        )


def _finite_or_0(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, 0.0)


def _scores(results: Mapping[str, Any], name: str) -> tuple[Floats, Floats]:
    """Return means and standard deviations over the folds."""
    if f"mean_test_{name}" not in results:
        prefix = "mean_test_"
        there = [str(k).removeprefix(prefix) for k in results if str(k).startswith(prefix)]
        raise ValueError(
            f"cv_results_ has no score {name!r}: there is {', '.join(there) or 'none'}. Pass "
            "scoring=fairness_scorers() to the search, or name the scores that it has."
        )
    mean = np.asarray(results[f"mean_test_{name}"], dtype=np.float64)
    return mean, np.asarray(results.get(f"std_test_{name}", np.nan * mean), dtype=np.float64)


def _varying(params: Sequence[Mapping[str, Any]] | None, best: int) -> list[str]:
    """Describe the parameters of the chosen candidate that are not the same in all."""
    if params is None:
        return []
    chosen = params[best]
    names = [
        name
        for name, value in chosen.items()
        if any(name not in other or str(other[name]) != str(value) for other in params)
    ]
    texts = [
        shortened(f"{name.rsplit('__', 1)[-1]} = {_as_text(chosen[name])}", TEXT_WIDTH)
        for name in names
    ]
    return some_of(texts, MOST_PARAMS)


def _as_text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
