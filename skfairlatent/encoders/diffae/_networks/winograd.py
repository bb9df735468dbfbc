"""A 3 x 3 convolution that multiplies a quarter as often at inference on a CPU."""

__all__ = ["Conv3x3", "ImageConv", "unbiased"]

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skfairlatent.encoders.diffae._networks import fused

# Winograd's algorithm F(4 x 4, 3 x 3): tiles of 4 x 4 pixels of the output, from 6 x 6 pixels
# of the input.
TILE = 4
PATCH = TILE + 2
# From the interpolation points 0, +-1/sqrt(2), +-sqrt(2) and infinity. With the usual 0, +-1, +-2
# the error is four times larger; with these it is near that of a plain sum in float32.
ROOT = 2**0.5
# Below these numbers of weights per tap and of tiles, a plain convolution is as fast or faster.
MIN_WEIGHTS = 128 * 192
MIN_TILES = 16
# Tiles that are treated together, for each thread: their transform should stay in the cache.
STRIP_TILES = 256


def unbiased(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return ``layer(x)`` and None, or the result without the layer's bias, and the bias.

    The second at inference on CUDA, of a convolution: torch adds the bias there by a kernel of its
    own, in as much time as the convolution takes. The next operation can add it in passing.
    """
    if not isinstance(layer, nn.Conv2d) or layer.bias is None or not fused.inferring(x):
        return layer(x), None
    return F.conv2d(x, layer.weight, None, layer.stride, layer.padding), layer.bias


class ImageConv(nn.Conv2d):
    """The first layer: a 3 x 3 convolution of an image, with padding."""

    def __init__(self, out_channels: int) -> None:
        super().__init__(3, out_channels, 3, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        """Map images (n, 3, h, w) to features (n, out_channels, h, w)."""
        if self.bias is None or not fused.inferring(input):
            return super().forward(input)
        return fused.added(None, F.conv2d(input, self.weight, padding=1), self.bias)


class _Transformed(NamedTuple):
    """Weights, the state they were in, and their transform."""

    weight: Tensor
    version: int
    kernel: Tensor


class Conv3x3(nn.Conv2d):
    """A 3 x 3 convolution with padding, of stride 1.

    Without gradients, in float32 on a CPU and with channels last in memory, wide layers are
    computed by Winograd's algorithm (Lavin & Gray, "Fast Algorithms for Convolutional Neural
    Networks", CVPR 2016): 36 multiplications for 16 pixels instead of 144. Rounding
    differs, by about 1e-6 of the largest value.
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, 3, padding=1)
        self._transformed: _Transformed | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map features of shape (n, channels, h, w) to (n, out_channels, h, w)."""
        if not self._is_faster(x):
            return super().forward(x)
        convolved = _convolve(x.permute(0, 2, 3, 1), self._kernel())
        if self.bias is not None:
            convolved += self.bias
        return convolved.permute(0, 3, 1, 2)

    def _is_faster(self, x: Tensor) -> bool:
        if torch.compiler.is_compiling() or torch.is_grad_enabled():
            return False
        n, _, height, width = x.shape
        return (
            height % TILE == width % TILE == 0
            and self.in_channels * self.out_channels >= MIN_WEIGHTS
            and n * height * width >= MIN_TILES * TILE**2
            and x.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and x.is_contiguous(memory_format=torch.channels_last)
        )

    def _kernel(self) -> Tensor:
        """Transform the weights, unless they are those of the last time."""
        weight, kept = self.weight.detach(), self._transformed
        version = 0 if weight.is_inference() else weight._version
        # While it is kept, no other tensor can be at its address.
        if kept and (kept.version, kept.weight.data_ptr()) == (version, weight.data_ptr()):
            return kept.kernel
        kernel = _transform_weight(weight)
        self._transformed = _Transformed(weight, version, kernel)
        return kernel

    def __getstate__(self) -> dict[str, Any]:
        """Leave out of copies and files what can be computed again."""
        return {**self.__dict__, "_transformed": None}


def _transform_weight(weight: Tensor) -> Tensor:
    """Transform weights (out, in, 3, 3) to (36, in, out)."""
    half, small, large = ROOT / 2, ROOT / 6, ROOT / 12
    matrix = weight.new_tensor(
        [
            [1, 0, 0],
            [-2 * small, -2 * small * half, -small],
            [-2 * small, 2 * small * half, -small],
            [large, large * ROOT, 2 * large],
            [large, -large * ROOT, 2 * large],
            [0, 0, 1],
        ],
        dtype=torch.float64,
    )
    kernel = torch.einsum("ai,bj,oxij->abxo", matrix, matrix, weight.double())
    return kernel.flatten(0, 1).to(weight.dtype).contiguous()


def _convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve features (n, h, w, in) with a transformed kernel to (n, h, w, out)."""
    n, height, width, _ = x.shape
    y = x.new_empty(n, height, width, kernel.shape[2])
    for images, rows in _strips(n, height // TILE, width // TILE):
        patches = _transform_patches(_padded(x[images], rows))
        products = torch.bmm(patches.flatten(2, 4).flatten(0, 1), kernel)
        products = products.view(*patches.shape[:-1], -1)
        _transform_back(products, y[images, TILE * rows.start : TILE * rows.stop])
    return y


def _strips(n: int, rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """Divide images into some whole ones, or rows of tiles of one."""
    n_tiles = STRIP_TILES * torch.get_num_threads()
    n_images, n_rows = max(1, n_tiles // (rows * columns)), max(1, n_tiles // columns)
    for image in range(0, n, n_images):
        for row in range(0, rows, n_rows):
            yield slice(image, image + n_images), slice(row, min(row + n_rows, rows))


def _padded(x: Tensor, rows: slice) -> Tensor:
    """Return the pixels that some rows of tiles depend on, zero beyond the image's border."""
    n, height, width, channels = x.shape
    first, last = TILE * rows.start - 1, TILE * rows.stop + 1
    padded = x.new_empty(n, last - first, width + 2, channels)
    padded[:, :, 0], padded[:, :, -1] = 0, 0
    if first < 0:
        padded[:, 0] = 0
    if last > height:
        padded[:, -1] = 0
    first_there, last_there = max(first, 0), min(last, height)
    padded[:, first_there - first : last_there - first, 1:-1] = x[:, first_there:last_there]
    return padded


def _transform_patches(padded: Tensor) -> Tensor:
    """Transform the 6 x 6 patches of (n, 4 rows + 2, 4 columns + 2, channels).

    Returns
    -------
    Tensor of shape (6, 6, n, rows, columns, channels)
    """
    n, height, width, channels = padded.shape
    rows, columns = height // TILE, width // TILE
    halfway = padded.new_empty(PATCH, n, rows, width, channels)
    _mix_inputs([padded[:, i : i + TILE * rows - 3 : TILE] for i in range(PATCH)], halfway)
    patches = padded.new_empty(PATCH, PATCH, n, rows, columns, channels)
    parts = [halfway[:, :, :, i : i + TILE * columns - 3 : TILE] for i in range(PATCH)]
    _mix_inputs(parts, patches.transpose(0, 1))
    return patches


def _transform_back(products: Tensor, y: Tensor) -> None:
    """Write products (6, 6, n, rows, columns, out) as pixels; overwrites them."""
    _, _, n, rows, columns, channels = products.shape
    halfway = products.new_empty(TILE, PATCH, n, rows, columns, channels)
    _mix_outputs(products.unbind(), halfway)
    tiles = y.view(n, rows, TILE, columns, TILE, channels)
    _mix_outputs(halfway.transpose(0, 1).unbind(), tiles.permute(4, 2, 0, 1, 3, 5))


def _mix_inputs(d: Sequence[Tensor], out: Tensor) -> None:
    """Evaluate polynomials at the interpolation points."""
    add = torch.add
    even, odd = add(d[4], d[2], alpha=-2, out=out[0]), add(d[3], d[1], alpha=-2, out=out[5])
    add(even, odd, alpha=ROOT / 2, out=out[1])
    add(even, odd, alpha=-ROOT / 2, out=out[2])
    even, odd = add(d[4], d[2], alpha=-0.5, out=out[0]), add(d[3], d[1], alpha=-0.5, out=out[5])
    add(even, odd, alpha=ROOT, out=out[3])
    add(even, odd, alpha=-ROOT, out=out[4])
    add(d[0], d[2], alpha=-2.5, out=out[0]).add_(d[4])
    add(d[1], d[3], alpha=-2.5, out=out[5]).add_(d[5])


def _mix_outputs(m: Sequence[Tensor], out: Tensor) -> None:
    """Interpolate; the transform of the weights has multiplied m[1] to m[4] by 1 / sqrt(2)."""
    add = torch.add
    even, odd = add(m[1], m[2]), m[1].sub_(m[2])
    even_far, odd_far = add(m[3], m[4]), m[3].sub_(m[4])
    add(odd, odd_far, alpha=2, out=out[1])
    add(m[5], odd, alpha=0.5, out=out[3]).add_(odd_far, alpha=4)
    add(even, even_far, alpha=4, out=out[2]).mul_(ROOT / 2)
    add(m[0], even.add_(even_far), alpha=ROOT, out=out[0])
