"""The interface of a section of the audit page."""

__all__ = ["Section"]

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, ClassVar, Self

from skfairlatent.report._comparison import Comparison
from skfairlatent.report._page_parts import Part


class Section(ABC):
    """A section of the audit page: a frozen dataclass of what was measured, and its wording.

    `measure` and `parts` have to be written, the rest if there is something to add. The figures
    that `draw` returns are kept in the report by their names, and handed to `parts` again.

    Attributes
    ----------
    name : str
        Its anchor on the page, and its key in `AuditReport.to_dict`.

    title : str
        Its heading, and its entry in the navigation.
    """

    name: ClassVar[str]
    title: ClassVar[str]

    @classmethod
    @abstractmethod
    def measure(cls, comparison: Comparison) -> Self | None:
        """Return the section, without any row of the data; None if it does not apply."""

    @abstractmethod
    def parts(self, figures: Mapping[str, Any]) -> Iterator[Part]:
        """Yield the texts, tables and pictures of the section."""

    def draw(self, comparison: Comparison) -> dict[str, Any]:
        """Return figures by name."""
        return {}

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield topics and sentences for the top of the page; those on one topic are joined."""
        yield from ()

    def limits(self) -> list[str]:
        """Return what the section cannot show, for the list of limits."""
        return []

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, by default those of all fields under the name of the section."""
        return {self.name: {each.name: getattr(self, each.name) for each in fields(self)}}  # type: ignore[arg-type]
