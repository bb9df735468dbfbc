"""The parts that sections of the page are made of, and numbers as their text."""

__all__ = [
    "NOTHING",
    "Beside",
    "Block",
    "Cell",
    "Heading",
    "Meanings",
    "Metric",
    "Part",
    "Picture",
    "Table",
    "Text",
    "estimate",
    "estimate_cell",
    "number_cell",
]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from skfairlatent.inspection._drawing import UNDEFINED

NOTHING, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str
    kind: ClassVar[str] = "heading"


@dataclass(frozen=True)
class Meanings:
    """Names and what they mean or are; `style` is a class of the style sheet."""

    pairs: Sequence[tuple[str, str]]
    style: str = "meanings"
    kind: ClassVar[str] = "meanings"


class Cell(NamedTuple):
    """Text, a smaller text below it such as an interval, and how many columns it spans."""

    text: str
    note: str = ""
    span: int = 1


class Block(NamedTuple):
    """Rows below a heading, which may be empty; the first cell of each row names it."""

    title: str
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Table:
    """A table; `groups` is a line of headings above `columns`, or empty.

    `is_text` says that there are no columns of numbers.
    """

    caption: str
    columns: Sequence[str]
    blocks: Sequence[Block]
    groups: Sequence[Cell] = ()
    is_text: bool = False
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Picture:
    """An image with the text that stands for it, and its size in pixels of CSS."""

    source: str
    alt: str
    caption: str
    width: int
    height: int
    kind: ClassVar[str] = "picture"


@dataclass(frozen=True)
class Beside:
    """Parts side by side where the page is wide; `style` is ``"beside"`` or ``"pair"``.

    In print a pair stays side by side.
    """

    parts: Sequence["Picture | Table"]
    style: str = "pair"
    kind: ClassVar[str] = "beside"


Part = Text | Heading | Meanings | Table | Picture | Beside


class Metric(NamedTuple):
    """The name of a figure, its best value, and its meaning in one sentence."""

    name: str
    best: int
    meaning: str


def estimate(row: Mapping[str, Any], name: str, *, signed: bool = False) -> str:
    """Return a value with its interval, such as ``0.40 [0.36, 0.44]``."""
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if np.isnan(value):
        return UNDEFINED
    text = f"{value:{'+' if signed else ''}.2f}"
    if np.isfinite(low):
        text += f" [{low:.2f}, {high:.2f}]"
    return text.replace("-0.00", "0.00").replace("-", MINUS)


def estimate_cell(row: Mapping[str, Any], name: str, *, signed: bool = False) -> Cell:
    """Return a cell with a value, and its interval below."""
    value, _, interval = estimate(row, name, signed=signed).partition(" ")
    return Cell(value, interval)


def number_cell(value: float) -> Cell:
    """Return a cell with a number, or a dash for NaN."""
    return Cell(NOTHING if np.isnan(value) else f"{value:.2f}")
