"""Figures as images that a page holds within itself."""

__all__ = ["Picture", "embed", "plain_style"]

import base64
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from skfairlatent.inspection._drawing import pyplot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Pixels an inch: of photographs, and of what a browser takes an inch to be.
DPI, CSS_DPI = 120, 96
POINTS = 72
# Ids within a figure depend on this and on what is drawn, hence not on the time or the process.
SALT = "skfairlatent"


class Picture(NamedTuple):
    """An image with the text that stands for it, and its size in pixels of CSS."""

    source: str
    alt: str
    width: int
    height: int


@contextmanager
def plain_style(**settings: Any) -> Iterator[Any]:
    """Draw as matplotlib does by default but for these settings, whatever the user's are.

    That its font lacks a letter of a name is nothing to warn of: the page shows it in another.
    """
    plt = pyplot("audit")
    with plt.style.context(["default", settings]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing", category=UserWarning)
        yield plt


def embed(figure: "Figure", alt: str) -> Picture:
    """Return a figure as a data URI: as SVG, or if it shows photographs as PNG.

    An image element, unlike inline SVG, keeps the ids of figures apart and runs no script.
    """
    if any(ax.get_images() for ax in figure.axes):
        return _as_png(figure, alt)
    return _as_svg(figure, alt)


def _as_svg(figure: "Figure", alt: str) -> Picture:
    buffer = io.StringIO()
    # Letters as text, in a quarter of the size that their shapes would take.
    with plain_style(**{"svg.fonttype": "none", "svg.hashsalt": SALT}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", dpi=DPI, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.S)
    svg = re.sub(r"\n\s*", "\n", svg)
    # Fewer digits for the same picture: a hundredth of a point is seen by nobody.
    svg = re.sub(r"([1-9]\d*\.\d\d)\d+", r"\1", svg)
    return Picture(_data_uri("image/svg+xml", svg.encode()), alt, *_size_of(svg))


def _as_png(figure: "Figure", alt: str) -> Picture:
    buffer = io.BytesIO()
    with plain_style():
        figure.savefig(buffer, format="png", bbox_inches="tight", dpi=DPI)
    content = buffer.getvalue()
    # The header of a PNG holds its width and height at this place.
    sizes = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    width, height = (round(size / DPI * CSS_DPI) for size in sizes)
    return Picture(_data_uri("image/png", content), alt, width, height)


def _size_of(svg: str) -> tuple[int, int]:
    found = [re.search(rf'{name}="([\d.]+)pt"', svg) for name in ("width", "height")]
    width, height = (round(float(each.group(1)) / POINTS * CSS_DPI) for each in found if each)
    return width, height


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
