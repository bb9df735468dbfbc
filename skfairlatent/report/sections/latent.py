"""Readings of probes from the latent, and how the transformer was trained and chosen."""

__all__ = ["Latent", "draw_search"]

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import _safe_indexing

from skfairlatent._names import nameless
from skfairlatent._wording import joined
from skfairlatent.diagnostics import LatentDiagnostics, diagnose
from skfairlatent.exceptions import FairLatentWarning
from skfairlatent.inspection import (
    FairnessAccuracyDisplay,
    LatentCovarianceDisplay,
    TrainingCurvesDisplay,
)
from skfairlatent.inspection._drawing import figure_or
from skfairlatent.report._comparison import Comparison
from skfairlatent.report._drawing import WIDE, embed, finished, plain_style
from skfairlatent.report._page_parts import Block, Cell, Heading, Part, Table, Text, number_cell
from skfairlatent.report.sections._section import Section

# Parts of the latent, by their names in `LatentDiagnostics`.
BLOCKS = {
    "label": "Label block",
    "sensitive": "Sensitive block",
    "full": "Whole latent",
    "input": "Standardised input",
}


@dataclass(frozen=True)
class Latent(Section):
    """The diagnostics of the latent, None where it cannot be probed."""

    name = "latent"
    title = "What the latent reveals"

    diagnostics: LatentDiagnostics | None
    epochs: int

    @classmethod
    def measure(cls, comparison: Comparison) -> Self:
        return cls(_diagnose(comparison), comparison.model.epochs)

    def draw(self, comparison: Comparison) -> dict[str, Any]:
        if comparison.embeddings is None:
            return {}
        fair = comparison.fair
        return {
            "covariance": _draw_covariance(fair, comparison.embeddings),
            "training": _draw_training(fair),
        }

    def parts(self, figures: Mapping[str, Any]) -> Iterator[Part]:
        if self.diagnostics is None:
            yield Text("Probes are left out, see Limits.")
        else:
            yield Text(
                "Probes are classifiers trained to predict the group or the label from a part of "
                "the latent. If no probe predicts the group from the label block, among people "
                "with the same true label, then these probes found nothing there that the "
                "classifier could use. Other classifiers may find something."
            )
            yield _probes(self.diagnostics)
            yield _sizes(self.diagnostics.blocks)
        if "covariance" in figures:
            yield embed(
                figures["covariance"],
                self._alt(),
                "Correlations between the components of the latent: the lighter, the weaker. "
                "Where the area between the two blocks is light, neither block predicts the other "
                "linearly.",
            )
            yield Heading("How it was trained")
            alt = f"The training loss and its terms over {self.epochs} epochs, one panel each."
            caption = "The loss and its terms by epoch. Each curve should have levelled off."
            yield embed(figures["training"], alt, caption)
        if "search" in figures:
            yield Heading("Candidates of the search")
            yield embed(
                figures["search"],
                "Accuracy against the fairness gap of the candidates, with the frontier and the "
                "chosen candidate.",
                "Each point is a candidate of the search that this model came from. No candidate "
                "is better than those on the line in both accuracy and fairness.",
            )

    def _alt(self) -> str:
        """Return how strongly the latent's components go together."""
        begin = "Correlations of the latent's components by block."
        if self.diagnostics is None:
            return begin
        masses = self.diagnostics.off_diagonal.items()
        return f"{begin} Off the diagonal: {', '.join(f'{n} {figure_or(m)}' for n, m in masses)}."

    def summary(self) -> Iterator[tuple[str, str]]:
        # Each warning begins with a word for its kind.
        kinds = list(dict.fromkeys(text.partition(":")[0].lower() for text in self.limits()))
        if kinds:
            found = "a problem" if len(kinds) == 1 else "problems"
            text = f"The diagnostics found {found} in the latent: {joined(kinds)} (see Limits)."
            yield "latent", text

    def limits(self) -> list[str]:
        return [] if self.diagnostics is None else list(self.diagnostics.warnings)

    def to_dict(self) -> dict[str, Any]:
        found = self.diagnostics
        if found is None:
            return {"diagnostics": None}
        return {"diagnostics": {"figures": found.to_frame(), "warnings": found.warnings}}


def draw_search(search: Any) -> dict[str, Any]:
    """Draw the candidates of a search, as ``"search"``; None has none."""
    if search is None:
        return {}
    with plain_style() as plt:
        return {"search": finished(plt, FairnessAccuracyDisplay.from_search(search).figure_)}


def _diagnose(comparison: Comparison) -> LatentDiagnostics | None:
    rows, embeddings = comparison.rows, comparison.embeddings
    kept, groups = rows.learnable()
    if embeddings is None or not groups or len(np.unique(rows.y[kept])) < 2:
        return None
    with warnings.catch_warnings():
        for category in (FairLatentWarning, UndefinedMetricWarning):  # the result says it all
            warnings.simplefilter("ignore", category)
        return nameless(diagnose)(
            comparison.fair,
            _safe_indexing(_as_given(rows.X, embeddings), np.flatnonzero(kept)),
            rows.y[kept],
            sensitive_features=groups,
            random_state=comparison.rng,
        )


def _as_given(X: Any, embeddings: Any) -> Any:
    """Return the table that was audited, if the transformer is given just that: it has names."""
    if not isinstance(X, pd.DataFrame) or X.shape != embeddings.shape:
        return embeddings
    if not all(map(pd.api.types.is_numeric_dtype, X.dtypes)):
        return embeddings
    return X if np.array_equal(X.to_numpy(embeddings.dtype), embeddings) else embeddings


def _probes(diagnostics: LatentDiagnostics) -> Table:
    blocks = []
    for title, table in (
        ("Group from the label block: should be near chance", diagnostics.leakage),
        ("Group from the sensitive block: should be high", diagnostics.sensitive_readability),
        ("Label from the label block: should be high", diagnostics.label_readability),
    ):
        columns = table[["balanced_accuracy", "standard_error", "chance"]]
        rows = [
            [Cell(f"{name}, {probe} probe"), *map(number_cell, row)]
            for (name, probe), row in columns.iterrows()
        ]
        if rows:
            blocks.append(Block(title, rows))
    columns_ = ["Probe", "Balanced accuracy", "Standard error", "Chance"]
    return Table("Accuracy of the probes", columns_, blocks)


def _sizes(blocks: pd.DataFrame) -> Table:
    rows = [
        [
            Cell(BLOCKS[str(name)]),
            Cell(f"{row['width']:.0f}"),
            Cell(f"{row['effective_rank']:.1f}"),
            number_cell(row["variance"]),
        ]
        for name, row in blocks.iterrows()
    ]
    columns = ["Part", "Width", "Effective rank", "Mean variance"]
    return Table("Size of the latent", columns, [Block("", rows)])


def _draw_covariance(fair: Any, embeddings: Any) -> Any:
    with plain_style() as plt:
        covariance = nameless(LatentCovarianceDisplay.from_estimator)(fair, embeddings)
        for mesh in covariance.ax_.collections:  # thousands of cells, whose edges say nothing
            mesh.set_rasterized(True)
        return finished(plt, covariance.figure_)


def _draw_training(fair: Any) -> Any:
    with plain_style() as plt:
        n_terms = sum(name.startswith("loss") for name in fair.history_)
        n_lines = math.ceil(n_terms / 2)
        figure = plt.figure(figsize=(WIDE, 2.4 * n_lines), layout="constrained")
        axes = [figure.add_subplot(n_lines, 2, i + 1) for i in range(n_terms)]
        TrainingCurvesDisplay.from_estimator(fair, ax=axes)
        return finished(plt, figure)
