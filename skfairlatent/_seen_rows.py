"""Which rows a fit has seen, as far as it takes to warn that they are used again."""

__all__ = ["Buckets", "SeenRows", "share_seen"]

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

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
        rows of fit (Good and Turing). Its error is Esty's (1983).
        """
        n_rows = len(hashes)
        _, counts = np.unique(hashes, return_counts=True)
        once, twice = np.sum(counts == 1), np.sum(counts == 2)
        # A pair adds 4: its two rows are not alone, and it is a value that occurs twice.
        error = np.sqrt(once * (1 - once / n_rows) + 2 * twice + 4 * _MORE_PAIRS) / n_rows
        n_buckets = min(1 << (_BUCKETS_A_ROW * n_rows - 1).bit_length(), _MAX_BUCKETS)
        occupied = np.zeros(n_buckets, dtype=bool)
        occupied[hashes % np.uint64(n_buckets)] = True
        return cls(np.packbits(occupied), np.array(1 - once / n_rows), np.array(error))

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

    def share_of(self, hashes: Hashes) -> float:
        """Return the share of hashes that are of rows of fit; 0 where chance explains the hits.

        Chance has three parts: how many people have an equal among the rows of fit is estimated,
        these rows are a sample of people, and all equal rows share one bucket, which is occupied
        by others or is not.
        """
        occupied = np.unpackbits(self.bits).astype(bool)
        by_accident = occupied.mean()
        values, counts = np.unique(hashes, return_counts=True)
        hit = counts @ occupied[values % np.uint64(len(occupied))] / len(hashes)
        by_chance = self.twin_share + (1 - self.twin_share) * by_accident
        sampled = self.twin_share * (1 - self.twin_share) / len(hashes)
        variance = (1 - by_accident) ** 2 * (self.twin_error**2 + sampled)
        variance += by_accident * (1 - by_accident) * np.sum((counts / len(hashes)) ** 2)
        if hit <= by_chance + _DEVIATIONS * np.sqrt(variance):
            return 0.0
        return float((hit - by_chance) / (1 - by_chance))


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

    def share_in(self, rows: Rows) -> float:
        """Return the share of rows that were rows of fit; 0 where chance explains the hits.

        Rows with natural equals, as in tables of few columns, count as hits by chance.
        """
        share = self.exact.share_of(row_hashes(rows))
        if self.close is None or self.scale is None:
            return share
        return max(share, self.close.share_of(hashes_of_close_rows(rows, self.scale)))


def share_seen(transformers: Iterable[Any], embeddings: Iterable[Rows]) -> float:
    """Return the share of rows that were rows of fit: the largest, if there are several fits.

    Parameters
    ----------
    transformers : iterable of FairLatentTransformer
        Those of a model; a file of version 0.1 has not kept its rows.
    embeddings : iterable of ndarray of shape (n, n_features)
        What each of them is given of the rows.
    """
    known = [getattr(transformer, "_seen_rows", None) for transformer in transformers]
    shares = [
        0.0 if seen is None else seen.share_in(rows)
        for seen, rows in zip(known, embeddings, strict=True)
    ]
    return max(shares, default=0.0)


def _spread(rows: Rows) -> Floats:
    """Return the standard deviation of each feature in some of the rows, 1 where it has none."""
    some = rows[:: 1 + len(rows) // _ROWS_OF_SPREAD].astype(np.float64)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        found = some.std(axis=0)
    return np.where(np.isfinite(found) & (found > 0), found, 1.0)
