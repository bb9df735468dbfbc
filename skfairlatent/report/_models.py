"""The two models that an audit compares, as classifiers on embeddings of the audited rows."""

__all__ = [
    "Side",
    "after_side",
    "assign_folds",
    "baseline_side",
    "check_baseline",
    "check_positive",
    "find_fair",
    "stand_in_side",
    "whole_side",
    "whole_stand_in",
]

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import clone, is_clusterer, is_outlier_detector, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from skfairlatent._find_transformer import transformers_of
from skfairlatent._image_forms import holds_images
from skfairlatent.counterfactuals._codec import ImageCodec
from skfairlatent.counterfactuals._scores import Scores
from skfairlatent.counterfactuals._space import Space, find_space
from skfairlatent.diagnostics._probe_rows import scaler
from skfairlatent.metrics._group_counts import class_positions

Array = npt.NDArray[Any]
Codes = npt.NDArray[np.int64]

N_FOLDS = 5
NO_CLASSIFIERS = is_regressor, is_clusterer, is_outlier_detector


@dataclass(frozen=True)
class Side:
    """A model, what it says of the audited rows, and how its latent can be edited.

    Parameters
    ----------
    embeddings : ndarray of shape (n, width)
        Embeddings of the audited rows.

    embed : callable
        From rows to embeddings.

    classes, predictions, probabilities : ndarray
        With shapes (n_classes,), (n,) and (n, n_classes); the second of two classes is positive.

    models : sequence of Pipeline
        Classifiers on embeddings, one for each fold of the rows.

    model : Pipeline
        The classifier for rows that are not among the audited ones.

    codec : ImageCodec
        Turns embeddings into images and back, as far as it is known.
    """

    embeddings: Array
    embed: Callable[[Any], Array]
    classes: Array
    predictions: Array
    probabilities: Array
    models: Sequence[Any]
    model: Any
    codec: ImageCodec

    def with_classes(self, classes: Array) -> Self:
        """Return the same in terms of these classes, of which it may know some only."""
        probabilities = np.zeros((len(self.probabilities), len(classes)))
        probabilities[:, class_positions(self.classes, classes)] = self.probabilities
        decided = classes[class_positions(self.predictions, classes)]
        return replace(self, classes=classes, predictions=decided, probabilities=probabilities)

    def with_positive(self, label: Any) -> Self:
        """Return the same with the positive class last; None leaves the order as it is."""
        if label is None or self.classes[-1] == label:
            return self
        return replace(self, classes=self.classes[::-1], probabilities=self.probabilities[:, ::-1])


def find_fair(pipe: Any) -> list[tuple[list[Any], Any]]:
    """Return each FairLatentTransformer of a model, with the steps before it.

    Raises
    ------
    TypeError
        If there is none.
    """
    remedy = (
        'Pipeline([("fair", FairLatentTransformer()), ("clf", LogisticRegression())]), fitted; '
        "a plain model is given as baseline=."
    )
    found = transformers_of(pipe)
    if found and not isinstance(pipe, type):
        return found
    if not isinstance(pipe, Pipeline):
        raise TypeError(f"audit was given a {type(pipe).__name__}: expected {remedy}")
    names = [type(step).__name__ for _, step in pipe.steps]
    raise TypeError(f"The pipeline {names} has no FairLatentTransformer: expected {remedy}")


def check_positive(label: Any, classes: Array) -> None:
    """Raise ValueError if this is not a positive class among these; None always may be."""
    if label is None:
        return
    known = classes.tolist()
    if len(known) > 2:
        raise ValueError(
            f"pos_label={label!r}: of more than two classes, here {known}, each is the positive "
            "one in turn. Leave pos_label out."
        )
    if label not in known:
        raise ValueError(f"pos_label={label!r}: expected one of the labels, {known}.")


def after_side(fair: Any, space: Space, X: Any) -> Side:
    """Return the audited pipeline, of which `fair` is the transformer."""
    model = Pipeline([("fair", fair), ("classifier", space.classifier)])
    return _side(space, space.embed(X), model, space.codec)


def check_baseline(baseline: Any, classes: Array) -> None:
    """Raise an error, before any work, for what is not a fitted classifier of these classes."""
    if baseline is None:
        return
    shown = baseline.__name__ if isinstance(baseline, type) else type(baseline).__name__
    is_one = hasattr(baseline, "predict") and not isinstance(baseline, type)
    if not is_one or any(kind(baseline) for kind in NO_CLASSIFIERS):
        raise TypeError(
            f"baseline={shown} is not a valid baseline: expected a fitted classifier that takes "
            "the same X, or a Pipeline that ends with one, such as LogisticRegression().fit(X, y)."
        )
    try:
        check_is_fitted(baseline)
        known = baseline.classes_
    except (NotFittedError, AttributeError) as error:
        raise NotFittedError(
            f"baseline, a {shown}, is not fitted: call its fit first, with training rows, or "
            "leave it out."
        ) from error
    if (class_positions(known, classes) < 0).any():
        raise ValueError(
            f"baseline predicts the classes {np.asarray(known).tolist()} and the pipeline "
            f"{classes.tolist()}: give a baseline for the same label."
        )


def whole_side(model: Any, X: Any) -> Side:
    """Return a fitted model of which only the decisions are known."""
    scores = Scores(model)
    no_rows = np.empty((len(X), 0))
    decided, probabilities = scores.predict(X), scores.probabilities(X)
    return Side(
        no_rows, np.asarray, scores.classes, decided, probabilities, [], None, ImageCodec()
    )


def whole_stand_in(model: Any, X: Any, y: Array, folds: Codes) -> Side:
    """Return a model trained anew in folds, with a standardisation for each transformer."""
    model = _unmitigated(getattr(model, "best_estimator_", model))
    sides = []
    try:
        for fold in range(N_FOLDS):
            rows = np.flatnonzero(folds != fold)
            trained = clone(model).fit(_safe_indexing(X, rows), y[rows])
            part = whole_side(trained, _safe_indexing(X, np.flatnonzero(folds == fold)))
            sides.append(part.with_classes(np.unique(y)))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{type(model).__name__} cannot be trained anew with a StandardScaler in place of the "
            f"FairLatentTransformer ({error}): give baseline=, a fitted model without mitigation."
        ) from error
    order = np.argsort(np.argsort(folds, kind="stable"), kind="stable")
    return replace(
        sides[0],
        embeddings=np.empty((len(y), 0)),
        predictions=np.concatenate([side.predictions for side in sides])[order],
        probabilities=np.concatenate([side.probabilities for side in sides])[order],
    )


def _unmitigated(model: Any) -> Any:
    """Return a model to be trained anew, with a standardisation for each transformer in it."""
    parts = model.get_params()
    frozen = [part for part in (model, *parts.values()) if isinstance(part, FrozenEstimator)]
    if frozen:
        raise ValueError(
            f"The pipeline holds a FrozenEstimator of {type(frozen[0].estimator).__name__}, which "
            "cannot be trained anew without mitigation: give baseline=, a fitted model without "
            "mitigation."
        )
    places = [name for name, part in parts.items() if hasattr(type(part), "latent")]
    return clone(model).set_params(**{name: scaler() for name in places})


def baseline_side(baseline: Any, X: Any, after: Side) -> Side:
    """Return a fitted plain model that takes the same rows."""
    images = holds_images(X)
    space = find_space(baseline, None, None, images=images)
    try:
        embeddings = space.embed(X)
    except ValueError as error:
        raise ValueError(
            f"baseline cannot be followed on X ({error}): give a fitted classifier of numbers, or "
            "a Pipeline that makes numbers of X before it."
        ) from error
    codec = space.codec
    if not images:  # the same embeddings decode the same way
        same = np.array_equal(embeddings, after.embeddings)
        codec = after.codec if same else ImageCodec()
    latent = FunctionTransformer(space.forward, space.inverse, check_inverse=False)
    model = Pipeline(
        [("latent", latent.set_output(transform="default")), ("classifier", space.classifier)]
    )
    return _side(space, embeddings, model, codec)


def _side(space: Space, embeddings: Array, model: Any, codec: ImageCodec) -> Side:
    """Return a fitted model, which is the same for all rows."""
    scores = space.scores()
    inputs = space.forward(embeddings)[:, space.input]
    return Side(
        embeddings=embeddings,
        embed=space.embed,
        classes=scores.classes,
        predictions=scores.predict(inputs),
        probabilities=scores.probabilities(inputs),
        models=[model] * N_FOLDS,
        model=model,
        codec=codec,
    )


def stand_in_side(classifier: Any, after: Side, y: Array, folds: Codes) -> Side:
    """Return the pipeline's classifier, trained anew on embeddings, as the model before.

    Each row is judged by a classifier that was trained on the other folds.

    Parameters
    ----------
    classifier : object
        The fitted classifier of the pipeline; it is cloned.

    after : Side
        The audited pipeline.

    y : ndarray of shape (n,)
        Labels.

    folds : ndarray of shape (n,), int64
        Fold of each row.
    """
    classes, counts = np.unique(y, return_counts=True)
    if counts.min() < 2:
        raise ValueError(
            f"Label {classes[counts.argmin()]} has one row, and without a baseline two are "
            "needed to train one: give baseline=, or leave that row out."
        )
    E, model = after.embeddings, make_pipeline(scaler(), _unmitigated(classifier))

    def trained(rows: Array) -> Any:
        return clone(model).fit(E[rows], y[rows])

    predictions = np.empty(len(y), dtype=classes.dtype)
    probabilities = np.empty((len(y), len(classes)))
    models = []
    try:
        for fold in range(N_FOLDS):
            models.append(trained(folds != fold))
            rows, scores = folds == fold, Scores(models[-1])
            predictions[rows] = scores.predict(E[rows])
            probabilities[rows] = scores.probabilities(E[rows])
    except ValueError as error:
        raise ValueError(
            f"The pipeline's classifier cannot be trained anew on embeddings ({error}): give "
            "baseline=, a fitted model without mitigation."
        ) from error
    return Side(
        embeddings=E,
        embed=after.embed,
        classes=classes,
        predictions=predictions,
        probabilities=probabilities,
        models=models,
        model=trained(np.ones(len(y), dtype=bool)),
        codec=after.codec,
    )


def assign_folds(y: Array, crossed: Codes, rng: Any) -> Codes:
    """Deal the rows of each label and group out to the folds, in random order."""
    order = np.lexsort((rng.permutation(len(y)), crossed, np.unique(y, return_inverse=True)[1]))
    folds = np.empty(len(y), dtype=np.int64)
    folds[order] = np.arange(len(y)) % N_FOLDS
    return folds
