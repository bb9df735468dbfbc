"""Moving rows to another group, and putting the results of several explainers together."""

__all__ = ["merged", "to_another"]

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from skfairlatent.counterfactuals import CounterfactualExplainer, Counterfactuals
from skfairlatent.counterfactuals._names import nameless
from skfairlatent.counterfactuals._result import _WHOLE
from skfairlatent.exceptions import FairLatentWarning

Array = npt.NDArray[Any]


@nameless
def to_another(
    explainer: CounterfactualExplainer, E: Array, attribute: str, probability: float
) -> Counterfactuals:
    """Move each row to the group that it looks like second most.

    A smallest edit ends where groups are told apart by a hair, and half of such edits do not
    outlast decoding. So rows go on until the other group has the probability asked for, or where
    no edit gives it that, as can be with several groups, just over any other.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FairLatentWarning)  # what is not reached is counted
        edits = explainer.explain_sensitive(E, attribute, target_probability=probability)
        arrived = edits.reached[:, 0]
        if arrived.all():
            return edits
        smallest = explainer.explain_sensitive(E[~arrived], attribute)
    order = np.concatenate((np.flatnonzero(arrived), np.flatnonzero(~arrived)))
    return merged([edits[arrived], smallest])[np.argsort(order)]


def merged(results: Sequence[Counterfactuals]) -> Counterfactuals:
    """Put the rows of results one after another; if of several models, they then know none."""
    first = results[0]
    values = {
        name: list(dict.fromkeys(v for each in results for v in each.sensitive_values[name]))
        for name in first.sensitive_values
    }
    joined: dict[str, Any] = {}
    for name in [each.name for each in fields(first)]:
        parts = [getattr(each, name) for each in results]
        if name in _WHOLE or parts[0] is None:
            continue
        if isinstance(parts[0], Mapping):
            joined[name] = {
                attribute: np.concatenate([_aligned(r, name, attribute, values) for r in results])
                for attribute in values
            }
        else:
            joined[name] = np.concatenate(parts)
    is_one = all(each._reader is first._reader for each in results)
    reader = first._reader if is_one else None
    return replace(first, sensitive_values=values, _reader=reader, **joined)


def _aligned(
    result: Counterfactuals, name: str, attribute: str, values: Mapping[str, list[str]]
) -> Array:
    """Return probabilities with a column for each value, those that a fold lacked included."""
    given, known = getattr(result, name)[attribute], values[attribute]
    out = np.zeros((*given.shape[:-1], len(known)))
    out[..., [known.index(value) for value in result.sensitive_values[attribute]]] = given
    return out
