"""Any image or text model of transformers as an encoder."""

__all__ = ["TransformersEncoder"]

import os
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions
from torch import Tensor

from skfairlatent._device import neutral_torch_state, resolve_device
from skfairlatent._files.hugging_face import find_model
from skfairlatent.encoders._base import Array, ImageEncoder
from skfairlatent.encoders._images import ImageSource
from skfairlatent.encoders._pretrained import POOLINGS, Pretrained, load_pretrained
from skfairlatent.encoders._texts import TextSource
from skfairlatent.encoders._torch_modules import borrowed


class TransformersEncoder(ImageEncoder):
    """Encode images or texts with a pretrained model of Hugging Face's transformers.

    Any model that ``AutoModel`` knows: DINOv2, ViT, CLIP or SigLIP for images; BERT, MiniLM or
    another sentence encoder for texts. It is trained already, and `fit` learns nothing.

    Parameters
    ----------
    name_or_path : str or path-like
        A folder written by ``save_pretrained``, with the image processor or the tokenizer, or the
        name of a model on the Hugging Face hub, which is found in the local cache of the hub.

    kind : {"auto", "image", "text"}, default="auto"
        Kind of the rows of X. ``"auto"`` takes images where the model has an image processor; CLIP
        and its like take both.

    pooling : {"auto", "cls", "mean"}, default="auto"
        How the features of patches or tokens become those of the image or text. ``"cls"`` takes
        those of the first token, ``"mean"`` the mean, for texts over their tokens without
        padding. ``"auto"`` takes the joint embedding of models such as CLIP, for other images the
        model's own pooling, or ``"cls"`` if it has none with trained weights; for other texts
        what the files of sentence-transformers say, or ``"mean"``.

    local_files_only : bool, default=True
        Whether to use local files only. If False, a model that is missing is downloaded.

    batch_size : int, default=32
        Number of images or texts at a time; halved when memory runs out.

    cache_dir : path-like or None, default=None
        Directory for embeddings, keyed by the content of the image or text and by the model, so
        that the folds and workers of a grid search encode each once.

    device : str or torch.device, default="auto"
        Device to compute on. ``"auto"`` uses CUDA if available, then MPS, then the CPU.

    verbose : bool, default=False
        Whether to show a progress bar.

    See Also
    --------
    TorchEncoder : Any network in torch.

    Notes
    -----
    This class needs transformers and Pillow: ``pip install "skfairlatent[hub]"``. Weights are read
    from safetensors files only, and no code of a repository is ever run. The encoder holds no
    weights: pickles are small, and a worker process reads the model again.

    It cannot decode: counterfactuals come as latents and embeddings.

    Examples
    --------
    >>> from skfairlatent import FairLatentTransformer
    >>> from skfairlatent.encoders import TransformersEncoder
    >>> encoder = TransformersEncoder("sentence-transformers/all-MiniLM-L6-v2", kind="text")
    >>> fair = FairLatentTransformer(encoder)
    >>> fair.fit(texts, y, sensitive_features=s)  # doctest: +SKIP
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ImageEncoder._parameter_constraints,
        "name_or_path": [str, os.PathLike],
        "kind": [StrOptions({"auto", "image", "text"})],
        "pooling": [StrOptions(set(POOLINGS))],
        "local_files_only": ["boolean"],
        "cache_dir": [str, os.PathLike, None],
    }

    def __init__(  # noqa: PLR0913 - an estimator is configured by its constructor
        self,
        name_or_path: str | os.PathLike[str],
        *,
        kind: str = "auto",
        pooling: str = "auto",
        local_files_only: bool = True,
        batch_size: int = 32,
        cache_dir: str | os.PathLike[str] | None = None,
        device: str | torch.device = "auto",
        verbose: bool | int = False,
    ) -> None:
        self.name_or_path = name_or_path
        self.kind = kind
        self.pooling = pooling
        self.local_files_only = local_files_only
        self.batch_size = batch_size
        self.cache_dir = cache_dir
        self.device = device
        self.verbose = verbose

    def encode_batch(self, images: Any) -> Tensor:
        """Encode some images, or some texts.

        Parameters
        ----------
        images : list of ndarray of shape (height, width, 3), uint8, or list of str

        Returns
        -------
        Tensor of shape (n, n_features)
        """
        model = self._model()
        return self._features(model, model.tensors_of(list(images)))

    @neutral_torch_state()
    def fingerprint(self) -> str:
        """Return what tells this model and its use from others, wherever its files are."""
        return f"{type(self).__name__}:{self._model().fingerprint}"

    def _features(self, model: Pretrained, inputs: dict[str, Tensor]) -> Tensor:
        with borrowed(model.features, resolve_device(self.device)) as place:
            placed = {name: each.to(place.device) for name, each in inputs.items()}
            found: Tensor = model.features(placed)
        return found

    def _encode(self, source: ImageSource | TextSource) -> Array:
        model = self._model()
        with borrowed(model.features, resolve_device(self.device)):  # once for all batches
            return self._encoded(
                source,
                lambda inputs: self._features(model, inputs),
                lambda rows: model.tensors_of(source.originals(rows)),
                self.fingerprint,
            )

    def _source(self, X: Any) -> Any:
        if isinstance(X, ImageSource | TextSource):
            return X
        is_text = self._model().features.kind == "text"
        return TextSource(X) if is_text else ImageSource(X, None)

    def _model(self) -> Pretrained:
        self._validate_params()
        folder = find_model(
            "name_or_path",
            self.name_or_path,
            "facebook/dinov2-base",
            local_files_only=self.local_files_only,
        )
        return load_pretrained(folder, self.kind, self.pooling)

    @property
    @neutral_torch_state()
    def _n_features_out(self) -> int:
        is_text = self._model().features.kind == "text"
        row = "" if is_text else np.zeros((64, 64, 3), dtype=np.uint8)
        return int(self.encode_batch([row]).shape[1])
