"""Where a model has its transformer: what comes before it, and what then decides."""

__all__ = [
    "BesideError",
    "UntracedError",
    "chain",
    "embeddings_of",
    "latent_step",
    "steps_of",
    "transformers_of",
]

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import _safe_indexing

# Names of what an estimator was fitted on; a part of it takes something else.
_INPUT = ("n_features_in_", "feature_names_in_")


class UntracedError(TypeError):
    """An edit of the latent cannot be followed to the decision of the model.

    Parameters
    ----------
    reason : str
        Why not.
    remedy : str
        The model to give instead.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason} {remedy}")
        self.reason, self.remedy = reason, remedy


class BesideError(UntracedError):
    """Other columns stand beside the latent in what the model decides by."""


def latent_step(model: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Return the fitted transformer of a model, and what makes its X of the model's.

    Parameters
    ----------
    model : FairLatentTransformer, or any model of scikit-learn with one in it
        Fitted: a Pipeline, a search, a ColumnTransformer, a calibrated classifier, ...

    Returns
    -------
    transformer : object
        With the method ``latent``.
    prepare : callable
        The steps before it; for a transformer alone X stays what it is.

    Raises
    ------
    TypeError
        If there is none, or more than one.
    NotFittedError
        If it is not fitted.
    """
    found = transformers_of(model)
    name = type(_opened(model)).__name__
    if not found and isinstance(model, Pipeline):
        names = [type(each).__name__ for _, each in model.steps]
        raise TypeError(
            f"The Pipeline {names} has no FairLatentTransformer: pass a model with one."
        )
    if not found:
        raise TypeError(
            f"{name} has no method latent: expected a fitted FairLatentTransformer, or a Pipeline "
            "with one."
        )
    if len(found) > 1:
        raise TypeError(
            f"{_several(model, len(found))} Give one model alone{_for_example(_opened(model))}."
        )
    before, step = found[0]
    if not hasattr(step, "label_slice_"):
        raise NotFittedError(
            f"This {type(step).__name__} is not fitted yet: call fit(X, y, "
            "sensitive_features=...) first."
        )
    return step, chain(before).transform if before else _as_it_is


def transformers_of(model: Any) -> list[tuple[list[Any], Any]]:
    """Return each transformer in a model once, with the steps before it."""
    found: dict[int, tuple[list[Any], Any]] = {}
    for before, step in _walk(model):
        found.setdefault(id(step), (before, step))
    return list(found.values())


def embeddings_of(found: list[tuple[list[Any], Any]], X: Any) -> list[Any]:
    """Return what is given of rows to each transformer that `transformers_of` found."""
    return [step.embed(chain(before).transform(X) if before else X) for before, step in found]


def steps_of(model: Any) -> list[Any]:
    """Return a model as a line of steps: its transformer is one, and what decides the last.

    A search stands for what it found best, and a classifier around a model, such as one that sets
    a threshold, for the steps up to the transformer and itself around the rest.

    Raises
    ------
    UntracedError
        If something else takes part in the decision beside a transformer.
    """
    model = _opened(model)
    if isinstance(model, Pipeline):
        parts = [steps_of(step) if _has_any(step) else [step] for _, step in model.steps]
        return [step for part in parts for step in part if not _is_nothing(step)]
    if _has_latent(model) or not _has_any(model):
        return [model]
    if isinstance(model, ColumnTransformer | FeatureUnion):
        branches = [each for each in _branches(model) if not _is_drop(each[1])]
        if len(branches) == 1:
            first, part = branches[0]
            return [*first, *steps_of(part)]
        raise BesideError(
            f"{type(model).__name__} puts other columns beside those of the "
            "FairLatentTransformer, so that an edit of the latent cannot be followed from rows "
            "to decisions.",
            "Give a Pipeline in which all columns go through the FairLatentTransformer.",
        )
    return _around(model)


def chain(steps: list[Any]) -> Any:
    """Return steps as one, without fitting or copying any; None if there are none."""
    if len(steps) == 1:
        return steps[0]
    return Pipeline([(str(i), step) for i, step in enumerate(steps)]) if steps else None


def _around(model: Any) -> list[Any]:
    """Return the steps of the one model within a classifier, and the classifier on its rest."""
    n = len(transformers_of(model))
    names = [name for name in _fitted(model) if _has_any(vars(model)[name])]
    untraced = UntracedError(_several(model, n), f"Give one model alone{_for_example(model)}.")
    if n > 1 or len(names) != 1 or not hasattr(model, "predict"):
        raise untraced
    name, outer = names[0], copy.copy(model)
    before: list[Any] = []
    for each in _INPUT:
        vars(outer).pop(each, None)
    inner = vars(model)[name]
    if isinstance(model, CalibratedClassifierCV):
        parts = [copy.copy(part) for part in inner]
        for part in parts:
            before, part.estimator = _split(part.estimator)
        setattr(outer, name, parts)
    elif isinstance(inner, BaseEstimator):
        before, rest = _split(inner)
        setattr(outer, name, rest)
    else:
        raise untraced
    return [*before, outer]


def _split(model: Any) -> tuple[list[Any], Any]:
    steps = steps_of(model)
    at = next(i for i, step in enumerate(steps) if _has_latent(step)) + 1
    return steps[:at], chain(steps[at:])


def _several(model: Any, n: int) -> str:
    name = type(_opened(model)).__name__
    if n > 1:
        return f"{name} holds {n} FairLatentTransformers, each with a latent of its own."
    return f"{name} decides by more than the model in it that has the FairLatentTransformer."


def _for_example(model: Any) -> str:
    if isinstance(model, CalibratedClassifierCV):
        return ", such as model.calibrated_classifiers_[0].estimator"
    models = getattr(model, "estimators_", ())
    found = [
        f", such as model.estimators_[{i}]" for i, each in enumerate(models) if _has_any(each)
    ]
    return next(iter(found), "")


def _opened(model: Any) -> Any:
    """Return what a fitted search found best, and what is frozen; any other model as it is."""
    while True:
        if hasattr(type(model), "_run_search") and not hasattr(model, "best_estimator_"):
            raise NotFittedError(
                f"This {type(model).__name__} has no best_estimator_: call its fit first, with "
                "refit=True or the name of a score, or give a Pipeline that was fitted with one "
                "of its candidates."
            )
        if hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        elif isinstance(model, FrozenEstimator):
            model = model.estimator
        else:
            return model


def _walk(model: Any) -> Iterator[tuple[list[Any], Any]]:
    model = _opened(model)
    if _has_latent(model):
        yield [], model
    elif isinstance(model, Pipeline):
        before: list[Any] = []
        for _, step in model.steps:
            yield from (([*before, *first], found) for first, found in _walk(step))
            before = before if _is_nothing(step) else [*before, step]
    else:
        for first, part in _branches(model):
            yield from (([*first, *then], found) for then, found in _walk(part))


def _branches(model: Any) -> Iterator[tuple[list[Any], Any]]:
    """Return what is in an estimator, with what chooses the columns that it is given."""
    if isinstance(model, ColumnTransformer):
        for _, part, columns in getattr(model, "transformers_", ()):
            yield [_choice(columns)], part
    elif isinstance(model, FeatureUnion):
        yield from (([], part) for _, part in model.transformer_list)
    elif hasattr(model, "estimators_features_"):  # bagging, each part on columns of its own
        own = zip(model.estimators_features_, model.estimators_, strict=True)
        yield from (([_choice(columns)], part) for columns, part in own)
    elif isinstance(model, list | tuple | Mapping):
        parts = model.values() if isinstance(model, Mapping) else model
        yield from (([], part) for part in parts)
    elif isinstance(model, BaseEstimator):
        yield from (([], vars(model)[name]) for name in _fitted(model))
    elif type(model).__module__ == "sklearn.calibration":  # one of several calibrated models
        yield [], model.estimator


def _fitted(model: Any) -> list[str]:
    names = [name for name in vars(model) if name.endswith("_") and not name.startswith("_")]
    # Clones of estimator_ are fitted, and it is not.
    return [name for name in names if name != "estimator_" or "estimators_" not in names]


def _choice(columns: Any) -> FunctionTransformer:
    choose = FunctionTransformer(partial(_safe_indexing, indices=columns, axis=1))
    return choose.set_output(transform="default")


def _has_latent(step: Any) -> bool:
    return hasattr(type(step), "latent")


def _has_any(model: Any) -> bool:
    return next(_walk(model), None) is not None


def _is_drop(step: Any) -> bool:
    return isinstance(step, str) and step == "drop"


def _is_nothing(step: Any) -> bool:
    return step is None or isinstance(step, str)


def _as_it_is(X: Any) -> Any:
    return X
