r"""Forms of the group-distance loss L_di, each a pure function of the label block.

Each takes a cell-balanced batch of the label block `z`, shape (layout.batch_size, k), the labels
and groups of its rows as a `CellLayout`, and the generator to draw random numbers from, torch's
own if None; it returns a scalar. They are smallest when, within every label, the groups are
distributed alike. Cells with fewer than two rows in the data take no part; without any pair of
comparable cells the loss is 0.
"""

__all__ = ["DISTANCES", "contrastive", "energy", "moment", "sliced_wasserstein"]

from collections.abc import Callable

import torch
from torch import Tensor

from skfairlatent._training.cell_layout import CellLayout

# Keeps divisions by a spread defined when a block has collapsed to a point.
_EPSILON = 1e-6
_N_PROJECTIONS = 32


def contrastive(
    z: Tensor, layout: CellLayout, _generator: torch.Generator | None = None
) -> Tensor:
    r"""InfoNCE on negative squared distances, the paper's form.

    For every row i, positives P(i) have its label and another group, negatives N(i) another label:

    .. math:: L_{di} = - \overline{ \log \frac{\overline{e^{-d_{ij}}}\,_{j \in P(i)}}
        {\overline{e^{-d_{ij}}}\,_{j \in P(i)} + \overline{e^{-d_{ij}}}\,_{j \in N(i)}} }\,_i,
        \qquad d_{ij} = \|z_i - z_j\|^2 / k

    Means instead of sums keep the size free of the batch. Rows without a positive or without a
    negative are left out.
    """
    usable = layout.comparable.repeat_interleave(layout.rows_per_cell)
    label = layout.labels.repeat_interleave(layout.rows_per_cell)
    group = layout.groups.repeat_interleave(layout.rows_per_cell)
    same_label = label[:, None] == label[None, :]
    positive = same_label & (group[:, None] != group[None, :]) & usable[:, None] & usable[None, :]
    negative = ~same_label & usable[None, :]
    similarity = -torch.cdist(z, z).square() / z.shape[1]
    log_positive = _masked_log_mean_exp(similarity, positive)
    log_negative = _masked_log_mean_exp(similarity, negative)
    anchors = positive.any(dim=1) & negative.any(dim=1)
    loss = torch.logaddexp(log_positive, log_negative) - log_positive
    return torch.where(anchors, loss, 0.0).sum() / anchors.sum().clamp_min(1)


def moment(z: Tensor, layout: CellLayout, _generator: torch.Generator | None = None) -> Tensor:
    r"""Match the mean and the covariance of each group to its label's.

    With the mean :math:`\mu_g` and covariance :math:`\Sigma_g` of each group in a label, their
    averages over the groups :math:`\bar\mu, \bar\Sigma`, and
    :math:`v = \mathrm{tr} \bar\Sigma / k`,

    .. math:: L_{di} = \overline{ \frac{\|\mu_g - \bar\mu\|^2}{k v}
        + \frac{\|\Sigma_g - \bar\Sigma\|_F^2}{k v^2} }
    """
    width = z.shape[1]
    rows = layout.by_cell(z)
    terms = []
    for cells in layout.cells_of_each_label:
        x = rows[cells]
        mean = x.mean(dim=1)
        centred = x - mean[:, None]
        cov = centred.transpose(1, 2) @ centred / (x.shape[1] - 1)
        # Detached: inflating the spread must not be a way to lower the loss.
        spread = cov.diagonal(dim1=1, dim2=2).mean().detach() + _EPSILON
        means_apart = (mean - mean.mean(dim=0)).square().sum(dim=1).mean()
        covs_apart = (cov - cov.mean(dim=0)).square().sum(dim=(1, 2)).mean()
        terms.append(means_apart / (width * spread) + covs_apart / (width * spread.square()))
    return torch.stack(terms).mean() if terms else z.new_zeros(())


def energy(z: Tensor, layout: CellLayout, _generator: torch.Generator | None = None) -> Tensor:
    r"""Energy distance between every two groups of a label, relative to their spread.

    .. math:: L_{di} = \overline{ \frac{2 D_{gh} - D_{gg} - D_{hh}}
        {\tfrac{1}{2} (D_{gg} + D_{hh})} }, \qquad D_{gh} = E \|z_g - z_h\|

    0 if and only if the two distributions are equal, whatever their shape (Székely and Rizzo
    2013). The estimate leaves out the distance of a row to itself, which makes it unbiased: it
    may fall below 0 on a batch.

    References
    ----------
    G. J. Székely and M. L. Rizzo, "Energy statistics: A class of statistics based on distances",
    Journal of Statistical Planning and Inference 143(8), 2013, doi:10.1016/j.jspi.2013.03.018.
    """
    first, second = layout.group_pairs
    if len(first) == 0:
        return z.new_zeros(())
    n_rows = layout.rows_per_cell
    sums = _sums_of_numbers if z.shape[1] == 1 else _sums
    between, within = sums(layout.by_cell(z), first, second)
    within = within / (n_rows * (n_rows - 1))
    mean_within = 0.5 * (within[first] + within[second])
    difference = between / n_rows**2 - mean_within
    return (2.0 * difference / (mean_within.detach() + _EPSILON)).mean()


def sliced_wasserstein(
    z: Tensor, layout: CellLayout, generator: torch.Generator | None = None
) -> Tensor:
    r"""Squared Wasserstein-2 distance of each group to its label, averaged over directions.

    Along each of 32 random unit directions the sorted rows of every group are compared with the
    mean of the sorted rows over the label's groups, which is their barycentre, in units of
    the mean variance within the groups (Bonneel et al. 2015, doi:10.1007/s10851-014-0506-3).
    """
    shape = z.shape[1], _N_PROJECTIONS
    directions = torch.randn(shape, generator=generator, device=z.device, dtype=z.dtype)
    rows = layout.by_cell(z @ torch.nn.functional.normalize(directions, dim=0))
    terms = []
    for cells in layout.cells_of_each_label:
        quantiles = rows[cells].sort(dim=1).values
        spread = quantiles.var(dim=1).mean().detach() + _EPSILON
        terms.append((quantiles - quantiles.mean(dim=0)).square().mean() / spread)
    return torch.stack(terms).mean() if terms else z.new_zeros(())


def _sums(rows: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums of all distances between paired cells, and of those within each cell.

    Parameters
    ----------
    rows : Tensor of shape (n_cells, n, k)
    first, second : Tensor of shape (n_pairs,), int64
        The cells of each pair.

    Returns
    -------
    between : Tensor of shape (n_pairs,)
    within : Tensor of shape (n_cells,)
        With every pair of rows twice.
    """
    distances = torch.cdist(rows[first], rows[second]), torch.cdist(rows, rows)
    between, within = (each.sum(dim=(1, 2)) for each in distances)
    return between, within


def _sums_of_numbers(rows: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `_sums` does of single numbers, by sorting them.

    Between all numbers of two cells together are the distances within either and between both.
    This takes n log n instead of n * n steps, and `torch.cdist`, which multiplies matrices,
    loses the sign of small differences, which is all of their gradient.
    """
    numbers = rows[:, :, 0]
    own = _sum_of_differences(numbers)
    both = _sum_of_differences(torch.cat([numbers[first], numbers[second]], dim=1))
    return both - own[first] - own[second], 2.0 * own


def _sum_of_differences(x: Tensor) -> Tensor:
    r"""Return :math:`\sum_{i < j} |x_i - x_j|` of each row of `x`.

    Of n sorted numbers, the k-th is the larger one of k - 1 pairs and the smaller one of n - k.
    """
    n = x.shape[1]
    times = torch.arange(1 - n, n, 2, dtype=x.dtype, device=x.device)
    return x.sort(dim=1).values @ times


def _masked_log_mean_exp(values: Tensor, mask: Tensor) -> Tensor:
    """Log of the mean of exp(values) over the masked entries of each row."""
    # The most negative number instead of -inf: a row without entries must not make NaN gradients.
    floor = torch.finfo(values.dtype).min
    total = torch.where(mask, values, floor).logsumexp(dim=1)
    return total - mask.sum(dim=1).clamp_min(1).to(values.dtype).log()


DISTANCES: dict[str, Callable[[Tensor, CellLayout, torch.Generator | None], Tensor]] = {
    "contrastive": contrastive,
    "moment": moment,
    "energy": energy,
    "sliced_wasserstein": sliced_wasserstein,
}
