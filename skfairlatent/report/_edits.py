"""Decisions after edits of what tells the group: for everybody, and for a few who are shown."""

__all__ = [
    "FAR",
    "Explained",
    "Noise",
    "affected_table",
    "explain_folds",
    "explain_others",
    "shown_people",
]

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binomtest
from sklearn.utils import _safe_indexing

from skfairlatent._image_forms import holds_images
from skfairlatent._names import nameless
from skfairlatent._user_warnings import warn_user
from skfairlatent.counterfactuals import CounterfactualExplainer, Counterfactuals
from skfairlatent.counterfactuals._advice import lost_in_decoding
from skfairlatent.counterfactuals._codec import ImageCodec
from skfairlatent.counterfactuals._result import _WHOLE, N_CORRECTIONS
from skfairlatent.exceptions import FairLatentWarning
from skfairlatent.judging._realism import typical_distance
from skfairlatent.metrics._group_counts import class_positions
from skfairlatent.report._models import Side
from skfairlatent.report._rows import AuditedRows

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.intp]

# Edits longer than so many typical distances between two rows make a row unlike any other.
FAR = 2.0
# Columns that describe the edits of an attribute and a model.
EFFECTS = ["rows", "reached", "length", "far", "changed", "share", "low", "high"]
EFFECTS += ["decoded_rows", "decoded_changed", "decoded_group_changed"]
EFFECTS += ["decoded_share", "decoded_low", "decoded_high"]


class Part(NamedTuple):
    """Rows, and an explainer that has not seen them."""

    rows: Rows
    explainer: CounterfactualExplainer


class Noise:
    """Noise from which a diffusion autoencoder decodes, the same for a row and its edits.

    Parameters
    ----------
    X : images, or array-like
        The rows.

    kind : {"inverted", "zero"}
        That which is found in the images, if X is images, or none.
    """

    def __init__(self, X: Any, kind: str) -> None:
        self.X = X
        self.kind = kind
        self.is_of_images = kind == "inverted" and holds_images(X)
        self.found: dict[tuple[tuple[int, ...], bytes], Any] = {}

    def of(self, codec: ImageCodec, rows: Rows, embeddings: Array) -> Any:
        """Return the noise of some rows, found once for all edits; None for encoders without."""
        if not hasattr(codec, "invert") or (self.kind == "inverted" and not self.is_of_images):
            return None
        key = tuple(map(id, (codec.encoder, *codec.undo))), rows.tobytes()
        if key not in self.found:
            if self.is_of_images:
                # For the codes that will be decoded, without what steps after the encoder lost.
                codes = codec.undone(embeddings[rows])
                self.found[key] = codec.invert(_safe_indexing(self.X, rows), codes)
            else:  # as large as an image
                shape = codec.inverse_transform(embeddings[rows[:1]]).shape[1:]
                self.found[key] = np.zeros((len(rows), *shape), dtype=np.float32)
        return self.found[key]

    def n_corrections(self, codec: ImageCodec) -> int:
        """Return how often decoded edits are corrected.

        Without the noise of an image not at all: corrections then overdo colours.
        """
        return N_CORRECTIONS if self.is_of_images or not hasattr(codec, "invert") else 0


@dataclass(frozen=True)
class Explained:
    """A model whose sensitive edits can be asked for.

    Parameters
    ----------
    noise : Noise
        Noise of the rows.

    side : Side
        The model.

    embeddings : ndarray of shape (n, width)
        Embeddings of the rows.

    parts : sequence of Part
        All the rows.

    target_probability : float
        How sure a reader of the latent is to be of the other group.
    """

    noise: Noise
    side: Side
    embeddings: Array
    parts: Sequence[Part]
    target_probability: float
    _effects: dict[str, pd.DataFrame] = field(default_factory=dict)

    def effects(self, attribute: str) -> pd.DataFrame:
        """Return for each row whether the edit of an attribute could be made, and what it did.

        Returns
        -------
        DataFrame
            Columns ``reached``, ``changed`` (the decision), ``shift`` (of the probability of what
            was decided), and ``length`` of the edit (1 is the median distance between two rows,
            which a few far ones do not move).
        """
        if attribute not in self._effects:
            self._effects[attribute] = self._measure(attribute)
        return self._effects[attribute]

    def _measure(self, attribute: str) -> pd.DataFrame:
        tables = []
        for part, result in self._explain(attribute, np.arange(len(self.embeddings))):
            decided = class_positions(result.original_predictions, result.classes)[:, None]
            before = np.take_along_axis(result.original_probabilities, decided, axis=1)[:, 0]
            after = np.take_along_axis(result.probabilities[:, 0], decided, axis=1)[:, 0]
            columns = {
                "reached": result.reached[:, 0],
                "changed": result.changed[:, 0],
                "shift": np.abs(after - before),
                "length": result.strengths[:, 0] / typical_distance(result.original_latents),
            }
            tables.append(pd.DataFrame(columns, index=part))
        return pd.concat(tables).sort_index()

    def counterfactuals(
        self, attribute: str, rows: Rows, *, reencode: bool = False
    ) -> Counterfactuals:
        """Return the edits of some rows, in the order given, decoded where that can be done.

        With `reencode` decisions are those on the decoded images.
        """
        found, order = [], []
        for part, result in self._explain(attribute, rows):
            order.append(part)
            if not self.side.codec.can_decode:
                found.append(result)
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FairLatentWarning)  # said once, of all parts
                pictured = result.decode(
                    self.noise.of(self.side.codec, part, self.embeddings),
                    n_corrections=self.noise.n_corrections(self.side.codec),
                )
            found.append(pictured.reencode() if reencode else pictured)
        positions = pd.Index(np.concatenate(order)).get_indexer(rows)
        # Without the model, which a report is not to carry along.
        return replace(merged(found)[positions], _reader=None, _given=None)

    def warn_about_decoding(self, result: Counterfactuals) -> None:
        """Warn where images of edits, encoded again, say little; the audit lists its warnings."""
        is_blind = self.parts[0].explainer._reader.space.is_blind
        changed = result.changed if is_blind else None
        for text in lost_in_decoding(result.name, result.shown, changed, self.side.codec):
            warn_user(text)

    def _explain(self, attribute: str, rows: Rows) -> Iterator[tuple[Rows, Counterfactuals]]:
        for part in self.parts:
            chosen = part.rows[np.isin(part.rows, rows)]
            if len(chosen):
                given = self.embeddings[chosen]
                yield chosen, to_another(part.explainer, given, attribute, self.target_probability)


@nameless
def explain_folds(
    rows: AuditedRows, side: Side, noise: Noise, folds: Array, target_probability: float
) -> Explained:
    """Explain each row of a group of some size by what was learnt of those in other folds."""
    kept, groups = rows.learnable()
    parts = []
    for fold, model in enumerate(side.models):
        explainer = CounterfactualExplainer(model, encoder=side.codec)
        others = kept & (folds != fold)
        taught = groups.at((folds != fold)[kept])
        explainer.fit(side.embeddings[others], rows.y[others], sensitive_features=taught)
        parts.append(Part(np.flatnonzero(kept & (folds == fold)), explainer))
    return Explained(noise, side, side.embeddings, parts, target_probability)


def explain_others(
    rows: AuditedRows, side: Side, noise: Noise, target_probability: float
) -> Explained:
    """Explain rows that are not among those audited, those of `noise`, by what these taught."""
    explainer = CounterfactualExplainer(side.model, encoder=side.codec)
    teach = nameless(explainer.fit)  # but not `embed`: of what the user gives, names are checked
    kept, groups = rows.learnable()
    teach(side.embeddings[kept], rows.y[kept], sensitive_features=groups)
    embeddings = side.embed(noise.X)
    parts = [Part(np.arange(len(embeddings)), explainer)]
    return Explained(noise, side, embeddings, parts, target_probability)


def affected_table(
    models: Mapping[str, Explained], attributes: Sequence[str], rows: Rows, confidence: float
) -> pd.DataFrame:
    """Return how many decisions change when what tells an attribute is edited.

    Parameters
    ----------
    models : dict of str to Explained
        ``"before"`` and ``"after"``.

    attributes : sequence of str
        The sensitive attributes.

    rows : ndarray of int
        Rows whose edits are also decoded and encoded again, where that can be done.

    confidence : float
        Confidence of the intervals, which are exact ones of a share (Clopper and Pearson).
    """
    found = {}
    for attribute in attributes:
        for name, explained in models.items():
            effects = explained.effects(attribute)
            made = effects[effects["reached"]]  # nothing can be said of those that could not be
            n, changed, is_far = len(made), int(made["changed"].sum()), made["length"] > FAR
            row: dict[str, Any] = {"rows": len(effects), "reached": n}
            row |= {"length": made["length"].median(), "far": int(is_far.sum())}
            row |= {"changed": changed} | _share(changed, n, "", confidence)
            chosen = rows[np.isin(rows, made.index)]
            found[attribute, name] = row | _decoded(explained, attribute, chosen, confidence)
    index = pd.MultiIndex.from_tuples(list(found), names=["sensitive_feature", "model"])
    return pd.DataFrame(list(found.values()), index=index, columns=EFFECTS)


def shown_people(
    models: Mapping[str, Explained], attribute: str, n_examples: int
) -> dict[str, Counterfactuals]:
    """Return the edits of those whose decision by the model before depends most on an attribute.

    First those whose decision changes, by how far their probability moves; then others, likewise.
    """
    effects = models["before"].effects(attribute)
    is_changed = (effects["changed"] & effects["reached"]).to_numpy()
    order = np.lexsort((-effects["shift"].to_numpy(), ~is_changed))
    rows = effects.index.to_numpy()[order[:n_examples]]
    return {name: explained.counterfactuals(attribute, rows) for name, explained in models.items()}


def _decoded(
    explained: Explained, attribute: str, rows: Rows, confidence: float
) -> dict[str, float]:
    """Return what the edits of some rows come to as images, as far as that can be said."""
    n = len(rows) if explained.side.codec.can_decode else 0
    if n == 0:
        unknown = dict.fromkeys(("decoded_changed", "decoded_group_changed"), np.nan)
        return {"decoded_rows": 0, **unknown, **_share(0, 0, "decoded_", confidence)}
    result = explained.counterfactuals(attribute, rows, reencode=True)
    explained.warn_about_decoding(result)
    groups = result.sensitive_probabilities[attribute][:, 0].argmax(axis=1)
    original = result.original_sensitive_probabilities[attribute].argmax(axis=1)
    changed = int(result.changed.sum())
    return {
        "decoded_rows": n,
        "decoded_changed": changed,
        "decoded_group_changed": int((groups != original).sum()),
        **_share(changed, n, "decoded_", confidence),
    }


def _share(part: int, whole: int, prefix: str, confidence: float) -> dict[str, float]:
    names = [f"{prefix}{name}" for name in ("share", "low", "high")]
    if whole == 0:
        return dict.fromkeys(names, np.nan)
    interval = binomtest(part, whole).proportion_ci(confidence)
    return dict(zip(names, (part / whole, interval.low, interval.high), strict=True))


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
