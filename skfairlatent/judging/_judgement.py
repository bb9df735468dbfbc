"""What judges say of edits: one row an edit, means with intervals, and tables of both."""

__all__ = ["EditJudgement", "Estimate", "Verdict"]

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from skfairlatent._bootstrap import Floats

Flags = npt.NDArray[np.bool_]


class Estimate(NamedTuple):
    """A number and its bootstrap interval; NaN where it is not defined.

    Parameters
    ----------
    value, low, high : float
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a judge says of the class that is followed.

    Parameters
    ----------
    name : object
        The class.

    before : ndarray of shape (n,)
        Its probability in the decoded originals.

    after : ndarray of shape (n, k)
        Its probability in the decoded edits.

    flipped : ndarray of shape (n, k), bool
        Whether the judge's likeliest class is another one after the edit.
    """

    name: Any
    before: Floats
    after: Floats
    flipped: Flags

    @property
    def change(self) -> Floats:
        """Probability after the edit minus before, shape (n, k)."""
        return np.asarray(self.after - self.before[:, None])


@dataclass(frozen=True, eq=False, repr=False)
class EditJudgement:
    r"""Edits of n rows, k to a row, as independent judges see them.

    Parameters
    ----------
    kind : {"label", "sensitive"}
        What the edits were to change.

    label, sensitive : Verdict
        What each judge says: ``name`` (the class that is followed), ``before`` and ``after`` (its
        probability, shapes (n,) and (n, k)), ``change`` and ``flipped`` (whether the likeliest
        class is another one), shape (n, k).

    strengths : ndarray of shape (n, k)
        Of the edits.

    direction : ndarray of shape (n, k), int8
        1 where the edit asks for more of the class, -1 where for less, 0 for neither: it was not
        reached, has no strength, or is about other classes.

    decision_changed : ndarray of shape (n, k), bool
        Whether the model that was explained decides otherwise.

    distance, relative_distance : ndarray of shape (n, k)
        Euclidean, from the edited embedding to the original one; and divided by the median
        distance between two originals (NaN for a single row).

    ssim : ndarray of shape (n, k)
        Structural similarity of the decoded edit to the decoded original, 1 if equal.

    mean_label_shift, mean_sensitive_shift : Estimate
        Means over all edits of `label_shift` and `sensitive_shift`.

    ratio : Estimate
        Of a label edit, the mean sensitive shift per unit of label shift; of a sensitive edit,
        the mean label shift per unit of sensitive shift. 0 is best. NaN if the shift asked for is
        under 0.01.

    confidence : float
        Of the intervals.

    notes : tuple of str
        What is NaN, and why.

    See Also
    --------
    judge_edits : Makes it.
    compare_judgements : Sets several side by side.
    """

    kind: str
    label: Verdict
    sensitive: Verdict
    strengths: Floats
    direction: npt.NDArray[np.int8]
    decision_changed: Flags
    distance: Floats
    relative_distance: Floats
    ssim: Floats
    mean_label_shift: Estimate
    mean_sensitive_shift: Estimate
    ratio: Estimate
    confidence: float
    notes: tuple[str, ...]

    @property
    def label_shift(self) -> Floats:
        """Change of the label's probability in the direction asked for, shape (n, k)."""
        return np.asarray(self.direction * self.label.change)

    @property
    def sensitive_shift(self) -> Floats:
        """Change of the attribute's probability, with the sign of the direction, shape (n, k)."""
        return np.asarray(self.direction * self.sensitive.change)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.strengths)

    def __repr__(self) -> str:
        """Say what was seen."""
        shifts = [
            f"{name} {value:+.3f} [{low:+.3f}, {high:+.3f}]"
            for name, (value, low, high) in self._estimates().items()
        ]
        return f"<EditJudgement of {len(self)} rows, {self.kind} edits: {', '.join(shifts)}>"

    def to_frame(self) -> pd.DataFrame:
        """Return a table with one row an edit.

        Returns
        -------
        DataFrame
            Columns ``row``, ``edit``, ``strength``, ``direction``, ``decision_changed``; then
            ``label_before``, ``label_after``, ``label_shift``, ``label_flipped`` and the same of
            ``sensitive``; ``distance``, ``relative_distance`` and ``ssim``.
        """
        n, k = self.strengths.shape
        columns: dict[str, Any] = {
            "row": np.repeat(np.arange(n), k),
            "edit": np.tile(np.arange(k), n),
            "strength": self.strengths,
            "direction": self.direction,
            "decision_changed": self.decision_changed,
        }
        for name, verdict, shift in (
            ("label", self.label, self.label_shift),
            ("sensitive", self.sensitive, self.sensitive_shift),
        ):
            columns |= {
                f"{name}_before": np.repeat(verdict.before, k),
                f"{name}_after": verdict.after,
                f"{name}_shift": shift,
                f"{name}_flipped": verdict.flipped,
            }
        for name in ("distance", "relative_distance", "ssim"):
            columns[name] = getattr(self, name)
        return pd.DataFrame({name: np.ravel(values) for name, values in columns.items()})

    def summary(self) -> pd.DataFrame:
        """Return a table of one row.

        Returns
        -------
        DataFrame
            Columns ``kind``, ``n_rows``, ``n_edits``; ``label_shift``, ``sensitive_shift`` and
            ``ratio``, each with ``..._low`` and ``..._high``; the shares of all edits that
            ``decision_changed``, ``label_flipped`` and ``sensitive_flipped``; and the means of
            ``distance``, ``relative_distance`` and ``ssim``.
        """
        columns: dict[str, Any] = {
            "kind": self.kind,
            "n_rows": len(self),
            "n_edits": self.strengths.size,
        }
        for name, (value, low, high) in self._estimates().items():
            columns |= {name: value, f"{name}_low": low, f"{name}_high": high}
        averaged = {
            "decision_changed": self.decision_changed,
            "label_flipped": self.label.flipped,
            "sensitive_flipped": self.sensitive.flipped,
            "distance": self.distance,
            "relative_distance": self.relative_distance,
            "ssim": self.ssim,
        }
        columns |= {name: float(values.mean()) for name, values in averaged.items()}
        return pd.DataFrame([columns])

    def _estimates(self) -> dict[str, Estimate]:
        return {
            "label_shift": self.mean_label_shift,
            "sensitive_shift": self.mean_sensitive_shift,
            "ratio": self.ratio,
        }

    def _row_means(self) -> tuple[Floats, Floats]:
        """Return the shift asked for and the other one, means of each row's edits."""
        label, sensitive = self.label_shift.mean(axis=1), self.sensitive_shift.mean(axis=1)
        return (label, sensitive) if self.kind == "label" else (sensitive, label)
