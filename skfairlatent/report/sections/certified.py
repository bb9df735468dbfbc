"""A bound for every classifier on the label block, where it is cut into cells."""

__all__ = ["Certified"]

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import pandas as pd

from skfairlatent._names import nameless
from skfairlatent.certification import certify_cells
from skfairlatent.report._comparison import Comparison
from skfairlatent.report._parts import Block, Cell, Part, Table, Text, number_cell
from skfairlatent.report.sections._section import Section


@dataclass(frozen=True)
class Certified(Section):
    """Bounds on the equalised odds gap of any classifier; `skipped` says why some have none.

    All bounds hold at once with the confidence.
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
        groupings = comparison.rows.groupings()
        confidence = 1 - (1 - setup.confidence) / len(groupings)
        found, skipped = {}, {}
        for each in groupings:
            groups = pd.Series(each.codes).map(dict(enumerate(each.names)))
            try:
                found[each.name] = certify_cells(
                    cells, comparison.rows.y, sensitive_features=groups, confidence=confidence
                )
            except ValueError as error:
                skipped[each.name] = str(error)
        rows = [(c.plug_in, c.bound, int(c.rows.to_numpy().min())) for c in found.values()]
        bounds = pd.DataFrame(rows, index=list(found), columns=["on_the_rows", "bound", "fewest"])
        return cls(len(fair.bins_.centroids), setup.confidence, bounds, skipped)

    def parts(self, figures: Mapping[str, Any]) -> Iterator[Part]:
        yield Text(
            f"The model's classifier is told of each person only which of {self.n_cells} cells "
            "they are in. Any other classifier that is told no more than that, whatever it is and "
            "whoever trains it, has an equalised odds gap (the mean over the true labels) of at "
            f"most the bound below. This is said with a confidence of {self.confidence:.0%}, for "
            "all lines together: of a hundred such audits, each of other people, it may be wrong "
            f"in {100 * (1 - self.confidence):.3g}."
        )
        rows = [
            [
                Cell(f"By {name}"),
                number_cell(row["on_the_rows"]),
                number_cell(row["bound"]),
                Cell(f"{row['fewest']:,.0f}"),
            ]
            for name, row in self.bounds.iterrows()
        ]
        columns = ["Groups", "Largest gap on these people", "Bound", "Smallest part"]
        yield Table("Gaps that no classifier exceeds", columns, [Block("", rows)])
        yield Text(
            "The smallest part is that of the people with one true label in one group who are "
            "fewest: the more they are, the lower the bound can be."
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
