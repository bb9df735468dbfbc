"""Names in messages and on pages: the first few of many, and lists as in a sentence."""

__all__ = ["joined", "some_of"]

from collections.abc import Iterable, Sequence


def some_of(names: Iterable[str], most: int = 8) -> list[str]:
    """Return the first names, and if there are others ``"and <number> more"`` as the last item."""
    names = list(names)
    more = len(names) - most
    return [*names[:most], *([f"and {more} more"] if more > 0 else [])]


def joined(names: Sequence[str]) -> str:
    """Return names as in a sentence: ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
