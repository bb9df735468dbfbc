"""The tables of an audit: rates and gaps, before and after, with their intervals."""

__all__ = ["COLUMNS", "DIFFERENCES", "rate_tables"]

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from skfairlatent._bootstrap import interval_of
from skfairlatent.report._rates import Decisions, difference_draws, group_draws, group_sources
from skfairlatent.report._rows import Grouping

MODELS = ("before", "after")
COLUMNS = ["before", "before_low", "before_high", "after", "after_low", "after_high"]
DIFFERENCES = (
    "equalized_odds_difference",
    "demographic_parity_difference",
    "worst_group_accuracy",
)

Floats = npt.NDArray[np.float64]


def rate_tables(
    decisions: Decisions, groupings: list[Grouping], confidence: float
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the overall rates, those by group, and the differences between groups.

    Parameters
    ----------
    decisions : Decisions
        Of the data and of the bootstrap draws.

    groupings : list of Grouping
        Each attribute, and if there are several also all of them crossed.

    confidence : float
        Of the intervals.
    """
    everybody = Grouping("everybody", np.zeros_like(groupings[0].codes), ["everybody"])
    overall = _by_group(decisions, everybody, confidence).droplevel([0, 1])
    by_group = pd.concat([_by_group(decisions, each, confidence) for each in groupings])
    differences = pd.concat([_differences(decisions, each, confidence) for each in groupings])
    return overall, by_group, differences


def _by_group(decisions: Decisions, grouping: Grouping, confidence: float) -> pd.DataFrame:
    draws = {
        model: group_draws(decisions.tables(model, grouping), decisions.labels) for model in MODELS
    }
    rows = {}
    for g, group in enumerate(grouping.names):
        for metric in draws["before"]:
            pair = [draws[model][metric][:, g] for model in MODELS]
            row = [each for values in pair for each in _estimate(values, confidence)]
            if metric == "count":  # known, not estimated
                row[1:3] = row[4:6] = [np.nan, np.nan]
            rows[grouping.name, group, metric] = row
    return _frame(rows, COLUMNS, ["sensitive_feature", "group", "metric"])


def _differences(decisions: Decisions, grouping: Grouping, confidence: float) -> pd.DataFrame:
    tables = {model: decisions.tables(model, grouping) for model in MODELS}
    draws = {model: difference_draws(tables[model]) for model in MODELS}
    sources = {model: group_sources(tables[model], decisions, grouping) for model in MODELS}
    rows = {}
    for metric in DIFFERENCES:
        before, after = (draws[model][metric] for model in MODELS)
        estimates = [_estimate(each, confidence) for each in (before, after, after - before)]
        reasons = {
            reason
            for model in MODELS
            if np.isnan(draws[model][metric][0]) and (reason := sources[model].empty_cells())
        }
        notes = [f"Undefined: {'; '.join(sorted(reasons))}."] if reasons else []
        if any(np.isfinite(value) and np.isnan(low) for value, low, _ in estimates):
            notes.append(_no_interval(metric, tables["before"][0]))
        rows[grouping.name, metric] = [*(x for each in estimates for x in each), " ".join(notes)]
    change = ["change", "change_low", "change_high", "note"]
    return _frame(rows, [*COLUMNS, *change], ["sensitive_feature", "metric"])


def _no_interval(metric: str, table: Floats) -> str:
    """Say why too many draws have no value: they lack the rows of the smallest cell, or others."""
    of_groups = metric == "demographic_parity_difference"
    counts = table.sum(axis=(0, 1) if of_groups else 1)
    fewest = int(counts[counts > 0].min())
    part = "group" if of_groups else "(label, group) cell"
    return f"No interval: in some draws a {part} of {fewest} row{'s'[: fewest > 1]} is empty."


def _estimate(draws: Floats, confidence: float) -> tuple[float, float, float]:
    """Return the value in the data, and the interval of the draws if there is a value."""
    value = float(draws[0])
    if np.isnan(value):
        return np.nan, np.nan, np.nan
    return value, *interval_of(draws[1:], confidence)


def _frame(rows: dict[Any, list[Any]], columns: list[str], levels: list[str]) -> pd.DataFrame:
    index = pd.MultiIndex.from_tuples(list(rows), names=levels)
    return pd.DataFrame(list(rows.values()), index=index, columns=columns)
