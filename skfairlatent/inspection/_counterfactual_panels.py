"""Parts of a counterfactual display: an image with its text, and a panel of probabilities."""

__all__ = ["draw_face", "draw_probabilities", "face_size", "panel_width"]

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from skfairlatent.inspection._drawing import (
    BLUE,
    GREY,
    LETTER,
    LIGHT,
    VERBATIM,
    VERMILION,
    ink,
    plain_axes,
    set_titles,
)
from skfairlatent.inspection._readings import Reading

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHANGED, NOT_REACHED = "◆", ", not reached"
# Sizes in inches: smallest width of a face, height of a line of text, and gap between faces.
FACE, LINE, GAP = 1.5, 0.155, 0.15
# How much wider bold letters are.
BOLD = 1.15
# Letters in a line below a face, before another is begun.
TEXT_WIDTH = 34
# Width of the axis beside which probabilities are written, in inches.
AXIS = 2.2
POINTS = 72


def face_size(readings: Sequence[Reading]) -> tuple[float, float]:
    """Return the width and height that a face and the text below it take, in inches."""
    rows, columns = readings[0].decided.shape
    cells = [
        _lines(readings, (row, column), reached=False)
        for row in range(rows)
        for column in range(columns)
    ]
    # A face fills the width, and text that is wider would push the columns apart.
    widths = [len(text) * (BOLD if bold else 1) for lines in cells for text, bold in lines]
    width = max(FACE, LETTER * max(widths))
    return width + GAP, width + LINE * (max(map(len, cells)) + 1)


def draw_face(
    ax: "Axes",
    image: npt.NDArray[Any],
    readings: Sequence[Reading],
    cell: tuple[int, int],
    reached: bool,
) -> None:
    """Draw a face and below it what is decided and read; `cell` is its row and column."""
    # One channel is drawn as three, since matplotlib would stretch its contrast.
    ax.imshow(image.repeat(3, axis=2) if image.shape[2] == 1 else image)
    ax.set(xticks=[], yticks=[], anchor="NW")
    is_flipped = bool(readings[0].changed[cell])
    ax.spines[:].set_visible(is_flipped)
    ax.spines[:].set(color=VERMILION, linewidth=3)
    for i, (text, is_changed) in enumerate(_lines(readings, cell, reached=reached)):
        ax.annotate(
            text,
            (0, 0),
            xycoords="axes fraction",
            xytext=(0, -POINTS * LINE * (i + 0.4)),
            textcoords="offset points",
            va="top",
            color=ink(),
            fontsize="small",
            fontweight="bold" if is_changed else "normal",
            **VERBATIM,
        )


def panel_width(reading: Reading, reached: npt.NDArray[np.bool_]) -> float:
    """Return the width that `draw_probabilities` takes, in inches."""
    texts = [reading.figures(row, edit + 1) for row, edit in np.ndindex(*reached.shape)]
    longest = max(map(len, texts)) + (0 if reached.all() else len(NOT_REACHED))
    return AXIS + LETTER * longest + 2 * GAP


def draw_probabilities(
    ax: "Axes",
    reading: Reading,
    reached: npt.NDArray[np.bool_],
    *,
    is_edited: bool,
    has_key: bool,
) -> None:
    """Draw one line for each edit of each row: before, after, and both as text."""
    n, k = reached.shape
    plain_axes(ax, ("top", "right", "left"))
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(-0.03, 1.03), ylim=(n * k - 0.4, -0.6), xticks=[0, 0.5, 1])
    if reading.is_binary:
        ax.axvline(0.5, color=LIGHT, lw=1, ls=":", zorder=1)
    for row in range(1, n if k > 1 else 1):
        ax.axhline(row * k - 0.5, color=LIGHT, lw=0.8, zorder=1)
    for line, (row, edit) in enumerate(np.ndindex(n, k)):
        _draw_edit(ax, line, reading, (row, edit + 1))
        note = "" if reached[row, edit] or not is_edited else NOT_REACHED
        ax.annotate(
            reading.figures(row, edit + 1) + note,
            (1, line),
            xycoords=("axes fraction", "data"),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            color=ink(),
            fontsize="small",
            fontweight="bold" if reading.changed[row, edit + 1] else "normal",
            **VERBATIM,
        )
    key = f"○ before   ● after   {CHANGED} after, decision changed" if has_key else ""
    set_titles(ax, f"{reading.title} (edited)" if is_edited else reading.title, key)
    kind = "" if reading.is_binary else " of what is decided"
    ax.set_xlabel(f"probability{kind}", fontsize="small", color=GREY)


def _draw_edit(ax: "Axes", line: int, reading: Reading, cell: tuple[int, int]) -> None:
    row, column = cell
    is_changed = bool(reading.changed[cell])
    before, after = reading.shown[row, [0, column]]
    ax.plot([before, after], [line, line], color=BLUE, lw=2 if is_changed else 1, zorder=2)
    ax.plot(before, line, "o", mfc="white", mec=BLUE, ms=6, zorder=3)
    if is_changed:
        ax.plot(after, line, "D", color=VERMILION, ms=7, zorder=4)
    else:
        ax.plot(after, line, "o", color=BLUE, ms=5, zorder=4)


def _lines(
    readings: Sequence[Reading], cell: tuple[int, int], *, reached: bool
) -> list[tuple[str, bool]]:
    """Return the text below a face, and for each line whether it tells of a change."""
    lines: list[tuple[str, bool]] = []
    for i, reading in enumerate(readings):
        is_changed = bool(reading.changed[cell])
        mark = f"{CHANGED} " if is_changed else ""
        colon = "" if reading.is_binary else ":"
        text = f"{mark}{reading.title}{colon} {reading.figures(*cell)}"
        parts = textwrap.wrap(text, TEXT_WIDTH, subsequent_indent="   ")
        lines.extend((part, is_changed) for part in parts)
        if i == 0 and reading.is_binary:
            lines.append((f"{mark}decision {reading.decision(*cell)}", is_changed))
    if not reached:
        lines.append(("not reached: as it was", False))
    return lines
