import numpy as np
import pytest

from skfairlatent._training.batch_plan import CONSTRAINTS, BatchPlan
from skfairlatent._validation.annotations import encode_annotations

# Group "b" has few rows of label 1, and one of label 0.
Y = np.repeat([0, 1, 0, 1], [60, 20, 1, 9])
GROUPS = np.repeat(["a", "a", "b", "b"], [60, 20, 1, 9])


def annotations(y=Y, groups=GROUPS):
    return encode_annotations(np.zeros((len(y), 1)), y, groups)


def plan(constraints, batch_size=40, training=None):
    training = np.arange(len(Y)) if training is None else training
    return BatchPlan.of(annotations(), training, batch_size, constraints)


@pytest.mark.filterwarnings("ignore:.*few rows|.*cell")
@pytest.mark.parametrize("constraints", CONSTRAINTS)
def test__plan__cells_tell_label_and_group(constraints):
    cells = plan(constraints).cells
    assert [len(np.unique(cells[(y == Y) & (g == GROUPS)])) for y in (0, 1) for g in "ab"] == [
        1
    ] * 4
    assert sorted(np.unique(cells)) == [0, 1, 2, 3]


@pytest.mark.filterwarnings("ignore:.*few rows|.*cell")
def test__plan__equalized_odds_takes_equally_many_of_each_cell():
    made = plan("equalized_odds")
    assert made.rows_per_cell.tolist() == [10, 10, 10, 10]
    # The cell of one row has no distribution to compare.
    assert made.layout.group_pairs.shape == (2, 1)


@pytest.mark.filterwarnings("ignore:.*few rows|.*cell")
def test__plan__true_positive_rates_compare_the_second_class_only():
    layout = plan("true_positive_rate_parity").layout
    assert layout.labels[layout.group_pairs].flatten().tolist() == [1, 1]


@pytest.mark.filterwarnings("ignore:.*few rows|.*cell")
def test__plan__demographic_parity_gives_each_group_its_shares_of_the_labels():
    made = plan("demographic_parity")
    rows = {
        (int(y), str(g)): int(made.rows_per_cell[made.cells[(y == Y) & (g == GROUPS)][0]])
        for y in (0, 1)
        for g in "ab"
    }
    assert rows == {(0, "a"): 15, (1, "a"): 5, (0, "b"): 3, (1, "b"): 17}
    assert made.layout.rows_per_cell == 20
    assert made.layout.group_pairs.tolist() == [[0], [1]]


@pytest.mark.filterwarnings("ignore:.*few rows|.*cell")
def test__plan__a_batch_smaller_than_the_cells_has_a_row_of_each():
    made = plan("demographic_parity", batch_size=2)
    assert made.rows_per_cell.tolist() == [1, 1, 1, 1]
