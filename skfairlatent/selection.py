"""Choosing among the candidates of a search by accuracy and fairness together."""

__all__ = ["MostAccurateWithin", "pareto_front"]

import math
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from skfairlatent._user_warnings import warn_user

# A gap of exactly the bound must pass although 0.3 - 0.1 > 0.2 in floating point.
_ROUNDING = 1e-9
_PREFIX = "mean_test_"

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MostAccurateWithin:
    """Take the most accurate candidate whose unfairness is within a bound.

    For the `refit` of a search that was scored by
    :func:`skfairlatent.metrics.fairness_scorers`.

    Parameters
    ----------
    bound : float
        Largest difference allowed, such as 0.05; at least 0.

    fairness : str, default="equalized_odds"
        Name of the fairness score: a difference, negated as scikit-learn's scorers are.

    accuracy : str, default="accuracy"
        Name of the score to maximise. Any score of which more is better will do, such as
        ``"worst_group_accuracy"``.

    Raises
    ------
    ValueError
        If `bound` is negative or not a number.

    See Also
    --------
    pareto_front : Every candidate that some bound would choose.

    Notes
    -----
    Means over the folds are compared. A candidate with a NaN in either mean is never chosen.
    Among equally accurate candidates the fairest is taken. If none is within the bound, the
    fairest is taken with a ``FairLatentWarning``. The bound holds on the validation folds; it is
    no guarantee for other data, where the gap of a chosen candidate tends to be larger.

    Examples
    --------
    >>> from skfairlatent.selection import MostAccurateWithin
    >>> cv_results = {
    ...     "params": [{"C": 1}, {"C": 2}, {"C": 3}],
    ...     "mean_test_accuracy": [0.83, 0.81, 0.78],
    ...     "mean_test_equalized_odds": [-0.21, -0.04, -0.01],
    ... }
    >>> MostAccurateWithin(0.05)(cv_results)
    1

    In a search: ``GridSearchCV(pipe, grid, scoring=fairness_scorers(),
    refit=MostAccurateWithin(0.05)).fit(X, y, sensitive_features=s)``.
    """

    bound: float
    _: KW_ONLY
    fairness: str = "equalized_odds"
    accuracy: str = "accuracy"

    def __post_init__(self) -> None:
        if math.isnan(self.bound) or self.bound < 0:
            raise ValueError(
                f"bound is {self.bound}: expected the largest difference allowed, a number >= 0 "
                "such as 0.05."
            )

    def __call__(self, cv_results: Mapping[str, Any]) -> int:
        """Choose a candidate.

        Parameters
        ----------
        cv_results : mapping of str to array
            The ``cv_results_`` of a search.

        Returns
        -------
        int
            The row of the candidate chosen.

        Raises
        ------
        ValueError
            If a score is not there, is no negated difference, or is NaN for every candidate.
        """
        table = _candidates(cv_results, self.fairness, self.accuracy)
        allowed = table[table[self.fairness] <= self.bound + _ROUNDING]
        if len(allowed):
            best = allowed.sort_values([self.accuracy, self.fairness], ascending=[False, True])
        else:
            best = table.sort_values([self.fairness, self.accuracy], ascending=[True, False])
            self._warn_none_within(best.iloc[0])
        return int(best.index[0])

    def _warn_none_within(self, fairest: pd.Series) -> None:
        warn_user(
            f"No candidate has {self.fairness} <= {self.bound:g}. Taking the fairest, with "
            f"{self.fairness} {fairest[self.fairness]:.4g} and {self.accuracy} "
            f"{fairest[self.accuracy]:.4g}. Search over stronger fairness weights, or allow a "
            "larger bound."
        )


def pareto_front(
    cv_results: Mapping[str, Any],
    *,
    fairness: str = "equalized_odds",
    accuracy: str = "accuracy",
) -> pd.DataFrame:
    """Keep the candidates that no other beats on both accuracy and fairness.

    Parameters
    ----------
    cv_results : mapping of str to array
        The ``cv_results_`` of a search.

    fairness : str, default="equalized_odds"
        Name of the fairness score: a difference, negated as scikit-learn's scorers are.

    accuracy : str, default="accuracy"
        Name of the score of which more is better.

    Returns
    -------
    DataFrame
        The front from the fairest to the most accurate. The index is the row in `cv_results`;
        the columns are `accuracy`, `fairness` (the difference itself, not negated) and
        ``"params"``, where `cv_results` has them. Candidates with equal scores all stay, those
        with a NaN mean never do.

    Raises
    ------
    ValueError
        If a score is not there, is no negated difference, or is NaN for every candidate.

    Examples
    --------
    >>> from skfairlatent.selection import pareto_front
    >>> cv_results = {
    ...     "params": [{"C": 1}, {"C": 2}, {"C": 3}],
    ...     "mean_test_accuracy": [0.83, 0.78, 0.81],
    ...     "mean_test_equalized_odds": [-0.21, -0.06, -0.04],
    ... }
    >>> pareto_front(cv_results)
               accuracy  equalized_odds    params
    candidate
    2              0.81            0.04  {'C': 3}
    0              0.83            0.21  {'C': 1}
    """
    table = _candidates(cv_results, fairness, accuracy)
    best = table.groupby(fairness)[accuracy].max()
    # Ordered from the fairest on: each gap must buy more accuracy than every smaller one did.
    best = best[best > best.cummax().shift(fill_value=-np.inf)]
    front = table[table[accuracy] == table[fairness].map(best)]
    return front.sort_values(fairness, kind="stable")


def _candidates(cv_results: Mapping[str, Any], fairness: str, accuracy: str) -> pd.DataFrame:
    scores, gaps = _mean_scores(cv_results, accuracy), -_mean_scores(cv_results, fairness)
    if (gaps < -_ROUNDING).any():
        raise ValueError(
            f"The fairness score {fairness!r} is positive for some candidates (largest "
            f"{-np.nanmin(gaps):.4g}): expected a difference, negated because greater must be "
            "better. Use fairness_scorers(), or make_scorer(..., greater_is_better=False)."
        )
    table = pd.DataFrame({accuracy: scores, fairness: gaps})
    table.index.name = "candidate"
    if "params" in cv_results:
        table["params"] = list(cv_results["params"])
    table = table[np.isfinite(scores) & np.isfinite(gaps)]
    if table.empty:
        raise ValueError(
            f"No candidate has both {accuracy!r} and {fairness!r}: "
            f"{_why_nan(cv_results, fairness)} error_score='raise' shows what failed."
        )
    return table


def _why_nan(cv_results: Mapping[str, Any], fairness: str) -> str:
    """Say where the NaNs lie and what makes such, the likelier cause first."""
    n_candidates = len(cv_results[_PREFIX + fairness])
    cells = (
        "fold without rows in a (label, group) cell makes a NaN: use fewer folds, or stratify "
        "them by label and group."
    )
    if not _is_nan_everywhere(cv_results, fairness):
        return f"each of the {n_candidates} has a NaN. A {cells}"
    return (
        f"each of the {n_candidates} has NaN for {fairness!r}. Probably its scorer got no "
        "sensitive_features: call sklearn.set_config(enable_metadata_routing=True), then "
        f"search.fit(X, y, sensitive_features=s). If it got them, a {cells}"
    )


def _is_nan_everywhere(cv_results: Mapping[str, Any], name: str) -> bool:
    """Whether no candidate has the score in any fold; of the means, where there are no folds."""
    fold = re.compile(rf"split\d+_test_{re.escape(name)}")
    scores = [cv_results[key] for key in cv_results if fold.fullmatch(str(key))]
    scores = scores or [cv_results[_PREFIX + name]]
    return bool(np.isnan(np.asarray(scores, dtype=np.float64)).all())


def _mean_scores(cv_results: Mapping[str, Any], name: str) -> FloatArray:
    key = _PREFIX + name
    if key not in cv_results:
        there = [str(k).removeprefix(_PREFIX) for k in cv_results if str(k).startswith(_PREFIX)]
        raise ValueError(
            f"cv_results has no score {name!r}: there is {', '.join(there) or 'none'}. Pass "
            "scoring=fairness_scorers() to the search, or name the scores that it has."
        )
    return np.asarray(cv_results[key], dtype=np.float64)
