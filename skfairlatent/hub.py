"""Fitted transformers on the Hugging Face hub, as safetensors with a model card.

``pip install "skfairlatent[hub]"`` installs what is needed.
"""

__all__ = ["from_pretrained", "push_to_hub"]

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import skfairlatent
from skfairlatent._files.hugging_face import extra_module
from skfairlatent._transformer import FairLatentTransformer

FILE_NAME = "model.safetensors"
CARD = """---
library_name: skfairlatent
tags:
- fairness
- scikit-learn
---

# {name}

A `FairLatentTransformer` of skfairlatent {version}. It maps {n_features} features to a label block
of {n_label} component(s), which keeps what predicts the label and is distributed alike for
the sensitive groups, as far as the training could make it so, and a sensitive block.

```python
from skfairlatent.hub import from_pretrained

fair = from_pretrained("{repo_id}"{encoder})
Z = fair.transform(X)
```

| | |
| --- | --- |
| label | {classes} |
| sensitive attributes | {attributes} |
| criterion | {constraints} |
| parameters | `{parameters}` |
| epochs | {n_iter} |

## Limits

Group disparities are mitigated on data like the training data. Nothing is guaranteed about other
data, other attributes or individual people: audit the predictions of any classifier that is
trained on the label block, on data of the place where it is used.
"""


def push_to_hub(
    transformer: FairLatentTransformer,
    repo_id: str,
    *,
    private: bool = True,
    token: str | None = None,
) -> str:
    """Upload a fitted transformer with a model card.

    The file is that of ``transformer.save``: it holds no rows, and of an encoder a fingerprint.

    Parameters
    ----------
    transformer : FairLatentTransformer
        Fitted.
    repo_id : str
        Name on the hub, as ``"user/name"``; made if it does not exist.
    private : bool, default=True
        Whether a new repository is hidden from others.
    token : str, optional
        Access token; by default that of ``hf auth login``.

    Returns
    -------
    str
        Address of the upload.

    Raises
    ------
    ConnectionError
        If the hub cannot be reached, or refuses.
    ImportError
        If huggingface_hub is not installed.
    NotFittedError
        If the transformer is not fitted.
    TypeError
        If it is something else, such as a pipeline.

    Examples
    --------
    >>> from skfairlatent.hub import push_to_hub
    >>> push_to_hub(fair, "me/fair-embeddings")  # doctest: +SKIP
    """
    if not isinstance(transformer, FairLatentTransformer):
        raise TypeError(
            f"transformer is of type {type(transformer).__name__}: pass a FairLatentTransformer, "
            "as pipe['fair'] of a pipeline."
        )
    api = extra_module("huggingface_hub", "push_to_hub", "hub").HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        transformer.save(Path(folder, FILE_NAME))
        Path(folder, "README.md").write_text(_card(transformer, repo_id), encoding="utf-8")
        with _explained(repo_id, "uploaded"):
            api.create_repo(repo_id, private=private, exist_ok=True)
            upload = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                commit_message=f"FairLatentTransformer of skfairlatent {skfairlatent.__version__}",
            )
    return str(upload)


def from_pretrained(
    repo_id: str,
    *,
    encoder: Any = None,
    revision: str | None = None,
    token: str | None = None,
    local_files_only: bool = False,
) -> FairLatentTransformer:
    """Download a transformer that `push_to_hub` uploaded, unless it is in the local cache.

    Parameters
    ----------
    repo_id : str
        Name on the hub, as ``"user/name"``.
    encoder : object, optional
        The encoder it was fitted with, if that was an object.
    revision : str, optional
        Branch, tag or commit; by default the newest.
    token : str, optional
        Access token, of a private repository.
    local_files_only : bool, default=False
        Whether to use the cache only.

    Returns
    -------
    FairLatentTransformer

    Raises
    ------
    CheckpointError
        As of ``FairLatentTransformer.load``, which reads the file and executes nothing.
    ConnectionError
        If it is not in the cache and cannot be downloaded.
    ImportError
        If huggingface_hub is not installed.

    Examples
    --------
    >>> from skfairlatent.hub import from_pretrained
    >>> fair = from_pretrained("me/fair-embeddings")  # doctest: +SKIP
    """
    api = extra_module("huggingface_hub", "from_pretrained", "hub").HfApi(token=token)
    with _explained(repo_id, "found in the cache" if local_files_only else "downloaded"):
        path = api.hf_hub_download(
            repo_id, FILE_NAME, revision=revision, local_files_only=local_files_only
        )
    return FairLatentTransformer.load(path, encoder=encoder)


@contextmanager
def _explained(repo_id: str, done: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConnectionError(
            f"{FILE_NAME} of {repo_id!r} could not be {done} ({error}). A transformer can also be "
            "copied as a file: fair.save(path), and FairLatentTransformer.load(path) where it is "
            "used."
        ) from error


def _card(transformer: FairLatentTransformer, repo_id: str) -> str:
    classes: Any = transformer.classes_
    columns = classes if isinstance(classes, list) else [classes]
    attributes = [f"{name}: {', '.join(each)}" for name, each in transformer.attributes_]
    is_object = transformer.encoder is not None and not isinstance(transformer.encoder, str)
    used = is_object and transformer._fitted_on_images
    return CARD.format(
        name=repo_id.rsplit("/", maxsplit=1)[-1],
        repo_id=repo_id,
        version=skfairlatent.__version__,
        n_features=transformer.n_features_in_,
        n_label=transformer.label_slice_.stop,
        encoder=", encoder=encoder" if used else "",
        classes=_in_cell("; ".join(", ".join(map(str, each)) for each in columns)),
        attributes=_in_cell("; ".join(attributes) or "none"),
        constraints=transformer.constraints,
        parameters=" ".join(repr(transformer).split()),
        n_iter=transformer.n_iter_,
    )


def _in_cell(text: str) -> str:
    """Return text as a cell of a table of Markdown holds it."""
    return " ".join(text.replace("|", "\\|").split())
