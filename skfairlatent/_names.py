"""Latents have no column names, though a model fitted on a table expects some."""

__all__ = ["nameless"]

import warnings
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def nameless(call: Callable[P, R]) -> Callable[P, R]:
    """Return the same without scikit-learn's warning that only one of model and rows has names.

    For rows that come from the model itself, whose columns are in order.
    """

    @wraps(call)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> R:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore",
                message="X (does not have valid|has) feature names",
                category=UserWarning,
            )
            return call(*args, **kwargs)

    return quiet
