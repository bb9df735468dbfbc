"""The step of a model that has the latent, and what comes before it."""

__all__ = ["best_of", "latent_step"]

from collections.abc import Callable
from typing import Any

from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline


def latent_step(model: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Return the fitted transformer of a model, and what makes its X of the model's.

    Parameters
    ----------
    model : FairLatentTransformer, or Pipeline
        Of a Pipeline the first step that has a latent is taken.

    Returns
    -------
    transformer : object
        With the method ``latent``.
    prepare : callable
        The steps before it; for a transformer alone X stays what it is.

    Raises
    ------
    TypeError
        If there is none.
    NotFittedError
        If it is not fitted.
    """
    model = best_of(model)
    step, prepare = model, _as_it_is
    if isinstance(model, Pipeline):
        steps = [each for _, each in model.steps]
        at = next((i for i, each in enumerate(steps) if hasattr(each, "latent")), None)
        if at is None:
            names = [type(each).__name__ for each in steps]
            raise TypeError(
                f"The Pipeline {names} has no FairLatentTransformer: give one that has."
            )
        step, prepare = steps[at], model[:at].transform if at else _as_it_is
    name = type(step).__name__
    if not hasattr(step, "latent"):
        raise TypeError(
            f"{name} has no method latent: expected a fitted FairLatentTransformer, or a Pipeline "
            "with one."
        )
    if not hasattr(step, "label_slice_"):
        raise NotFittedError(
            f"This {name} is not fitted yet: call fit(X, y, sensitive_features=...) first."
        )
    return step, prepare


def best_of(model: Any) -> Any:
    """Return what a fitted search found best; any other model as it is."""
    return getattr(model, "best_estimator_", model)


def _as_it_is(X: Any) -> Any:
    return X
