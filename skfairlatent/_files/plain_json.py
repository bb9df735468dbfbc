"""Tables and numbers as values that JSON has."""

__all__ = ["as_plain", "as_records"]

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd


def as_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table, what its index says included."""
    named = [name for name in frame.index.names if name is not None]
    table = frame.reset_index() if named else frame
    columns = [str(column) for column in table.columns]
    rows = table.itertuples(index=False, name=None)
    return [dict(zip(columns, map(as_plain, row), strict=True)) for row in rows]


def as_plain(value: Any) -> Any:
    """Return a value of Python's own types; numbers that are not finite become None."""
    if isinstance(value, pd.DataFrame):
        return as_records(value)
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
