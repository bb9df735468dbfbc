"""The directions of sensitive attributes in a latent."""

__all__ = ["Attribute", "find_attributes"]

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from skfairlatent._validation.groups import (
    EncodedColumn,
    as_text,
    check_length,
    encode_columns,
    reject_ids,
)
from skfairlatent.counterfactuals._scores import Affine, Floats, fit_affine, softmax_of


@dataclass(frozen=True)
class Attribute:
    """A sensitive attribute, as the latent shows it.

    Parameters
    ----------
    name : str
        Its name.
    values : list of str
        Its values.
    probe : Affine
        Logistic regression of the value on the columns that may be edited.
    means : ndarray of shape (n_values, width)
        Mean of each value, averaged over the labels within which every value occurs.
    """

    name: str
    values: list[str]
    probe: Affine
    means: Floats

    def codes(self, values: Any, n: int) -> npt.NDArray[np.intp]:
        """Return the positions of n values, or of one for all; ValueError if there is no such."""
        column = np.asarray(values)
        if column.ndim > 1:
            raise ValueError(
                f"target_value has shape {column.shape}: expected one value, or (n_samples,)."
            )
        given = [values] * n if column.ndim == 0 else column.tolist()
        check_length("target_value", len(given), n)
        codes = pd.Index(self.values).get_indexer([as_text(value) for value in given])
        unknown = [value for value, code in zip(given, codes, strict=True) if code < 0]
        if unknown:
            raise ValueError(
                f"target_value={unknown[0]!r} is not a value of {self.name!r}: expected one of "
                f"{self.values}, for all rows or for each."
            )
        return np.asarray(codes)

    def probabilities(self, Z: npt.NDArray[Any]) -> Floats:
        """Return those of the values, shape (n, n_values), as the probe reads them."""
        return softmax_of(self.probe, Z.astype(np.float64))

    def towards(self, codes: npt.NDArray[np.intp], Z: Floats, kind: str) -> Floats:
        """Return the direction of each row from the likeliest other value to the one given."""
        scores = self.probe(Z)
        np.put_along_axis(scores, codes[:, None], -np.inf, axis=1)
        others = scores.argmax(axis=1)
        points = self.means if kind == "means" else self.probe.weights
        return np.asarray(points[codes] - points[others])


def find_attributes(
    Z: Floats, y: npt.NDArray[Any] | None, sensitive_features: Any
) -> dict[str, Attribute]:
    """Return each sensitive attribute by name, as learnt from latents and their labels."""
    found = {}
    for column in encode_columns(sensitive_features):
        name = column.label
        check_length("sensitive_features", len(column.codes), len(Z))
        if len(column.values) < 2:
            raise ValueError(
                f"sensitive feature {name!r} has one value only ({column.values[0]!r}), and "
                "therefore no direction: leave it out."
            )
        reject_ids(f"sensitive feature {name!r}", len(column.values), len(Z))
        probe = fit_affine(Z, column.codes, len(column.values))
        found[name] = Attribute(name, list(column.values), probe, _means(Z, y, column))
    return found


def _means(Z: Floats, y: npt.NDArray[Any] | None, column: EncodedColumn) -> Floats:
    """Return the mean of each value, free of how labels and values go together."""
    n_values = len(column.values)
    labels = np.zeros(len(Z), dtype=np.intp) if y is None else np.unique(y, return_inverse=True)[1]
    of_labels = []
    for label in range(labels.max() + 1):
        cells = [Z[(labels == label) & (column.codes == value)] for value in range(n_values)]
        if all(len(cell) for cell in cells):
            of_labels.append([cell.mean(axis=0) for cell in cells])
    if not of_labels:  # no label with every value: labels cannot be told from values anyway
        return np.stack([Z[column.codes == value].mean(axis=0) for value in range(n_values)])
    return np.asarray(np.mean(of_labels, axis=0))
