"""A picture of a certificate."""

__all__ = ["plot_certificate"]

from typing import TYPE_CHECKING, Any

import pandas as pd

from skfairlatent.inspection._drawing import (
    BLUE,
    GREY,
    VERBATIM,
    as_label,
    find_axes,
    ink,
    plain_axes,
    set_titles,
    shortened,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAME_WIDTH = 34
_MOST_LINES = 20


def plot_certificate(table: pd.DataFrame, subject: str, ax: Any) -> "Axes":
    """Draw the gap on the rows and its bound, for the certificate and for each label and pair.

    Parameters
    ----------
    table : DataFrame
        As `Certificate.to_frame` returns it.
    subject : str
        Name of the gap that is bounded.
    ax : Axes or None
        Where to draw.
    """
    n_lines = len(table) - 1
    largest = table.iloc[1:].nlargest(_MOST_LINES, "bound").sort_index()
    table = pd.concat([table.iloc[:1], largest])
    _, (axes,) = find_axes(ax, (1, 1), (6.5, 1.2 + 0.35 * len(table)), caller="Certificate.plot")
    for line, row in enumerate(table.to_dict("records")):
        color = BLUE if line == 0 else GREY
        low = row["plug-in"] if pd.isna(row["lower"]) else row["lower"]
        axes.plot([low, row["bound"]], [line, line], color=color, lw=2, solid_capstyle="butt")
        axes.plot(row["plug-in"], line, "o", mfc="white", mec=color, ms=6)
        axes.plot(row["bound"], line, "|", color=color, ms=14, mew=2)
        axes.annotate(
            f"{row['bound']:.3f}",
            (row["bound"], line),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=ink(),
            fontsize="small",
        )
    groups = [_groups(row) for row in table.iloc[1:].to_dict("records")]
    names = [shortened(subject, _NAME_WIDTH, 2), *groups]
    axes.set_yticks(range(len(table)), names, **VERBATIM)
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlim(0, min(1.15 * table["bound"].max(), 1.1))
    plain_axes(axes, ("top", "right", "left"))
    axes.tick_params(axis="y", length=0)
    confidence = 100 * table["confidence"].iloc[0]
    key = f"○ on the rows   | bound at {confidence:g} %"
    if table["lower"].notna().any():
        key += "   the blue line begins at the lower bound"
    title = "Largest gap between groups"
    if n_lines > _MOST_LINES:
        title += f" (the {_MOST_LINES} largest bounds of {n_lines})"
    set_titles(axes, title, key)
    return axes


def _groups(row: dict[str, Any]) -> str:
    """Name a label and two groups, in two lines if they are long."""
    label = "" if row["label"] == "all" else f"label {row['label']}: "
    name = f"{label}{row['group']}, {row['other group']}"
    if len(name) <= _NAME_WIDTH:
        return as_label(name)
    width = max(_NAME_WIDTH - len(label), _NAME_WIDTH // 2)
    first, other = shortened(row["group"], width), shortened(row["other group"], _NAME_WIDTH)
    return f"{as_label(label)}{first},\n{other}"
