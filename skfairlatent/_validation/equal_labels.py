"""Labels that are equal by value though of different types, as True and 1 are."""

__all__ = ["as_python", "in_form_of", "with_classes"]

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from skfairlatent._validation.groups import EncodedColumns, split_columns


def in_form_of(given: Any, reference: Any, what: str) -> Any:
    """Return columns of labels with each as a reference has it, where it has an equal one.

    Parameters
    ----------
    given, reference : array-like of shape (n_samples,) or (n_samples, n_columns)
        Labels, or groups.

    what : {"y", "sensitive_features"}
        Name of the values in errors.
    """
    if isinstance(given, EncodedColumns):
        return given  # was brought into this form before it was encoded
    return with_classes(given, [values for _, values in split_columns(reference, what)], what)


def with_classes(given: Any, classes: Sequence[Any], what: str = "y") -> Any:
    """Return columns of labels with each as its column's classes have it, if one is equal.

    Parameters
    ----------
    given : array-like of shape (n_samples,) or (n_samples, n_columns)
        Labels, or groups.

    classes : sequence of array-like of shape (n_classes,)
        Classes of each column. If their number is not that of the columns, `given` is returned.

    what : {"y", "sensitive_features"}
        Name of the values in errors.
    """
    columns = split_columns(given, what)
    if len(columns) != len(classes):
        return given  # refused where it is encoded
    index = given.index if hasattr(given, "iloc") else None
    found = [
        pd.Series(_same(values, known), index)
        for (_, values), known in zip(columns, classes, strict=True)
    ]
    return pd.concat(found, axis=1).set_axis([name for name, _ in columns], axis=1)


def _same(labels: Any, others: Any) -> list[Any]:
    known = {label: label for label in as_python(others)}
    return [known.get(label, label) for label in as_python(labels)]


def as_python(labels: Any) -> list[Any]:
    """Return labels as Python's own values, of which equal ones have equal hashes."""
    values = np.ravel(np.asarray(labels, dtype=None if hasattr(labels, "dtype") else object))
    found = [value.item() if isinstance(value, np.generic) else value for value in values.tolist()]
    return [value if isinstance(value, Hashable) else repr(value) for value in found]
