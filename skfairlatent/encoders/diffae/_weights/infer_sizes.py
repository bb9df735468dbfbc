"""Sizes of a network, from the shapes of its tensors."""

__all__ = ["infer_sizes"]

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

# Where all official models have their attention, in pixels.
ATTENTION_PIXELS = 16


@dataclass(frozen=True)
class _Levels:
    """How blocks on the way down are divided into levels of one resolution."""

    channels: list[int]
    n_blocks: int
    with_attention: list[int]


def infer_sizes(
    tensors: Mapping[str, Tensor], encoder_only: bool, known: Mapping[str, Any]
) -> dict[str, Any]:
    """Return arguments of `DiffAEConfig` that give tensors of these shapes.

    Shapes do not tell the number of attention heads, which is left out, nor the size of the
    images: that is told by `known`, or by attention at one level, which is taken to be at 16
    pixels as in all official models. For an encoder alone the sizes of the U-Net are made up:
    one level less.

    Parameters
    ----------
    tensors : mapping
        By names of the network, or of the encoder if `encoder_only`.
    encoder_only : bool
    known : mapping
        Sizes that are known: ``image_size`` and ``model_channels`` are used.

    Raises
    ------
    ValueError
        If the shapes are no network's, or fit several.
    """
    try:
        encoder = _divide(tensors, "" if encoder_only else "encoder.")
        if encoder_only:
            u_net = _Levels(encoder.channels[:-1] or encoder.channels, 2, [])
            width, embed_channels = None, tensors["out.3.weight"].shape[0]
        else:
            u_net = _divide(tensors, "", _count_levels(tensors))
            embed_channels, width = tensors["time_embed.time_embed.0.weight"].shape
    except (KeyError, IndexError, ValueError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"its {len(tensors)} tensors are not those of a diffusion autoencoder ({reason}; "
            f"found {', '.join(list(tensors)[:3]) or 'none'})"
        ) from error
    unit = known.get("model_channels") or width or math.gcd(*encoder.channels)
    image_size, resolutions = _resolutions(encoder, u_net, known.get("image_size"))
    return {
        "image_size": image_size,
        "model_channels": unit,
        "channel_mult": [channels // unit for channels in u_net.channels],
        "enc_channel_mult": [channels // unit for channels in encoder.channels],
        "attention_resolutions": resolutions,
        "num_res_blocks": u_net.n_blocks,
        "enc_num_res_blocks": encoder.n_blocks,
        "embed_channels": embed_channels,
    }


def _divide(tensors: Mapping[str, Tensor], prefix: str, n_levels: int | None = None) -> _Levels:
    """Find the one division into levels that fits: blocks of a level are alike.

    A block that halves the resolution has the same tensors as any other, so it is told by what
    it cannot do: change the number of channels, or be followed by attention.
    """
    channels = [tensors[f"{prefix}input_blocks.0.0.weight"].shape[0]]
    while weight := _find(tensors, f"{prefix}input_blocks.{len(channels)}.0.in_layers.2.weight"):
        channels.append(weight)
    attention = [f"{prefix}input_blocks.{i}.1.qkv.weight" in tensors for i in range(len(channels))]
    blocks = list(zip(channels, attention, strict=True))
    fitting = [
        step
        for step in range(2, len(blocks) + 1)
        if len(blocks) % step == 0
        and n_levels in (None, len(blocks) // step)
        and _is_divided(blocks, step)
    ]
    if len(fitting) != 1:
        raise ValueError(
            f"{len(blocks)} blocks {prefix}input_blocks fit {len(fitting)} arrangements, not one"
        )
    step = fitting[0]
    lasts = blocks[step - 1 :: step]
    with_attention = [level for level, (_, has_attention) in enumerate(lasts) if has_attention]
    return _Levels([number for number, _ in lasts], step - 1, with_attention)


def _is_divided(blocks: list[tuple[int, bool]], step: int) -> bool:
    """Tell whether each `step` blocks are one that changes the resolution and then equal ones."""
    return all(
        len(set(blocks[start + 1 : start + step])) == 1
        and blocks[start] == (blocks[max(start - 1, 0)][0], False)
        for start in range(0, len(blocks), step)
    )


def _count_levels(tensors: Mapping[str, Tensor]) -> int:
    """Count levels of the U-Net by the blocks that double the resolution on the way up."""
    ends = (".1.in_layers.2.weight", ".2.in_layers.2.weight")
    return 1 + sum(n.startswith("output_blocks.") and n.endswith(ends) for n in tensors)


def _find(tensors: Mapping[str, Tensor], name: str) -> int:
    return tensors[name].shape[0] if name in tensors else 0


def _resolutions(encoder: _Levels, u_net: _Levels, image_size: Any) -> tuple[int, list[int]]:
    levels = sorted({*encoder.with_attention, *u_net.with_attention})
    if image_size is None:
        if len(levels) != 1:
            raise ValueError(
                f"nothing tells the size of its images (attention at {len(levels)} levels, not "
                "one)"
            )
        image_size = ATTENTION_PIXELS << levels[0]
    return image_size, [image_size >> level for level in levels]
