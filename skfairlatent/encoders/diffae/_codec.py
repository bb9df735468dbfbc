"""A network on a device, and what is asked of it: codes, noise and images."""

__all__ = ["Codec"]

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skfairlatent._device import EXACT_MATMUL, SharedSetting, autocast_dtype
from skfairlatent._training.cuda_graphs import Recorded
from skfairlatent.encoders.diffae._networks.networks import DiffusionAutoencoder, SemanticEncoder
from skfairlatent.encoders.diffae._solvers.registry import Solver

# Half precision is used where it moves no code by more than this share of its norm.
MAX_RELATIVE_MOVE = 0.01
N_PROBES = 8
PROBE_DETAIL = 8

HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
PRECISIONS = ("auto", "float32", *HALVES)

Array = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


class Codec:
    """Encodes, inverts and decodes chunks of images.

    Parameters
    ----------
    network : DiffusionAutoencoder or SemanticEncoder
        On the CPU; elsewhere a copy is placed.
    precision : {"auto", "float32", "float16", "bfloat16"}
        "auto" takes float16 on CUDA, and bfloat16 on processors that multiply it natively: for
        codes if it moves none by more than 1 %, measured on fixed smooth noise, and for images
        if it moves no predicted noise by more than that.
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
        self._encode = Recorded(self._code_of, device)
        self._predict = Recorded(self._noise_in, device)
        self._wanted = precision

    @property
    def precision(self) -> str:
        """Precision of the encoder's products: "float32", "float16" or "bfloat16"."""
        names = [name for name, half in HALVES.items() if half == self._half]
        return names[0] if names else "float32"

    def encode(self, pixels: Pixels) -> Array:
        """Map images (n, size, size, 3) to codes (n, d)."""
        return _to_numpy(self.encode_placed(self._tensor(pixels)))

    def encode_placed(self, pixels: Tensor) -> Tensor:
        """Map images that lie on the device to codes there; the next call overwrites them."""
        with self._inference(self._half):
            return self._encode(pixels)

    def invert(self, pixels: Pixels, codes: Array, solver: Solver) -> Array:
        """Map images and their codes to the noise x_T, shape (n, size, size, 3)."""
        with self._inference(self._unet_half):
            noise = solver.invert(self._predictor(codes), _images(self._tensor(pixels)))
            return _to_numpy(noise.permute(0, 2, 3, 1))

    def decode(self, codes: Array, x_T: Array, solver: Solver) -> Pixels:
        """Map codes and noise to images (n, size, size, 3)."""
        with self._inference(self._unet_half):
            noise = self._tensor(x_T).permute(0, 3, 1, 2)
            images = solver.decode(self._predictor(codes), noise)
            levels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            return levels.permute(0, 2, 3, 1).cpu().numpy()

    def _tensor(self, values: Array | Pixels) -> Tensor:
        """Place an array; copy it first where torch cannot share its memory."""
        return torch.from_numpy(np.require(values, requirements=("C", "W"))).to(self.device)

    def _predictor(self, codes: Array) -> partial[Tensor]:
        return partial(self._predict, self._tensor(codes))

    def _decoder(self) -> DiffusionAutoencoder:
        if self.unet is None:
            raise TypeError("a semantic encoder alone predicts no noise")
        return self.unet

    def _code_of(self, pixels: Tensor) -> Tensor:
        code: Tensor = self.encoder(_images(pixels))
        return code

    def _noise_in(self, code: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Predict in float32, in which noise is added and subtracted, whatever computes it."""
        noise: Tensor = self._decoder()(x, t, code)
        return noise.float()

    @contextmanager
    def _inference(self, half: torch.dtype | None) -> Iterator[None]:
        on_cuda = self.device.type == "cuda"
        # A graph must not read what autocast keeps of the weights until its block ends.
        keep = not on_cuda
        with (
            torch.inference_mode(),
            torch.autocast(
                self.device.type, dtype=half, enabled=half is not None, cache_enabled=keep
            ),
            EXACT_MATMUL if half is None else nullcontext(),
            _EXACT_CONVOLUTION if on_cuda and half is None else nullcontext(),
        ):
            yield

    @cached_property
    def _half(self) -> torch.dtype | None:
        """Precision of the encoder's products, or None for float32."""

        def codes(half: torch.dtype | None) -> Array:
            with self._inference(half):
                return _to_numpy(self._encode(self._tensor(_smooth_noise(self.image_size))))

        return self._chosen(codes)

    @cached_property
    def _unet_half(self) -> torch.dtype | None:
        """The same of the U-Net, found out when it is first asked for noise."""

        def noise(half: torch.dtype | None) -> Array:
            pixels = _smooth_noise(self.image_size)
            code, images = self._tensor(self.encode(pixels)), _images(self._tensor(pixels))
            last = self._decoder().config.T - 1
            t = torch.linspace(0, last, N_PROBES, device=self.device).long()
            with self._inference(half):
                return _to_numpy(self._predict(code, images, t).flatten(1))

        return self._chosen(noise)

    def _chosen(self, compute: Callable[[torch.dtype | None], Array]) -> torch.dtype | None:
        """Return the precision asked for; for "auto", half precision if it moves little."""
        if self._wanted != "auto":
            return HALVES.get(self._wanted)
        half = _fast_half(self.device)
        return None if half is None else _if_harmless(half, compute)


# cuDNN rounds what it multiplies in float32 to eleven bits, unless it is told not to.
_EXACT_CONVOLUTION = SharedSetting(
    lambda: torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
)


def _images(pixels: Tensor) -> Tensor:
    """Scale to [-1, 1]; a permuted view of (n, h, w, c) is already channels last."""
    return pixels.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def _fast_half(device: torch.device) -> torch.dtype | None:
    """Return the half precision for inference, or None if it would not be faster.

    A GPU multiplies both as fast, and float16 has three bits more. Its range, too small for
    gradients, is enough for the features of these networks; where not, "auto" takes none.
    """
    return torch.float16 if device.type == "cuda" else autocast_dtype(device)


def _if_harmless(
    half: torch.dtype, compute: Callable[[torch.dtype | None], Array]
) -> torch.dtype | None:
    exact = compute(None)
    moved = np.linalg.norm(compute(half) - exact, axis=1)
    # Written so that NaN and infinity are not small moves.
    harmless = (moved <= MAX_RELATIVE_MOVE * np.linalg.norm(exact, axis=1)).all()
    return half if harmless else None


def _smooth_noise(size: int) -> Pixels:
    """Return always the same few images, of about the detail of photographs."""
    coarse = np.random.default_rng(0).integers(0, 256, (N_PROBES, PROBE_DETAIL, PROBE_DETAIL, 3))
    repeats = math.ceil(size / PROBE_DETAIL)
    fine = coarse.repeat(repeats, axis=1).repeat(repeats, axis=2)
    return np.ascontiguousarray(fine[:, :size, :size]).astype(np.uint8)


def _to_numpy(values: Tensor) -> Array:
    return values.float().cpu().contiguous().numpy()
