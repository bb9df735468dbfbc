"""The tables of the page: what stands in their cells, as text."""

__all__ = ["Block", "Cell", "Table", "affected", "gaps", "probes", "rates"]

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from skfairlatent.diagnostics import LatentDiagnostics
from skfairlatent.report._edits import FAR
from skfairlatent.report._words import METRICS, RATES, estimate, percent

NOTHING = "\N{EN DASH}"
MODELS = ("before", "after")
# What `LatentDiagnostics` describes, by its names of them.
PARTS = {
    "label": "Label block",
    "sensitive": "Sensitive block",
    "full": "Whole latent",
    "input": "Standardised input",
}


class Cell(NamedTuple):
    """Text, a smaller text below it such as an interval, and how many columns it spans."""

    text: str
    note: str = ""
    span: int = 1


class Block(NamedTuple):
    """Rows below a heading, which may be empty; the first cell of each row names it."""

    title: str
    rows: Sequence[Sequence[Cell]]


class Table(NamedTuple):
    """A table; `groups` is a line of headings above `columns`, or empty.

    `is_text` says that there are no columns of numbers.
    """

    caption: str
    groups: Sequence[Cell]
    columns: Sequence[str]
    blocks: Sequence[Block]
    is_text: bool = False


def gaps(differences: pd.DataFrame) -> Table:
    """Return the differences between groups, attribute by attribute."""
    blocks = []
    for attribute in differences.index.unique("sensitive_feature"):
        rows = []
        for metric, row in differences.loc[attribute].iterrows():
            text = METRICS[str(metric)]
            note = f"{text.best} is best. {row['note']}" if row["note"] else f"{text.best} is best"
            values = [
                _estimate(row, "before"),
                _estimate(row, "after"),
                _estimate(row, "change", signed=True),
            ]
            rows.append([Cell(text.name, note), *values])
        blocks.append(Block(f"Groups by {attribute}", rows))
    columns = ["Measure", "Before", "After", "Change"]
    return Table("Differences between groups", [], columns, blocks)


def rates(report: Any, attribute: str) -> list[Table]:
    """Return the rates of the groups by an attribute; of several classes a table for each."""
    classes = report.facts["audit"]["classes"]
    by_group = report.by_group.loc[attribute]
    groups = {str(group): by_group.loc[group] for group in by_group.index.unique("group")}
    groups["Everybody"] = report.overall
    if len(classes) == 2:
        return [_rate_table(f"Rates by {attribute}", groups, {name: name for name in RATES})]
    accuracy, *others = RATES
    found = [_rate_table(f"Accuracy by {attribute}", groups, {accuracy: accuracy})]
    for label in classes:
        metrics = {f"{name} of {label}": name for name in others}
        found.append(_rate_table(f"Decisions for {label} by {attribute}", groups, metrics))
    return found


def _rate_table(
    caption: str, groups: Mapping[str, pd.DataFrame], metrics: Mapping[str, str]
) -> Table:
    rows = []
    for group, table in groups.items():
        cells = [Cell(group), Cell(f"{table.loc['count', 'before']:,.0f}")]
        for metric in metrics:
            cells += [_rate(table.loc[metric], model) for model in MODELS]
        rows.append(cells)
    headings = [Cell("", span=2), *(Cell(RATES[name].name, span=2) for name in metrics.values())]
    columns = ["Group", "People", *["Before", "After"] * len(metrics)]
    return Table(caption, headings, columns, [Block("", rows)])


def affected(table: pd.DataFrame, *, is_blind: bool) -> Table:
    """Return how many decisions an edit changes, on the latent and on decoded images."""
    is_decoded = bool((table["decoded_rows"] > 0).any())
    blocks = []
    for attribute in table.index.unique("sensitive_feature"):
        rows = []
        for model in MODELS:
            row = table.loc[(attribute, model)]
            cells = [
                Cell(model.capitalize()),
                Cell(f"{row['rows']:,.0f}"),
                Cell(f"{row['reached']:,.0f}"),
                _number(row["length"])._replace(note=f"{row['far']:,.0f} over {FAR:g}"),
                _count(row, "changed", "share", ("low", "high")),
            ]
            if model == "after" and is_blind:
                cells[-1] = Cell("0%", "by construction")
            rows.append([*cells, *(_decoded(row) if is_decoded else [])])
        blocks.append(Block(f"Edits of what reveals {attribute}", rows))
    columns = ["Model", "People", "Edit possible", "Median length", "Decision changes"]
    headings = []
    if is_decoded:
        headings = [Cell(""), Cell("On the latent", span=4), Cell("On the decoded image", span=3)]
        columns += ["People", "Decision changes", "Read as another group"]
    return Table("People whose decision changes with the edit", headings, columns, blocks)


def _decoded(row: pd.Series) -> list[Cell]:
    if not row["decoded_rows"]:
        return [Cell("0"), Cell(NOTHING), Cell(NOTHING)]
    share = row["decoded_group_changed"] / row["decoded_rows"]
    return [
        Cell(f"{row['decoded_rows']:,.0f}"),
        _count(row, "decoded_changed", "decoded_share", ("decoded_low", "decoded_high")),
        Cell(percent(share), _people(row["decoded_group_changed"])),
    ]


def _people(number: float) -> str:
    return f"{number:,.0f} {'person' if number == 1 else 'people'}"


def _count(row: pd.Series, count: str, share: str, ends: tuple[str, str]) -> Cell:
    low, high = (percent(row[end]) for end in ends)
    return Cell(percent(row[share]), f"{_people(row[count])}; [{low}, {high}]")


def probes(diagnostics: LatentDiagnostics | None) -> list[Table]:
    """Return what can be read from the latent, and the size of its blocks."""
    if diagnostics is None:
        return []
    blocks = []
    for title, table in (
        ("The group, from the label block: should be near chance", diagnostics.leakage),
        ("The group, from the sensitive block: moved there", diagnostics.sensitive_readability),
        ("The label, from the label block: should be high", diagnostics.label_readability),
    ):
        rows = [
            [
                Cell(f"{name}, {probe} probe"),
                _number(row["balanced_accuracy"]),
                _number(row["standard_error"]),
                _number(row["chance"]),
            ]
            for (name, probe), row in table.iterrows()
        ]
        if rows:
            blocks.append(Block(title, rows))
    columns = ["Read by", "Balanced accuracy", "Standard error", "Chance"]
    sizes = [
        [
            Cell(PARTS[str(name)]),
            Cell(f"{row['width']:.0f}"),
            Cell(f"{row['effective_rank']:.1f}"),
            _number(row["variance"]),
        ]
        for name, row in diagnostics.blocks.iterrows()
    ]
    return [
        Table("What probes read from the latent", [], columns, blocks),
        Table(
            "Size of the latent",
            [],
            ["Part", "Width", "Effective rank", "Mean variance"],
            [Block("", sizes)],
        ),
    ]


def _number(value: float) -> Cell:
    return Cell(NOTHING if np.isnan(value) else f"{value:.2f}")


def _rate(row: pd.Series, name: str) -> Cell:
    """Return a rate of a group, or why there is none."""
    cell = _estimate(row, name)
    return cell._replace(note="no such people") if np.isnan(row[name]) else cell


def _estimate(row: pd.Series, name: str, *, signed: bool = False) -> Cell:
    value, _, interval = estimate(row, name, signed=signed).partition(" ")
    return Cell(value, interval)
