"""A convolutional variational autoencoder of 64 x 64 images, trained for so many minutes."""

import math
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm.auto import tqdm

SIZE = 64
BATCH_SIZE = 128
LEARNING_RATE = 2e-3


def _active(n):
    return nn.BatchNorm2d(n), nn.SiLU()


class VAE(nn.Module):
    """Images of shape (n, 3, 64, 64) in [-1, 1] to `width` numbers and back."""

    def __init__(self, width, channels=32):
        super().__init__()
        c = channels
        self.encoder = nn.Sequential(
            nn.Conv2d(3, c, 4, 2, 1), *_active(c),
            nn.Conv2d(c, 2 * c, 4, 2, 1), *_active(2 * c),
            nn.Conv2d(2 * c, 4 * c, 4, 2, 1), *_active(4 * c),
            nn.Conv2d(4 * c, 8 * c, 4, 2, 1), *_active(8 * c),
            nn.Flatten(), nn.Linear(128 * c, 2 * width),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(width, 128 * c), nn.Unflatten(1, (8 * c, 4, 4)), *_active(8 * c),
            nn.ConvTranspose2d(8 * c, 4 * c, 4, 2, 1), *_active(4 * c),
            nn.ConvTranspose2d(4 * c, 2 * c, 4, 2, 1), *_active(2 * c),
            nn.ConvTranspose2d(2 * c, c, 4, 2, 1), *_active(c),
            nn.ConvTranspose2d(c, 3, 4, 2, 1), nn.Tanh(),
        )  # fmt: skip

    def mean(self, images):
        """Return the embedding: the mean of the code, without a draw."""
        return self.encoder(images).chunk(2, dim=1)[0]

    def loss(self, images):
        """Return the negative evidence lower bound in nats per pixel, up to a constant.

        The squared error enters by its logarithm: the likelihood under the best single variance
        (Rybkin et al., 2021), so that no weight between the two terms has to be chosen.
        """
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        code = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        n_values = images[0].numel()
        fit = n_values / 2 * F.mse_loss(self.decoder(code), images).log()
        prior = (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean() / 2
        return (fit + prior) / n_values


def train_vae(images, width, minutes, seed=0):
    """Train on uint8 images of shape (n, 64, 64, 3); return the model and the images it saw."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # In this layout a step takes a sixth less time on a CPU.
    vae = VAE(width).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(vae.parameters(), lr=LEARNING_RATE)
    start, share, n_steps = time.monotonic(), 0.0, 0
    with tqdm(desc="VAE", unit="step") as bar:
        while share < 1 or n_steps == 0:
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2)
            rows = rng.choice(len(images), min(BATCH_SIZE, len(images)), replace=False)
            pixels = images[rows, :, :: rng.choice([-1, 1])]  # half of the batches mirrored
            batch = torch.from_numpy(pixels.copy()).to(device).permute(0, 3, 1, 2) / 127.5 - 1
            loss = vae.loss(batch.contiguous(memory_format=torch.channels_last))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
            optimizer.step()
            n_steps += 1
            share = min(1.0, (time.monotonic() - start) / (60 * minutes))
            bar.update()
    return vae.eval().requires_grad_(False).cpu(), n_steps * len(rows)
