"""A bound for every classifier on the label block, where it is cut into cells."""

__all__ = ["Certified"]

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from skfairlatent._names import nameless
from skfairlatent._validation.groups import EncodedColumns
from skfairlatent.certification._bounds import worst_on_cells
from skfairlatent.certification._estimators import labels_of_fit
from skfairlatent.certification._evaluate import Decided, certificate_of, with_seen_share
from skfairlatent.metrics._group_counts import class_positions
from skfairlatent.report._comparison import Comparison
from skfairlatent.report._page_parts import Block, Cell, Part, Table, Text, number_cell
from skfairlatent.report.sections._section import Section


@dataclass(frozen=True)
class Certified(Section):
    """Bounds on the equalised odds gap of any classifier; `skipped` says why some have none.

    All upper bounds hold at once with the confidence, and so do all lower bounds, which are those
    of the audited model.
    """

    name = "certificate"
    title = "What no classifier can do"

    n_cells: int
    confidence: float
    bounds: pd.DataFrame
    skipped: Mapping[str, str]

    @classmethod
    def measure(cls, comparison: Comparison) -> Self | None:
        fair, setup = comparison.fair, comparison.setup
        if fair.bins_ is None or not setup.is_blind:
            return None
        cells = fair.bins_.assign(nameless(fair.latent)(comparison.embeddings))
        after, rows = comparison.sides["after"], comparison.rows
        codes = class_positions(after.predictions, after.classes)
        decided = Decided(codes, len(after.classes))
        groupings = rows.groupings()
        confidence = 1 - (1 - setup.confidence) / len(groupings)
        found, skipped = {}, {}
        for each in groupings:
            try:
                y = labels_of_fit(after.classes, rows.y, "equalized_odds")
                certificate = certificate_of(
                    [cells],
                    [(None, y, EncodedColumns([each]))],
                    worst_on_cells,
                    "equalized_odds",
                    confidence,
                    decided,
                )
                found[each.label] = with_seen_share(certificate, comparison.seen_share)
            except ValueError as error:
                skipped[each.label] = str(error)
        columns = ["lower", "on_the_rows", "bound", "fewest"]
        lines = [
            (
                np.nan if each.lower is None else each.lower,
                each.plug_in,
                each.bound,
                int(each.rows.to_numpy().min()),
            )
            for each in found.values()
        ]
        bounds = pd.DataFrame(lines, index=list(found), columns=columns)
        return cls(len(fair.bins_.centroids), setup.confidence, bounds, skipped)

    def parts(self, figures: Mapping[str, Any]) -> Iterator[Part]:
        yield Text(
            f"The model's classifier is told of each person only which of {self.n_cells} cells "
            "they are in. Any other classifier that is told no more than that, whatever it is and "
            "whoever trains it, has an equalised odds gap (the mean over the true labels) of at "
            f"most the upper bound. This is said with a confidence of {self.confidence:.0%}, for "
            "all lines together: of a hundred such audits, each of other people, it may be wrong "
            f"in {100 * (1 - self.confidence):.3g}."
        )
        yield Text(self._from_below())
        rows = [
            [
                Cell(f"By {name}"),
                number_cell(row["lower"]),
                number_cell(row["bound"]),
                number_cell(row["on_the_rows"]),
                Cell(f"{row['fewest']:,.0f}"),
            ]
            for name, row in self.bounds.iterrows()
        ]
        columns = [
            "Groups",
            "Lower bound",
            "Upper bound",
            "Largest gap on these people",
            "Smallest part",
        ]
        yield Table("The largest gap of any classifier", columns, [Block("", rows)])
        yield Text(
            "The smallest part is that of the people with one true label in one group who are "
            "fewest: the more they are, the lower the bound can be."
        )

    def _from_below(self) -> str:
        if self.bounds["lower"].isna().any():
            return (
                "Some of the audited people were training data of the model: there is no lower "
                "bound, and an upper bound of 1 says nothing. Audit other people."
            )
        return (
            "The audited model is one of these classifiers, and its own gap is at least the lower "
            "bound: the largest gap that a classifier has lies between the two bounds. The lower "
            f"bounds are said with a confidence of {self.confidence:.0%} for all lines together, "
            "as the upper ones are, each kind on its own. A lower bound of 0 says nothing."
        )

    def summary(self) -> Iterator[tuple[str, str]]:
        for name, row in self.bounds.iterrows():
            if row["bound"] < 1:
                yield (
                    f"by {name}",
                    "No classifier that is told only the cells of the label block has a mean "
                    f"equalised odds gap above {row['bound']:.2f}, with a confidence of "
                    f"{self.confidence:.0%}.",
                )

    def limits(self) -> list[str]:
        return [
            "The bounds hold for people drawn like the audited ones, for this label and these "
            "groups, and if none of the audited people was used to fit, stop or choose the model. "
            "A classifier that is told anything besides the cells is not covered.",
            *(f"There is no bound by {name}: {reason}" for name, reason in self.skipped.items()),
        ]
