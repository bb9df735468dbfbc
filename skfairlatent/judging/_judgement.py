"""The result of judging edits: one row for each edit, and means with intervals."""

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
    """Probabilities that a judge gives to a class.

    Parameters
    ----------
    name : object
        The class.

    before : ndarray of shape (n,)
        Its probability in the decoded originals.

    after : ndarray of shape (n, k)
        Its probability in the decoded edits.

    flipped : ndarray of shape (n, k), bool
        Whether the edit changes the most probable class.
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
    r"""Effects of the edits of n rows, k for each row, measured by independent classifiers.

    Parameters
    ----------
    kind : {"label", "sensitive"}
        The property that the edits were intended to change.

    label, sensitive : Verdict
        Output of each judge: ``name`` (the class), ``before`` and ``after`` (its probability, of
        shape (n,) and (n, k)), ``change`` (their difference) and ``flipped`` (whether the most
        probable class changes), of shape (n, k).

    strengths : ndarray of shape (n, k)
        Lengths of the edits.

    direction : ndarray of shape (n, k), int8
        1 if the edit is to raise the probability of the class, -1 if it is to lower it, and 0
        otherwise: no edit was found, it has length 0, or it concerns other classes.

    decision_changed : ndarray of shape (n, k), bool
        Whether the edit changes the decision of the explained model.

    distance, relative_distance : ndarray of shape (n, k)
        Euclidean distance of the edited embedding from the original, and the same divided by the
        median distance between two originals (NaN for a single row).

    ssim : ndarray of shape (n, k)
        Structural similarity of the decoded edit and the decoded original, 1 if they are equal.

    mean_label_shift, mean_sensitive_shift : Estimate
        Means over all edits of `label_shift` and `sensitive_shift`.

    ratio : Estimate
        For label edits, the mean sensitive shift for each unit of label shift; for sensitive
        edits, the reverse. 0 is best. NaN if the intended shift is below 0.01.

    confidence : float
        Confidence level of the intervals.

    notes : tuple of str
        Reasons for values that are NaN.

    See Also
    --------
    judge_edits : Returns a judgement.
    compare_judgements : Compares judgements.
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
        """Change of the label's probability in the intended direction, shape (n, k)."""
        return np.asarray(self.direction * self.label.change)

    @property
    def sensitive_shift(self) -> Floats:
        """Change of the attribute's probability, with the sign of the direction, shape (n, k)."""
        return np.asarray(self.direction * self.sensitive.change)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.strengths)

    def __repr__(self) -> str:
        """Summarise the shifts."""
        shifts = [
            f"{name} {value:+.3f} [{low:+.3f}, {high:+.3f}]"
            for name, (value, low, high) in self._estimates().items()
        ]
        return f"<EditJudgement of {len(self)} rows, {self.kind} edits: {', '.join(shifts)}>"

    def to_frame(self) -> pd.DataFrame:
        """Return a table with one row for each edit.

        Returns
        -------
        DataFrame
            Columns ``row``, ``edit``, ``strength``, ``direction``, ``decision_changed``; then
            ``label_before``, ``label_after``, ``label_shift``, ``label_flipped`` and the same for
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
        """Return a summary as a table with one row.

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
        """Return the intended shift and the other shift, averaged over the edits of each row."""
        label, sensitive = self.label_shift.mean(axis=1), self.sensitive_shift.mean(axis=1)
        return (label, sensitive) if self.kind == "label" else (sensitive, label)
