"""Which cells of a batch are compared with which."""

import copy

import torch

from skfairlatent._training.cell_layout import CellLayout

# Labels 0, 0, 0, 1, 1, 2; the third cell has a single row, the last label a single group.
LAYOUT = CellLayout(
    labels=torch.tensor([0, 0, 0, 1, 1, 2]),
    groups=torch.tensor([0, 1, 2, 0, 2, 1]),
    rows_per_cell=3,
    comparable=torch.tensor([True, True, False, True, True, True]),
)


def test__layout__sizes():
    assert LAYOUT.n_cells == 6
    assert LAYOUT.batch_size == 18


def test__group_pairs__are_the_comparable_cells_of_one_label_once():
    assert LAYOUT.group_pairs.T.tolist() == [[0, 1], [3, 4]]


def test__cells_of_each_label__leaves_out_labels_with_nothing_to_compare():
    assert [cells.tolist() for cells in LAYOUT.cells_of_each_label] == [[0, 1], [3, 4]]


def test__group_pairs__of_many_groups_are_all_pairs():
    layout = CellLayout(
        torch.zeros(4, dtype=torch.int64), torch.arange(4), 2, torch.ones(4, dtype=torch.bool)
    )
    assert len(layout.group_pairs.T.unique(dim=0)) == 6
    assert [cells.tolist() for cells in layout.cells_of_each_label] == [[0, 1, 2, 3]]


def test__by_cell__keeps_the_rows_of_a_cell_together():
    z = torch.arange(36.0).reshape(18, 2)
    assert torch.equal(LAYOUT.by_cell(z)[4], z[12:15])


def test__to__takes_everything_along():
    moved = copy.deepcopy(LAYOUT).to("meta")
    tensors = [moved.labels, moved.groups, moved.comparable, moved.group_pairs]
    tensors += moved.cells_of_each_label
    assert {each.device.type for each in tensors} == {"meta"}
    assert not LAYOUT.state_dict()
