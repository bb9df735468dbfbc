"""Differences between groups: equalised odds, demographic parity, worst-group accuracy."""

__all__ = ["Gaps"]

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from skfairlatent.inspection._drawing import (
    BLUE,
    LIGHT,
    VERBATIM,
    figure_or,
    ink,
    largest_of,
    plain_axes,
    set_titles,
    shortened,
)
from skfairlatent.report._comparison import Comparison
from skfairlatent.report._drawing import NARROW, embed, finished, panels, plain_style
from skfairlatent.report._page_parts import (
    Beside,
    Block,
    Cell,
    Meanings,
    Metric,
    Part,
    Table,
    estimate,
    estimate_cell,
)
from skfairlatent.report._rates import TPR_GAP
from skfairlatent.report.sections._section import Section

METRICS = {
    "equalized_odds_difference": Metric(
        "Equalised odds gap",
        0,
        "The largest difference between groups in how often people with the same true label are "
        "given the same decision.",
    ),
    "demographic_parity_difference": Metric(
        "Demographic parity gap",
        0,
        "The largest difference between groups in how often a decision is given, whatever the "
        "true label. It need not be 0 where the label itself is more frequent in one group.",
    ),
    "demographic_parity_ratio": Metric(
        "Selection rate ratio",
        1,
        "The lowest rate of positive decisions among the groups, divided by the highest. The "
        "four-fifths rule asks for 0.8 or more.",
    ),
    TPR_GAP: Metric(
        "Equal opportunity gap",
        0,
        "The largest difference between groups in how often people whose true label is the "
        "positive one are given it.",
    ),
    "worst_group_accuracy": Metric(
        "Worst-group accuracy",
        1,
        "The smallest accuracy among people with one true label in one group.",
    ),
}
# Instead of what became of a gap, which else would read as a success.
ALIKE = (
    "The two gaps cannot be compared: a model that gives everybody the same decision has no gap, "
    "whatever the groups."
)
# The aims of each criterion, and what it does not aim at.
AIMS = {
    "equalized_odds": "equal error rates given the label (equalised odds). It does not aim at "
    "equal selection rates",
    "demographic_parity": "equal selection rates (demographic parity). It does not aim at equal "
    "error rates given the label",
    "true_positive_rate_parity": "equal true positive rates. It does not aim at equal false "
    "positive rates, nor at equal selection rates",
}
# The metric of each criterion.
TARGETS = {
    "equalized_odds": "equalized_odds_difference",
    "demographic_parity": "demographic_parity_difference",
    "true_positive_rate_parity": TPR_GAP,
}
# Metrics that are drawn; the table has all.
DRAWN = ("equalized_odds_difference", "demographic_parity_difference", "worst_group_accuracy")
# Letters in a line of a name.
NAME_WIDTH = 16


@dataclass(frozen=True)
class Gaps(Section):
    """The differences, and whether a model decides everybody alike, so that it has none."""

    name = "gaps"
    title = "Differences between groups"

    differences: pd.DataFrame
    is_alike: bool
    constraints: str = "equalized_odds"

    @classmethod
    def measure(cls, comparison: Comparison) -> Self:
        constraints = getattr(comparison.fair, "constraints", "equalized_odds")
        return cls(comparison.tables.differences, bool(comparison.alike), constraints)

    def draw(self, comparison: Comparison) -> dict[str, Any]:
        names = self.differences.index.unique("sensitive_feature")
        with plain_style() as plt:
            height = len(DRAWN) * (0.85 + 0.55 * len(names))
            figure, axes = panels(plt, len(DRAWN), NARROW, height)
            for metric, ax in zip(DRAWN, axes, strict=True):
                _draw_metric(ax, metric, self.differences.xs(metric, level="metric").loc[names])
            return {"differences": finished(plt, figure)}

    def parts(self, figures: Mapping[str, Any]) -> Iterator[Part]:
        measured = self.differences.index.unique("metric")
        yield Meanings([(METRICS[name].name, METRICS[name].meaning) for name in measured])
        alt = " ".join(
            f"{METRICS[metric].name} by {attribute}: {estimate(row, 'before')} before, "
            f"{estimate(row, 'after')} after."
            for (attribute, metric), row in self.differences.iterrows()
            if metric in DRAWN
        )
        caption = "Dots are measured values; lines are their intervals."
        yield Beside([embed(figures["differences"], alt, caption), self._table()], "beside")

    def _table(self) -> Table:
        blocks = []
        for attribute in self.differences.index.unique("sensitive_feature"):
            rows = []
            for metric, row in self.differences.loc[attribute].iterrows():
                text = METRICS[str(metric)]
                note = f"{text.best} is best. {row['note']}".removesuffix(". ")
                values = [estimate_cell(row, "before"), estimate_cell(row, "after")]
                change = estimate_cell(row, "change", signed=True)
                rows.append([Cell(text.name, note), *values, change])
            blocks.append(Block(f"Groups by {attribute}", rows))
        return Table(self.title, ["Measure", "Before", "After", "Change"], blocks)

    def summary(self) -> Iterator[tuple[str, str]]:
        metric = TARGETS[self.constraints]
        name = METRICS[metric].name
        for attribute in self.differences.index.unique("sensitive_feature"):
            row = self.differences.loc[(attribute, metric)]
            yield (
                f"by {attribute}",
                f"Between groups by {attribute}, the {name[0].lower()}{name[1:]} is "
                f"{estimate(row, 'before')} before and {estimate(row, 'after')} after. "
                f"{ALIKE if self.is_alike else verdict(row)}",
            )

    def limits(self) -> list[str]:
        aim = AIMS[self.constraints]
        return [f"The method aims at {aim}, and says nothing about two similar individuals."]

    def to_dict(self) -> dict[str, Any]:
        return {"differences": self.differences}


def verdict(row: pd.Series) -> str:
    """Say whether a gap became smaller or larger."""
    change = estimate(row, "change", signed=True)
    if np.isnan(row["change"]):
        return f"The change cannot be measured on these rows. {row['note']}"
    if np.isnan(row["change_low"]):
        return f"Whether the change, {change}, is due to chance cannot be said. {row['note']}"
    # Rounded as it is printed beside it.
    if round(row["change_low"], 2) <= 0 <= round(row["change_high"], 2):
        return f"The change, {change}, may be due to chance."
    became = "smaller" if row["change"] < 0 else "larger"
    return f"It became {became}, by more than chance explains: {change}."


def _draw_metric(ax: Any, metric: str, table: pd.DataFrame) -> None:
    plain_axes(ax, ("top", "right", "left"))
    ax.tick_params(axis="y", length=0)
    text = METRICS[metric]
    set_titles(ax, text.name, f"{text.best} is best   ○ before   ● after")
    for line, (_, row) in enumerate(table.iterrows()):
        for model, y, face in (("before", line - 0.16, "white"), ("after", line + 0.16, BLUE)):
            value, low, high = row[model], row[f"{model}_low"], row[f"{model}_high"]
            if np.isfinite(low):
                ax.plot([low, high], [y, y], color=BLUE, lw=1.5, zorder=2)
            ax.plot(value, y, "o", mfc=face, mec=BLUE, ms=6, zorder=3, clip_on=False)
            ax.annotate(
                figure_or(value),
                (1, y),
                xycoords=("axes fraction", "data"),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                color=ink(),
                fontsize="small",
            )
        ax.axhline(line + 0.5, color=LIGHT, lw=0.8)
    names = [shortened(name, NAME_WIDTH, 3) for name in table.index]
    ax.set_yticks(range(len(table)), names, **VERBATIM)
    ax.set_ylim(len(table) - 0.5, -0.5)
    drawn = table[["before", "after", "before_high", "after_high"]].to_numpy().ravel()
    ax.set_xlim(0, 1.02 if text.best == 1 else 1.1 * largest_of(drawn, 0.09))
