"""A temporary linear layer that reads labels from the code, for a training that knows some."""

__all__ = ["LabelHead", "label_targets"]

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_array, check_consistent_length
from torch import Tensor, nn
from torch.nn import functional as F


class LabelHead(nn.Linear):
    """Reads labels from codes by one logistic regression each; dropped after training.

    Parameters
    ----------
    embed_channels : int
        Width of the code.
    n_targets : int
        Columns of what `label_targets` returns.
    """

    def __init__(self, embed_channels: int, n_targets: int) -> None:
        super().__init__(embed_channels, n_targets, device="cpu", dtype=torch.float32)

    def reset_parameters(self) -> None:
        """Have no opinion at first, so that the encoder's weights are not led astray by one."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def loss(self, code: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy, in nats; ln 2 tells nothing of binary labels."""
        return F.binary_cross_entropy_with_logits(self(code), targets)


def label_targets(y: Any, n_images: int) -> npt.NDArray[np.float32]:
    """Return labels as zeros and ones.

    Parameters
    ----------
    y : array-like of shape (n_images,) or (n_images, n_labels)
        Classes, numbers or strings.
    n_images : int

    Returns
    -------
    ndarray of shape (n_images, n_targets)
        A column for each label of two classes, and one for each class of the others.

    Raises
    ------
    ValueError
        If there is no y, if it has another length, missing values, or a label of one class.
    """
    if y is None:
        raise ValueError(
            "label_weight is not 0, and y was not given: call fit(images, y) with the labels, or "
            "leave label_weight out."
        )
    columns = pd.DataFrame(y)
    check_consistent_length(range(n_images), columns)
    return np.hstack([_targets_of(name, columns[name]) for name in columns])


def _targets_of(name: Any, column: "pd.Series[Any]") -> npt.NDArray[np.float32]:
    if column.isna().any():
        raise ValueError(
            f"Label {name!r} of y is missing in {column.isna().sum()} rows: leave these images "
            "or this label out."
        )
    values = check_array(column.to_numpy(), dtype=None, ensure_2d=False, input_name=f"y[{name!r}]")
    if len(np.unique(values)) == 1:
        raise ValueError(f"Label {name!r} of y has one class only, {values[0]}: leave it out.")
    return np.asarray(LabelBinarizer().fit_transform(values), dtype=np.float32)
