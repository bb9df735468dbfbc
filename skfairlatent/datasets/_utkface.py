"""UTKFace, with attributes in the names of its files."""

__all__ = ["load_utkface"]

import re
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from skfairlatent._user_warnings import warn_user
from skfairlatent._wording import some_of
from skfairlatent.datasets._files import PathLike, require_path
from skfairlatent.datasets._folder import bundle
from skfairlatent.datasets._images import ImageOptions
from skfairlatent.datasets._rows import AttributeTable, RowOptions
from skfairlatent.datasets._store import ImageStore

# [age]_[gender]_[race]_[date and time]; what follows the date varies from copy to copy.
_NAME = re.compile(r"(?P<age>\d{1,3})_(?P<gender>[01])_(?P<race>[0-4])_\d+", re.ASCII)
_MAX_AGE = 120


def load_utkface(
    path: PathLike,
    *,
    columns: list[str] | None = None,
    max_images: int | None = None,
    random_state: int | np.random.RandomState | None = None,
    images: str | None = "array",
    crop: tuple[int, int, int, int] | None = None,
    size: int | tuple[int, int] | None = None,
) -> Bunch:
    """Load UTKFace images, with age, gender and race read from the file names.

    A few published names lack a part, such as ``61_3_20170109150557335.jpg``. These images are
    left out, listed in ``skipped`` and named in a warning. UTKFace is for non-commercial research.

    Parameters
    ----------
    path : path-like
        A folder of images (searched recursively) or a zip of them, named
        ``[age]_[gender]_[race]_[date&time].jpg``.
    columns : list of str, default=None
        Attributes to keep, of ``age``, ``gender`` and ``race``; by default all.
    max_images : int, default=None
        Maximum number of rows: the first ones by file name, which begins with the age. Pass
        ``random_state`` as well for a representative sample.
    random_state : int, RandomState instance or None, default=None
        Seed of the random choice of ``max_images`` rows, which keep their order.
    images : {"array", "lazy", "paths"} or None, default="array"
        Form of the images, as in :func:`load_image_folder`.
    crop : tuple of 4 int, default=None
        Box (left, upper, right, lower) in pixels, cut out before resizing.
    size : int or tuple of 2 int, default=None
        Size to resize to, in pixels, or (height, width).

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the entries:

        images : ndarray of shape (n, height, width, 3), uint8; LazyImages; list of str; or None
            The images, 0 to 255, RGB.
        frame : DataFrame of n rows
            ``age`` in years (int16); ``gender``, 0 male and 1 female; ``race``, 0 White, 1 Black,
            2 Asian, 3 Indian, 4 others (int8). The names are those of the data set's authors.
        filenames : ndarray of shape (n,), object
            Path of each image inside the folder or zip.
        split : None
            The data set has no official split.
        skipped : list of str
            Images whose name lacks a part, or has an age above 120.

    Raises
    ------
    FileNotFoundError
        If the path is absent or holds no image.
    ImportError
        If Pillow is not installed: ``pip install "skfairlatent[images]"``.
    TypeError
        If an image has more than 8 bits a channel.
    ValueError
        If no name has all parts, if two folders hold the same name, if an image is corrupt, or if
        images differ in size.

    Warns
    -----
    UserWarning
        If images were skipped.

    References
    ----------
    Zhang, Song, Qi, "Age Progression/Regression by Conditional Adversarial Autoencoder",
    CVPR 2017.

    Examples
    --------
    >>> from skfairlatent.datasets import load_utkface
    >>> faces = load_utkface("UTKFace.zip", max_images=5000, random_state=0)  # doctest: +SKIP
    """
    options = ImageOptions(images, crop, size)
    store = ImageStore(require_path(path, "a folder or a zip of UTKFace images"))
    try:
        table, skipped = _parse_names(store.members, store.path.name)
        chosen = table.select(RowOptions(None, columns, max_images, random_state))
    except (TypeError, ValueError):
        store.close()
        raise
    return bundle(store, list(chosen.names), chosen, options, skipped=skipped)


def _parse_names(members: list[str], source: str) -> tuple[AttributeTable, list[str]]:
    """Return the attributes of the names that have them, and the names that do not."""
    matches = {member: _NAME.match(PurePosixPath(member).name) for member in members}
    parsed = {
        member: match.groupdict()
        for member, match in matches.items()
        if match and int(match["age"]) <= _MAX_AGE
    }
    skipped = [member for member in members if member not in parsed]
    if not parsed:
        raise ValueError(
            f"No image of {source!r} is named [age]_[gender]_[race]_[date&time].jpg, "
            f"for instance {members[0]!r}: use load_image_folder with a table of attributes."
        )
    _require_one_copy(list(parsed), source)
    if skipped:
        warn_user(
            f"{len(skipped)} of {len(members)} images of {source!r} were skipped, because their "
            f"names lack age, gender or race: {', '.join(some_of(skipped))}. Rename them "
            "to include them.",
            UserWarning,
        )
    frame = pd.DataFrame.from_records(list(parsed.values())).astype(
        {"age": np.int16, "gender": np.int8, "race": np.int8}
    )
    return AttributeTable(np.array(list(parsed), dtype=object), frame, None, repr(source)), skipped


def _require_one_copy(members: list[str], source: str) -> None:
    """Raise ValueError if two folders hold the same images, as some downloads do."""
    paths = [PurePosixPath(member) for member in members]
    repeated = pd.Index([path.stem for path in paths]).duplicated()
    if repeated.any():
        stem = paths[int(np.argmax(repeated))].stem
        copies = ", ".join(repr(str(path)) for path in paths if path.stem == stem)
        raise ValueError(
            f"{source} holds {repeated.sum()} images more than once, such as {copies}: pass the "
            "path of the one folder whose images you want, unpacked if this is a zip."
        )
