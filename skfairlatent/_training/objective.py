"""The loss: a table of terms, and their weighted sum over one cell-balanced batch."""

__all__ = ["TERMS", "Objective", "Term"]

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from skfairlatent._device import Generators
from skfairlatent._training.cell_layout import CellLayout
from skfairlatent._training.distances import DISTANCES
from skfairlatent._training.losses import (
    covariance,
    density_loss,
    equal_variance_loss,
    redundancy_loss,
)
from skfairlatent._training.optimizer import RecordableAdam
from skfairlatent.flows._linear import make_linear

# Training of the heads before the first step of the flow.
HEADS_RATE, HEADS_ROUNDS, HEADS_BATCHES = 0.05, 20, 8


class Objective(nn.Module):
    """Loss of a batch whose rows are ordered by a `CellLayout`.

    Parameters
    ----------
    layout : CellLayout
        Order of the rows in every batch.
    label_codes : Tensor of shape (batch_size, n_label_columns), int64
        Class of each row of a batch in each label column.
    attribute_codes : Tensor of shape (batch_size, n_attributes), int64
        Value of each row in each sensitive attribute; no columns when there is none.
    n_features, n_label_components : int
        Width of the latent and of its label block.
    weights : mapping of str to float
        Weight of each term, by the names in `TERMS`.
    distance : str
        Form of the group-distance term, a key of `DISTANCES`.
    row_weights : Tensor of shape (n_label_columns, batch_size) or (batch_size,), float32
        Weight of each row in each label head's cross-entropy.
    generators : Generators
        Random generators of the fit, for the initial weights of the heads and for the directions
        of the group distance.
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
        weights: Mapping[str, float],
        distance: str,
        row_weights: Tensor,
        generators: Generators,
    ) -> None:
        super().__init__()
        self.layout, self.generators = layout, generators
        self.distance = DISTANCES[distance]
        self.n_label_components = n_label_components
        ordered = torch.tensor([weights[name] for name in TERMS], dtype=torch.float32)
        self.register_buffer("weights", ordered, persistent=False)
        n_sensitive = n_features - n_label_components
        self.label_heads = _heads(label_codes, n_label_components, generators)
        self.attribute_heads = _heads(attribute_codes, n_sensitive, generators)
        for name, buffer in {
            "_labels": label_codes,
            "_attributes": attribute_codes,
            "_row_weights": row_weights,
        }.items():
            self.register_buffer(name, buffer, persistent=False)

    def forward(self, z: Tensor, log_det: Tensor) -> dict[str, Tensor]:
        """Return the terms of a batch, unweighted scalars, by the names in `TERMS`."""
        latent = Latent(z, log_det, *self._blocks(z), covariance(z))
        return {name: term.loss(self, latent) for name, term in TERMS.items()}

    def total(self, terms: Tensor) -> Tensor:
        """Return the weighted sum of the terms, a vector in the order of `TERMS`."""
        return self.weights @ terms

    def learn_heads(self, latents: list[Tensor], *, of_attributes: bool) -> None:
        """Train the heads alone on batches of the latent.

        Heads that start at random would lead the flow astray until they have learnt to read it.

        Parameters
        ----------
        latents : list of Tensor of shape (batch_size, d)
        of_attributes : bool
            Those of the attributes, too: before a trained flow goes on. Of an untrained one they
            would learn rows of the wide sensitive block by heart.
        """
        parameters = [*(self if of_attributes else self.label_heads).parameters()]
        optimizer = RecordableAdam(parameters, HEADS_RATE, latents[0].device)
        for z in HEADS_ROUNDS * latents:
            blocks = self._blocks(z)
            optimizer.minimize(
                self.classification_loss(*blocks) if of_attributes else self._label_loss(blocks[0])
            )

    def classification_loss(self, label_block: Tensor, sensitive_block: Tensor) -> Tensor:
        r"""L_cls: cross-entropy of the label heads plus that of the attribute heads.

        .. math:: L_{cls} = \overline{w\, CE(y_j, W_j Z_Y)}\,_j + \overline{CE(s_a, V_a Z_S)}\,_a

        The weight w of a row is the share of its (label, group) cell in the data over its share
        in the batch: the label heads see the data as a classifier that follows will see them. It
        is higher for a label of little entropy, which the other losses would outweigh.
        """
        attributes = _mean_cross_entropy(
            self.attribute_heads, sensitive_block, cast("Tensor", self._attributes)
        )
        return self._label_loss(label_block) + attributes

    def _label_loss(self, label_block: Tensor) -> Tensor:
        return _mean_cross_entropy(
            self.label_heads,
            label_block,
            cast("Tensor", self._labels),
            cast("Tensor", self._row_weights),
        )

    def _blocks(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the label block and the sensitive block, which one pass joins in backward."""
        n_label = self.n_label_components
        label_block, sensitive_block = z.split([n_label, z.shape[1] - n_label], dim=1)
        return label_block, sensitive_block


class Latent(NamedTuple):
    """The latent of a batch, as the terms read it: z is (n, d), the covariance (d, d)."""

    z: Tensor
    log_det: Tensor
    label_block: Tensor
    sensitive_block: Tensor
    covariance: Tensor


class Term(NamedTuple):
    """One term of the loss.

    Parameters
    ----------
    loss : callable
        Computes the term, a scalar, from the objective and the latent of a batch.
    title : str
        Short description, as training curves show it.
    unit : str, default=""
        Unit of the values; empty if they have none.
    """

    loss: Callable[[Objective, Latent], Tensor]
    title: str
    unit: str = ""


# The name of a term is also that of its parameter, lambda_<name>, and of its column of history_,
# loss_<name>.
TERMS: dict[str, Term] = {
    "dg": Term(lambda o, b: redundancy_loss(b.covariance, o.n_label_components), "correlations"),
    "eq": Term(
        lambda o, b: equal_variance_loss(b.covariance, o.n_label_components), "unequal variances"
    ),
    "di": Term(
        lambda o, b: o.distance(b.label_block, o.layout, o.generators.on_device),
        "distance between groups",
    ),
    "g": Term(
        lambda _, b: density_loss(b.z, b.log_det), "negative log-likelihood", "nats per dimension"
    ),
    "cls": Term(
        lambda o, b: o.classification_loss(b.label_block, b.sensitive_block),
        "cross-entropy of the heads",
        "nats",
    ),
}


def _heads(codes: Tensor, n_inputs: int, generators: Generators) -> nn.ModuleList:
    """Return one linear head for each column of codes."""
    widths = [int(column.max()) + 1 for column in codes.T]
    linear = partial(make_linear, generator=generators.on_cpu, device="cpu", dtype=torch.float32)
    return nn.ModuleList(linear(n_inputs, width) for width in widths)


def _mean_cross_entropy(
    heads: nn.ModuleList, block: Tensor, codes: Tensor, row_weights: Tensor | None = None
) -> Tensor:
    """Return the cross-entropy averaged over heads and rows, weighted."""
    losses = [
        nn.functional.cross_entropy(head(block), column, reduction="none")
        for head, column in zip(heads, codes.T, strict=True)
    ]
    if not losses:
        return block.new_zeros(())
    stacked = torch.stack(losses)
    return (stacked if row_weights is None else row_weights * stacked).mean()
