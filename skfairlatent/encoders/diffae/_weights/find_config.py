"""Sizes of the network that a file of weights is for."""

__all__ = ["differences", "empty_network", "find_config"]

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from skfairlatent.encoders.diffae._config import OFFICIAL_CONFIGS, DiffAEConfig
from skfairlatent.encoders.diffae._networks.networks import DiffusionAutoencoder, SemanticEncoder
from skfairlatent.encoders.diffae._weights.files import FileContent

# Names of the official code in the settings of a Lightning file, and ours.
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
# Without any of these the network cannot be made, or computes something else.
_SIZES = _OUR_NAMES - {"norm_groups", "dropout", "T", "style_channels", "beta_schedule"}


def find_config(
    content: FileContent, tensors: Mapping[str, Tensor], encoder_only: bool
) -> DiffAEConfig:
    """Return the sizes that a file holds, or those of the official model that its tensors fit.

    Parameters
    ----------
    tensors : mapping
        Tensors by the names of the network, or of the encoder if `encoder_only`.

    Raises
    ------
    ValueError
        If a setting is not supported, or the sizes are neither in the file nor official.
    """
    known = _known_sizes(content)
    if content.is_ours or known.keys() >= _SIZES:
        return DiffAEConfig.from_dict(known)
    for config in dict.fromkeys(OFFICIAL_CONFIGS.values()):
        expected = empty_network(config, encoder_only).state_dict()
        if all(name in tensors and tensors[name].shape == v.shape for name, v in expected.items()):
            return DiffAEConfig.from_dict(config.to_dict() | dict(known))
    first = ", ".join(list(tensors)[:3]) or "none"
    raise ValueError(
        f"it does not say the sizes of the network ({', '.join(sorted(_SIZES - known.keys()))}), "
        f"and its {len(tensors)} tensors ({first}) do not fit any official model"
    )


def differences(config: DiffAEConfig, content: FileContent) -> str:
    """Return the sizes in which `config` differs from the settings of a file, as text."""
    known = _known_sizes(content)
    if not known.keys() >= _SIZES:
        return ""
    found = DiffAEConfig.from_dict(known)
    return "; ".join(
        f"{name}: {getattr(config, name)} given, {getattr(found, name)} found"
        for name in (field.name for field in fields(config))
        if name in known and getattr(config, name) != getattr(found, name)
    )


def empty_network(
    config: DiffAEConfig, encoder_only: bool
) -> DiffusionAutoencoder | SemanticEncoder:
    """Make a network without memory and without random numbers."""
    with torch.device("meta"):
        return SemanticEncoder(config) if encoder_only else DiffusionAutoencoder(config)


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
