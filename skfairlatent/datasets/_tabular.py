"""Adult and COMPAS, read from files and parted into features, target and sensitive columns."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from skfairlatent.datasets._files import PathLike, require_file, require_path

__all__ = ["load_adult", "load_compas"]

_ADULT_FILES = {
    "train": ("adult-train.csv", "adult.data"),
    "test": ("adult-test.csv", "adult.test"),
}
_ADULT_COLUMNS = (
    *("age", "workclass", "fnlwgt", "education", "education-num", "marital-status"),
    *("occupation", "relationship", "race", "sex", "capital-gain", "capital-loss"),
    *("hours-per-week", "native-country", "income"),
)
_ADULT_TARGETS = ("<=50K", ">50K")
_COMPAS_FILES = ("compas-two-years.csv", "compas-scores-two-years.csv")
_COMPAS_FEATURES = (
    *("sex", "age", "race", "juv_fel_count", "juv_misd_count", "juv_other_count"),
    *("priors_count", "c_charge_degree"),
)
_COMPAS_FILTER = ("days_b_screening_arrest", "is_recid", "score_text")
_COMPAS_TARGET = "two_year_recid"
_COMPAS_SCORE = "decile_score"


def load_adult(
    path: PathLike,
    *,
    split: str | None = None,
    sensitive: Sequence[str] = ("sex", "race"),
) -> Bunch:
    """Load the Adult census data: who earns more than 50,000 dollars a year.

    ``relationship`` (Husband, Wife) tells the sex of many rows: leaving ``sex`` out of the
    features does not hide it.

    Parameters
    ----------
    path : path-like
        A folder with ``adult-train.csv`` and ``adult-test.csv``, or with the UCI files
        ``adult.data`` and ``adult.test``; or one such file. Labels may end in a full stop.
    split : {"train", "test"}, default=None
        Keep this split of a folder; both by default.
    sensitive : sequence of str, default=("sex", "race")
        Columns returned as sensitive features, and therefore not among the features.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the entries:

        data : DataFrame of n rows
            The features; unknown values (``?``) are missing. The census weight is not a feature.
        target : Series of n rows, int64
            ``income``: 1 above 50,000 dollars.
        sensitive_features : DataFrame of n rows
            The sensitive columns, as text.
        sample_weight : ndarray of shape (n,), float64
            The census weight, ``fnlwgt``.
        split : ndarray of shape (n,), object, or None
            ``"train"`` or ``"test"``; None for a single file.
        target_names : tuple of str
            The meaning of 0 and of 1.
        numeric_features, categorical_features : list of str
            Names for a :class:`~sklearn.compose.ColumnTransformer`.

    Raises
    ------
    FileNotFoundError
        If the path or a file in it is absent.
    ValueError
        If a file lacks a column or holds another label, or ``split`` or ``sensitive`` is unknown.

    References
    ----------
    Kohavi, Becker, "Adult", UCI Machine Learning Repository, 1996, doi:10.24432/C5XW20.

    Examples
    --------
    >>> from skfairlatent.datasets import load_adult
    >>> adult = load_adult("tabular", split="train")  # doctest: +SKIP
    >>> adult.data.shape  # doctest: +SKIP
    (32561, 11)
    """
    root = require_path(path, "the folder of Adult, or one of its files")
    if split is not None and (root.is_file() or split not in _ADULT_FILES):
        hint = "leave it out for a single file" if root.is_file() else "pass 'train' or 'test'"
        msg = f"split={split!r} is not known here: {hint}."
        raise ValueError(msg)
    if root.is_file():
        table, splits = _read_adult(root), None
    else:
        wanted = _ADULT_FILES if split is None else (split,)
        parts = {name: _read_adult(_adult_file(root, name)) for name in wanted}
        table = pd.concat(parts.values(), ignore_index=True)
        splits = np.repeat(np.array(list(parts), dtype=object), [len(p) for p in parts.values()])
    weight = table.pop("fnlwgt").to_numpy(dtype=np.float64)
    target = table.pop("income")
    return _part(
        table,
        target,
        sensitive,
        sample_weight=weight,
        split=splits,
        target_names=_ADULT_TARGETS,
    )


def load_compas(
    path: PathLike,
    *,
    sensitive: Sequence[str] = ("race", "sex"),
    published_filter: bool = True,
) -> Bunch:
    """Load the COMPAS data of Broward County: who is charged again within two years.

    Names, dates of birth and case numbers are not returned. The target records arrests and
    charges, not crimes, and carries the bias of policing; see the references before using it.

    Parameters
    ----------
    path : path-like
        ``compas-two-years.csv`` (ProPublica's ``compas-scores-two-years.csv``), or its folder.
    sensitive : sequence of str, default=("race", "sex")
        Columns returned as sensitive features, and therefore not among the features.
    published_filter : bool, default=True
        Leave out the rows that ProPublica's analysis left out: charged more than 30 days from
        screening, recidivism unknown, ordinary traffic offences, no score. 6,172 rows remain.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the entries:

        data : DataFrame of n rows
            Age, counts of earlier charges, degree of the charge, and the columns of ``sex`` and
            ``race`` that are not in ``sensitive``.
        target : Series of n rows, int64
            ``two_year_recid``: 1 if charged again within two years.
        sensitive_features : DataFrame of n rows
            The sensitive columns, as text.
        decile_score : Series of n rows, int64
            The score of the COMPAS software, 1 to 10, which is not a feature.
        target_names : tuple of str
            The meaning of 0 and of 1.
        numeric_features, categorical_features : list of str
            Names for a :class:`~sklearn.compose.ColumnTransformer`.

    Raises
    ------
    FileNotFoundError
        If the path or the file in it is absent.
    ValueError
        If the file lacks a column, or ``sensitive`` is unknown.

    References
    ----------
    Angwin, Larson, Mattu, Kirchner, "Machine Bias", ProPublica, 2016.
    Bao et al., "It's COMPASlicated: The Messy Relationship between RAI Datasets and Algorithmic
    Fairness Benchmarks", NeurIPS Datasets and Benchmarks 2021.

    Examples
    --------
    >>> from skfairlatent.datasets import load_compas
    >>> compas = load_compas("tabular")  # doctest: +SKIP
    >>> compas.data.shape  # doctest: +SKIP
    (6172, 6)
    """
    root = require_path(path, "the folder of COMPAS, or its file")
    file = root if root.is_file() else require_file(root, _COMPAS_FILES, "COMPAS table")
    table = pd.read_csv(file, low_memory=False)
    needed = (*_COMPAS_FEATURES, *_COMPAS_FILTER, _COMPAS_TARGET, _COMPAS_SCORE)
    _require_columns(table, needed, file)
    if published_filter:
        table = table[_is_published(table)].reset_index(drop=True)
    return _part(
        table[list(_COMPAS_FEATURES)],
        table[_COMPAS_TARGET],
        sensitive,
        decile_score=table[_COMPAS_SCORE],
        target_names=("not charged again", "charged again"),
    )


def _adult_file(root: Path, split: str) -> Path:
    return require_file(root, _ADULT_FILES[split], f"{split} part of Adult")


def _read_adult(file: Path) -> pd.DataFrame:
    with file.open(encoding="utf-8") as lines:
        first = lines.readline()
    has_header = first.startswith("age")
    table = pd.read_csv(
        file,
        header=0 if has_header else None,
        names=None if has_header else list(_ADULT_COLUMNS),
        skiprows=1 if first.startswith("|") else 0,  # adult.test opens with a remark
        skipinitialspace=True,
        na_values="?",
    )
    _require_columns(table, _ADULT_COLUMNS, file)
    labels = table["income"].astype(str).str.strip().str.rstrip(".")
    unknown = sorted(set(labels) - set(_ADULT_TARGETS))
    if unknown:
        msg = f"{file.name!r} holds the labels {unknown[:5]}: expected {list(_ADULT_TARGETS)}."
        raise ValueError(msg)
    table["income"] = (labels == _ADULT_TARGETS[1]).astype(np.int64)
    return table


def _is_published(table: pd.DataFrame) -> pd.Series:
    return (
        table["days_b_screening_arrest"].between(-30, 30)
        & (table["is_recid"] != -1)
        & (table["c_charge_degree"] != "O")
        & table["score_text"].notna()  # "N/A" in the file
    )


def _part(
    table: pd.DataFrame, target: pd.Series, sensitive: Sequence[str], **extra: object
) -> Bunch:
    """Part the sensitive columns from the features."""
    names = [sensitive] if isinstance(sensitive, str) else list(sensitive)
    unknown = [name for name in names if name not in table.columns]
    if unknown:
        msg = f"sensitive={unknown} is not in the table: pass some of {list(table.columns)}."
        raise ValueError(msg)
    data = table.drop(columns=names)
    numeric = [str(name) for name in data.select_dtypes("number").columns]
    return Bunch(
        data=data,
        target=target,
        sensitive_features=table[names],
        numeric_features=numeric,
        categorical_features=[str(name) for name in data.columns if name not in numeric],
        **extra,
    )


def _require_columns(table: pd.DataFrame, needed: Sequence[str], file: Path) -> None:
    absent = [name for name in needed if name not in table.columns]
    if absent:
        msg = f"{file.name!r} lacks the columns {', '.join(absent)}: pass the published file."
        raise ValueError(msg)
