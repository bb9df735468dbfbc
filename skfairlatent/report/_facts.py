"""What an audit records of the model, the data and the software; of the data only counts."""

__all__ = ["data_facts", "model_facts", "version_facts"]

import os
import platform
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from skfairlatent._embedding import encoder_fingerprint
from skfairlatent._find_transformer import UntracedError, steps_of
from skfairlatent.inspection._drawing import as_label
from skfairlatent.report._rows import AuditedRows

PACKAGES = ("skfairlatent", "scikit-learn", "torch", "fairlearn", "numpy", "pandas")


def model_facts(pipe: Any, fair: Any, encoder: Any) -> dict[str, Any]:
    """Return the steps of a pipeline, and what its transformer was trained with.

    Parameters
    ----------
    pipe : Pipeline
        The pipeline.

    fair : FairLatentTransformer
        Its transformer.

    encoder : object or None
        What makes embeddings of images, or images of embeddings.
    """
    try:
        steps = steps_of(pipe)
    except UntracedError:
        steps = [step for _, step in getattr(pipe, "steps", [("", pipe)])]
    return {
        "steps": [type(step).__name__ for step in steps],
        "classifier": type(steps[-1]).__name__,
        "classifier_parameters": _parameters(steps[-1]),
        "transformer_parameters": {k: v for k, v in _parameters(fair).items() if k != "encoder"},
        "encoder": None if encoder is None else type(encoder).__name__,
        "encoder_fingerprint": encoder_fingerprint(encoder),
        "trained_on_groups": {
            as_label(name): [as_label(value) for value in values]
            for name, values in fair.attributes_
        },
        "n_embedding_features": int(fair.n_features_in_),
        "n_label_components": fair.label_slice_.stop - fair.label_slice_.start,
        "epochs": int(fair.n_iter_),
        "round_trip_error": float(fair.inverse_error_),
    }


def data_facts(rows: AuditedRows) -> dict[str, Any]:
    """Return how many rows there are of each label and of each group, small ones named again."""
    labels = pd.Series(rows.y).value_counts().sort_index()
    return {
        "n_rows": len(rows.y),
        "labels": {as_label(label): int(count) for label, count in labels.items()},
        "groups": {each.name: each.counts() for each in rows.groupings()},
        "too_small": rows.too_small(),
    }


def version_facts() -> dict[str, str]:
    """Return the versions of what computed the audit."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def _parameters(estimator: Any) -> dict[str, Any]:
    """Return parameters as plain values; of objects and arrays only what they are."""
    if not hasattr(estimator, "get_params"):
        return {}
    return {name: _plain(value) for name, value in estimator.get_params(deep=False).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, tuple | list) and len(value) <= 10:
        return [_plain(item) for item in value]
    return _kind(value)


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"
