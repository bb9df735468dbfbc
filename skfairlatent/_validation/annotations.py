"""Labels and sensitive features, checked and turned into codes, groups and cells."""

__all__ = [
    "Annotations",
    "encode_annotations",
]

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.utils.multiclass import type_of_target

from skfairlatent._user_warnings import warn_user
from skfairlatent._validation.containers import (
    is_table,
    missing_rows,
    reject_container,
    reject_name,
    reject_nested,
    table_columns,
)
from skfairlatent._validation.few_rows import warn_about_many_groups, warn_about_thin_cells
from skfairlatent._validation.groups import (
    EncodedColumns,
    as_text,
    check_length,
    encode_columns,
    reject_ids,
)

Codes = npt.NDArray[np.int64]

# Cells are compared pair by pair: more take gigabytes, and come of identifiers.
_MAX_CELLS = 8192
# Longer floats are not numbers that a file of tensors can hold.
MAX_NUMBER_BYTES = 8


@dataclass(frozen=True)
class Annotations:
    """Labels and groups: all that fit knows of each row besides X.

    Parameters
    ----------
    classes : list of ndarray
        The sorted classes of each label column.
    label_codes : ndarray of shape (n_samples, n_label_columns), int64
        Position of each row's label among the classes.
    attributes : EncodedColumns
        The sensitive attributes, one by one; empty if none were given.
    groups : list of str
        Names of the crossed groups that occur; one nameless group if none were given.
    cell_labels, cell_groups : ndarray of shape (n_cells,), int64
        Joint label and joint group of each (label, group) cell that occurs.
    cells : ndarray of shape (n_samples,), int64
        Cell of each row.
    single_target : bool
        Whether y had one dimension.
    """

    classes: list[npt.NDArray[Any]]
    label_codes: Codes
    attributes: EncodedColumns
    groups: list[str]
    cell_labels: Codes
    cell_groups: Codes
    cells: Codes
    single_target: bool

    @property
    def attribute_codes(self) -> Codes:
        """Codes of all attributes, shape (n_samples, n_attributes)."""
        if not self.attributes:
            return np.empty((len(self.cells), 0), dtype=np.int64)
        return np.stack([attribute.codes for attribute in self.attributes], axis=1)

    @property
    def counts(self) -> Codes:
        """Rows of each cell."""
        return np.bincount(self.cells)

    def at(self, rows: Codes) -> "Annotations":
        """Return what is known of some of the rows, shape (k,), int64."""
        attributes = EncodedColumns(
            each._replace(codes=each.codes[rows]) for each in self.attributes
        )
        codes, cells = self.label_codes[rows], self.cells[rows]
        return replace(self, label_codes=codes, attributes=attributes, cells=cells)


def encode_annotations(X: Any, y: Any, sensitive_features: Any) -> Annotations:
    """Check labels and sensitive features against X and encode them.

    Parameters
    ----------
    X : sized
        Only its length is used.
    y : array-like of shape (n_samples,) or (n_samples, n_label_columns)
        Class labels.
    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes), or None
        Sensitive attributes.

    Raises
    ------
    ValueError
        For lengths that differ, missing values, continuous labels, one class or one group.

    Warns
    -----
    FairLatentWarning
        If `sensitive_features` is None, an attribute has more than 20 groups, or some (label,
        group) cells have too few rows.
    """
    columns, single_target = _label_columns(y)
    check_length("y", len(columns[0]), len(X))
    encoded = [
        _encode_labels(column, "y" if len(columns) == 1 else f"label column {index} of y")
        for index, column in enumerate(columns)
    ]
    classes = [uniques for uniques, _ in encoded]
    label_codes = np.stack([codes for _, codes in encoded], axis=1)
    attributes, group_codes, groups = _encode_groups(len(X), sensitive_features)
    joint_labels, joint_codes = np.unique(label_codes, axis=0, return_inverse=True)
    joint_codes = joint_codes.reshape(-1)
    cell_keys, cells = np.unique(joint_codes * len(groups) + group_codes, return_inverse=True)
    _reject_too_many_cells(len(joint_labels), len(groups), len(cell_keys))
    annotations = Annotations(
        classes=classes,
        label_codes=label_codes,
        attributes=attributes,
        groups=groups,
        cell_labels=cell_keys // len(groups),
        cell_groups=cell_keys % len(groups),
        cells=cells.astype(np.int64),
        single_target=single_target,
    )
    if attributes:
        names = [_label_name(classes, codes) for codes in joint_labels]
        warn_about_thin_cells(cell_keys, annotations.counts, names, groups)
    return annotations


def _reject_too_many_cells(n_labels: int, n_groups: int, n_cells: int) -> None:
    if n_cells > _MAX_CELLS:
        raise ValueError(
            f"y has {n_labels} (crossed) classes and sensitive_features {n_groups} (crossed) "
            f"groups, of which {n_cells} combinations occur: expected at most {_MAX_CELLS}, with "
            "many rows each. Merge rare values, cut numbers into fewer classes, as by "
            "pandas.qcut(values, 3, labels=False), or leave columns out."
        )


def _label_columns(y: Any) -> tuple[list[npt.NDArray[Any]], bool]:
    reject_name("y", y)
    reject_container("y", y)
    if y is None:
        raise ValueError(
            "FairLatentTransformer requires y to be passed, but the target y is None: "
            "pass the labels that the latent is to keep."
        )
    if is_table(y) and y.shape[1]:
        columns = [values for _, values in table_columns(y)]
        return columns, len(columns) == 1
    # As objects first: numpy would turn a NaN beside text into the text "nan".
    values = np.asarray(y, dtype=object if isinstance(y, list | tuple) else None)
    if values.ndim == 2 and values.shape[1] > 1:
        return list(values.T), False
    if values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1):
        return [values.reshape(-1)], True
    raise ValueError(
        f"y has shape {values.shape}: expected (n_samples,) for one label, or "
        "(n_samples, n_label_columns) for several."
    )


def _check_labels(column: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
    """Return a label column as numbers or text, without missing values or real numbers."""
    reject_nested(
        where,
        column,
        "of several labels a row, pass one column each, as by "
        "sklearn.preprocessing.MultiLabelBinarizer().fit_transform(y)",
    )
    missing = missing_rows(column)
    if len(missing):
        raise ValueError(
            f"{where} has {len(missing)} missing value(s) (NaN or None), the first at row "
            f"{missing[0]}: drop these rows."
        )
    if column.dtype == object:
        column = pd.Series(column).infer_objects().to_numpy()
    if column.dtype.kind == "f" and not np.isfinite(column).all():
        raise ValueError(f"{where} holds infinity: expected class labels.")
    if column.dtype.kind == "f" and type_of_target(column).startswith("continuous"):
        raise ValueError(
            f"Unknown label type: continuous. {where} holds real numbers such as "
            f"{column[0]:.4g}: expected class labels. Cut a score into classes first, e.g. "
            "y = y > threshold, or pandas.qcut(y, 3, labels=False)."
        )
    # Text has one order and can be saved, whatever else the labels are (dates, a mix of types).
    if column.dtype.kind == "c":
        raise ValueError(f"{where} holds complex numbers: expected class labels.")
    if column.dtype.kind not in "biufU":
        column = np.array([as_text(value) for value in column], dtype=np.str_)
    if column.dtype.itemsize > MAX_NUMBER_BYTES and column.dtype.kind == "f":
        column = column.astype(np.float64)
    return column


def _encode_labels(column: npt.NDArray[Any], where: str) -> tuple[npt.NDArray[Any], Codes]:
    column = _check_labels(column, where)
    classes, codes = np.unique(column, return_inverse=True)
    reject_ids(where, len(classes), len(column))
    if len(classes) < 2:
        raise ValueError(
            f"{where} has one class only ({classes.tolist()[0]!r}): at least two classes are "
            "needed to learn what predicts the label."
        )
    return classes, codes.astype(np.int64)


def _encode_groups(
    n_samples: int, sensitive_features: Any
) -> tuple[EncodedColumns, Codes, list[str]]:
    if sensitive_features is None:
        warn_user(
            "sensitive_features was not given: density and label terms are fitted, and nothing "
            "is done about fairness. Pass fit(X, y, sensitive_features=...)."
        )
        return EncodedColumns(), np.zeros(n_samples, dtype=np.int64), [""]
    attributes = encode_columns(sensitive_features)
    check_length("sensitive_features", len(attributes[0].codes), n_samples)
    for attribute in attributes:
        where = f"sensitive feature {attribute.label!r}"
        if len(attribute.values) < 2:
            raise ValueError(
                f"{where} has one group only ({attribute.values[0]!r}): at least two groups are "
                "needed to compare. Leave it out, or pass sensitive_features=None to fit without "
                "fairness terms."
            )
        reject_ids(where, len(attribute.values), n_samples)
        warn_about_many_groups(attribute)
    return attributes, attributes.crossed.codes, attributes.crossed.values


def _label_name(classes: list[npt.NDArray[Any]], codes: Codes) -> str:
    names = [str(column[code]) for column, code in zip(classes, codes, strict=True)]
    return names[0] if len(names) == 1 else "|".join(names)
