"""Batches draw every cell equally, and every row before any again."""

import numpy as np
import pytest
import torch

from skfairlatent._training.batches import CellSampler, rows_per_cell

COUNTS = [40, 7, 3, 1]
CELLS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), COUNTS))


def drawn_from(seed):
    return torch.Generator().manual_seed(seed)


class TestRowsPerCell:
    @pytest.mark.parametrize(
        ("batch_size", "counts", "expected"),
        [
            (100, [500, 500], 50),
            (100, [500, 20, 20], 33),
            (100, [10, 7], 10),
            (4, [50, 50, 50], 2),
            (2, [1, 1], 2),
            (7, [50, 50], 3),
        ],
        ids=["shared", "rounded down", "no more than the largest", "at least 2", "tiny", "odd"],
    )
    def test__rows_per_cell__bounds(self, batch_size, counts, expected):
        assert rows_per_cell(batch_size, np.array(counts)) == expected


class TestCellSampler:
    @pytest.mark.parametrize("rows", [2, 5, 8])
    def test__draw__gives_every_cell_equally_many_rows_in_order(self, rows):
        batches = CellSampler(CELLS, np.full(4, rows)).draw(drawn_from(0))
        assert batches.dtype == torch.int64
        assert batches.shape == (CellSampler(CELLS, np.full(4, rows)).n_batches, 4 * rows)
        cells = CELLS[batches.numpy()].reshape(len(batches), 4, rows)
        assert (cells == np.arange(4)[:, None]).all()

    @pytest.mark.parametrize("rows", [2, 3, 8])
    @pytest.mark.parametrize("seed", range(3))
    def test__draw__uses_every_row_of_a_cell_before_any_again(self, rows, seed):
        sampler = CellSampler(CELLS, np.full(4, rows))
        batches = sampler.draw(drawn_from(seed)).reshape(sampler.n_batches, 4, rows)
        for cell, count in enumerate(COUNTS):
            drawn = batches[:, cell].reshape(-1)
            for start in range(0, len(drawn), count):
                turn = drawn[start : start + count]
                assert len(turn.unique()) == len(turn)
            assert len(drawn.unique()) == min(count, len(drawn))

    def test__draw__one_epoch_has_as_many_rows_as_the_data(self):
        for rows in (2, 3, 8):
            sampler = CellSampler(CELLS, np.full(4, rows))
            assert abs(sampler.n_batches * 4 * rows - len(CELLS)) <= 2 * rows

    def test__draw__has_a_batch_even_for_fewer_rows_than_a_batch(self):
        sampler = CellSampler(np.array([0, 1, 1]), np.array([50, 50]))
        assert sampler.n_batches == 1
        assert sampler.draw(drawn_from(0)).shape == (1, 100)

    def test__draw__is_decided_by_the_seed(self):
        sampler = CellSampler(CELLS, np.full(4, 3))
        draws = [sampler.draw(drawn_from(seed)) for seed in (1, 1, 2)]
        assert torch.equal(draws[0], draws[1])
        assert not torch.equal(draws[0], draws[2])

    def test__draw__shuffles_anew_each_time(self):
        sampler = CellSampler(CELLS, np.full(4, 3))
        generator = drawn_from(0)
        assert not torch.equal(sampler.draw(generator), sampler.draw(generator))
