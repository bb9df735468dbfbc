"""Rows that were repeated, told from equal rows of different people."""

__all__ = ["Distinct", "certain_repetitions", "distinct_rows", "warn_of_repetitions"]

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from skfairlatent._row_hashes import exact_row_hashes
from skfairlatent._user_warnings import warn_user

Rows = npt.NDArray[np.floating]
Codes = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# A column is fine if it has more different values than this share of the different rows. Equal
# rows with a value of it that no other row has repeat one another: different people are hardly
# equal there. Among fewer different rows than the first number, one such column may be chance, or
# a code, but not two, unless there are fewer than the second.
FINE, FEWEST_OF_A_FINE_COLUMN, FEWEST_OF_TWO = 0.5, 30, 10
# Rows that tell whether a column may be fine.
SOME_ROWS = 2000
# Without a fine column, equal ones of fewer different rows are those of different people: a table
# of a few columns has no others.
FEWEST_DISTINCT = 100
# So are more equal rows than this share of a table, such as those without a record, but for sets
# that two fine columns tell if another is about as large: people without a record are one set.
LARGEST_SHARE = 0.2
# So many equal rows are the repetitions of one only if they have all the same label, and, without
# a fine column, if such rows have clearly more often one label than another, as where a rare label
# was drawn more often: a label that depends on a code only is that of all people of the code.
MANY, CLEARLY_MORE = 20, 0.5
# Of fewer equal rows chance may give all the same label: those of a table are judged together. Two
# of different people have other labels as often as any two rows, but for what X tells of the
# label: at least so much as often.
SMALLEST_DIFFERENCE = 0.1
# Fewer repetitions than this share of the rows change no result that counts rows as people: some
# tables hold a few.
WORTH_A_WARNING = 0.01


class Distinct(NamedTuple):
    """The first row of each that was repeated, in order, and for every row which it repeats.

    Parameters
    ----------
    first : ndarray of shape (n_distinct,), int64
        Row numbers.
    of_row : ndarray of shape (n_samples,), int64
        Positions in `first`.
    """

    first: Codes
    of_row: Codes


def distinct_rows(x: Rows, label_codes: Codes, group_codes: Codes | None = None) -> Distinct:
    """Return the rows without repetitions, as far as groups and labels tell these from people.

    Parameters
    ----------
    x : ndarray of shape (n_samples, d)
    label_codes : ndarray of shape (n_samples, n_label_columns), int64
        Labels of the rows, which tell repetitions from equal rows of different people: among
        the latter they differ.
    group_codes : ndarray of shape (n_samples, n_group_columns), int64, optional
        Groups of the rows. Where two columns tell equal rows from all others, these count instead
        of labels, if there are any: a person has one group, but may have several labels, by
        several raters or in several years.
    """
    first_of, size = _equal_rows(x)
    if not (size > 1).any():
        return _distinct(first_of, size > 1)
    alike = np.ones_like(size)
    alike[size > 1] = _sizes_of_equal(first_of[size > 1], label_codes[size > 1])
    n_telling = _n_telling(x, first_of, size)
    told, few, shared = n_telling > 0, size < MANY, (size > 1) & (size <= LARGEST_SHARE * len(x))
    small, large = shared & few, shared & told & ~few
    large |= _but_a_lone_one(first_of, size, n_telling > 1) & ~small
    sure = small & told | _repeated(large, first_of, size, alike, label_codes)
    others, repeated = small & ~told, ~few & ~told & (alike == size)
    if _of_one_label(repeated, label_codes):
        others |= shared & repeated
    if len(np.unique(first_of)) < FEWEST_DISTINCT:
        others[:] = False
    sure &= not _codes_differ(first_of, sure, label_codes)
    others &= not _codes_differ(first_of, others, label_codes)
    if group_codes is not None and group_codes.shape[1]:
        sure |= _certain(first_of, size, np.where(n_telling > 1, n_telling, 0), group_codes)
    return _distinct(first_of, sure | others)


def certain_repetitions(x: Rows, group_codes: Codes | None = None) -> Distinct:
    """Return the rows without those that certainly repeat others, whatever the labels are.

    Parameters
    ----------
    x : ndarray of shape (n_samples, d)
    group_codes : ndarray of shape (n_samples, n_group_columns), int64, optional
        Groups of the rows. If equal rows have others nearly as often as any two rows, they are
        those of different people, as of an area. Labels do not tell: a person may have several.
    """
    first_of, size = _equal_rows(x)
    if not (size > 1).any():
        return _distinct(first_of, size > 1)
    n_telling = _n_telling(x, first_of, size)
    return _distinct(first_of, _certain(first_of, size, n_telling, group_codes))


def warn_of_repetitions(found: Distinct, counts: str) -> None:
    """Warn if more than a few rows repeat others.

    Parameters
    ----------
    found : Distinct
    counts : str
        What counts each row as a person of their own, with the verb, as in "a bound counts".
    """
    n_rows = len(found.of_row)
    n_repeated = n_rows - len(found.first)
    if n_repeated > WORTH_A_WARNING * n_rows:
        warn_user(
            f"{n_repeated:,} of the {n_rows:,} rows repeat others in every column, as several "
            f"rows of a person or people of a household do, and {counts} each row as drawn by "
            "itself: pass one row of each."
        )


def _certain(first_of: Codes, size: Codes, n_telling: Codes, group_codes: Codes | None) -> Mask:
    """Return which rows are in sets of equal ones that certainly repeat one row each."""
    few, many = (n_telling > 0) & (size < MANY), _sets_of_many(first_of, size, n_telling)
    if group_codes is not None:
        alike = _sizes_of_equal(first_of, group_codes)
        few &= not _codes_differ(first_of, few, group_codes)
        many = _repeated(many, first_of, size, alike, group_codes)
    return few | many


def _equal_rows(x: Rows) -> tuple[Codes, Codes]:
    """Return the number of the first row equal to each, and how many are."""
    x = x if x.dtype.kind == "f" else x.astype(np.float64)
    _, first, of_row = np.unique(exact_row_hashes(x), return_index=True, return_inverse=True)
    return first[of_row], np.bincount(of_row)[of_row]


def _distinct(first_of: Codes, repeated: Mask) -> Distinct:
    return Distinct(
        *np.unique(np.where(repeated, first_of, np.arange(len(first_of))), return_inverse=True)
    )


def _n_telling(x: Rows, first_of: Codes, size: Codes) -> Codes:
    """Return how many fine columns tell each row from others: no, one, or two and more.

    Such a column has a value of the row that no others than its equals have.
    """
    different = np.unique(first_of)
    sets = different[size[different] > 1]
    n_telling = np.zeros(len(x), dtype=np.int64)
    if len(different) < FEWEST_OF_TWO:
        return n_telling
    some = different[:: 1 + len(different) // SOME_ROWS]
    for column in x.T:
        if len(np.unique(column[some])) > FINE * len(some):
            values, counts = np.unique(column[different], return_counts=True)
            if len(values) > FINE * len(different):
                n_telling[sets] += counts[np.searchsorted(values, column[sets])] == 1
                if (n_telling[sets] > 1).all():
                    break
    if len(different) < FEWEST_OF_A_FINE_COLUMN:
        n_telling[n_telling == 1] = 0
    return np.minimum(n_telling, 2)[first_of]


def _sets_of_many(first_of: Codes, size: Codes, n_telling: Codes) -> Mask:
    """Return which rows are in large sets of equal ones that certainly repeat one row each.

    Either two fine columns tell them, or one does and most rows of the table are in sets of
    exactly the same size: people with a code are not drawn so evenly.
    """
    many = (size >= MANY) & (n_telling > 0)
    rows_of_size = np.bincount(size[many], minlength=1)
    even = many & (size == rows_of_size.argmax()) & (rows_of_size.max() > len(size) / 2)
    return many & _but_a_lone_one(first_of, size, even | (n_telling > 1))


def _but_a_lone_one(first_of: Codes, size: Codes, in_sets: Mask) -> Mask:
    """Return the rows in sets of equal ones, but for a set more than twice as large as any other.

    People without a record are such a set, which a fine column tells as well: no others have
    their value of it.
    """
    sizes = np.sort(size[np.unique(first_of[in_sets])])
    second_largest = int(sizes[-2]) if len(sizes) > 1 else 0
    return in_sets & (size <= 2 * second_largest)


def _repeated(in_sets: Mask, first_of: Codes, size: Codes, alike: Codes, codes: Codes) -> Mask:
    """Return the rows in large sets of which all have the same codes; none if most sets differ.

    A set may have one rare code by chance. People without a record, who are one set, hide no
    others: each set counts once.
    """
    of_each = np.unique(first_of[in_sets])
    repeated: Mask = in_sets & (alike == size) & (not _codes_differ(first_of, of_each, codes))
    return repeated


def _of_one_label(repeated: Mask, label_codes: Codes) -> bool:
    """Return whether the share of repeated rows is clearly larger for some labels than others."""
    shares = [
        np.bincount(codes, repeated) / np.maximum(np.bincount(codes), 1) for codes in label_codes.T
    ]
    return any(np.ptp(of_each) > CLEARLY_MORE for of_each in shares)


def _sizes_of_equal(of_row: Codes, label_codes: Codes) -> Codes:
    """Return how many rows are equal to each and have its labels."""
    of_pair = of_row
    for codes in label_codes.T:
        _, of_pair = np.unique(of_pair * (codes.max() + 1) + codes, return_inverse=True)
    sizes: Codes = np.bincount(of_pair)[of_pair]
    return sizes


def _codes_differ(first_of: Codes, rows: Mask | Codes, codes: Codes) -> bool:
    """Return whether equal rows have other codes nearly as often as any two rows of the table.

    One column of codes is enough: people of a household or an area share some of them.

    Parameters
    ----------
    first_of : ndarray of shape (n_samples,), int64
        The first row equal to each.
    rows : ndarray
        Which rows to look at; all of them have an equal.
    codes : ndarray of shape (n_samples, n_columns), int64
    """
    others = np.bincount(first_of)[first_of[rows]] - 1
    if not len(others):
        return False
    for column in codes.T:
        alike = _sizes_of_equal(first_of, column[:, np.newaxis])[rows] - 1
        chance = (np.unique(column, return_counts=True)[1] / len(column)) ** 2
        if 1.0 - (alike / others).mean() > SMALLEST_DIFFERENCE * (1.0 - chance.sum()):
            return True
    return False
