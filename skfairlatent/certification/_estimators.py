"""The view that a classifier has of rows: cells alone, or one fitted score."""

__all__ = ["decided_by", "labels_of_fit", "seen_by"]

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from sklearn.utils import _safe_indexing

from skfairlatent._find_transformer import (
    UntracedError,
    embeddings_of,
    latent_step,
    steps_of,
    transformers_of,
)
from skfairlatent._names import nameless
from skfairlatent._validation.equal_labels import with_classes
from skfairlatent._validation.groups import as_text, encode_columns
from skfairlatent._wording import some_of
from skfairlatent.certification._bounds import Family, worst_on_cells, worst_threshold
from skfairlatent.certification._evaluate import Decided, Values
from skfairlatent.metrics._group_counts import class_positions

# What a classifier sees of rows, shape (n,), and what each transformer is given of them.
Seen: TypeAlias = tuple[Values, list[Any]]
Found: TypeAlias = list[tuple[list[Any], Any]]


class View(NamedTuple):
    """What is certified of an estimator: its cells, or its score.

    Parameters
    ----------
    classes : ndarray, list of ndarray or None
        The labels of fit.
    family : callable
        `worst_on_cells`, or `worst_threshold` of scores.
    transformers : list of FairLatentTransformer
        Those of the estimator.
    see : callable
        From rows to what a classifier sees of them.
    """

    classes: Any
    family: Family
    transformers: list[Any]
    see: Callable[[Any], Seen]


def seen_by(estimator: Any) -> View:
    """Return cells where decisions are made from them alone, and else the estimator's score."""
    found = transformers_of(estimator)
    transformers = [step for _, step in found]
    decides = any(hasattr(estimator, name) for name in ("decision_function", "predict_proba"))
    scores = partial(_scores, estimator, found)
    if len(found) != 1:
        if not decides:
            raise TypeError(_no_score(estimator, len(found)))
        classes = getattr(estimator, "classes_", None)
        return View(classes, worst_threshold, transformers, scores)
    transformer, _ = latent_step(estimator)
    reason = _more_than_cells(estimator, transformer)
    if reason is None:
        cells = partial(_cells, found)
        return View(transformer.classes_, worst_on_cells, transformers, cells)
    if not decides:
        raise ValueError(reason)
    return View(transformer.classes_, worst_threshold, transformers, scores)


def _no_score(estimator: Any, n: int) -> str:
    """Say why an estimator with no transformer, or several, has nothing to certify."""
    name = type(estimator).__name__
    if not n:
        return (
            f"{name} has no FairLatentTransformer, and no decision_function or predict_proba: "
            "expected a fitted transformer with n_bins, a Pipeline with one, or a classifier."
        )
    method = "predict" if hasattr(estimator, "predict") else "transform"
    return (
        f"{name} holds {n} FairLatentTransformers, and has no decision_function or predict_proba "
        f"to certify: certify what it returns, as by certify_cells(estimator.{method}(X), y, "
        "sensitive_features=...)."
    )


def _more_than_cells(estimator: Any, transformer: Any) -> str | None:
    """Say what decisions are made from besides cells, and what to do; None if nothing."""
    if getattr(transformer, "bins_", None) is None:
        return (
            "The label block is continuous, and no bound holds over all classifiers on a "
            "continuous representation: set n_bins, as in FairLatentTransformer(n_bins=4), and "
            "fit again, or give a fitted classifier, whose score is certified."
        )
    if transformer.output != "label":
        return (
            f"output={transformer.output!r} returns the sensitive block beside the cells, from "
            'which a classifier can read anything: set output="label".'
        )
    try:
        steps_of(estimator)
    except UntracedError as error:
        return (
            f"{error.reason} Give the FairLatentTransformer alone, or a Pipeline in which it is "
            "all that a classifier sees."
        )
    return None


def _cells(found: Found, rows: Any) -> Seen:
    """Return the cell of each row."""
    embeddings = embeddings_of(found, rows)
    transformer = found[0][1]
    return transformer.bins_.assign(nameless(transformer.latent)(embeddings[0])), embeddings


def decided_by(estimator: Any, rows: Any, cells: Values) -> Decided | None:
    """Return what an estimator decides of rows by their cells; None if it does not decide."""
    classes = getattr(estimator, "classes_", None)
    if classes is None or isinstance(classes, list) or not hasattr(estimator, "predict"):
        return None
    # All rows of a cell are decided alike.
    _, first, codes = np.unique(cells, return_index=True, return_inverse=True)
    decisions = class_positions(estimator.predict(_safe_indexing(rows, first)), classes)
    return Decided(decisions[codes], len(classes))


def _scores(estimator: Any, found: Found, rows: Any) -> Seen:
    """Return the score by which an estimator decides on each row."""
    if hasattr(estimator, "decision_function"):
        values = np.asarray(estimator.decision_function(rows), dtype=np.float64)
    else:
        values = np.asarray(estimator.predict_proba(rows), dtype=np.float64)
        values = values[:, 1] if values.ndim == 2 and values.shape[1] == 2 else values
    if values.ndim != 1:
        raise ValueError(
            f"{type(estimator).__name__} decides between more than two classes, and has no one "
            "score to certify: certify its decisions, as by certify_cells(estimator.predict(X), "
            "y, sensitive_features=...)."
        )
    return values, embeddings_of(found, rows)


def labels_of_fit(classes: Any, y: Any, constraints: str) -> Any:
    """Return labels in the form that they had in fit.

    Those that fit did not know are refused, and equalised odds without a label that it knew.
    """
    if classes is None or constraints == "demographic_parity":
        return y
    known = classes if isinstance(classes, list) else [classes]
    y = with_classes(y, known)
    columns = encode_columns(y, "y")
    if len(columns) != len(known):
        raise ValueError(
            f"y has {len(columns)} label column(s), but fit was given {len(known)}: give the same."
        )
    for column, each in zip(columns, known, strict=True):
        names = [as_text(value) for value in each]
        where = "y" if len(columns) == 1 else column.label
        if new := [name for name in column.values if name not in names]:
            raise ValueError(
                f"{where} has labels that fit did not see: {', '.join(some_of(new))}. Expected "
                f"those of fit: {', '.join(some_of(names))}. Recode them as in fit, or drop these "
                "rows."
            )
        gone = [name for name in names if name not in column.values]
        if gone and constraints == "equalized_odds":
            raise ValueError(
                f"{where} has no rows of {', '.join(some_of(gone))}, labels of fit: nothing can "
                "be certified for them. Give rows of every label, or set "
                'constraints="demographic_parity", which compares the groups over all labels.'
            )
    return y
