"""Facts about an audit, its model, data and software; of the data only counts."""

__all__ = ["DataFacts", "ModelFacts", "Setup", "data_facts", "model_facts", "version_facts"]

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from skfairlatent._embedding import encoder_fingerprint
from skfairlatent._find_transformer import UntracedError, steps_of
from skfairlatent.report._rows import AuditedRows, distinct_names

PACKAGES = ("skfairlatent", "scikit-learn", "torch", "fairlearn", "numpy", "pandas")


@dataclass(frozen=True)
class Setup:
    """How an audit was made.

    `baseline` names the steps of the model before, None for a stand-in. `noise` is None if
    decoding takes none. `untraced` says why edits cannot be followed to decisions, if so, and
    `is_blind` that the classifier sees the label block only.
    """

    label: str
    classes: list[str]
    attributes: list[str]
    n_rows: int
    baseline: list[str] | None
    n_folds: int
    target_probability: float
    noise: str | None
    n_bootstrap: int
    confidence: float
    is_blind: bool
    untraced: str | None
    can_decode: bool
    shows_others: bool


@dataclass(frozen=True)
class ModelFacts:
    """Steps of the audited pipeline, and what its transformer was trained with."""

    steps: list[str]
    classifier: str
    classifier_parameters: Mapping[str, Any]
    transformer_parameters: Mapping[str, Any]
    encoder: str | None
    encoder_fingerprint: str | None
    trained_on_groups: Mapping[str, list[str]]
    n_embedding_features: int
    n_label_components: int
    epochs: int
    round_trip_error: float


@dataclass(frozen=True)
class DataFacts:
    """Rows of each label and of each group; groups of fewer than 10 rows again in `too_small`."""

    n_rows: int
    labels: Mapping[str, int]
    groups: Mapping[str, Mapping[str, int]]
    too_small: Mapping[str, Mapping[str, int]]


def model_facts(pipe: Any, fair: Any, encoder: Any) -> ModelFacts:
    """Describe a pipeline.

    Parameters
    ----------
    pipe : Pipeline
        The pipeline.

    fair : FairLatentTransformer
        Its transformer.

    encoder : object or None
        Makes embeddings of images, or images of embeddings.
    """
    try:
        steps = steps_of(pipe)
    except UntracedError:
        steps = [step for _, step in getattr(pipe, "steps", [("", pipe)])]
    return ModelFacts(
        steps=[type(step).__name__ for step in steps],
        classifier=type(steps[-1]).__name__,
        classifier_parameters=_parameters(steps[-1]),
        transformer_parameters={k: v for k, v in _parameters(fair).items() if k != "encoder"},
        encoder=None if encoder is None else type(encoder).__name__,
        encoder_fingerprint=encoder_fingerprint(encoder),
        trained_on_groups=_shown_groups(fair.attributes_),
        n_embedding_features=int(fair.n_features_in_),
        n_label_components=fair.label_slice_.stop - fair.label_slice_.start,
        epochs=int(fair.n_iter_),
        round_trip_error=float(fair.inverse_error_),
    )


def _shown_groups(attributes: list[tuple[str, list[Any]]]) -> dict[str, list[str]]:
    """Return the groups of a fit by the names that the audited ones have on the page."""
    names = distinct_names(name for name, _ in attributes)
    return {
        name: distinct_names(values) for name, (_, values) in zip(names, attributes, strict=True)
    }


def data_facts(rows: AuditedRows) -> DataFacts:
    """Count the rows."""
    labels = pd.Series(rows.y).value_counts().sort_index()
    return DataFacts(
        n_rows=len(rows.y),
        labels=dict(zip(distinct_names(labels.index), labels.tolist(), strict=True)),
        groups={each.label: each.counts() for each in rows.groupings()},
        too_small=rows.too_small(),
    )


def version_facts() -> dict[str, str]:
    """Return the versions of what computed the audit."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def _parameters(estimator: Any) -> dict[str, Any]:
    """Return parameters as plain values; of objects and arrays, which may hold rows, the type."""
    if not hasattr(estimator, "get_params"):
        return {}
    return {name: _described(value) for name, value in estimator.get_params(deep=False).items()}


def _described(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, tuple | list) and len(value) <= 10:
        return [_described(item) for item in value]
    return f"a {type(value).__name__}"
