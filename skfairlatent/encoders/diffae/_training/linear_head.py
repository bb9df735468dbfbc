"""A temporary linear layer that predicts principal components of the image from the code."""

__all__ = ["LinearHead"]

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn
from torch.nn import functional as F

from skfairlatent.flows._linear import make_linear

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
        Of the randomised decomposition.
    generator : torch.Generator
        On the CPU: what the first weights are drawn from.
    """

    mean: Tensor
    directions: Tensor

    def __init__(
        self, images: Tensor, embed_channels: int, seed: int, generator: torch.Generator
    ) -> None:
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
