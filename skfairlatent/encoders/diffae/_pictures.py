"""Pictures of how a training gets on."""

__all__ = ["ProgressPictures"]

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from skfairlatent.encoders._images import ImageSource
from skfairlatent.encoders.diffae._codec import Codec
from skfairlatent.encoders.diffae._dpm_solver import DPMSolver
from skfairlatent.encoders.diffae._networks import DiffusionAutoencoder

N_IMAGES = 8
N_STEPS = 10

Pixels = npt.NDArray[np.uint8]


class ProgressPictures:
    """Writes a numbered picture each time it is called with the network as it is.

    Three rows: originals; their reconstructions from code and inverted noise; the same codes
    decoded from random noise.

    Parameters
    ----------
    directory : path-like
        Made if it does not exist.
    source : ImageSource
        The first images are shown.
    device : torch.device
    """

    def __init__(
        self, directory: str | os.PathLike[str], source: ImageSource, device: torch.device
    ) -> None:
        self.directory, self.device = Path(directory).expanduser(), device
        self.directory.mkdir(parents=True, exist_ok=True)
        self.images = source.read(slice(0, N_IMAGES))

    def __call__(self, network: DiffusionAutoencoder) -> None:
        """Draw and write one picture."""
        codec = Codec(network, network.config.image_size, self.device, "float32")
        codes = codec.encode(self.images)
        solver = DPMSolver(network.config.T, N_STEPS)
        found = codec.invert(self.images, codes, solver)
        drawn = np.random.default_rng(0).standard_normal(found.shape, dtype=np.float32)
        rows = [self.images, *(codec.decode(codes, noise, solver) for noise in (found, drawn))]
        number = len(list(self.directory.glob("progress-*.png"))) + 1
        _save_grid(self.directory / f"progress-{number:04d}.png", rows)


def _save_grid(path: Path, rows: list[Pixels]) -> None:
    from PIL import Image  # noqa: PLC0415 - an optional extra

    Image.fromarray(np.concatenate([np.concatenate(list(row), axis=1) for row in rows])).save(path)
