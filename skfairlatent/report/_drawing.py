"""Figures of an audit, narrow enough for a phone, and as images that a page holds itself."""

__all__ = ["MEDIUM", "NARROW", "WIDE", "embed", "finished", "panels", "plain_style"]

import base64
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from skfairlatent.inspection._drawing import pyplot
from skfairlatent.report._page_parts import Picture

# Inches: the width that a phone shows without shrinking letters much, that of a figure which
# names the values that it shows, and that of two columns.
NARROW, MEDIUM, WIDE = 4.4, 5.6, 7.2
# Inches above and below a panel.
PANEL_GAP = 0.09
# Pixels an inch: of photographs, and of what a browser takes an inch to be.
DPI, CSS_DPI = 120, 96
POINTS = 72
# Ids within a figure depend on this and on what is drawn, hence not on the time or the process.
SALT = "skfairlatent"


@contextmanager
def plain_style(**settings: Any) -> Iterator[Any]:
    """Draw as matplotlib does by default but for these settings, whatever the user's are.

    A letter that its font lacks is nothing to warn of: the page shows it in another font.
    """
    plt = pyplot("audit")
    with plt.style.context(["default", settings]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing", category=UserWarning)
        yield plt


def panels(plt: Any, n_panels: int, width: float, height: float) -> tuple[Any, Any]:
    """Return a figure of these inches and its panels, one below the other."""
    figure, axes = plt.subplots(n_panels, 1, figsize=(width, height), layout="constrained")
    return figure, np.atleast_1d(axes)


def finished(plt: Any, figure: Any) -> Any:
    """Lay a figure out for good, and take it from pyplot, which would show it and warn of many."""
    figure.set_layout_engine("constrained", h_pad=PANEL_GAP)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # or each of the drawings that saving takes does it again
    plt.close(figure)
    return figure


def embed(figure: Any, alt: str, caption: str) -> Picture:
    """Return a figure as a data URI: as SVG, or if it shows photographs as PNG.

    An image element, unlike inline SVG, keeps the ids of figures apart and runs no script.
    """
    is_photo = any(ax.get_images() for ax in figure.axes)
    source, width, height = _as_png(figure) if is_photo else _as_svg(figure)
    return Picture(source, alt, caption, width, height)


def _as_svg(figure: Any) -> tuple[str, int, int]:
    buffer = io.StringIO()
    # Letters as text, in a quarter of the size that their shapes would take.
    with plain_style(**{"svg.fonttype": "none", "svg.hashsalt": SALT}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", dpi=DPI, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.S)
    svg = re.sub(r"\n\s*", "\n", svg)
    # Fewer digits for the same picture: nobody sees a hundredth of a point.
    svg = re.sub(r"([1-9]\d*\.\d\d)\d+", r"\1", svg)
    found = [re.search(rf'{name}="([\d.]+)pt"', svg) for name in ("width", "height")]
    width, height = (round(float(each.group(1)) / POINTS * CSS_DPI) for each in found if each)
    return _data_uri("image/svg+xml", svg.encode()), width, height


def _as_png(figure: Any) -> tuple[str, int, int]:
    buffer = io.BytesIO()
    with plain_style():
        figure.savefig(buffer, format="png", bbox_inches="tight", dpi=DPI)
    content = buffer.getvalue()
    # The header of a PNG holds its width and height at this place.
    sizes = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    width, height = (round(size / DPI * CSS_DPI) for size in sizes)
    return _data_uri("image/png", content), width, height


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
