"""Fits along a path of lambda_di, each from the one before and scored on other rows."""

__all__ = ["LambdaPath", "PathPoint", "Rows", "quiet"]

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import sklearn
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import _safe_indexing

from skfairlatent._files.tensors import digest_of
from skfairlatent._persistence.state import SavedState
from skfairlatent._training.checkpoint import Checkpoint
from skfairlatent._transformer import FairLatentTransformer
from skfairlatent.exceptions import FairLatentWarning, UndefinedMetricWarning

# Share of the epochs of the first fit for each later one, which goes on from the one before.
LATER_SHARE = 1 / 16
# Parameters that change nothing of what is found.
_IMMATERIAL = ("checkpoint_dir", "device", "verbose")

Positions = npt.NDArray[np.intp]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Leave out what is warned of single fits and scores."""
    with warnings.catch_warnings():
        for category in (FairLatentWarning, UndefinedMetricWarning, ConvergenceWarning):
            warnings.simplefilter("ignore", category)
        yield


class Rows(NamedTuple):
    """Embeddings, labels, groups or None, and the codes that tell these rows from others."""

    X: Any
    y: Any
    sensitive_features: Any
    codes: npt.NDArray[np.int64]

    def at(self, positions: Positions) -> "Rows":
        """Return some of the rows."""
        X, y, sensitive_features = (
            each if each is None else _safe_indexing(each, positions) for each in self[:3]
        )
        return Rows(X, y, sensitive_features, self.codes[positions])


@dataclass(frozen=True)
class PathPoint:
    """The result at one value of lambda_di.

    Parameters
    ----------
    scores : dict of str to float
        By name of the scorer; NaN where a score is undefined.
    fit_time, score_time : float
        Seconds.
    """

    scores: dict[str, float]
    fit_time: float
    score_time: float


@dataclass(frozen=True)
class LambdaPath:
    """The path on some rows.

    Parameters
    ----------
    transformer : FairLatentTransformer
        A pattern, which is cloned.
    lambdas : tuple of float
        In the order of fitting.
    classifier : classifier
        A clone of it is fitted on each representation.
    scorers : mapping of str to scorer
        Empty where nothing is scored.
    train, test : ndarray of shape (n_rows,)
        Positions of the rows to fit on and to score on.
    judges : str or None
        Digest of classifier, scorers, labels and groups when the search began, by which its
        checkpoint is found; None if they cannot be told from others, so that there is none.
    """

    transformer: FairLatentTransformer
    lambdas: tuple[float, ...]
    classifier: Any
    scorers: Mapping[str, Callable[..., Any]]
    train: Positions
    test: Positions
    judges: str | None

    def scores(self, rows: Rows) -> list[PathPoint]:
        """Fit and score each point, from where an interrupted search stopped if there is one."""
        with quiet():  # the last fit on all the rows warns
            points, _, _ = self._follow(rows)
        return points

    def end(self, rows: Rows) -> tuple[FairLatentTransformer, Any]:
        """Return the transformer fitted at the last point, and what it makes of its rows."""
        _, transformer, Z = self._follow(rows)
        return transformer, Z

    def forget(self, rows: Rows) -> None:
        """Delete what is kept of the path: the search is finished."""
        with self._checkpoint(rows) as checkpoint:
            if checkpoint is not None:
                checkpoint.remove()

    def _follow(self, rows: Rows) -> tuple[list[PathPoint], FairLatentTransformer, Any]:
        train, test, Z = rows.at(self.train), rows.at(self.test), None
        with self._checkpoint(rows) as checkpoint:
            points, transformer = self._resumed(checkpoint)
            for value in self.lambdas[len(points) :]:
                started = time.perf_counter()
                Z = _fit(transformer.set_params(lambda_di=value), train, value == self.lambdas[-1])
                seconds = time.perf_counter() - started
                points.append(self._point(transformer, Z, train.y, test, seconds))
                # After the last point Z would be lost, which only scores do without.
                if checkpoint is not None and (self.scorers or len(points) < len(self.lambdas)):
                    checkpoint.write(_state(points, transformer))
        return points, transformer, Z

    def _point(
        self, transformer: FairLatentTransformer, Z: Any, y: Any, test: Rows, fit_time: float
    ) -> PathPoint:
        if not self.scorers:
            return PathPoint({}, fit_time, 0.0)
        started = time.perf_counter()
        classifier = clone(self.classifier).fit(Z, y)
        Z = transformer.transform(test.X)
        scores = {
            name: _score(scorer, classifier, Z, test.y, test.sensitive_features)
            for name, scorer in self.scorers.items()
        }
        return PathPoint(scores, fit_time, time.perf_counter() - started)

    def _checkpoint(self, rows: Rows) -> AbstractContextManager[Checkpoint | None]:
        if self.transformer.checkpoint_dir is None or self.judges is None:
            return contextlib.nullcontext()
        parameters = self.transformer.get_params(deep=False)
        defining = {k: v for k, v in parameters.items() if k not in _IMMATERIAL}
        text = repr((defining, self.lambdas, self.judges))
        with warnings.catch_warnings():  # torch warns of arrays that it may not write to
            warnings.simplefilter("ignore", UserWarning)
            tensors = {
                "X": torch.as_tensor(np.asarray(rows.X)),
                "codes": torch.from_numpy(rows.codes),
                "train": torch.as_tensor(self.train),
                "test": torch.as_tensor(self.test),
            }
        return Checkpoint(self.transformer.checkpoint_dir, digest_of(text, tensors)[:32])

    def _resumed(
        self, checkpoint: Checkpoint | None
    ) -> tuple[list[PathPoint], FairLatentTransformer]:
        saved = None if checkpoint is None else checkpoint.read()
        if checkpoint is None or saved is None:
            return [], clone(self.transformer)
        with checkpoint.explained():
            points = [PathPoint(**point) for point in saved["points"]]
            arrays = {name: tensor.numpy() for name, tensor in saved["arrays"].items()}
            transformer = clone(self.transformer)
            SavedState(saved["values"], arrays).restore(transformer)
            return points, transformer.set_params(warm_start=True, max_iter=saved["max_iter"])


def _fit(transformer: FairLatentTransformer, rows: Rows, is_last: bool) -> Any:
    with contextlib.nullcontext() if is_last else quiet():
        Z = transformer.fit_transform(rows.X, rows.y, sensitive_features=rows.sensitive_features)
    if not transformer.warm_start:
        later = math.ceil(LATER_SHARE * transformer.n_iter_)
        transformer.set_params(warm_start=True, max_iter=later)
    return Z


def _score(scorer: Any, classifier: Any, Z: Any, y: Any, sensitive_features: Any) -> float:
    asked = scorer.get_metadata_routing() if hasattr(scorer, "get_metadata_routing") else None
    with sklearn.config_context(enable_metadata_routing=True):
        if asked is not None and asked.consumes("score", ["sensitive_features"]):
            return float(scorer(classifier, Z, y, sensitive_features=sensitive_features))
        return float(scorer(classifier, Z, y))


def _state(points: list[PathPoint], transformer: FairLatentTransformer) -> dict[str, Any]:
    state = SavedState.of(transformer)
    return {
        "points": [asdict(point) for point in points],
        "max_iter": transformer.max_iter,
        "values": state.values,
        "arrays": {name: torch.tensor(array) for name, array in state.arrays.items()},
    }
