"""A folder or zip of images with a table of attributes."""

__all__ = ["assemble", "load_image_folder"]

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from skfairlatent.datasets._files import PathLike, find_file, require_file, require_path
from skfairlatent.datasets._images import ImageOptions, deliver
from skfairlatent.datasets._rows import AttributeTable, RowOptions, read_attributes
from skfairlatent.datasets._store import ImageStore

_TABLE_NAMES = ("attributes.csv", "metadata.csv")


def load_image_folder(  # noqa: PLR0913 - one keyword for each independent choice
    path: PathLike,
    attributes: PathLike | pd.DataFrame | None = None,
    *,
    split: str | Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    max_images: int | None = None,
    random_state: int | np.random.RandomState | None = None,
    images: str | None = "array",
    crop: tuple[int, int, int, int] | None = None,
    size: int | tuple[int, int] | None = None,
) -> Bunch:
    """Load images and their attributes from a folder or a zip.

    Rows are selected before images are decoded, and a zip is read without unpacking it. Images
    without a row in the table are left out.

    Parameters
    ----------
    path : path-like
        A zip of images; a folder that holds ``images.zip`` or ``images/``; or a folder of images,
        searched recursively.
    attributes : path-like or DataFrame, default=None
        The table, with one row for each image: a CSV file or a DataFrame. A column ``image_id``,
        ``file_name``, ``filename`` or ``image`` names the image, with or without its suffix; a
        column ``split`` is optional. The file is UTF-8, with fields separated by commas,
        semicolons or tabs, and may be compressed with gzip or zip. The default is
        ``attributes.csv`` or ``metadata.csv`` in the folder, or in the folder of the zip.
    split : str or sequence of str, default=None
        Splits to keep, compared as text: 1 and ``"1"`` are the same. By default all rows are kept,
        also those without a split.
    columns : sequence of str, default=None
        Attributes to keep; by default all.
    max_images : int, default=None
        Maximum number of rows: the first ones, or with ``random_state`` a random choice.
    random_state : int, RandomState instance or None, default=None
        Seed of the random choice of ``max_images`` rows, which keep the order of the table.
    images : {"array", "lazy", "paths"} or None, default="array"
        ``"array"`` decodes every chosen image into one array. ``"lazy"`` gives a sequence that
        decodes an image when it is taken, for data larger than memory. ``"paths"`` gives the
        paths of the files (folders only). None gives no images.
    crop : tuple of 4 int, default=None
        Box (left, upper, right, lower) in pixels, cut out before resizing.
    size : int or tuple of 2 int, default=None
        Size to resize to, in pixels, or (height, width). Images of other proportions are cropped
        evenly on both sides, not stretched.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the entries:

        images : ndarray of shape (n, height, width, 3), uint8; LazyImages; list of str; or None
            The images, 0 to 255, RGB.
        frame : DataFrame of n rows
            The attributes.
        filenames : ndarray of shape (n,), object
            Path of each image inside the folder or zip.
        split : ndarray of shape (n,), object, or None
            The split of each row as text, or None where it is missing. None if the table has no
            splits.

    Raises
    ------
    FileNotFoundError
        If the folder, the table, or an image named in the table is absent.
    ImportError
        If Pillow is not installed: ``pip install "skfairlatent[images]"``.
    TypeError
        If an image has more than 8 bits a channel.
    ValueError
        If the table is damaged or names an image twice; if an image is corrupt, no regular file,
        or larger than 256 MiB or ``PIL.Image.MAX_IMAGE_PIXELS``; if images differ in size; or if
        an option is unknown. The message names the file.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import pandas as pd
    >>> from PIL import Image
    >>> from skfairlatent.datasets import load_image_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("a", "b", "c"):
    ...         Image.new("RGB", (8, 8)).save(pathlib.Path(folder, f"{name}.png"))
    ...     table = pd.DataFrame({"image_id": ["a", "b", "c"], "smiling": [0, 1, 1]})
    ...     faces = load_image_folder(folder, table, max_images=2)
    >>> faces.images.shape, faces.frame["smiling"].tolist()
    ((2, 8, 8, 3), [0, 1])
    """
    image_options = ImageOptions(images, crop, size)
    root = require_path(path, "a folder or a zip of images")
    given = _default_table(root) if attributes is None else attributes
    return assemble(
        _image_root(root),
        read_attributes(given),
        RowOptions(split, columns, max_images, random_state),
        image_options,
    )


def assemble(
    image_root: Path, table: AttributeTable, row_options: RowOptions, options: ImageOptions
) -> Bunch:
    """Choose rows, find their images, and return both as a Bunch."""
    chosen = table.select(row_options)
    store = ImageStore(image_root)
    try:
        members = store.resolve(chosen.names, chosen.source)
    except (FileNotFoundError, ValueError):
        store.close()
        raise
    return bundle(store, members, chosen, options)


def bundle(
    store: ImageStore,
    members: list[str],
    chosen: AttributeTable,
    options: ImageOptions,
    **extra: Any,
) -> Bunch:
    """Return images in the form asked for, beside their rows."""
    return Bunch(
        images=deliver(store, members, options),
        frame=chosen.frame,
        filenames=np.array(members, dtype=object),
        split=chosen.split,
        **extra,
    )


def _image_root(root: Path) -> Path:
    if root.is_file():
        return root
    return find_file(root, ("images.zip", "images")) or root


def _default_table(root: Path) -> Path:
    folder = root.parent if root.is_file() else root
    try:
        return require_file(folder, _TABLE_NAMES, "attribute table")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error} Pass the table as attributes=, a path or a DataFrame."
        ) from None
