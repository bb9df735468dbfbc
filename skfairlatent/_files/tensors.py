"""Safetensors files of this package: tensors and text, with a digest of both."""

__all__ = ["DIGEST", "digest_of", "pack", "read_tensors", "verify"]

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from skfairlatent.exceptions import CheckpointError

# In the header; of everything else in the file.
DIGEST = "skfairlatent_digest"
# Errors of safetensors and torch for an invalid header, besides the former's own.
_NO_HEADER = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def pack(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> bytes:
    """Return the content of a file that `verify` finds whole."""
    laid_out = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    return to_bytes(laid_out, {**header, DIGEST: digest_of(_text(header), laid_out)})


def read_tensors(path: Path, remedy: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return header and tensors of a file, which may stay views of it.

    Parameters
    ----------
    path : Path
        An existing file.
    remedy : str
        The end of the error's sentence: what to do.

    Raises
    ------
    CheckpointError
        If it is not a safetensors file.
    OSError
        If it cannot be opened.
    """
    with path.open("rb"):  # safetensors says that a file does not exist that may not be read
        pass
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return dict(file.metadata() or {}), tensors
    except OSError:
        raise
    except (SafetensorError, *_NO_HEADER) as error:
        raise CheckpointError(
            f"{path} is damaged or is not a safetensors file ({error}); {remedy}."
        ) from error


def verify(
    path: Path, header: Mapping[str, str], tensors: Mapping[str, Tensor], remedy: str
) -> None:
    """Raise CheckpointError if header and tensors are not those that `pack` was given."""
    if header.get(DIGEST) != digest_of(_text(header), tensors):
        raise CheckpointError(
            f"{path} is damaged: its contents are not those that were written; {remedy}."
        )


def digest_of(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Return a checksum of a text and of tensors by name. It tells damage, not intent."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        # A view keeps strides of 0, which few elements may have, and bytes refuse.
        flat = value.as_strided((value.numel(),), (1,))
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _text(header: Mapping[str, str]) -> str:
    return json.dumps({k: v for k, v in header.items() if k != DIGEST}, sort_keys=True)
