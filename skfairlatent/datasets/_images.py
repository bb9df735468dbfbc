"""Decoding images: all at once into one array, or one by one when asked for."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skfairlatent.datasets._store import ImageStore

__all__ = ["ImageOptions", "LazyImages", "decode_all", "deliver", "orientation", "upright"]

Pixels: TypeAlias = NDArray[np.uint8]

_MODES = ("array", "lazy", "paths")
# What Pillow's readers raise on damaged bytes, by format.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError)

# The EXIF tag, and Pillow's names of the turns that undo its values.
_ORIENTATION = 0x0112
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


@dataclass(frozen=True)
class ImageOptions:
    """How images are cut, resized and returned; checked when made."""

    images: str | None = "array"
    crop: tuple[int, int, int, int] | None = None
    size: int | tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.images is not None and self.images not in _MODES:
            msg = f"images={self.images!r} is unknown: pass 'array', 'lazy', 'paths' or None."
            raise ValueError(msg)
        if self.images == "paths" and not (self.crop is None and self.size is None):
            msg = (
                "images='paths' returns files as they are: leave out crop and size, "
                "or pass images='lazy'."
            )
            raise ValueError(msg)
        if self.crop is not None:
            self._check_crop()
        if self.size is not None and min(self.height_width) < 1:
            msg = f"size={self.size!r} is no image size: pass pixels, as 64 or (height, width)."
            raise ValueError(msg)

    @property
    def height_width(self) -> tuple[int, int]:
        """The size asked for, as (height, width); (0, 0) if none was."""
        if isinstance(self.size, int | np.integer):
            return int(self.size), int(self.size)
        if self.size is None:
            return 0, 0
        height, width = self.size
        return int(height), int(width)

    def _check_crop(self) -> None:
        box = tuple(self.crop or ())
        if len(box) != 4 or box[0] >= box[2] or box[1] >= box[3] or min(box) < 0:
            msg = (
                f"crop={self.crop!r} is no box: pass (left, upper, right, lower) in pixels, "
                "with left < right and upper < lower."
            )
            raise ValueError(msg)


class LazyImages(Sequence[Pixels]):
    """A sequence of images that are decoded only when taken.

    An integer decodes one image. A slice, a mask or an array of integers gives another lazy
    sequence, so a chunk costs nothing until it is iterated over or passed to ``numpy.asarray``.
    It pickles by path: a worker process reads the files itself.

    Parameters
    ----------
    store : ImageStore
        Where the images are.
    members : sequence of str
        Their paths inside the store.
    options : ImageOptions
        How they are cut and resized.
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
            msg = "Images are decoded into new memory: copy=False cannot be kept."
            raise ValueError(msg)
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
            msg = (
                f"images='paths' needs files, and {str(store.path)!r} is a zip: "
                "pass images='lazy', or unpack it."
            )
            raise ValueError(msg)
        return [store.path_of(member) for member in members]
    if options.images == "lazy":
        _pillow()  # now, not at the first image hours later
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
            msg = (
                f"Images differ in size: {members[0]!r} is {_describe(first)} and {member!r} is "
                f"{_describe(image)}. Pass size= to resize them, or images='lazy' or 'paths'."
            )
            raise ValueError(msg)
        decoded[row] = image
    return decoded


def _decode(store: ImageStore, member: str, options: ImageOptions) -> Pixels:
    pillow = _pillow()
    encoded = io.BytesIO(store.read(member))
    try:
        with pillow.Image.open(encoded) as opened:
            image = upright(opened).convert("RGB")
    except _UNREADABLE as error:
        msg = (
            f"{member!r} in {str(store.path)!r} is not an image that Pillow can read ({error}): "
            "copy it again, or leave its row out of the table."
        )
        raise ValueError(msg) from error
    except pillow.Image.DecompressionBombError as error:
        msg = f"{member!r} in {str(store.path)!r} is too large to decode: {error}"
        raise ValueError(msg) from error
    if options.crop is not None:
        if options.crop[2] > image.width or options.crop[3] > image.height:
            msg = (
                f"crop={options.crop} reaches outside {member!r}, which is {image.height} high "
                f"and {image.width} wide: pass a box inside it."
            )
            raise ValueError(msg)
        image = image.crop(options.crop)
    if options.size is not None:
        height, width = options.height_width
        image = pillow.ImageOps.fit(image, (width, height), pillow.Image.Resampling.LANCZOS)
    return np.asarray(image, dtype=np.uint8)


def upright(picture: Any) -> Any:
    """Return a PIL image turned as its EXIF orientation says."""
    picture.load()  # Pillow turns a TIFF by itself, and then takes the tag away
    turn = _TURNS.get(orientation(picture))
    return picture if turn is None else picture.transpose(_pillow().Image.Transpose[turn])


def orientation(picture: Any) -> int:
    """Return the EXIF orientation of a PIL image, 1 to 8; 1 where there is none."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - damaged EXIF, of which Pillow has many errors, is none
        return 1


def _describe(image: Pixels) -> str:
    return f"{image.shape[0]} high and {image.shape[1]} wide"


def _pillow() -> ModuleType:
    try:
        import PIL.Image  # noqa: PLC0415 - an optional extra
        import PIL.ImageOps  # noqa: PLC0415
    except ImportError as error:
        msg = 'Reading images needs Pillow: pip install "skfairlatent[images]"'
        raise ImportError(msg) from error
    return PIL
