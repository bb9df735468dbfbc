"""Names of a package that are imported when they are asked for."""

__all__ = ["imported_later"]

from collections.abc import Callable, Mapping
from importlib import import_module


def imported_later(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Return the ``__getattr__`` of a package.

    Parameters
    ----------
    package : str
        Its name.
    homes : mapping of str to str
        The module of each name. A name that its module does not hold stands for the module.
    """

    def __getattr__(name: str) -> object:  # noqa: N807 - it becomes the package's
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(homes[name])
        return getattr(module, name, module)

    return __getattr__
