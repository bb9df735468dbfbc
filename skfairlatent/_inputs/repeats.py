"""Rows that were repeated, told from equal rows of different people."""

__all__ = [
    "WORTH_A_WARNING",
    "Distinct",
    "certain_repetitions",
    "distinct_rows",
    "warn_of_repetitions",
]

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from skfairlatent._row_hashes import exact_row_hashes
from skfairlatent._user_warnings import warn_user

Rows = npt.NDArray[np.floating]
Codes = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

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
# Rows that several columns tell from all others are people only if they have other groups most of
# the times that any two rows have: raters do not agree on the group of every image. Of one large
# set among others, such as those without a record, more is asked: one image may be hard to tell.
MOST_DIFFERENCE, MOST_OF_A_SET = 0.5, 0.8
# Where different people are equal, others are nearly equal: in two of three columns, drawn a few
# times. A table was repeated if, of the rows that nobody is nearly equal to, more than this share
# have equals, and so many at least: some 0.1 in honest tables, 0.4 in a bootstrap.
KEPT_COLUMNS, N_DRAWS, LONELY_SHARE, FEWEST_LONELY = 2 / 3, 16, 0.2, 5
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
        Groups of the rows. Where several columns tell equal rows from all others, these count
        instead of labels, if there are any: a person has one group, but may have several labels,
        by several raters or in several years.
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
    differences = _differences(first_of, label_codes)
    sure = small & told | _repeated(large, first_of, size, alike, differences)
    others, repeated = small & ~told, ~few & ~told & (alike == size)
    if _of_one_label(repeated, label_codes):
        others |= shared & repeated
    if len(np.unique(first_of)) < FEWEST_DISTINCT:
        others[:] = False
    sure &= not _differ(differences[sure])
    others &= not _differ(differences[others])
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
        Where several columns tell equal rows from all others, other groups of a few of these do
        not count, nor a column by which they differ, such as the age, if they agree in another.
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
    if group_codes is None:
        return few | many
    differences, one = _differences(first_of, group_codes), n_telling == 1
    alike = _sizes_of_equal(first_of, group_codes)
    by_one = _repeated(many & one, first_of, size, alike, differences)
    by_one |= few & one & (not _differ(differences[few & one]))
    by_two = few & ~one & ~_all_exceed(_mean(differences[few & ~one]), MOST_DIFFERENCE)
    certain: Mask = by_one | by_two | _repeated_of_two(many & ~one, first_of, differences)
    return certain


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

    Such a column has a value of the row that no others than its equals have. In a table that
    was repeated, all columns together tell the rows.
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
    elif (n_telling[sets] < 2).any() and _is_repeated(x[different], size[different] > 1):
        n_telling[sets] = 2
    return np.minimum(n_telling, 2)[first_of]


def _is_repeated(different: Rows, has_equals: Mask) -> bool:
    """Return whether rows have equals though no others are nearly equal to them.

    Parameters
    ----------
    different : ndarray of shape (n_different, d)
        Rows, each of them once.
    has_equals : ndarray of shape (n_different,)
    """
    n_columns = different.shape[1]
    rng = np.random.default_rng(0)
    lonely = np.ones(len(different), dtype=bool)
    for _ in range(N_DRAWS):
        n_lonely = (lonely & has_equals).sum()
        if n_lonely < FEWEST_LONELY:
            return False
        kept = rng.permutation(n_columns)[: int(KEPT_COLUMNS * n_columns)]
        _, size = _equal_rows(different[:, kept])
        lonely &= size == 1
    n_lonely = (lonely & has_equals).sum()
    return bool(n_lonely >= FEWEST_LONELY and n_lonely > LONELY_SHARE * lonely.sum())


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


def _repeated(
    in_sets: Mask, first_of: Codes, size: Codes, alike: Codes, differences: Floats
) -> Mask:
    """Return the rows in large sets of which all have the same codes; none if most sets differ.

    A set may have one rare code by chance. People without a record, who are one set, hide no
    others: each set counts once.
    """
    of_each = np.unique(first_of[in_sets])
    repeated: Mask = in_sets & (alike == size) & (not _differ(differences[of_each]))
    return repeated


def _repeated_of_two(in_sets: Mask, first_of: Codes, differences: Floats) -> Mask:
    """Return the rows in large sets, which two columns tell, but for those whose codes differ."""
    of_each = differences[np.unique(first_of[in_sets])]
    if _all_exceed(_mean(of_each), MOST_DIFFERENCE):
        return np.zeros_like(in_sets)
    return in_sets & ~_all_exceed(differences, MOST_OF_A_SET)


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


def _differences(first_of: Codes, codes: Codes) -> Floats:
    """Return how often equal rows have other codes, as a multiple of any two rows of the table.

    Parameters
    ----------
    first_of : ndarray of shape (n_samples,), int64
        The first row equal to each.
    codes : ndarray of shape (n_samples, n_columns), int64

    Returns
    -------
    ndarray of shape (n_samples, n_varying), float64
        Of the equals of each row, by column, without columns of one code; 0 of a row alone.
    """
    size = np.bincount(first_of)[first_of]
    n_pairs = np.maximum(size * (size - 1), 1)
    found = [np.empty((len(codes), 0))]
    for column in codes.T[np.ptp(codes, axis=0) > 0]:
        alike = _sizes_of_equal(first_of, column[:, np.newaxis])
        differing = np.bincount(first_of, size - alike)[first_of] / n_pairs
        chance = (np.unique(column, return_counts=True)[1] / len(column)) ** 2
        found.append(differing[:, np.newaxis] / (1.0 - chance.sum()))
    return np.hstack(found)


def _differ(differences: Floats) -> bool:
    """Return whether equal rows have other codes nearly as often as any two rows of the table.

    One column of codes is enough: people of a household or an area share some of them.
    """
    return bool((_mean(differences) > SMALLEST_DIFFERENCE).any())


def _mean(differences: Floats) -> Floats:
    """Return the mean over rows, 0 of no rows."""
    return np.asarray(differences.sum(axis=0) / max(len(differences), 1))


def _all_exceed(differences: Floats, limit: float) -> Mask:
    """Return where the differences of all columns exceed a limit; nowhere without columns."""
    exceed: Mask = (differences > limit).all(axis=-1) & (differences.shape[-1] > 0)
    return exceed
