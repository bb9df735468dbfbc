"""Edited rows: latents, embeddings, probabilities and images, before and after."""

__all__ = ["N_CORRECTIONS", "Counterfactuals", "Reader", "repeated"]

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Integral
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.utils import _safe_indexing, check_scalar

from skfairlatent._image_forms import holds_images
from skfairlatent._user_warnings import warn_user
from skfairlatent._validation.groups import unique_name
from skfairlatent.counterfactuals._advice import (
    lost_in_decoding,
    repetitive,
    variety_of,
)
from skfairlatent.counterfactuals._codec import Decoded
from skfairlatent.counterfactuals._directions import Attribute
from skfairlatent.counterfactuals._scores import Floats, Scores
from skfairlatent.counterfactuals._space import Space
from skfairlatent.encoders._images import ImageSource

Array = npt.NDArray[Any]

# Corrections of decoded edits: two take away most of what can be.
N_CORRECTIONS = 2
# Mean difference over an image, in levels of 255, from which on a face looks like another.
FAR = 10.0
# Rows whose images are compared with one another: all may be too many for the memory.
MOST_ROWS = 200


@dataclass(frozen=True, eq=False, repr=False)
class Counterfactuals:
    """Edits of n rows, k for each row, as returned by `CounterfactualExplainer`.

    Parameters
    ----------
    kind : {"label", "sensitive"}
        Which block of the latent was edited.

    name : str
        ``"label"``, or the name of the sensitive attribute.

    strengths : ndarray of shape (n, k), float64
        Length of each edit in the latent, along the unit direction. If it is 0, nothing changes:
        latent, embedding, decision, probabilities and image are those of the original.

    reached : ndarray of shape (n, k), bool
        Whether an edit with the requested effect on the latent was found; if not, the row is not
        changed, and its strength is 0. `decode` and `reencode` do not change this field.

    latents, embeddings : ndarray of shape (n, k, d) and (n, k, n_features)
        Latents and embeddings after the edit.

    original_latents, original_embeddings : ndarray of shape (n, d) and (n, n_features)
        Latents and embeddings before the edit.

    classes : ndarray of shape (c,)
        Classes of the label.

    predictions, original_predictions : ndarray of shape (n, k) and (n,)
        Decisions of the classifier after and before.

    probabilities, original_probabilities : ndarray of shape (n, k, c) and (n, c)
        Probabilities of the classes after and before.

    sensitive_values : dict of str to list of str
        Values of each sensitive attribute.

    sensitive_probabilities, original_sensitive_probabilities : dict of str to ndarray
        Probabilities of these values after and before, of shape (n, k, v) and (n, v), by a
        logistic regression on the sensitive block.

    images, original_images : ndarray of shape (n, k, height, width, channels) and (n, height, ...)
        Decoded images, uint8; None until `decode` is called. Originals are decoded as well, so
        that they differ from the edits only by the edit.

    shown : ndarray of shape (n, k), float64
        Share of each edit of the latent that is found again when its image is encoded, along the
        direction of the edit: 1 if the image shows all of it. NaN where nothing was edited; None
        until `decode` is called, or if the encoder cannot encode.

    See Also
    --------
    skfairlatent.inspection.CounterfactualDisplay : Plots edits.
    skfairlatent.judging.judge_edits : Measures edits with independent classifiers.
    """

    kind: str
    name: str
    strengths: Floats
    reached: npt.NDArray[np.bool_]
    latents: Array
    embeddings: Array
    original_latents: Array
    original_embeddings: Array
    classes: Array
    predictions: Array
    original_predictions: Array
    probabilities: Floats
    original_probabilities: Floats
    sensitive_values: Mapping[str, list[str]]
    sensitive_probabilities: Mapping[str, Floats]
    original_sensitive_probabilities: Mapping[str, Floats]
    images: Array | None = None
    original_images: Array | None = None
    shown: Floats | None = None
    _reader: "Reader | None" = field(default=None)
    _given: Any = field(default=None)  # the rows as they were given

    @property
    def variety(self) -> float:
        """Variance of the edited rows, in units of that of the rows: near 0 if all look alike.

        Of images, if there are any, and else of embeddings; the mean over the edits of a row.
        """
        before, after = self.original_embeddings, self.embeddings
        if self.original_images is not None and self.images is not None:
            before, after = self.original_images, self.images
        return variety_of(after, before)

    @property
    def changed(self) -> npt.NDArray[np.bool_]:
        """Whether the edit changes the decision, shape (n, k)."""
        return np.asarray(self.predictions != self.original_predictions[:, None])

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.strengths)

    def __getitem__(self, rows: Any) -> Self:
        """Return the rows of a slice, a mask, or positions."""
        if np.ndim(rows) == 0 and not isinstance(rows, slice):
            rows = [rows]
        return replace(
            self, **{f.name: _take(getattr(self, f.name), rows, f.name) for f in fields(self)}
        )

    def __repr__(self) -> str:
        """Summarise the edits."""
        n, k = self.strengths.shape
        what = "label" if self.kind == "label" else f"sensitive attribute {self.name!r}"
        return (
            f"<Counterfactuals: {n} rows, {k} edit(s) each of the {what}; "
            f"{self.reached.mean():.1%} reached in the latent, "
            f"{self.changed.mean():.1%} change the decision>"
        )

    def decode(self, x_T: Any = None, *, n_corrections: int = N_CORRECTIONS) -> Self:
        """Decode the edits to images.

        Parameters
        ----------
        x_T : array-like of shape (n, size, size, 3), optional
            Noise for a `DiffAEEncoder` to decode from, the same for the original and the edits of
            a row. By default it is found by ``invert`` if images were explained, so that they keep
            the details that embeddings leave out; if embeddings were explained, it is drawn at
            random, and faces differ from those the embeddings came from.

        n_corrections : int, default=2
            Number of corrections. The embedding of a decoded image differs from the decoded
            embedding: decoders understate edits and add others. Each correction adds this
            difference to the embedding before decoding it again, which takes as long as decoding
            and encoding once; the image with the smallest difference is kept for each row. 0
            decodes embeddings without correction, which suits faces without the noise of an image,
            whose colours corrections exaggerate.

        Returns
        -------
        Counterfactuals
            The same edits, with `images` and `original_images`.

        Raises
        ------
        TypeError
            If there is no encoder, or it cannot decode.
        ValueError
            If `x_T` has another number of rows, or `n_corrections` is negative.

        Warns
        -----
        FairLatentWarning
            Of ten rows or more: if images show less than 0.7 of the edits (the median of `shown`),
            if a tenth of the decisions change though the classifier does not see what a sensitive
            edit moves, or if the images vary less than a tenth as much as those before.
        """
        check_scalar(n_corrections, "n_corrections", Integral, min_val=0)
        codec = self._known_reader().space.codec
        codec.check_can_decode()
        is_inverted = x_T is None and holds_images(self._given) and hasattr(codec, "invert")
        codes = codec.codes(self._given) if codec.undo or is_inverted else None
        if is_inverted:
            x_T = codec.invert(self._given, codes)
        if x_T is not None and len(x_T) != len(self):
            raise ValueError(f"x_T has {len(x_T)} rows: expected {len(self)}, one for each row.")
        # The part of a row that steps after the encoder leave out is kept in its edits too.
        left_out = 0 if codes is None else codes - codec.undone(self.original_embeddings)

        def images_of(embeddings: Array) -> Decoded:
            return codec.corrected(embeddings, n_corrections, x_T=x_T, left_out=left_out)

        original = images_of(self.original_embeddings)
        if is_inverted:
            warn_if_far(original.images, self._given, codec.encoder)
        # One column of edits at a time: each then draws the same noise as the originals.
        edits = [images_of(self.embeddings[:, j]) for j in range(self.strengths.shape[1])]
        result = replace(
            self,
            images=self._where_moved([each.images for each in edits], original.images),
            original_images=original.images,
        )
        changed = None
        if original.found is not None:
            found = self._where_moved([each.found for each in edits], original.found)
            seen = result._seen_as(original.found, found)
            result = replace(result, shown=self._shares_in(seen))
            if self.kind == "sensitive" and self._known_reader().space.is_blind:
                changed = seen.changed
        some = slice(MOST_ROWS)
        for text in (
            *repetitive(np.asarray(result.images)[some], result._images_before(some)),
            *lost_in_decoding(self.name, result.shown, changed, codec),
        ):
            warn_user(text)
        return result

    def _images_before(self, rows: slice) -> Array:
        """Return the images that were given; those decoded, if they cannot be compared."""
        decoded = np.asarray(self.original_images)[rows]
        is_square = decoded.shape[1] == decoded.shape[2]
        if decoded.dtype == np.uint8 and is_square and holds_images(self._given):
            # An encoder of the user's own may take images that no other does.
            with contextlib.suppress(TypeError, ValueError):
                return ImageSource(self._given, decoded.shape[1]).read(rows)
        return decoded

    def reencode(self) -> Self:
        """Encode the decoded images and decide again.

        The decision on an edited latent concerns the intended edit. Encoding the image again shows
        the effect of the edit on the image.

        Returns
        -------
        Counterfactuals
            The same edits, with latents, embeddings, decisions and probabilities of the images.

        Raises
        ------
        ValueError
            If the edits have not been decoded.
        TypeError
            If the encoder cannot encode images.
        """
        reader = self._known_reader()
        if self.images is None or self.original_images is None:
            raise ValueError("There are no images to encode: call decode() first.")
        codec, moved = reader.space.codec, self.strengths != 0.0
        if not hasattr(codec.encoder, "transform"):
            raise TypeError(
                f"{type(codec.encoder).__name__} has no transform, so that decoded images cannot "
                "be encoded: give an encoder that has one."
            )
        original = codec.transform(self.original_images)
        found = repeated(original, moved.shape[1])
        if moved.any():
            found[moved] = codec.transform(self.images[moved])
        return self._seen_as(original, found)

    def to_frame(self) -> pd.DataFrame:
        """Return a table with one row for each edit.

        Returns
        -------
        DataFrame
            Columns ``row``, ``edit``, ``strength``, ``reached``, ``prediction_before``,
            ``prediction``, ``changed``, then ``P(label=...)`` and ``P(attribute=value)`` for each
            class and value, before (``... before``) and after the edit.
        """
        n, k = self.strengths.shape
        columns: dict[str, Any] = {
            "row": np.repeat(np.arange(n), k),
            "edit": np.tile(np.arange(k), n),
            "strength": self.strengths.ravel(),
            "reached": self.reached.ravel(),
            "prediction_before": np.repeat(self.original_predictions, k),
            "prediction": self.predictions.ravel(),
            "changed": self.changed.ravel(),
        }
        label = unique_name("label", self.sensitive_values)
        named: list[tuple[str, Any, Floats, Floats]] = [
            (label, self.classes, self.original_probabilities, self.probabilities)
        ]
        for name, values in self.sensitive_values.items():
            before = self.original_sensitive_probabilities[name]
            named.append((name, values, before, self.sensitive_probabilities[name]))
        for name, values, before, after in named:
            for j, value in enumerate(values):
                title = f"P({name}={value})"
                columns[unique_name(f"{title} before", columns)] = np.repeat(before[:, j], k)
                columns[unique_name(title, columns)] = after[:, :, j].ravel()
        return pd.DataFrame(columns)

    def plot(self, **kwargs: Any) -> Any:
        """Plot the edits of each row; see `skfairlatent.inspection.CounterfactualDisplay`.

        Parameters
        ----------
        **kwargs : dict
            Parameters of ``CounterfactualDisplay.from_counterfactuals``.

        Returns
        -------
        CounterfactualDisplay
            The display.
        """
        from skfairlatent.inspection import CounterfactualDisplay  # noqa: PLC0415 - needs matplotlib

        return CounterfactualDisplay.from_counterfactuals(self, **kwargs)

    def _where_moved(self, edited: Sequence[Any], original: Array) -> Array:
        """Return what became of each edit, shape (n, k, ...), and of rows that did not move."""
        found = repeated(original, len(edited))
        moved = self.strengths != 0.0
        found[moved] = np.stack(edited, axis=1)[moved]
        return found

    def _seen_as(self, original: Array, edited: Array) -> Self:
        """Return the same edits, as embeddings that the encoder finds in images are read."""
        reader, moved = self._known_reader(), self.strengths != 0.0
        before = reader.space.forward(original)
        after = repeated(before, edited.shape[1])
        if moved.any():
            after[moved] = reader.space.forward(edited[moved])
        return replace(
            self,
            latents=after,
            embeddings=edited,
            original_latents=before,
            original_embeddings=original,
            **reader.read(before, after, moved),
        )

    def _shares_in(self, seen: Self) -> Floats:
        """Return the share of each edit that is found in images, as they are seen."""
        asked = (self.latents - self.original_latents[:, None]).astype(np.float64)
        found = seen.latents - seen.original_latents[:, None]
        lengths = np.where(self.strengths != 0.0, (asked**2).sum(axis=2), np.nan)
        return np.asarray((found * asked).sum(axis=2) / lengths)

    def _known_reader(self) -> "Reader":
        if self._reader is None:
            raise ValueError(
                "These counterfactuals do not know their model: use those that "
                "CounterfactualExplainer returns."
            )
        return self._reader


@dataclass(frozen=True)
class Reader:
    """Reads decisions and probabilities from latents.

    Parameters
    ----------
    space : Space
        The latent.
    scores : Scores
        The classifier on it.
    attributes : dict of str to Attribute
        Sensitive attributes and their probes.
    """

    space: Space
    scores: Scores
    attributes: Mapping[str, Attribute]

    def read(self, original: Array, edited: Array, moved: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """Return the fields of `Counterfactuals` that depend on latents alone.

        Parameters
        ----------
        original : ndarray of shape (n, d)
            Latents before the edits.
        edited : ndarray of shape (n, k, d)
            Latents after.
        moved : ndarray of shape (n, k), bool
            Which edits moved their row. The others are not read again.
        """

        def both(of_rows: Callable[[Array], Array], columns: slice) -> tuple[Array, Array]:
            before = of_rows(original[:, columns])
            after = repeated(before, moved.shape[1])
            if moved.any():
                found = of_rows(edited[moved][:, columns])
                after = after.astype(np.result_type(after, found))  # texts may be longer
                after[moved] = found
            return before, after

        predictions = both(self.scores.predict, self.space.input)
        probabilities = both(self.scores.probabilities, self.space.input)
        sensitive = {
            name: both(attribute.probabilities, self.space.sensitive)
            for name, attribute in self.attributes.items()
        }
        return {
            "original_predictions": predictions[0],
            "predictions": predictions[1],
            "original_probabilities": probabilities[0],
            "probabilities": probabilities[1],
            "original_sensitive_probabilities": {a: each[0] for a, each in sensitive.items()},
            "sensitive_probabilities": {a: each[1] for a, each in sensitive.items()},
        }


def repeated(rows: Array, k: int) -> Array:
    """Return each row k times, shape (n, k, ...)."""
    return np.repeat(rows[:, None], k, axis=1)


# Fields that hold nothing for each row.
_WHOLE = {"kind", "name", "classes", "sensitive_values", "_reader"}


def _take(value: Any, rows: Any, name: str) -> Any:
    if value is None or name in _WHOLE:
        return value
    if isinstance(value, Mapping):
        return {key: part[rows] for key, part in value.items()}
    return _safe_indexing(value, np.arange(len(value))[rows])


def warn_if_far(decoded: npt.NDArray[Any], given: Any, encoder: Any) -> None:
    """Warn if images decoded with the noise that was found in them are not what was given.

    Parameters
    ----------
    decoded : ndarray of shape (n, height, width, channels), uint8
        The originals, without an edit.
    given : images
        The images that they should be.
    encoder : object
        Whose `n_steps` says how finely noise is found and decoded.
    """
    wanted = ImageSource(given, decoded.shape[1]).read(slice(None))
    distance = float(np.abs(decoded.astype(np.float32) - wanted).mean())
    if distance > FAR:
        remedy = "Use an encoder that was trained on such images."
        if hasattr(encoder, "n_steps"):
            now = "" if encoder.n_steps is None else f" (now {encoder.n_steps})"
            remedy = f"Increase n_steps of the encoder{now}."
        warn_user(
            f"Decoded images differ from the given images by {distance:.0f} of 255 levels on "
            "average, even without an edit, which affects every result on decoded images. "
            f"{remedy}"
        )
