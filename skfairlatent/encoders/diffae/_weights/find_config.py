"""The configuration that a file of weights is for."""

__all__ = ["find_config", "tell_differences"]

import logging
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor

from skfairlatent.encoders.diffae._config import OFFICIAL_CONFIGS, DiffAEConfig
from skfairlatent.encoders.diffae._weights.files import FileContent
from skfairlatent.encoders.diffae._weights.infer_sizes import infer_sizes

logger = logging.getLogger(__name__)

# The official code's names in what Lightning writes down, and ours.
_OFFICIAL_NAMES = {
    "img_size": "image_size",
    "net_ch": "model_channels",
    "net_ch_mult": "channel_mult",
    "net_enc_channel_mult": "enc_channel_mult",
    "net_attn": "attention_resolutions",
    "net_num_res_blocks": "num_res_blocks",
    "net_enc_num_res_blocks": "enc_num_res_blocks",
    "net_beatgans_attn_head": "num_heads",
    "style_ch": "style_channels",
    "net_beatgans_embed_channels": "embed_channels",
    "beta_scheduler": "beta_schedule",
    "T": "T",
    "dropout": "dropout",
}
_OUR_NAMES = {field.name for field in fields(DiffAEConfig)} | {"style_channels", "beta_schedule"}
# What shapes tell where nothing else does.
_SIZES = _OUR_NAMES - {
    "num_heads",
    "norm_groups",
    "dropout",
    "T",
    "style_channels",
    "beta_schedule",
}
# What shapes do not tell of a U-Net that is not in the file.
_MADE_UP = {"channel_mult", "num_res_blocks"}


def find_config(
    content: FileContent, tensors: Mapping[str, Tensor], encoder_only: bool
) -> DiffAEConfig:
    """Take the configuration from the settings of a file, and what they lack from the shapes.

    Parameters
    ----------
    content : FileContent
    tensors : mapping
        Those of the network, by its names.
    encoder_only : bool
        Whether they are those of the encoder.

    Raises
    ------
    ValueError
        If settings are not supported, or nothing tells the sizes.
    """
    config = DiffAEConfig.from_dict(_find_sizes(content, tensors, encoder_only, None))
    _tell_what_is_assumed(config, content)
    return config


def tell_differences(
    given: DiffAEConfig, content: FileContent, tensors: Mapping[str, Tensor], encoder_only: bool
) -> str:
    """Name the sizes that are others than those a file tells; return "" if all are the same.

    Arguments and errors are those of `find_config`.
    """
    # Where nothing tells the size of the images, that of `given` is taken to be right.
    sizes = _find_sizes(content, tensors, encoder_only, given.image_size)
    found = DiffAEConfig.from_dict(sizes)
    names = sizes.keys() - (_MADE_UP if encoder_only else set())
    return "; ".join(
        f"{field.name}: {getattr(given, field.name)} given, {getattr(found, field.name)} found"
        for field in fields(DiffAEConfig)
        if field.name in names and getattr(given, field.name) != getattr(found, field.name)
    )


def _tell_what_is_assumed(config: DiffAEConfig, content: FileContent) -> None:
    """Log the sizes that neither settings nor shapes tell, unless a published model has them."""
    known = _known_sizes(content)
    assumed = {"num_heads", "image_size"} - known.keys()
    if _image_size(content.tensors) is not None:
        assumed.discard("image_size")
    if assumed and config not in OFFICIAL_CONFIGS.values():
        found = ", ".join(f"{name}={getattr(config, name)}" for name in sorted(assumed))
        logger.warning(
            "The file of weights does not tell %s: these values are assumed. If the model was "
            "made with others, its codes will be wrong: give config=DiffAEConfig(...).", found
        )  # fmt: skip


def _find_sizes(
    content: FileContent,
    tensors: Mapping[str, Tensor],
    encoder_only: bool,
    image_size: int | None,
) -> dict[str, Any]:
    known = _known_sizes(content)
    _check_depth(known, len(tensors))
    if content.is_ours or known.keys() >= _SIZES:
        return dict(known)
    hints = {"image_size": _image_size(content.tensors) or image_size, **known}
    return infer_sizes(tensors, encoder_only, hints) | dict(known)


def _check_depth(known: Mapping[str, Any], n_tensors: int) -> None:
    """Refuse more blocks than there are tensors, before anything is counted or made."""
    for name in ("num_res_blocks", "enc_num_res_blocks"):
        if known.get(name, 0) > n_tensors:
            raise ValueError(f"{n_tensors} tensors are not enough for {name}={known[name]!r}")


def _known_sizes(content: FileContent) -> Mapping[str, Any]:
    settings = content.settings
    if content.is_ours:
        return settings
    if "net_ch" not in settings:
        return {name: value for name, value in settings.items() if name in _OUR_NAMES}
    given = {name: value for name, value in settings.items() if value is not None}
    if given.get("net_enc_attn", given.get("net_attn")) != given.get("net_attn"):
        raise ValueError(
            f"net_enc_attn={given['net_enc_attn']!r} differs from net_attn={given['net_attn']!r}, "
            "which is not supported: encoder and U-Net have attention at the same resolutions"
        )
    # Where the official code is given none for the encoder, it takes those of the U-Net.
    if "net_ch_mult" in given:
        given.setdefault("net_enc_channel_mult", given["net_ch_mult"])
    return {new: given[old] for old, new in _OFFICIAL_NAMES.items() if old in given}


def _image_size(tensors: Mapping[str, Tensor]) -> int | None:
    """Read the size from the noise that Lightning keeps for pictures during training."""
    noise = tensors.get("x_T")
    return None if noise is None or noise.ndim != 4 else int(noise.shape[-1])
