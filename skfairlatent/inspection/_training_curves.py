"""The curves of the loss and of its terms over the epochs."""

__all__ = ["TrainingCurvesDisplay"]

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from skfairlatent._find_transformer import latent_step
from skfairlatent._training.objective import TERMS
from skfairlatent.inspection._drawing import (
    BLUE,
    GREY,
    VERMILION,
    balanced_grid,
    find_axes,
    ink,
    plain_axes,
    pyplot,
    set_titles,
    shortened,
    use_log_scale,
    write_undefined,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Titles and units of the columns of history_, in the order in which they are drawn.
TITLES = {"loss": "weighted sum"} | {f"loss_{name}": term.title for name, term in TERMS.items()}
UNITS = {f"loss_{name}": term.unit for name, term in TERMS.items()}
# With so many epochs or fewer, each is marked.
FEW_EPOCHS = 15
# Beyond this ratio of the largest to the smallest value, a linear scale hides the small ones.
LOG_FROM = 5.0
N_COLUMNS = 3
# Letters of the name of a term that has no title.
NAME_WIDTH = 28


class TrainingCurvesDisplay:
    """The terms of the training loss over the epochs, with one panel for each term.

    Each panel has its own scale, because the terms differ by orders of magnitude; logarithmic
    scales are marked. Use :meth:`from_estimator` to create a display.

    Parameters
    ----------
    history : DataFrame
        One row for each epoch, with the columns ``epoch``, ``loss`` and any ``loss_<term>``, and
        optionally ``validation_loss``.

    weights : mapping of str to float, default=None
        Weight of each term in the sum, such as ``{"di": 20.0}``, to be shown.

    kept_epoch : int, default=None
        Epoch chosen by early stopping, to be marked.

    Attributes
    ----------
    axes_ : ndarray of Axes
        Axes of the sum and of each term, after `plot`.

    figure_ : Figure
        Figure of the axes, after `plot`.

    Raises
    ------
    ValueError
        If `history` has no rows, or lacks ``epoch`` or ``loss``.

    See Also
    --------
    skfairlatent.diagnostics.diagnose : Reports, among others, whether training stopped too soon.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skfairlatent import FairLatentTransformer
    >>> from skfairlatent.datasets import make_biased_embeddings
    >>> from skfairlatent.inspection import TrainingCurvesDisplay
    >>> data = make_biased_embeddings(400, n_features=8, random_state=0)
    >>> fair = FairLatentTransformer(max_iter=20, random_state=0)
    >>> fair = fair.fit(data.data, data.target, sensitive_features=data.sensitive_features)
    >>> display = TrainingCurvesDisplay.from_estimator(fair)
    >>> len(display.axes_)
    6
    >>> plt.close(display.figure_)
    """

    axes_: Any
    figure_: "Figure"

    def __init__(
        self,
        history: pd.DataFrame,
        *,
        weights: Mapping[str, float] | None = None,
        kept_epoch: int | None = None,
    ) -> None:
        missing = [name for name in ("epoch", "loss") if name not in history]
        if missing or not len(history):
            raise ValueError(
                f"history has {len(history)} rows and the columns {list(history.columns)}: "
                "expected the history_ of a fitted FairLatentTransformer, with epoch and loss."
            )
        self.history = history
        self.weights = weights
        self.kept_epoch = kept_epoch

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """Plot the history of a fitted transformer.

        Parameters
        ----------
        estimator : FairLatentTransformer, or Pipeline with one
            Fitted estimator.

        ax : Axes or array-like of Axes, default=None
            Axes to draw on, as for :meth:`plot`.

        Returns
        -------
        display : TrainingCurvesDisplay
            The display, already plotted.

        Raises
        ------
        TypeError
            If `estimator` is neither a FairLatentTransformer nor a Pipeline with one.
        NotFittedError
            If `estimator` is not fitted.
        ImportError
            If matplotlib is not installed.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        fair, _ = latent_step(estimator)
        history = fair.history_
        weights = {
            name.removeprefix("lambda_"): value
            for name, value in fair.get_params(deep=False).items()
            if name.startswith("lambda_")
        }
        return cls(history, weights=weights, kept_epoch=_kept_epoch(history, fair)).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Plot the display.

        Parameters
        ----------
        ax : Axes or array-like of Axes, default=None
            Axes to draw on: one, which is divided into panels, or an array, one for each panel.
            None creates a figure.

        Returns
        -------
        self : TrainingCurvesDisplay
            The display, with `axes_` and `figure_`.
        """
        names = [name for name in TITLES if name in self.history]
        names += [name for name in self.history if name.startswith("loss_") and name not in TITLES]
        shape = balanced_grid(len(names), N_COLUMNS)
        self.figure_, axes = find_axes(
            ax,
            shape,
            (3.3 * shape[1] + 0.4, 2.5 * shape[0] + 0.2),
            n_axes=len(names),
            caller=type(self).__name__,
        )
        for i, (name, panel) in enumerate(zip(names, axes, strict=True)):
            self._draw(panel, name)
            panel.locator_params(axis="x", integer=True, nbins=6)
            if i + shape[1] >= len(names):
                panel.set_xlabel("epoch", fontsize="small")
        self.axes_ = np.array(axes, dtype=object)
        return self

    def _draw(self, ax: "Axes", name: str) -> None:
        plain_axes(ax)
        curves = self._curves(name)
        epochs = self.history["epoch"]
        marker = "o" if len(epochs) <= FEW_EPOCHS else ""
        for label, values in curves.items():
            style = {"training": (BLUE, "-"), "validation": (VERMILION, "--")}[label]
            ax.plot(epochs, values, style[1], color=style[0], marker=marker, ms=4, label=label)
        finite = [value for values in curves.values() for value in values if np.isfinite(value)]
        if finite and 0 < LOG_FROM * min(finite) < max(finite):
            use_log_scale(ax)
        title = TITLES.get(name, shortened(name, NAME_WIDTH))
        set_titles(ax, title, self._subtitle(name, ax.get_yscale()))
        if not curves:
            write_undefined(ax)
        label_ends(ax)
        if self.kept_epoch is not None:
            ax.axvline(self.kept_epoch, color=GREY, lw=1, ls=":")
            if name == "loss":
                self._label_kept_epoch(ax)

    def _subtitle(self, name: str, scale: str) -> str:
        weight = (self.weights or {}).get(name.removeprefix("loss_"))
        parts = [
            shortened(name, NAME_WIDTH),
            UNITS.get(name, ""),
            "" if weight is None else f"weight {weight:g}",
            "log scale" if scale == "log" else "",
        ]
        return ", ".join(part for part in parts if part)

    def _curves(self, name: str) -> dict[str, Any]:
        """Return the curves of a panel by name, without those that hold no numbers."""
        columns = {"training": name} | (
            {"validation": "validation_loss"} if name == "loss" else {}
        )
        curves = {
            label: self.history[column].to_numpy(dtype=np.float64)
            for label, column in columns.items()
            if column in self.history
        }
        return {label: values for label, values in curves.items() if np.isfinite(values).any()}

    def _label_kept_epoch(self, ax: "Axes") -> None:
        # On the side of the line with more room.
        is_late = self.kept_epoch > self.history["epoch"].mean()
        ax.annotate(
            f"kept: epoch {self.kept_epoch}",
            (self.kept_epoch, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-4 if is_late else 4, -2),
            textcoords="offset points",
            ha="right" if is_late else "left",
            va="top",
            color=ink(),
            fontsize="small",
        )


def label_ends(ax: "Axes") -> None:
    """Write the last value of each line beside its end, and of several also its name."""
    lines = ax.get_lines()
    known = [np.asarray(line.get_xydata()) for line in lines]
    ends = [points[np.isfinite(points[:, 1])][-1].tolist() for points in known]
    highest_first = sorted(range(len(lines)), key=lambda i: -ends[i][1])
    for rank, i in enumerate(highest_first):
        name = f" {lines[i].get_label()}" if len(lines) > 1 else ""
        ax.annotate(
            f"{ends[i][1]:.3g}{name}",
            ends[i],
            xytext=(4, 0),
            textcoords="offset points",
            va="center" if len(lines) == 1 else ("bottom", "top")[rank],
            color=lines[i].get_color(),
            fontsize="small",
            annotation_clip=False,
        )


def _kept_epoch(history: pd.DataFrame, estimator: Any) -> int | None:
    """Return the last epoch that early stopping counted as an improvement."""
    if not getattr(estimator, "early_stopping", False) or "validation_loss" not in history:
        return None
    best, kept = math.inf, None
    for epoch, loss in zip(history["epoch"], history["validation_loss"], strict=True):
        if loss < best - estimator.tol:
            best, kept = loss, int(epoch)
    return kept
