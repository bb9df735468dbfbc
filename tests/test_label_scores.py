"""Scores of the label in the place of features."""

import copy
import pickle

import joblib
import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import cross_val_predict
from torch.utils._python_dispatch import TorchDispatchMode

from skfairlatent import FairLatentTransformer
from skfairlatent._inputs import folds as cross_fitting
from skfairlatent._inputs.additive_model import MOST_PLACES, AdditiveModel, cross_fit
from skfairlatent._inputs.repeats import distinct_rows
from skfairlatent.exceptions import FairLatentWarning


def a_table(n_samples=1200, seed=0):
    """Return a table in which the label is a step function of a column, and no line reads it."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, 4))
    group = rng.integers(0, 2, n_samples)
    wanted = np.abs(X[:, 0]) + 0.5 * (X[:, 1] > 0) + 0.3 * group > 1.2
    y = np.where(rng.random(n_samples) < 0.9, wanted, ~wanted).astype(int)
    return X, y, np.array(["a", "b"])[group]


@pytest.fixture(scope="module")
def table():
    return a_table()


@pytest.fixture(scope="module")
def fitted(table):
    X, y, groups = table
    fair = FairLatentTransformer(None, lambda_di=0.3, max_iter=60, random_state=0)
    Z = fair.fit_transform(X, y, sensitive_features=groups)
    return fair, Z


def test__fit__gives_the_flow_what_boosting_finds(table, fitted):
    X, y, groups = table
    fair, Z = fitted
    new, new_y, _ = a_table(2000, seed=1)
    known = LogisticRegression().fit(Z, y).decision_function(fair.transform(new))
    plain = FairLatentTransformer(
        None, lambda_di=0.3, max_iter=60, random_state=0, label_scores=False
    )
    Z_plain = plain.fit_transform(X, y, sensitive_features=groups)
    without = LogisticRegression().fit(Z_plain, y).decision_function(plain.transform(new))
    assert roc_auc_score(new_y, known) > roc_auc_score(new_y, without) + 0.05


def test__fit_transform__is_as_sure_of_training_rows_as_of_new_ones(table, fitted):
    _, y, _ = table
    fair, Z = fitted
    new, new_y, _ = a_table(2000, seed=1)
    classifier = LogisticRegression().fit(Z, y)
    on_training = log_loss(y, classifier.predict_proba(Z))
    on_new = log_loss(new_y, classifier.predict_proba(fair.transform(new)))
    assert on_new < 1.25 * on_training


@pytest.mark.parametrize(("dtype", "atol"), [(np.float32, 3e-4), (np.float64, 1e-9)])
def test__latent__keeps_the_width_and_brings_every_row_back(fitted, dtype, atol):
    fair, X = fitted[0], a_table(3000, seed=2)[0].astype(dtype)
    latent = fair.latent(X)
    assert fair.label_scores_ is not None
    assert latent.shape == X.shape
    assert latent.dtype == dtype
    np.testing.assert_allclose(fair.inverse_transform(latent), X, atol=atol)


def test__edited_latents__are_those_of_what_they_decode_to(fitted):
    fair = fitted[0]
    latent = fair.latent(a_table(200, seed=3)[0])
    latent[:, 0] += np.linspace(-3, 3, 200)
    decoded = fair.inverse_transform(latent)
    np.testing.assert_allclose(fair.latent(decoded), latent, atol=1e-8)


@pytest.mark.parametrize("way", ["file", "mapped", "pickle", "copy"])
def test__a_kept_transformer__computes_the_same_scores(table, fitted, tmp_path, way):
    fair = fitted[0]
    if way == "file":
        fair.save(tmp_path / "fair.safetensors")
        again = FairLatentTransformer.load(tmp_path / "fair.safetensors")
    elif way == "mapped":  # read-only
        joblib.dump(fair, tmp_path / "fair.joblib")
        again = joblib.load(tmp_path / "fair.joblib", mmap_mode="r")
    else:
        again = copy.deepcopy(fair) if way == "copy" else pickle.loads(pickle.dumps(fair))  # noqa: S301
    np.testing.assert_array_equal(again.transform(table[0]), fair.transform(table[0]))
    assert again.get_params()["label_scores"] == "auto"


def test__scores_that_are_a_line__are_kept_as_well(tmp_path):
    X, progression = load_diabetes(return_X_y=True)
    X = X[:, [1, 2, 3, 8]]  # few enough that a feature is replaced, and not all are turned
    fair = FairLatentTransformer(None, label_scores=True, max_iter=1, random_state=0)
    fair.fit(X, progression > 140, sensitive_features=X[:, 0] > 0)
    assert len(fair.label_scores_.rest.features) == 0  # no step anywhere
    fair.save(tmp_path / "fair.safetensors")
    again = FairLatentTransformer.load(tmp_path / "fair.safetensors")
    np.testing.assert_array_equal(again.transform(X), fair.transform(X))


@pytest.mark.parametrize(
    ("n_samples", "n_features", "taken"),
    [(49, 4, False), (100, 4, True), (100, 257, True), (10_300, 257, False)],
)
def test__auto__is_for_tables_and_for_few_rows_of_embeddings(n_samples, n_features, taken):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_samples, n_features))
    fair = FairLatentTransformer(None, max_iter=1, random_state=0)
    fair.fit(X, X[:, 0] > 0, sensitive_features=rng.integers(0, 2, n_samples).astype(str))
    assert (fair.label_scores_ is not None) == taken


def test__label_scores__need_some_rows_of_each_class():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(32, 3)), np.arange(32) % 4 == 0
    fair = FairLatentTransformer(None, label_scores=True, max_iter=1, random_state=0)
    with pytest.raises(
        ValueError, match=r"at least 9 different rows of each class.*has 8 rows.*=False"
    ):
        fair.fit(X, y, sensitive_features=(np.arange(32) // 4 % 2).astype(str))


@pytest.mark.parametrize("label_scores", ["auto", True])
def test__warm_start__sees_the_same_rows_as_before(table, fitted, label_scores):
    X, y, groups = table
    fair = copy.deepcopy(fitted[0]).set_params(warm_start=True, max_iter=1)
    fair.set_params(label_scores=label_scores, learning_rate_init=1e-12)
    again = fair.fit_transform(X, y, sensitive_features=groups)
    np.testing.assert_allclose(again, fitted[1], atol=1e-4)


@pytest.mark.parametrize("had_scores", [True, False])
def test__warm_start__does_not_give_a_flow_other_inputs(table, had_scores):
    X, y, groups = table
    fair = FairLatentTransformer(
        None, label_scores=had_scores, warm_start=True, max_iter=1, random_state=0
    )
    wanted = fair.fit(X, y, sensitive_features=groups).transform(X)
    fair.set_params(label_scores=not had_scores)
    with pytest.raises(ValueError, match=f'with{"" if had_scores else "out"} scores .*="auto"'):
        fair.fit(X, y, sensitive_features=groups)
    np.testing.assert_array_equal(fair.transform(X), wanted)
    fair.set_params(label_scores="auto").fit(X, y, sensitive_features=groups)
    assert (fair.label_scores_ is not None) == had_scores


def test__warm_start__keeps_the_scores_where_rows_are_too_few_to_fit_others(table, fitted):
    X, y, groups = table
    some = np.r_[np.flatnonzero(y == 0)[:12], np.flatnonzero(y == 1)[:6]]
    fair = copy.deepcopy(fitted[0]).set_params(warm_start=True, learning_rate_init=1e-12)
    again = fair.fit_transform(X[some], y[some], sensitive_features=groups[some])
    np.testing.assert_allclose(again, fitted[0].transform(X[some]), atol=1e-4)


def test__warm_start__keeps_the_scores_where_classes_are_too_many_for_others(table, fitted):
    X, _, groups = table
    fair = copy.deepcopy(fitted[0]).set_params(warm_start=True, max_iter=1)
    before = fair.label_scores_
    fair.fit(X, np.digitize(X[:, 1], [-1, -0.3, 0.3, 1]), sensitive_features=groups)
    assert fair.label_scores_ is before


def test__warm_start__takes_labels_of_other_classes(table, fitted):
    X, y, groups = table
    fair = copy.deepcopy(fitted[0]).set_params(warm_start=True, max_iter=1)
    fair.fit(X, y + (X[:, 1] > 0), sensitive_features=groups)
    assert len(fair.label_scores_.replaced) == 2


def test__three_labels__have_a_score_for_each_boundary_and_two_columns_theirs():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 4))  # few enough that features are replaced
    three = np.digitize(X[:, 0] + X[:, 1], [-0.4, 0.4])
    y = np.column_stack([three, X[:, 2] + rng.normal(size=900) > 0])
    fair = FairLatentTransformer(None, label_scores=True, max_iter=2, random_state=0)
    fair.fit(X, y, sensitive_features=rng.integers(0, 2, 900).astype(str))
    assert sorted(fair.label_scores_.replaced[:2]) == [0, 1]
    assert fair.label_scores_.replaced[2] == 2
    np.testing.assert_allclose(fair.inverse_transform(fair.latent(X)), X, atol=1e-8)


def test__scores__do_not_stand_in_the_place_of_what_another_score_bends_with():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 6))
    y = 4 * (np.abs(X[:, :2]) - 0.67) + rng.logistic(size=(2000, 2)) > 0
    fair = FairLatentTransformer(None, max_iter=1, random_state=0)
    fair.fit(X, y, sensitive_features=rng.integers(0, 2, 2000).astype(str))
    assert set(fair.label_scores_.replaced).isdisjoint({0, 1})
    # Classes of a sorted order in which the bend of x0 comes first, last or in the middle.
    classes = 2 * y[:, 0] + (X[:, 2] > 0)
    for order in ([0, 1, 2, 3], [3, 0, 1, 2], [1, 3, 0, 2]):
        fair.fit(X, np.array(order)[classes], sensitive_features=y[:, 1])
        assert 0 not in fair.label_scores_.replaced


def test__score__stands_in_the_place_of_the_feature_that_it_loses_least_by():
    """A line instead of a step, or of a bend, would be wrong by more than it tells."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 4))
    y = 3 * (X[:, 0] > 0) + 2 * np.abs(X[:, 1]) + 0.35 * X[:, 2] + rng.logistic(size=4000) > 3
    fair = FairLatentTransformer(None, max_iter=1, random_state=0)
    fair.fit(X, y, sensitive_features=rng.integers(0, 2, 4000).astype(str))
    assert fair.label_scores_.replaced.tolist() == [2]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test__values_beside_a_large_code__are_told_apart(dtype):
    """Of 0 to 4, and 99999 where unknown, one is 1e-4 standard deviations from the next."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 6))
    known = rng.integers(0, 5, 1500)
    y = rng.random(1500) < np.where(known % 2, 0.9, 0.1)
    X[:, 0] = np.where(rng.random(1500) < 0.01, 99_999, known)
    X = X.astype(dtype)
    fair = FairLatentTransformer(None, max_iter=20, random_state=0)
    Z = fair.fit_transform(X, y, sensitive_features=rng.integers(0, 2, 1500).astype(str))
    auc = roc_auc_score(y, Z[:, 0])
    assert max(auc, 1 - auc) > 0.85
    error = np.abs(fair.inverse_transform(fair.latent(X)) - X) / X.std(axis=0)
    assert error.max() < {np.float32: 1e-3, np.float64: 1e-9}[dtype]


# In single precision the code leaves nothing of the other values, which the warning says.
@pytest.mark.filterwarnings("ignore:Half of the values in column 3 of X")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test__values_that_differ_by_rounding__come_back(dtype):
    """As cents, half of them computed: 0.30000000000000004 beside 0.3; and a code for none."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 8))
    cents = rng.integers(0, 100, 1500)
    X[:, 2] = np.where(rng.random(1500) < 0.5, cents * 0.1, cents / 10)
    X[:, 3] = np.where(rng.random(1500) < 0.01, 99_999_999.0, rng.integers(0, 20, 1500))
    y = (cents % 20 > 10) ^ (rng.random(1500) < 0.05) | (X[:, 3] % 2 > 0)
    X = X.astype(dtype)
    fair = FairLatentTransformer(None, label_scores=True, max_iter=5, random_state=0)
    fair.fit(X, y, sensitive_features=rng.integers(0, 2, 1500).astype(str))
    assert not fair.label_scores_.rest.is_line
    error = np.abs(fair.inverse_transform(fair.latent(X)) - X) / X.std(axis=0)
    # 1.0 and 6.7 if there is a step between any two values.
    assert error.max() < {np.float32: 1e-3, np.float64: 1e-9}[dtype]
    assert 0 < fair.inverse_error_ < {np.float32: 1e-4, np.float64: 1e-10}[dtype]


def test__inverse_error__counts_the_scores_too(table, fitted):
    fair = copy.deepcopy(fitted[0]).set_params(warm_start=True, max_iter=1)
    fair.label_scores_.rest.width[:] *= 1e-15  # steps as steep as between rounded values
    with pytest.warns(FairLatentWarning, match="round trip of a training row is off"):
        fair.fit(table[0][:15], table[1][:15], sensitive_features=table[2][:15])


def test__repeated_rows__are_scored_by_models_that_have_not_seen_them():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 300))
    y = rng.random(600) < 1 / (1 + np.exp(-X[:, :40].mean(axis=1) * 8))
    groups = rng.integers(0, 2, 600).astype(str)
    once, thrice = (
        FairLatentTransformer(None, max_iter=1, random_state=0).fit_transform(
            np.repeat(X, n, axis=0), np.repeat(y, n), sensitive_features=np.repeat(groups, n)
        )
        for n in (1, 3)
    )
    read = [roc_auc_score(np.repeat(y, n), Z[:, 0]) for n, Z in ((1, once), (3, thrice))]
    read = [max(auc, 1 - auc) for auc in read]
    assert abs(read[0] - read[1]) < 0.05  # 0.95 or more of rows that their models have seen


def test__repeated_rows__make_the_network_no_wider():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(301, 20))
    y = X @ rng.normal(size=20) + 3 * rng.normal(size=301) > 0
    groups = rng.integers(0, 2, 301).astype(str)
    once, tenfold = (
        FairLatentTransformer(None, max_iter=1, random_state=0).fit(
            np.tile(X, (n, 1)), np.tile(y, n), sensitive_features=np.tile(groups, n)
        )
        for n in (1, 10)
    )
    # 128 for 3,010 different rows, which learnt these by heart.
    assert tenfold.flow_.hidden_features == once.flow_.hidden_features == 16


@pytest.mark.parametrize("share", [0.6, 1.0])
def test__rows_of_zeros__are_told_their_own_probability(share):
    """Half of all people have no record: they are no copies of one another."""
    rng = np.random.default_rng(1)
    X = 1 + rng.gamma(2.0, 1.0, (4000, 6)).round(2)
    empty = rng.random(4000) < 0.5
    X[empty] = 0
    y = rng.random(4000) < np.where(empty, share, 1 / (1 + np.exp(3 - X[:, 0] + X[:, 1])))
    fair = FairLatentTransformer(None, random_state=0, max_iter=20)
    Z = fair.fit_transform(X, y, sensitive_features=rng.integers(0, 2, 4000).astype(str))
    told = LogisticRegression().fit(Z, y).predict_proba(fair.transform(X[empty]))[:, 1]
    assert abs(told.mean() - share) < 0.06  # of models that know no such row, 0.86 for 0.6


def test__auto__fits_no_scores_of_a_class_of_few_rows_repeated():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 5))
    for n_rare, taken in ((8, False), (9, True)):
        rows = np.append(np.arange(20, 600), np.repeat(np.arange(n_rare), 60))
        fair = FairLatentTransformer(None, max_iter=1, random_state=0)
        groups = rng.integers(0, 2, len(rows)).astype(str)
        fair.fit(x[rows], rows < 20, sensitive_features=groups)
        assert (fair.label_scores_ is not None) == taken


def test__fit_twice__finds_the_same(table):
    X, y, groups = table
    fits = [
        FairLatentTransformer(None, max_iter=1, random_state=0).fit_transform(
            X, y, sensitive_features=groups
        )
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*fits)


def test__cross_fit__finds_steps_that_a_line_does_not():
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=900), rng.integers(0, 3, 900)])
    classes = (np.sin(2 * x[:, 0]) + x[:, 1] > 0.9).astype(np.int64)
    _, scores = cross_fit(x, classes, distinct_rows(x, classes[:, None]), only_line=False)
    line = cross_val_predict(LogisticRegression(), x, classes, method="decision_function")
    assert roc_auc_score(classes, scores[:, 0]) > roc_auc_score(classes, line) + 0.05


def test__additive_scores__take_little_memory_for_many_rows():
    n_segments, largest = 500, []

    class Largest(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            made = func(*args, **kwargs or {})
            largest.extend(each.numel() for each in [made] if isinstance(each, torch.Tensor))
            return made

    left, ones = np.linspace(-2, 2, n_segments), np.ones(n_segments)
    model = AdditiveModel(
        np.zeros(n_segments, dtype=np.int64), left, ones, ones[:, None], ones[:1, None], ones[:1]
    )
    x = torch.linspace(-3, 3, 20_000, dtype=torch.float64)[:, None]
    with Largest():
        scores = model.scores(x)
    assert max(largest) <= MOST_PLACES < len(x) * n_segments
    expected = [1 + v + np.clip(v - left, 0, 1).sum() for v in x[::1999, 0].tolist()]
    np.testing.assert_allclose(scores[::1999, 0], expected)


def test__cross_fit__takes_the_line_where_a_line_is_the_truth():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 20))
    classes = (x @ rng.normal(size=20) + rng.logistic(size=600) > 0).astype(np.int64)
    model, scores = cross_fit(x, classes, distinct_rows(x, classes[:, None]), only_line=False)
    assert model.is_line
    new = torch.from_numpy(rng.normal(size=(50, 20)))
    # On a line, the score halfway between two rows is halfway between their scores.
    middle = model.scores((new + new.flip(0)) / 2)
    torch.testing.assert_close(middle, (model.scores(new) + model.scores(new).flip(0)) / 2)
    assert roc_auc_score(classes, scores[:, 0]) > 0.8


def test__many_classes_of_few_rows__are_scored():
    """Rows on which boosting stops are held out: one of each class at least."""
    X, y = load_digits(return_X_y=True)
    fair = FairLatentTransformer(None, max_iter=1, random_state=0)
    rows = np.argsort(y, kind="stable")[::15]
    fair.fit(X[rows], y[rows], sensitive_features=(np.arange(len(rows)) % 2).astype(str))
    assert fair.label_scores_ is not None


def test__scores__do_not_depend_on_the_order_of_the_table():
    """Two tables, one after the other: what tells them apart is constant in the first rows."""
    rng = np.random.default_rng(0)
    second = np.arange(9000) >= 6000
    X = np.column_stack([-1.0 * second, rng.uniform(-3, 3, (9000, 3)).round(1)])
    odds = 4 * second + 2 * np.cos(2 * X[:, 1]) - 1.5
    y = rng.random(9000) < 1 / (1 + np.exp(-odds))
    groups = rng.integers(0, 2, 9000).astype(str)
    fair = FairLatentTransformer(None, max_iter=1, random_state=0)
    fair.fit(X, y, sensitive_features=groups)
    scores = fair.label_scores_.forward(torch.from_numpy((X - fair.mean_) / fair.scale_))
    assert roc_auc_score(y, scores[:, fair.label_scores_.replaced[0]]) > 0.85  # 0.68 unshuffled


def test__cross_fit__keeps_rare_classes_of_many_rows(monkeypatch):
    monkeypatch.setattr(cross_fitting, "MOST_ROWS", 200)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 2))
    classes = (X[:, 0] > 0).astype(int)
    classes[rng.choice(3000, 9, replace=False)] = 2
    _, scores = cross_fit(X, classes, distinct_rows(X, classes[:, None]), only_line=True)
    assert scores.shape == (3000, 2)
    assert (scores[:, 1].mean()) < -2  # rare
    assert not np.array_equal(scores[:, 0], scores[:, 1])


def test__a_value_that_comes_late__does_no_harm():
    X, y, groups = a_table(6000)
    X[:, 3] = 0.1
    X[-1, 3] = 7.3
    fair = FairLatentTransformer(None, max_iter=1, random_state=0)
    assert np.isfinite(fair.fit_transform(X, y, sensitive_features=groups)).all()


def test__columns_of_one_value_or_two__are_scored_and_come_back():
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(600), rng.integers(0, 2, 600), rng.normal(size=600) * 1e6])
    y = (X[:, 1] + rng.random(600) > 1).astype(int)
    fair = FairLatentTransformer(None, max_iter=2, random_state=0)
    fair.fit(X, y, sensitive_features=rng.integers(0, 2, 600).astype(str))
    assert fair.label_scores_.replaced.tolist() == [1]
    np.testing.assert_allclose(fair.inverse_transform(fair.latent(X)), X, rtol=1e-7, atol=1e-8)
