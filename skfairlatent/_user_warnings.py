"""Warnings that show the line of the user's program, not one of a library."""

__all__ = ["UserLine", "warn_user"]

import inspect
import sys
import traceback
import warnings
from typing import NamedTuple, Self

from skfairlatent.exceptions import FairLatentWarning

# Pipelines, searches, wrappers and threads of these may lie between the user's call and ours.
_LIBRARIES = {
    *("skfairlatent", "sklearn", "imblearn", "fairlearn", "joblib", "dask", "distributed"),
    *("torch", "numpy", "scipy", "pandas", "polars", "tqdm"),
    *("contextlib", "functools", "concurrent", "threading", "multiprocessing"),
}


class UserLine(NamedTuple):
    """Where the user's program called this package.

    Found when a call begins and kept: images are read in threads, whose stacks do not lead back.
    """

    path: str
    number: int
    module: str

    @classmethod
    def find(cls) -> Self:
        """Return the innermost line that no library holds, or the outermost if all are theirs."""
        found = cls("sys", 1, "sys")  # what Python shows where it knows of no line
        for frame, number in traceback.walk_stack(inspect.currentframe()):
            module = frame.f_globals.get("__name__") or ""
            found = cls(frame.f_code.co_filename, number, module)
            if module.partition(".")[0] not in _LIBRARIES:
                break
        return found

    def warn(self, message: str, category: type[Warning] = FairLatentWarning) -> None:
        """Warn there; Python's filters then show the same warning of the same line once."""
        names = getattr(sys.modules.get(self.module), "__dict__", {})
        registry = names.setdefault("__warningregistry__", {})
        warnings.warn_explicit(message, category, self.path, self.number, self.module, registry)


def warn_user(message: str, category: type[Warning] = FairLatentWarning) -> None:
    """Warn at the line of the user's program that led here, through whatever library it led.

    Parameters
    ----------
    message : str
        The finding, and what to do about it.
    category : type of Warning, default=FairLatentWarning
        Class of the warning, for filters.
    """
    UserLine.find().warn(message, category)
