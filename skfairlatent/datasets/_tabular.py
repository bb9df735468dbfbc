"""Adult and COMPAS, read from files and parted into features, target and sensitive columns."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from skfairlatent.datasets._files import PathLike, require_file, require_path
from skfairlatent.datasets._rows import wanted_splits
from skfairlatent.datasets._tables import (
    first_row,
    parse_table,
    read_text,
    reject_rows,
    require_columns,
    require_numbers,
    require_unique_columns,
)

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
# Names in other copies, of Kaggle and OpenML, where dots and underscores may stand for hyphens.
_ADULT_ALIASES = {"educational-num": "education-num", "gender": "sex", "class": "income"}
_ADULT_TARGETS = ("<=50K", ">50K")
_SEXES = ("Male", "Female")
_COUNT = (0, np.inf)
_ADULT_NUMBERS = {
    "age": (0, 120),
    "fnlwgt": _COUNT,
    "education-num": (1, 16),
    "capital-gain": _COUNT,
    "capital-loss": _COUNT,
    "hours-per-week": (0, 168),
}
_COMPAS_FILES = ("compas-two-years.csv", "compas-scores-two-years.csv")
_COMPAS_FEATURES = (
    *("sex", "age", "race", "juv_fel_count", "juv_misd_count", "juv_other_count"),
    *("priors_count", "c_charge_degree"),
)
_COMPAS_TARGET = "two_year_recid"
_COMPAS_SCORE = "decile_score"
_COMPAS_DELAY = "days_b_screening_arrest"
_COMPAS_NUMBERS: dict[str, tuple[float, float] | list[int]] = {
    "age": (0, 120),
    "juv_fel_count": _COUNT,
    "juv_misd_count": _COUNT,
    "juv_other_count": _COUNT,
    "priors_count": _COUNT,
    "is_recid": [-1, 0, 1],
    _COMPAS_DELAY: (-np.inf, np.inf),
    _COMPAS_SCORE: [-1, *range(1, 11)],
    _COMPAS_TARGET: [0, 1],
}
_COMPAS_COLUMNS = tuple(dict.fromkeys((*_COMPAS_FEATURES, *_COMPAS_NUMBERS, "score_text")))


def load_adult(
    path: PathLike,
    *,
    split: str | Sequence[str] | None = None,
    sensitive: Sequence[str] = ("sex", "race"),
) -> Bunch:
    """Load the Adult census data: who earns more than 50,000 dollars a year.

    ``relationship`` (Husband, Wife) tells the sex of many rows: leaving ``sex`` out of the
    features does not hide it.

    Parameters
    ----------
    path : path-like
        A folder with ``adult-train.csv`` and ``adult-test.csv``, or with the UCI files
        ``adult.data`` and ``adult.test``; or one such file, or the ``adult.csv`` of Kaggle. If
        there is a header, columns are found by name, in any order. Labels may end in a full stop.
    split : {"train", "test"} or sequence of them, default=None
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
        If a file is damaged, lacks a column, or holds text in a column of numbers, another label
        or another sex; or if ``split`` or ``sensitive`` is unknown.

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
    if not root.is_dir():
        if split is not None:
            msg = f"split={split!r} was asked for of one file: leave it out, or pass the folder."
            raise ValueError(msg)
        table, splits = _read_adult(root), None
    else:
        wanted = list(
            _ADULT_FILES if split is None else wanted_splits(split, _ADULT_FILES, "Adult")
        )
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
        If the file is damaged, lacks a column, or holds text in a column of numbers or a number
        out of range; or if ``sensitive`` is unknown.

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
    table = _read_compas(file)
    if published_filter:
        table = table[_is_published(table)].reset_index(drop=True)
        if table.empty:
            msg = f"{file.name!r} has no row left: pass published_filter=False to keep all."
            raise ValueError(msg)
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
    text, source = read_text(file), repr(file.name)
    if text.startswith("|"):  # adult.test opens with a remark
        text = text[text.find("\n") :]
    has_header = not {_adult_name(name) for name in first_row(text)}.isdisjoint(_ADULT_COLUMNS)
    table = parse_table(text, source, names=None if has_header else _ADULT_COLUMNS)
    table = table.rename(columns=_adult_name)
    require_columns(table, _ADULT_COLUMNS, source)
    require_unique_columns(table.columns, source)
    table = table[list(_ADULT_COLUMNS)].mask(lambda held: held == "?")
    for name, allowed in _ADULT_NUMBERS.items():
        may_miss = name != "fnlwgt"
        table[name] = require_numbers(table, name, source, allowed, may_miss=may_miss)
    sex, labels = table["sex"], table["income"].str.rstrip(".")
    reject_rows(sex, sex.notna() & ~sex.isin(_SEXES), source, " or ".join(_SEXES))
    reject_rows(table["income"], ~labels.isin(_ADULT_TARGETS), source, " or ".join(_ADULT_TARGETS))
    table["income"] = (labels == _ADULT_TARGETS[1]).astype(np.int64)
    return table


def _adult_name(name: str) -> str:
    plain = re.sub("[ ._]+", "-", name.lower())
    plain = _ADULT_ALIASES.get(plain, plain)
    return plain if plain in _ADULT_COLUMNS else name


def _read_compas(file: Path) -> pd.DataFrame:
    source = repr(file.name)
    table = parse_table(read_text(file), source, may_repeat=True)
    require_columns(table, _COMPAS_COLUMNS, source)
    for name in _COMPAS_COLUMNS:
        again = f"{name}.1"  # the published file has two columns twice
        if again in table.columns:
            differ = (table[name] != table[again]) & table[name].notna()
            reject_rows(table[again], differ, source, f"the value of the other column {name!r}")
    for name, allowed in _COMPAS_NUMBERS.items():
        may_miss = name == _COMPAS_DELAY
        table[name] = require_numbers(table, name, source, allowed, may_miss=may_miss)
    return table


def _is_published(table: pd.DataFrame) -> pd.Series:
    return (
        table[_COMPAS_DELAY].between(-30, 30)
        & (table["is_recid"] != -1)
        & (table["c_charge_degree"] != "O")
        & table["score_text"].notna()  # "N/A" in the file
    )


def _part(
    table: pd.DataFrame, target: pd.Series, sensitive: Sequence[str], **extra: object
) -> Bunch:
    """Part the sensitive columns from the features."""
    if not isinstance(sensitive, Iterable):
        msg = f"sensitive={sensitive!r} is no list of columns: pass some of {list(table.columns)}."
        raise TypeError(msg)
    names = [sensitive] if isinstance(sensitive, str) else list(sensitive)
    require_unique_columns(names, "sensitive=")
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
