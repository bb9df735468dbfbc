"""Sensitive edits: they flip what a probe reads, and hold the label block."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from skfairlatent import FairLatentTransformer
from skfairlatent.counterfactuals import CounterfactualExplainer
from skfairlatent.datasets import make_biased_embeddings

PROBABILITY = 1e-4


def named(result, name):
    """Return the likeliest value of an attribute before and after, by number."""
    before = result.original_sensitive_probabilities[name].argmax(axis=1)
    return before, result.sensitive_probabilities[name][:, 0].argmax(axis=1)


@pytest.mark.parametrize("direction", ["means", "normal"])
def test__sensitive_edit__flips_the_attribute_and_no_decision(faces, pipe, direction):
    X, y, s = faces
    explainer = CounterfactualExplainer(pipe, sensitive_direction=direction)
    result = explainer.fit(X, y, sensitive_features=s).explain_sensitive(X)
    before, after = named(result, result.name)
    block = pipe[0].label_slice_
    assert (before != after).all()
    assert not result.changed.any()
    assert (result.latents[..., block] == result.original_latents[:, None, block]).all()


def test__raw_latent__sensitive_edits_change_decisions(faces, raw):
    X, y, s = faces
    result = CounterfactualExplainer(raw).fit(X, y, sensitive_features=s).explain_sensitive(X)
    assert result.changed.mean() > 0.05
    assert np.allclose(
        result.embeddings[:, 0], raw[0].inverse_transform(result.latents[:, 0]), atol=1e-10
    )


def test__normal__is_the_shorter_way_for_the_probe(faces, pipe):
    X, y, s = faces
    lengths = {}
    for direction in ("means", "normal"):
        explainer = CounterfactualExplainer(pipe, sensitive_direction=direction)
        explainer.fit(X, y, sensitive_features=s)
        lengths[direction] = explainer.explain_sensitive(X).strengths
    assert (lengths["normal"] <= lengths["means"] + 1e-9).all()


def test__target_probability__is_met(explainer, faces):
    result = explainer.explain_sensitive(faces[0], target_value=1, target_probability=0.9)
    found = result.sensitive_probabilities[result.name][:, 0, 1]
    before = result.original_sensitive_probabilities[result.name][:, 1]
    assert np.abs(found - np.maximum(before, 0.9)).max() < PROBABILITY
    # Those read as of the group already are not moved away from it, and count as there.
    there = before > 0.9
    assert there.any()
    assert (result.strengths[there] == 0).all()
    assert result.reached.all()
    before, after = named(explainer.explain_sensitive(faces[0], target_probability=0.9), "group")
    assert (before != after).all()


def test__strengths__go_to_the_second_value(explainer, faces):
    result = explainer.explain_sensitive(faces[0], strengths=[-1.0, 0.0, 1.0])
    found = result.sensitive_probabilities[result.name][..., 1]
    assert (np.diff(found, axis=1) > 0.0).all()


@pytest.mark.slow
def test__several_attributes_and_values__each_by_name(faces):
    X, y, _ = faces
    rng = np.random.default_rng(0)
    s = pd.DataFrame(
        {
            "age": np.digitize(X[:, 0], np.quantile(X[:, 0], [0.3, 0.7])),
            "sex": rng.integers(2, size=len(X)),
        }
    )
    fair = FairLatentTransformer(max_iter=60, random_state=0).fit(X, y, sensitive_features=s)
    explainer = CounterfactualExplainer(fair, LogisticRegression().fit(fair.transform(X), y))
    explainer.fit(X, y, sensitive_features=s)
    assert list(explainer.attributes_) == ["age", "sex"]
    result = explainer.explain_sensitive(X[:200], "age")
    before, after = named(result, "age")
    assert (before != after).all()
    assert result.sensitive_values == {"age": ["0", "1", "2"], "sex": ["0", "1"]}
    to_old = explainer.explain_sensitive(X[:200], "age", target_value=2)
    assert (named(to_old, "age")[1] == 2).mean() > 0.9
    with pytest.raises(
        ValueError, match=r"attribute=None is not known: pass one of \['age', 'sex'\]"
    ):
        explainer.explain_sensitive(X)
    mixed = [0, 2] * 100
    to_each = explainer.explain_sensitive(X[:200], "age", target_value=mixed)
    np.testing.assert_array_equal(to_each.latents[1::2], to_old.latents[1::2])
    probabilities = to_each.sensitive_probabilities["age"][:, 0]
    assert to_each.reached.all()
    assert (probabilities.argmax(axis=1) == mixed).all()
    with pytest.raises(ValueError, match="target_value=3 is not a value of 'age'"):
        explainer.explain_sensitive(X, "age", target_value=3)
    with pytest.raises(ValueError, match="target_value=3 is not a value of 'age'"):
        explainer.explain_sensitive(X[:3], "age", target_value=[0, 3, 2])
    with pytest.raises(ValueError, match=r"attribute=\['age'\] is not known"):
        explainer.explain_sensitive(X, ["age"])
    with pytest.raises(ValueError, match=r"target_value has shape \(3, 1\): expected one value"):
        explainer.explain_sensitive(X[:3], "age", target_value=[[0], [1], [2]])
    as_float = explainer.explain_sensitive(X[:200], "age", target_value=2.0)
    np.testing.assert_array_equal(as_float.latents, to_old.latents)
    with pytest.raises(ValueError, match="X has 3 rows and target_value has 2"):
        explainer.explain_sensitive(X[:3], "age", target_value=[0, 2])


def test__labels_given__direction_is_that_within_labels():
    data = make_biased_embeddings(4000, n_features=6, random_state=1)
    X, y, s = data.data, data.target, data.sensitive_features
    classifier = LogisticRegression().fit(X, y)
    leans = []
    for labels in (None, y):
        explainer = CounterfactualExplainer(classifier).fit(X, labels, sensitive_features=s)
        move = np.diff(next(iter(explainer.attributes_.values())).means, axis=0)[0]
        leans.append(abs(move @ classifier.coef_[0]) / np.linalg.norm(move))
    assert leans[1] < leans[0]


def test__no_sensitive_features__says_what_to_do(pipe, faces):
    explainer = CounterfactualExplainer(pipe).fit(faces[0])
    with pytest.raises(ValueError, match="fit got no sensitive features"):
        explainer.explain_sensitive(faces[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s[:3], "rows and sensitive_features has 3"),
        (np.zeros_like, "one value only"),
        (np.argsort, "sensitive feature 'sensitive_feature_0' has .* as an identifier has"),
    ],
)
def test__bad_sensitive_features__are_named(pipe, faces, change, message):
    X, y, s = faces
    given = change(np.asarray(s))
    with pytest.raises(ValueError, match=message):
        CounterfactualExplainer(pipe).fit(X, y, sensitive_features=given)


def test__names_that_collide__keep_their_columns(faces, pipe):
    X, y, s = faces
    table = pd.DataFrame(np.column_stack([s, s[::-1]]), columns=["label", "label"])
    explainer = CounterfactualExplainer(pipe).fit(X, y, sensitive_features=table)
    assert list(explainer.attributes_) == ["label", "label_2"]
    frame = explainer.explain_sensitive(X[:4], "label_2").to_frame()
    assert {
        f"P({name}={value})" for name in ("label", "label_2", "label_3") for value in "01"
    } <= {column.replace(".0)", ")") for column in frame}


def test__names_that_collide__are_told_by_fit(faces, pipe):
    X, y, s = faces
    with pytest.raises(TypeError, match=r"sensitive_features is of type dict.*pandas\.DataFrame"):
        CounterfactualExplainer(pipe).fit(X, y, sensitive_features={"sex": s})
