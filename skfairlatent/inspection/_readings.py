"""Label and sensitive attributes of people before and after edits, as text."""

__all__ = ["Reading", "make_readings"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skfairlatent.inspection._drawing import UNDEFINED, figure_or, shortened

# Two values of which the second means that the thing named is there.
YES_NO = (("0", "1"), ("False", "True"), ("no", "yes"))
# Longest name of an attribute, and of a value, that is written in full.
NAME_WIDTH, VALUE_WIDTH = 24, 28

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """Probabilities of the label or of a sensitive attribute, before and after each edit.

    Parameters
    ----------
    name : str
        Name of the label or attribute that is read.

    values : sequence of str
        Its values.

    probabilities : ndarray of shape (n, 1 + k, n_values)
        Probabilities of these values: first of the original, then of the edits.

    decided : ndarray of shape (n, 1 + k), int
        Position of the value that is taken to be there; -1 where no probability is defined.
    """

    name: str
    values: Sequence[str]
    probabilities: Floats
    decided: npt.NDArray[np.intp]

    @property
    def is_binary(self) -> bool:
        """Whether one probability says all."""
        return len(self.values) == 2

    @property
    def changed(self) -> npt.NDArray[np.bool_]:
        """Whether another value is decided than for the original, shape (n, 1 + k)."""
        is_known = self.decided >= 0
        return np.asarray((self.decided != self.decided[:, :1]) & is_known & is_known[:, :1])

    @property
    def shown(self) -> Floats:
        """The probability to show, shape (n, 1 + k): of the second of two, else the decided."""
        if self.is_binary:
            return self.probabilities[:, :, 1]
        taken = np.take_along_axis(
            self.probabilities, np.maximum(self.decided, 0)[:, :, None], axis=2
        )
        return np.asarray(taken[:, :, 0])

    @property
    def title(self) -> str:
        """The values whose probability `shown` is."""
        is_plain = not self.is_binary or tuple(self.values) in YES_NO
        name = self.name if is_plain else f"{self.name} {self.values[1]}"
        return shortened(name, NAME_WIDTH)

    def figures(self, row: int, column: int) -> str:
        """Return the probabilities as text: one of the original, two of an edit."""
        texts = [self._figure(row, 0), self._figure(row, column)]
        is_same = self.decided[row, column] == self.decided[row, 0]
        if not self.is_binary and is_same:
            texts[1] = figure_or(self.shown[row, column])
        return " → ".join(texts) if column else texts[0]

    def decision(self, row: int, column: int) -> str:
        """Return what is decided, and what was before if that is something else."""
        before, after = (self._value(row, c) for c in (0, column))
        return f"{before} → {after}" if self.changed[row, column] else after

    def _figure(self, row: int, column: int) -> str:
        figure = figure_or(self.shown[row, column])
        is_short = self.is_binary or self.decided[row, column] < 0
        return figure if is_short else f"{self._value(row, column)} {figure}"

    def _value(self, row: int, column: int) -> str:
        at = self.decided[row, column]
        return shortened(self.values[at], VALUE_WIDTH) if at >= 0 else UNDEFINED


def make_readings(
    probabilities: Mapping[str, Any], values: Mapping[str, Any], decisions: Any
) -> list[Reading]:
    """Check and gather what is read; the first is the label, of which decisions may be given.

    Raises
    ------
    ValueError
        If shapes do not fit, or a decision is not among the values.
    """
    readings: list[Reading] = []
    for name, given in probabilities.items():
        array = np.asarray(given, dtype=np.float64)
        known = [str(value) for value in values[name]]
        rows = readings[0].probabilities.shape[:2] if readings else array.shape[:2]
        if array.shape != (*rows, len(known)) or array.ndim != 3 or 0 in rows:
            raise ValueError(
                f"probabilities[{name!r}] has shape {array.shape}: expected (n, 1 + k, "
                f"{len(known)}) for its values {known}, with n and k as in the others."
            )
        decided = np.where(np.isnan(array).all(axis=2), -1, np.nan_to_num(array).argmax(axis=2))
        if not readings and decisions is not None:
            decided = _positions(decisions, known, rows)
        readings.append(Reading(name, known, array, decided))
    if not readings:
        raise ValueError("probabilities is empty: expected at least those of the label.")
    return readings


def _positions(decisions: Any, values: list[str], shape: tuple[int, ...]) -> Any:
    given = np.asarray(decisions).astype(str)
    unknown = np.setdiff1d(given, values)
    if given.shape != shape or len(unknown):
        raise ValueError(
            f"decisions has shape {given.shape} and holds {np.unique(given).tolist()}: expected "
            f"shape {shape}, of the values {values}."
        )
    return np.array([[values.index(value) for value in row] for row in given])
