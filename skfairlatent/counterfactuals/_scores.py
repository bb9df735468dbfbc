"""Decisions of a classifier on each row, as numbers that a search can follow."""

__all__ = ["Affine", "Function", "Scores", "as_affine", "fit_affine", "softmax_of"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, softmax
from sklearn.base import is_regressor
from sklearn.linear_model import LogisticRegression

from skfairlatent._names import nameless
from skfairlatent._user_warnings import warn_user

Floats = npt.NDArray[np.float64]

# Log-probabilities below that of the smallest double are all the same to a search.
SMALLEST = float(np.finfo(np.float64).tiny)
# An affine function repeats itself to this share of its largest value, rounding included.
AFFINE_TOLERANCE = 1e-6
# Rows on which a function is tested for being affine.
TEST_ROWS = 8


class Function(Protocol):
    """Scores of the classes, shape (n, n_classes); only differences within a row matter."""

    def __call__(self, Z: Floats, /) -> Floats:
        """Return the scores."""


@dataclass(frozen=True)
class Affine:
    """Scores that are affine: ``Z @ weights.T + bias``.

    Parameters
    ----------
    weights : ndarray of shape (n_classes, width)
    bias : ndarray of shape (n_classes,)
    """

    weights: Floats
    bias: Floats

    def __call__(self, Z: Floats, /) -> Floats:
        """Return the scores."""
        return np.asarray(Z @ self.weights.T + self.bias)


class Scores:
    """Log-probabilities of the classes, from whatever a fitted classifier offers.

    Parameters
    ----------
    classifier : object
        The classifier, with the steps before it.
    contain : callable
        From an array to what the first of these steps takes, such as a table with names.
    """

    def __init__(
        self, classifier: Any, contain: Callable[[npt.NDArray[Any]], Any] = np.asarray
    ) -> None:
        self.classifier = classifier
        self.contain = contain
        self.classes = _classes(classifier)
        self.has_probabilities = hasattr(classifier, "predict_proba")
        if self.has_probabilities:
            return
        if not hasattr(classifier, "decision_function"):
            raise TypeError(
                f"{_name(classifier)} has neither predict_proba nor decision_function, so that "
                "nothing says how close a decision is: fit a classifier that has one of them, "
                "such as LogisticRegression() or VotingClassifier(..., voting='soft')."
            )
        warn_user(
            f"{_name(classifier)} has no predict_proba: the probabilities shown are the softmax "
            "of its decision function, not calibrated. For calibrated ones wrap it, as in "
            "CalibratedClassifierCV(FrozenEstimator(classifier)).fit(Z, y).",
            UserWarning,
        )

    def __call__(self, Z: Floats, /) -> Floats:
        """Return log-probabilities."""
        if not self.has_probabilities:
            return self.decision(Z)
        return np.asarray(np.log(np.maximum(self.probabilities(Z), SMALLEST)))

    @nameless
    def predict(self, Z: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the decisions, shape (n,)."""
        return np.asarray(self.classifier.predict(self.contain(Z)))

    def decisions(self, Z: Floats, /) -> Floats:
        """Return 1 for the class that is decided on and 0 for others, shape (n, n_classes)."""
        return np.asarray(self.predict(Z)[:, None] == self.classes, dtype=np.float64)

    def decide_by_score(self, Z: npt.NDArray[Any]) -> bool:
        """Tell whether the likeliest class is decided on, as it is not at another threshold."""
        return bool((self.classes[self(Z).argmax(axis=1)] == self.predict(Z)).all())

    @nameless
    def probabilities(self, Z: npt.NDArray[Any]) -> Floats:
        """Return the probabilities of the classes, shape (n, n_classes)."""
        if self.has_probabilities:
            found = self.classifier.predict_proba(self.contain(Z))
            return np.asarray(found, dtype=np.float64)
        return np.asarray(np.exp(self.decision(Z)))

    @nameless
    def decision(self, Z: npt.NDArray[Any]) -> Floats:
        """Return the log-softmax of the decision function, shape (n, n_classes)."""
        found = self.classifier.decision_function(self.contain(Z))
        values = np.asarray(found, dtype=np.float64)
        if values.ndim == 1:
            values = np.column_stack((np.zeros(len(values)), values))
        if values.shape[1] != len(self.classes):
            raise TypeError(
                f"{_name(self.classifier)} decides between pairs of classes: set "
                "decision_function_shape='ovr', or use a classifier with predict_proba."
            )
        return np.asarray(log_softmax(values, axis=1))


def as_affine(scores: Scores, Z: Floats) -> Affine | None:
    """Return the classifier as an affine function, or None if it is not one.

    It is read off by evaluation, so that scalers and projections before a linear classifier
    count in, and what only has ``coef_`` is not taken for linear.

    Parameters
    ----------
    scores : Scores
        The classifier.
    Z : ndarray of shape (n, width)
        Rows like those it will be used on.
    """
    if not hasattr(scores.classifier, "decision_function"):
        return None
    sample = Z[:TEST_ROWS]
    if scores.has_probabilities and not np.allclose(
        scores.probabilities(sample), np.exp(scores.decision(sample)), rtol=0.0, atol=1e-6
    ):
        return None
    corners = np.vstack((np.zeros(Z.shape[1]), np.eye(Z.shape[1])))
    values = _relative(scores.decision(corners))
    affine = Affine((values[1:] - values[0]).T, values[0])
    # Far out as well, where functions that saturate or bend show themselves.
    rows = np.vstack((sample, -3.0 * sample, 10.0 * sample))
    found = _relative(scores.decision(rows))
    tolerance = AFFINE_TOLERANCE * max(float(np.abs(found).max()), 1.0)
    return affine if np.allclose(affine(rows), found, rtol=0.0, atol=tolerance) else None


def fit_affine(Z: Floats, codes: npt.NDArray[np.intp], n_classes: int) -> Affine:
    """Return a logistic regression of class codes on rows, as scores of the unscaled rows.

    Classes that do not occur have score minus infinity.
    """
    centre, scale = Z.mean(axis=0), Z.std(axis=0)
    scale[scale == 0.0] = 1.0
    model = LogisticRegression(max_iter=1000).fit((Z - centre) / scale, codes)
    weights, bias = model.coef_ / scale, model.intercept_
    if len(model.classes_) == 2:
        weights, bias = np.vstack((np.zeros_like(weights), weights)), np.append(0.0, bias)
    all_weights, all_bias = np.zeros((n_classes, Z.shape[1])), np.full(n_classes, -np.inf)
    all_weights[model.classes_] = weights
    all_bias[model.classes_] = bias - weights @ centre
    return Affine(all_weights, all_bias)


def softmax_of(function: Function, Z: Floats) -> Floats:
    """Return the probabilities that scores stand for."""
    return np.asarray(softmax(function(Z), axis=1))


def _relative(values: Floats) -> Floats:
    return values - values[:, :1]


def _name(classifier: Any) -> str:
    steps = getattr(classifier, "steps", None)
    return type(steps[-1][1] if steps else classifier).__name__


def _classes(classifier: Any) -> npt.NDArray[Any]:
    classes = getattr(classifier, "classes_", None)
    if is_regressor(classifier):
        raise TypeError(
            f"{_name(classifier)} is a regressor, and has no decisions to explain: give a "
            "classifier, fitted on classes, such as y > threshold."
        )
    if classes is None or isinstance(classes, list):
        raise TypeError(
            f"{_name(classifier)} is not a fitted classifier of one label (it needs classes_, an "
            "array): fit it first, and explain several labels one at a time."
        )
    return np.asarray(classes)
