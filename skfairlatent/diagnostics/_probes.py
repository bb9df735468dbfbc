"""Probes that measure how well a classifier can read the group from a representation."""

__all__ = ["PROBES", "ProbeSettings", "group_leakage", "probe_scores", "undefined_message"]

import warnings
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import has_fit_parameter

from skfairlatent._device import own_random_state
from skfairlatent._user_warnings import warn_user
from skfairlatent._validation.groups import EncodedColumn
from skfairlatent._wording import some_of
from skfairlatent.diagnostics._probe_rows import (
    Codes,
    Floats,
    HeldOut,
    ProbeData,
    gather_rows,
    scaler,
)
from skfairlatent.exceptions import UndefinedMetricWarning

MIN_TRAIN_ROWS = 2  # of every group within a label, or the probe has nothing to learn from
MIN_TEST_ROWS = 1  # of every group within a label, or its recall is undefined
MIN_EARLY_STOPPING_ROWS = 20  # of every group: a tenth of them is held back to stop early


class ProbeSettings(NamedTuple):
    """How to probe: the arguments of `group_leakage` that say nothing about the data.

    And the rows of every group, within a label, without which the label is left out.
    """

    probes: Sequence[str] = ("linear", "mlp", "boosting")
    max_samples: int | None = 20_000
    random_state: Any = None
    min_train_rows: int = MIN_TRAIN_ROWS
    min_test_rows: int = MIN_TEST_ROWS


def group_leakage(
    Z: Any,
    y: Any,
    *,
    sensitive_features: Any,
    held_out: float | HeldOut = 0.3,
    probes: Sequence[str] = ("linear", "mlp", "boosting"),
    max_samples: int | None = 20_000,
    random_state: Any = None,
) -> pd.DataFrame:
    """Measure how well the group can be read from Z among samples of the same label.

    For each label a probe is trained to guess the group, every group weighing the same, and
    scored by balanced accuracy on rows that it has not seen. At chance level, the probe found
    nothing about the group beyond what the label itself tells.

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_components)
        The representation to judge.

    y : array-like of shape (n_samples,) or (n_samples, n_labels)
        The label. Several columns are crossed: what Z says about the group through one of
        the labels is then not mistaken for leakage within another.

    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
        The group of each sample. Several columns are crossed into groups, and each column is
        judged on its own as well.

    held_out : float or tuple (Z, y, sensitive_features), default=0.3
        The rows to score on: a share in (0, 1) drawn from every (label, group) cell, or rows
        of their own. Give the latter when rows are related, as two photos of one person are.

    probes : sequence of {"linear", "mlp", "boosting"}, default=("linear", "mlp", "boosting")
        The classifiers that guess the group: logistic regression, a network with two hidden
        layers, boosted trees.

    max_samples : int or None, default=20_000
        Each probe trains on at most ``max_samples / n_groups`` rows of a group: large groups
        are thinned first, because all groups weigh the same. None takes all rows.

    random_state : int, RandomState instance or None, default=None
        Draws the held-out rows and seeds the probes.

    Returns
    -------
    pandas.DataFrame
        One row per (sensitive_feature, probe), with the columns ``balanced_accuracy`` (mean
        over the labels, each counting the same), ``standard_error`` (from the number of
        scored rows), ``chance`` (one over the number of groups), and one column
        ``label <value>`` for each label. A label for which a group has too few rows is NaN
        and is left out of the mean.

    Warns
    -----
    UndefinedMetricWarning
        If a group has fewer than two rows to train on, or none to score, within a label.

    Notes
    -----
    A probe gives a lower bound: a group that none of them can read may still be readable by
    a better one.

    Examples
    --------
    >>> import numpy as np
    >>> from skfairlatent.diagnostics import group_leakage
    >>> rng = np.random.default_rng(0)
    >>> y, group = rng.integers(2, size=(2, 1000))
    >>> Z = rng.normal(size=(1000, 3))
    >>> Z[:, 0] += 3 * group
    >>> leak = group_leakage(Z, y, sensitive_features=group, probes=["linear"], random_state=0)
    >>> leak["balanced_accuracy"].round(1).item(), leak["chance"].item()
    (0.9, 0.5)
    """
    settings = ProbeSettings(probes, max_samples, random_state)
    table, skipped = probe_scores(Z, y, sensitive_features, held_out, settings)
    if skipped:
        warn_user(undefined_message(skipped, settings), UndefinedMetricWarning)
    return table


def undefined_message(skipped: list[str], settings: ProbeSettings) -> str:
    """Say which labels have no leakage, and what to do.

    Parameters
    ----------
    skipped : list of str
        As `probe_scores` returns it, not empty.

    settings : ProbeSettings
        Those of `probe_scores`.
    """
    named = "; ".join(some_of(skipped))
    return (
        f"The leakage is NaN where a group has fewer than {settings.min_train_rows} rows to train "
        f"on or {settings.min_test_rows} to score: {named}. Give more rows, merge the small "
        "groups, or leave their rows out."
    )


def probe_scores(
    Z: Any,
    y: Any,
    sensitive_features: Any,
    held_out: float | HeldOut,
    settings: ProbeSettings,
) -> tuple[pd.DataFrame, list[str]]:
    """Do the work of `group_leakage`, and say what was skipped instead of warning.

    Parameters
    ----------
    Z, y, sensitive_features, held_out
        As in `group_leakage`.

    settings : ProbeSettings
        As in `group_leakage`.

    Returns
    -------
    table : pandas.DataFrame
        As in `group_leakage`.

    skipped : list of str
        One entry for every (sensitive feature, label) that has no score.
    """
    _check_settings(settings)
    rng = own_random_state(settings.random_state)
    settings = settings._replace(random_state=rng)
    data = gather_rows(Z, y, sensitive_features, held_out, rng)
    skipped: list[str] = []
    rows = {}
    for feature in data.features:
        scores = _scores_by_label(data, feature, settings, skipped)
        for position, probe in enumerate(settings.probes):
            rows[feature.label, probe] = _row(scores[:, position], data.labels, feature)
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(list(rows), names=["sensitive_feature", "probe"])
    return table, skipped


def _row(scores: Floats, labels: EncodedColumn, feature: EncodedColumn) -> dict[str, float]:
    """Average the scores, of shape (n_labels, 2), that one probe reached for one feature."""
    accuracies, variances = scores[~np.isnan(scores[:, 0])].T
    n_scored = len(accuracies)
    summary = {
        "balanced_accuracy": accuracies.mean() if n_scored else np.nan,
        "standard_error": np.sqrt(variances.sum()) / n_scored if n_scored else np.nan,
        "chance": 1 / len(feature.values),
    }
    by_label = zip(labels.values, scores[:, 0], strict=True)
    return summary | {f"label {value}": score for value, score in by_label}


def _scores_by_label(
    data: ProbeData,
    feature: EncodedColumn,
    settings: ProbeSettings,
    skipped: list[str],
) -> Floats:
    """Return shape (n_labels, n_probes, 2): balanced accuracy and its sampling variance."""
    probes, max_samples, rng, min_train, min_test = settings
    n_groups = len(feature.values)
    scores = np.full((len(data.labels.values), len(probes), 2), np.nan)
    for code, label in enumerate(data.labels.values):
        in_label = data.labels.codes == code
        train, test = in_label & ~data.is_test, in_label & data.is_test
        n_train = np.bincount(feature.codes[train], minlength=n_groups)
        n_test = np.bincount(feature.codes[test], minlength=n_groups)
        small = np.flatnonzero((n_train < min_train) | (n_test < min_test))
        if len(small):
            worst = small[0]
            skipped.append(
                f"label {label!r}, {feature.label} {feature.values[worst]!r} "
                f"({n_train[worst]} to train on, {n_test[worst]} to score)"
            )
            continue
        rows = _thin(np.flatnonzero(train), feature.codes, max_samples, rng)
        scale = scaler().fit(data.Z[rows])
        train_part = scale.transform(data.Z[rows]), feature.codes[rows]
        test_part = scale.transform(data.Z[test]), feature.codes[test]
        seed = int(rng.randint(np.iinfo(np.int32).max))
        for position, probe in enumerate(probes):
            scores[code, position] = _score_probe(probe, train_part, test_part, seed)
    return scores


def _score_probe(
    probe: str, train: tuple[Floats, Codes], test: tuple[Floats, Codes], seed: int
) -> tuple[float, float]:
    features, groups = train
    can_stop_early = bool(np.bincount(groups).min() >= MIN_EARLY_STOPPING_ROWS)
    model = PROBES[probe](can_stop_early, seed)
    with warnings.catch_warnings():
        # The score is taken on held-out rows, so it means the same wherever training stopped.
        warnings.simplefilter("ignore", ConvergenceWarning)
        _fit_balanced(model, features, groups)
    hits = model.predict(test[0]) == test[1]
    counts = np.bincount(test[1])
    n_hits = np.bincount(test[1], weights=hits)
    recalls = n_hits / counts
    # Agresti and Coull: a recall of 0 or 1 on three rows does not have zero variance.
    smoothed = (n_hits + 2) / (counts + 4)
    variance = np.sum(smoothed * (1 - smoothed) / (counts + 4)) / len(counts) ** 2
    return float(recalls.mean()), float(variance)


def _fit_balanced(model: Any, features: Floats, groups: Codes) -> None:
    """Fit with every group weighing the same."""
    if has_fit_parameter(model, "sample_weight"):
        model.fit(features, groups, sample_weight=compute_sample_weight("balanced", groups))
        return
    # MLPClassifier takes weights from scikit-learn 1.7 on: before, repeat the small groups.
    counts = np.bincount(groups)
    members = [np.flatnonzero(groups == group) for group in range(len(counts))]
    rows = np.concatenate([np.resize(rows, counts.max()) for rows in members])
    model.fit(features[rows], groups[rows])


def _linear(_can_stop_early: bool, seed: int) -> LogisticRegression:
    return LogisticRegression(max_iter=1000, random_state=seed)


def _mlp(can_stop_early: bool, seed: int) -> MLPClassifier:
    return MLPClassifier(
        hidden_layer_sizes=(64, 64),
        batch_size="auto",
        early_stopping=can_stop_early,
        n_iter_no_change=15,
        random_state=seed,
    )


def _boosting(can_stop_early: bool, seed: int) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(early_stopping=can_stop_early, random_state=seed)


PROBES: dict[str, Callable[[bool, int], Any]] = {
    "linear": _linear,
    "mlp": _mlp,
    "boosting": _boosting,
}


def _check_settings(settings: ProbeSettings) -> None:
    probes, max_samples = settings[:2]
    is_list = isinstance(probes, Iterable) and not isinstance(probes, str)
    known = [probe in list(PROBES) for probe in probes] if is_list else []
    if not known or not all(known):
        raise ValueError(
            f"probes={probes!r}: expected a list of one or more of {list(PROBES)}, as in "
            "probes=['linear', 'mlp']."
        )
    is_count = isinstance(max_samples, Integral) and max_samples >= MIN_TRAIN_ROWS
    if max_samples is not None and not is_count:
        raise ValueError(
            f"max_samples={max_samples!r}: expected a number of rows of at least "
            f"{MIN_TRAIN_ROWS}, or None for all rows."
        )


def _thin(
    rows: Codes, groups: Codes, max_samples: int | None, rng: np.random.RandomState
) -> Codes:
    """Keep at most an equal share of `max_samples` rows of every group."""
    if max_samples is None:
        return rows
    by_group = [rows[groups[rows] == group] for group in np.unique(groups[rows])]
    share = max(max_samples // len(by_group), MIN_TRAIN_ROWS)
    kept = [
        members if len(members) <= share else rng.choice(members, share, replace=False)
        for members in by_group
    ]
    return np.sort(np.concatenate(kept))
