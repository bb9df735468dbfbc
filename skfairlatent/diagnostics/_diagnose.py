"""Is the latent space what it should be? Leakage, effective rank, redundancy, and advice."""

__all__ = ["LatentDiagnostics", "diagnose"]

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.utils import _safe_indexing, check_array

from skfairlatent._bins import as_transformed
from skfairlatent._device import own_random_state
from skfairlatent._find_transformer import latent_step
from skfairlatent._inputs.repeats import certain_repetitions
from skfairlatent._user_warnings import warn_user
from skfairlatent._validation.containers import reject_container, reject_other_order
from skfairlatent._validation.groups import (
    EncodedColumn,
    EncodedColumns,
    check_length,
    encode_columns,
)
from skfairlatent._wording import joined
from skfairlatent.diagnostics._advice import (
    collapse_warnings,
    leakage_warnings,
    plateau_warnings,
    short_training_warnings,
    unmeasured_labels,
)
from skfairlatent.diagnostics._bypasses import bypass_warnings
from skfairlatent.diagnostics._foreign_rows import (
    describe_far_rows,
    describe_foreign_data,
    far_rows,
)
from skfairlatent.diagnostics._lost_decisions import lost_decisions
from skfairlatent.diagnostics._probe_rows import (
    Floats,
    HeldOut,
    check_held_out,
    encode_held_out,
    scaler,
)
from skfairlatent.diagnostics._probes import (
    ProbeSettings,
    probe_scores,
    undefined_message,
)
from skfairlatent.diagnostics._redundancy import effective_rank, off_diagonal_mass
from skfairlatent.exceptions import UndefinedMetricWarning

# Among which rows a criterion compares the groups, as it is said.
_WHERE = {
    "equalized_odds": "within label",
    "demographic_parity": "over all labels",
    "true_positive_rate_parity": "within the positive label",
}
# Rows of a group within a label without which nothing is said of its leakage there: a probe
# that is scored on one or two rows reads all of them by chance too often.
_ENOUGH = ProbeSettings(min_train_rows=5, min_test_rows=3)
_NAMES = "X", "y", "sensitive_features"
_HELD_OUT_NAMES = "held_out[0]", "held_out[1]", "held_out[2]"


class FittedLatent(Protocol):
    """The part of a transformer that `diagnose` needs; `history_` is read when it is there."""

    label_slice_: slice
    sensitive_slice_: slice

    def latent(self, X: Any) -> npt.NDArray[Any]:
        """Return all of Z, of shape (n_samples, n_components)."""


@dataclass(frozen=True, eq=False, repr=False)
class LatentDiagnostics:
    """The findings of `diagnose`. Printing it shows everything.

    Parameters
    ----------
    leakage : pandas.DataFrame
        The group read from the label block, as `group_leakage` returns it: within label, for
        demographic parity over all labels, for the parity of true positive rates within the
        positive one. A label within which a group has fewer than 5 rows to train on, or 3 to
        score, is NaN and is left out of the mean.

    sensitive_readability : pandas.DataFrame
        The group read likewise from the sensitive block, by a linear probe: high when
        the information was moved there rather than destroyed. Empty without such a block.

    label_readability : pandas.DataFrame
        The label read from the label block: one row per (label, probe).

    blocks : pandas.DataFrame
        One row for each of ``label``, ``sensitive`` and ``full``, with the columns ``width``,
        ``effective_rank`` and ``variance`` (mean over the components). If X is a table of
        numbers, a row ``input`` for its standardised columns, to compare with.

    off_diagonal : dict
        Redundancy in Z, as `off_diagonal_mass` returns it.

    warnings : tuple of str
        Faults, and what to try; empty if nothing was found.

    far_rows : ndarray of int
        Positions in X of the rows that lie far from most rows of fit, such as those with a
        code for missing values. If they are fewer than half, no figure counts them.

    constraints : str
        The criterion of the transformer.
    """

    leakage: pd.DataFrame
    sensitive_readability: pd.DataFrame
    label_readability: pd.DataFrame
    blocks: pd.DataFrame
    off_diagonal: dict[str, float]
    warnings: tuple[str, ...]
    far_rows: npt.NDArray[np.intp] = field(default_factory=lambda: np.empty(0, dtype=np.intp))
    constraints: str = "equalized_odds"

    def to_frame(self) -> pd.DataFrame:
        """Put every figure into one table.

        Returns
        -------
        pandas.DataFrame
            The columns ``quantity``, ``subject`` (what it was measured on), ``value`` and
            ``reference`` (chance level of a probe, width of a rank, NaN where there is none).
        """
        rows: list[tuple[str, str, float, float]] = []
        for quantity in ("leakage", "sensitive_readability", "label_readability"):
            table = getattr(self, quantity)
            for (subject, probe), row in table.iterrows():
                values = row["balanced_accuracy"], row["chance"]
                rows.append((quantity, f"{subject}, {probe} probe", *values))
        for block, row in self.blocks.iterrows():
            rows.append(("effective_rank", block, row["effective_rank"], row["width"]))
            rows.append(("variance", block, row["variance"], np.nan))
        for part, mass in self.off_diagonal.items():
            rows.append(("off_diagonal_mass", part, mass, np.nan))
        return pd.DataFrame(rows, columns=["quantity", "subject", "value", "reference"])

    def summary(self) -> str:
        """Describe the findings in plain text.

        Returns
        -------
        str
        """
        where = _WHERE[self.constraints]
        tables = {
            f"Group read from the label block, {where}": self.leakage,
            f"Group read from the sensitive block, {where}": self.sensitive_readability,
            "Label read from the label block": self.label_readability,
            "Blocks of Z": self.blocks,
        }
        parts = [
            f"{title}\n{table.round(3).to_string()}"
            for title, table in tables.items()
            if len(table)
        ]
        masses = ", ".join(f"{part} {mass:.3f}" for part, mass in self.off_diagonal.items())
        parts.append(f"Off-diagonal mass of the correlations\n{masses}")
        found = [f"- {text}" for text in self.warnings] or ["none"]
        return "\n\n".join([*parts, "\n".join(["Warnings", *found])])

    def __repr__(self) -> str:
        return self.summary()


def diagnose(
    transformer: FittedLatent,
    X: Any,
    y: Any,
    *,
    sensitive_features: Any,
    held_out: float | HeldOut = 0.3,
    leakage_margin: float = 0.05,
    random_state: Any = None,
) -> LatentDiagnostics:
    """Judge the latent space of a fitted transformer, and say what to try.

    The label block is judged as `transform` returns it: with `n_bins`, the cells.

    Parameters
    ----------
    transformer : FairLatentTransformer, or Pipeline with one
        Fitted; of a search over such, its ``best_estimator_`` is taken.

    X : array-like
        Input of the model: of a Pipeline that of its first step, of a transformer what the steps
        before it have made. Rows that it was not fitted on give the fairer judgement. A row that
        is repeated, as by a bootstrap, counts once if a column of mostly different values tells
        it from other people.

    y : array-like of shape (n_samples,) or (n_samples, n_labels)
        The label.

    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_attributes)
        The group of each sample.

    held_out : float or tuple (X, y, sensitive_features), default=0.3
        The rows that the probes are scored on: a share in (0, 1), or rows of their own.

    leakage_margin : float, default=0.05
        How far above chance a probe's balanced accuracy may lie, beyond three standard errors,
        before leakage is warned of.

    random_state : int, RandomState instance or None, default=None
        Draws the held-out rows and seeds the probes.

    Returns
    -------
    LatentDiagnostics
        Tables, and the warnings as text.

    Warns
    -----
    FairLatentWarning
        One, which names the kinds of what was found; the result says what to try. On far rows
        (a few that are unlike those of fit: they are named with their columns, and left out),
        on foreign rows (most are unlike, as if they were not scaled), on collapse (little
        variance or few directions left, or a label that can no longer be predicted), on bypasses
        (the model decides by more than the label block), on decisions that are alike (a
        classifier on the label block hardly finds a class that one on all of Z finds), on plateau
        (training stopped too soon, or never improved), and on
        leakage of the group into the label block.

    UndefinedMetricWarning
        If a group has fewer than 5 rows to train on, or 3 to score, within a label: too few to
        measure its leakage there. The label is left out.

    See Also
    --------
    group_leakage : The leakage of any representation.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skfairlatent.diagnostics import diagnose
    >>> class Identity:
    ...     label_slice_, sensitive_slice_ = slice(0, 1), slice(1, 3)
    ...     def latent(self, X):
    ...         return X
    >>> rng = np.random.default_rng(0)
    >>> y, group = rng.integers(2, size=(2, 2000))
    >>> X = rng.normal(size=(2000, 3)) + np.column_stack([y, group, 0 * y])
    >>> found = diagnose(Identity(), X, y, sensitive_features=group, random_state=0)
    >>> found.leakage["balanced_accuracy"].round(1).tolist(), found.warnings
    ([0.5, 0.5, 0.5], ())
    """
    check_held_out(held_out)
    _check_margin(leakage_margin)
    reject_container("X", X)
    reject_other_order(X=X, y=y, sensitive_features=sensitive_features)
    labels, groups = encode_columns(y, "y"), encode_columns(sensitive_features)
    _check_labels("y", labels)
    if isinstance(held_out, tuple):
        held_out = encode_held_out(held_out, y, sensitive_features)
        _check_labels("held_out[1]", held_out[1])
        if len(held_out[1]) != len(labels):
            raise ValueError(
                f"held_out[1] has {len(held_out[1])} label columns, and y has {len(labels)}: "
                "give the same."
            )
    model, (transformer, prepare) = transformer, latent_step(transformer)
    judged = _judged_rows(transformer, prepare, (X, labels, groups), _NAMES)
    found_by_model = _found_by(model, X, labels, judged.far)
    rows, test, foreign = _cut(transformer, judged.rows), held_out, judged.advice
    if isinstance(held_out, tuple):
        judged_test = _judged_rows(transformer, prepare, held_out, _HELD_OUT_NAMES)
        test = _cut(transformer, judged_test.rows)
        foreign = (*foreign, *judged_test.advice)
    found, skipped = _measure(transformer, rows, test, random_state)
    found = replace(
        found,
        blocks=pd.concat([found.blocks, _describe_input(judged.prepared)]),
        far_rows=judged.far,
    )
    Z, labels, _ = rows
    advice = (
        *foreign,
        *bypass_warnings(model, transformer, prepare, X, len(groups[0].codes)),
        # A block that has collapsed decides everybody alike, too.
        *(
            collapse_warnings(found.blocks, len(Z), found.label_readability)
            or lost_decisions(
                Z,
                transformer.label_slice_,
                labels,
                getattr(transformer, "n_bins", None),
                found_by_model,
            )
        ),
        *(
            short_training_warnings(transformer)
            or plateau_warnings(getattr(transformer, "history_", None))
        ),
        *leakage_warnings(
            found.leakage,
            leakage_margin,
            _WHERE[found.constraints],
            width=int(found.blocks.loc["label", "width"]),
        ),
        *unmeasured_labels(found.label_readability),
        *([f"Not measured: {undefined_message(skipped, _ENOUGH)}"] if skipped else []),
    )
    if skipped:
        warn_user(undefined_message(skipped, _ENOUGH), UndefinedMetricWarning)
    if advice:  # whose texts the result says: a warning of each would say them twice
        kinds = dict.fromkeys(text.partition(":")[0] for text in advice)
        warn_user(f"diagnose found: {joined(list(kinds))}. Print its result for what to try.")
    return replace(found, warnings=advice)


class _Judged(NamedTuple):
    """Rows to judge: of Z, with labels and groups; what was made of X; and what is far in it."""

    rows: HeldOut
    prepared: Any
    far: npt.NDArray[np.intp]
    advice: tuple[str, ...]


def _judged_rows(
    transformer: FittedLatent,
    prepare: Callable[[Any], Any],
    rows: HeldOut,
    names: tuple[str, str, str],
) -> _Judged:
    """Return the latents of rows, without those that lie far from all rows of fit."""
    X, labels, groups = rows
    prepared = prepare(X)
    Z = _latent(transformer, prepared)
    check_length(names[1], len(labels[0].codes), len(Z), names[0])
    check_length(names[2], len(groups[0].codes), len(Z), names[0])
    far = far_rows(transformer, prepared, Z)
    positions, kept = np.flatnonzero(far), np.arange(len(Z))
    advice: tuple[str, ...] = ()
    if 2 * len(positions) >= len(far):
        advice = (describe_foreign_data(transformer, X, prepare, len(positions) / len(far)),)
    elif len(positions):
        left_out = _keeps_every_value([*labels, *groups], ~far)
        advice = (describe_far_rows(X, far, names[0], left_out=left_out),)
        kept = np.flatnonzero(~far) if left_out else kept
    if not np.isfinite(Z[kept]).all():
        raise ValueError(*advice)
    rows = Z[kept], labels.at(kept), groups.at(kept)
    if len(kept) < len(Z):
        prepared = _safe_indexing(prepared, kept)
    first = _first_of_repetitions(prepared, rows)
    if len(first) < len(kept):
        rows = rows[0][first], rows[1].at(first), rows[2].at(first)
        prepared = _safe_indexing(prepared, first)
    return _Judged(rows, prepared, positions, advice)


def _first_of_repetitions(prepared: Any, rows: HeldOut) -> npt.NDArray[np.int64]:
    """Return the first of each row that was certainly repeated, and all other rows, in order.

    A probe that has learnt a row knows it again among those that it is scored on, and many
    repetitions of few rows look as certain as many rows. Equal rows of different people, as in
    tables of few columns, all stay.
    """
    Z, _, groups = rows
    table = _as_table(prepared)
    if table is None:
        return np.arange(len(Z))
    return certain_repetitions(table, np.column_stack([each.codes for each in groups])).first


def _found_by(
    model: Any, X: Any, labels: EncodedColumns, far: npt.NDArray[np.int64]
) -> Callable[[str], float] | None:
    """Return the share of a class that a model's own decisions find, if it decides.

    That is of no rows that are `far`, by position.
    """
    if not hasattr(model, "predict") or len(labels) > 1:
        return None
    (column,) = labels

    def share(value: str) -> float:
        members = np.setdiff1d(np.flatnonzero(column.codes == column.values.index(value)), far)
        (decided,) = encode_columns(model.predict(_safe_indexing(X, members)), "y")
        return float(np.mean([decided.values[code] == value for code in decided.codes]))

    return share


def _cut(transformer: FittedLatent, rows: HeldOut) -> HeldOut:
    """Return rows of Z with the label block that a classifier is given."""
    return as_transformed(transformer, rows[0]), rows[1], rows[2]


def _keeps_every_value(columns: list[EncodedColumn], kept: npt.NDArray[np.bool_]) -> bool:
    return all(len(np.unique(each.codes[kept])) == len(each.values) for each in columns)


def _latent(transformer: FittedLatent, X: Any) -> Floats:
    Z: Floats = check_array(
        transformer.latent(X),
        dtype=[np.float32, np.float64],
        ensure_all_finite=False,  # rows that are not finite are named
        input_name="Z",
    )
    return Z


def _check_margin(leakage_margin: Any) -> None:
    if not (isinstance(leakage_margin, Real) and 0.0 <= float(leakage_margin) <= 1.0):
        raise ValueError(
            f"leakage_margin={leakage_margin!r}: expected a difference of balanced accuracies, "
            "within [0, 1], such as 0.05."
        )


def _check_labels(name: str, labels: EncodedColumns) -> None:
    """Refuse labels of which one column has one class: nothing can be read then."""
    for column in labels:
        if len(column.values) < 2:
            where = name if column.name is None else f"column {column.name!r} of {name}"
            raise ValueError(
                f"{where} has one class only ({column.values[0]!r}): give rows of at least two "
                "classes, or measure the leakage alone, by group_leakage(transformer.latent(X), "
                "y, sensitive_features=...)."
            )


def _measure(
    transformer: FittedLatent, rows: HeldOut, held_out: float | HeldOut, random_state: Any
) -> tuple[LatentDiagnostics, list[str]]:
    """Return the figures without warnings, and what has no leakage; `rows` are of Z."""
    Z, label, sensitive = rows[0], transformer.label_slice_, transformer.sensitive_slice_
    # One seed for all the tables, so that they score the same rows.
    seed = int(own_random_state(random_state).randint(np.iinfo(np.int32).max))
    settings = _ENOUGH._replace(random_state=seed)
    constraints = getattr(transformer, "constraints", "equalized_odds")
    compared = _compared(rows, rows[1], constraints)
    compared_test = held_out
    if isinstance(held_out, tuple):
        compared_test = _compared(held_out, rows[1], constraints)
    leakage, skipped = probe_scores(
        *_block(compared, label), _held_out(compared_test, label), settings
    )
    moved = leakage.iloc[:0]
    if Z[:, sensitive].shape[1]:
        # Linear: the heads of the fit are, and boosting hundreds of components takes minutes.
        settings = settings._replace(probes=["linear"])
        test = _held_out(compared_test, sensitive)
        moved, _ = probe_scores(*_block(compared, sensitive), test, settings)
    found = LatentDiagnostics(
        leakage=leakage,
        sensitive_readability=moved,
        label_readability=_label_readability(
            _block(rows, label), _held_out(held_out, label), seed
        ),
        blocks=_describe({"label": Z[:, label], "sensitive": Z[:, sensitive], "full": Z}),
        off_diagonal=off_diagonal_mass(Z, label),
        warnings=(),
        constraints=constraints,
    )
    return found, skipped


def _compared(rows: HeldOut, y: EncodedColumns, constraints: str) -> HeldOut:
    """Return the rows among which a criterion compares the groups, with labels to compare within.

    The positive label is the second of those in `y`.
    """
    Z, labels, groups = rows
    if constraints == "demographic_parity":
        return Z, np.zeros(len(Z), dtype=np.int64), groups
    if constraints == "true_positive_rate_parity":
        positive = y[0].values[1]
        kept = np.flatnonzero(np.asarray(labels[0].values)[labels[0].codes] == positive)
        return Z[kept], labels.at(kept), groups.at(kept)
    return rows


def _block(rows: HeldOut, block: slice) -> HeldOut:
    return rows[0][:, block], rows[1], rows[2]


def _held_out(held_out: float | HeldOut, block: slice) -> float | HeldOut:
    return _block(held_out, block) if isinstance(held_out, tuple) else held_out


def _describe_input(X: Any) -> pd.DataFrame:
    """Describe X as the flow saw it, standardised; nothing can be said of images here."""
    table = _as_table(X)
    return pd.DataFrame() if table is None else _describe({"input": scaler().fit_transform(table)})


def _as_table(X: Any) -> npt.NDArray[Any] | None:
    """Return X as an array, or None if it is no table of numbers."""
    table = np.asarray(X)
    return table if table.ndim == 2 and table.dtype.kind in "biuf" else None


def _describe(parts: dict[str, Floats]) -> pd.DataFrame:
    figures = {
        name: {
            "width": part.shape[1],
            "effective_rank": effective_rank(part),
            "variance": part.var(axis=0).mean(),
        }
        for name, part in parts.items()
        if part.shape[1]
    }
    return pd.DataFrame.from_dict(figures, orient="index")


def _label_readability(rows: HeldOut, held_out: float | HeldOut, seed: int) -> pd.DataFrame:
    """Read each label from Z_Y by the probes of the group, over all the samples at once."""
    settings = ProbeSettings(("linear", "boosting"), random_state=seed)
    tables = []
    for index, target in enumerate(_as_features(rows[1])):
        test = held_out
        if isinstance(held_out, tuple):
            test = held_out[0], np.zeros(len(held_out[0])), _as_features(held_out[1])[index]
        table, _ = probe_scores(rows[0], np.zeros(len(rows[0])), target, test, settings)
        tables.append(table.drop(columns="label 0"))
    return pd.concat(tables).rename_axis(index={"sensitive_feature": "label"})


def _as_features(labels: EncodedColumns) -> list[EncodedColumns]:
    """Return each column of the labels by itself, with the name that the table gives it."""
    names = ["label"] if len(labels) == 1 else [f"label_{i}" for i in range(len(labels))]
    return [
        EncodedColumns([column._replace(name=name, label=name)])
        for name, column in zip(names, labels, strict=True)
    ]
