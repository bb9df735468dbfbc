"""Warnings about groups and (label, group) cells with few rows to learn from."""

__all__ = ["warn_about_many_groups", "warn_about_thin_cells"]

import numpy as np
import numpy.typing as npt

from skfairlatent._user_warnings import warn_user
from skfairlatent._validation.groups import EncodedColumn

Codes = npt.NDArray[np.int64]

# An attribute of more groups is likely to be a number that was not cut, or a row's name.
MANY_GROUPS = 20
# More names than this make a warning unreadable.
MAX_NAMED = 8


def warn_about_many_groups(attribute: EncodedColumn) -> None:
    """Warn if an attribute has so many groups that few rows are left for each."""
    n_groups = len(attribute.values)
    if n_groups > MANY_GROUPS:
        shown = ", ".join(attribute.values[:3])
        warn_user(
            f"sensitive feature {attribute.label!r} has {n_groups} groups ({shown}, ...), "
            "each of which is matched with every other: few rows are left for each. Cut numbers "
            "into groups, as pandas.cut(age, [0, 30, 50, 120]), and merge rare categories."
        )


def warn_about_thin_cells(
    cells: Codes, counts: Codes, labels: list[str], groups: list[str]
) -> None:
    """Warn of cells without rows, of those with a single one, and if no label has two groups.

    Parameters
    ----------
    cells : ndarray of shape (n_cells,), int64
        The cells that have rows: position of the label times the number of groups, plus that of
        the group.
    counts : ndarray of shape (n_cells,), int64
        Their rows.
    labels, groups : list of str
        Names.
    """
    n_groups, n_all = len(groups), len(labels) * len(groups)
    if len(np.unique(cells // n_groups)) == len(cells) and n_groups > 1:
        warn_user(
            "Every label occurs in one group only, so that no groups can be compared within a "
            "label, as equalized odds compares them. Is sensitive_features the label, or computed "
            "from it?"
        )
        return
    # Only the first of the empty cells are listed: of many labels and groups there are millions.
    empty = np.setdiff1d(np.arange(min(n_all, len(cells) + MAX_NAMED)), cells)
    single = cells[counts == 1]
    for n_thin, thin, meaning in (
        (n_all - len(cells), empty, "no rows"),
        (len(single), single, "a single row"),
    ):
        if n_thin:
            shown = ", ".join(
                f"({labels[cell // n_groups]}, {groups[cell % n_groups]})"
                for cell in thin[:MAX_NAMED]
            ) + (", ..." if n_thin > MAX_NAMED else "")
            warn_user(
                f"{n_thin} (label, group) cell(s) have {meaning} in the training data: {shown}. "
                "These groups cannot be compared within these labels, and nothing is promised for "
                "them. Merge groups, or collect rows of these cells."
            )
