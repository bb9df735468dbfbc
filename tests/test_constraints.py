"""The effect of `constraints`, on a table where the criteria disagree."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skfairlatent import FairLatentTransformer


@pytest.fixture(scope="module")
def data():
    """Group 1 has the label more often, and features that tell the group."""
    generator = np.random.default_rng(0)
    s = generator.integers(2, size=4000)
    y = (generator.random(4000) < np.where(s, 0.65, 0.35)).astype(int)
    X = generator.normal(size=(4000, 6))
    X[:, 0] += 2.0 * y
    X[:, 1] += 2.0 * s
    X[:, 2] += y + s
    return X.astype(np.float32), y, s


def quick(constraints, **parameters):
    defaults = {"label_scores": False, "n_blocks": 2, "hidden_features": 32, "random_state": 0}
    return FairLatentTransformer(None, constraints=constraints, **(defaults | parameters))


def gaps(data, constraints):
    """Gaps between the groups of what a classifier selects, over all rows and within labels."""
    X, y, s = data
    fair = quick(constraints, lambda_di=10.0, learning_rate_init=0.01, max_iter=30)
    Z = fair.fit_transform(X[:1500], y[:1500], sensitive_features=s[:1500])
    selected = LogisticRegression().fit(Z, y[:1500]).predict(fair.transform(X[1500:]))
    y, s = y[1500:], s[1500:]

    def gap(rows):
        return abs(selected[rows & (s == 1)].mean() - selected[rows & (s == 0)].mean())

    return gap(y >= 0), gap(y == 1), gap(y == 0)


def test__constraints__each_closes_its_own_gap(data):
    """With 2,500 rows scored, a gap between equal rates is below 0.06 in 99 % of samples."""
    odds = gaps(data, "equalized_odds")
    parity = gaps(data, "demographic_parity")
    rates = gaps(data, "true_positive_rate_parity")
    # Alike within each label, groups with other shares of the labels are selected unequally.
    assert odds[0] > 2 * parity[0]
    assert parity[1] > odds[1]
    assert max(odds[1:]) < 0.12
    assert parity[0] < 0.12
    assert rates[1] < 0.12


def test__constraints__true_positive_rates_need_a_label_of_two_classes(data):
    X, y, s = data
    fair = quick("true_positive_rate_parity", max_iter=1)
    with pytest.raises(ValueError, match=r"y has 3 classes: set constraints=\"equalized_odds\""):
        fair.fit(X, y + (X[:, 0] > 3), sensitive_features=s)
    with pytest.raises(ValueError, match="y has 2 label columns"):
        fair.fit(X, np.c_[y, 1 - y], sensitive_features=s)
    fair.set_params(constraints="equalized_odds").fit(X, np.c_[y, 1 - y], sensitive_features=s)


def test__constraints__parity_has_no_contrast_of_labels(data):
    X, y, s = data
    fair = quick("demographic_parity", distance="contrastive", max_iter=1)
    with pytest.raises(ValueError, match='set distance="energy"'):
        fair.fit(X, y, sensitive_features=s)
    fair.set_params(distance="energy").fit(X, y, sensitive_features=s)


@pytest.mark.parametrize("distance", ["energy", "sliced_wasserstein", "moment"])
def test__constraints__parity_is_measured_by_every_other_distance(data, distance):
    X, y, s = data
    fair = quick("demographic_parity", distance=distance, max_iter=5)
    fair.fit(X, y, sensitive_features=s)
    assert np.isfinite(fair.history_.loss_di).all()


def test__constraints__early_stopping_holds_out_of_every_cell(data):
    X, y, s = data
    fair = quick("demographic_parity", early_stopping=True, max_iter=3)
    fair.fit(X, y, sensitive_features=s)
    assert np.isfinite(fair.history_.validation_loss).all()
