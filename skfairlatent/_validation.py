"""Labels and sensitive features, checked and turned into codes, groups and cells."""

__all__ = [
    "Annotations",
    "encode_annotations",
    "reject_far_latents",
    "reject_sparse",
    "reject_text_columns",
    "warn_about_many_columns",
]

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from sklearn.utils.multiclass import type_of_target

from skfairlatent._groups import SensitiveColumn, check_length, cross_columns, encode_columns
from skfairlatent._user_warnings import warn_user

Codes = npt.NDArray[np.int64]

# An attribute of more groups is likely to be a number that was not cut, or a row's name.
_MANY_GROUPS = 20
# Pixels of the smallest images of faces are more columns than this; embeddings are fewer.
_MANY_COLUMNS = 4096
# More names than this make a warning unreadable.
_MAX_NAMED = 8


@dataclass(frozen=True)
class Annotations:
    """What fit knows of each row besides X.

    Parameters
    ----------
    classes : list of ndarray
        The sorted classes of each label column.
    label_codes : ndarray of shape (n_samples, n_label_columns), int64
        Position of each row's label among the classes.
    attributes : list of SensitiveColumn
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
    attributes: list[SensitiveColumn]
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

    Returns
    -------
    Annotations

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
    encoded = [_encode_labels(column, index) for index, column in enumerate(columns)]
    classes = [uniques for uniques, _ in encoded]
    label_codes = np.stack([codes for _, codes in encoded], axis=1)
    attributes, group_codes, groups = _encode_groups(len(X), sensitive_features)
    joint_labels, joint_codes = np.unique(label_codes, axis=0, return_inverse=True)
    joint_codes = joint_codes.reshape(-1)
    cell_keys, cells = np.unique(joint_codes * len(groups) + group_codes, return_inverse=True)
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
        _warn_about_thin_cells(annotations, joint_labels)
    return annotations


def reject_sparse(X: Any) -> None:
    """Raise TypeError for a sparse matrix, such as one-hot encoders make by themselves."""
    if sparse.issparse(X):
        raise TypeError(
            f"Sparse data was passed for X, of shape {X.shape}, but dense data is required: use "
            "OneHotEncoder(sparse_output=False), ColumnTransformer(..., sparse_threshold=0), or "
            "TruncatedSVD where the columns are too many."
        )


def reject_text_columns(X: Any) -> None:
    """Raise ValueError naming the columns of a table that hold no numbers."""
    if not isinstance(X, pd.DataFrame):
        return
    text = [
        name
        for name, dtype in X.dtypes.items()
        if not (pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype))
        and not _holds_numbers(X[name])
    ]
    if text:
        images = f" If it holds paths of images, pass the column itself, X[{text[0]!r}]."
        raise ValueError(
            f"X has columns that are not numeric: {text[:_MAX_NAMED]}. Encode them first, e.g. "
            "make_pipeline(make_column_transformer((OneHotEncoder(sparse_output=False), "
            f"{text[:2]}), remainder='passthrough'), FairLatentTransformer())."
            f"{images if X.shape[1] == 1 else ''}"
        )


def reject_far_latents(embeddings: npt.NDArray[Any]) -> None:
    """Raise ValueError, by row, if latents were mapped back to no finite number."""
    finite = np.isfinite(embeddings)
    if not finite.all():
        row = int(finite.all(axis=1).argmin())
        raise ValueError(
            f"Row {row} of Z lies too far from the latents of the rows of fit to be mapped back: "
            "expected numbers such as latent(X) returns. Edit it by less, or as float64."
        )


def _holds_numbers(column: Any) -> bool:
    try:
        pd.to_numeric(column)
    except (TypeError, ValueError):
        return False
    return bool(column.dtype == object)


def _label_columns(y: Any) -> tuple[list[npt.NDArray[Any]], bool]:
    if y is None:
        raise ValueError(
            "FairLatentTransformer requires y to be passed, but the target y is None: "
            "give the labels that the latent is to keep."
        )
    if isinstance(y, pd.DataFrame) and y.shape[1]:
        # Column by column, which keeps the type of each, and by position: names may repeat.
        return [y.iloc[:, i].to_numpy() for i in range(y.shape[1])], y.shape[1] == 1
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


def _encode_labels(column: npt.NDArray[Any], index: int) -> tuple[npt.NDArray[Any], Codes]:
    missing = np.flatnonzero(pd.isna(column))
    if len(missing):
        raise ValueError(
            f"y has {len(missing)} missing value(s) (NaN or None) in label column {index}, the "
            f"first at row {missing[0]}: drop these rows."
        )
    if column.dtype == object:
        column = pd.Series(column).infer_objects().to_numpy()
    if column.dtype.kind == "f" and not np.isfinite(column).all():
        raise ValueError(f"y holds infinity in label column {index}: expected class labels.")
    if column.dtype.kind == "f" and type_of_target(column).startswith("continuous"):
        raise ValueError(
            f"Unknown label type: continuous. y holds real numbers such as {column[0]:.4g} in "
            f"label column {index}: expected class labels. Cut a score into classes first, e.g. "
            "y = y > threshold, or pandas.qcut(y, 3, labels=False)."
        )
    # Text has one order and can be saved, whatever else the labels are (dates, a mix of types).
    is_plain = column.dtype.kind in "biufU"
    classes, codes = np.unique(column if is_plain else column.astype(str), return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"y has one class only ({classes.tolist()[0]!r}) in label column {index}: at least "
            "two classes are needed to learn what predicts the label."
        )
    return classes, codes.astype(np.int64)


def _encode_groups(
    n_samples: int, sensitive_features: Any
) -> tuple[list[SensitiveColumn], Codes, list[str]]:
    if sensitive_features is None:
        warn_user(
            "sensitive_features was not given: density and label terms are fitted, and nothing "
            "is done about fairness. Pass fit(X, y, sensitive_features=...)."
        )
        return [], np.zeros(n_samples, dtype=np.int64), [""]
    attributes = encode_columns(sensitive_features)
    check_length("sensitive_features", len(attributes[0].codes), n_samples)
    for index, attribute in enumerate(attributes):
        if len(attribute.values) < 2:
            name = index if attribute.name is None else repr(attribute.name)
            raise ValueError(
                f"sensitive_features has one group only ({attribute.values[0]!r}) in column "
                f"{name}: at least two groups are needed to compare. Pass "
                "sensitive_features=None to fit without fairness terms."
            )
        _warn_about_many_groups(attribute)
    codes, names = cross_columns(sensitive_features)
    return attributes, codes, names


def _warn_about_many_groups(attribute: SensitiveColumn) -> None:
    n_groups = len(attribute.values)
    if n_groups > _MANY_GROUPS:
        shown = ", ".join(attribute.values[:3])
        warn_user(
            f"sensitive feature {attribute.name or ''!r} has {n_groups} groups ({shown}, ...), "
            "each of which is matched with every other: few rows are left for each. Cut numbers "
            "into groups, as pandas.cut(age, [0, 30, 50, 120]), and merge rare categories."
        )


def warn_about_many_columns(n_features: int) -> None:
    """Warn if a flow over so many columns takes hours and gigabytes, as over pixels."""
    if n_features > _MANY_COLUMNS:
        warn_user(
            f"X has {n_features} columns, and time and memory of the fit grow with the square of "
            "that. Reduce them first, as by sklearn.decomposition.PCA(512); pass pixels as "
            "images, of shape (n, height, width, 3), to an encoder of images."
        )


def _warn_about_thin_cells(annotations: Annotations, joint_labels: Codes) -> None:
    """Name, once, the cells without rows and those with a single one."""
    counts = np.zeros((len(joint_labels), len(annotations.groups)), dtype=np.int64)
    counts[annotations.cell_labels, annotations.cell_groups] = annotations.counts
    for size, meaning in ((0, "no rows"), (1, "a single row")):
        thin = [
            f"({_label_name(annotations.classes, joint_labels[label])}, "
            f"{annotations.groups[group]})"
            for label, group in np.argwhere(counts == size)
        ]
        if thin:
            shown = ", ".join(thin[:_MAX_NAMED]) + (", ..." if len(thin) > _MAX_NAMED else "")
            warn_user(
                f"{len(thin)} (label, group) cell(s) have {meaning} in the training data: "
                f"{shown}. These groups cannot be compared within these labels, and nothing is "
                "promised for them. Merge groups, or collect rows of these cells."
            )


def _label_name(classes: list[npt.NDArray[Any]], codes: Codes) -> str:
    names = [str(column[code]) for column, code in zip(classes, codes, strict=True)]
    return names[0] if len(names) == 1 else "|".join(names)
