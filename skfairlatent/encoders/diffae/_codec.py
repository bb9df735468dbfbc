"""A network on a device, and what is asked of it: codes, noise and images."""

__all__ = ["Codec"]

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skfairlatent._device import autocast_dtype
from skfairlatent.encoders.diffae._ddim import Schedule, decode, invert
from skfairlatent.encoders.diffae._networks import DiffusionAutoencoder, SemanticEncoder

# Half precision is used where it moves no code by more than this share of its norm.
MAX_RELATIVE_MOVE = 0.01
N_PROBES = 8
PROBE_DETAIL = 8

PRECISIONS = ("auto", "float32", "bfloat16")

Array = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


class Codec:
    """Encodes, inverts and decodes chunks of images.

    Parameters
    ----------
    network : DiffusionAutoencoder or SemanticEncoder
        On the CPU; elsewhere a copy is placed.
    image_size : int
    device : torch.device
    precision : {"auto", "float32", "bfloat16"}
        "auto" takes bfloat16 where the hardware multiplies it natively and it moves no
        semantic code by more than 1 %, measured on fixed smooth noise.
    """

    def __init__(
        self,
        network: DiffusionAutoencoder | SemanticEncoder,
        image_size: int,
        device: torch.device,
        precision: str,
    ) -> None:
        placed = network if device.type == "cpu" else copy.deepcopy(network).to(device)
        self.unet = placed if isinstance(placed, DiffusionAutoencoder) else None
        self.encoder = placed if self.unet is None else self.unet.encoder
        self.image_size, self.device = image_size, device
        self._half: torch.dtype | None = None
        if precision == "bfloat16":
            self._half = torch.bfloat16
        elif precision == "auto":
            self._half = self._harmless_half(autocast_dtype(device))

    @property
    def precision(self) -> str:
        """What the networks multiply in: "float32" or "bfloat16"."""
        return "float32" if self._half is None else "bfloat16"

    def encode(self, pixels: Pixels) -> Array:
        """Map images (n, size, size, 3) to codes (n, d)."""
        with self._inference():
            return _to_numpy(self.encoder(self._images(pixels)))

    def invert(self, pixels: Pixels, codes: Array, n_steps: int) -> Array:
        """Map images and their codes to the noise x_T, shape (n, size, size, 3)."""
        with self._inference():
            predict, schedule = self._predictor(codes, n_steps)
            noise = invert(predict, self._images(pixels), schedule)
            return _to_numpy(noise.permute(0, 2, 3, 1))

    def decode(self, codes: Array, x_T: Array, n_steps: int) -> Pixels:
        """Map codes and noise to images (n, size, size, 3)."""
        with self._inference():
            predict, schedule = self._predictor(codes, n_steps)
            images = decode(predict, self._tensor(x_T).permute(0, 3, 1, 2), schedule)
            levels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            return levels.permute(0, 2, 3, 1).cpu().numpy()

    def _images(self, pixels: Pixels) -> Tensor:
        """Scale to [-1, 1]; a permuted view of (n, h, w, c) is already channels last."""
        images = self._tensor(pixels).permute(0, 3, 1, 2)
        return images.float().div_(127.5).sub_(1)

    def _tensor(self, values: Array | Pixels) -> Tensor:
        """Place an array; copy it first where torch cannot share its memory."""
        return torch.from_numpy(np.require(values, requirements=("C", "W"))).to(self.device)

    def _predictor(self, codes: Array, n_steps: int) -> tuple[partial[Tensor], Schedule]:
        if self.unet is None:
            raise TypeError("a semantic encoder alone predicts no noise")
        code = self._tensor(codes)
        schedule = Schedule.spaced(self.unet.config.T, n_steps)
        # Noise is added to and subtracted from images in float32, whatever predicts it.
        return partial(_predict, self.unet, code), schedule

    @contextmanager
    def _inference(self) -> Iterator[None]:
        half = self._half
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype=half, enabled=half is not None),
        ):
            yield

    def _harmless_half(self, half: torch.dtype | None) -> torch.dtype | None:
        if half is None:
            return None
        probes = _smooth_noise(self.image_size)
        exact = self.encode(probes)
        self._half = half
        moved = np.linalg.norm(self.encode(probes) - exact, axis=1)
        self._half = None
        harmless = (moved <= MAX_RELATIVE_MOVE * np.linalg.norm(exact, axis=1)).all()
        return half if harmless else None


def _predict(unet: DiffusionAutoencoder, code: Tensor, x: Tensor, t: Tensor) -> Tensor:
    noise: Tensor = unet(x, t, code)
    return noise.float()


def _smooth_noise(size: int) -> Pixels:
    """Return always the same few images, of about the detail of photographs."""
    coarse = np.random.default_rng(0).integers(0, 256, (N_PROBES, PROBE_DETAIL, PROBE_DETAIL, 3))
    repeats = math.ceil(size / PROBE_DETAIL)
    fine = coarse.repeat(repeats, axis=1).repeat(repeats, axis=2)
    return np.ascontiguousarray(fine[:, :size, :size]).astype(np.uint8)


def _to_numpy(values: Tensor) -> Array:
    return values.float().cpu().contiguous().numpy()
