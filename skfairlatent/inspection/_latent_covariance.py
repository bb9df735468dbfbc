"""Display of the correlations of a latent, within its blocks and between them."""

__all__ = ["LatentCovarianceDisplay"]

import importlib
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.utils import check_array

from skfairlatent._bins import as_transformed
from skfairlatent._find_transformer import latent_step
from skfairlatent._validation.containers import reject_container
from skfairlatent.inspection._drawing import DARK, GREY, PALE_GREY, find_axes, ink, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STATISTICS = ("correlation", "covariance")
BLOCKS = ("within label block", "between blocks", "within sensitive block")
# A block of more components is drawn in so many bins.
MOST_CELLS = 48
MOST_COLUMNS = 170
# Smallest and largest share of the side that the label block takes, whatever its width.
LABEL_SHARES = 0.3, 0.5
# Below this width of the axes, in inches, the figures do not fit into the empty corner.
CORNER_WIDTH = 4.2

Floats = npt.NDArray[np.float64]


class LatentCovarianceDisplay:
    """Correlations or covariances of a latent, block by block.

    The label block is enlarged, because two of 512 rows would not be visible. The components of
    the sensitive block are sorted by their largest correlation with the label block, and averaged
    in bins if there are many. The lower left, which would repeat the upper right, shows the
    numbers. Use :meth:`from_estimator` or :meth:`from_latent` to create a display.

    Parameters
    ----------
    matrix : array-like of shape (n_components, n_components)
        Correlations or covariances of the whole latent.

    label_slice : slice
        Columns of the label block; the others are the sensitive block.

    n_samples : int, default=None
        Number of rows that the matrix was computed from, which determines `chance`.

    statistic : {"correlation", "covariance"}, default="correlation"
        Content of the matrix.

    Attributes
    ----------
    summary : DataFrame
        The ``mean`` and ``max`` of the absolute off-diagonal values of each block (NaN if there
        are none), and the mean ``variance``.

    chance : float
        Expected mean absolute correlation of independent components; NaN for covariances or
        without `n_samples`.

    ax_ : Axes
        Axes of the plot, after `plot`.

    figure_ : Figure
        Figure of the axes, after `plot`.

    Raises
    ------
    ValueError
        If the matrix is not square, not finite, or does not hold both blocks.

    See Also
    --------
    skfairlatent.diagnostics.off_diagonal_mass : The redundancy of a latent in one number.

    Notes
    -----
    Only linear dependence in the given rows is shown. Training decorrelates batches with equally
    many rows of every (label, group) cell; rows in which label and group are correlated show
    larger correlations between the blocks.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from skfairlatent.inspection import LatentCovarianceDisplay
    >>> Z = np.random.default_rng(0).normal(size=(1000, 20))
    >>> display = LatentCovarianceDisplay.from_latent(Z, label_slice=slice(0, 2))
    >>> display.summary.round(2)["mean"].tolist()
    [0.05, 0.03, 0.02]
    >>> plt.close(display.figure_)
    """

    ax_: "Axes"
    figure_: "Figure"

    def __init__(
        self,
        matrix: Any,
        label_slice: slice,
        *,
        n_samples: int | None = None,
        statistic: str = "correlation",
    ) -> None:
        if statistic not in STATISTICS:
            raise ValueError(f"statistic={statistic!r}: expected one of {STATISTICS}.")
        self.matrix: Floats = check_array(matrix, dtype=np.float64, input_name="matrix")
        n, m = self.matrix.shape
        self.in_label = np.zeros(m, dtype=bool)
        self.in_label[label_slice] = True
        if n != m or not 0 < self.in_label.sum() < m:
            raise ValueError(
                f"matrix has shape {n, m} and label_slice={label_slice} takes "
                f"{self.in_label.sum()} of its columns: expected a square matrix of all of the "
                "latent, and a slice that leaves some columns to the sensitive block."
            )
        self.n_samples = n_samples
        self.statistic = statistic
        self.summary = self._summarise()
        # The mean absolute value of a normal variable of variance 1 / n_samples.
        n_known = n_samples if n_samples and statistic == "correlation" else np.nan
        self.chance = float(np.sqrt(2 / np.pi / n_known))

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, statistic: str = "correlation", ax: "Axes | None" = None
    ) -> Self:
        """Plot the latent of a fitted transformer.

        Parameters
        ----------
        estimator : FairLatentTransformer, or Pipeline with one
            Fitted estimator.

        X : array-like of shape (n_samples, n_features), or images
            Input of the estimator, preferably rows that it was not fitted on.

        statistic : {"correlation", "covariance"}, default="correlation"
            Statistic to compute.

        ax : Axes, default=None
            Axes to draw on; None creates a new figure.

        Returns
        -------
        display : LatentCovarianceDisplay
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
        fair, prepare = latent_step(estimator)
        Z = as_transformed(fair, fair.latent(prepare(X)))
        return cls.from_latent(Z, label_slice=fair.label_slice_, statistic=statistic, ax=ax)

    @classmethod
    def from_latent(
        cls,
        Z: Any,
        *,
        label_slice: slice,
        statistic: str = "correlation",
        ax: "Axes | None" = None,
    ) -> Self:
        """Plot a latent.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)
            The whole latent of at least 2 rows. A constant component counts as uncorrelated with
            all others.

        label_slice : slice
            Columns of the label block.

        statistic : {"correlation", "covariance"}, default="correlation"
            Statistic to compute.

        ax : Axes, default=None
            Axes to draw on; None creates a new figure.

        Returns
        -------
        display : LatentCovarianceDisplay
            The display, already plotted.
        """
        pyplot(f"{cls.__name__}.from_latent")
        reject_container("Z", Z)
        Z = check_array(Z, dtype=np.float64, ensure_min_samples=2, input_name="Z")
        matrix = np.atleast_2d(np.cov(Z, rowvar=False))
        if statistic == "correlation":
            matrix = _as_correlation(matrix, np.ptp(Z, axis=0) == 0)
        return cls(matrix, label_slice, n_samples=len(Z), statistic=statistic).plot(ax)

    def plot(self, ax: "Axes | None" = None, *, cmap: str = "Blues") -> Self:
        """Plot the display.

        Parameters
        ----------
        ax : Axes, default=None
            Axes to draw on; None creates a new figure.

        cmap : str, default="Blues"
            A colour map from light (0) to dark.

        Returns
        -------
        self : LatentCovarianceDisplay
            The display, with `ax_` and `figure_`.
        """
        self.figure_, (self.ax_,) = find_axes(ax, (1, 1), (6.6, 5.6), caller=type(self).__name__)
        n_label = int(self.in_label.sum())
        border = float(np.clip(n_label / len(self.in_label), *LABEL_SHARES))
        colours = _colours(cmap)
        limit = 1.0 if self.statistic == "correlation" else float(np.abs(self.matrix).max())
        for cells, x, y in self._meshes(border):
            mesh = self.ax_.pcolormesh(x, y, cells, cmap=colours, vmin=0, vmax=limit)
        self.ax_.set(xlim=(0, 1), ylim=(1, 0), aspect="equal")
        self._name_blocks(border)
        self._write_summary(border)
        bar = self.figure_.colorbar(mesh, ax=self.ax_, shrink=0.7, aspect=30)
        bar.outline.set_visible(False)
        bar.set_label(f"absolute {self.statistic}", fontsize="small")
        bar.ax.tick_params(labelsize="small")
        return self

    def _summarise(self) -> pd.DataFrame:
        size = np.abs(self.matrix)
        label, sensitive = self.in_label, ~self.in_label
        rows = []
        for first, second in ((label, label), (label, sensitive), (sensitive, sensitive)):
            part = size[np.ix_(first, second)]
            is_within = first is second
            values = part[~np.eye(len(part), dtype=bool)] if is_within else part.ravel()
            rows.append(
                {
                    "mean": values.mean() if len(values) else np.nan,
                    "max": values.max() if len(values) else np.nan,
                    "variance": np.diag(part).mean() if is_within else np.nan,
                }
            )
        return pd.DataFrame(rows, index=list(BLOCKS))

    def _meshes(self, border: float) -> list[tuple[Floats, Floats, Floats]]:
        """Return the cells of each block, and where their columns and rows begin and end."""
        size = np.abs(self.matrix)
        if self.statistic == "correlation":
            np.fill_diagonal(size, np.nan)  # always 1, which says nothing
        label = np.flatnonzero(self.in_label)
        sensitive = np.flatnonzero(~self.in_label)
        between = size[np.ix_(label, sensitive)]
        sensitive = sensitive[np.lexsort((-between.max(axis=0), between.argmax(axis=0)))]
        fine = np.array_split(sensitive, min(MOST_COLUMNS, len(sensitive)))
        coarse = np.array_split(sensitive, min(MOST_CELLS, len(sensitive)))
        rows = np.array_split(label, min(MOST_CELLS, len(label)))
        high, low = (0.0, border), (border, 1.0)
        return [
            (_means(size, first, second), _edges(x, second), _edges(y, first))
            for first, second, x, y in (
                (rows, rows, high, high),
                (rows, fine, low, high),
                (coarse, coarse, low, low),
            )
        ]

    def _name_blocks(self, border: float) -> None:
        n_label, n = int(self.in_label.sum()), len(self.in_label)
        names = [
            f"label block\n(Z_Y, {n_label} wide)",
            f"sensitive block\n(Z_S, {n - n_label} wide)",
        ]
        middles = [border / 2, (1 + border) / 2]
        self.ax_.set_xticks(middles, names)
        self.ax_.set_yticks(middles, names, rotation=90, va="center")
        self.ax_.tick_params(length=0, labeltop=True, labelbottom=False)
        self.ax_.set_xlabel(
            "sensitive components ordered by their correlation with the label block",
            color=GREY,
            fontsize="small",
        )
        self.ax_.spines[:].set_visible(False)
        self.ax_.plot(
            [0, 1, 1, border, border, 0, 0], [0, 0, 1, 1, border, border, 0], color=DARK, lw=1
        )
        self.ax_.plot([border, border, 1], [0, border, border], color=DARK, lw=1)

    def _write_summary(self, border: float) -> None:
        if self.ax_.get_window_extent().width / self.figure_.dpi < CORNER_WIDTH:
            lines = "\n".join(self._lines(": ", ", "))
            self.ax_.set_xlabel(lines, color=ink(), fontsize="small", linespacing=1.3)
            return
        self.ax_.text(
            border - 0.02,
            border + 0.04,
            "\n\n".join(self._lines("\n", "\n")),
            ha="right",
            va="top",
            color=ink(),
            fontsize="small",
            linespacing=1.3,
        )

    def _lines(self, after_name: str, between: str) -> list[str]:
        """Return the figures of each block, with what is to stand after its name and between."""
        lines = []
        for block, row in self.summary.iterrows():
            is_one = np.isnan(row["max"])
            figures = [
                "one component" if is_one else f"mean {row['mean']:.2f}, max {row['max']:.2f}"
            ]
            if self.statistic == "covariance" and row["variance"] >= 0:
                figures.append(f"variance {row['variance']:.2f}")
            lines.append(f"{block}{after_name}{between.join(figures)}")
        if self.chance >= 0:
            lines.append(f"by chance{after_name}mean {self.chance:.3f}")
        return lines


def _as_correlation(covariance: Floats, is_constant: npt.NDArray[np.bool_]) -> Floats:
    # Rounding leaves a constant component some variance, which would be scaled to one.
    scale = np.sqrt(np.diag(covariance))
    scale[is_constant] = 1.0
    correlation = covariance / np.outer(scale, scale)
    correlation[is_constant] = correlation[:, is_constant] = 0.0
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(correlation)


def _edges(limits: tuple[float, float], bins: list[Any]) -> Floats:
    return np.linspace(limits[0], limits[1], len(bins) + 1)


def _means(size: Floats, rows: list[Any], columns: list[Any]) -> Floats:
    """Average over the cells of a grid; NaN where a cell holds nothing but NaN."""
    cells = np.full((len(rows), len(columns)), np.nan)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            values = size[np.ix_(row, column)]
            known = values[np.isfinite(values)]
            if len(known):
                cells[i, j] = known.mean()
    return cells


def _colours(name: str) -> Any:
    """Return the colour map, with grey for what is not drawn to scale: the diagonal."""
    return importlib.import_module("matplotlib").colormaps[name].with_extremes(bad=PALE_GREY)
