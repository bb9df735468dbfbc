"""CLIP as a zero-shot classifier of images."""

__all__ = ["ClipJudge"]

import os
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skfairlatent._device import neutral_torch_state, resolve_device
from skfairlatent._files.hugging_face import CONFIG, extra_module, find_model, json_of
from skfairlatent.encoders._chunks import map_chunks
from skfairlatent.encoders._images import ImageSource
from skfairlatent.encoders._pretrained import load_pretrained
from skfairlatent.encoders._torch_modules import borrowed
from skfairlatent.exceptions import CheckpointError

Floats = npt.NDArray[np.float32]


class ClipJudge(ClassifierMixin, BaseEstimator):
    r"""Zero-shot classifier of images: CLIP with a text prompt for each class.

    It is not involved in training the latent, and can therefore judge counterfactuals
    independently. Measure its accuracy on real images first, as by ``judge.score(images, y)``.

    Parameters
    ----------
    prompts : dict
        Prompt for each class, or a list of prompts whose embeddings are averaged. The keys are the
        classes that `predict` returns, at least two: use the values of your labels.

    model : str or path-like, default="openai/clip-vit-large-patch14"
        A folder written by ``save_pretrained`` of transformers (model, tokenizer and image
        processor), or the name of a CLIP model on the Hugging Face hub, found in its local cache.

    cache_dir : str or path-like, optional
        Cache of the hub; by default ``~/.cache/huggingface/hub``.

    local_files_only : bool, default=True
        Whether to use local files only. If False, `fit` downloads a model that is missing.

    device : str or torch.device, default="auto"
        Device to compute on. ``"auto"`` uses CUDA if available, then MPS, then the CPU.

    batch_size : int, default=64
        Number of images at a time; halved when memory runs out.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The keys of `prompts`, sorted.

    text_features_ : ndarray of shape (n_classes, n_features), float32
        CLIP embeddings of the prompts of each class, of length 1.

    logit_scale_ : float
        Factor of the similarities, learnt by CLIP.

    See Also
    --------
    judge_edits : Measures edits with judges.

    Notes
    -----
    This class needs transformers and Pillow: ``pip install "skfairlatent[clip]"``. Weights are
    read from safetensors files only, and no code of a repository is run.

    .. math:: p(c \mid x) = \operatorname{softmax}_c\left(
        \tau \, \langle v(x), \bar t_c \rangle\right), \qquad
        \bar t_c \propto \sum_{p \in \text{prompts}(c)} t(p)

    with :math:`v`, :math:`t` and :math:`\bar t` of length 1: the zero-shot probabilities of
    Radford et al. ("Learning Transferable Visual Models From Natural Language Supervision", ICML
    2021, arXiv:2103.00020). They are not calibrated, depend on the wording, and CLIP has learnt
    stereotypes of its own.

    Examples
    --------
    >>> from skfairlatent.judging import ClipJudge
    >>> judge = ClipJudge(
    ...     {"female": "a photo of a woman", "male": ["a photo of a man", "a man's face"]},
    ...     model="/models/clip-vit-large-patch14",
    ... )
    >>> judge = judge.fit()  # doctest: +SKIP
    >>> judge.predict_proba(images)  # doctest: +SKIP
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "prompts": [Mapping],
        "model": [str, os.PathLike],
        "cache_dir": [str, os.PathLike, None],
        "local_files_only": ["boolean"],
        "device": [str, torch.device],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        prompts: Mapping[Any, str | list[str]],
        *,
        model: str | os.PathLike[str] = "openai/clip-vit-large-patch14",
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = True,
        device: str | torch.device = "auto",
        batch_size: int = 64,
    ) -> None:
        self.prompts = prompts
        self.model = model
        self.cache_dir = cache_dir
        self.local_files_only = local_files_only
        self.device = device
        self.batch_size = batch_size

    @neutral_torch_state()
    def fit(self, images: Any = None, y: Any = None) -> Self:  # noqa: ARG002 - nothing is learnt
        """Load the model and embed the prompts.

        Parameters
        ----------
        images, y : Ignored
            Present for compatibility with scikit-learn.

        Returns
        -------
        ClipJudge
            The fitted object.

        Raises
        ------
        ImportError
            If transformers or Pillow is not installed.
        FileNotFoundError
            If the model is not on this machine; the message says how to download it.
        CheckpointError
            If the files are damaged, or not those of a CLIP model in safetensors format.
        ValueError
            If `prompts` has fewer than two classes, or a prompt is empty or too long.
        """
        self._validate_params()
        prompts = _as_lists(self.prompts)
        folder = find_model(
            "model",
            self.model,
            "openai/clip-vit-large-patch14",
            cache_dir=self.cache_dir,
            local_files_only=self.local_files_only,
        )
        _require_clip(folder)
        of_texts, of_images = (load_pretrained(folder, kind, "auto") for kind in ("text", "image"))
        model = of_images.features.model
        self.classes_ = _sorted(list(prompts))
        with borrowed(model, torch.device("cpu")):
            self.text_features_ = np.stack(
                [
                    _embed_texts(model, of_texts.prepare, prompts[label])
                    for label in self.classes_.tolist()
                ]
            )
        self.logit_scale_ = float(model.logit_scale.detach().exp())
        self._images_to_features = _ImageTower(model)
        self._processor = of_images.prepare
        return self

    @neutral_torch_state()
    def predict_proba(self, images: Any) -> Floats:
        """Return the probability of each class.

        Parameters
        ----------
        images : array-like of shape (n_samples, height, width, 3), or list of images or of paths
            uint8 from 0 to 255, float from 0 to 1, PIL images, or files; in a list, sizes may
            differ. They are resized and cropped as in the training of the model.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float32
            Probabilities, in the order of `classes_`.
        """
        check_is_fitted(self)
        source = ImageSource(images, None)
        texts = torch.from_numpy(self.logit_scale_ * self.text_features_)
        with borrowed(self._images_to_features, resolve_device(self.device)) as place:

            def judge(pixels: Tensor) -> Floats:
                features = self._images_to_features(pixels.to(place.device, place.dtype))
                found: Floats = (features @ texts.to(features).T).softmax(dim=1).cpu().numpy()
                return found

            return map_chunks(
                len(source),
                self.batch_size,
                judge,
                read=lambda rows: self._prepare(source, rows),
                desc="judging",
            )

    def predict(self, images: Any) -> npt.NDArray[Any]:
        """Return the most probable class.

        Parameters
        ----------
        images : array-like of shape (n_samples, height, width, 3), or list of images or of paths
            Images, as for `predict_proba`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Values of `classes_`.
        """
        probabilities = self.predict_proba(images)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])

    def _prepare(self, source: ImageSource, rows: slice) -> Tensor:
        """Return images as the network takes them, shape (k, 3, height, width)."""
        # Each of its own size: the processor's filter is not the one that ImageSource fits with.
        pictures = source.originals(rows)
        made = self._processor(pictures, return_tensors="pt", input_data_format="channels_last")
        pixels: Tensor = made["pixel_values"]
        return pixels

    def __sklearn_tags__(self) -> Any:
        """Declare that X is images."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.target_tags.required = False
        return tags


class _ImageTower(nn.Module):
    """The half of CLIP that embeds images; the half for texts is done with after fit."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.vision_model
        self.projection = model.visual_projection

    def forward(self, pixels: Tensor) -> Tensor:
        """Return embeddings of length 1, shape (n, n_features)."""
        return nn.functional.normalize(self.projection(self.encoder(pixel_values=pixels)[1]))


def _require_clip(folder: Path) -> None:
    """Raise an error, before anything is loaded, unless a folder holds CLIP and it can be read."""
    for library in ("transformers", "PIL.Image"):
        extra_module(library, "ClipJudge", "clip")
    kind = json_of(folder / CONFIG).get("model_type")
    if kind != "clip":
        found = f"is of type {kind!r}" if kind else f"has no {CONFIG} that says what it is"
        raise CheckpointError(
            f"The model in {folder} {found}: ClipJudge takes CLIP, as saved by "
            "CLIPModel.save_pretrained, with its tokenizer and its image processor."
        )


def _embed_texts(model: Any, tokenizer: Any, texts: list[str]) -> Floats:
    """Return the mean direction of texts, shape (n_features,), of length 1."""
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    room, length = model.config.text_config.max_position_embeddings, tokens.input_ids.shape[1]
    if length > room:
        longest = texts[int(tokens.attention_mask.sum(dim=1).argmax())]
        raise ValueError(
            f"The prompt {longest!r} makes {length} tokens, and this CLIP reads {room} at most: "
            "shorten it."
        )
    hidden = model.text_model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
    features = nn.functional.normalize(model.text_projection(hidden[1]))
    mean: Floats = nn.functional.normalize(features.mean(dim=0), dim=0).numpy()
    return mean


def _as_lists(prompts: Mapping[Any, Any]) -> dict[Any, list[str]]:
    if len(prompts) < 2:
        raise ValueError(
            f"prompts={dict(prompts)!r} names fewer than two classes: give each class its words, "
            "as {'female': 'a photo of a woman', 'male': 'a photo of a man'}."
        )
    lists = {key: [words] if isinstance(words, str) else words for key, words in prompts.items()}
    for key, words in lists.items():
        is_list = isinstance(words, list | tuple) and len(words) > 0
        if not is_list or not all(isinstance(text, str) and text.strip() for text in words):
            raise ValueError(
                f"prompts[{key!r}]={prompts[key]!r}: expected a text, or a list of texts, such as "
                "['a photo of a woman', 'the face of a woman']."
            )
    return {key: list(words) for key, words in lists.items()}


def _sorted(labels: list[Any]) -> npt.NDArray[Any]:
    kinds = {type(label).__name__ for label in labels}
    if len(kinds) > 1:  # an array would turn 1 into "1", and then no label is equal to it
        raise ValueError(
            f"The keys of prompts are of several types ({', '.join(sorted(kinds))}): use those of "
            "your labels, all strings or all integers."
        )
    return np.asarray(sorted(labels))
