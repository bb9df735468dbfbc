"""Helpers of the displays: matplotlib on demand, axes, colours and text."""

__all__ = [
    "BLUE",
    "DARK",
    "GREEN",
    "GREY",
    "LETTER",
    "LIGHT",
    "PALE_BLUE",
    "PALE_GREY",
    "UNDEFINED",
    "VERBATIM",
    "VERMILION",
    "as_label",
    "balanced_grid",
    "figure_or",
    "find_axes",
    "ink",
    "largest_of",
    "plain_axes",
    "pyplot",
    "set_titles",
    "shortened",
    "use_log_scale",
    "write_undefined",
]

import importlib
import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Width of a letter of small text, in inches: what a figure must leave room for.
LETTER = 0.072
# Okabe and Ito's colours, which people with any colour vision tell apart, and greys.
BLUE, GREEN, VERMILION = "#0072B2", "#009E73", "#D55E00"
PALE_BLUE = "#B5D3E7"
DARK, GREY, LIGHT, PALE_GREY = "#222222", "#6B6B6B", "#D0D0D0", "#ECECEC"
# For text with names from the data, which are not formulas, whatever the user's settings.
VERBATIM: dict[str, Any] = {"parse_math": False, "usetex": False}
# Text where there is no number.
UNDEFINED = "undefined"
# Neither a figure nor a page can show these: control characters, ends of lines and paragraphs,
# what turns the direction of the text around it, halves of surrogate pairs, and no characters.
_UNSHOWABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def pyplot(caller: str) -> Any:
    """Import matplotlib, which is an optional dependency.

    Parameters
    ----------
    caller : str
        Who draws, for the message.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        return importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise ImportError(
            f"{caller} draws with matplotlib, which is not installed: "
            'pip install "skfairlatent[plot]".'
        ) from error


def find_axes(
    ax: Any,
    shape: tuple[int, int],
    figsize: tuple[float, float],
    *,
    n_axes: int | None = None,
    caller: str,
) -> "tuple[Figure, list[Axes]]":
    """Return a figure and the axes to draw on, row by row.

    Parameters
    ----------
    ax : Axes, array-like of Axes, or None
        One Axes is divided; of several there must be as many as are needed; None makes a figure.

    shape : tuple (int, int)
        Rows and columns.

    figsize : tuple (float, float)
        Width and height of a new figure, in inches.

    n_axes : int or None, default=None
        Axes needed, if the last row is not full.

    caller : str
        Who draws, for messages.

    Raises
    ------
    TypeError
        If `ax` is, or holds, anything but Axes.
    ValueError
        If there are too many or too few, or one that stands in no grid would be divided.
    """
    plt = pyplot(caller)
    needed = math.prod(shape) if n_axes is None else n_axes
    if ax is None:
        figure = plt.figure(figsize=figsize, layout="constrained")
        grid = figure.add_gridspec(*shape)
    elif isinstance(ax, list | tuple | np.ndarray):
        given = list(np.ravel(np.asarray(ax, dtype=object)))
        for each in given:
            _check_axes(each, plt.Axes)
        if len(given) != needed:
            raise ValueError(
                f"ax holds {len(given)} Axes, and {caller} draws on {needed}: pass that many, one "
                "Axes to divide, or None for a new figure."
            )
        return given[0].figure, given
    else:
        _check_axes(ax, plt.Axes)
        if needed == 1:
            return ax.figure, [ax]
        if ax.get_subplotspec() is None:
            raise ValueError(
                f"ax stands in no grid, so it cannot be divided into the {needed} that {caller} "
                "draws on: create it with plt.subplots, or pass that many Axes."
            )
        figure = ax.figure
        ax.set_axis_off()
        grid = ax.get_subplotspec().subgridspec(*shape)
    return figure, [figure.add_subplot(grid[divmod(i, shape[1])]) for i in range(needed)]


def _check_axes(given: Any, kind: type) -> None:
    if not isinstance(given, kind):
        raise TypeError(
            f"ax is, or holds, {given!r}: expected matplotlib Axes, as of plt.subplots, a list or "
            "array of them, or None for a figure of its own."
        )


def as_label(name: Any) -> str:
    r"""Return a name as text that any figure or page can show.

    Characters that cannot be shown are written as Python writes them, such as ``\x1b``, so that
    two names do not become one.
    """
    return _UNSHOWABLE.sub(lambda found: ascii(found[0])[1:-1], str(name))


def figure_or(value: float) -> str:
    """Return a number as text, or what to say where there is none."""
    return format(value, ".2f") if math.isfinite(value) else UNDEFINED


def largest_of(values: Iterable[float], least: float) -> float:
    """Return the largest of the values that are defined, and of `least`: a limit for an axis."""
    return max([least, *(float(value) for value in values if math.isfinite(value))])


def balanced_grid(n: int, n_columns: int) -> tuple[int, int]:
    """Return rows and columns for n panels, at most so many columns, with few gaps."""
    n_rows = math.ceil(n / n_columns)
    return n_rows, math.ceil(n / n_rows)


def plain_axes(ax: "Axes", hidden: Sequence[str] = ("top", "right")) -> None:
    """Take away the lines that carry nothing, and quieten the others."""
    ax.spines[list(hidden)].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(LIGHT)
    ax.tick_params(color=LIGHT, labelsize="small")


def ink() -> str:
    """Return the colour of the user's text, which is seen on their background."""
    return str(pyplot("ink").rcParams["text.color"])


def set_titles(ax: "Axes", title: str, subtitle: str) -> None:
    """Write a title above the axes and, smaller, what it needs to be read rightly."""
    size = float(pyplot("set_titles").rcParams["font.size"])
    ax.set_title(as_label(title), loc="left", fontsize="medium", pad=1.8 * size, **VERBATIM)
    text = ax.annotate(
        as_label(subtitle),
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 0.5 * size),
        textcoords="offset points",
        color=GREY,
        fontsize="small",
        **VERBATIM,
    )
    text.set_in_layout(False)  # a long one must not make the axes narrow


def shortened(name: str, width: int, lines: int = 1) -> str:
    """Break a long name into lines; of one that does not fit keep the beginning and the end."""
    name, longest = as_label(name), width * lines
    if len(name) > longest:
        half = (longest - longest // 5) // 2  # lines break at words, hence are not full
        head, tail = name[:half], name[-half:]
        # Whole words, unless one is so long that little would remain.
        head = head.rsplit(" ", 1)[0] if " " in head[half // 2 :] else head
        tail = tail.split(" ", 1)[1] if " " in tail[: half // 2] else tail
        name = f"{head.rstrip()} … {tail.lstrip()}"
    return "\n".join(textwrap.wrap(name, width, break_on_hyphens=False))


def write_undefined(ax: "Axes") -> None:
    """Say in an empty panel that there is no number to draw."""
    ax.set_yticks([])
    ax.text(0.5, 0.5, UNDEFINED, transform=ax.transAxes, ha="center", va="center", color=GREY)


def use_log_scale(ax: "Axes") -> None:
    """Make the y axis logarithmic, with plain numbers at 1, 2 and 5 times the powers of ten."""
    ticker = importlib.import_module("matplotlib.ticker")
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_locator(ticker.NullLocator())
