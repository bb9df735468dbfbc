"""A bound with its confidence: what it is of, in words, as a table and as a picture."""

__all__ = ["Certificate"]

import html
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from skfairlatent._wording import some_of
from skfairlatent.certification._plot import plot_certificate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMES = {
    "equalized_odds": "mean equalised odds difference",
    "demographic_parity": "demographic parity difference",
    "true_positive_rate_parity": "true positive rate difference",
}
# In fewer rows of a label and group hardly anything can be certified.
_FEW_ROWS = 30
# A gap on the rows above half, in as many rows for each cell, is hardly chance.
_LARGE_GAP = 0.5
_ROWS_A_CELL = 10
# What more rows would take off a bound is said from here on.
_LEAST_GAIN = 0.0005


@dataclass(frozen=True, eq=False)
class Certificate:
    """A bound on the gap between groups of every classifier of a family, from held-out rows.

    Printing it says it in words.

    Parameters
    ----------
    bound : float
        The gap of any classifier of the family is at most this, with probability `confidence`
        over the draw of the rows; in [0, 1].

    plug_in : float
        The largest gap on the rows themselves; in [0, 1]. On average it is above the true one.

    lower : float or None
        A gap that one of the classifiers, trained on other rows, has at least, with the same
        probability: the classifier of the Pipeline, or the worst one on `probe_rows`. None if
        there is neither.

    confidence : float
        Between 0 and 1. It is that of `bound` and of `lower`, each on its own.

    constraints : str
        The gap that is bounded; of equalised odds the mean over the labels.

    n_cells : int or None
        Cells that occur, of which any classifier is meant; None for one score, of which any
        threshold is meant.

    rows : DataFrame
        Rows of each label (one line for demographic parity) and group.

    by_label : DataFrame
        The gap within each label between two groups, by any classifier of the family: the columns
        ``label``, ``group``, ``other group``, ``rows``, ``other rows``, ``plug-in`` and
        ``bound``. All its bounds hold at once with probability `confidence`.

    scarcest : tuple (label, group, gain)
        The label and group of fewest rows among those that the bound depends on, and what twice
        as many rows of them would take off the bound, if the rates stay what they are.

    seen_share : float, default=0.0
        Share of the rows that were rows of fit; above 0, no bound holds below 1, and all bounds
        are 1.
    """

    bound: float
    plug_in: float
    lower: float | None
    confidence: float
    constraints: str
    n_cells: int | None
    rows: pd.DataFrame
    by_label: pd.DataFrame
    scarcest: tuple[str, str, float]
    seen_share: float = 0.0

    def to_frame(self) -> pd.DataFrame:
        """Put every figure into one table.

        Returns
        -------
        DataFrame
            `by_label` after a line of the certificate itself, whose label and groups are
            ``"all"``, with the columns ``lower`` and ``confidence`` besides.
        """
        lower = np.nan if self.lower is None else self.lower
        n_rows = int(self.rows.to_numpy().sum())
        line = ["all", "all", "all", n_rows, n_rows, self.plug_in, self.bound]
        first = pd.DataFrame([line], columns=self.by_label.columns)
        table = pd.concat([first, self.by_label], ignore_index=True)
        table["lower"] = [lower, *itertools.repeat(np.nan, len(self.by_label))]
        return table.assign(confidence=self.confidence)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the gap on the rows and the bound, and both for each label and pair of groups.

        If there are many labels and pairs, those of the 20 largest bounds are drawn.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        subject = "this score" if self.n_cells is None else "any classifier"
        return plot_certificate(self.to_frame(), f"{subject}: {_NAMES[self.constraints]}", ax)

    def advice(self) -> list[str]:
        """Say what would lower the bound.

        Returns
        -------
        list of str
            One sentence each.
        """
        if self.seen_share > 0:
            return ["Certify rows that no fit, early stopping or search saw."]
        found = [
            f"{self.plug_in:.3f} of the bound {self.bound:.3f} is the gap on the rows themselves, "
            f"the rest allows for sampling."
        ]
        if self._is_apart():
            found.append(
                f"{self._view().capitalize()} tell the groups apart, and no number of rows lowers "
                "that gap. Raise lambda_di, or leave out what tells the group, and fit again."
            )
        few = self._few()
        if few:
            found.append(
                f"{', '.join(some_of(few))}: so few rows certify next to nothing. "
                f"Collect more{', or merge groups' * (self.rows.shape[1] > 2)}."
            )
        label, group, gain = self.scarcest
        if gain >= _LEAST_GAIN:
            found.append(
                f"Twice as many rows of (label {label}, group {group}) would take about "
                f"{gain:.3f} off."
            )
        if self.n_cells is not None and self.n_cells > 2:
            found.append(
                f"Fewer cells than {self.n_cells} can lower the gap on the rows, and the accuracy."
            )
        return found

    def _parts(self) -> list[tuple[str, str, int]]:
        """Return each label and group with its rows."""
        names = itertools.product(self.rows.index, self.rows.columns)
        counts = self.rows.to_numpy().ravel().tolist()
        return [(*each, count) for each, count in zip(names, counts, strict=True)]

    def _few(self) -> list[str]:
        return [
            f"(label {label}, group {group}) has {count} row{'s' * (count != 1)}"
            for label, group, count in self._parts()
            if count < _FEW_ROWS
        ]

    def _is_apart(self) -> bool:
        """Tell whether the gap on the rows is large, and not for want of rows."""
        enough = max(_FEW_ROWS, _ROWS_A_CELL * (self.n_cells or 1))
        return self.plug_in >= _LARGE_GAP and self.rows.to_numpy().min() >= enough

    def _why_no_bound(self) -> str:
        if self._is_apart():
            return (
                f"{self._view()} tell the groups apart, with a gap of {self.plug_in:.3f} on these "
                "rows"
            )
        few = f" ({', '.join(some_of(self._few()))})" if self._few() else ""
        return f"there are too few rows{few}"

    def _view(self) -> str:
        return "values of the score" if self.n_cells is None else "the cells"

    def __str__(self) -> str:
        """Say it in a sentence."""
        name, n_rows = _NAMES[self.constraints], int(self.rows.to_numpy().sum())
        if self.seen_share > 0:
            return (
                f"No bound: about {self.seen_share:.0%} of the {n_rows:,} rows were rows of fit. "
                "Certify rows that no fit, early stopping or search saw."
            )
        confidence = f"With a confidence of {100 * self.confidence:.12g} %, "
        people = f"on people drawn like these {n_rows:,} rows"
        if self.bound >= 1:
            return (
                f"{confidence}the {name} {people} is at most 1, which says nothing: "
                f"{self._why_no_bound()}."
            )
        if self.n_cells is None:
            subject = f"this score has, at whatever threshold, a {name} of at most"
        else:
            cells = f"{self.n_cells} cell{'s' * (self.n_cells != 1)}"
            subject = (
                f"no classifier that sees only which of {cells} a row is in has a {name} above"
            )
        lower = (
            "" if not self.lower else f"; one trained on other rows has {self.lower:.3f} or more"
        )
        return f"{confidence}{subject} {self.bound:.3f} {people}{lower}."

    def __repr__(self) -> str:
        return f"<Certificate: {self}>"

    def _repr_html_(self) -> str:
        """Show the sentence and the table in a notebook."""
        table = self.to_frame().round(3).to_html(index=False)
        advice = "".join(f"<li>{html.escape(each)}</li>" for each in self.advice())
        return f"<p>{html.escape(str(self))}</p>{table}<ul>{advice}</ul>"
