"""Choosing among the candidates of a search by accuracy and fairness together."""

__all__ = ["MostAccurateWithin", "group_stratified_folds", "pareto_front"]

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import StratifiedKFold
from sklearn.utils import check_scalar

from skfairlatent._out_of_core.temporary_file import held
from skfairlatent._user_warnings import warn_user
from skfairlatent._validation.containers import reject_other_order
from skfairlatent._validation.groups import check_length, encode_columns, reject_ids
from skfairlatent._wording import some_of
from skfairlatent.metrics._metrics import CRITERIA, check_criterion

# A gap of exactly the bound must pass although 0.3 - 0.1 > 0.2 in floating point.
_ROUNDING = 1e-9
_PREFIX = "mean_test_"

Positions = npt.NDArray[np.intp]
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

    fairness : str, default=None
        Name of the fairness score: a difference, negated as scikit-learn's scorers are. None
        takes that of the criterion which the search was scored by, the `constraints` of
        `fairness_scorers`.

    accuracy : str, default="accuracy"
        Name of the score to maximise. Any score of which more is better will do, such as
        ``"balanced_accuracy"`` where one label is rare: deciding everybody alike is accurate then.

    Raises
    ------
    TypeError
        If `bound` is not a number, or a name is not text.
    ValueError
        If `bound` is negative or NaN.

    See Also
    --------
    group_stratified_folds : Folds in which every score is defined.
    pareto_front : Every candidate that some bound would choose.

    Notes
    -----
    Means over the folds are compared. A candidate with a NaN in either mean is not chosen where
    another has none; if all have, the folds with scores are compared, with a
    ``FairLatentWarning``. Among equally accurate candidates the fairest is taken. If none is
    within the bound, the fairest is taken with a ``FairLatentWarning``.

    Choosing is the last thing that a search does, and an error there would lose all its fits. So
    where no candidate can be judged (each score is NaN, or there is none of that name), the most
    accurate is taken, with a ``FairLatentWarning`` that says why. The search is then complete, and
    its ``cv_results_`` may be judged by other names. Folds by :func:`group_stratified_folds` rule
    out beforehand what makes scores NaN.

    The bound holds on the validation folds; it is
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
    fairness: str | None = None
    accuracy: str = "accuracy"

    def __post_init__(self) -> None:
        expected = "expected the largest difference allowed, a number >= 0 such as 0.05."
        if not isinstance(self.bound, Real) or isinstance(self.bound, bool):
            raise TypeError(f"bound is {self.bound!r}, a {type(self.bound).__name__}: {expected}")
        if math.isnan(self.bound) or self.bound < 0:
            raise ValueError(f"bound is {self.bound}: {expected}")
        for name, kinds in (("fairness", str | None), ("accuracy", str)):
            if not isinstance(getattr(self, name), kinds):
                raise TypeError(
                    f"{name} is {getattr(self, name)!r}: expected the name of a score of the "
                    "search, such as 'equalized_odds' or 'accuracy'."
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
        """
        fairness = self.fairness or criterion_of(cv_results)
        try:
            table = _candidates(cv_results, fairness, self.accuracy)
        except ValueError as error:
            return self._without_fairness(cv_results, fairness, str(error))
        allowed = table[self._allows(table[fairness])]
        if len(allowed):
            best = allowed.sort_values([self.accuracy, fairness], ascending=[False, True])
        else:
            best = table.sort_values([fairness, self.accuracy], ascending=[True, False])
            self._warn_none_within(fairness, best.iloc[0])
        return int(best.index[0])

    def _allows(self, gaps: Any) -> Any:
        """Return whether each gap is within the bound."""
        return gaps <= self.bound + _ROUNDING

    def _without_fairness(self, cv_results: Mapping[str, Any], fairness: str, reason: str) -> int:
        """Take the most accurate candidate, or the first if that cannot be told either."""
        scores = np.asarray(cv_results.get(_PREFIX + self.accuracy, np.nan), dtype=np.float64)
        known = np.isfinite(scores).any()
        what = f"most accurate candidate, by {self.accuracy!r}," if known else "first candidate"
        warn_user(
            f"{reason} No candidate was judged by {fairness!r}: the {what} is taken, so that "
            "the search keeps its results. Choose another by hand from its cv_results_."
        )
        return int(np.nanargmax(scores)) if known else 0

    def _warn_none_within(self, fairness: str, fairest: pd.Series) -> None:
        warn_user(
            f"No candidate has {fairness} <= {self.bound:g}. Taking the fairest, with "
            f"{fairness} {fairest[fairness]:.4g} and {self.accuracy} "
            f"{fairest[self.accuracy]:.4g}. Search over stronger fairness weights, allow a larger "
            "bound, or merge groups of few rows, whose gaps are mostly chance."
        )


def pareto_front(
    cv_results: Mapping[str, Any],
    *,
    fairness: str | None = None,
    accuracy: str = "accuracy",
) -> pd.DataFrame:
    """Keep the candidates that no other beats on both accuracy and fairness.

    Parameters
    ----------
    cv_results : mapping of str to array
        The ``cv_results_`` of a search.

    fairness : str, default=None
        Name of the fairness score: a difference, negated as scikit-learn's scorers are. None
        takes that of the criterion which the search was scored by, the `constraints` of
        :func:`~skfairlatent.metrics.fairness_scorers`.

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
        If a score is not there, is not a negated difference, or is NaN for every candidate.

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
    fairness = fairness or criterion_of(cv_results)
    table = _candidates(cv_results, fairness, accuracy)
    best = table.groupby(fairness)[accuracy].max()
    # Ordered from the fairest on: each gap must buy more accuracy than every smaller one did.
    best = best[best > best.cummax().shift(fill_value=-np.inf)]
    front = table[table[accuracy] == table[fairness].map(best)]
    return front.sort_values(fairness, kind="stable")


def group_stratified_folds(
    y: Any,
    sensitive_features: Any,
    n_splits: int = 3,
    *,
    constraints: str = "equalized_odds",
    random_state: Any = None,
) -> list[tuple[Positions, Positions]]:
    """Split rows into folds that each hold every (label, group) cell.

    For the `cv` of a search. In a fold without rows of a cell, the scores of
    :func:`skfairlatent.metrics.fairness_scorers` are NaN; here that is an error, before anything
    is fitted. Criteria other than equalised odds need fewer cells.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_labels)
        Labels; several columns are crossed. A collection of Dask is computed.

    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
        Groups; several columns are crossed. A collection of Dask is computed.

    n_splits : int, default=3
        Number of folds, at least 2.

    constraints : str, default="equalized_odds"
        The criterion that the folds must define: ``"demographic_parity"`` needs rows of each
        group in every fold, and ``"true_positive_rate_parity"`` rows of the positive label in
        each group.

    random_state : int, RandomState instance or None, default=None
        Shuffles the rows before they are split.

    Returns
    -------
    list of tuple (train, test)
        Positions of rows, as ``cv`` takes them.

    Raises
    ------
    ValueError
        If a cell that the criterion needs has fewer rows than there are folds, if there is one
        label or group only, if `constraints` is unknown, or if lengths differ or values are
        missing.

    See Also
    --------
    MostAccurateWithin : Choose among the candidates of a search.

    Examples
    --------
    >>> from skfairlatent.selection import group_stratified_folds
    >>> y = [0, 0, 1, 1, 0, 0, 1, 1]
    >>> group = ["a", "a", "a", "a", "b", "b", "b", "b"]
    >>> folds = group_stratified_folds(y, group, n_splits=2, random_state=0)
    >>> [sorted((y[i], group[i]) for i in test) for _, test in folds][0]
    [(0, 'a'), (0, 'b'), (1, 'a'), (1, 'b')]

    In a search: ``GridSearchCV(pipe, grid, scoring=fairness_scorers(),
    cv=group_stratified_folds(y, s)).fit(X, y, sensitive_features=s)``.
    """
    check_scalar(n_splits, "n_splits", Integral, min_val=2)
    cells, parts, names = _needed_parts(constraints, y, sensitive_features)
    _check_parts(np.bincount(parts[parts >= 0], minlength=len(names)), names, n_splits)
    _, counts = np.unique(cells, return_counts=True)
    strata = cells if counts.min() >= n_splits else parts
    folds = StratifiedKFold(n_splits, shuffle=True, random_state=random_state)
    return list(folds.split(strata, strata))


def check_folds(
    folds: Sequence[tuple[Positions, Positions]],
    y: Any,
    sensitive_features: Any,
    constraints: str,
) -> None:
    """Raise ValueError if a fold lacks rows that a criterion needs, so that a score is NaN."""
    _, parts, names = _needed_parts(constraints, y, sensitive_features)
    for number, (_, test) in enumerate(folds, start=1):
        there = parts[test]
        counts = np.bincount(there[there >= 0], minlength=len(names))
        if missing := [names[i] for i in np.flatnonzero(counts == 0)]:
            raise ValueError(
                f"Fold {number} of {len(folds)} has no rows of {', '.join(some_of(missing))} to "
                "score on, and its scores would be NaN: give cv=3, or another number of folds, "
                "which are then stratified by label and group together."
            )


def _needed_parts(
    constraints: str, y: Any, sensitive_features: Any
) -> tuple[Positions, Positions, list[str]]:
    """Return the cell of each row, the part that a criterion needs it for, and names of parts.

    A part is a cell or a group; of -1 there need not be any rows.
    """
    check_criterion(constraints)
    y, sensitive_features = held(y), held(sensitive_features)
    _, labels, classes, _ = encode_columns(y, "y").crossed
    _, codes, groups, _ = encode_columns(sensitive_features).crossed
    check_length("sensitive_features", len(codes), len(labels), "y")
    reject_other_order(y=y, sensitive_features=sensitive_features)
    for name, values in (("y", classes), ("sensitive_features", groups)):
        reject_ids(name, len(values), len(labels))
        if len(values) < 2:
            raise ValueError(
                f"{name} has one value only ({values[0]!r}): expected two or more to compare."
            )
    cells = labels * len(groups) + codes
    if constraints == "demographic_parity":
        return cells, codes, [f"group {group!r}" for group in groups]
    if constraints == "true_positive_rate_parity":
        if len(classes) > 2:
            raise ValueError(
                f"y has {len(classes)} classes: the true positive rate is of two. Set "
                "constraints='equalized_odds', which takes several."
            )
        parts = np.where(labels == 1, codes, -1)
        return cells, parts, [f"(label {classes[1]}, group {group!r})" for group in groups]
    names = [f"(label {label}, group {group!r})" for label in classes for group in groups]
    return cells, cells, names


def _check_parts(counts: Positions, names: list[str], n_splits: int) -> None:
    thin = np.flatnonzero(counts < n_splits)
    if not len(thin):
        return
    named = [f"{names[i]} has {counts[i]}" for i in thin]
    fewer = f"use {counts.min()} folds, " if counts.min() >= 2 else ""
    what = "(label, group) cell(s)" if names[0].startswith("(") else "group(s)"
    raise ValueError(
        f"{len(thin)} {what} have fewer rows than the {n_splits} folds: "
        f"{', '.join(some_of(named))}. Scores of folds without their rows would be "
        f"NaN: {fewer}merge these groups with others, or leave their rows out."
    )


def criterion_of(cv_results: Mapping[str, Any]) -> str:
    """Return the criterion that a search was scored by, equalised odds if by none."""
    found = [name for name in CRITERIA if f"{_PREFIX}{name}" in _checked(cv_results)]
    return next(iter(found), "equalized_odds")


def _candidates(cv_results: Mapping[str, Any], fairness: str, accuracy: str) -> pd.DataFrame:
    scores, gaps = _mean_scores(cv_results, accuracy), -_mean_scores(cv_results, fairness)
    if (gaps < -_ROUNDING).any():
        raise ValueError(
            f"The fairness score {fairness!r} is positive for some candidates (largest "
            f"{-np.nanmin(gaps):.4g}): expected a difference, negated because greater must be "
            "better. Use fairness_scorers(), or make_scorer(..., greater_is_better=False)."
        )
    if not (np.isfinite(scores) & np.isfinite(gaps)).any():
        scores = _mean_of_known_folds(cv_results, accuracy, scores)
        gaps = -_mean_of_known_folds(cv_results, fairness, -gaps)
        if (np.isfinite(scores) & np.isfinite(gaps)).any():
            _warn_of_folds(cv_results, fairness, accuracy)
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


def _folds(cv_results: Mapping[str, Any], name: str) -> FloatArray:
    """Return a score by fold and candidate, shape (n_folds, n_candidates); no rows if unknown."""
    fold = re.compile(rf"split\d+_test_{re.escape(name)}")
    scores = [cv_results[key] for key in cv_results if fold.fullmatch(str(key))]
    n_candidates = len(cv_results[_PREFIX + name])
    return np.asarray(scores, dtype=np.float64).reshape(len(scores), n_candidates)


def _mean_of_known_folds(
    cv_results: Mapping[str, Any], name: str, means: FloatArray
) -> FloatArray:
    folds = _folds(cv_results, name)
    return pd.DataFrame(folds).mean().to_numpy(np.float64) if len(folds) else means


def _warn_of_folds(cv_results: Mapping[str, Any], fairness: str, accuracy: str) -> None:
    counts = []
    for name in (fairness, accuracy):
        folds = _folds(cv_results, name)
        if n_unknown := int(np.isnan(folds).any(axis=1).sum()):
            counts.append(f"{name!r} is NaN in {n_unknown} of {len(folds)} folds")
    warn_user(
        f"{' and '.join(counts)}: candidates are compared on the folds that have scores, and what "
        "the others hold was not judged. A fold without rows in a (label, group) cell makes a "
        "NaN: use skfairlatent.selection.group_stratified_folds as cv."
    )


def _why_nan(cv_results: Mapping[str, Any], fairness: str) -> str:
    """Say where the NaNs lie and what makes such, the likelier cause first."""
    n_candidates = len(cv_results[_PREFIX + fairness])
    cells = (
        "fold without rows in a (label, group) cell makes a NaN: use "
        "skfairlatent.selection.group_stratified_folds as cv."
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
    scores = _folds(cv_results, name)
    return bool(np.isnan(scores if len(scores) else _mean_scores(cv_results, name)).all())


def _mean_scores(cv_results: Mapping[str, Any], name: str) -> FloatArray:
    key = _PREFIX + name
    if key not in _checked(cv_results):
        there = [str(k).removeprefix(_PREFIX) for k in cv_results if str(k).startswith(_PREFIX)]
        raise ValueError(
            f"cv_results has no score {name!r}: there is {', '.join(there) or 'none'}. Pass "
            "scoring=fairness_scorers() to the search, or name the scores that it has."
        )
    return np.asarray(cv_results[key], dtype=np.float64)


def _checked(cv_results: Mapping[str, Any]) -> Mapping[str, Any]:
    if not hasattr(cv_results, "__contains__"):
        raise TypeError(
            f"cv_results is of type {type(cv_results).__name__}: expected what a fitted search "
            "has as search.cv_results_."
        )
    return cv_results
