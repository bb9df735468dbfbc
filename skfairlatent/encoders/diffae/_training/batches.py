"""Images of a training, and their labels, batch by batch."""

__all__ = ["Batches", "TrainingData"]

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

READ_AT_ONCE = 1024
# Images are kept on a GPU if they take at most this share of its free memory.
RESIDENT_SHARE = 0.25

# Images with the given rows: uint8, shape (n, size, size, 3).
ReadImages = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class TrainingData:
    """The images that a diffusion autoencoder is trained on.

    Parameters
    ----------
    read : callable
        Gives the images of some rows.
    targets : ndarray of shape (n_images, n_targets), float32, or None
        Labels as zeros and ones.
    """

    read: ReadImages
    n_images: int
    targets: npt.NDArray[np.float32] | None = None


class Batches:
    """Draws batches: every epoch a new order, known from the step alone.

    On a GPU all images lie in its memory, where there is room for them.

    Parameters
    ----------
    size : int
        Images of a batch; all, if there are fewer.
    """

    def __init__(self, data: TrainingData, size: int, seed: int, device: torch.device) -> None:
        self.data, self.device = data, device
        self.size, self.seed = min(size, data.n_images), seed
        self.per_epoch = data.n_images // self.size
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)
        self._resident = self._all_images() if device.type == "cuda" else None
        self._targets = None
        if data.targets is not None:
            self._targets = torch.from_numpy(data.targets).to(device)

    def draw(self, step: int, size: int | None = None) -> tuple[Tensor, Tensor | None]:
        """Return images, uint8, (n, size, size, 3), and the targets of their labels, if any."""
        epoch, index = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.data.n_images)
            self._epoch, self._order = epoch, torch.from_numpy(order)
            if self._resident is not None:
                self._order = self._order.to(self.device)
        start = index * self.size
        rows = self._order[start : start + (size or self.size)]
        if self._resident is not None:
            images = self._resident[rows]
        else:
            images = torch.from_numpy(self.data.read(rows.numpy())).to(self.device)
        if self._targets is None:
            return images, None
        return images, self._targets[rows.to(self.device)]

    def _all_images(self) -> Tensor | None:
        first = torch.from_numpy(self.data.read(np.arange(1)))
        free, _ = torch.cuda.mem_get_info(self.device)
        if self.data.n_images * first.nbytes > RESIDENT_SHARE * free:
            return None
        images = first.new_empty((self.data.n_images, *first.shape[1:]), device=self.device)
        for start in range(0, self.data.n_images, READ_AT_ONCE):
            rows = np.arange(start, min(start + READ_AT_ONCE, self.data.n_images))
            images[start : start + READ_AT_ONCE] = torch.from_numpy(self.data.read(rows))
        return images
