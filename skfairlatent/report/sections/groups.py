"""The rates of each group, and the distributions of its scores."""

__all__ = ["Groups"]

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from skfairlatent._validation.groups import EncodedColumn, EncodedColumns
from skfairlatent._wording import some_of
from skfairlatent.inspection import GroupScoresDisplay
from skfairlatent.inspection._drawing import figure_or
from skfairlatent.inspection._group_scores import MOST_LABELS
from skfairlatent.metrics._group_counts import class_positions
from skfairlatent.report._comparison import Comparison
from skfairlatent.report._drawing import NARROW, embed, finished, panels, plain_style
from skfairlatent.report._models import Side
from skfairlatent.report._page_parts import (
    Beside,
    Block,
    Cell,
    Heading,
    Meanings,
    Part,
    Table,
    estimate_cell,
)
from skfairlatent.report._rates import MODELS
from skfairlatent.report.sections._section import Section

# Name and meaning.
RATES = {
    "accuracy": ("Accuracy", "The share of decisions that agree with the true label."),
    "true_positive_rate": (
        "True positive rate",
        "Among people whose true label is positive, the share with a positive decision.",
    ),
    "false_positive_rate": (
        "False positive rate",
        "Among people whose true label is not positive, the share with a positive decision.",
    ),
    "selection_rate": (
        "Selection rate",
        "The share of all people with a positive decision, right or wrong.",
    ),
}
# Groups of fewer people are named among the limits: their rates are mostly chance.
FEW_ROWS = 50


@dataclass(frozen=True)
class Groups(Section):
    """The rates of everybody and by group, and the names of the classes."""

    name = "groups"
    title = "Results by group"

    overall: pd.DataFrame
    by_group: pd.DataFrame
    classes: list[str]

    @classmethod
    def measure(cls, comparison: Comparison) -> Self:
        tables = comparison.tables
        return cls(tables.overall, tables.by_group, comparison.setup.classes)

    def draw(self, comparison: Comparison) -> dict[str, Any]:
        if len(self.classes) > MOST_LABELS:
            return {}
        y, groups = comparison.rows.y, comparison.rows.groups
        return {
            _figure_name(each.label, model): _draw_scores(each, y, side)
            for each in groups
            for model, side in comparison.sides.items()
        }

    def parts(self, figures: Mapping[str, Any]) -> Iterator[Part]:
        meanings = list(RATES.values())
        if len(self.classes) > 2:
            of_several = "In the table of a class, the positive label is that class."
            meanings.append(("Positive", of_several))
        yield Meanings(meanings)
        for attribute in self.by_group.index.unique("sensitive_feature"):
            yield Heading(f"By {attribute}")
            yield from self._tables(attribute)
            pictures = [
                embed(
                    figures[name],
                    self._alt(attribute, model),
                    f"{model.capitalize()} mitigation: the distribution of the model's scores in "
                    "each group, by true label. The percentage at the right is the share in the "
                    "dark part.",
                )
                for model in MODELS
                if (name := _figure_name(attribute, model)) in figures
            ]
            if pictures:
                yield Beside(pictures)

    def _tables(self, attribute: str) -> Iterator[Table]:
        """Yield the rates of the groups by an attribute; of several classes a table for each."""
        by_group = self.by_group.loc[attribute]
        groups = {str(group): by_group.loc[group] for group in by_group.index.unique("group")}
        groups["Everybody"] = self.overall
        if len(self.classes) == 2:
            yield _table(f"Rates by {attribute}", groups, {name: name for name in RATES})
            return
        accuracy, *others = RATES
        yield _table(f"Accuracy by {attribute}", groups, {accuracy: accuracy})
        for label in self.classes:
            metrics = {f"{name} of {label}": name for name in others}
            yield _table(f"Decisions for {label} by {attribute}", groups, metrics)

    def _alt(self, attribute: str, model: str) -> str:
        """Return the shares that the histograms show, or of several classes accuracies."""
        table = self.by_group[model].loc[attribute].unstack("metric")
        is_binary = len(self.classes) == 2
        metrics = ("true_positive_rate", "false_positive_rate") if is_binary else ("accuracy",)
        texts = []
        for group, row in table.iterrows():
            rates = [f"{RATES[name][0].lower()} {figure_or(row[name])}" for name in metrics]
            texts.append(f"{group}: {', '.join(rates)}")
        return (
            f"Distributions of the model's scores {model} mitigation, by group and true label. "
            f"{'; '.join(texts)}."
        )

    def limits(self) -> list[str]:
        counts = self.by_group.xs("count", level="metric")["before"]
        small = counts[counts < FEW_ROWS].sort_values()
        named = [f"{group} ({count:.0f})" for (_, group), count in small.items()]
        return [
            f"The rates of groups of fewer than {FEW_ROWS} people are mostly chance: "
            f"{'; '.join(some_of(named))}."
        ] * bool(named)

    def to_dict(self) -> dict[str, Any]:
        return {"by_group": self.by_group}


def _figure_name(attribute: str, model: str) -> str:
    return f"scores by {attribute}, {model}"


def _table(caption: str, groups: Mapping[str, pd.DataFrame], metrics: Mapping[str, str]) -> Table:
    rows = []
    for group, table in groups.items():
        cells = [Cell(group), Cell(f"{table.loc['count', 'before']:,.0f}")]
        for metric in metrics:
            cells += [_rate(table.loc[metric], model) for model in MODELS]
        rows.append(cells)
    headings = [Cell("", span=2), *(Cell(RATES[name][0], span=2) for name in metrics.values())]
    columns = ["Group", "People", *["Before", "After"] * len(metrics)]
    return Table(caption, columns, [Block("", rows)], headings)


def _rate(row: pd.Series, model: str) -> Cell:
    """Return a rate of a group, or why there is none."""
    cell = estimate_cell(row, model)
    return cell._replace(note="no such people") if np.isnan(row[model]) else cell


def _draw_scores(grouping: EncodedColumn, y: Any, side: Side) -> Any:
    """Draw the distribution of scores in each group, one panel a label."""
    with plain_style() as plt:
        display = _scores_display(grouping, y, side)
        n_labels, n_groups = display.shares.shape
        height = n_labels * (1.2 + 0.45 * max(n_groups, 2))
        figure, axes = panels(plt, n_labels, NARROW, height)
        display.plot(axes)
        return finished(plt, figure)


def _scores_display(grouping: EncodedColumn, y: Any, side: Side) -> GroupScoresDisplay:
    """Return the display; decisions are counted, whether or not a threshold makes them."""
    groups = EncodedColumns([grouping])
    classes = side.classes
    if len(classes) > 2:
        own = side.probabilities[np.arange(len(y)), class_positions(y, classes)]
        return GroupScoresDisplay(
            y,
            own,
            side.predictions == y,
            groups,
            rates=["recall"] * len(np.unique(y)),
            score_name="probability of the true label",
        )
    scores, selected = side.probabilities[:, -1], side.predictions == classes[-1]
    rates = ["false positive rate", "true positive rate"]
    return GroupScoresDisplay(
        y,
        scores,
        selected,
        groups,
        threshold=0.5 if np.array_equal(selected, scores >= 0.5) else None,
        rates=[rates[code] for code in class_positions(np.unique(y), classes)],
        score_name=f"probability of {classes[-1]}",
    )
