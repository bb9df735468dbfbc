"""One group's scores in a panel: a histogram, or the rows themselves, and a share as text."""

__all__ = ["FEWEST_ROWS", "draw_scores", "write_share"]

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from skfairlatent.inspection._drawing import BLUE, GREY, LIGHT, PALE_BLUE, VERBATIM, ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of fewer rows each one is drawn: a histogram would make a shape of chance.
FEWEST_ROWS = 20
# Share of a group's band that its histogram fills.
HEIGHT = 0.8

Array = npt.NDArray[Any]


def draw_scores(ax: "Axes", group: int, scores: Array, selected: Array, edges: Array) -> None:
    """Draw the scores of a group, those selected dark, in the band around y = `group`."""
    base = group + HEIGHT / 2
    ax.axhline(base, color=LIGHT, lw=0.8, zorder=1)
    if len(scores) < FEWEST_ROWS:
        for is_selected, colour in ((False, PALE_BLUE), (True, BLUE)):
            shown = scores[selected == is_selected]
            ax.vlines(shown, base - HEIGHT / 2, base, color=colour, lw=1.5, zorder=3)
        return
    total, _ = np.histogram(scores, edges)
    dark, _ = np.histogram(scores[selected], edges)
    # All of it pale, then the selected part over it.
    for heights, colour in ((total, PALE_BLUE), (dark, BLUE)):
        tops = base - HEIGHT * heights / total.max()
        ax.stairs(tops, edges, baseline=base, fill=True, color=colour, zorder=2)


def write_share(ax: "Axes", group: int, share: float, count: int) -> None:
    """Write the share of selected rows at the right of a group's band."""
    ax.annotate(
        f"{share:.0%} of {count:,}" if count else "no rows",
        (1, group + HEIGHT / 2),
        xycoords=("axes fraction", "data"),
        xytext=(6, 0),
        textcoords="offset points",
        va="bottom",
        color=ink() if count >= FEWEST_ROWS else GREY,
        fontsize="small",
        **VERBATIM,
    )
