"""Pictures of how a training gets on."""

__all__ = ["ProgressPictures"]

import io
import os
import re

import numpy as np
import numpy.typing as npt
import torch

from skfairlatent._files.writing import replace_file, require_folder
from skfairlatent._user_warnings import warn_user
from skfairlatent.encoders._images import ImageSource
from skfairlatent.encoders.diffae._codec import Codec
from skfairlatent.encoders.diffae._networks.networks import DiffusionAutoencoder
from skfairlatent.encoders.diffae._solvers.dpm_solver import DPMSolver

N_IMAGES = 8
N_STEPS = 10
_NUMBERED = re.compile(r"progress-(\d+)\.png")

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
    """

    def __init__(
        self, directory: str | os.PathLike[str], source: ImageSource, device: torch.device
    ) -> None:
        self.directory, self.device = require_folder("sample_dir", directory), device
        self.images = source.read(slice(0, N_IMAGES))
        _as_png([self.images])  # before the training, should Pillow be missing
        self._works = True

    def __call__(self, network: DiffusionAutoencoder) -> None:
        """Draw and write one picture.

        Warns
        -----
        FairLatentWarning
            The first time that it cannot be made, as on a full disk: that ends no training.
        """
        try:
            picture = _as_png(self._draw(network))
            path = self.directory / f"progress-{self._next_number():04d}.png"
            replace_file(path, picture, "The picture")
        except (OSError, MemoryError, RuntimeError) as error:  # also a GPU that is full
            if self._works:
                warn_user(
                    f"A picture of the progress cannot be made in {self.directory} ({error}). The "
                    "training goes on all the same."
                )
            self._works = False

    def _draw(self, network: DiffusionAutoencoder) -> list[Pixels]:
        codec = Codec(network, network.config.image_size, self.device, "float32")
        codes = codec.encode(self.images)
        solver = DPMSolver(network.config.T, N_STEPS)
        found = codec.invert(self.images, codes, solver)
        drawn = np.random.default_rng(0).standard_normal(found.shape, dtype=np.float32)
        return [self.images, *(codec.decode(codes, noise, solver) for noise in (found, drawn))]

    def _next_number(self) -> int:
        found = [_NUMBERED.fullmatch(path.name) for path in self.directory.iterdir()]
        return 1 + max((int(match[1]) for match in found if match), default=0)


def _as_png(rows: list[Pixels]) -> bytes:
    from PIL import Image  # noqa: PLC0415 - an optional extra

    content = io.BytesIO()
    grid = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    Image.fromarray(grid).save(content, format="PNG")
    return content.getvalue()
