"""Group fairness of predictions, as metrics and as scorers."""

__all__ = [
    "CRITERIA",
    "check_criterion",
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equalized_odds_difference",
    "fairness_scorer",
    "fairness_scorers",
    "true_positive_rate_difference",
    "worst_group_accuracy_score",
]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import sklearn
from numpy.typing import ArrayLike
from sklearn.metrics import accuracy_score, balanced_accuracy_score, make_scorer

from skfairlatent._user_warnings import warn_user
from skfairlatent.exceptions import UndefinedMetricWarning
from skfairlatent.metrics._group_counts import count_by_group


def worst_group_accuracy_score(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sensitive_features: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> float:
    r"""Smallest accuracy over the (label, group) cells.

    "Worst group" is meant as in the literature on group robustness [1]_, where a group is a
    true label within a sensitive group: a classifier cannot hide its errors on one of them
    behind a frequent label.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels, binary or multiclass, numbers or strings.

    y_pred : array-like of shape (n_samples,)
        Predicted labels.

    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
        Groups; several columns are crossed. Combinations that do not occur are not groups.

    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row.

    Returns
    -------
    float
        In [0, 1], 1 is best. NaN, with an ``UndefinedMetricWarning`` naming the cells, if a
        cell of labels (those in `y_true` or `y_pred`) by groups has no rows or no weight.

    Raises
    ------
    ValueError
        If lengths differ, values are missing, or the labels are not classes.

    Notes
    -----
    .. math:: \min_{y, a} P(\hat Y = y \mid Y = y, A = a)

    References
    ----------
    .. [1] S. Sagawa, P. W. Koh, T. B. Hashimoto, P. Liang, "Distributionally Robust Neural
       Networks for Group Shifts", ICLR 2020, arXiv:1911.08731.

    Examples
    --------
    >>> from skfairlatent.metrics import worst_group_accuracy_score
    >>> y_true = [0, 0, 0, 1, 1, 1]
    >>> y_pred = [0, 0, 1, 1, 1, 1]
    >>> group = ["a", "a", "b", "a", "b", "b"]
    >>> worst_group_accuracy_score(y_true, y_pred, sensitive_features=group)
    0.0
    """
    counts = count_by_group(y_true, y_pred, sensitive_features, sample_weight)
    if reason := counts.empty_cells():
        return _undefined("worst_group_accuracy_score", reason)
    return counts.worst_group_accuracy()


def equalized_odds_difference(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sensitive_features: ArrayLike,
    agg: Literal["worst_case", "mean"] = "worst_case",
    sample_weight: ArrayLike | None = None,
) -> float:
    r"""Gap between groups in the rates of each prediction, given the true label.

    On binary labels this is :func:`fairlearn.metrics.equalized_odds_difference`, default
    included, wherever every (label, group) cell has rows. Where one has none, fairlearn
    counts its rate as zero; here the result is NaN.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels, binary or multiclass, numbers or strings.

    y_pred : array-like of shape (n_samples,)
        Predicted labels.

    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
        Groups; several columns are crossed. Combinations that do not occur are not groups.

    agg : {"worst_case", "mean"}, default="worst_case"
        Take the largest gap over the true labels, or the mean of their gaps.

    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row.

    Returns
    -------
    float
        In [0, 1], 0 is best. NaN, with an ``UndefinedMetricWarning`` saying why, if a cell of
        labels (those in `y_true` or `y_pred`) by groups has no rows or no weight, if
        all of them hold one label, or if there is one group only.

    Raises
    ------
    ValueError
        If lengths differ, values are missing, the labels are not classes, or `agg` is unknown.

    Notes
    -----
    With groups :math:`a` and labels :math:`y` and :math:`c`, the gap of a true label is

    .. math::
        g_y = \max_c \left( \max_a P(\hat Y = c \mid Y = y, A = a)
                          - \min_a P(\hat Y = c \mid Y = y, A = a) \right)

    and the result is the maximum or the mean of :math:`g_y` over :math:`y`. For two labels,
    :math:`g_1` is the difference in true positive rates and :math:`g_0` that in false
    positive rates.

    Examples
    --------
    >>> from skfairlatent.metrics import equalized_odds_difference
    >>> y_true = [0, 0, 0, 0, 1, 1, 1, 1]
    >>> y_pred = [0, 0, 0, 1, 1, 1, 1, 1]
    >>> group = ["a", "a", "b", "b", "a", "a", "b", "b"]
    >>> equalized_odds_difference(y_true, y_pred, sensitive_features=group)
    0.5
    >>> equalized_odds_difference(y_true, y_pred, sensitive_features=group, agg="mean")
    0.25
    """
    if agg not in ("worst_case", "mean"):
        raise ValueError(f"agg is {agg!r}: expected 'worst_case' or 'mean'.")
    counts = count_by_group(y_true, y_pred, sensitive_features, sample_weight)
    if reason := counts.one_group() or counts.one_label() or counts.empty_cells():
        return _undefined("equalized_odds_difference", reason)
    gaps = counts.equalized_odds_gaps()
    return float(gaps.max() if agg == "worst_case" else gaps.mean())


def demographic_parity_difference(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sensitive_features: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> float:
    r"""Gap between groups in the rates of each prediction.

    On binary labels this is :func:`fairlearn.metrics.demographic_parity_difference`.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Checked, but not used: demographic parity does not look at the true labels.

    y_pred : array-like of shape (n_samples,)
        Predicted labels, binary or multiclass, numbers or strings.

    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
        Groups; several columns are crossed. Combinations that do not occur are not groups.

    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row.

    Returns
    -------
    float
        In [0, 1], 0 is best. NaN, with an ``UndefinedMetricWarning`` saying why, if a group
        has no weight or there is one group only.

    Raises
    ------
    ValueError
        If lengths differ, values are missing, or the labels are not classes.

    Notes
    -----
    .. math:: \max_c \left( \max_a P(\hat Y = c \mid A = a) - \min_a P(\hat Y = c \mid A = a)
              \right)

    Examples
    --------
    >>> from skfairlatent.metrics import demographic_parity_difference
    >>> group = ["a", "a", "b", "b"]
    >>> demographic_parity_difference([0, 1, 0, 1], [0, 1, 1, 1], sensitive_features=group)
    0.5
    """
    counts = count_by_group(y_true, y_pred, sensitive_features, sample_weight)
    if reason := counts.one_group() or counts.empty_groups():
        return _undefined("demographic_parity_difference", reason)
    return counts.demographic_parity_gap()


def demographic_parity_ratio(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sensitive_features: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> float:
    r"""Smallest ratio between two groups of the rate at which they are selected.

    On binary labels this is :func:`fairlearn.metrics.demographic_parity_ratio`. The four-fifths
    rule asks for at least 0.8.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Checked, but not used: demographic parity does not look at the true labels.

    y_pred : array-like of shape (n_samples,)
        Predicted labels, binary or multiclass, numbers or strings.

    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
        Groups; several columns are crossed. Combinations that do not occur are not groups.

    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row.

    Returns
    -------
    float
        In [0, 1], 1 is best. Among two labels (those in `y_true` or `y_pred`) the second in order
        is the selection; of several, the smallest ratio of all is returned. NaN, with an
        ``UndefinedMetricWarning`` saying why, if nobody is selected, if a group has no weight
        or if there is one group only.

    Raises
    ------
    ValueError
        If lengths differ, values are missing, or the labels are not classes.

    Notes
    -----
    .. math:: \min_c \frac{\min_a P(\hat Y = c \mid A = a)}{\max_a P(\hat Y = c \mid A = a)}

    Examples
    --------
    >>> from skfairlatent.metrics import demographic_parity_ratio
    >>> group = ["a", "a", "b", "b"]
    >>> demographic_parity_ratio([0, 1, 0, 1], [0, 1, 1, 1], sensitive_features=group)
    0.5
    """
    counts = count_by_group(y_true, y_pred, sensitive_features, sample_weight)
    if reason := counts.one_group() or counts.empty_groups():
        return _undefined("demographic_parity_ratio", reason)
    ratio = counts.demographic_parity_ratio()
    if np.isnan(ratio):
        return _undefined("demographic_parity_ratio", "a label is never predicted")
    return ratio


def true_positive_rate_difference(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sensitive_features: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> float:
    r"""Gap between groups in how often the positive label is predicted where it is true.

    Also known as the violation of equal opportunity. This is
    ``fairlearn.metrics.true_positive_rate_difference`` wherever every group has rows of the
    positive label.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels of two classes, numbers or strings. The second in order is the positive one.

    y_pred : array-like of shape (n_samples,)
        Predicted labels.

    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
        Groups; several columns are crossed. Combinations that do not occur are not groups.

    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row.

    Returns
    -------
    float
        In [0, 1], 0 is best. NaN, with an ``UndefinedMetricWarning`` saying why, if a group has
        no rows, or no weight, of the positive label, if all rows hold one label, or if there is
        one group only.

    Raises
    ------
    ValueError
        If there are more than two labels, lengths differ, values are missing, or the labels are
        not classes.

    Notes
    -----
    .. math:: \max_a P(\hat Y = 1 \mid Y = 1, A = a) - \min_a P(\hat Y = 1 \mid Y = 1, A = a)

    Examples
    --------
    >>> from skfairlatent.metrics import true_positive_rate_difference
    >>> y_true = [0, 0, 1, 1, 1, 1]
    >>> y_pred = [0, 1, 1, 0, 1, 1]
    >>> group = ["a", "b", "a", "a", "b", "b"]
    >>> true_positive_rate_difference(y_true, y_pred, sensitive_features=group)
    0.5
    """
    counts = count_by_group(y_true, y_pred, sensitive_features, sample_weight)
    if len(counts.labels) > 2:
        raise ValueError(
            f"y_true and y_pred hold {len(counts.labels)} labels: the true positive rate is of "
            "two. Use equalized_odds_difference, which takes several."
        )
    if reason := counts.one_group() or counts.one_label() or counts.empty_cells(label=1):
        return _undefined("true_positive_rate_difference", reason)
    return counts.true_positive_rate_gap()


@dataclass(frozen=True)
class _RoutedMetric:
    """A metric that explains what to do when no sensitive features reach it.

    A class, not a closure, because scorers are pickled by joblib.
    """

    name: str
    metric: Callable[..., float]

    def __call__(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        sensitive_features: ArrayLike | None = None,
        **kwargs: Any,
    ) -> float:
        if sensitive_features is None:
            raise ValueError(
                f"The scorer {self.name!r} was given no sensitive_features. Call "
                "sklearn.set_config(enable_metadata_routing=True), then pass them by name, as "
                "in search.fit(X, y, sensitive_features=s) or "
                "cross_validate(..., params={'sensitive_features': s})."
            )
        return self.metric(y_true, y_pred, sensitive_features=sensitive_features, **kwargs)

    @property
    def __name__(self) -> str:
        """Return the text that scikit-learn prints for the scorer."""
        return self.name


# Name -> (metric, fixed arguments, whether greater is better).
_SCORERS: dict[str, tuple[Callable[..., float], dict[str, str], bool]] = {
    "accuracy": (accuracy_score, {}, True),
    "balanced_accuracy": (balanced_accuracy_score, {}, True),
    "equalized_odds": (equalized_odds_difference, {"agg": "mean"}, False),
    "equalized_odds_worst": (equalized_odds_difference, {"agg": "worst_case"}, False),
    "demographic_parity": (demographic_parity_difference, {}, False),
    "demographic_parity_ratio": (demographic_parity_ratio, {}, True),
    "true_positive_rate_parity": (true_positive_rate_difference, {}, False),
    "worst_group_accuracy": (worst_group_accuracy_score, {}, True),
}
# Scores of a search for each criterion. The score of its own name is the gap.
CRITERIA: dict[str, tuple[str, ...]] = {
    "equalized_odds": (
        "accuracy",
        "balanced_accuracy",
        "equalized_odds",
        "equalized_odds_worst",
        "demographic_parity",
        "worst_group_accuracy",
    ),
    "demographic_parity": (
        "accuracy",
        "balanced_accuracy",
        "demographic_parity",
        "demographic_parity_ratio",
    ),
    "true_positive_rate_parity": ("accuracy", "balanced_accuracy", "true_positive_rate_parity"),
}


def fairness_scorer(name: str, *, sample_weight: bool | str | None = None) -> Any:
    """Build one scorer that asks for `sensitive_features` through metadata routing.

    It can be built before or after routing is enabled; scoring needs it enabled, by
    ``sklearn.set_config(enable_metadata_routing=True)``.

    Parameters
    ----------
    name : str
        ``"accuracy"``, ``"balanced_accuracy"``, ``"equalized_odds"`` (the mean of the gaps),
        ``"equalized_odds_worst"`` (the largest gap), ``"demographic_parity"``,
        ``"demographic_parity_ratio"``, ``"true_positive_rate_parity"`` or
        ``"worst_group_accuracy"``. Greater is better for all, as scikit-learn requires, so
        **differences are negated**: -0.1 means a gap of 0.1.

    sample_weight : bool, str or None, default=None
        The scorer's request for weights: True to use a `sample_weight` that the search is
        given, False to ignore it (weights that only balance training), a string for
        another name. None refuses it with scikit-learn's error, so that nobody's scores are
        weighted unawares.

    Returns
    -------
    scorer : callable
        A scikit-learn scorer, ``scorer(estimator, X, y, sensitive_features=s)``.

    Raises
    ------
    ValueError
        If `name` is unknown.

    Examples
    --------
    >>> from skfairlatent.metrics import fairness_scorer
    >>> fairness_scorer("demographic_parity")
    make_scorer(demographic_parity, greater_is_better=False, response_method='predict')
    """
    if not isinstance(name, str) or name not in _SCORERS:
        raise ValueError(f"There is no scorer {name!r}: expected one of {', '.join(_SCORERS)}.")
    metric, fixed, greater_is_better = _SCORERS[name]
    request: dict[str, bool | str | None] = {"sample_weight": sample_weight}
    if not name.endswith("accuracy") or name == "worst_group_accuracy":
        metric = _RoutedMetric(name, metric)
        request["sensitive_features"] = True
    scorer = make_scorer(metric, greater_is_better=greater_is_better, **fixed)
    # A request can only be set under routing, which the user may not have enabled yet.
    with sklearn.config_context(enable_metadata_routing=True):
        return scorer.set_score_request(**request)


def fairness_scorers(
    constraints: str = "equalized_odds", *, sample_weight: bool | str | None = None
) -> dict[str, Any]:
    """Build the scorers of accuracy and of a criterion of fairness, for the `scoring` of a search.

    Parameters
    ----------
    constraints : str, default="equalized_odds"
        The criterion, as the parameter of that name of
        :class:`~skfairlatent.FairLatentTransformer`: ``"equalized_odds"``,
        ``"demographic_parity"`` or ``"true_positive_rate_parity"``.

    sample_weight : bool, str or None, default=None
        The scorers' request for weights, see :func:`fairness_scorer`.

    Returns
    -------
    dict of str to scorer
        ``"accuracy"``, ``"balanced_accuracy"`` and a score named as the criterion, the negated
        difference between groups. For equalised odds also ``"equalized_odds_worst"``,
        ``"demographic_parity"`` and ``"worst_group_accuracy"``; for demographic parity also
        ``"demographic_parity_ratio"``.

    Raises
    ------
    ValueError
        If `constraints` is unknown.

    See Also
    --------
    skfairlatent.selection.MostAccurateWithin : Choose a candidate from these scores.

    Examples
    --------
    >>> import numpy as np
    >>> import sklearn
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skfairlatent.metrics import fairness_scorers
    >>> rng = np.random.default_rng(0)
    >>> X, s = rng.normal(size=(200, 3)), rng.integers(2, size=200)
    >>> y = (X[:, 0] + s > 0.5).astype(int)
    >>> search = GridSearchCV(
    ...     LogisticRegression(), {"C": [0.1, 1.0]}, scoring=fairness_scorers(), refit="accuracy"
    ... )
    >>> with sklearn.config_context(enable_metadata_routing=True):
    ...     search = search.fit(X, y, sensitive_features=s)
    >>> bool((search.cv_results_["mean_test_equalized_odds"] <= 0).all())
    True
    """
    check_criterion(constraints)
    names = CRITERIA[constraints]
    return {name: fairness_scorer(name, sample_weight=sample_weight) for name in names}


def check_criterion(constraints: Any) -> None:
    """Refuse what is not the name of a criterion."""
    if not isinstance(constraints, str) or constraints not in CRITERIA:
        raise ValueError(
            f"constraints is {constraints!r}: expected one of {', '.join(map(repr, CRITERIA))}."
        )


def _undefined(name: str, reason: str) -> float:
    message = (
        f"{name} is undefined: {reason}. Returning NaN. Score on more rows, stratify the splits "
        "by label and group together, or merge small groups."
    )
    warn_user(message, UndefinedMetricWarning)
    return float("nan")
