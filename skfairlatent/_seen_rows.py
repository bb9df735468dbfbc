"""Which rows a fit has seen, as far as it takes to warn that they are used again."""

__all__ = ["SeenRows"]

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from skfairlatent._row_hashes import row_hashes

# Buckets for each row of fit, and at most (half a megabyte of bits).
_BUCKETS_A_ROW = 4
_MAX_BUCKETS = 2**22
# Standard deviations by which hits must exceed what chance gives.
_DEVIATIONS = 4.0

Rows = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class SeenRows:
    """The rows of a fit as one bit each in a table of buckets.

    A row of other people falls into an occupied bucket in about one case in six, so that the
    bits tell next to nothing about one row, but much about many.

    Parameters
    ----------
    bits : ndarray of shape (n_buckets / 8,), uint8
        Whether a row fell into each bucket.
    twin_share : ndarray of shape (), float64
        Share of the rows that have an equal among the others, from 0 to 1: of independent rows
        the same share has an equal among those of fit, though they are other people.
    """

    bits: npt.NDArray[np.uint8]
    twin_share: npt.NDArray[np.float64]

    @classmethod
    def of(cls, pieces: Iterable[Rows], before: "SeenRows | None" = None) -> "SeenRows":
        """Return what is kept of the rows of a fit, in arrays of shape (n, n_features).

        If the fit went on from another one, `before` is what was kept of that one's rows.
        """
        hashes = np.concatenate([row_hashes(rows) for rows in pieces])
        _, counts = np.unique(hashes, return_counts=True)
        n_buckets = min(1 << (_BUCKETS_A_ROW * len(hashes) - 1).bit_length(), _MAX_BUCKETS)
        occupied = np.zeros(n_buckets, dtype=bool)
        occupied[hashes % np.uint64(n_buckets)] = True
        twins = counts[counts > 1].sum() / len(hashes)
        seen = cls(np.packbits(occupied), np.array(twins, dtype=np.float64))
        return seen if before is None else seen._with_those_of(before)

    def _with_those_of(self, before: "SeenRows") -> "SeenRows":
        """Put two tables together.

        The smaller table is repeated: a row's bucket in it is the rest of that in a larger one.
        """
        tables = [np.unpackbits(each.bits) for each in (self, before)]
        size = max(map(len, tables))
        occupied = np.resize(tables[0], size) | np.resize(tables[1], size)
        return SeenRows(np.packbits(occupied), np.maximum(self.twin_share, before.twin_share))

    def share_in(self, rows: Rows) -> float:
        """Return the share of rows that were rows of fit; 0 where chance explains the hits.

        Rows with natural equals, as in tables of few columns, count as hits by chance.
        """
        occupied = np.unpackbits(self.bits).astype(bool)
        hit = occupied[row_hashes(rows) % np.uint64(len(occupied))].mean()
        by_chance = self.twin_share + (1 - self.twin_share) * occupied.mean()
        deviation = np.sqrt(by_chance * (1 - by_chance) / len(rows))
        if hit <= by_chance + _DEVIATIONS * deviation:
            return 0.0
        return float((hit - by_chance) / (1 - by_chance))
