"""Decoding images: all at once into one array, or one by one when asked for."""

__all__ = ["ImageOptions", "LazyImages", "decode_all", "deliver"]

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skfairlatent.datasets._one_image import Pixels, open_pixels, pillow
from skfairlatent.datasets._store import ImageStore

_MODES = ("array", "lazy", "paths")


@dataclass(frozen=True)
class ImageOptions:
    """How images are cut, resized and returned; checked when made."""

    images: str | None = "array"
    crop: tuple[int, int, int, int] | None = None
    size: int | tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.images is not None and self.images not in _MODES:
            raise ValueError(
                f"images={self.images!r} is unknown: pass 'array', 'lazy', 'paths' or None."
            )
        if self.images == "paths" and not (self.crop is None and self.size is None):
            raise ValueError(
                "images='paths' returns files as they are: leave out crop and size, "
                "or pass images='lazy'."
            )
        if self.crop is not None:
            self._check_crop()
        if self.size is not None:
            self._check_size()

    @property
    def height_width(self) -> tuple[int, int]:
        """The size asked for, as (height, width); (0, 0) if none was."""
        if self.size is None:
            return 0, 0
        sizes = _whole_numbers(self.size)
        return int(sizes[0]), int(sizes[-1])

    def _check_crop(self) -> None:
        box = _whole_numbers(self.crop)
        if len(box) != 4 or min(box) < 0 or box[0] >= box[2] or box[1] >= box[3]:
            raise ValueError(
                f"crop={self.crop!r} is not a valid box: pass (left, upper, right, lower) in "
                "pixels, with left < right and upper < lower."
            )

    def _check_size(self) -> None:
        sizes = _whole_numbers(self.size)
        if len(sizes) not in (1, 2) or min(sizes) < 1:
            raise ValueError(
                f"size={self.size!r} is not a valid image size: pass an integer such as 64, or "
                "(height, width)."
            )


def _whole_numbers(given: Any) -> tuple[int, ...]:
    """Return one whole number or several as a tuple, which is empty if one is something else."""
    values = tuple(given) if isinstance(given, Iterable) else (given,)
    are_whole = all(isinstance(v, Integral) and not isinstance(v, bool) for v in values)
    return values if are_whole else ()


class LazyImages(Sequence[Pixels]):
    """A sequence of images that decodes an image when it is accessed.

    An integer index decodes one image. A slice, a mask or an array of integers gives another lazy
    sequence, which decodes nothing until it is iterated over or passed to ``numpy.asarray``. A
    pickle holds the paths of the files, not the images.

    Parameters
    ----------
    store : ImageStore
        Folder or archive of the images.
    members : sequence of str
        Paths of the images inside the store.
    options : ImageOptions
        Crop and size.
    """

    def __init__(self, store: ImageStore, members: Sequence[str], options: ImageOptions) -> None:
        self._store = store
        self._members = list(members)
        self._options = options

    def __len__(self) -> int:
        return len(self._members)

    @overload
    def __getitem__(self, key: int) -> Pixels: ...

    @overload
    def __getitem__(self, key: slice | ArrayLike) -> "LazyImages": ...

    def __getitem__(self, key: Any) -> "Pixels | LazyImages":
        if isinstance(key, int | np.integer):
            return _decode(self._store, self._members[key], self._options)
        chosen = np.arange(len(self))[key]
        return LazyImages(self._store, [self._members[i] for i in chosen], self._options)

    def __iter__(self) -> Iterator[Pixels]:
        return (_decode(self._store, member, self._options) for member in self._members)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("Images are decoded into new memory: copy=False cannot be kept.")
        decoded = decode_all(self._store, self._members, self._options)
        return decoded if dtype is None else decoded.astype(dtype, copy=False)

    def __repr__(self) -> str:
        return f"LazyImages({len(self)} images of {str(self._store.path)!r})"

    def close(self) -> None:
        """Close the archive behind the images; taking an image opens it again."""
        self._store.close()


def deliver(
    store: ImageStore, members: Sequence[str], options: ImageOptions
) -> Pixels | LazyImages | list[str] | None:
    """Return the images in the form that ``options.images`` asks for."""
    if options.images == "paths":
        if store.is_archive:
            raise ValueError(
                f"images='paths' needs files, and {str(store.path)!r} is a zip: "
                "pass images='lazy', or unpack it."
            )
        return [store.path_of(member) for member in members]
    if options.images == "lazy":
        pillow()  # now, not at the first image hours later
        return LazyImages(store, members, options)
    try:
        return None if options.images is None else decode_all(store, members, options)
    finally:
        store.close()


def decode_all(store: ImageStore, members: Sequence[str], options: ImageOptions) -> Pixels:
    """Decode into one uint8 array of shape (n, height, width, 3), allocated once."""
    if not members:
        return np.empty((0, *options.height_width, 3), dtype=np.uint8)
    first = _decode(store, members[0], options)
    decoded = np.empty((len(members), *first.shape), dtype=np.uint8)
    decoded[0] = first
    for row, member in enumerate(members[1:], start=1):
        image = _decode(store, member, options)
        if image.shape != first.shape:
            raise ValueError(
                f"Images differ in size: {members[0]!r} is {_describe(first)} and {member!r} is "
                f"{_describe(image)}. Pass size= to resize them, or images='lazy' or 'paths'."
            )
        decoded[row] = image
    return decoded


def _decode(store: ImageStore, member: str, options: ImageOptions) -> Pixels:
    with store.open(member) as encoded:
        pixels = open_pixels(encoded, store.name_of(member))
    if options.crop is None and options.size is None:
        return pixels
    image = pillow().Image.fromarray(pixels)
    if options.crop is not None:
        if options.crop[2] > image.width or options.crop[3] > image.height:
            raise ValueError(
                f"crop={options.crop} reaches outside {member!r}, which is {image.height} high "
                f"and {image.width} wide: pass a box inside it."
            )
        image = image.crop(tuple(options.crop))
    if options.size is not None:
        height, width = options.height_width
        resampling = pillow().Image.Resampling.LANCZOS
        image = pillow().ImageOps.fit(image, (width, height), resampling)
    return np.asarray(image, dtype=np.uint8)


def _describe(image: Pixels) -> str:
    return f"{image.shape[0]} high and {image.shape[1]} wide"
