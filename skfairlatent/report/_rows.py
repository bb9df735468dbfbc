"""The audited rows, checked before anything is computed from them."""

__all__ = ["FEWEST_ROWS", "AuditedRows", "check_rows", "distinct_names"]

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import column_or_1d

from skfairlatent._image_forms import holds_images
from skfairlatent._validation.containers import missing_rows, reject_container, reject_other_order
from skfairlatent._validation.groups import (
    EncodedColumn,
    EncodedColumns,
    encode_columns,
    unique_name,
)
from skfairlatent.inspection._drawing import as_label
from skfairlatent.metrics._group_counts import class_positions

Array = npt.NDArray[Any]

# A group of fewer rows cannot be learnt in folds, and edits and probes leave it out.
FEWEST_ROWS = 10


@dataclass(frozen=True)
class AuditedRows:
    """Rows with their labels and groups.

    Parameters
    ----------
    X : array-like of shape (n, n_features), or images
    y : ndarray of shape (n,)
        As the classifier has them among its classes.
    groups : EncodedColumns
        One column for each attribute, with texts that figures and pages can show.
    label_name : str
        Name of the label; no attribute has the same.
    """

    X: Any
    y: Array
    groups: EncodedColumns
    label_name: str

    @property
    def attributes(self) -> list[str]:
        """Names of the sensitive attributes."""
        return [each.label for each in self.groups]

    def group_codes(self) -> npt.NDArray[np.int64]:
        """Return groups as numbers, shape (n, n_attributes)."""
        return np.column_stack([each.codes for each in self.groups])

    def learnable(self) -> tuple[npt.NDArray[np.bool_], EncodedColumns]:
        """Return which rows are of groups of some size only, and these rows' groups.

        An attribute without two groups of 10 rows is left out, and its groups do not count.
        """
        kept, columns = np.ones(len(self.y), dtype=bool), self.groups
        while True:
            sizes = [np.bincount(each.codes[kept], minlength=len(each.values)) for each in columns]
            pairs = list(zip(columns, sizes, strict=True))
            enough = [pair for pair in pairs if (pair[1] >= FEWEST_ROWS).sum() >= 2]
            columns = EncodedColumns(each for each, _ in enough)
            small = np.zeros(len(self.y), dtype=bool)
            for each, size in enough:
                small |= kept & (size < FEWEST_ROWS)[each.codes]
            if not small.any():
                return kept, columns.at(kept)
            kept &= ~small

    def too_small(self) -> dict[str, dict[str, int]]:
        """Return the groups of fewer than 10 rows with their rows, by attribute."""
        return {
            each.label: few
            for each in self.groups
            if (few := {group: n for group, n in each.counts().items() if n < FEWEST_ROWS})
        }

    def groupings(self) -> list[EncodedColumn]:
        """Return each attribute, and if there are several, lastly all of them crossed."""
        return [*self.groups, *([self.groups.crossed] if len(self.groups) > 1 else [])]


def check_rows(X: Any, y: Any, sensitive_features: Any, classes: Array) -> AuditedRows:
    """Return the rows, or raise ValueError for what cannot be audited.

    Parameters
    ----------
    X, y, sensitive_features
        As the user gave them.

    classes : ndarray of shape (n_classes,)
        Those of the pipeline's classifier.
    """
    holds_images(X)  # or raises
    reject_container("X", X)
    reject_container("y", y)
    reject_other_order(X=X, y=y, sensitive_features=sensitive_features)
    labels = np.asarray(column_or_1d(y))
    missing = missing_rows(labels)
    if len(missing):
        raise ValueError(
            f"y has {len(missing)} missing value(s), the first at row {missing[0]}: drop these "
            "rows from X, y and sensitive_features."
        )
    positions = class_positions(labels, classes)
    groups = _showable(encode_columns(sensitive_features))
    lengths = {"X": len(X), "y": len(labels), "sensitive_features": len(groups[0].codes)}
    if len(set(lengths.values())) > 1:
        given = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"Lengths differ: {given}. Give one label and one group for each row.")
    unknown = sorted(set(labels[positions < 0].tolist()), key=str)
    if unknown:
        raise ValueError(
            f"y holds {unknown[:5]}, which the pipeline's classifier does not know: "
            f"expected labels among {classes.tolist()}, as it was fitted with."
        )
    labels = classes[positions]  # equal ones are alike from here on
    if len(np.unique(positions)) < 2:
        raise ValueError(
            f"y holds the label {labels[0]} only, so that no error rate can be compared: give "
            "rows of other labels too."
        )
    _check_groups(groups)
    name = getattr(y, "name", None)
    name = as_label(name) if isinstance(name, str) and name.strip() else "label"
    return AuditedRows(X, labels, groups, unique_name(name, [each.label for each in groups]))


def _showable(columns: EncodedColumns) -> EncodedColumns:
    """Return columns with names and values that any figure and page can show."""
    labels = distinct_names(each.label for each in columns)
    return EncodedColumns(
        each._replace(name=label, label=label, values=distinct_names(each.values))
        for label, each in zip(labels, columns, strict=True)
    )


def distinct_names(names: Iterable[Any]) -> list[str]:
    """Return names that any figure and page can show, also for those that are blank."""
    found: list[str] = []
    for name in map(as_label, names):
        found.append(unique_name(name if name.strip() else "(empty)", found))
    return found


def _check_groups(columns: EncodedColumns) -> None:
    for each in columns:
        if len(each.values) < 2:
            raise ValueError(
                f"sensitive feature {each.label!r} has one group only, {each.values[0]!r}: there "
                "is nothing to compare. Leave it out, or give rows of other groups too."
            )
