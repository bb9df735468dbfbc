"""Display of rows before and after edits of their latent, as images or probabilities."""

__all__ = ["CounterfactualDisplay"]

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils import _safe_indexing

from skfairlatent._image_forms import holds_images
from skfairlatent.inspection._counterfactual_panels import (
    draw_face,
    draw_probabilities,
    face_size,
    panel_width,
)
from skfairlatent.inspection._drawing import VERBATIM, balanced_grid, find_axes, pyplot, shortened
from skfairlatent.inspection._readings import make_readings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# People drawn if the caller does not say which.
N_ROWS = 8
# Letters in a line of a person's name.
NAME_WIDTH = 20
# Panels of probabilities side by side, and inches of height of a line in them.
N_COLUMNS, LINE = 3, 0.27

Array = npt.NDArray[Any]


class CounterfactualDisplay:
    """Rows before and after edits, with their decisions and probabilities.

    With images, each row of the figure shows the decoded original and its edits, with the
    probabilities of the label and of each sensitive attribute below. Without images, only the
    probabilities are shown, one line for each edit. A ◆ and bold type mark a change of the label
    or of an attribute, and a frame marks images with a changed label. Use
    :meth:`from_counterfactuals` or :meth:`from_estimator` to create a display.

    Parameters
    ----------
    probabilities : dict of str to array-like of shape (n, 1 + k, n_values)
        For the label, which comes first, and for each sensitive attribute, the probabilities of
        its values for the original, then for its k edits.

    values : dict of str to sequence
        The values, by the same names.

    decisions : array-like of shape (n, 1 + k), default=None
        Decisions on the label; None means the most probable class.

    images : array-like of shape (n, 1 + k, height, width, channels), default=None
        Decoded originals and edits, uint8, with 1 or 3 channels.

    reached : array-like of shape (n, k), bool, default=None
        Whether each edit has the requested effect; None means that all have.

    edited_name : str, default=None
        Name of what was edited; None means the label.

    edit_names : sequence of str, default=None
        Names of the edits, such as ``["+1", "+2"]``.

    row_names : sequence of str, default=None
        Names of the rows.

    Attributes
    ----------
    axes_ : ndarray of Axes
        Axes of the plot, after `plot`: of shape (n, 1 + k) with images, otherwise one for each
        name.

    figure_ : Figure
        Figure of the axes, after `plot`.

    Raises
    ------
    ValueError
        If shapes are not consistent.

    See Also
    --------
    skfairlatent.counterfactuals.CounterfactualExplainer : Computes edits.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skfairlatent.inspection import CounterfactualDisplay
    >>> display = CounterfactualDisplay(
    ...     probabilities={
    ...         "hired": [[[0.8, 0.2], [0.3, 0.7]]],
    ...         "gender": [[[0.9, 0.1], [0.9, 0.1]]],
    ...     },
    ...     values={"hired": [0, 1], "gender": ["female", "male"]},
    ... ).plot()
    >>> plt.close(display.figure_)
    """

    axes_: Any
    figure_: "Figure"

    def __init__(  # noqa: PLR0913 - arrays, and what to call them
        self,
        probabilities: Mapping[str, Any],
        values: Mapping[str, Any],
        *,
        decisions: Any = None,
        images: Any = None,
        reached: Any = None,
        edited_name: str | None = None,
        edit_names: Sequence[str] | None = None,
        row_names: Sequence[str] | None = None,
    ) -> None:
        self.readings = make_readings(probabilities, values, decisions)
        n, n_shown = self.readings[0].decided.shape
        self.images = None if images is None else _check_images(images, (n, n_shown))
        self.reached = np.full((n, n_shown - 1), True) if reached is None else np.asarray(reached)
        self.edited_name = self.readings[0].name if edited_name is None else edited_name
        self.edit_names = _default_edit_names(n_shown - 1) if edit_names is None else edit_names
        self.row_names = [f"row {i}" for i in range(n)] if row_names is None else row_names
        lengths = len(self.row_names), len(self.edit_names)
        if not self.reached.shape == lengths == (n, n_shown - 1):
            raise ValueError(
                f"There are {n} rows with {n_shown - 1} edits each, but reached has shape "
                f"{self.reached.shape}, and there are {lengths[0]} row_names and {lengths[1]} "
                "edit_names."
            )

    @classmethod
    def from_counterfactuals(
        cls,
        result: Any,
        *,
        rows: Any = None,
        label_name: str = "label",
        row_names: Sequence[str] | None = None,
        ax: Any = None,
    ) -> Self:
        """Plot the result of an explainer.

        Parameters
        ----------
        result : Counterfactuals
            Result of a :class:`~skfairlatent.counterfactuals.CounterfactualExplainer`. Images are
            drawn if there are any: call ``result.decode()`` first.

        rows : slice, array-like of int or of bool, default=None
            Rows to draw; None means the first 8.

        label_name : str, default="label"
            Name of the label, such as ``"hired"``.

        row_names : sequence of str, default=None
            Names of the rows; None means their positions.

        ax : Axes or array-like of Axes, default=None
            Axes to draw on, as for :meth:`plot`.

        Returns
        -------
        display : CounterfactualDisplay
            The display, already plotted.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        pyplot(f"{cls.__name__}.from_counterfactuals")
        positions = np.arange(len(result))[slice(N_ROWS) if rows is None else rows]
        positions = np.atleast_1d(positions)
        part = result[positions]
        if label_name in part.sensitive_values:
            raise ValueError(
                f"{label_name!r} is a sensitive attribute: pass another label_name for the label."
            )
        display = cls(
            {label_name: _joined(part.original_probabilities, part.probabilities)}
            | {
                name: _joined(part.original_sensitive_probabilities[name], after)
                for name, after in part.sensitive_probabilities.items()
            },
            {label_name: part.classes} | dict(part.sensitive_values),
            decisions=_joined(part.original_predictions, part.predictions),
            images=None if part.images is None else _joined(part.original_images, part.images),
            reached=part.reached,
            edited_name=label_name if part.kind == "label" else part.name,
            edit_names=_edit_names(part.strengths),
            row_names=[f"row {i}" for i in positions] if row_names is None else row_names,
        )
        return display.plot(ax)

    @classmethod
    def from_estimator(  # noqa: PLR0913 - what to edit, and what to draw of it
        cls,
        explainer: Any,
        X: Any,
        *,
        attribute: str | None = None,
        strengths: Sequence[float] | None = None,
        target: Any = None,
        target_probability: float | None = None,
        rows: Any = None,
        x_T: Any = None,
        label_name: str = "label",
        row_names: Sequence[str] | None = None,
        ax: Any = None,
    ) -> Self:
        """Compute counterfactuals and plot them.

        Parameters
        ----------
        explainer : CounterfactualExplainer
            Fitted explainer.

        X : array-like of shape (n_samples, n_features), or images
            Rows to explain. If they are images, edits are decoded to images; to see edits of
            embeddings as images, plot ``result.decode()``.

        attribute : str, default=None
            Sensitive attribute to edit; None edits the label.

        strengths : sequence of float, default=None
            Lengths of the edits.

        target : object, default=None
            Class of the label, or value of the attribute, to move to: `target_class` or
            `target_value` of the explainer. None means the default of the explainer.

        target_probability : float, default=None
            Probability to reach. Without `strengths` and `target_probability`, the smallest edits
            that change the class are shown.

        rows : slice, array-like of int or of bool, default=None
            Rows of X to explain and draw; None means the first 8.

        x_T : array-like of shape (n_samples, size, size, 3), default=None
            Noise for a `DiffAEEncoder` to decode from. None means the noise found by ``invert`` if
            X is images, and random noise for embeddings, whose images then differ from those the
            embeddings came from.

        label_name : str, default="label"
            Name of the label, such as ``"hired"``.

        row_names : sequence of str, default=None
            Names of the rows; None means their positions.

        ax : Axes or array-like of Axes, default=None
            Axes to draw on, as for :meth:`plot`.

        Returns
        -------
        display : CounterfactualDisplay
            The display, already plotted.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        positions = np.arange(len(X))[slice(N_ROWS) if rows is None else rows]
        positions = np.atleast_1d(positions)
        part = _safe_indexing(X, positions)
        edit: dict[str, Any] = {"strengths": strengths, "target_probability": target_probability}
        if attribute is None:
            result = explainer.explain_label(part, target_class=target, **edit)
        else:
            result = explainer.explain_sensitive(part, attribute, target_value=target, **edit)
        if holds_images(part):
            result = result.decode(None if x_T is None else np.asarray(x_T)[positions])
        return cls.from_counterfactuals(
            result,
            rows=slice(None),
            label_name=label_name,
            row_names=[f"row {i}" for i in positions] if row_names is None else row_names,
            ax=ax,
        )

    def plot(self, ax: Any = None) -> Self:
        """Plot the display.

        Parameters
        ----------
        ax : Axes or array-like of Axes, default=None
            Axes to draw on: one, which is divided, or an array of as many as are needed. None
            creates a figure of a suitable size.

        Returns
        -------
        self : CounterfactualDisplay
            The display, with `axes_` and `figure_`.
        """
        if self.images is None:
            self._plot_probabilities(ax)
        else:
            self._plot_faces(ax, self.images)
        return self

    def _plot_faces(self, ax: Any, images: Array) -> None:
        n, n_shown = self.readings[0].decided.shape
        width, height = face_size(self.readings)
        self.figure_, axes = find_axes(
            ax,
            (n, n_shown),
            (width * n_shown + 0.4, height * n + 0.3),
            caller=type(self).__name__,
        )
        self.axes_ = np.array(axes, dtype=object).reshape(n, n_shown)
        for (row, column), cell in np.ndenumerate(self.axes_):
            reached = column == 0 or self.reached[row, column - 1]
            draw_face(cell, images[row, column], self.readings, (row, column), reached)
        for column, cell in enumerate(self.axes_[0]):
            name = f"{self.edited_name} {self.edit_names[column - 1]}" if column else "original"
            title = shortened(name, NAME_WIDTH, 2)
            cell.set_title(title, fontsize="medium", loc="left", **VERBATIM)
        for row, cell in enumerate(self.axes_[:, 0]):
            name = shortened(self.row_names[row], NAME_WIDTH, 2)
            cell.set_ylabel(name, fontsize="small", **VERBATIM)

    def _plot_probabilities(self, ax: Any) -> None:
        n, n_shown = self.readings[0].decided.shape
        shape = balanced_grid(len(self.readings), N_COLUMNS)
        width = max(panel_width(reading, self.reached) for reading in self.readings)
        size = width * shape[1] + 1.2, shape[0] * (1.1 + LINE * n * (n_shown - 1))
        self.figure_, axes = find_axes(
            ax, shape, size, n_axes=len(self.readings), caller=type(self).__name__
        )
        self.axes_ = np.array(axes, dtype=object)
        # All edits of the first person, then all of the next.
        names = [
            shortened(f"{row}, {edit}" if n_shown > 2 else row, NAME_WIDTH, 2)
            for row in self.row_names
            for edit in self.edit_names
        ]
        for i, (panel, reading) in enumerate(zip(axes, self.readings, strict=True)):
            is_edited = reading.name == self.edited_name
            draw_probabilities(panel, reading, self.reached, is_edited=is_edited, has_key=i == 0)
            panel.set_yticks(range(len(names)), [] if i % shape[1] else names, **VERBATIM)


def _joined(before: Any, after: Any) -> Array:
    return np.concatenate((np.asarray(before)[:, None], np.asarray(after)), axis=1)


def _check_images(given: Any, shape: tuple[int, int]) -> Array:
    images: Array = np.asarray(given)
    if images.ndim != 5 or images.shape[:2] != shape or images.shape[4] not in {1, 3}:
        raise ValueError(
            f"images has shape {images.shape}: expected (n, 1 + k, height, width, channels) with "
            f"n, 1 + k = {shape} and 1 or 3 channels."
        )
    return images


def _edit_names(strengths: Array) -> list[str]:
    """Name edits by their strength if that is the same for all rows."""
    n_edits = strengths.shape[1]
    if n_edits > 1 and np.allclose(strengths, strengths[:1]):
        texts = [f"{strength:+.3g}" if strength else "0" for strength in strengths[0]]
        return [text.replace("-", "−") for text in texts]  # noqa: RUF001 - a minus, as on axes
    return _default_edit_names(n_edits)


def _default_edit_names(n_edits: int) -> list[str]:
    return ["edited"] if n_edits == 1 else [f"edit {i + 1}" for i in range(n_edits)]
