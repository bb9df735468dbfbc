import dataclasses
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skfairlatent import FairLatentTransformer
from skfairlatent._find_transformer import latent_step
from skfairlatent.diagnostics import diagnose
from skfairlatent.diagnostics._advice import plateau_warnings, short_training_warnings
from skfairlatent.diagnostics._bypasses import bypass_warnings
from skfairlatent.diagnostics._lost_decisions import lost_decisions
from skfairlatent.exceptions import FairLatentWarning, UndefinedMetricWarning

CHANCE_TOLERANCE = 0.06  # three standard errors of the smallest scored cell, rounded up
READABLE = 0.80


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Spare boosting on small tables the threads that only wait for each other."""
    with threadpool_limits(1):
        yield


def probe(table, name):
    return table.xs(name, level="probe")["balanced_accuracy"].item()


@pytest.mark.parametrize("y", [np.zeros(60), pd.DataFrame({"a": [0, 1] * 30, "b": 1})])
def test__diagnose__one_class_is_an_error_about_y(y):
    group = np.arange(60) // 2 % 2
    X = np.random.default_rng(0).normal(size=(60, 3))
    with pytest.raises(ValueError, match=r"^(column 'b' of )?y has one class only"):
        diagnose(Selection(), X, y, sensitive_features=group)


class Selection:
    """The smallest fitted latent space: the columns of X, the label block first."""

    def __init__(self, n_label=1, width=3, history=None):
        self.label_slice_ = slice(0, n_label)
        self.sensitive_slice_ = slice(n_label, width)
        self.history_ = history

    def latent(self, X):
        return np.asarray(X)


def separated_rows(seed=0, n_rows=1_200):
    """Columns: the label, the group, noise."""
    rng = np.random.default_rng(seed)
    y, group = rng.integers(2, size=(2, n_rows))
    X = rng.normal(size=(n_rows, 3)) + np.column_stack([2 * y, 3 * group, 0 * y])
    return X, y, group


def falling(n_epochs, rate):
    return pd.DataFrame({"epoch": range(n_epochs), "loss": np.exp(-rate * np.arange(n_epochs))})


def test__diagnose__is_silent_on_a_good_space_and_its_control_leaks():
    X, y, group = separated_rows()

    found = diagnose(
        Selection(history=falling(20, rate=0.5)), X, y, sensitive_features=group, random_state=0
    )

    assert found.warnings == ()
    assert (found.leakage["balanced_accuracy"] - 0.5).abs().max() < CHANCE_TOLERANCE
    assert probe(found.sensitive_readability, "linear") > READABLE
    assert found.label_readability["balanced_accuracy"].min() > READABLE
    with pytest.warns(FairLatentWarning, match="Leakage"):
        diagnose(Selection(n_label=2), X, y, sensitive_features=group, random_state=0)


def test__diagnose__warns_of_nonlinear_leakage_and_says_what_to_try():
    X, y, group = separated_rows()
    X[group == 1, 2] *= 5

    with pytest.warns(FairLatentWarning, match="Print its result"):
        found = diagnose(
            Selection(),
            (X[:, [2, 0, 1]] + 6 * y[:, None]) / 3,
            y,
            sensitive_features=pd.Series(group, name="Sex"),
            random_state=0,
        )
    assert re.search(r"reads Sex .*Raise lambda_di", "".join(found.warnings))

    assert len(found.warnings) == 1
    assert "linear probe" not in found.warnings[0]


def test__diagnose__does_not_warn_of_leakage_within_the_noise_of_few_rows():
    for seed in range(6):
        X, y, group = separated_rows(seed, n_rows=80)
        with warnings.catch_warnings():
            warnings.simplefilter("error", FairLatentWarning)
            diagnose(Selection(), X, y, sensitive_features=group, random_state=seed)


def test__diagnose__warns_of_a_constant_label_block():
    X, y, group = separated_rows()
    X[:, 0] *= 1e-3

    with pytest.warns(FairLatentWarning, match="Print its result"):
        found = diagnose(Selection(), X, y, sensitive_features=group, random_state=0)
    assert re.search(r"label block has variance .*Lower lambda_di", "".join(found.warnings))

    assert len(found.warnings) == 1


@pytest.mark.filterwarnings("ignore::skfairlatent.exceptions.FairLatentWarning")
def test__diagnose__of_rows_that_are_all_alike_asks_for_no_rank_below_one():
    _, y, group = separated_rows(n_rows=80)
    found = diagnose(Selection(), np.ones((80, 3)), y, sensitive_features=group, random_state=0)
    assert "is nearly constant" in found.warnings[0]
    assert not any("0.0 is within reach" in text for text in found.warnings)


def test__diagnose__warns_of_few_directions_in_the_label_block():
    X, y, group = separated_rows()
    noise = np.random.default_rng(0).normal(size=(len(X), 6))
    X = np.column_stack([X[:, [0, 0, 0]], X]) + 1e-2 * noise

    with pytest.warns(FairLatentWarning, match="Print its result"):
        found = diagnose(
            Selection(n_label=3, width=6), X, y, sensitive_features=group, random_state=0
        )
    assert re.search(r"label block has .* only 1\.0, where 3\.0 is", "".join(found.warnings))


class Scaled(Selection):
    """A latent space of columns of other sizes."""

    sizes = (1.0, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3)

    def latent(self, X):
        return np.asarray(X) * self.sizes


def test__diagnose__compares_the_rank_of_the_sensitive_block_with_that_of_a_table():
    X, y, group = separated_rows()
    wide = np.column_stack([X, np.random.default_rng(0).normal(size=X.shape)])
    narrow = np.column_stack([X[:, [0, 0, 0, 0, 0]], X[:, 1]])

    model = Scaled(width=6)
    with pytest.warns(FairLatentWarning, match="Print its result"):
        found = diagnose(model, wide, y, sensitive_features=group, random_state=0)
    assert re.search(r"sensitive block has variance 1.*nearly constant", "".join(found.warnings))
    model.sizes = (1.0, 1.0, 1e-2, 1e-2, 1e-2, 1e-2)
    with pytest.warns(FairLatentWarning, match="Print its result"):
        found = diagnose(model, wide, y, sensitive_features=group, random_state=0)
    assert re.search(r"sensitive block has .* only 1\.0, where 5\.0 ", "".join(found.warnings))
    # A label block that is larger than the other, which uses all its directions, does no harm.
    model.sizes = (2.4, 0.3, 0.3, 0.3, 0.3, 0.3)
    assert diagnose(model, wide, y, sensitive_features=group, random_state=0).warnings == ()
    control = diagnose(Selection(width=6), narrow, y, sensitive_features=group, random_state=0)

    assert list(found.blocks.index) == ["label", "sensitive", "full", "input"]
    assert control.blocks.loc["full", "effective_rank"] < 2
    assert control.warnings == ()


def test__diagnose__a_sensitive_block_of_one_column_has_not_collapsed():
    """As of three classes in a table of three columns, whose label block needs two."""
    X, y, group = separated_rows()
    model = Scaled(n_label=2)
    model.sizes = (1.0, 0.6, 1.0)
    found = diagnose(model, X[:, [0, 2, 1]], y, sensitive_features=group, random_state=0)
    ranks = found.blocks["effective_rank"]
    assert ranks["input"] - ranks["label"] > 1.2  # directions more than the label block has
    assert found.warnings == ()


class Twice(ClassifierMixin, BaseEstimator):
    """A model of the user's own, which keeps a pipeline under two names."""

    def fit(self, pipe, y):
        self.pipe_, self.best_, self.classes_ = pipe, pipe, np.unique(y)
        return self

    def predict(self, X):
        return self.pipe_.predict(X)


class Around(TransformerMixin, BaseEstimator):
    """A transformer of the user's own around another: it decides nothing."""

    def fit(self, fair):
        self.fair_ = fair
        return self

    def transform(self, X):
        return self.fair_.transform(X)


def around(pipe, y, X):
    """Return models that decide by the label block alone, and others that see more."""
    frozen, other = FrozenEstimator(pipe), LogisticRegression().fit(X, y)
    votes = [("a", frozen), ("b", FrozenEstimator(other))]
    return {
        "rest": OneVsRestClassifier(frozen).fit(X, y),
        "stack": StackingClassifier([("a", pipe)], cv="prefit").fit(X, y),
        "vote": VotingClassifier([("a", frozen), ("b", "drop")], voting="soft").fit(X, y),
        "twice": Twice().fit(pipe, y),
        "no model": Around().fit(pipe[:-1]),
        "stack of X": StackingClassifier([("a", pipe)], cv="prefit", passthrough=True).fit(X, y),
        "soft votes": VotingClassifier(votes, voting="soft").fit(X, y),
        "hard votes": VotingClassifier(votes).fit(X, y),
    }


@pytest.fixture(scope="module")
def models():
    """Return models with a transformer by name, and rows."""
    X, y, group = separated_rows(n_rows=400)
    fair = FairLatentTransformer(None, max_iter=2, hidden_features=8, random_state=0)
    full = clone(fair).set_params(output="full")
    columns = ColumnTransformer([("fair", fair, [0, 1, 2]), ("raw", "passthrough", [0])])
    label = ColumnTransformer([("label", StandardScaler(), [0])])
    found = {
        "beside": make_pipeline(columns, LogisticRegression()),
        "beside, constant": make_pipeline(columns, DummyClassifier()),
        "full": make_pipeline(full, LogisticRegression()),
        "full, constant": make_pipeline(full, DummyClassifier()),
        "full, scaled": make_pipeline(full, StandardScaler(), LogisticRegression()),
        "full, cut": make_pipeline(full, label, LogisticRegression()),
        "full, pandas, cut": make_pipeline(
            clone(full).set_output(transform="pandas"), label, LogisticRegression()
        ),
        "label": make_pipeline(StandardScaler(), fair, LogisticRegression()),
        "cells": make_pipeline(clone(fair).set_params(n_bins=4), LogisticRegression()),
    }
    with sklearn.config_context(enable_metadata_routing=True):
        found = {k: clone(pipe).fit(X, y, sensitive_features=group) for k, pipe in found.items()}
    return found | around(found["label"], y, X), X, y, group


BESIDE, FULL = "reach the decision around", "output='full' gives"


@pytest.mark.filterwarnings("ignore::skfairlatent.exceptions.FairLatentWarning")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("beside", BESIDE),
        ("beside, constant", BESIDE),
        ("full", FULL),
        ("full, constant", FULL),
        ("full, scaled", FULL),
        ("full, cut", None),
        ("full, pandas, cut", None),
        ("label", None),
        ("cells", None),
        ("rest", None),
        ("stack", None),
        ("vote", None),
        ("twice", None),
        ("no model", None),
        ("stack of X", BESIDE),
        ("soft votes", BESIDE),
        ("hard votes", BESIDE),
    ],
)
def test__diagnose__names_what_a_model_decides_by_beside_the_label_block(models, name, text):
    models, X, _, _ = models
    model, (fair, prepare) = models[name], latent_step(models[name])
    decide = model.transform if name == "no model" else model.predict
    before = decide(X)
    found = bypass_warnings(model, fair, prepare, X, len(X))
    assert len(found) == (text is not None)
    assert all(each.startswith("Bypass") and text in each for each in found)
    np.testing.assert_array_equal(decide(X), before)  # what was tried was a copy


@pytest.mark.filterwarnings("ignore::skfairlatent.exceptions.FairLatentWarning")
def test__diagnose__says_so_where_nothing_shows_what_a_model_decides_by(models):
    models, X, y, group = models
    always = make_pipeline(models["label"][:-1], DummyClassifier().fit(X, y))
    votes = [("a", FrozenEstimator(always)), ("b", FrozenEstimator(DummyClassifier().fit(X, y)))]
    model = VotingClassifier(votes).fit(X, y)
    given = {"sensitive_features": group, "random_state": 0}
    found = [text for text in diagnose(model, X, y, **given).warnings if "more than" in text]
    assert len(found) == 1
    assert re.match("Not measured: whether the model decides by more than the label", found[0])
    alone = eval(re.search(r"such as (model\.\w+\[0\])\.$", found[0])[1])  # noqa: S307
    assert not any("more than" in text for text in diagnose(alone, X, y, **given).warnings)


def test__diagnose__does_not_find_a_collapse_on_few_rows():
    """Chance takes the accuracy of few rows below what would be a collapse of many."""
    X, y, group = separated_rows(n_rows=4000)
    X[:, 0] = 1.2 * y + np.random.default_rng(0).normal(size=len(X))
    many = diagnose(Selection(), X, y, sensitive_features=group, random_state=0)
    assert not any(text.startswith("Collapse") for text in many.warnings)
    seen = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(20):
            rows = np.random.default_rng(seed).permutation(4000)[:24]
            few = diagnose(
                Selection(), X[rows], y[rows], sensitive_features=group[rows], random_state=0
            )
            seen += [
                text for text in few.warnings if re.match("Collapse|Not measured: the rows", text)
            ]
    assert not any(text.startswith("Collapse") for text in seen)
    assert any("predicts 'label': its balanced accuracy is 0." in text for text in seen)


def test__diagnose__takes_inputs_that_are_not_tables():
    X, y, group = separated_rows(n_rows=400)
    images = X.reshape(-1, 3, 1, 1)

    class Flat(Selection):
        def latent(self, X):
            return X.reshape(len(X), -1)

    found = diagnose(Flat(), images, y, sensitive_features=group, random_state=0)

    assert list(found.blocks.index) == ["label", "sensitive", "full"]


def test__diagnose__warns_of_a_lost_label():
    # So many that the margin is more than three standard errors of a probe at chance.
    X, y, group = separated_rows(n_rows=4_000)

    with pytest.warns(FairLatentWarning, match="Print its result"):
        found = diagnose(Selection(), X[:, [2, 1, 0]], y, sensitive_features=group, random_state=0)
    assert re.search(r"'label' is predicted .*Raise lambda_cls", "".join(found.warnings))

    assert len(found.warnings) == 1


class Step(Selection):
    """The same as a step of a Pipeline."""

    def fit(self, X, y=None):  # noqa: ARG002
        return self

    def transform(self, X):
        return X[:, self.label_slice_]


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test__diagnose__looks_at_the_decisions_of_the_pipeline(class_weight):
    rng = np.random.default_rng(0)
    y = (rng.random(4000) < 0.1).astype(int)
    group = rng.integers(2, size=4000)
    Z = rng.normal(size=(4000, 3)) + np.column_stack([0.7 * y, 2.5 * y, group])
    pipe = make_pipeline(Step(), LogisticRegression(class_weight=class_weight)).fit(Z, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FairLatentWarning)
        found = diagnose(pipe, Z, y, sensitive_features=group, random_state=0).warnings
    assert any(text.startswith("Decided alike") for text in found) == (class_weight is None)


def test__diagnose__warns_where_nearly_everybody_is_decided_alike():
    rng = np.random.default_rng(0)
    y = (rng.random(4000) < 0.1).astype(int)
    group = rng.integers(2, size=4000)
    # The label block ranks people, but nobody of the rare class crosses the threshold on it.
    Z = rng.normal(size=(4000, 3)) + np.column_stack([0.7 * y, 2.5 * y, group])

    with pytest.warns(FairLatentWarning, match="Decided alike"):
        found = diagnose(
            Selection(), Z, np.where(y, "rejected", "hired"), sensitive_features=group
        )

    (text,) = found.warnings
    assert "of those whose y is 'rejected'" in text
    assert "class_weight='balanced'" in text
    assert "n_bins" not in text
    (text,) = lost_decisions(Z, slice(0, 1), y, n_bins=4)
    assert "Raise n_bins=4" in text
    assert lost_decisions(Z, slice(0, 1), y, found_by_model={"1": 0.5}.get) == []
    weak = "Decided alike: a logistic regression on the label block finds 0"
    assert text.startswith(weak)
    # Where all of Z finds no more, the block has lost nothing.
    Z[:, 1] = rng.normal(size=4000)
    assert not diagnose(Selection(), Z, y, sensitive_features=group, random_state=0).warnings


def test__diagnose__reads_several_labels_and_attributes_from_rows_held_out():
    X, y, group = separated_rows()
    other = (X[:, 0] > 1).astype(int)
    labels = np.column_stack([y, other])
    sensitive = pd.DataFrame({"Male": group, "Young": np.arange(len(y)) % 2})
    half = slice(None, None, 2)
    test = X[half], labels[half], sensitive.iloc[half].assign(Young=np.arange(len(y) // 2) % 2)

    found = diagnose(
        Selection(), X, labels, sensitive_features=sensitive, held_out=test, random_state=0
    )

    label_names = found.label_readability.index.get_level_values("label")
    assert list(label_names.unique()) == ["label_0", "label_1"]
    features = found.leakage.index.get_level_values("sensitive_feature")
    assert list(features.unique()) == ["Male x Young", "Male", "Young"]
    assert [column for column in found.leakage if column.startswith("label ")] == [
        "label 0, 0",
        "label 0, 1",
        "label 1, 0",
        "label 1, 1",
    ]


def test__diagnose__works_without_a_sensitive_block():
    X, y, group = separated_rows()

    with pytest.warns(FairLatentWarning, match="Leakage"):
        found = diagnose(Selection(n_label=3), X, y, sensitive_features=group, random_state=0)

    assert len(found.sensitive_readability) == 0
    assert list(found.blocks.index) == ["label", "full", "input"]
    assert "Empty" not in found.summary()


def test__diagnose__warns_of_rows_that_were_not_prepared():
    X, y, group = separated_rows(n_rows=400)
    with pytest.warns(FairLatentWarning, match="Print its result"):
        found = diagnose(Selection(), 100 * X, y, sensitive_features=group, random_state=0)
    assert re.search(r"Foreign rows: .* the whole Pipeline", "".join(found.warnings))


def test__diagnose__reports_undefined_leakage():
    X, y, group = separated_rows(n_rows=300)
    group[y == 0] = 0

    with (
        pytest.warns(UndefinedMetricWarning, match=r"label '0'.*0 to train on"),
        pytest.warns(FairLatentWarning, match="Not measured"),
    ):
        found = diagnose(Selection(), X, y, sensitive_features=group, random_state=0)
    assert re.search(r"Not measured: .*label '0'", "".join(found.warnings))


@pytest.mark.filterwarnings("ignore::skfairlatent.exceptions.FairLatentWarning")
@pytest.mark.parametrize(("n_few", "is_measured"), [(5, False), (12, True)])
def test__diagnose__says_nothing_of_the_leakage_in_a_cell_of_few_people(n_few, is_measured):
    """One or two people may be told apart by chance, and that would be half of the mean."""
    X, y, group = separated_rows()
    y, group = y.astype(str), group.copy()
    rare = np.arange(100)
    y[rare], group[rare] = "rare", rare < n_few
    X[rare, 0] = 4 + 2 * group[rare]  # read without fault
    given = {"sensitive_features": group, "random_state": 0}
    if is_measured:
        found = diagnose(Selection(), X, y, **given)
        assert found.leakage["label rare"].max() == 1.0
        return
    with pytest.warns(UndefinedMetricWarning, match="'rare'.*3 to train on, 2 to score"):
        found = diagnose(Selection(), X, y, **given)
    assert found.leakage["label rare"].isna().all()
    assert (found.leakage["balanced_accuracy"] - 0.5).abs().max() < CHANCE_TOLERANCE
    kinds = [text.partition(":")[0] for text in found.warnings]
    assert "Leakage" not in kinds
    assert "Not measured" in kinds
    remedied = y != "rare"  # their rows are left out
    given["sensitive_features"] = group[remedied]
    assert not diagnose(Selection(), X[remedied], y[remedied], **given).warnings


def test__diagnose__prepares_the_rows_of_a_pipeline():
    X, y, group = separated_rows(n_rows=400)
    far = 100 * X + 50
    held_out = far[:100], y[:100], group[:100]
    prepare = StandardScaler().fit(far)
    pipe = make_pipeline(prepare, Selection())
    options = {"sensitive_features": group, "random_state": 0}

    by_hand = diagnose(
        Selection(),
        prepare.transform(far),
        y,
        held_out=(prepare.transform(held_out[0]), *held_out[1:]),
        **options,
    )
    found = diagnose(pipe, far, y, held_out=held_out, **options)

    pd.testing.assert_frame_equal(found.to_frame(), by_hand.to_frame())


@pytest.mark.parametrize(
    ("transformer", "error", "message"),
    [
        (make_pipeline(StandardScaler()), TypeError, r"\['StandardScaler'\] has no FairLatent"),
        (object(), TypeError, "object has no method latent: .*FairLatentTransformer"),
        (type("Bare", (), {"latent": None})(), NotFittedError, "Bare is not fitted yet"),
    ],
)
def test__diagnose__says_what_it_needs_of_a_transformer(transformer, error, message):
    X, y, group = separated_rows(n_rows=60)

    with pytest.raises(error, match=message):
        diagnose(transformer, X, y, sensitive_features=group)


@pytest.mark.parametrize(
    ("short", "message"),
    [
        ({"sensitive_features": [0, 1]}, "X has 60 rows and sensitive_features has 2"),
        ({"y": [0, 1]}, "X has 60 rows and y has 2. Give y one value"),
        (
            {"held_out": (np.ones((4, 3)), [0, 0, 1, 1], [0, 1])},
            r"held_out\[0\] has 4 rows and held_out\[2\] has 2",
        ),
    ],
)
def test__diagnose__names_what_has_another_length(short, message):
    X, y, group = separated_rows(n_rows=60)
    given = {"y": y, "sensitive_features": group} | short

    with pytest.raises(ValueError, match=message):
        diagnose(Selection(), X, **given)


def test__latent_diagnostics__shows_everything_as_a_table_and_as_text():
    X, y, group = separated_rows(n_rows=400)
    with pytest.warns(FairLatentWarning, match="Leakage"):
        found = diagnose(Selection(n_label=2), X, y, sensitive_features=group, random_state=0)

    frame = found.to_frame()

    assert list(frame.columns) == ["quantity", "subject", "value", "reference"]
    assert set(frame["quantity"]) == {
        "leakage",
        "sensitive_readability",
        "label_readability",
        "effective_rank",
        "variance",
        "off_diagonal_mass",
    }
    assert frame["value"].notna().all()
    assert found.warnings[0] in repr(found)
    assert "none" in repr(dataclasses.replace(found, warnings=()))
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.warnings = ()


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (np.linspace(2, 1, 20), r"Raise max_iter"),
        (np.full(20, 1.5), r"never fell .*Raise learning_rate_init"),
        (np.linspace(1, 2, 20), r"never fell .*Lower learning_rate_init"),
    ],
)
def test__plateau_warnings__say_what_to_try(losses, message):
    (text,) = plateau_warnings(pd.DataFrame({"validation_loss": losses}))

    assert re.search(message, text)


@pytest.mark.parametrize(
    ("settings", "is_short"),
    [
        ({"max_iter": 9}, True),
        ({"max_iter": 10}, False),
        ({"max_iter": "auto"}, False),
        # Early stopping ended it, long before.
        ({"max_iter": 40, "early_stopping": True, "n_iter_no_change": 1, "tol": 1e6}, False),
        ({"max_iter": 4, "warm_start": True}, False),
    ],
)
def test__diagnose__names_a_training_of_too_few_steps(settings, is_short, monkeypatch):
    monkeypatch.setattr("skfairlatent._training.settings.STEPS", 40)
    monkeypatch.setattr("skfairlatent._training.early_stopping.PATIENCE_STEPS", 4)
    X, y, group = separated_rows(n_rows=240)
    fair = FairLatentTransformer(
        **settings, batch_size=128, n_blocks=1, hidden_features=4, random_state=0, device="cpu"
    ).fit(X, y, sensitive_features=group)
    assert fair.history_["steps"].tolist() == [2 * n for n in fair.history_["epoch"]]

    found = short_training_warnings(fair)

    assert len(found) == is_short
    if is_short:
        assert "with max_iter=9, fit made 18 of the 40 steps" in found[0]
        remedy = re.search(r"Set (max_iter='auto')\.$", found[0])[1]
        fair = eval(f"fair.set_params({remedy})").fit(X, y, sensitive_features=group)  # noqa: S307
        assert short_training_warnings(fair) == []


@pytest.mark.filterwarnings("ignore:diagnose found")
def test__diagnose__says_short_training_once_and_before_the_plateau():
    X, y, group = separated_rows(n_rows=400)
    space = Selection(history=falling(6, rate=0.1).assign(steps=range(1, 7), auto_steps=400))
    space.max_iter = 6

    found = diagnose(space, X, y, sensitive_features=group, random_state=0).warnings

    kinds = [text.partition(":")[0] for text in found]
    assert "Short training" in kinds
    assert "Plateau not reached" not in kinds


@pytest.mark.parametrize(
    "history",
    [
        None,
        falling(3, rate=0.1),
        falling(40, rate=0.3),
        pd.DataFrame({"validation_loss": np.full(20, np.nan), "loss": falling(20, 0.5)["loss"]}),
        pd.DataFrame({"validation_loss": [-1.0, -2.0, -2.5, -2.5, -2.49, -2.5, -2.5, -2.5]}),
    ],
)
def test__plateau_warnings__are_silent_where_training_settled_or_cannot_be_judged(history):
    assert plateau_warnings(history) == []


@pytest.fixture(scope="module")
def table_pipe():
    """A Pipeline fitted on a table, and a table, labels and groups that it has not seen."""
    rng = np.random.default_rng(0)
    s = rng.integers(2, size=1200)
    y = (rng.random(1200) < 0.3 + 0.3 * s).astype(int)
    X = pd.DataFrame(rng.normal(size=(1200, 4)), columns=list("abcd"))
    X["a"] += 2 * y
    X["b"] += s
    X["lines"] = rng.poisson(12, 1200).astype(float)
    X["always"] = 1.0
    pipe = make_pipeline(StandardScaler(), FairLatentTransformer(max_iter=60, random_state=0))
    pipe.fit(X[:800], y[:800], fairlatenttransformer__sensitive_features=s[:800])
    return pipe, X[800:].copy(), y[800:], s[800:]


def judged(pipe, X, y, s):
    """Return the figures, and what was warned of far or foreign rows."""
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        found = diagnose(pipe, X, y, sensitive_features=s, random_state=0)
    return found, [text for text in found.warnings if re.match("Far|Foreign", text)]


@pytest.mark.parametrize("code", [999999, -999, 1e30])
@pytest.mark.parametrize("column", ["lines", "always"])
def test__far_row__is_named_with_its_column_and_left_out(table_pipe, code, column):
    pipe, X, y, s = table_pipe
    odd = X.copy()
    odd.loc[807, column] = code
    found, (text,) = judged(pipe, odd, y, s)
    assert "1 of 400 rows of X (index 807) lies far from most rows of fit, in column" in text
    assert f"in column '{column}' ({code:.6g}; other rows: " in text
    assert found.far_rows.tolist() == [7]
    # The advice of the text, and nothing else, gives the figures and no warning of it.
    kept = np.arange(400) != 7
    without, texts = judged(pipe, odd.drop(index=[807]), y[kept], s[kept])
    assert "X.drop(index=[807])" in text
    assert texts == []
    pd.testing.assert_frame_equal(found.blocks, without.blocks)
    pd.testing.assert_frame_equal(found.leakage, without.leakage)
    clip = re.search(r"X\['\w+'\]\.clip\((.*), (.*)\)\.", text)
    low, high = map(float, clip.groups())
    assert judged(pipe, odd.assign(**{column: odd[column].clip(low, high)}), y, s)[1] == []


def test__far_row__of_a_list_is_clipped_as_the_text_says(table_pipe):
    pipe, X, y, s = table_pipe
    rows = X.to_numpy(copy=True)
    rows[7, 0] = 999999
    _, (text,) = judged(pipe, rows.tolist(), y, s)
    clip = re.search(r"as by (.*)\.$", text).group(1)
    rows[:, 0] = eval(clip, {"X": rows.tolist(), "numpy": np})  # noqa: S307
    assert judged(pipe, rows.tolist(), y, s)[1] == []


def test__far_rows__of_several_columns_are_counted(table_pipe):
    pipe, X, y, s = table_pipe
    odd = X.copy()
    odd.iloc[:20, 4] = -9999
    odd.iloc[20:25, 0] = 1e6
    found, (text,) = judged(pipe, odd, y, s)
    assert "25 of 400 rows of X (index 800, 801, 802, ...) lie far" in text
    assert "in column 'lines' (-9999; other rows: " in text
    assert "and column 'a' (1e+06; other" in text
    assert found.far_rows.tolist() == list(range(25))
    assert not any(each.startswith("Collapse") for each in found.warnings)


@pytest.mark.filterwarnings("ignore:diagnose found")
def test__far_rows__of_which_only_some_tell_by_a_column_are_named():
    X, y, group = separated_rows(n_rows=400)
    X[:40] = 8, 8, 4  # far by all the columns together
    X[40, 2] = 999
    found = diagnose(Selection(), X, y, sensitive_features=group, random_state=0)
    assert found.far_rows.tolist() == list(range(41))
    assert "in column 2 (999; other rows: " in found.warnings[0]


def test__far_rows__of_an_array_are_named_by_position(table_pipe):
    pipe, X, y, s = table_pipe
    odd = pipe[0].transform(X)
    odd[3, 4] = 1e5
    found, (text,) = judged(pipe[-1], odd, y, s)
    assert "(at position 3) lies far from most rows of fit, in column 4 (100000; other" in text
    assert "numpy.delete(X, [3], axis=0)" in text
    kept = np.delete(np.arange(400), [3])
    assert judged(pipe[-1], np.delete(odd, [3], axis=0), y[kept], s[kept])[1] == []
    assert found.far_rows.tolist() == [3]


def test__far_rows__of_those_held_out_are_named(table_pipe):
    pipe, X, y, s = table_pipe
    odd = X[200:].copy()
    odd.iloc[0, 4] = 1e9
    held_out = odd, y[200:], s[200:]
    with pytest.warns(FairLatentWarning, match="Print its result"):
        found = diagnose(
            pipe, X[:200], y[:200], sensitive_features=s[:200], held_out=held_out, random_state=0
        )
    assert re.search(r"rows of held_out\[0\] \(index 1000\) lies far", "".join(found.warnings))
    assert found.leakage["balanced_accuracy"].notna().all()


def test__far_rows__that_are_a_group_of_their_own_are_counted(table_pipe):
    pipe, X, y, s = table_pipe
    odd, groups = X.copy(), s.astype(str)
    odd.iloc[:9, 4] = 1e6
    groups[:9] = "c"
    _, (text,) = judged(pipe, odd, y, groups)
    assert "count them nevertheless, because a label or group has no other rows" in text


def test__foreign_column__is_named_with_what_it_was(table_pipe):
    """A column in other units takes all rows away, and the whole Pipeline is what was given."""
    pipe, X, y, s = table_pipe
    found, (text,) = judged(pipe, X.assign(lines=1e4 * X["lines"]), y, s)
    assert text.startswith("Foreign rows: 100% of the rows lie far")
    assert "They differ in column 'lines' (as the transformer is given it around" in text
    assert "whole Pipeline" not in text
    assert len(found.far_rows) == 400


@pytest.mark.parametrize("share", [0.6, 1.0])
def test__a_code__that_fit_knew_is_no_other_unit_however_frequent(share):
    rng = np.random.default_rng(0)
    s, y = rng.integers(0, 2, (2, 1200))
    X = rng.normal(size=(1200, 4)) + 0.8 * y[:, None]
    X[rng.random(1200) < 0.08, 0] = -99999
    fair = FairLatentTransformer(None, random_state=0, max_iter=20)
    fair.fit(X, y, sensitive_features=s)
    X[rng.random(1200) < share, 0] = -99999
    found, texts = judged(fair, X, y, s)
    assert not any(text.startswith(("Foreign", "Far")) for text in texts)
    assert len(found.far_rows) == 0


def test__an_indicator__that_was_rare_in_fit_is_no_other_unit():
    """One far row makes diagnose look at the columns."""
    rng = np.random.default_rng(0)
    s, y = rng.integers(0, 2, (2, 1200))
    X = rng.normal(size=(1200, 30)) + 0.8 * y[:, None]
    X[:, 0] = np.arange(1200) % 100 == 0
    fair = FairLatentTransformer(None, random_state=0, max_iter=20)
    fair.fit(X, y, sensitive_features=s)
    X[:, 0] = np.arange(1200) % 3 > 0
    X[7, 5] = 1e4
    assert judged(fair, X, y, s)[0].far_rows.tolist() == [7]


@pytest.mark.parametrize("factor", [1.0, 1e3, 1e6])
def test__another_unit_of_a_feature_with_heavy_tails__is_foreign(factor):
    rng = np.random.default_rng(0)
    s, y = rng.integers(0, 2, (2, 1500))
    X = rng.normal(size=(1500, 8)) + 0.8 * y[:, None]
    X[:, 0] = np.exp(9 + 2.5 * X[:, 0])
    fair = FairLatentTransformer(None, random_state=0, max_iter=20)
    fair.fit(X[:1000], y[:1000], sensitive_features=s[:1000])
    X[1000:, 0] *= factor
    found, texts = judged(fair, X[1000:], y[1000:], s[1000:])
    assert len(found.far_rows) == (0 if factor == 1.0 else 500)
    assert [text.startswith("Foreign rows: 100%") for text in texts] == [True] * (factor > 1.0)


@pytest.fixture(scope="module")
def amounts():
    """A table of amounts, with labels and groups, of which the first 1,000 rows are for fit."""
    rng = np.random.default_rng(0)
    s, y = rng.integers(0, 2, (2, 1500))
    X = pd.DataFrame(rng.normal(size=(1500, 3)), columns=list("abc"))
    X["a"] += y
    X["income"] = 35_000 + 9_000 * rng.normal(size=1500)
    X["wage"] = np.exp(10.4 + 0.5 * rng.normal(size=1500))
    X["wealth"] = np.exp(10 + 1.4 * rng.normal(size=1500))
    X["percent"] = 100 * rng.beta(2, 3, 1500)
    return X, y, s


@pytest.fixture(scope="module")
def amounts_pipe(amounts):
    X, y, s = (each[:1000] for each in amounts)
    fair = FairLatentTransformer(None, random_state=0, max_iter=20)
    return make_pipeline(fair.fit(X, y, sensitive_features=s))


@pytest.fixture(scope="module")
def scaled_pipe(amounts):
    X, y, s = (each[:1000] for each in amounts)
    fair = FairLatentTransformer(None, random_state=0, max_iter=20)
    pipe = make_pipeline(StandardScaler(), fair)
    return pipe.fit(X, y, fairlatenttransformer__sensitive_features=s)


SMALLER = {
    "thousands": ("income", lambda income: income / 1000),
    "logarithms": ("wage", np.log),
    "hundredths": ("percent", lambda percent: percent / 100),
    "thousands of wealth": ("wealth", lambda wealth: wealth / 1000),
}


@pytest.mark.parametrize(("column", "change"), SMALLER.values(), ids=SMALLER)
def test__another_unit_that_makes_numbers_small__is_foreign(amounts, amounts_pipe, column, change):
    X, y, s = (each[1000:] for each in amounts)
    found, (text,) = judged(amounts_pipe, X.assign(**{column: change(X[column])}), y, s)
    assert re.search(rf"^Foreign rows: 100%.* They differ in column '{column}' \(", text)
    assert "another period, place or choice, fit on rows like them" in text
    assert text.count("(as the transformer is given it") == 1
    assert len(found.far_rows) == 500


def test__another_unit_before_a_scaler__is_foreign(amounts, scaled_pipe):
    """Where it takes the column further away than the rows of one day may be."""
    X, y, s = (each[1000:] for each in amounts)
    _, (text,) = judged(scaled_pipe, X.assign(income=X["income"] / 1000), y, s)
    assert re.search(r"^Foreign rows: 100%.* They differ in column 'income' \(", text)


@pytest.mark.parametrize("fitted", ["amounts_pipe", "scaled_pipe"])
def test__rows_chosen_by_a_value__are_in_no_other_unit(amounts, fitted, request):
    X, y, s = (each[1000:] for each in amounts)
    pipe = request.getfixturevalue(fitted)
    for column in ("a", "income", "wage", "percent"):
        order = X[column].argsort().to_numpy()
        for first in range(0, 500, 100):
            rows = order[first : first + 100]
            _, texts = judged(pipe, X.iloc[rows], y[rows], s[rows])
            assert not any(text.startswith("Foreign") for text in texts)


def test__rows_of_another_period__are_foreign_by_the_column_of_time():
    rng = np.random.default_rng(0)
    s, y = rng.integers(0, 2, (2, 1000))
    X = pd.DataFrame(rng.normal(size=(1000, 3)), columns=list("abc"))
    X["a"] += y
    X["seconds"] = 1.5e9 + 3e6 * rng.random(1000)
    fair = FairLatentTransformer(None, random_state=0, max_iter=20)
    fair.fit(X[:600], y[:600], sensitive_features=s[:600])
    _, (text,) = judged(fair, X[600:].assign(seconds=X["seconds"] + 1e8), y[600:], s[600:])
    assert "They differ in column 'seconds'" in text
    assert "if the rows are of another period, place or choice, fit on rows like them" in text


@pytest.mark.parametrize("shift", [0.0, 1e4])
def test__rows_without_their_steps__are_foreign(table_pipe, shift):
    """Also where they lie close together, but elsewhere."""
    pipe, X, y, s = table_pipe
    foreign = 1e4 * np.asarray(X) if not shift else pipe[0].transform(X) + shift
    _, (text,) = judged(pipe[-1], foreign, y, s)
    assert "Give diagnose the whole Pipeline" in text


@pytest.mark.parametrize("margin", ["0.05", np.nan, -0.1, 2, None])
def test__leakage_margin__is_a_difference(margin):
    X, y, group = separated_rows(n_rows=60)
    with pytest.raises(ValueError, match=r"leakage_margin=.*: expected a difference of balan"):
        diagnose(Selection(), X, y, sensitive_features=group, leakage_margin=margin)


def test__diagnose__of_one_label_says_so():
    X, y, group = separated_rows(n_rows=60)
    given = {"sensitive_features": group}
    for labels in (0 * y, np.column_stack([y, 0 * y])):
        with pytest.raises(ValueError, match="has one class only") as caught:
            diagnose(Selection(), X, labels, **given)
        assert "sensitive feature '" not in str(caught.value)
    with pytest.raises(ValueError, match=r"held_out\[1\] has one class only"):
        diagnose(Selection(), X, y, held_out=(X, 0 * y, group), **given)
    with pytest.raises(ValueError, match=r"held_out\[1\] has 2 label columns, and y has 1"):
        diagnose(Selection(), X, y, held_out=(X, np.column_stack([y, y]), group), **given)


class TestConstraints:
    """The groups have unequal shares of the label, which is all that the label block holds."""

    def found(self, constraints, **given):
        rng = np.random.default_rng(0)
        group = rng.integers(2, size=2000)
        y = (rng.random(2000) < np.where(group, 0.85, 0.15)).astype(int)
        X = rng.normal(size=(2000, 3)) + np.column_stack([3 * y, group, 0 * y])
        space = Selection()
        space.constraints = constraints
        return diagnose(space, X, y, sensitive_features=group, random_state=0, **given)

    @pytest.mark.parametrize("constraints", ["equalized_odds", "true_positive_rate_parity"])
    def test__leakage__is_within_the_labels_that_the_criterion_compares(self, constraints):
        found = self.found(constraints)
        labels = [name for name in found.leakage if name.startswith("label")]
        assert labels == (["label 0", "label 1"] if "odds" in constraints else ["label 1"])
        assert not found.warnings

    def test__leakage__is_over_all_labels_for_demographic_parity(self):
        with pytest.warns(FairLatentWarning, match="Leakage"):
            found = self.found("demographic_parity")
        assert re.search(r"accuracy 0\.[78]", found.warnings[0])
        assert "over all labels" in found.warnings[0]
        assert "Group read from the label block, over all labels" in str(found)


@pytest.mark.parametrize("n_more", [1200, 9000])
def test__diagnose__a_row_that_is_repeated_counts_once(n_more):
    rng = np.random.default_rng(0)
    (y, group), X = rng.integers(2, size=(2, 300)), rng.normal(size=(300, 3))
    X += np.column_stack([y, group, 0 * y])
    i = np.concatenate([np.arange(300), rng.integers(300, size=n_more)])
    once, again = (
        diagnose(Selection(), X[rows], y[rows], sensitive_features=group[rows], random_state=0)
        for rows in (np.arange(300), i)
    )
    pd.testing.assert_frame_equal(once.to_frame(), again.to_frame())
    assert once.warnings == again.warnings == ()
