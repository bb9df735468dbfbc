"""Counterfactuals: faces with their figures, probabilities alone, and what marks a change."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skfairlatent import FairLatentTransformer
from skfairlatent.counterfactuals import CounterfactualExplainer
from skfairlatent.encoders import PixelFlattener
from skfairlatent.inspection import CounterfactualDisplay

# Float32 products depend on how many rows are multiplied at once.
ROUNDING = 1e-5
FLIP = {
    "probabilities": {
        "hired": [[[0.8, 0.2], [0.3, 0.7], [0.6, 0.4]]],
        "gender": [[[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]]],
    },
    "values": {"hired": [0, 1], "gender": ["female", "male"]},
}


def _images(n, n_shown, channels=3):
    rng = np.random.default_rng(0)
    return rng.integers(256, size=(n, n_shown, 8, 8, channels), dtype=np.uint8)


@pytest.fixture(scope="module")
def explainer(pipe, data):
    found = CounterfactualExplainer(pipe)
    return found.fit(data.data, data.target, sensitive_features=data.sensitive_features)


@pytest.fixture(scope="module")
def image_explainer():
    """An explainer of images, whose brightness is the label and whose colour the group."""
    rng = np.random.default_rng(0)
    y, group = rng.integers(2, size=(2, 200))
    images = rng.normal(100, 10, size=(200, 8, 8, 3)) + 40 * y[:, None, None, None]
    images[..., 0] += 40 * group[:, None, None]
    images = images.clip(0, 255).astype(np.uint8)
    encoder = make_pipeline(PixelFlattener(), PCA(6, random_state=0)).fit(images)
    fair = FairLatentTransformer(encoder, hidden_features=8, max_iter=20, random_state=0)
    fair.fit(images, y, sensitive_features=pd.Series(group, name="colour"))
    model = LogisticRegression().fit(fair.transform(images), y)
    found = CounterfactualExplainer(fair, model)
    return found.fit(images, y, sensitive_features=pd.Series(group, name="colour")), images


class TestFaces:
    def test__plot__one_row_a_person_and_the_original_first(self, texts):
        images = _images(1, 3)
        display = CounterfactualDisplay(**FLIP, images=images, row_names=["Ada"]).plot()
        assert display.axes_.shape == (1, 3)
        for ax, image in zip(display.axes_[0], images[0], strict=True):
            np.testing.assert_array_equal(ax.images[0].get_array(), image)
        assert display.axes_[0, 0].get_ylabel() == "Ada"
        assert texts(display.axes_[0, 0])[:3] == ["hired 0.20", "decision 0", "gender male 0.10"]

    def test__plot__changes_are_marked_by_sign_weight_and_frame(self, texts):
        display = CounterfactualDisplay(**FLIP, images=_images(1, 3)).plot()
        _, flipped, kept = display.axes_[0]
        assert {"◆ hired 0.20 → 0.70", "◆ decision 0 → 1", "gender male 0.10 → 0.10"} <= set(
            texts(flipped)
        )
        weights = {text.get_text(): text.get_fontweight() for text in flipped.texts}
        assert weights["◆ hired 0.20 → 0.70"] == "bold"
        assert weights["gender male 0.10 → 0.10"] == "normal"
        assert flipped.spines["left"].get_visible()
        # The attribute is read otherwise here, but the decision is the same.
        assert {"hired 0.20 → 0.40", "decision 0", "◆ gender male 0.10 → 0.80"} <= set(texts(kept))
        assert not kept.spines["left"].get_visible()

    def test__plot__text_does_not_reach_the_next_row(self):
        probabilities = {
            name: np.repeat(values, 3, axis=0) for name, values in FLIP["probabilities"].items()
        }
        display = CounterfactualDisplay(probabilities, FLIP["values"], images=_images(3, 3)).plot()
        display.figure_.canvas.draw()
        for above, below in zip(display.axes_[:-1, 1], display.axes_[1:, 1], strict=True):
            lowest = min(text.get_window_extent().y0 for text in above.texts)
            assert lowest > below.get_window_extent().y1

    def test__plot__grey_images_keep_their_contrast(self):
        images = _images(1, 3, channels=1) // 2
        display = CounterfactualDisplay(**FLIP, images=images).plot()
        shown = display.axes_[0, 0].images[0]
        np.testing.assert_allclose(
            shown.to_rgba(shown.get_array())[..., 1] * 255, images[0, 0, ..., 0]
        )

    def test__from_estimator__decodes_images(self, image_explainer, texts):
        explainer, images = image_explainer
        display = CounterfactualDisplay.from_estimator(
            explainer, images, rows=[3, 5], strengths=[-1, 0, 1], label_name="bright"
        )
        assert display.axes_.shape == (2, 4)
        titles = [ax.get_title(loc="left") for ax in display.axes_[0]]
        assert titles == ["original", "bright −1", "bright 0", "bright +1"]  # noqa: RUF001
        assert [ax.get_ylabel() for ax in display.axes_[:, 0]] == ["row 3", "row 5"]
        original, _, same, _ = display.images[0]
        np.testing.assert_array_equal(original, same)
        assert any("colour 0." in text or "colour 1." in text for text in texts(display.figure_))


class TestProbabilities:
    def test__plot__without_images_draws_a_line_an_edit(self, texts):
        display = CounterfactualDisplay(**FLIP).plot()
        assert [ax.get_title(loc="left") for ax in display.axes_] == [
            "hired (edited)",
            "gender male",
        ]
        hired = display.axes_[0]
        assert {"0.20 → 0.70", "0.20 → 0.40"} <= set(texts(hired))
        names = [text.get_text() for text in hired.get_yticklabels()]
        assert names == ["row 0, edit 1", "row 0, edit 2"]
        dots = {line.get_marker(): line for line in hired.lines if line.get_marker() != "None"}
        assert dots["D"].get_xdata()[0] == 0.7  # the only change of the decision

    def test__from_counterfactuals__draws_the_first_rows(self, explainer, data):
        result = explainer.explain_label(data.data)
        display = CounterfactualDisplay.from_counterfactuals(result)
        assert len(display.axes_) == 3
        assert display.row_names == [f"row {i}" for i in range(8)]
        shown = display.readings[0].shown
        np.testing.assert_allclose(shown[:, 0], result.original_probabilities[:8, 1])
        np.testing.assert_allclose(shown[:, 1:], result.probabilities[:8, :, 1])
        np.testing.assert_array_equal(display.readings[0].changed[:, 1:], result.changed[:8])

    @pytest.mark.parametrize(
        ("rows", "names"),
        [
            ([30, 4], ["row 30", "row 4"]),
            (slice(2, 4), ["row 2", "row 3"]),
            (np.arange(600) == 7, ["row 7"]),
            (9, ["row 9"]),
        ],
    )
    def test__from_counterfactuals__takes_rows_in_any_form(self, explainer, data, rows, names):
        result = explainer.explain_label(data.data)
        display = CounterfactualDisplay.from_counterfactuals(result, rows=rows)
        assert display.row_names == names
        again = CounterfactualDisplay.from_estimator(explainer, data.data, rows=rows)
        assert again.row_names == names
        np.testing.assert_allclose(
            again.readings[0].shown, display.readings[0].shown, rtol=ROUNDING
        )

    def test__plot__of_a_result_is_this_display(self, explainer, data):
        assert isinstance(explainer.explain_label(data.data[:2]).plot(), CounterfactualDisplay)

    def test__from_estimator__edits_an_attribute_of_three_values(self, explainer, data, texts):
        display = CounterfactualDisplay.from_estimator(
            explainer, data.data, attribute="age", rows=[0, 1]
        )
        titles = [ax.get_title(loc="left") for ax in display.axes_]
        assert titles == ["label", "gender male", "age (edited)"]
        age = display.readings[2]
        before, after = age.values[age.decided[0, 0]], age.values[age.decided[0, 1]]
        assert before != after
        expected = f"{before} {age.shown[0, 0]:.2f} → {after} {age.shown[0, 1]:.2f}"
        assert expected in texts(display.axes_[2])

    @pytest.mark.parametrize(("attribute", "name"), [(None, "label"), ("age", "age")])
    def test__from_estimator__moves_to_the_target(self, explainer, data, attribute, name):
        values = explainer.classes_ if attribute is None else explainer.attributes_["age"].values
        for target in values:
            display = CounterfactualDisplay.from_estimator(
                explainer, data.data, attribute=attribute, target=target
            )
            reading = next(r for r in display.readings if r.name == name)
            reached = np.asarray(reading.values)[reading.decided[:, 1]]
            assert (reached[display.reached[:, 0]] == str(target)).all()
            assert display.reached.mean() > 0.5

    def test__plot__an_edit_that_was_not_reached_says_so(self, texts):
        display = CounterfactualDisplay(**FLIP, reached=[[True, False]]).plot()
        assert "0.20 → 0.40, not reached" in texts(display.axes_[0])
        faces = CounterfactualDisplay(**FLIP, reached=[[True, False]], images=_images(1, 3)).plot()
        assert "not reached: as it was" in texts(faces.axes_[0, 2])

    def test__plot__decisions_count_rather_than_the_larger_probability(self):
        display = CounterfactualDisplay(**FLIP, decisions=[[0, 0, 1]])
        assert display.readings[0].changed.tolist() == [[False, False, True]]

    def test__plot__several_classes_and_long_names_fit(self):
        rng = np.random.default_rng(0)
        values = ["clerical", "professional or managerial", "manual work, skilled"]
        name = "occupation as the person reported it in the census"
        probabilities = rng.dirichlet(np.ones(3), size=(2, 3))
        display = CounterfactualDisplay({name: probabilities}, {name: values}).plot()
        display.figure_.canvas.draw()
        width = display.figure_.bbox.width
        assert max(text.get_window_extent().x1 for text in display.axes_[0].texts) <= width + 1
        assert min(t.get_window_extent().x0 for t in display.axes_[0].get_yticklabels()) >= 0

    def test__plot__into_given_axes(self):
        _, axes = plt.subplots(1, 2)
        assert list(CounterfactualDisplay(**FLIP).plot(axes).axes_) == list(axes)


class TestErrors:
    def test__init__shape_of_the_probabilities(self):
        bad = FLIP["probabilities"] | {"gender": np.zeros((1, 2, 2))}
        with pytest.raises(ValueError, match=r"probabilities\['gender'\] has shape \(1, 2, 2\)"):
            CounterfactualDisplay(bad, FLIP["values"])

    def test__init__nothing_to_read(self):
        with pytest.raises(ValueError, match="at least those of the label"):
            CounterfactualDisplay({}, {})

    def test__init__unknown_decision(self):
        with pytest.raises(ValueError, match=r"decisions has shape \(1, 3\) and holds"):
            CounterfactualDisplay(**FLIP, decisions=[[0, 1, 7]])

    def test__init__shape_of_the_images(self):
        with pytest.raises(ValueError, match=r"images has shape \(1, 2, 8, 8, 3\)"):
            CounterfactualDisplay(**FLIP, images=_images(1, 2))

    def test__init__number_of_names(self):
        with pytest.raises(ValueError, match="2 row_names"):
            CounterfactualDisplay(**FLIP, row_names=["a", "b"])

    def test__from_counterfactuals__label_named_like_an_attribute(self, explainer, data):
        with pytest.raises(ValueError, match="'gender' is a sensitive attribute"):
            explainer.explain_label(data.data[:2]).plot(label_name="gender")
