"""The measurements of an audit, and what it says of how they were made."""

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from skfairlatent.counterfactuals._codec import ImageCodec
from skfairlatent.counterfactuals._space import find_space
from skfairlatent.encoders import DiffAEEncoder
from skfairlatent.exceptions import FairLatentWarning
from skfairlatent.report import audit
from skfairlatent.report._comparison import _folds, decided_alike
from skfairlatent.report._edits import Noise, affected_table
from skfairlatent.report._models import N_FOLDS, after_side, assign_folds, stand_in_side
from skfairlatent.report._provenance import model_facts
from skfairlatent.report._rows import check_rows
from skfairlatent.report.sections.compared import alike_in_short, lost_classes
from skfairlatent.report.sections.edits import edits_in_short
from skfairlatent.report.sections.gaps import Gaps, verdict
from skfairlatent.report.sections.model_and_data import unknown_groups

from .conftest import QUICK, fair_transformer


def test__audit__tables_are_of_the_pipelines_predictions(binary):
    predicted = binary.pipe.predict(binary.X)
    overall = binary.report.overall["after"]
    assert overall["count"] == len(binary.X)
    assert overall["accuracy"] == pytest.approx((predicted == binary.y).mean())
    assert overall["selection_rate"] == pytest.approx(predicted.mean())
    in_group = (binary.s == 1).to_numpy()
    rates = binary.report.by_group["after"].loc[("group", "1")]
    assert rates["selection_rate"] == pytest.approx(predicted[in_group].mean())


def test__audit__before_is_the_baseline_that_is_given(multiclass):
    predicted = multiclass.baseline.predict(multiclass.X)
    found = multiclass.report.overall.loc["accuracy", "before"]
    assert found == pytest.approx((predicted == multiclass.y).mean())
    assert multiclass.report.facts["audit"]["baseline"] == ["StandardScaler", "LogisticRegression"]
    assert not any("No model before" in text for text in multiclass.report.limits)


def test__pos_label__names_the_class_that_rates_are_of(binary):
    """The first class has the rates of the second, once the classes have changed places."""
    names = np.array(["refused", "granted"])
    renamed = copy.deepcopy(binary.pipe["clf"])
    renamed.classes_ = names[::-1]  # of 1 and 0, in alphabetical order
    renamed.coef_, renamed.intercept_ = -renamed.coef_, -renamed.intercept_
    found = audit(
        other_pipe(binary, renamed),
        binary.X,
        names[binary.y],
        sensitive_features=binary.s,
        pos_label="granted",
        **QUICK,
    )
    expected = binary.report
    pd.testing.assert_frame_equal(found.overall[["after"]], expected.overall[["after"]])
    pd.testing.assert_frame_equal(found.by_group[["after"]], expected.by_group[["after"]])
    assert found.facts["audit"]["classes"] == ["refused", "granted"]
    (scores,) = (
        each for name, each in found.figures.items() if "scores" in name and "after" in name
    )
    texts = {text.get_text() for text in scores.findobj(Text)}
    assert "probability of granted" in texts
    first, second = (
        {text.get_text() for text in ax.findobj(Text)}
        for ax in scores.axes
        if any("true label" in text.get_text() for text in ax.findobj(Text))
    )
    for panel, label, rate in (
        (first, "granted", "true positive rate"),
        (second, "refused", "false positive rate"),
    ):
        assert any(f"true label {label}" in text for text in panel)
        assert any(rate in text for text in panel)


def test__pos_label__has_to_be_one_of_two(binary, multiclass):
    given = {"sensitive_features": binary.s, **QUICK}
    with pytest.raises(ValueError, match=r"pos_label='yes': expected one of the labels, \[0, 1\]"):
        audit(binary.pipe, binary.X, binary.y, pos_label="yes", **given)
    rows = multiclass.X, multiclass.y
    with pytest.raises(ValueError, match="each is the positive one in turn"):
        audit(multiclass.pipe, *rows, sensitive_features=multiclass.s, pos_label="accept")


@pytest.mark.usefixtures("undrawn")
def test__audit__comes_out_the_same_every_time(binary):
    rows, few = (binary.X, binary.y), {"n_examples": 2, "n_bootstrap": 100}
    first, second = (
        audit(binary.pipe, *rows, sensitive_features=binary.s, **few) for _ in range(2)
    )
    assert first.summary == second.summary
    pd.testing.assert_frame_equal(first.differences, second.differences)


@pytest.mark.usefixtures("undrawn")
def test__groups_that_training_did_not_see__are_among_the_limits(binary):
    others = binary.s.where(np.arange(len(binary.s)) % 3 > 0, 7)
    report = audit(binary.pipe, binary.X, binary.y, sensitive_features=others, **QUICK)
    assert any("without any row of 7 by group" in text for text in report.limits)
    assert not any("without any row" in text for text in binary.report.limits)


@pytest.mark.parametrize(
    ("high", "says"), [(-0.004, "may be due to chance"), (-0.006, "became smaller")]
)
def test__verdict__is_that_of_the_printed_interval(high, says):
    row = pd.Series({"change": -0.2, "change_low": -0.3, "change_high": high, "note": ""})
    assert says in verdict(row)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("is_given", [False, True])
def test__audit__of_a_table_compares_the_names_of_the_users_columns_only(binary, is_given):
    names = [f"column {i}" for i in range(8)]
    (train, y, s), X = binary.train, pd.DataFrame(binary.X, columns=names)
    train = pd.DataFrame(train, columns=names)
    pipe = Pipeline([("fair", fair_transformer()), ("clf", LogisticRegression())])
    pipe.fit(train, y, fair__sensitive_features=s)
    given = {"baseline": LogisticRegression().fit(train, y) if is_given else None, **QUICK}
    given["sensitive_features"] = binary.s
    report = audit(pipe, X, binary.y, examples=X[:20], **given)
    assert not any("feature names" in text for text in report.limits)
    with pytest.raises(ValueError, match="feature names should match"):
        audit(pipe, X[names[::-1]], binary.y, **given)
    if is_given:
        nameless = audit(pipe, binary.X, binary.y, **given)
        assert any("feature names" in text for text in nameless.limits)


def test__stand_in__judges_rows_that_it_has_not_seen(binary):
    tree = Pipeline([*binary.pipe.steps[:-1], ("clf", DecisionTreeClassifier(random_state=0))])
    tree["clf"].fit(tree["fair"].transform(binary.X), binary.y)
    rng = np.random.RandomState(0)
    noise = rng.randint(2, size=len(binary.y))
    folds = assign_folds(noise, np.zeros(len(noise), dtype=np.int64), rng)
    space = find_space(tree, None, None, images=False)
    after = after_side(tree["fair"], space, binary.X)
    before = stand_in_side(space.classifier, after, noise, folds)
    # It remembers each row that it has seen, and labels that are noise cannot be guessed.
    assert abs((before.predictions == noise).mean() - 0.5) < 0.1
    assert any("trained anew" in text for text in binary.report.limits)


def test__folds__hold_all_repetitions_of_a_row():
    rng = np.random.RandomState(0)
    again = np.repeat(np.arange(150), 4)
    columns = [rng.randint(2, size=150)[again] for _ in range(2)]
    rows = check_rows(np.empty((600, 1)), *columns, np.arange(2))
    with pytest.warns(FairLatentWarning, match=r"450 of the 600 rows repeat others.*audit counts"):
        folds = _folds(rows, rng.normal(size=(150, 3))[again], rng).reshape(150, 4)
    assert (folds == folds[:, :1]).all()
    assert np.unique(folds).tolist() == list(range(N_FOLDS))


def test__folds__hold_every_cell_alike():
    rng = np.random.RandomState(0)
    y, groups = rng.randint(2, size=400), rng.randint(3, size=400)
    folds = assign_folds(y, groups, rng)
    for label in range(2):
        for group in range(3):
            counts = np.bincount(folds[(y == label) & (groups == group)], minlength=N_FOLDS)
            assert np.ptp(counts) <= 1


def test__several_attributes__are_looked_at_alone_and_crossed(multiclass):
    names = list(multiclass.s)
    report = multiclass.report
    crossed = " x ".join(names)
    assert list(report.differences.index.unique(0)) == [*names, crossed]
    assert len(report.by_group.loc[crossed].index.unique("group")) == 6
    assert list(report.affected.index.unique(0)) == list(report.counterfactuals) == names


def test__edits__change_decisions_before_and_cannot_after(binary):
    affected = binary.report.affected.loc["group"]
    assert affected.loc["before", "changed"] > 0
    assert affected.loc["after", "changed"] == 0
    assert affected.loc["before", "low"] < affected.loc["before", "share"]
    assert (affected["reached"] == len(binary.X)).all()
    assert (affected["decoded_rows"] == 0).all()
    people = binary.report.counterfactuals["group"]
    read = people["before"].sensitive_probabilities["group"][:, 0].max(axis=1)
    np.testing.assert_allclose(read, 0.9, atol=0.01)


def test__people_shown__are_those_affected_most(binary):
    before, after = (binary.report.counterfactuals["group"][m] for m in ("before", "after"))
    assert len(before) == len(after) == 2
    assert before.changed.all()
    decided = before.original_predictions.astype(int)
    shift = before.original_probabilities[np.arange(2), decided]
    shift = shift - before.probabilities[np.arange(2), 0, decided]
    assert (np.diff(shift) <= 0).all()
    np.testing.assert_array_equal(before.original_embeddings, after.original_embeddings)


def test__images__are_decided_on_once_decoded(pictures):
    affected = pictures.report.affected.loc["sensitive_feature_0"]
    assert (affected["decoded_rows"] == 40).all()
    # The edits outlast decoding, so that the decisions on decoded images mean something.
    assert (affected["decoded_group_changed"] >= 36).all()
    assert affected.loc["before", "decoded_share"] > affected.loc["after", "decoded_share"]
    assert any("the decoded images of" in text for text in pictures.report.summary)


def test__examples__are_shown_instead_of_audited_rows(pictures):
    shown = pictures.report.counterfactuals["sensitive_feature_0"]["before"]
    codes = pictures.pipe["fair"].embed(pictures.others)
    distances = np.linalg.norm(shown.original_embeddings[:, None] - codes, axis=2).min(axis=1)
    assert distances.max() < 1e-4
    assert shown.images.shape == (2, 1, 12, 12, 3)
    assert pictures.report.facts["audit"]["shows_others"]


def test__facts__tell_encoders_apart_wherever_they_stand(pictures, binary):
    encoder, fair = pictures.pipe["fair"].encoder, pictures.pipe["fair"]
    told = pictures.report.facts["model"]["encoder_fingerprint"]
    # An encoder that comes before the transformer is not known to it.
    facts = [model_facts(pictures.pipe, each, encoder) for each in (fair, binary.pipe["fair"])]
    assert [each.encoder_fingerprint for each in facts] == [told, told]
    assert fair.encoder_fingerprint_ == told
    assert binary.report.facts["model"]["encoder_fingerprint"] is None


def test__report__can_be_pickled(pictures):
    again = pickle.loads(pickle.dumps(pictures.report))  # noqa: S301 - made here
    assert again.to_html() == pictures.report.to_html()


@pytest.mark.usefixtures("undrawn")
def test__audit__of_all_of_the_latent_and_a_classifier_without_probabilities(binary):
    fair = fair_transformer().set_params(output="full")
    train = binary.train
    pipe = Pipeline([("fair", fair), ("clf", LinearSVC(random_state=0))])
    pipe.fit(train[0], train[1], fair__sensitive_features=train[2])
    X, y, s = binary.X[:150], binary.y[:150], binary.s[:150]
    found, again = (audit(pipe, X, y, sensitive_features=s, **QUICK) for _ in range(2))
    assert found.affected.loc[("group", "after"), "changed"] > 0
    assert not any("can change none" in text for text in found.summary)
    assert any("no predict_proba" in text for text in found.limits)
    assert found.to_dict() == again.to_dict()


@pytest.fixture(scope="module")
def alike(binary):
    """An audit of a pipeline that decides everybody alike, after a baseline that does not."""
    X, y, s = binary.train
    rare = (np.arange(len(y)) % 5 == 0).astype(int)
    pipe = Pipeline([("fair", fair_transformer()), ("clf", LogisticRegression(C=1e-9))])
    pipe.fit(X, rare, fair__sensitive_features=s)
    baseline = LogisticRegression().fit(X, y)
    return audit(pipe, binary.X, binary.y, sensitive_features=binary.s, baseline=baseline, **QUICK)


def test__summary__begins_with_a_model_that_decides_everybody_alike(alike, binary):
    assert (
        alike.summary[0]
        == "After mitigation everybody gets the decision 0: a gap of 0 then says nothing."
    )
    gap = alike.differences.loc[("group", "equalized_odds_difference")]
    assert gap["change_high"] < 0  # which would read as a success
    assert not any("It became smaller" in text for text in alike.summary)
    assert any("gaps cannot be compared" in text for text in alike.summary)
    assert not any("everybody gets" in text for text in binary.report.summary)


@pytest.mark.parametrize(
    ("classes", "rates", "expected"),
    [
        (["no", "yes"], {"selection_rate": [1.0, 0.4]}, {"before": "yes"}),
        (["no", "yes"], {"selection_rate": [0.0, 1.0]}, {"before": "no", "after": "yes"}),
        (
            ["a", "b", "c"],
            {
                "selection_rate of a": [0.0, 0.0],
                "selection_rate of b": [0.5, 1.0],
                "selection_rate of c": [0.5, 0.0],
            },
            {"after": "b"},
        ),
    ],
)
def test__decided_alike__names_the_class_that_everybody_gets(classes, rates, expected):
    overall = pd.DataFrame(rates, index=["before", "after"]).T
    assert decided_alike(overall, classes) == expected


def test__alike_in_short__tells_of_both_models_at_once():
    assert alike_in_short({"before": "no", "after": "yes"}) == (
        "Before mitigation everybody gets the decision no and after mitigation everybody gets the "
        "decision yes: a gap of 0 then says nothing."
    )


def test__noise__is_that_of_the_rows_asked_for():
    encoder = DiffAEEncoder(n_steps=2)
    images = encoder.sample(3)
    codes = encoder.transform(images)
    codec, rows = ImageCodec(encoder), np.array([2, 0])
    found = Noise(images, "inverted").of(codec, rows, codes)
    np.testing.assert_allclose(found, encoder.invert(images[rows]), atol=1e-5)
    assert not Noise(images, "zero").of(codec, rows, codes).any()
    assert Noise(codes, "zero").of(codec, rows, codes).shape == found.shape
    assert Noise(codes, "inverted").of(codec, rows, codes) is None
    given = [(images, "inverted"), (images, "zero"), (codes, "inverted"), (codes, "zero")]
    assert [Noise(*each).n_corrections(codec) for each in given] == [2, 0, 0, 0]


def test__noise__brings_images_back_from_what_a_pca_leaves_of_their_codes():
    encoder = DiffAEEncoder(n_steps=8)
    images = encoder.sample(3)
    codes = encoder.transform(images)
    pca = PCA(1).fit(codes)
    codec, kept = ImageCodec(encoder, (pca,)), pca.transform(codes)
    noise = Noise(images, "inverted").of(codec, np.arange(3), kept)
    again = codec.inverse_transform(kept, x_T=noise)
    assert np.abs(again.astype(float) - images).mean() < 5  # of 255 levels


class Silent(ClassifierMixin, BaseEstimator):
    """Decides, and gives no score."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def other_pipe(binary, classifier):
    return Pipeline([*binary.pipe.steps[:-1], ("clf", classifier)])


def test__audit__says_what_to_do_about_bad_models(binary):
    given = {"X": binary.X, "y": binary.y, "sensitive_features": binary.s}
    with pytest.raises(TypeError, match=r"no FairLatentTransformer.*baseline="):
        audit(Pipeline([("clf", LogisticRegression())]), **given)
    with pytest.raises(TypeError, match="given a LogisticRegression: expected Pipeline"):
        audit(binary.pipe["clf"], **given)
    with pytest.raises(
        NotFittedError, match=r"This LogisticRegression .* call fit of the Pipeline"
    ):
        audit(other_pipe(binary, LogisticRegression()), **given)
    with pytest.raises(TypeError, match="no classifier"):
        audit(binary.pipe[:-1], **given)
    silent = Silent().fit(binary.X[:, :2], binary.y)
    with pytest.raises(TypeError, match="neither predict_proba nor decision_function"):
        audit(other_pipe(binary, silent), **given)
    with pytest.raises(NotFittedError, match="baseline, a LogisticRegression, is not fitted"):
        audit(binary.pipe, **given, baseline=LogisticRegression())
    frozen = FrozenEstimator(binary.pipe["clf"])
    with pytest.raises(ValueError, match=r"FrozenEstimator of LogisticRegression.*give baseline="):
        audit(other_pipe(binary, frozen), **given)
    others = LogisticRegression().fit(binary.X, binary.y + 1)
    with pytest.raises(ValueError, match=r"baseline predicts the classes \[1, 2\]"):
        audit(binary.pipe, **given, baseline=others)
    text = pd.DataFrame({"a": ["x", "y"] * 150})
    with pytest.raises(ValueError, match="columns that are not numeric"):
        audit(binary.pipe, text, binary.y, sensitive_features=binary.s)


def test__audit__says_what_to_do_about_bad_rows(binary):
    X, y, s = binary.X, binary.y, binary.s
    with pytest.raises(ValueError, match="Lengths differ: X 300, y 299, sensitive_features 300"):
        audit(binary.pipe, X, y[:-1], sensitive_features=s)
    with pytest.raises(ValueError, match="one group only, '0'"):
        audit(binary.pipe, X, y, sensitive_features=np.zeros(300, dtype=int))
    with pytest.raises(ValueError, match=r"y holds \[7\]"):
        audit(binary.pipe, X, np.where(np.arange(300) == 0, 7, y), sensitive_features=s)
    with pytest.raises(ValueError, match="y holds the label 1 only"):
        audit(binary.pipe, X, np.ones(300, dtype=int), sensitive_features=s)
    alone = np.where(np.arange(300) == 0, 1, 0)
    with pytest.raises(ValueError, match="has one row, and without a baseline"):
        audit(binary.pipe, X, alone, sensitive_features=s)


@pytest.mark.parametrize(
    "given",
    [
        {"n_examples": 0},
        {"n_decoded": -1},
        {"n_bootstrap": 0},
        {"confidence": 95},
        {"target_probability": 1.0},
        {"noise": "none"},
    ],
)
def test__audit__says_what_is_out_of_range(binary, given):
    with pytest.raises(ValueError, match=next(iter(given))):
        audit(binary.pipe, binary.X, binary.y, sensitive_features=binary.s, **given)


@pytest.mark.usefixtures("undrawn")
def test__labels__equal_those_of_the_classifier_whatever_holds_them(binary):
    """A pipeline and a baseline of bool, and rows of numbers: as if all were numbers."""
    train, y, _ = binary.train
    pipe = copy.deepcopy(binary.pipe)
    pipe["clf"].classes_ = np.array([False, True])
    found, expected = (
        audit(each, binary.X, labels, sensitive_features=binary.s, baseline=baseline, **QUICK)
        for each, labels, baseline in (
            (pipe, pd.Series(binary.y, dtype="boolean"), LogisticRegression().fit(train, y == 1)),
            (binary.pipe, binary.y == 1, LogisticRegression().fit(train, y)),
        )
    )
    pd.testing.assert_frame_equal(found.overall, expected.overall)
    pd.testing.assert_frame_equal(found.differences, expected.differences)
    pd.testing.assert_frame_equal(found.affected, expected.affected)
    with pytest.raises(ValueError, match=r"y holds \['0', '1'\], which the pipeline's classifier"):
        audit(pipe, binary.X, binary.y.astype(str), sensitive_features=binary.s)


def test__baseline_and_rows_without_a_class_of_the_pipeline(multiclass):
    """A class that never occurs has no rates, and is drawn as undefined."""
    rows = (multiclass.y != "accept").to_numpy()
    X, y, s = (each[rows] for each in (multiclass.X, multiclass.y, multiclass.s["sex"]))
    for baseline in (None, clone(multiclass.baseline).fit(X, y)):
        report = audit(multiclass.pipe, X, y, sensitive_features=s, baseline=baseline, **QUICK)
        rates = report.by_group.xs("true_positive_rate of accept", level="metric")
        assert rates["after"].isna().all()
        assert "undefined" in report.to_html()


@pytest.mark.usefixtures("undrawn")
def test__blank_names__are_shown_as_empty_and_what_is_not_measured_is_said_once(binary):
    X, y, s = binary.train
    blank = pd.Series(np.where(s == 1, "", " "), name="")
    pipe = copy.deepcopy(binary.pipe)
    pipe["fair"].attributes_ = [("sensitive_feature_0", ["", " "])]
    blank[np.concatenate([np.flatnonzero(y == label)[:n] for label, n in ((0, 2), (1, 12))])] = (
        "few"
    )
    report = audit(pipe, X, y, sensitive_features=blank, **QUICK)
    groups = report.by_group.index.get_level_values("group").unique().tolist()
    assert groups == ["(empty)", "(empty)_2", "few"]
    (untrained,) = (text for text in report.limits if "trained without any row of" in text)
    assert "without any row of few by" in untrained
    assert sum("leakage is NaN" in text for text in report.limits) == 1


def test__undefined_gaps__are_drawn_so(binary):
    """Nobody of a group has the positive label: none of its rates is defined for it."""
    s = np.where((binary.y == 0) & (np.arange(len(binary.y)) % 4 == 0), "rare", binary.s)
    report = audit(binary.pipe, binary.X, binary.y, sensitive_features=s, **QUICK)
    texts = [text.get_text() for text in report.figures["differences"].findobj(Text)]
    assert texts.count("undefined") == 4  # equalised odds and worst-group accuracy, twice
    notes = report.differences.xs("equalized_odds_difference", level="metric")["note"]
    assert "group 'rare'" in notes.iloc[0]
    assert "nan" not in report.to_html()


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test__audit__computes_alike_whatever_transformers_are_set_to_return(binary, container):
    with config_context(transform_output=container, enable_metadata_routing=True):
        report = audit(binary.pipe, binary.X, binary.y, sensitive_features=binary.s, **QUICK)
    assert report.to_dict() == binary.report.to_dict()


def test__small_groups__are_left_out_of_what_learns_and_count_in_rates(binary):
    s = pd.DataFrame(
        {
            "group": binary.s.astype(str).where(np.arange(300) % 50 > 0, "few"),
            "part": np.where(np.arange(300) % 100 == 1, "tiny", "rest"),
        }
    )
    with pytest.warns(FairLatentWarning, match=r"few \(6\) by group; tiny \(3\) by part"):
        report = audit(binary.pipe, binary.X, binary.y, sensitive_features=s, **QUICK)
    assert report.by_group.loc[("group", "few", "count"), "after"] == 6
    assert report.affected.loc[("group", "after"), "rows"] == 294
    assert list(report.counterfactuals) == ["group"]
    assert report.counterfactuals["group"]["after"].sensitive_values == {"group": ["0", "1"]}
    assert report.diagnostics.leakage["balanced_accuracy"].notna().all()
    assert any("few (6) by group" in text for text in report.limits)
    assert report.to_dict()["facts"]["data"]["too_small"]["part"] == {"tiny": 3}
    assert "few (6) by group" in report.to_html()


def test__no_group_large_enough_to_learn_from__leaves_the_rates(binary):
    s = np.where(np.arange(300) < 4, "few", "many")
    with pytest.warns(FairLatentWarning, match="few"):
        report = audit(binary.pipe, binary.X, binary.y, sensitive_features=s, **QUICK)
    assert report.affected.empty
    assert report.diagnostics is None
    assert report.to_dict()["diagnostics"] is None
    assert "scores by sensitive_feature_0, after" in report.figures
    assert "few" in report.to_html()


def effects_of(**columns):
    defaults = {"rows": 1090, "decoded_rows": 0}
    models = {"before": defaults | columns, "after": defaults | columns}
    return pd.DataFrame(models).T.set_index(pd.MultiIndex.from_product([["sex"], models]))


def test__headline__says_how_many_could_be_moved_and_how_far():
    made = effects_of(reached=707, share=0.4, length=1.314, far=12)
    text = edits_in_short(made, "sex", is_blind=True)
    assert "changes 40.0% of decisions before (707 of 1,090 people could be edited" in text
    assert "median edit is 1.31 times the typical distance between two people" in text
    assert "12 edits went farther than twice that distance)" in text
    far = effects_of(reached=707, share=0.76, length=21.0, far=600)
    assert "so that this share says little" in edits_in_short(far, "sex", is_blind=False)
    none = effects_of(reached=0, share=np.nan, length=np.nan, far=0)
    text = edits_in_short(none, "sex", is_blind=False)
    assert "changes nothing before (none of 1,090 people could be edited)" in text


def test__share__is_of_the_edits_that_could_be_made():
    effects = pd.DataFrame(
        {
            "reached": [True, True, False, True],
            "changed": [True, False, True, False],
            "shift": 0.5,
            "length": [1.0, 1e6, 9.0, 1.5],
        }
    )
    explained = SimpleNamespace(
        effects=lambda _: effects, side=SimpleNamespace(codec=ImageCodec()), counterfactuals=None
    )
    found = affected_table({"before": explained}, ["sex"], np.arange(4), 0.95).iloc[0]
    assert found[["rows", "reached", "changed", "far"]].tolist() == [4, 3, 1, 1]
    assert found["share"] == pytest.approx(1 / 3)
    assert found["length"] == 1.5


@pytest.mark.parametrize(
    "baseline",
    [LinearRegression(), KMeans(2, n_init=1), StandardScaler(), LogisticRegression, "model"],
)
def test__baseline__is_a_classifier(binary, baseline):
    if isinstance(baseline, BaseEstimator):
        baseline = clone(baseline).fit(binary.train[0], binary.train[1])
    with pytest.raises(TypeError, match="is not a valid baseline: expected a fitted classifier"):
        audit(binary.pipe, binary.X, binary.y, sensitive_features=binary.s, baseline=baseline)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"search": GridSearchCV(LogisticRegression(), {"C": [1.0]})}, "has no cv_results_"),
        ({"examples": np.zeros((3, 2))}, "examples must be rows like those of X: .* 2 features"),
        ({"examples": np.zeros((0, 8))}, "examples has no rows"),
    ],
)
def test__audit__checks_what_it_shows_before_any_work(binary, given, says, monkeypatch):
    monkeypatch.setattr("skfairlatent.report._comparison.assign_folds", None)
    with pytest.raises(ValueError, match=says):
        audit(binary.pipe, binary.X, binary.y, sensitive_features=binary.s, **given)


def test__audit__counts_missing_labels(binary):
    y = np.where(np.arange(300) < 2, np.nan, binary.y)
    with pytest.raises(ValueError, match=r"y has 2 missing value.*drop these rows"):
        audit(binary.pipe, binary.X, y, sensitive_features=binary.s)


@pytest.mark.parametrize(
    ("trained", "audited", "new"),
    [
        (["0", "1"], ["False", "True"], []),
        (["False", "True"], ["0", "1", "2"], ["2"]),
        (["1", "other"], ["True", "other"], ["True"]),
    ],
)
def test__groups__of_bool_are_those_of_numbers_and_text_is_text(trained, audited, new):
    texts = unknown_groups({"sex": trained}, {"sex": dict.fromkeys(audited, 1)}, ["sex"])
    assert len(texts) == len(new)
    assert all(f"any row of {name} by sex" in texts[0] for name in new)


@pytest.mark.usefixtures("undrawn")
def test__audit__says_if_the_people_were_training_data(binary):
    X, y, s = binary.train
    report = audit(binary.pipe, X, y, sensitive_features=s, **QUICK)
    assert any("100% of the audited people were training data" in text for text in report.limits)
    assert not any("were training data" in text for text in binary.report.limits)


def test__lost_classes__are_named_beyond_the_noise():
    def overall(after, margin):
        rates = {"before": 0.94, "after": after}
        ends = {"after_low": after - margin, "after_high": after + margin}
        tpr = {"before": 0.9, "after": 0.9, "after_low": 0.9, "after_high": 0.9}
        return pd.DataFrame({"true_positive_rate": tpr, "false_positive_rate": rates | ends}).T

    (text,) = lost_classes(overall(0.997, 0.002), ["refused", "granted"])
    assert text.startswith(
        "What the model finds of those whose label is refused fell from 6.0% before mitigation to "
        "0.3% after"
    )
    assert lost_classes(overall(0.997, 0.05), ["refused", "granted"]) == []
    assert lost_classes(overall(0.94, 0.002), ["refused", "granted"]) == []


def test__summary__is_of_the_gap_of_the_criterion(binary):
    gaps = Gaps(binary.report.differences, False, "demographic_parity")
    (_, text), *_ = gaps.summary()
    assert "the demographic parity gap is" in text
    assert "error rates given the label" in gaps.limits()[0]
    assert any("aims at equal error rates" in text for text in binary.report.limits)
