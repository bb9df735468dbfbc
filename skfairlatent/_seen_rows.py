"""Which rows a fit has seen, as far as it takes to warn that they are used again."""

__all__ = ["Buckets", "SeenRows", "share_seen"]

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skfairlatent._inputs.repeats import certain_repetitions
from skfairlatent._row_hashes import Hashes, hashes_of_close_rows, row_hashes

# Buckets for each row of fit, and at most (half a megabyte of bits).
_BUCKETS_A_ROW = 4
_MAX_BUCKETS = 2**22
# Standard deviations by which hits must exceed what chance gives.
_DEVIATIONS = 4.0
# The error of a count of equal pairs is taken as if so many more had been found: none among a
# hundred rows does not mean that there are none among others.
_MORE_PAIRS = 4
# About as many rows tell the spread of a feature.
_ROWS_OF_SPREAD = 5000

Rows = npt.NDArray[np.floating]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Buckets:
    """The hashes of a fit as one bit each in a table of buckets.

    A row of other people falls into an occupied bucket in about one case in six, so that the
    bits tell next to nothing about one row, but much about many.

    Parameters
    ----------
    bits : ndarray of shape (n_buckets / 8,), uint8
        Whether a row fell into each bucket.
    twin_share : ndarray of shape (), float64
        Share of the rows that have an equal among the others, from 0 to 1: of independent rows
        about the same share has an equal among those of fit, though they are other people.
    twin_error : ndarray of shape (), float64
        Standard error of that estimate.
    """

    bits: npt.NDArray[np.uint8]
    twin_share: Floats
    twin_error: Floats

    @classmethod
    def of(cls, hashes: Hashes) -> "Buckets":
        """Return the table of the hashes of a fit, one for each row.

        The share of rows without an equal estimates that of other people who have none among the
        rows of fit (Good and Turing).
        """
        n_rows = len(hashes)
        _, counts = np.unique(hashes, return_counts=True)
        twin_share = np.array(1 - np.sum(counts == 1) / n_rows)
        n_buckets = min(1 << (_BUCKETS_A_ROW * n_rows - 1).bit_length(), _MAX_BUCKETS)
        occupied = np.zeros(n_buckets, dtype=bool)
        occupied[hashes % np.uint64(n_buckets)] = True
        return cls(np.packbits(occupied), twin_share, np.array(_twin_error(counts)))

    @classmethod
    def without_error(cls, bits: npt.NDArray[np.uint8], twin_share: Floats) -> "Buckets":
        """Return a table of an older file, which kept no error: the largest that it may have."""
        n_rows = bits.size  # or more: there are at most eight buckets for each row
        variance = twin_share * (2 - twin_share) / n_rows + 4 * _MORE_PAIRS / n_rows**2
        return cls(bits, twin_share, np.sqrt(variance))

    def with_those_of(self, before: "Buckets") -> "Buckets":
        """Put two tables together.

        The smaller table is repeated: a row's bucket in it is the rest of that in a larger one.
        """
        tables = [np.unpackbits(each.bits) for each in (self, before)]
        size = max(map(len, tables))
        occupied = np.resize(tables[0], size) | np.resize(tables[1], size)
        return Buckets(
            np.packbits(occupied),
            np.maximum(self.twin_share, before.twin_share),
            np.maximum(self.twin_error, before.twin_error),
        )

    def share_of(self, hashes: Hashes, *, chosen: bool = False) -> float:
        """Return the share of hashes that are of rows of fit; 0 where chance explains the hits.

        Chance has three parts: how many people have an equal among the rows of fit is estimated,
        these rows are a sample of people, and all equal rows share one bucket, which is occupied
        by others or is not.

        Parameters
        ----------
        hashes : ndarray of shape (n,), uint64
        chosen : bool
            As `is_chosen` tells: the rows asked about tell then how many people have an equal.
        """
        occupied = np.unpackbits(self.bits).astype(bool)
        by_accident = occupied.mean()
        values, counts = np.unique(hashes, return_counts=True)
        hit = counts @ occupied[values % np.uint64(len(occupied))] / len(hashes)
        twin_share, twin_error = float(self.twin_share), float(self.twin_error)
        if chosen:
            twin_share, twin_error = self._twins_of(counts)
        by_chance = twin_share + (1 - twin_share) * by_accident
        sampled = twin_share * (1 - twin_share) / len(hashes)
        variance = (1 - by_accident) ** 2 * (twin_error**2 + sampled)
        variance += by_accident * (1 - by_accident) * np.sum((counts / len(hashes)) ** 2)
        if hit <= by_chance + _DEVIATIONS * np.sqrt(variance):
            return 0.0
        return float((hit - by_chance) / (1 - by_chance))

    def is_chosen(self, hashes: Hashes) -> bool:
        """Return whether rows asked about have more equals than those of fit have.

        Those of fit were not drawn like them then, but chosen, such as one row of each value.
        """
        _, counts = np.unique(hashes, return_counts=True)
        share, _ = self._among_as_many(counts)
        return bool(share > self.twin_share + self.twin_error)

    def _twins_of(self, counts: Counts) -> tuple[float, float]:
        """Return which share of people has an equal among the rows of fit at most, and its error.

        As `_among_as_many`; but of more rows than were asked about, the share of those that have
        an equal grows no faster than the number of values does.
        """
        share, growth = self._among_as_many(counts)
        return min(growth * share, 1.0), growth * _twin_error(counts)

    def _among_as_many(self, counts: Counts) -> tuple[float, float]:
        """Return which share of rows has an equal, if there are as many values as in the fit.

        Parameters
        ----------
        counts : ndarray of shape (n_values,), int64
            How many rows have each value. So large a part of them is taken that it has as many
            values as the rows of fit.

        Returns
        -------
        share : float
        growth : float
            The number of values of the fit as a multiple of those of the rows, at least 1.
        """
        occupied = np.unpackbits(self.bits)
        free = max(1 - occupied.mean(), 1 / len(occupied))
        n_values = -np.log(free) * len(occupied)  # of which some share a bucket
        sizes, n_sizes = np.unique(counts, return_counts=True)
        parts = np.linspace(0, 1, 1001)
        remaining = (1 - (1 - parts[:, None]) ** sizes) @ n_sizes
        part = np.interp(n_values, remaining, parts)
        share = 1 - counts @ (1 - part) ** (counts - 1) / counts.sum()
        return float(share), float(max(n_values / len(counts), 1.0))


@dataclass(frozen=True, eq=False)
class SeenRows:
    """The rows of a fit, as far as it takes to tell whether many of them are used again.

    Steps before a transformer may return rows of fit again as the same rows, with noise, or as
    others. With noise are those of a PCA, whose `fit_transform` and `transform` compute in two
    ways: most of them are found by what close rows share. Others are those of steps that fit
    across folds, such as a TargetEncoder: they may not be found.

    Parameters
    ----------
    exact : Buckets
        The rows as they are, in single precision.
    close : Buckets or None
        What rows share with those close to them; None in older files.
    scale : ndarray of shape (n_features,), float64, or None
        The spread of each feature, by which rows are close.
    """

    exact: Buckets
    close: Buckets | None = None
    scale: Floats | None = None

    @classmethod
    def of(cls, pieces: Iterable[Rows], before: "SeenRows | None" = None) -> "SeenRows":
        """Return what is kept of the rows of a fit, in arrays of shape (n, n_features).

        If the fit went on from another one, `before` is what was kept of that one's rows.
        """
        scale = None if before is None else before.scale
        exact, close = [], []
        for rows in pieces:
            scale = _spread(rows) if scale is None else scale
            exact.append(row_hashes(rows))
            close.append(hashes_of_close_rows(rows, scale))
        tables = Buckets.of(np.concatenate(exact)), Buckets.of(np.concatenate(close))
        if before is None:
            return cls(*tables, scale)
        return cls(
            tables[0].with_those_of(before.exact),
            tables[1] if before.close is None else tables[1].with_those_of(before.close),
            scale,
        )

    def share_in(self, rows: Rows, group_codes: Counts | None = None) -> float:
        """Return the share of rows that were rows of fit; 0 where chance explains the hits.

        Rows with natural equals, as in tables of few columns, count as hits by chance.

        Parameters
        ----------
        rows : ndarray of shape (n, n_features)
        group_codes : ndarray of shape (n, n_group_columns), int64, optional
            Groups, which tell repetitions from equal rows of different people, as in a fit.
        """
        rows = rows[certain_repetitions(rows, group_codes).first]
        hashes = row_hashes(rows)
        chosen = self.exact.is_chosen(hashes)
        share = self.exact.share_of(hashes, chosen=chosen)
        if self.close is None or self.scale is None:
            return share
        close = hashes_of_close_rows(rows, self.scale)
        return max(share, self.close.share_of(close, chosen=chosen))


def share_seen(
    transformers: Iterable[Any], embeddings: Iterable[Rows], group_codes: Counts
) -> float:
    """Return the share of rows that were rows of fit: the largest, if there are several fits.

    Parameters
    ----------
    transformers : iterable of FairLatentTransformer
        Those of a model; a file of version 0.1 has not kept its rows.
    embeddings : iterable of ndarray of shape (n, n_features)
        What each of them is given of the rows.
    group_codes : ndarray of shape (n, n_group_columns), int64
        Groups of the rows.
    """
    known = [getattr(transformer, "_seen_rows", None) for transformer in transformers]
    shares = [
        0.0 if seen is None else seen.share_in(rows, group_codes)
        for seen, rows in zip(known, embeddings, strict=True)
    ]
    return max(shares, default=0.0)


def _twin_error(counts: Counts) -> float:
    """Return the standard error (Esty, 1983) of the share of rows that have an equal.

    Parameters
    ----------
    counts : ndarray of shape (n_values,), int64
        How many rows have each value.
    """
    n_rows, once, twice = counts.sum(), np.sum(counts == 1), np.sum(counts == 2)
    # A pair adds 4: its two rows are not alone, and it is a value that occurs twice.
    return float(np.sqrt(once * (1 - once / n_rows) + 2 * twice + 4 * _MORE_PAIRS) / n_rows)


def _spread(rows: Rows) -> Floats:
    """Return the standard deviation of each feature in some of the rows, 1 where it has none."""
    some = rows[:: 1 + len(rows) // _ROWS_OF_SPREAD].astype(np.float64)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        found = some.std(axis=0)
    return np.where(np.isfinite(found) & (found > 0), found, 1.0)
