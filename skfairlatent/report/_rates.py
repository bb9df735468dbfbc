"""Rates by group and gaps between groups, before and after, with bootstrap intervals.

fairlearn measures the data. The draws, a thousand tables of counts, are measured all at once.
"""

__all__ = ["MODELS", "TPR_GAP", "Decisions", "RateTables", "rate_tables", "resample"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from fairlearn.metrics import false_positive_rate, selection_rate, true_positive_rate
from sklearn.metrics import accuracy_score

from skfairlatent._bootstrap import interval_of
from skfairlatent._validation.groups import EncodedColumn
from skfairlatent.metrics._group_counts import GroupCounts

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MODELS = ("before", "after")
COLUMNS = [f"{model}{end}" for model in MODELS for end in ("", "_low", "_high")]
SELECTION_RATIO = "demographic_parity_ratio"
TPR_GAP = "equal_opportunity_difference"
CHANGE = ["change", "change_low", "change_high", "note"]


@dataclass(frozen=True)
class Decisions:
    """How often each combination of label, decisions and crossed group occurs.

    Everything that is reported depends on these counts alone, so that a draw of rows with
    replacement is a multinomial draw of counts: the same distribution, without touching rows.

    Parameters
    ----------
    counts : ndarray of shape (1 + n_bootstrap, n_cells)
        First those of the data, then those of each draw.

    y, before, after : ndarray of shape (n_cells,), int64
        Codes of the label and of the decisions of each cell.

    first_rows : ndarray of shape (n_cells,)
        A row of each cell.

    labels : list of str
        The labels that the codes stand for.
    """

    counts: Floats
    y: Codes
    before: Codes
    after: Codes
    first_rows: npt.NDArray[np.intp]
    labels: list[str]

    def tables(self, model: str, grouping: EncodedColumn) -> Floats:
        """Return confusion matrices, shape (1 + n_bootstrap, n_labels, n_labels, n_groups).

        Parameters
        ----------
        model : {"before", "after"}
            The model whose decisions are counted.

        grouping : EncodedColumn
            The groups.
        """
        predicted = self.before if model == "before" else self.after
        groups = grouping.codes[self.first_rows]
        shape = (len(self.labels), len(self.labels), len(grouping.values))
        place = np.ravel_multi_index((self.y, predicted, groups), shape)
        member = np.zeros((len(groups), np.prod(shape)))
        member[np.arange(len(groups)), place] = 1.0
        return (self.counts @ member).reshape(-1, *shape)


class RateTables(NamedTuple):
    """The tables of an audit; see `AuditReport` for their columns."""

    overall: pd.DataFrame
    by_group: pd.DataFrame
    differences: pd.DataFrame


def resample(
    codes: Sequence[Codes], crossed: Codes, labels: list[str], n_bootstrap: int, rng: Any
) -> Decisions:
    """Count the cells, and draw the counts `n_bootstrap` times.

    Parameters
    ----------
    codes : sequence of three ndarray of shape (n,)
        Labels, decisions before, and decisions after.

    crossed : ndarray of shape (n,)
        Group of each row by all attributes at once.

    labels : list of str
        The labels that the codes stand for.

    n_bootstrap : int
        Number of draws.

    rng : RandomState
        Source of the draws.
    """
    n = len(crossed)
    rows = np.column_stack((*codes, crossed))
    cells, first_rows, counts = np.unique(rows, axis=0, return_index=True, return_counts=True)
    draws = rng.multinomial(n, counts / n, size=n_bootstrap)
    return Decisions(
        counts=np.vstack((counts, draws)).astype(np.float64),
        y=cells[:, 0],
        before=cells[:, 1],
        after=cells[:, 2],
        first_rows=first_rows,
        labels=labels,
    )


def rate_tables(
    decisions: Decisions, groupings: list[EncodedColumn], confidence: float
) -> RateTables:
    """Return the overall rates, those by group, and the differences between groups.

    Parameters
    ----------
    decisions : Decisions
        Counts of the data and of the bootstrap draws.

    groupings : list of EncodedColumn
        Each attribute, and if there are several also all of them crossed.

    confidence : float
        Level of the intervals.
    """
    everybody = EncodedColumn(None, np.zeros_like(groupings[0].codes), ["everybody"], "everybody")
    return RateTables(
        _by_group(decisions, everybody, confidence).droplevel([0, 1]),
        pd.concat([_by_group(decisions, each, confidence) for each in groupings]),
        pd.concat([_differences(decisions, each, confidence) for each in groupings]),
    )


def _by_group(decisions: Decisions, grouping: EncodedColumn, confidence: float) -> pd.DataFrame:
    labels, metrics = decisions.labels, _metrics(decisions.labels)
    rows: dict[Any, list[float]]
    rows = {(grouping.label, g, m): [] for g in grouping.values for m in ("count", *metrics)}
    for model in MODELS:
        tables = decisions.tables(model, grouping)
        values = GroupCounts(tables[0], labels, grouping.values).frame(metrics).by_group
        draws = _rate_draws(tables[1:], labels)
        for g, group in enumerate(grouping.values):
            # Known, not estimated.
            rows[grouping.label, group, "count"] += [tables[0, ..., g].sum(), np.nan, np.nan]
            for metric in metrics:
                found = _estimate(values.loc[g, metric], draws[metric][:, g], confidence)
                rows[grouping.label, group, metric] += found
    return _frame(rows, COLUMNS, ["sensitive_feature", "group", "metric"])


def _positives(labels: list[str]) -> dict[int, str]:
    """Return the positive label, and what the names of its rates end in; of several each."""
    if len(labels) == 2:
        return {1: ""}
    return {k: f" of {label}" for k, label in enumerate(labels)}


def _metrics(labels: list[str]) -> dict[str, Callable[..., float]]:
    """Return fairlearn's rates by name, NaN where there are no rows to measure one on."""
    found: dict[str, Callable[..., float]] = {"accuracy": accuracy_score}
    for k, ending in _positives(labels).items():
        for rate in (true_positive_rate, false_positive_rate, selection_rate):
            found[f"{rate.__name__}{ending}"] = _against_others(rate, k)
    return found


def _against_others(rate: Callable[..., float], positive: int) -> Callable[..., float]:
    """Return a rate that takes one label for positive and the others for negative."""
    needed = {true_positive_rate: (True,), false_positive_rate: (False,)}.get(rate, ())

    def measured(y_true: Any, y_pred: Any, *, sample_weight: Any) -> float:
        true, predicted = np.asarray(y_true) == positive, np.asarray(y_pred) == positive
        if not all((true == value).any() for value in needed):
            return np.nan
        return rate(true.astype(int), predicted.astype(int), sample_weight=sample_weight)

    return measured


def _rate_draws(tables: Floats, labels: list[str]) -> dict[str, Floats]:
    """Return the same rates of counts by true label, predicted label and group, of each draw.

    Returns
    -------
    dict of str to ndarray of shape (n_bootstrap, n_groups)
        NaN where there are no rows to measure a rate on.
    """
    totals = tables.sum(axis=(1, 2))
    rates = {"accuracy": _share(np.einsum("byyg->bg", tables), totals)}
    for k, ending in _positives(labels).items():
        hits, selected = tables[:, k, k], tables[:, :, k].sum(axis=1)
        positives = tables[:, k].sum(axis=1)
        rates[f"true_positive_rate{ending}"] = _share(hits, positives)
        rates[f"false_positive_rate{ending}"] = _share(selected - hits, totals - positives)
        rates[f"selection_rate{ending}"] = _share(selected, totals)
    return rates


def _differences(decisions: Decisions, grouping: EncodedColumn, confidence: float) -> pd.DataFrame:
    tables = {model: decisions.tables(model, grouping) for model in MODELS}
    found = {model: _compare_groups(tables[model], decisions.labels, grouping) for model in MODELS}
    rows = {}
    for metric in found["before"].values:
        values = [found[model].values[metric] for model in MODELS]
        draws = [found[model].draws[metric] for model in MODELS]
        estimates = [
            _estimate(value, drawn, confidence)
            for value, drawn in (
                *zip(values, draws, strict=True),
                (values[1] - values[0], draws[1] - draws[0]),
            )
        ]
        undefined = [each for each in found.values() if np.isnan(each.values[metric])]
        reasons = {reason for each in undefined if (reason := each.reason(metric))}
        notes = [f"Undefined: {'; '.join(sorted(reasons))}."] if reasons else []
        if any(np.isfinite(value) and np.isnan(low) for value, low, _ in estimates):
            notes.append(_no_interval(metric, tables["before"][0]))
        rows[grouping.label, metric] = [*(x for each in estimates for x in each), " ".join(notes)]
    return _frame(rows, [*COLUMNS, *CHANGE], ["sensitive_feature", "metric"])


class _Gaps(NamedTuple):
    """Comparisons of the groups: in the data, in the draws, and why a value is NaN."""

    values: dict[str, float]
    draws: dict[str, Floats]
    empty_cells: str | None

    def reason(self, metric: str) -> str | None:
        """Say why a comparison has no value."""
        return "a model selects nobody" if metric == SELECTION_RATIO else self.empty_cells


def _compare_groups(tables: Floats, labels: list[str], grouping: EncodedColumn) -> _Gaps:
    """Measure the gaps as `skfairlatent.metrics` does.

    A label that is neither true of a row nor predicted for one has no rates to compare.
    """
    occurs = np.flatnonzero(tables[0].sum(axis=(1, 2)) + tables[0].sum(axis=(0, 2)))
    tables = tables[:, occurs][:, :, occurs]
    counts = GroupCounts(tables[0], [labels[k] for k in occurs], grouping.values)
    reason = counts.empty_cells()
    values = {
        "equalized_odds_difference": np.nan if reason else counts.equalized_odds_gaps().max(),
        "demographic_parity_difference": counts.demographic_parity_gap(),
        "worst_group_accuracy": np.nan if reason else counts.worst_group_accuracy(),
    }
    given_label = _share(tables[1:], tables[1:].sum(axis=2, keepdims=True))
    selected = tables[1:].sum(axis=1)
    selected = _share(selected, selected.sum(axis=1, keepdims=True))
    draws = {
        "equalized_odds_difference": np.ptp(given_label, axis=3).max(axis=(1, 2)),
        "demographic_parity_difference": np.ptp(selected, axis=2).max(axis=1),
        "worst_group_accuracy": np.einsum("byyg->byg", given_label).min(axis=(1, 2)),
    }
    if len(occurs) == len(labels) == 2:
        pairs = {SELECTION_RATIO: _lowest_to_highest, TPR_GAP: _true_positive_gap}
        for name, measured in pairs.items():
            found = measured(tables)
            values[name], draws[name] = float(found[0]), found[1:]
    return _Gaps(values, draws, reason)


def _lowest_to_highest(tables: Floats) -> Floats:
    """Return the lowest selection rate over the highest, for each table of two labels."""
    rates = _share(tables[:, :, 1].sum(axis=1), tables.sum(axis=(1, 2)))
    return _share(rates.min(axis=1), rates.max(axis=1))


def _true_positive_gap(tables: Floats) -> Floats:
    gaps: Floats = np.ptp(_share(tables[:, 1, 1], tables[:, 1].sum(axis=1)), axis=1)
    return gaps


def _no_interval(metric: str, table: Floats) -> str:
    """Say why too many draws have no value: they lack the rows of the smallest cell, or others."""
    of_groups = metric.startswith("demographic_parity")
    counts = table.sum(axis=(0, 1) if of_groups else 1)
    fewest = int(counts[counts > 0].min())
    part = "group" if of_groups else "(label, group) cell"
    return f"No interval: in some draws a {part} of {fewest} row{'s'[: fewest > 1]} is empty."


def _estimate(value: float, draws: Floats, confidence: float) -> tuple[float, float, float]:
    """Return a value, and the interval of its draws if there is a value."""
    if np.isnan(value):
        return np.nan, np.nan, np.nan
    return float(value), *interval_of(draws, confidence)


def _share(part: Floats, whole: Floats) -> Floats:
    out = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    return np.asarray(np.divide(part, whole, out=out, where=whole > 0))


def _frame(rows: dict[Any, list[Any]], columns: list[str], levels: list[str]) -> pd.DataFrame:
    index = pd.MultiIndex.from_tuples(list(rows), names=levels)
    return pd.DataFrame(list(rows.values()), index=index, columns=columns)
