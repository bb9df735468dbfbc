"""Rows for the probes: labels and groups as integers, some held out to score on."""

__all__ = [
    "Codes",
    "Floats",
    "HeldOut",
    "Mask",
    "ProbeData",
    "check_held_out",
    "encode_held_out",
    "gather_rows",
    "scaler",
    "within_range",
]

from numbers import Real
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array

from skfairlatent._validation.containers import reject_container, reject_other_order
from skfairlatent._validation.equal_labels import in_form_of
from skfairlatent._validation.groups import (
    EncodedColumn,
    check_length,
    encode_columns,
    reject_ids,
)

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Codes: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]
HeldOut: TypeAlias = tuple[Any, Any, Any]  # Z (or X), y, sensitive_features


class ProbeData(NamedTuple):
    """Rows to train on and rows to score on, stacked, and told apart by `is_test`."""

    Z: Floats
    labels: EncodedColumn
    features: list[EncodedColumn]
    is_test: Mask


def gather_rows(
    Z: Any,
    y: Any,
    sensitive_features: Any,
    held_out: float | HeldOut,
    rng: np.random.RandomState,
) -> ProbeData:
    """Check the rows, encode their labels and groups, and say which are to be scored on.

    Parameters
    ----------
    Z, y, sensitive_features, held_out
        As in `group_leakage`.

    rng : numpy.random.RandomState
        Draws the held-out rows if `held_out` is a share.
    """
    check_held_out(held_out)
    Z, labels, features = _encode(Z, y, sensitive_features)
    if not isinstance(held_out, tuple):
        is_test = _draw_held_out(labels.codes, features[0].codes, held_out, rng)
        return ProbeData(Z, labels, features, is_test)
    test_Z, test_labels, test_features = _encode(
        held_out[0], *encode_held_out(held_out, y, sensitive_features)[1:]
    )
    if test_Z.shape[1] != Z.shape[1]:
        raise ValueError(
            f"held_out has {test_Z.shape[1]} components, but Z has {Z.shape[1]}: give both in the "
            "same form."
        )
    if len(test_features) != len(features):
        n_given, n_expected = (max(len(each) - 1, 1) for each in (test_features, features))
        raise ValueError(
            f"held_out[2] has {n_given} column(s), but sensitive_features has {n_expected}: give "
            "the same."
        )
    pairs = zip(features, test_features, strict=True)
    return ProbeData(
        np.concatenate([Z, test_Z]),
        _stack(labels, test_labels),
        [_stack(*pair) for pair in pairs],
        np.repeat([False, True], [len(Z), len(test_Z)]),
    )


def encode_held_out(held_out: HeldOut, y: Any, sensitive_features: Any) -> HeldOut:
    """Return rows with labels and groups encoded, each as an equal one of the reference is."""
    X, test_y, test_groups = held_out
    reject_other_order(X=X, y=test_y, sensitive_features=test_groups)
    return (
        X,
        encode_columns(in_form_of(test_y, y, "y"), "y"),
        encode_columns(in_form_of(test_groups, sensitive_features, "sensitive_features")),
    )


def scaler() -> StandardScaler:
    """Return a scaler of our own, whose output is an array whatever the user's configuration."""
    return StandardScaler().set_output(transform="default")


def _encode(
    Z: Any, y: Any, sensitive_features: Any
) -> tuple[Floats, EncodedColumn, list[EncodedColumn]]:
    """Return Z checked, the crossed label, and the sensitive features: crossed, then each."""
    reject_container("Z", Z)
    given, Z = Z, within_range(check_array(Z, dtype=[np.float32, np.float64], input_name="Z"))
    reject_other_order(Z=given, y=y, sensitive_features=sensitive_features)
    labels = encode_columns(y, "y").crossed
    columns = encode_columns(sensitive_features)
    check_length("y", len(labels.codes), len(Z), "Z")
    check_length("sensitive_features", len(columns[0].codes), len(Z), "Z")
    for column in columns:
        if len(column.values) < 2:
            raise ValueError(
                f"sensitive feature {column.label!r} has one group ({column.values[0]!r}): "
                "expected two or more to tell apart; leave it out."
            )
        reject_ids(f"sensitive feature {column.label!r}", len(column.values), len(Z))
    reject_ids("y", len(labels.values), len(Z))
    several = [columns.crossed] if len(columns) > 1 else []
    return Z, labels, [*several, *columns]


def within_range(Z: Floats) -> Floats:
    """Return Z as it is, or, where squares would overflow or vanish, divided by its largest."""
    largest = float(np.abs(Z).max())  # 1e100 is not a float32
    return Z if 1e-30 < largest < 1e100 or largest == 0.0 else Z / largest


def _stack(first: EncodedColumn, second: EncodedColumn) -> EncodedColumn:
    """Put two columns on one list of values: those of the first, then what is new."""
    values = first.values + [value for value in second.values if value not in first.values]
    position = {value: code for code, value in enumerate(values)}
    recoded = np.array([position[value] for value in second.values])[second.codes]
    return first._replace(codes=np.concatenate([first.codes, recoded]), values=values)


def _draw_held_out(labels: Codes, groups: Codes, share: float, rng: np.random.RandomState) -> Mask:
    """Draw a share of the rows of every (label, group) cell, at least one and never all."""
    is_test = np.zeros(len(labels), dtype=bool)
    for cell in np.unique(np.column_stack([labels, groups]), axis=0):
        members = rng.permutation(np.flatnonzero((labels == cell[0]) & (groups == cell[1])))
        n_test = int(np.clip(round(share * len(members)), 1, max(len(members) - 1, 1)))
        if len(members) > 1:
            is_test[members[:n_test]] = True
    return is_test


def check_held_out(held_out: Any) -> None:
    """Refuse what is neither a share nor three arrays.

    Parameters
    ----------
    held_out : object
        As the user gave it.
    """
    is_share = isinstance(held_out, Real) and 0 < float(held_out) < 1
    if not is_share and not (isinstance(held_out, tuple) and len(held_out) == 3):
        given = f"{held_out!r}" if isinstance(held_out, Real) else f"a {type(held_out).__name__}"
        raise ValueError(
            f"held_out is {given}: expected a share between 0 and 1, or a tuple "
            "(features, y, sensitive_features) of rows to score on."
        )
