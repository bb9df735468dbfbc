"""The training curves: a panel for each term, the right scale, the end and the kept epoch."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from skfairlatent import FairLatentTransformer
from skfairlatent.inspection import TrainingCurvesDisplay


def _history(**columns):
    return pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.5], **columns})


class TestFromEstimator:
    def test__from_estimator__draws_every_term(self, pipe, texts):
        fair = pipe["fair"]
        display = TrainingCurvesDisplay.from_estimator(fair)
        written = " ".join(texts(display.figure_))
        terms = [name for name in fair.history_ if name.startswith("loss")]
        assert len(display.axes_) == len(terms)
        assert all(name in written for name in terms)
        assert "loss_di, weight 3" in written
        for ax, name in zip(display.axes_, terms, strict=True):
            np.testing.assert_array_equal(ax.lines[0].get_ydata(), fair.history_[name])

    def test__from_estimator__draws_the_validation_loss_and_what_was_kept(self, pipe, texts):
        fair = pipe["fair"]
        display = TrainingCurvesDisplay.from_estimator(fair)
        training, validation, *_ = display.axes_[0].lines
        np.testing.assert_array_equal(training.get_ydata(), fair.history_["loss"])
        np.testing.assert_array_equal(validation.get_ydata(), fair.history_["validation_loss"])
        assert training.get_linestyle() != validation.get_linestyle()  # not by colour alone
        best = fair.history_["validation_loss"].idxmin() + 1
        assert f"kept: epoch {best}" in texts(display.axes_[0])

    def test__from_estimator__takes_the_pipeline(self, pipe):
        display = TrainingCurvesDisplay.from_estimator(pipe)
        assert display.history is pipe["fair"].history_

    def test__from_estimator__refuses_a_pipeline_without_a_latent(self, pipe):
        with pytest.raises(TypeError, match=r"\['LogisticRegression'\] has no FairLatent"):
            TrainingCurvesDisplay.from_estimator(pipe[1:])

    def test__from_estimator__refuses_an_unfitted_one(self):
        with pytest.raises(NotFittedError, match=r"not fitted yet: call fit\(X, y, sens"):
            TrainingCurvesDisplay.from_estimator(FairLatentTransformer())


class TestPlot:
    def test__plot__without_validation_draws_one_curve(self, texts):
        display = TrainingCurvesDisplay(_history(validation_loss=[np.nan] * 3)).plot()
        assert len(display.axes_[0].lines) == 1
        assert "1.5" in texts(display.axes_[0])

    @pytest.mark.parametrize(
        ("values", "scale"),
        [([1.0, 0.1, 0.01], "log"), ([1.0, 0.9, 0.8], "linear"), ([1.0, 0.1, -0.01], "linear")],
        ids=["orders of magnitude", "alike", "negative"],
    )
    def test__plot__chooses_the_scale(self, values, scale, texts):
        display = TrainingCurvesDisplay(_history(loss_di=values)).plot()
        assert display.axes_[1].get_yscale() == scale
        assert ("log scale" in " ".join(texts(display.axes_[1]))) == (scale == "log")

    def test__plot__tick_labels_of_a_log_scale_are_plain(self):
        display = TrainingCurvesDisplay(_history(loss_di=[1.0, 0.1, 0.01])).plot()
        display.figure_.canvas.draw()
        labels = [text.get_text() for text in display.axes_[1].get_yticklabels()]
        assert all(float(label) > 0 for label in labels if label)

    def test__plot__one_epoch_and_terms_that_it_does_not_know(self, texts):
        display = TrainingCurvesDisplay(_history(loss_new=[1.0, 2.0, 3.0])[:1]).plot()
        assert "loss_new" in texts(display.axes_[1])
        assert display.axes_[0].lines[0].get_marker() == "o"

    def test__plot__non_finite_losses(self, texts):
        values = [1.0, np.nan, np.inf]
        display = TrainingCurvesDisplay(_history(loss_di=values, loss_g=[np.nan] * 3)).plot()
        display.figure_.canvas.draw()
        assert ["undefined" in texts(ax) for ax in display.axes_] == [False, False, True]

    def test__plot__into_a_given_axes(self):
        figure, ax = plt.subplots()
        display = TrainingCurvesDisplay(_history(loss_di=[1.0, 2.0, 3.0])).plot(ax)
        assert display.figure_ is figure
        assert display.axes_.shape == (2,)


@pytest.mark.parametrize("history", [_history()[:0], _history().drop(columns="loss")])
def test__init__refuses_what_is_no_history(history):
    with pytest.raises(ValueError, match=r"expected the history_"):
        TrainingCurvesDisplay(history)
