"""The weighted sum of the loss terms over one cell-balanced batch."""

__all__ = ["TERMS", "LossWeights", "Objective"]

from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from skfairlatent._device import Generators
from skfairlatent._training.distances import DISTANCES
from skfairlatent._training.layout import CellLayout
from skfairlatent._training.losses import (
    covariance,
    density_loss,
    equal_variance_loss,
    redundancy_loss,
)
from skfairlatent.flows._linear import make_linear

TERMS = ("dg", "eq", "di", "g", "cls")


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term; the names are those of the estimator's ``lambda_`` parameters."""

    dg: float
    eq: float
    di: float
    g: float
    cls: float

    def tensor(self) -> Tensor:
        """Return the weights in the order of `TERMS`."""
        return torch.tensor([getattr(self, term) for term in TERMS], dtype=torch.float32)


class Objective(nn.Module):
    """Loss of a batch whose rows are ordered by a `CellLayout`.

    Parameters
    ----------
    layout : CellLayout
        Order of the rows in every batch.
    label_codes : Tensor of shape (n_cells, n_label_columns), int64
        Class of each cell in each label column.
    attribute_codes : Tensor of shape (n_cells, n_attributes), int64
        Value of each cell in each sensitive attribute; no columns when there is none.
    n_features, n_label_components : int
        Width of the latent and of its label block.
    weights : LossWeights
        Weight of each term.
    distance : str
        Form of the group-distance term, a key of `DISTANCES`.
    generators : Generators
        Of the fit: what first weights and directions are drawn from.
    """

    weights: Tensor

    def __init__(  # noqa: PLR0913 - one argument a setting
        self,
        layout: CellLayout,
        label_codes: Tensor,
        attribute_codes: Tensor,
        *,
        n_features: int,
        n_label_components: int,
        weights: LossWeights,
        distance: str,
        generators: Generators,
    ) -> None:
        super().__init__()
        self.layout, self.generators = layout, generators
        self.distance = DISTANCES[distance]
        self.n_label_components = n_label_components
        self.register_buffer("weights", weights.tensor(), persistent=False)
        n_sensitive = n_features - n_label_components
        self.label_heads = _heads(label_codes, n_label_components, generators)
        self.attribute_heads = _heads(attribute_codes, n_sensitive, generators)
        rows = layout.rows_per_cell
        self.register_buffer("_labels", label_codes.repeat_interleave(rows, 0), persistent=False)
        self.register_buffer(
            "_attributes", attribute_codes.repeat_interleave(rows, 0), persistent=False
        )

    def forward(self, z: Tensor, log_det: Tensor) -> Tensor:
        """Return the terms of a batch, unweighted, in the order of `TERMS`, shape (5,)."""
        label_block = z[:, : self.n_label_components]
        cov = covariance(z)
        return torch.stack(
            (
                redundancy_loss(cov, self.n_label_components),
                equal_variance_loss(cov, self.n_label_components),
                self.distance(label_block, self.layout, self.generators.on_device),
                density_loss(z, log_det),
                self._classification_loss(z),
            )
        )

    def total(self, terms: Tensor) -> Tensor:
        """Return the weighted sum of the terms."""
        return self.weights @ terms

    def _classification_loss(self, z: Tensor) -> Tensor:
        r"""L_cls: cross-entropy of the label heads plus that of the attribute heads.

        .. math:: L_{cls} = \overline{CE(y_j, W_j Z_Y)}\,_j + \overline{CE(s_a, V_a Z_S)}\,_a
        """
        label_block, sensitive_block = z.tensor_split((self.n_label_components,), dim=1)
        labels = _mean_cross_entropy(self.label_heads, label_block, cast("Tensor", self._labels))
        attributes = _mean_cross_entropy(
            self.attribute_heads, sensitive_block, cast("Tensor", self._attributes)
        )
        return labels + attributes


def _heads(codes: Tensor, n_inputs: int, generators: Generators) -> nn.ModuleList:
    """One linear head a column of codes."""
    widths = [int(column.max()) + 1 for column in codes.T]
    linear = partial(make_linear, generator=generators.on_cpu, device="cpu", dtype=torch.float32)
    return nn.ModuleList(linear(n_inputs, width) for width in widths)


def _mean_cross_entropy(heads: nn.ModuleList, block: Tensor, codes: Tensor) -> Tensor:
    losses = [
        nn.functional.cross_entropy(head(block), column)
        for head, column in zip(heads, codes.T, strict=True)
    ]
    return torch.stack(losses).mean() if losses else block.new_zeros(())
