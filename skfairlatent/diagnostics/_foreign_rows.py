"""Rows far from all that a transformer was fitted on: which they are, and by which columns."""

__all__ = ["describe_far_rows", "describe_foreign_data", "far_rows"]

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from skfairlatent._image_forms import holds_images
from skfairlatent._inputs.heavy_tails import QUARTILES_APART, without_codes

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# Mean square of a row of Z; rows like those of fit have about 1.
FAR = 25.0
# A column tells why a row is far if it is so many standard deviations from the others.
TELLING = 8.0
# A column is in another unit if its middle is TELLING standard deviations from that of fit, or, of
# a feature with heavy tails, so many of its logarithm.
OTHER_UNIT = 2.0
# Or if it spreads so many times less than in fit, and lies near zero, as what a unit makes small
# does, or so many spreads of fit from the middle, as that does after a StandardScaler. The rows of
# one birth year, area or class spread 46 times less at such places in the tables of the benchmarks
# at most. Near zero is a share of the spread of fit, for columns that lie away from it in fit.
NARROWER, NEAR_ZERO, AWAY_FROM_ZERO, NARROW_AWAY = 50.0, 0.05, 0.5, 2.5
# Or if its middle half is so many times as wide; 9 times among those rows.
WIDER = 20.0
# So few rows tell no spread. The outermost rows at both ends have no part in it.
FEWEST_ROWS, OUTERMOST = 50, 0.01
# A column of no more values holds kinds, or a code, and has no unit.
MOST_KINDS = 10
# Columns, rows and values that a message spells out.
MAX_NAMED = 3

_ONE = "lies", "it is", "the row", "it"
_SEVERAL = "lie", "they are", "these rows", "them"


def far_rows(transformer: Any, prepared: Any, Z: npt.NDArray[Any]) -> Mask:
    """Tell the rows that lie far from most rows of fit, or have a Z that is not finite.

    All of them do if a column seems to be in another unit.

    Parameters
    ----------
    transformer : object
        If it has ``embed``, ``mean_`` and ``scale_``, columns of numbers are looked at
        themselves: in Z, a logarithm hides how far they are, and values that another unit made
        small lie close together among those of fit.
    prepared : array-like
        The rows as the transformer is given them.
    Z : ndarray of shape (n, d)
        Their latent.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.square(Z.astype(np.float64)).mean(axis=1)
    far = ~(squares <= FAR)
    heavy_tails = getattr(transformer, "heavy_tails_", None)
    # Images and texts would be encoded once more, and have no units.
    is_encoded = getattr(transformer, "encoder_fingerprint_", None) is not None
    may_be_units = heavy_tails is not None or far.any() or not is_encoded
    if may_be_units and _knows_columns(transformer) and not holds_images(prepared):
        rows = _embedded(transformer, prepared)
        if heavy_tails is not None:
            far |= (_bent(heavy_tails, rows) > TELLING).any(axis=1)
        far |= bool(len(_elsewhere(transformer, rows)))
    return np.asarray(far)


def _knows_columns(transformer: Any) -> bool:
    return all(hasattr(transformer, name) for name in ("embed", "mean_", "scale_"))


def _embedded(transformer: Any, prepared: Any) -> Floats:
    return np.array(transformer.embed(prepared), dtype=np.float64)


def _bent(heavy_tails: Any, rows: Floats) -> Floats:
    """Return how many standard deviations of their logarithm features are from the middle."""
    deviations: Floats = heavy_tails.forward(torch.from_numpy(rows)).abs().numpy()
    return deviations


def _elsewhere(transformer: Any, rows: Floats) -> pd.DataFrame:
    """Return the columns whose middle or spread is far from that of fit, the furthest first.

    Returns
    -------
    pandas.DataFrame
        One row for each, by its position: its ``middle`` and ``width``, and those of fit,
        ``center`` and ``spread``.
    """
    # Without codes, which say nothing of the unit.
    amounts = [without_codes(column) for column in np.sort(rows.T, axis=1)]
    middle = np.array([np.median(each) for each in amounts])
    width = np.array([_width(each) for each in amounts])
    center, spread = transformer.mean_.copy(), transformer.scale_.copy()
    away = np.abs(middle - center) / spread
    heavy_tails = getattr(transformer, "heavy_tails_", None)
    wider = width / spread / WIDER
    if heavy_tails is not None:
        columns = heavy_tails.columns
        center[columns], spread[columns] = heavy_tails.center, heavy_tails.width
        away[columns] = TELLING / OTHER_UNIT * _bent(heavy_tails, middle[np.newaxis])[0]
        wider[columns] = 0.0  # a group may have all that lies in the tails
    table = pd.DataFrame({"middle": middle, "width": width, "center": center, "spread": spread})
    off = np.maximum(np.maximum(away / TELLING, wider), _narrower(amounts, table))
    off[[len(np.unique(each)) <= MOST_KINDS for each in amounts]] = 0.0
    furthest = np.argsort(-off, kind="stable")
    return table.iloc[furthest[off[furthest] > 1.0]]


def _width(ordered: Floats) -> float:
    """Return how wide the middle half is, as the standard deviation of a normal distribution."""
    first, third = np.quantile(ordered, [0.25, 0.75])
    return float((third - first) / QUARTILES_APART)


def _narrower(amounts: Sequence[Floats], table: pd.DataFrame) -> Floats:
    """Return by how much columns spread too little, in limits, where they are placed so."""
    middle, center = (table[name] / table["spread"] for name in ("middle", "center"))
    is_small = (middle.abs() < NEAR_ZERO) & (center.abs() > AWAY_FROM_ZERO)
    is_placed = (table["width"] > 0) & (is_small | ((middle - center).abs() > NARROW_AWAY))
    narrower = np.zeros(len(amounts))
    for column in np.flatnonzero(is_placed).tolist():
        outermost = int(np.ceil(OUTERMOST * len(amounts[column])))
        inner = amounts[column][outermost:-outermost]
        if len(inner) >= FEWEST_ROWS and len(np.unique(inner)) > MOST_KINDS:
            narrower[column] = table["spread"][column] / NARROWER / inner.std()
    return narrower


def describe_far_rows(X: Any, far: Mask, name: str, *, left_out: bool) -> str:
    """Say which rows are far, in which columns, and what to do.

    Parameters
    ----------
    X : array-like of shape (n, n_columns), or images
        The rows as the user gave them.
    far : ndarray of shape (n,), bool
        As `far_rows` tells them; some are.
    name : str
        Name of X in messages.
    left_out : bool
        Whether no figure counts them.
    """
    rows = np.flatnonzero(far)
    lie, are, rest, these = _ONE if len(rows) == 1 else _SEVERAL
    shown, drop = _rows(X, rows, name)
    reasons = _reasons(X, far, name)
    why = ", in " + " and ".join(text for text, _ in reasons) if reasons else ""
    counted = (
        f"{are} left out of the figures of diagnose"
        if left_out
        else f"the figures of diagnose count {these} nevertheless, because a label or group has "
        "no other rows"
    )
    clip = f", or clip what is far, as by {', '.join(by for _, by in reasons)}" if reasons else ""
    return (
        f"Far rows: {len(rows)} of {len(far)} rows of {name} ({shown}) {lie} far from most rows "
        f"of fit{why}; {counted}. If that is a mistake or stands for missing values, drop {rest} "
        f"from {name}, y and sensitive_features{drop}{clip}."
    )


def describe_foreign_data(transformer: Any, X: Any, prepare: Any, share: float) -> str:
    """Say that most rows are far, in which columns if they are few, and what to do.

    Parameters
    ----------
    transformer : object
        If it has ``embed``, ``mean_`` and ``scale_``, columns are compared with those of fit.
    X : array-like
        The rows that the user gave.
    prepare : callable
        The steps of a Pipeline before the transformer.
    share : float
        Share of the rows that are far.
    """
    found = (
        f"Foreign rows: {share:.0%} of the rows lie far from most rows of fit (their Z has a "
        f"mean square of more than {FAR:g}, where rows of fit have about 1, or a column lies "
        "elsewhere or spreads otherwise): no figure here means anything."
    )
    prepared = prepare(X)
    if why := _foreign_columns(transformer, prepared, prepare):
        return (
            f"{found} They differ in {why}. If the units are others, give those of fit; if the "
            "rows are of another period, place or choice, fit on rows like them."
        )
    if prepared is not X:
        return f"{found} Give the same columns in the same order and units as in fit."
    return (
        f"{found} Were they scaled and encoded as those were? Give diagnose the whole Pipeline, "
        "which does that."
    )


def _foreign_columns(transformer: Any, prepared: Any, prepare: Any) -> str:
    """Name the columns that are unlike those of fit, if they are not most of them."""
    if not _knows_columns(transformer):
        return ""
    rows = _embedded(transformer, prepared)
    off = _elsewhere(transformer, rows)
    if not 0 < len(off) <= rows.shape[1] / 2:
        return ""
    names = _names_of(transformer, prepared, prepare)
    named = ", ".join(
        f"column {names[i]!r} (as the transformer is given it around {column.middle:.4g}, give or "
        f"take {column.width:.3g}, in fit {column.center:.4g}, give or take {column.spread:.3g})"
        for i, column in off[:MAX_NAMED].iterrows()
    )
    return named + (", ..." if len(off) > MAX_NAMED else "")


def _names_of(transformer: Any, prepared: Any, prepare: Any) -> list[Any]:
    """Return the names of the columns that the transformer was given, or their positions."""
    if hasattr(prepared, "columns"):
        return list(prepared.columns)
    if hasattr(transformer, "feature_names_in_"):
        return list(transformer.feature_names_in_)
    try:  # of the steps, if they can tell
        return [str(name) for name in prepare.__self__.get_feature_names_out()]
    except (AttributeError, TypeError, ValueError):
        return list(range(np.shape(prepared)[1]))


def _reasons(X: Any, far: Mask, name: str) -> list[tuple[str, str]]:
    """Return, of the columns that far rows are furthest in, what is odd and how to clip it."""
    columns = _columns_of_numbers(X, name)
    if not columns:
        return []
    table = pd.DataFrame({code: values for code, (_, values) in columns.items()})
    usual, odd = table[~far], table[far].reset_index(drop=True)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        away = ((odd - usual.median()).abs() / usual.std(ddof=0)).fillna(0.0)
    worst = away.idxmax(axis=1)[away.max(axis=1) > TELLING]
    found = []
    for code in worst.value_counts().index[:MAX_NAMED]:
        theirs = worst.index[worst == code]
        values = ", ".join(f"{value:.6g}" for value in odd[code][theirs].unique())
        low, high = usual[code].min(), usual[code].max()
        text = f"{columns[code][0]} ({_shortened(values)}; other rows: {low:.6g} to {high:.6g})"
        found.append((text, f"{code}.clip({low:.6g}, {high:.6g})"))
    return found


def _columns_of_numbers(X: Any, name: str) -> dict[str, tuple[str, Floats]]:
    """Return names and values of the columns that hold numbers, by what one types for them."""
    if hasattr(X, "columns"):
        table = X.iloc if hasattr(X, "iloc") else X
        parts = {
            f"{name}[{label!r}]": (f"column {label!r}", np.asarray(table[:, index]))
            for index, label in enumerate(X.columns)
        }
    else:
        values = np.asarray(X)
        if values.ndim != 2:
            return {}
        code = name if hasattr(X, "dtype") else f"numpy.asarray({name})"
        parts = {f"{code}[:, {i}]": (f"column {i}", part) for i, part in enumerate(values.T)}
    return {
        code: (text, pd.to_numeric(pd.Series(part), errors="coerce").to_numpy(np.float64))
        for code, (text, part) in parts.items()
        if part.dtype.kind in "biufO"
    }


def _rows(X: Any, rows: npt.NDArray[np.intp], name: str) -> tuple[str, str]:
    """Return the rows as the user counts them, and what one types to drop them if few."""
    few = len(rows) <= MAX_NAMED
    if not isinstance(X, pd.DataFrame):
        positions = rows.tolist()
        shown = _shortened(", ".join(map(str, positions[: MAX_NAMED + 1])))
        drop = f", as by numpy.delete({name}, {positions}, axis=0)"
        return f"at position {shown}", drop if few and isinstance(X, np.ndarray) else ""
    labels = X.index[rows].tolist()
    shown = _shortened(", ".join(map(str, labels[: MAX_NAMED + 1])))
    drop = f", as by {name}.drop(index={labels})"
    return f"index {shown}", drop if few and X.index.is_unique else ""


def _shortened(listed: str) -> str:
    """Leave out all but the first of what a text lists."""
    parts = listed.split(", ")
    return ", ".join(parts[:MAX_NAMED]) + (", ..." if len(parts) > MAX_NAMED else "")
