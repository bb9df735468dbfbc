"""CelebA and CelebA-HQ in the layouts in which they are published."""

__all__ = ["load_celeba", "load_celeba_hq"]

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import Bunch

from skfairlatent._wording import some_of
from skfairlatent.datasets._files import PathLike, Place, find_file, require_file, require_path
from skfairlatent.datasets._folder import assemble
from skfairlatent.datasets._images import ImageOptions
from skfairlatent.datasets._rows import AttributeTable, RowOptions
from skfairlatent.datasets._tables import (
    first_row,
    parse_table,
    read_text,
    reject_rows,
    require_columns,
    require_numbers,
    require_unique,
)
from skfairlatent.datasets._zips import as_folder

_SPLITS = ("train", "valid", "test")
# The official partition is by number: the last image of train, and the last of valid.
_LAST_OF_SPLIT = (162_770, 182_637)
_N_IMAGES = 202_599
_ID = "image_id"
_CELEBA_FOLDERS = ("", "Anno/", "Eval/", "Img/")
_HQ_FOLDERS = ("", "CelebAMask-HQ/")


def load_celeba(  # noqa: PLR0913 - one keyword for each independent choice
    path: PathLike,
    *,
    split: str | Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    max_images: int | None = None,
    random_state: int | np.random.RandomState | None = None,
    images: str | None = "array",
    crop: tuple[int, int, int, int] | None = None,
    size: int | tuple[int, int] | None = None,
) -> Bunch:
    """Load aligned CelebA faces and their 40 attributes from the official files or Kaggle's.

    The folder holds ``img_align_celeba.zip`` or ``img_align_celeba/``, ``list_attr_celeba.txt``
    and optionally ``list_eval_partition.txt`` and ``identity_CelebA.txt``, either side by side or
    in the official folders ``Img``, ``Anno`` and ``Eval``. Tables may be CSV files with a header
    instead, as on Kaggle (``list_attr_celeba.csv``), and images may be in a folder of the folder.
    Attributes must be -1 or 1: for a table of 0 and 1 use :func:`load_image_folder`. Archives are
    read without unpacking. CelebA is for non-commercial research.

    Parameters
    ----------
    path : path-like
        The folder, or one zip of all of it, such as Kaggle's ``archive.zip``.
    split : {"train", "valid", "test"} or sequence of them, default=None
        Splits to keep; by default all. Without ``list_eval_partition.txt`` the split follows from
        the number of the image, 1 to 202,599, as in the official partition.
    columns : sequence of str, default=None
        Attributes to keep, such as ``["Smiling", "Male"]``; by default all.
    max_images : int, default=None
        Maximum number of rows: the first ones, or with ``random_state`` a random choice.
    random_state : int, RandomState instance or None, default=None
        Seed of the random choice of ``max_images`` rows, which keep their order.
    images : {"array", "lazy", "paths"} or None, default="array"
        Form of the images, as in :func:`load_image_folder`. All 202,599 decoded faces take 24 GB:
        use ``"lazy"``, or ``crop`` and ``size``.
    crop : tuple of 4 int, default=None
        Box (left, upper, right, lower) in pixels, cut out of the images, 218 high and 178 wide.
        ``(25, 57, 153, 185)`` is the square of 128 pixels around the face.
    size : int or tuple of 2 int, default=None
        Size to resize to after the crop, in pixels, or (height, width).

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the entries:

        images : ndarray of shape (n, height, width, 3), uint8; LazyImages; list of str; or None
            The images, 0 to 255, RGB.
        frame : DataFrame of n rows
            The attributes as 0 and 1 (int8), and ``identity`` where its file is present.
        filenames : ndarray of shape (n,), object
            Path of each image inside the folder or zip.
        split : ndarray of shape (n,), object
            ``"train"``, ``"valid"`` or ``"test"``.

    Raises
    ------
    FileNotFoundError
        If the folder, a file, or an image named in the table is absent.
    ImportError
        If Pillow is not installed: ``pip install "skfairlatent[images]"``.
    TypeError
        If an image has more than 8 bits a channel.
    ValueError
        If a table is truncated, names an image twice, has rows of another length than its header
        or holds other values than published; if an image is corrupt or too large; or if an option
        is not valid.

    References
    ----------
    Liu, Luo, Wang, Tang, "Deep Learning Face Attributes in the Wild", ICCV 2015.

    Examples
    --------
    >>> from skfairlatent.datasets import load_celeba
    >>> faces = load_celeba(
    ...     "celeba", split="train", columns=["Smiling", "Male"], max_images=10_000,
    ...     crop=(25, 57, 153, 185), size=64,
    ... )  # doctest: +SKIP
    """
    options = ImageOptions(images, crop, size)
    root = require_path(path, "the folder of CelebA, or of a zip of it")
    with as_folder(root) as folder:
        table_path = require_file(folder, _celeba("list_attr_celeba"), "CelebA attribute table")
        frame = _read_attributes(table_path)
        frame_split = _celeba_split(folder, frame.index, table_path)
        identity_path = find_file(folder, _celeba("identity_CelebA"))
        if identity_path is not None:
            frame["identity"] = _read_pairs(identity_path, "identity", frame.index, (0, np.inf))
    image_root = root
    if root.is_dir():
        image_names = _celeba("img_align_celeba", (".zip", ""))
        image_root = require_file(root, image_names, "CelebA image folder or zip")
    rows = RowOptions(split, columns, max_images, random_state)
    return assemble(image_root, _as_table(frame, frame_split, table_path), rows, options)


def load_celeba_hq(
    path: PathLike,
    *,
    split: str | Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    max_images: int | None = None,
    random_state: int | np.random.RandomState | None = None,
    images: str | None = "array",
    size: int | tuple[int, int] | None = None,
) -> Bunch:
    """Load CelebA-HQ faces and their 40 attributes from the files of CelebAMask-HQ.

    The folder holds ``CelebA-HQ-img/`` (or ``CelebA-HQ-img.zip``),
    ``CelebAMask-HQ-attribute-anno.txt`` and, for the split, ``CelebA-HQ-to-CelebA-mapping.txt``,
    directly or in ``CelebAMask-HQ/``. CelebA-HQ is for non-commercial research.

    Parameters
    ----------
    path : path-like
        The folder.
    split : {"train", "valid", "test"} or sequence of them, default=None
        Splits of CelebA to keep, found through the mapping file; by default all.
    columns : sequence of str, default=None
        Attributes to keep, such as ``["Smiling", "Male"]``; by default all.
    max_images : int, default=None
        Maximum number of rows: the first ones, or with ``random_state`` a random choice.
    random_state : int, RandomState instance or None, default=None
        Seed of the random choice of ``max_images`` rows, which keep their order.
    images : {"array", "lazy", "paths"} or None, default="array"
        Form of the images, as in :func:`load_image_folder`. A decoded image of 1024 x 1024 pixels
        takes 3 MB: use ``size`` or ``"lazy"``.
    size : int or tuple of 2 int, default=None
        Size to resize to, in pixels, or (height, width).

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        The entries of :func:`load_celeba`. If the mapping file is present, ``frame`` has a column
        ``orig_file``, the name of the image in CelebA; otherwise ``split`` is None.

    Raises
    ------
    FileNotFoundError
        If the folder, a file, or an image named in the table is absent.
    ImportError
        If Pillow is not installed: ``pip install "skfairlatent[images]"``.
    TypeError
        If an image has more than 8 bits a channel.
    ValueError
        If a table is truncated, names an image twice, has rows of another length than its header
        or holds other values than published; if an image is corrupt or too large; or if an option
        is not valid.

    References
    ----------
    Lee, Liu, Wu, Luo, "MaskGAN: Towards Diverse and Interactive Facial Image Manipulation",
    CVPR 2020.

    Examples
    --------
    >>> from skfairlatent.datasets import load_celeba_hq
    >>> faces = load_celeba_hq("CelebAMask-HQ", split="test", size=256)  # doctest: +SKIP
    """
    options = ImageOptions(images, None, size)
    root = require_path(path, "the folder of CelebAMask-HQ")
    table_path = require_file(
        root,
        _under(_HQ_FOLDERS, ("CelebAMask-HQ-attribute-anno.txt",)),
        "CelebA-HQ attribute table",
    )
    frame = _read_attributes(table_path)
    frame_split = None
    mapping = find_file(root, _under(_HQ_FOLDERS, ("CelebA-HQ-to-CelebA-mapping.txt",)))
    if mapping is not None:
        frame["orig_file"] = _read_mapping(mapping, frame.index, table_path)
        frame_split = _split_by_number(frame["orig_file"], mapping)
    image_root = require_file(
        root,
        _under(_HQ_FOLDERS, ("CelebA-HQ-img", "CelebA-HQ-img.zip")),
        "CelebA-HQ image folder or zip",
    )
    rows = RowOptions(split, columns, max_images, random_state)
    return assemble(image_root, _as_table(frame, frame_split, table_path), rows, options)


def _under(folders: Sequence[str], names: Sequence[str]) -> list[str]:
    return [folder + name for name in names for folder in folders]


def _celeba(name: str, suffixes: Sequence[str] = (".txt", ".csv")) -> list[str]:
    return _under(_CELEBA_FOLDERS, [name + suffix for suffix in suffixes])


def _as_table(
    frame: pd.DataFrame, split: NDArray[np.object_] | None, path: Place
) -> AttributeTable:
    names = frame.index.to_numpy(dtype=object)
    return AttributeTable(names, frame.reset_index(drop=True), split, repr(path.name))


def _read_attributes(path: Place) -> pd.DataFrame:
    """Return the attributes, -1 and 1 in the file, as 0 and 1, by image.

    The official file has a count line, a line of attribute names, then a row an image; that of
    Kaggle is a CSV with a header.
    """
    text, source = read_text(path), repr(path.name)
    first, _, rest = text.partition("\n")
    if first.strip().isdecimal():
        table = parse_table(f"\n{_ID} {rest}", source, spaced=True, as_text=(_ID,))
        if len(table) != int(first):
            raise ValueError(
                f"{source} announces {first.strip()} images and lists {len(table)}: "
                "it was cut short; copy it again."
            )
    elif _ID in first_row(text):
        table = parse_table(text, source, as_text=(_ID,))
    else:
        raise ValueError(
            f"{source} starts with {first[:40]!r}: expected the number of images, as in the "
            f"official file, or a header with {_ID}, as in Kaggle's."
        )
    table = _by_image(table, source)
    for name in table.columns:
        table[name] = require_numbers(table, name, source, [-1, 1]) == 1
    return table.astype(np.int8)


def _by_image(table: pd.DataFrame, source: str) -> pd.DataFrame:
    require_unique(table[_ID], source)
    return table.set_index(_ID)


def _celeba_split(root: Place, names: pd.Index, table: Place) -> NDArray[np.object_]:
    path = find_file(root, _celeba("list_eval_partition"))
    if path is None:
        return _split_by_number(names.to_series(), table)
    return _split_names(_read_pairs(path, "partition", names, [0, 1, 2]))


def _split_by_number(names: pd.Series, path: Place) -> NDArray[np.object_]:
    expected = (
        f"the number of an image of CelebA, 1 to {_N_IMAGES}, as the split follows from it. "
        "For other images add list_eval_partition.txt, or use load_image_folder"
    )
    numbers = _numbers(names, repr(path.name), expected)
    reject_rows(names, ~numbers.between(1, _N_IMAGES), repr(path.name), expected)
    # Numbers start at 1, and the bounds are inclusive: hence side="left".
    return _split_names(np.searchsorted(_LAST_OF_SPLIT, numbers, side="left"))


def _split_names(codes: NDArray[np.int64]) -> NDArray[np.object_]:
    names: NDArray[np.object_] = np.array(_SPLITS, dtype=object)[codes]
    return names


def _read_pairs(
    path: Place, column: str, names: pd.Index, allowed: Sequence[int] | tuple[float, float]
) -> NDArray[np.int64]:
    """Return one number an image, in the order of ``names``.

    The official files have neither header nor commas, those of Kaggle have both.
    """
    text, source = read_text(path), repr(path.name)
    if _ID in first_row(text):
        table = parse_table(text, source, as_text=(_ID,))
        require_columns(table, (column,), source)
    else:
        table = parse_table(text, source, names=(_ID, column), spaced=True, as_text=(_ID,))
    table[column] = require_numbers(table, column, source, allowed)
    values = _by_image(table, source)[column].reindex(names)
    _require_all(values, path)
    numbers: NDArray[np.int64] = values.to_numpy(dtype=np.int64)
    return numbers


def _read_mapping(path: Place, names: pd.Index, table: Place) -> NDArray[np.object_]:
    """Read the CelebA file name for each CelebA-HQ image, whose index is its name."""
    source = repr(path.name)
    mapping = parse_table(read_text(path), source, spaced=True, as_text=("orig_file",))
    require_columns(mapping, ("idx", "orig_file"), source)
    mapping["idx"] = require_numbers(mapping, "idx", source, (0, np.inf))
    require_unique(mapping["idx"], source)
    index = _numbers(names.to_series(), repr(table.name), "the number of an image of CelebA-HQ")
    original = mapping.set_index("idx")["orig_file"].reindex(index)
    _require_all(original, path)
    file_names: NDArray[np.object_] = original.to_numpy(dtype=object)
    return file_names


def _numbers(names: pd.Series, source: str, expected: str) -> pd.Series:
    """Return the numbers that are the names of files, without their suffix."""
    digits = names.str.extract(r"^(\d{1,9})(?:\.\w+)?$", expand=False)
    reject_rows(names, digits.isna(), source, expected)
    return digits.astype(np.int64)


def _require_all(values: pd.Series, path: Place) -> None:
    if values.isna().any():
        missing = some_of(map(str, values.index[values.isna()]))
        raise ValueError(
            f"{path.name!r} does not list {', '.join(missing)}: copy the official file again."
        )
