"""Counts by true label, predicted label and group, from checked input, and fairlearn's view."""

__all__ = ["GroupCounts", "class_positions", "count_by_group"]

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from fairlearn.metrics import MetricFrame, selection_rate, true_positive_rate
from numpy.typing import ArrayLike
from sklearn.metrics import accuracy_score

from skfairlatent._validation.containers import (
    missing_rows,
    reject_container,
    reject_nested,
    reject_other_order,
)
from skfairlatent._validation.equal_labels import as_python
from skfairlatent._validation.groups import as_numbers_or_text, encode_columns
from skfairlatent._wording import some_of

_MAX_LABELS_SHOWN = 5
# Counts of (label, prediction, group), of 8 bytes each: more come of identifiers.
_MAX_TABLE = 10_000_000


class GroupCounts(NamedTuple):
    """Confusion matrices, one a group.

    Parameters
    ----------
    table : ndarray of shape (n_labels, n_labels, n_groups)
        Total weight by true label, predicted label and group.

    labels : list of str
        Labels in `y_true` or `y_pred`, sorted.

    groups : list of str
        Groups that occur, sorted.
    """

    table: npt.NDArray[np.float64]
    labels: list[str]
    groups: list[str]

    def one_group(self) -> str | None:
        """Say that there are no two groups to compare, if so."""
        if len(self.groups) > 1:
            return None
        return f"there is one group only, {self.groups[0]!r}, hence no gap"

    def one_label(self) -> str | None:
        """Say that the rows show one label only, if so."""
        if len(self.labels) > 1:
            return None
        return f"y_true and y_pred hold the label {self.labels[0]} only"

    def empty_groups(self) -> str | None:
        """Name the groups without weight, if any."""
        empty = np.flatnonzero(self.table.sum(axis=(0, 1)) == 0)
        groups = [repr(self.groups[g]) for g in empty]
        return f"no weight in group(s) {', '.join(some_of(groups))}" if groups else None

    def empty_cells(self, label: int | None = None) -> str | None:
        """Name the cells of a label, or of all, without rows or without weight, if any."""
        empty = np.argwhere(self.table.sum(axis=1) == 0)
        empty = empty if label is None else empty[empty[:, 0] == label]
        cells = [f"(label {self.labels[y]}, group {self.groups[g]!r})" for y, g in empty]
        if not cells:
            return None
        return f"no rows, or none with weight, in cell(s) {', '.join(some_of(cells))}"

    def frame(
        self, metrics: Mapping[str, Callable[..., float]], *, given_label: bool = False
    ) -> Any:
        """Return fairlearn's ``MetricFrame`` of the counts.

        A row stands for all rows of one true label, prediction and group, and their total is its
        weight, so that the time does not depend on how many there are.

        Parameters
        ----------
        metrics : dict of str to callable
            Each takes `y_true` and `y_pred`, as positions in `labels`, and `sample_weight`.

        given_label : bool, default=False
            Measure in each (label, group) cell. Its number stands for it, in the order of
            labels and within them of groups; fairlearn's control features take twice the time.

        Returns
        -------
        MetricFrame
            Its groups are positions in `groups`, or numbers of cells. Those without rows are
            left out.
        """
        true, predicted, groups = np.nonzero(self.table)
        weights = {"sample_weight": self.table[true, predicted, groups]}
        return MetricFrame(
            metrics=dict(metrics),
            y_true=true,
            y_pred=predicted,
            sensitive_features=true * len(self.groups) + groups if given_label else groups,
            sample_params=dict.fromkeys(metrics, weights),
        )

    def equalized_odds_gaps(self) -> npt.NDArray[np.float64]:
        """Return for each true label the largest gap between groups in a decision's rate.

        Every (label, group) cell must have rows.
        """
        rates = self.frame(self._decisions(), given_label=True).by_group.to_numpy(np.float64)
        rates = rates.reshape(len(self.labels), len(self.groups), -1)
        return np.asarray(np.ptp(rates, axis=1).max(axis=1))

    def demographic_parity_gap(self) -> float:
        """Return the largest gap between groups in a decision's rate."""
        return float(self.frame(self._decisions()).difference().max())

    def demographic_parity_ratio(self) -> float:
        """Return the smallest ratio of groups' rates of a decision; NaN if all are 0."""
        return float(self.frame(self._decisions()).ratio().min())

    def true_positive_rate_gap(self) -> float:
        """Return the gap between groups in how often the second of two labels is found.

        Every group must have rows of that label.
        """
        return float(self.frame({"rate": true_positive_rate}).difference()["rate"])

    def worst_group_accuracy(self) -> float:
        """Return the smallest accuracy of a (label, group) cell."""
        frame = self.frame({"accuracy": accuracy_score}, given_label=True)
        return float(frame.by_group["accuracy"].min())

    def _decisions(self) -> dict[str, Callable[..., float]]:
        """Return the rate of each decision; of two they add up to 1, and one is enough."""
        n_labels = len(self.labels)
        return {str(k): _rate_of(k) for k in range(n_labels == 2, n_labels)}


def _rate_of(position: int) -> Callable[..., float]:
    def rate(y_true: Any, y_pred: Any, *, sample_weight: Any) -> float:
        found = selection_rate(y_true, y_pred, pos_label=position, sample_weight=sample_weight)
        return float(found)

    return rate


def class_positions(labels: Any, classes: Any) -> npt.NDArray[np.intp]:
    """Return where each label stands among the classes, -1 where it is none of them.

    Equal labels are equal, whatever holds them: True is 1, 1.0 and ``np.int64(1)``, in any array,
    Series or list; text equals text only.

    Parameters
    ----------
    labels : array-like of shape (n_samples,)
        Labels as the user or a model gives them.

    classes : array-like of shape (n_classes,)
        The classes, in any order.
    """
    known = {label: position for position, label in enumerate(as_python(classes))}
    return np.array([known.get(label, -1) for label in as_python(labels)], dtype=np.intp)


def count_by_group(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    sensitive_features: ArrayLike,
    sample_weight: ArrayLike | None,
) -> GroupCounts:
    """Count predictions by true label and group.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        Class labels, numbers or text.

    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
        Groups; several columns are crossed.

    sample_weight : array-like of shape (n_samples,) or None
        Weight of each row; None counts rows.

    Returns
    -------
    GroupCounts
        The confusion matrix of each group.

    Raises
    ------
    ValueError
        If lengths differ, values are missing, or the labels are not classes.
    """
    reject_other_order(y_true=y_true, y_pred=y_pred, sensitive_features=sensitive_features)
    true, pred = _as_labels(y_true, "y_true"), _as_labels(y_pred, "y_pred")
    groups = encode_columns(sensitive_features).crossed
    lengths = {"y_true": len(true), "y_pred": len(pred), "sensitive_features": len(groups.codes)}
    weights = np.ones(len(true))
    if sample_weight is not None:
        weights = _as_weights(sample_weight)
        lengths["sample_weight"] = len(weights)
    if len(set(lengths.values())) > 1:
        given = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"Lengths differ: {given}. Expected one row per sample in each.")
    if (true.dtype.kind == "U") != (pred.dtype.kind == "U"):
        shown = [np.unique(labels)[:_MAX_LABELS_SHOWN].tolist() for labels in (true, pred)]
        raise ValueError(
            f"One of y_true {shown[0]} and y_pred {shown[1]} holds text and the other numbers: "
            "expected the same labels in both."
        )
    labels, label_codes = np.unique(np.concatenate([true, pred]), return_inverse=True)
    if len(labels) ** 2 * len(groups.values) > _MAX_TABLE:
        raise ValueError(
            f"y_true and y_pred hold {len(labels)} different labels, and sensitive_features "
            f"{len(groups.values)} groups: too many to count. Is one of them an identifier of the "
            "rows? Pass class labels and groups, with many rows each."
        )
    table = np.zeros((len(labels), len(labels), len(groups.values)))
    np.add.at(table, (label_codes[: len(true)], label_codes[len(true) :], groups.codes), weights)
    return GroupCounts(table, [str(label) for label in labels], groups.values)


def _as_labels(values: ArrayLike, name: str) -> npt.NDArray[Any]:
    if values is None:
        raise ValueError(f"{name} is None: expected class labels, one per sample.")
    reject_container(name, values)
    # As objects first: numpy would turn a NaN beside text into the text "nan".
    labels = np.asarray(values, dtype=object if isinstance(values, list | tuple) else None)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(
            f"{name} has shape {labels.shape}: expected (n_samples,). Score several label "
            "columns one at a time, and class labels rather than probabilities."
        )
    reject_nested(name, labels, "score several label columns one at a time")
    if len(missing_rows(labels)):
        raise ValueError(f"{name} has missing values: drop these rows before scoring.")
    labels = as_numbers_or_text(labels)
    _reject_scores(name, labels)
    return labels


def _reject_scores(name: str, labels: npt.NDArray[Any]) -> None:
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError(f"{name} holds infinity: expected class labels.")
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.round(labels)):
        raise ValueError(
            f"{name} holds continuous values: expected class labels, such as those of predict(X)."
        )


def _as_weights(sample_weight: ArrayLike) -> npt.NDArray[np.float64]:
    reject_container("sample_weight", sample_weight)
    given = np.asarray(sample_weight)
    expected = "sample_weight must be one finite number >= 0 per sample"
    if given.dtype.kind not in "biufO":
        raise ValueError(f"{expected}, got values such as {given.ravel()[:1].tolist()}.")
    weights = np.asarray(pd.to_numeric(pd.Series(given.ravel()), errors="coerce"), np.float64)
    if given.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(
            f"{expected}, got shape {given.shape} with values from {weights.min()} to "
            f"{weights.max()}."
        )
    return weights
