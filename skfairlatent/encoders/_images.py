"""Images in whatever form the user has them, read some rows at a time."""

__all__ = ["ImageSource"]

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral
from typing import Any, TypeAlias

import joblib
import numpy as np
import numpy.typing as npt

from skfairlatent._image_forms import is_picture, of_all
from skfairlatent._user_warnings import UserLine
from skfairlatent._validation.features import detach
from skfairlatent.datasets import LazyImages
from skfairlatent.datasets._one_image import open_pixels, pillow
from skfairlatent.encoders._image_items import as_images, check_items, describe, name_of
from skfairlatent.encoders._pixels import (
    Pixels,
    as_file,
    cut_share,
    fit_image,
    header_size,
    is_file,
    is_near_black,
    to_rgb,
)

Rows: TypeAlias = slice | npt.NDArray[np.intp]

# Below this many, starting threads takes longer than what they save.
_ROWS_FOR_THREADS = 8
_MAX_THREADS = 8
_DIGEST_SIZE = 20


class ImageSource:
    """Random access to images, as uint8 RGB of one size; nothing is decoded before it is read.

    Grey, RGBA and palette images become RGB as by Pillow's ``convert("RGB")``: opacity is
    dropped, not blended. Floats are taken as 0 to 1, multiplied by 255 and rounded. Integers are
    taken as 0 to 255; the first time that images are read, there is a warning if all are nearly
    black. Images of another size are scaled to cover `size` with the Lanczos filter, and what
    sticks out is cut off at both ends alike; the first time that loses more than a pixel of the
    result, there is a warning. Photographs are turned upright by their EXIF orientation.

    Parameters
    ----------
    X : array, list, tuple, Series, other column or LazyImages
        Array of shape (n, height, width, 1, 3 or 4), integers 0 to 255 or floats 0 to 1; or a
        sequence of arrays of shape (height, width[, channels]), PIL images, paths, encoded bytes,
        or dictionaries of bytes and path as in Parquet; or
        ``skfairlatent.datasets.LazyImages``. It is not copied.
    size : int or None
        Height and width of the images that are read, in pixels. None keeps the images' own size,
        which must be the same for all; they need not be square then.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If a path leads nowhere, or to a folder.
    TypeError, ValueError
        If X or one of its rows is nothing of the above. Damage and floats out of range, which only
        decoding can tell, are raised by `read`.
    """

    def __init__(self, X: Any, size: int | None) -> None:
        if size is not None and (not isinstance(size, Integral) or size < 1):
            raise ValueError(
                f"size={size!r} is not a valid image size: pass pixels, as 64, or None."
            )
        self._images = as_images(X)
        if len(self._images) == 0:
            raise ValueError("X holds no images: pass one or more.")
        self._wanted = None if size is None else (int(size), int(size))
        self._own: tuple[int, int] | None = None
        self._may_warn_of_cutting = self._may_warn_of_black = True
        self._user_line = UserLine.find()
        if isinstance(self._images, list):
            check_items(self._images, X)
        needs_pillow = self._needs_pillow()
        if needs_pillow:
            pillow()  # now, not at the first image hours later
        # One PIL image may be in the list twice, and two threads must not decode it at once.
        is_list = isinstance(self._images, list)
        self._in_threads = needs_pillow and not (is_list and any(map(is_picture, self._images)))

    def __len__(self) -> int:
        return len(self._images)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images that are read, in pixels."""
        if self._wanted is not None:
            return self._wanted
        if self._own is None:
            self._own = self._size_of_first()
        return self._own

    def read(self, rows: Rows) -> Pixels:
        """Return the images of these rows as a new, contiguous array.

        Parameters
        ----------
        rows : slice or ndarray of int
            Which, in the order wanted.

        Returns
        -------
        ndarray of shape (k, height, width, 3), uint8

        Raises
        ------
        FileNotFoundError
            If a file went away since.
        ValueError
            If an image cannot be decoded, has values out of range or, with ``size=None``, is of
            another size than the first. The message names the row, and the file if there is one.
        """
        chosen = np.arange(len(self))[rows]
        if isinstance(self._images, np.ndarray) and self._images.shape[1:3] == self.image_size:
            pixels = to_rgb(self._images[chosen], chosen, self._images)
        else:
            pixels = self._read_each(chosen)
        self._warn_of_black()
        return pixels

    def _read_each(self, chosen: npt.NDArray[np.intp]) -> Pixels:
        height, width = self.image_size
        out = np.empty((len(chosen), height, width, 3), dtype=np.uint8)
        sizes = np.empty((len(chosen), 2), dtype=np.int64)

        def put(place: int) -> None:
            image = self._decode(int(chosen[place]))
            sizes[place] = image.shape[:2]
            out[place] = self._fit(image, int(chosen[place]))

        self._for_each(put, range(len(chosen)))
        self._warn_of_cutting(sizes, chosen)
        return out

    def originals(self, rows: Rows) -> list[Pixels]:
        """Return the images of these rows, each uint8 RGB of its own size."""
        return [self._decode(int(row)) for row in np.arange(len(self))[rows]]

    def digests(self, rows: Rows) -> list[bytes]:
        """Return 20 bytes for each row that identify its pixels as `read` gives them."""
        height, width = self.image_size
        # Without the size, pixels of 2 by 8 would equal those of 4 by 4.
        salt = f"{height}x{width}".encode()
        return [
            hashlib.blake2b(image.data, digest_size=_DIGEST_SIZE, salt=salt).digest()
            for image in self.read(rows)
        ]

    def _decode(self, row: int) -> Pixels:
        if isinstance(self._images, LazyImages):
            try:
                lazy: Pixels = self._images[row]
            except (OSError, ValueError) as error:
                raise ValueError(f"X[{row}] cannot be read. {error}") from error
            return lazy
        item = self._images[row]
        if is_file(item):
            return open_pixels(as_file(item), name_of(row, item))
        pixels = np.asarray(detach(item))
        pixels = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
        rgb: Pixels = to_rgb(pixels[np.newaxis], np.array([row]), self._images)[0]
        return rgb

    def _fit(self, image: Pixels, row: int) -> Pixels:
        if self._wanted is not None:
            return fit_image(image, self._wanted)
        if image.shape[:2] != self.image_size:
            raise ValueError(
                f"{self._name(row)} is {describe(image.shape)} and "
                f"{self._name(0)} is {describe(self.image_size)}: images must be of "
                "one size. Give the encoder an image size to fit them to, or pass images resized "
                "to one size, as by PIL.ImageOps.fit(image, (64, 64))."
            )
        return image

    def _for_each(self, put: Callable[[int], None], places: range) -> None:
        """Call for each place; in several threads where it pays, as Pillow lets them run."""
        threads = min(_MAX_THREADS, joblib.cpu_count())
        if len(places) < _ROWS_FOR_THREADS or threads < 2 or not self._in_threads:
            for place in places:
                put(place)
            return
        put(places[0])  # which opens the archive of lazy images, once for all threads
        with ThreadPoolExecutor(threads, "skfairlatent-decode") as pool:
            for _ in pool.map(put, places[1:]):
                pass

    def _warn_of_cutting(self, sizes: npt.NDArray[np.int64], rows: npt.NDArray[np.intp]) -> None:
        if not self._may_warn_of_cutting or self._wanted is None:
            return
        for row, (height, width) in zip(rows.tolist(), sizes.tolist(), strict=True):
            share = cut_share((height, width), self._wanted)
            if share > 0:
                self._may_warn_of_cutting = False
                self._user_line.warn(
                    f"{self._name(row)} is {describe((height, width))}; "
                    f"fitting it to {self._wanted[0]} by {self._wanted[1]} cuts off {share:.0%} "
                    "of its pixels, at both ends of its longer side. Other images may be cut as "
                    "well. To choose what is kept, crop them to squares first, as by PIL's "
                    "image.crop((left, upper, right, lower)) or load_image_folder(crop=...)."
                )
                return

    def _warn_of_black(self) -> None:
        """Warn, the first time, if all images are arrays and hardly brighter than black."""
        if not self._may_warn_of_black or isinstance(self._images, LazyImages):
            return
        self._may_warn_of_black = False
        if not all(map(is_near_black, self._images)):  # usually ends at the first image
            return
        if np.asarray(detach(self._images[0])).dtype.kind == "f":
            self._user_line.warn(
                "X holds floats, and all of them are near 0: floats are read as 0 (black) to 1 "
                "(white), so that these images are all but black. If they were divided twice, or "
                "by a number above that of white, pass them divided once, by that of white."
            )
            return
        self._user_line.warn(
            "X holds integers, and all of them are at most 1: integers are read as 0 (black) "
            "to 255 (white), so that these images are all but black. If they were floats "
            "from 0 to 1, pass them before they were cast to integers; of masks, pass "
            f"{of_all(self._images, '{} * 255')}."
        )

    def _name(self, row: int) -> str:
        return name_of(row, self._images[row] if isinstance(self._images, list) else None)

    def _needs_pillow(self) -> bool:
        if isinstance(self._images, np.ndarray):
            return self._wanted not in (None, self._images.shape[1:3])
        if isinstance(self._images, LazyImages):
            return True
        return any(
            is_file(item) or self._wanted not in (None, tuple(item.shape[:2]))
            for item in self._images
        )

    def _size_of_first(self) -> tuple[int, int]:
        if isinstance(self._images, np.ndarray):
            height, width = self._images.shape[1:3]
            return int(height), int(width)
        first = self._images[0]
        if is_file(first):
            return header_size(first, self._name(0))
        height, width = first.shape[:2]
        return int(height), int(width)
