"""One image, from wherever it is, opened and decoded within bounds."""

__all__ = ["MAX_BYTES", "Pixels", "open_pixels", "opened", "orientation", "pillow", "upright"]

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from skfairlatent.datasets._files import open_regular

Pixels: TypeAlias = NDArray[np.uint8]

# Encoded, one image; as much as the pixels that Pillow decodes by default take.
MAX_BYTES = 256 << 20

# Errors of Pillow's readers on damaged bytes, by format.
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


def open_pixels(item: Any, name: str) -> Pixels:
    """Return the pixels of an image as uint8 RGB.

    Modes are converted by Pillow's ``convert("RGB")``: opacity is dropped, not blended, and of
    an animation the first frame is taken. Photographs are turned upright, as their EXIF
    orientation says, which viewers do too.

    Parameters
    ----------
    item : PIL image, path or binary file
        The image, where it is, or its encoded bytes.
    name : str
        Its name in messages.

    Raises
    ------
    TypeError
        If the image has more than 8 bits a channel.
    ValueError
        If the file is not a regular file, is damaged, is not an image, or is larger than allowed:
        256 MiB encoded, and ``PIL.Image.MAX_IMAGE_PIXELS`` decoded.
    """
    with opened(item, name) as picture:
        if picture.mode[0] in "IF":
            # Pillow would make all above 255 white.
            raise TypeError(
                f"{name} has more than 8 bits a channel (mode {picture.mode}): save it with 8 "
                "bits, or pass it as an array of floats from 0 to 1."
            )
        return np.asarray(upright(picture).convert("RGB"), dtype=np.uint8)


@contextmanager
def opened(item: Any, name: str) -> Iterator[Any]:
    """Give the PIL image, opened if it is a path; what fails within is told under its name."""
    if isinstance(item, str | os.PathLike):
        with open_regular(item, name, limit=MAX_BYTES) as file, opened(file, name) as picture:
            yield picture
        return
    image = pillow().Image
    try:
        if hasattr(item, "convert"):
            yield item
        else:
            with image.open(item) as picture:
                _check_pixels(picture, image)
                yield picture
    except (image.DecompressionBombError, image.DecompressionBombWarning) as error:
        raise ValueError(
            f"{name} is too large to decode ({error}): scale it down first, or raise "
            "PIL.Image.MAX_IMAGE_PIXELS if you trust it."
        ) from error
    except _UNREADABLE as error:
        # Pillow shows the open file, whose address tells nobody anything.
        is_unknown = isinstance(error, pillow().UnidentifiedImageError)
        reason = "its format is unknown" if is_unknown else error
        raise ValueError(
            f"{name} is not an image that Pillow can read ({reason}): copy it again, or leave it "
            "out."
        ) from error


def upright(picture: Any) -> Any:
    """Return a PIL image turned as its EXIF orientation says."""
    picture.load()  # Pillow turns a TIFF by itself, and then takes the tag away
    turn = _TURNS.get(orientation(picture))
    return picture if turn is None else picture.transpose(pillow().Image.Transpose[turn])


def orientation(picture: Any) -> int:
    """Return the EXIF orientation of a PIL image, 1 to 8; 1 where there is none."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - damaged EXIF, of which Pillow has many errors, is none
        return 1


def pillow() -> ModuleType:
    """Return PIL with the modules in use, or say how to install it."""
    try:
        import PIL.Image  # noqa: PLC0415 - an optional extra
        import PIL.ImageOps  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(
            'Reading images needs Pillow: pip install "skfairlatent[images]"'
        ) from error
    return PIL


def _check_pixels(picture: Any, image: Any) -> None:
    """Refuse what Pillow only warns of: up to twice its limit."""
    pixels, most = picture.width * picture.height, image.MAX_IMAGE_PIXELS
    if most is not None and pixels > most:
        raise image.DecompressionBombError(f"{pixels} pixels, {most} at most")
