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

from skfairlatent.flows._linear import make_linear


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


# Components are those of images of at most this size.
SIZE = 32
N_COMPONENTS = 250
# Share of the first component's standard deviation below which none is amplified further.
SMALLEST_SCALE = 0.01


class LinearHead(nn.Module):
    r"""Reads the leading principal components of an image from its code.

    A U-Net that starts at zero tells the encoder nothing about what to put into the code; this
    head does from the first step, so that training on a CPU gets somewhere. Its loss is the mean
    squared error of the whitened components: plain pixels would be about light and background
    for long, whose variance is largest. It uses no labels, and it is dropped after training.

    Parameters
    ----------
    images : Tensor of shape (n, 3, size, size)
        In [-1, 1]: those that the components are computed from.
    embed_channels : int
        Width of the code.
    seed : int
        Seed of the randomised decomposition.
    generator : torch.Generator
        On the CPU: what the first weights are drawn from.
    """

    mean: Tensor
    directions: Tensor

    def __init__(
        self, images: Tensor, embed_channels: int, seed: int, generator: torch.Generator
    ) -> None:
        from sklearn.decomposition import PCA  # noqa: PLC0415 - slow to import

        super().__init__()
        pixels = _pixels(images).cpu().numpy()
        n_components = min(N_COMPONENTS, *pixels.shape)
        pca = PCA(n_components, svd_solver="randomized", random_state=seed).fit(pixels)
        scale = pca.explained_variance_**0.5
        # Components without variance, as of few images, would be rounding blown up.
        scale = scale.clip(min=max(SMALLEST_SCALE * scale[0], np.finfo(np.float32).eps))
        self.register_buffer("mean", torch.from_numpy(pca.mean_).float())
        self.register_buffer("directions", torch.from_numpy(pca.components_.T / scale).float())
        self.linear = make_linear(
            embed_channels, n_components, generator=generator, device="cpu", dtype=torch.float32
        )

    def forward(self, code: Tensor, images: Tensor) -> Tensor:
        """Return the loss of codes (n, embed_channels); 1 is no better than the mean image."""
        target = (_pixels(images) - self.mean) @ self.directions
        return F.mse_loss(self.linear(code), target)


def _pixels(images: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(images, min(SIZE, images.shape[-1])).flatten(1)
