"""The audited rows, checked before anything is computed from them."""

__all__ = ["FEWEST_ROWS", "AuditedRows", "Grouping", "check_rows"]

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.utils.validation import column_or_1d

from skfairlatent._image_forms import holds_images
from skfairlatent._validation.containers import missing_rows, reject_container, reject_other_order
from skfairlatent._validation.groups import cross_columns, encode_columns, unique_name
from skfairlatent.inspection._drawing import as_label
from skfairlatent.metrics._group_counts import class_positions

Array = npt.NDArray[Any]

# A group of fewer rows cannot be learnt in folds, and edits and probes leave it out.
FEWEST_ROWS = 10


class Grouping(NamedTuple):
    """A sensitive attribute, or several crossed.

    Parameters
    ----------
    name : str
        Name of the attribute whose groups they are.

    codes : ndarray of shape (n,), int64
        Group of each row.

    names : list of str
        The groups.
    """

    name: str
    codes: npt.NDArray[np.int64]
    names: list[str]

    def counts(self) -> dict[str, int]:
        """Return the rows of each group."""
        return dict(zip(self.names, np.bincount(self.codes).tolist(), strict=True))


@dataclass(frozen=True)
class AuditedRows:
    """Rows with their labels and groups.

    Parameters
    ----------
    X : array-like of shape (n, n_features), or images
    y : ndarray of shape (n,)
        As the classifier has them among its classes.
    sensitive_features : DataFrame of n rows
        One column an attribute, as text.
    label_name : str
        Name of the label; no attribute has the same.
    """

    X: Any
    y: Array
    sensitive_features: pd.DataFrame
    label_name: str

    @property
    def attributes(self) -> list[str]:
        """Names of the sensitive attributes."""
        return list(self.sensitive_features)

    def learnable(self) -> tuple[npt.NDArray[np.bool_], list[str]]:
        """Return which rows are of groups of some size only, and by which attributes.

        An attribute without two groups of 10 rows is none of these, and its groups do not count.
        """
        kept, names = np.ones(len(self.y), dtype=bool), self.attributes
        while True:
            table = self.sensitive_features.loc[kept, names]
            sizes = {name: table[name].value_counts() for name in names}
            names = [name for name in names if (sizes[name] >= FEWEST_ROWS).sum() >= 2]
            small = np.zeros(len(table), dtype=bool)
            for name in names:
                small |= table[name].map(sizes[name]).to_numpy() < FEWEST_ROWS
            if not small.any():
                return kept, names
            kept[np.flatnonzero(kept)[small]] = False

    def too_small(self) -> dict[str, dict[str, int]]:
        """Return the groups of fewer than 10 rows with their rows, by attribute."""
        counts = {each.name: each.counts() for each in self.groupings()[: len(self.attributes)]}
        return {
            name: few
            for name, each in counts.items()
            if (few := {group: n for group, n in each.items() if n < FEWEST_ROWS})
        }

    def groupings(self) -> list[Grouping]:
        """Return each attribute, and if there are several, lastly all of them crossed."""
        columns = encode_columns(self.sensitive_features)
        found = [Grouping(str(each.name), each.codes, each.values) for each in columns]
        if len(found) > 1:
            # As `skfairlatent.diagnostics` calls them.
            name = unique_name(" x ".join(self.attributes), self.attributes)
            found.append(Grouping(name, *cross_columns(self.sensitive_features)))
        return found


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
    table = _as_table(sensitive_features)
    lengths = {"X": len(X), "y": len(labels), "sensitive_features": len(table)}
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
    _check_groups(table)
    name = getattr(y, "name", None)
    name = as_label(name) if isinstance(name, str) and name else "label"
    return AuditedRows(X, labels, table, unique_name(name, list(table)))


def _as_table(sensitive_features: Any) -> pd.DataFrame:
    columns = encode_columns(sensitive_features)
    table: dict[str, Array] = {}
    for each in columns:
        values = np.array([as_label(value) for value in each.values], dtype=object)
        table[unique_name(as_label(each.label), table)] = values[each.codes]
    return pd.DataFrame(table)


def _check_groups(table: pd.DataFrame) -> None:
    for name, column in table.items():
        counts = column.value_counts()
        if len(counts) < 2:
            raise ValueError(
                f"sensitive feature {name!r} has one group only, {counts.index[0]!r}: there is "
                "nothing to compare. Leave it out, or give rows of other groups too."
            )
