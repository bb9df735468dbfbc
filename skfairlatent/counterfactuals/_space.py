"""The latent of a fitted model: from what the user gives to what is edited, and back."""

__all__ = ["Space", "find_space"]

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from skfairlatent._bins import as_transformed
from skfairlatent._embedding import image_encoder
from skfairlatent._find_transformer import UntracedError, chain, steps_of
from skfairlatent._names import nameless
from skfairlatent._validation.containers import reject_container
from skfairlatent.counterfactuals._codec import ImageCodec
from skfairlatent.counterfactuals._scores import Scores

Array = npt.NDArray[Any]

NOT_FITTED = (
    "This %(name)s is not fitted yet: call fit of the Pipeline first, with y and "
    "sensitive_features."
)


@dataclass(frozen=True)
class Space:
    """A latent, its blocks, the classifier on it, and the images it stands for.

    Parameters
    ----------
    embed : callable
        From X to embeddings, shape (n, n_features).
    forward, inverse : callable
        From embeddings to latents, and back.
    label, sensitive, input : slice
        Columns of the latent that label edits move, that sensitive edits move, and that the
        classifier takes. The label block comes first in what the classifier takes.
    classifier : object
        The classifier, with the steps between it and the latent.
    codec : ImageCodec
        Turns images into embeddings and back, as far as it is known.
    contain : callable
        From latents to what the classifier was fitted on: a table if `set_output` makes one.
    """

    embed: Callable[[Any], Array]
    forward: Callable[[Array], Array]
    inverse: Callable[[Array], Array]
    label: slice
    sensitive: slice
    input: slice
    classifier: Any
    codec: ImageCodec
    contain: Callable[[Array], Any] = np.asarray

    @property
    def is_blind(self) -> bool:
        """Whether the classifier does not see what sensitive edits move."""
        return bool(self.input.stop <= self.sensitive.start)

    def scores(self) -> Scores:
        """Return the classifier's scores of latents."""
        return Scores(self.classifier, self.contain)


def find_space(model: Any, classifier: Any, encoder: Any, *, images: bool) -> Space:
    """Return the latent space of a fitted pipeline, or of a transformer and a classifier.

    Parameters
    ----------
    model : Pipeline, classifier, FairLatentTransformer or search of one
        Fitted. Without a fair transformer in it, its latent is what its last step is given.
    classifier : object or None
        The classifier on what the transformer returns, if `model` is a transformer alone.
    encoder : object, str or None
        Turns embeddings into images; None for the model's own.
    images : bool
        Whether the model is given images.
    """
    steps = _steps(model, classifier)
    for step in steps:
        check_is_fitted(step, msg=NOT_FITTED)
    fair = [i for i, step in enumerate(steps) if hasattr(type(step), "latent")]
    if len(fair) > 1:
        raise UntracedError(
            f"The pipeline has {len(fair)} FairLatentTransformers, one after the other.",
            "Give the last of them and the classifier on it, as CounterfactualExplainer("
            "transformer, classifier), with what the earlier steps make of X.",
        )
    decoder = None if encoder is None else image_encoder(encoder, "auto")
    if fair:
        return _fair_space(steps, fair[0], decoder, images=images)
    return _plain_space(steps, decoder, images=images)


def _steps(model: Any, classifier: Any) -> list[Any]:
    if isinstance(model, type):
        raise TypeError(
            f"{model.__name__} is a class: give a fitted instance, or a fitted Pipeline that ends "
            "with a classifier."
        )
    steps = [*steps_of(model), *([] if classifier is None else steps_of(classifier))]
    if not steps or not hasattr(steps[-1], "predict"):
        last = type(steps[-1]).__name__ if steps else repr(model)
        raise TypeError(
            f"There is no classifier: the last step is {last}. Give a fitted Pipeline that ends "
            "with a classifier, or CounterfactualExplainer(transformer, classifier)."
        )
    return steps


def _fair_space(steps: list[Any], at: int, decoder: Any, *, images: bool) -> Space:
    fair, before = steps[at], steps[:at]
    if at + 1 == len(steps):
        raise TypeError("No classifier comes after the FairLatentTransformer: add one.")
    # The first step makes codes of images, unless the transformer does; the others change them.
    undo = tuple(before[1:] if images else before)
    if decoder is None and images:
        decoder = before[0] if before else image_encoder(fair.encoder, fair.device)
    elif decoder is None and not isinstance(fair.encoder, str):
        # Given on purpose, though codes were computed before: for what the transformer is given.
        decoder, undo = fair.encoder, ()
    maps = _FairMaps(chain(before), fair)
    return Space(
        embed=maps.embed,
        forward=maps.forward,
        inverse=maps.inverse,
        label=fair.label_slice_,
        sensitive=fair.sensitive_slice_,
        input=slice(0, len(fair.get_feature_names_out())),
        classifier=chain(steps[at + 1 :]),
        codec=ImageCodec.of(decoder, undo),
        contain=_container_of(fair),
    )


def _container_of(fair: Any) -> Callable[[Array], Any]:
    """Return what makes of latents what a transformer returns: cut, and as `set_output` asks."""
    names = partial(_known_names, fair.get_feature_names_out())
    step = FunctionTransformer(partial(as_transformed, fair), feature_names_out=names)
    vars(step).update(_sklearn_output_config=getattr(fair, "_sklearn_output_config", {}))
    return cast("Callable[[Array], Any]", step.transform)


def _known_names(names: Array, step: Any, given: Any) -> Array:  # noqa: ARG001 - scikit-learn's
    return names


def _plain_space(steps: list[Any], decoder: Any, *, images: bool) -> Space:
    *before, classifier = steps
    if images and not before:
        raise TypeError(
            f"X holds images, but {type(classifier).__name__} takes none: give a Pipeline that "
            "begins with an encoder."
        )
    start = 1 if images else 0
    # Embeddings are the first thing that a latent can be taken back to.
    while not all(hasattr(step, "inverse_transform") for step in before[start:]):
        start += 1
    maps = _PlainMaps(chain(before[:start]), chain(before[start:]), classifier, steps[0])
    everything = slice(0, int(classifier.n_features_in_))
    return Space(
        embed=maps.embed,
        forward=maps.forward,
        inverse=maps.inverse,
        label=everything,
        sensitive=everything,
        input=everything,
        classifier=classifier,
        codec=ImageCodec.of(
            before[0] if decoder is None and images else decoder,
            tuple(before[1:start] if images else before[:start]),
        ),
    )


@dataclass(frozen=True)
class _FairMaps:
    """The maps of a pipeline with a fair transformer; methods, so that they can be pickled."""

    prepare: Any
    fair: Any

    def embed(self, X: Any) -> Array:
        E: Array = self.fair.embed(X if self.prepare is None else self.prepare.transform(X))
        return E

    @nameless
    def forward(self, E: Array) -> Array:
        Z: Array = self.fair.latent(E)
        return Z

    @nameless
    def inverse(self, Z: Array) -> Array:
        E: Array = self.fair.inverse_transform(Z, decode=False)
        return E


@dataclass(frozen=True)
class _PlainMaps:
    """The maps of a pipeline without one."""

    prepare: Any
    latent: Any
    classifier: Any
    first: Any

    def embed(self, X: Any) -> Array:
        if self.prepare is None:
            return _numbers(_with_known_columns(X, self.first))
        return _numbers(self.prepare.transform(X))

    @nameless
    def forward(self, E: Array) -> Array:
        Z = E if self.latent is None else np.asarray(self.latent.transform(E))
        width = int(self.classifier.n_features_in_)
        if Z.shape[1] != width:
            raise ValueError(
                f"X has {Z.shape[1]} features, but {type(self.classifier).__name__} is expecting "
                f"{width} features as input: give the columns that it was fitted on, or a "
                "Pipeline of all that comes before it."
            )
        return Z

    @nameless
    def inverse(self, Z: Array) -> Array:
        return Z if self.latent is None else np.asarray(self.latent.inverse_transform(Z))


def _with_known_columns(X: Any, first: Any) -> Any:
    """Return X, after a comparison of its columns with those that the first step knows."""
    if hasattr(first, "feature_names_in_"):
        validate_data(first, X, reset=False, skip_check_array=True)
    return X


def _numbers(X: Any) -> Array:
    reject_container("X", X)
    return np.asarray(check_array(X, dtype=[np.float64, np.float32], input_name="X"))
