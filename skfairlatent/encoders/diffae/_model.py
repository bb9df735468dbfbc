"""A trained diffusion autoencoder: network, sizes and statistics of its codes."""

__all__ = ["Model", "channels_last", "load_model"]

import difflib
import hashlib
import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils import check_array

from skfairlatent.encoders.diffae._config import OFFICIAL_CONFIGS, DiffAEConfig
from skfairlatent.encoders.diffae._networks.networks import DiffusionAutoencoder, SemanticEncoder
from skfairlatent.encoders.diffae._statistics import LatentStatistics
from skfairlatent.encoders.diffae._weights.download import STATISTICS, download_weights
from skfairlatent.encoders.diffae._weights.read import (
    build,
    read_statistics,
    read_weights,
    write_weights,
)
from skfairlatent.exceptions import CheckpointError

# Models that ship with the package.
SHIPPED = {name: f"{name}.safetensors" for name in ("faces64", "faces64_unsupervised")}
# The one whose images show most of an edit: docs/results/counterfactuals.rst.
SHIPPED_TO_EXPLAIN = "faces64_unsupervised"
# Models kept in memory, so that each call need not read the file again.
N_KEPT = 2

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Model:
    """The networks that `DiffAEEncoder` works with.

    Parameters
    ----------
    network : DiffusionAutoencoder or SemanticEncoder
        On the CPU, in float32, ready for use; the latter if the weights are those of the
        encoder only.
    is_ours : bool
        Whether the weights were written or trained by this package; else by the official code.
    """

    network: DiffusionAutoencoder | SemanticEncoder
    config: DiffAEConfig
    statistics: LatentStatistics | None
    is_ours: bool = True

    def __post_init__(self) -> None:
        channels_last(self.network)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of what decides about codes: the semantic encoder's weights, and its heads."""
        encoder: torch.nn.Module = self.network
        if isinstance(self.network, DiffusionAutoencoder):
            encoder = self.network.encoder
        # The shapes tell all but the number of heads.
        digest = hashlib.sha256(f"{self.config.image_size} {self.config.num_heads}".encode())
        for name, value in sorted(encoder.state_dict().items()):
            digest.update(f"{name} {tuple(value.shape)}".encode())
            digest.update(value.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def require_decoder(self) -> None:
        """Raise TypeError if there is an encoder only."""
        if isinstance(self.network, SemanticEncoder):
            raise TypeError(
                "These weights hold the semantic encoder only, which cannot decode: give the "
                "weights of the whole model."
            )

    def require_statistics(self, weights: Any) -> LatentStatistics:
        """Return the statistics of codes, or raise ValueError that names the weights."""
        if self.statistics is None:
            raise ValueError(
                f"weights={weights!r} hold no statistics of codes to sample from: give "
                "DiffAEEncoder(statistics=...) the latent.pkl of the model."
            )
        return self.statistics

    def check_codes(self, codes: Any) -> Array:
        """Return codes as float32 of shape (n, d), or raise ValueError."""
        checked: Array = check_array(codes, dtype=np.float32, input_name="X")
        if checked.shape[1] != self.config.embed_channels:
            raise ValueError(
                f"X has {checked.shape[1]} features: expected {self.config.embed_channels}, the "
                "width of this model's codes, as transform returns them."
            )
        return checked

    def check_noise(self, noise: Any, n_codes: int) -> Array:
        """Return x_T as float32 of shape (n_codes, size, size, 3), or raise ValueError."""
        checked = np.asarray(noise, dtype=np.float32)
        size = self.config.image_size
        if checked.shape not in {(n_codes, size, size, 3), (1, size, size, 3)}:
            raise ValueError(
                f"x_T has shape {checked.shape}: expected {(n_codes, size, size, 3)}, as invert "
                f"returns it, or {(1, size, size, 3)} for all codes."
            )
        if not np.isfinite(checked).all():
            raise ValueError("x_T holds NaN or infinity: pass what invert returns.")
        return np.ascontiguousarray(np.broadcast_to(checked, (n_codes, size, size, 3)))

    def write(self, path: str | os.PathLike[str], *, encoder_only: bool, half: bool) -> None:
        """Write a safetensors file that `load_model` reads."""
        write_weights(
            path,
            self.network,
            config=self.config,
            statistics=None if encoder_only else self.statistics,
            dtype=torch.float16 if half else torch.float32,
            encoder_only=encoder_only,
        )


def channels_last(network: torch.nn.Module) -> None:
    """Lay the weights out in memory as convolutions read them fastest; their values stay."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def load_model(
    weights: str | os.PathLike[str],
    config: DiffAEConfig | None,
    statistics: str | os.PathLike[str] | None,
) -> Model:
    """Load a model by name or path; the last few are kept in memory.

    Raises
    ------
    CheckpointError
        If a file is damaged, hostile, or does not hold such a model.
    FileNotFoundError
        If there is no such file, or an official model cannot be downloaded.
    """
    for name, given in (("weights", weights), ("statistics", statistics)):
        if given is not None and not os.fspath(given):
            raise ValueError(f"{name}={given!r} is empty: pass the path of a file, or a name.")
    path = _locate(weights)
    if config is None and weights in OFFICIAL_CONFIGS:
        config = OFFICIAL_CONFIGS[str(weights)]
    others = None if statistics is None else Path(statistics).expanduser()
    if others is None and weights in OFFICIAL_CONFIGS:
        beside = path.with_name(STATISTICS)
        others = beside if beside.exists() else None
    return _load(path, _version(path), config, others, others and _version(others))


@lru_cache(maxsize=N_KEPT)
def _load(
    path: Path,
    _version: tuple[int, int] | None,
    config: DiffAEConfig | None,
    statistics: Path | None,
    _statistics_version: tuple[int, int] | None,
) -> Model:
    found = read_weights(path, config)
    latent = found.statistics if statistics is None else read_statistics(statistics)
    if latent is not None and len(latent.mean) != found.config.embed_channels:
        raise CheckpointError(
            f"{statistics} holds statistics of {len(latent.mean)} features, and the codes of "
            f"{path} have {found.config.embed_channels}: pass the file of the same model."
        )
    return Model(build(found), found.config, latent, found.is_ours)


def _locate(weights: str | os.PathLike[str]) -> Path:
    if weights in SHIPPED:
        return Path(str(files("skfairlatent.encoders.diffae") / "weights" / SHIPPED[str(weights)]))
    if weights in OFFICIAL_CONFIGS:
        return download_weights(str(weights))
    path = Path(weights).expanduser()
    if isinstance(weights, str) and not path.suffix and not path.exists():
        known = [*SHIPPED, *OFFICIAL_CONFIGS]
        close = difflib.get_close_matches(weights, known, n=1)
        raise FileNotFoundError(
            f"weights={weights!r} is neither a file nor a known name: "
            + (f"did you mean {close[0]!r}? " if close else "")
            + f"Known are {', '.join(known)}."
        )
    return path


def _version(path: Path) -> tuple[int, int] | None:
    """Tell a file from what was at the same place before."""
    if not path.exists():
        return None
    status = path.stat()
    return status.st_mtime_ns, status.st_size
