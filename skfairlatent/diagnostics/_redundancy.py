"""How many directions a representation uses, and how much its components repeat each other."""

__all__ = ["effective_rank", "off_diagonal_mass"]

from typing import Any, overload

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_array

from skfairlatent._validation.containers import reject_container
from skfairlatent.diagnostics._probe_rows import within_range


def effective_rank(Z: Any) -> float:
    """Count the directions that the variance of Z is spread over.

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_components)
        At least two rows.

    Returns
    -------
    float
        From 1, all variance along one direction, to ``min(n_components, n_samples - 1)``, the
        same variance in every direction. 0 if all rows are equal.

    Notes
    -----
    The exponential of the entropy of the eigenvalues of the covariance, normalised to sum to
    one [1]_ (there applied to the singular values of any matrix). Rotations, shifts and a
    common scale do not change it.

    References
    ----------
    .. [1] O. Roy and M. Vetterli, "The effective rank: A measure of effective
       dimensionality", European Signal Processing Conference (EUSIPCO), 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from skfairlatent.diagnostics import effective_rank
    >>> Z = np.random.default_rng(0).normal(size=(10_000, 4))
    >>> round(effective_rank(Z), 1)
    4.0
    >>> round(effective_rank(Z[:, :1] * [1, 2, 3, 4]), 1)
    1.0
    """
    reject_container("Z", Z)
    Z = within_range(check_array(Z, dtype=np.float64, ensure_min_samples=2, input_name="Z"))
    eigenvalues = np.linalg.eigvalsh(np.atleast_2d(np.cov(Z, rowvar=False))).clip(min=0)
    if not (np.ptp(Z, axis=0) > 0).any():
        return 0.0
    shares = eigenvalues[eigenvalues > 0] / eigenvalues.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))))


@overload
def off_diagonal_mass(Z: Any, label_slice: None = None) -> float: ...


@overload
def off_diagonal_mass(Z: Any, label_slice: slice) -> dict[str, float]: ...


def off_diagonal_mass(Z: Any, label_slice: slice | None = None) -> float | dict[str, float]:
    """Measure the redundancy in Z: the share of its correlation matrix off the diagonal.

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_components)
        At least two rows.

    label_slice : slice or None, default=None
        The columns of the label block; the other columns are the sensitive block.

    Returns
    -------
    float or dict of str to float
        The share, in [0, 1), of the squared Frobenius norm. With `label_slice`, a dict that
        splits this ``total`` into ``within_label``, ``within_sensitive`` and ``between``.

    Notes
    -----
    A component that does not vary counts as uncorrelated with all others. Sampling noise
    alone gives about ``(d - 1) / (n + d - 2)`` for n rows of d independent components.

    Examples
    --------
    >>> from skfairlatent.diagnostics import off_diagonal_mass
    >>> Z = [[1, 1, 1], [1, 1, -1], [-1, -1, 1], [-1, -1, -1]]
    >>> off_diagonal_mass(Z)
    0.4
    >>> parts = off_diagonal_mass(Z, label_slice=slice(0, 2))
    >>> parts["within_label"], parts["between"]
    (0.4, 0.0)
    """
    reject_container("Z", Z)
    Z = within_range(check_array(Z, dtype=np.float64, ensure_min_samples=2, input_name="Z"))
    if not (label_slice is None or isinstance(label_slice, slice)):
        raise TypeError(
            f"label_slice={label_slice!r}: expected the columns of the label block, such as "
            "slice(0, 8), or None."
        )
    squared = _correlation(Z) ** 2
    norm = squared.sum()
    np.fill_diagonal(squared, 0.0)
    total = float(squared.sum() / norm)
    if label_slice is None:
        return total
    in_label = np.zeros(Z.shape[1], dtype=bool)
    in_label[label_slice] = True
    within_label = float(squared[np.ix_(in_label, in_label)].sum() / norm)
    within_sensitive = float(squared[np.ix_(~in_label, ~in_label)].sum() / norm)
    between = float(2 * squared[np.ix_(in_label, ~in_label)].sum() / norm)
    return {
        "total": total,
        "within_label": within_label,
        "within_sensitive": within_sensitive,
        "between": between,
    }


def _correlation(Z: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):  # columns that do not vary
        correlation = np.atleast_2d(np.corrcoef(Z, rowvar=False))
    constant = np.ptp(Z, axis=0) == 0
    correlation[constant] = correlation[:, constant] = 0.0
    np.fill_diagonal(correlation, 1.0)
    return correlation
