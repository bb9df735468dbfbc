"""Sizes of a diffusion autoencoder, and those of the official models by name."""

__all__ = ["GROUPS", "OFFICIAL_CONFIGS", "DiffAEConfig"]

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from typing import Any, Self

import numpy as np

# Groups in the normalisations of all official models; fewer channels have as many groups.
GROUPS = 32

# Beyond any sensible network: a file that asks for more is not obeyed.
MAX_RES_BLOCKS = 64

_TUPLES = ("channel_mult", "enc_channel_mult", "attention_resolutions")


@dataclass(frozen=True)
class DiffAEConfig:
    """Sizes of a diffusion autoencoder.

    Names are those of the official code; sizes of its published models are in
    ``OFFICIAL_CONFIGS``. The noise schedule is always the official one: linear betas from 1e-4
    to 0.02.

    Parameters
    ----------
    image_size : int
        Height and width of the images, in pixels; a multiple of ``2 ** (levels - 1)`` for the
        levels of both networks.
    model_channels : int
        Channels at full resolution, before the multipliers.
    channel_mult, enc_channel_mult : tuple of int
        Multipliers of the channels at each level of the U-Net and of the semantic encoder; each
        level halves the resolution.
    attention_resolutions : tuple of int
        Resolutions, in pixels, at which there is self-attention.
    num_res_blocks, enc_num_res_blocks : int
        Number of residual blocks in a level.
    num_heads : int
        Number of attention heads.
    embed_channels : int
        Width of the semantic code ``z_sem`` and of the time embedding. The code is a linear
        function of the last level of the semantic encoder, whose
        ``model_channels * enc_channel_mult[-1]`` channels bound its rank.
    norm_groups : int
        Number of groups in the group normalisation of the U-Net; 32 in all official models. With
        one channel in each group the brightness and hue of an image would be lost: if
        `model_channels` is small, choose groups of at least two channels.
    dropout : float
        Dropout probability of the U-Net in training.
    T : int
        Number of diffusion steps in training.

    Raises
    ------
    ValueError
        If the sizes are not compatible with one another.

    Examples
    --------
    >>> from skfairlatent.encoders import OFFICIAL_CONFIGS
    >>> OFFICIAL_CONFIGS["ffhq256_autoenc"].image_size
    256
    """

    image_size: int = 64
    model_channels: int = 64
    channel_mult: tuple[int, ...] = (1, 2, 4, 8)
    enc_channel_mult: tuple[int, ...] = (1, 2, 4, 8, 8)
    attention_resolutions: tuple[int, ...] = (16,)
    num_res_blocks: int = 2
    enc_num_res_blocks: int = 2
    num_heads: int = 1
    embed_channels: int = 512
    norm_groups: int = 32
    dropout: float = 0.1
    T: int = 1000

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, self._checked(field.name))
        if max(self.num_res_blocks, self.enc_num_res_blocks) > MAX_RES_BLOCKS:
            raise ValueError(f"more than {MAX_RES_BLOCKS} residual blocks in a level.")
        levels = max(len(self.channel_mult), len(self.enc_channel_mult))
        if self.image_size % 2 ** (levels - 1):
            raise ValueError(
                f"image_size={self.image_size} cannot be halved {levels - 1} times, which "
                f"{levels} levels of channel multipliers need: use a multiple of "
                f"{2 ** (levels - 1)}."
            )
        self._check_channels()

    def _checked(self, name: str) -> Any:
        """Return a size as Python's own number, or a tuple of such; raise ValueError if none."""
        value = getattr(self, name)
        if name == "dropout":
            if not (isinstance(value, Real) and 0 <= float(value) < 1):
                raise ValueError(f"dropout={value!r}: expected a share from 0 up to 1.")
            return float(value)
        is_list = isinstance(value, list | tuple | np.ndarray)
        numbers = list(value) if is_list else [value]
        may_be_empty = name == "attention_resolutions"
        fits = all(isinstance(n, Integral) and (int(n) >= 1 or may_be_empty) for n in numbers)
        if is_list != (name in _TUPLES) or not fits or not (numbers or may_be_empty):
            expected = "a tuple of positive integers" if name in _TUPLES else "positive integers"
            raise ValueError(f"{name}={value!r}: expected {expected}.")
        sizes = tuple(map(int, numbers))
        return sizes if is_list else sizes[0]

    def _check_channels(self) -> None:
        """Raise unless group normalisation and attention can divide every number of channels."""
        unit = self.model_channels
        widths = {(unit * mult, GROUPS) for mult in self.enc_channel_mult}
        widths |= {(channels, self.norm_groups) for channels in self._normalised_widths()}
        for channels, groups in sorted(widths):
            if channels % min(groups, channels):
                raise ValueError(
                    f"{channels} channels meet in one layer, which cannot be divided into "
                    f"{groups} groups: with model_channels={self.model_channels} and multipliers "
                    f"{self.channel_mult} and {self.enc_channel_mult}, use a larger or an equal "
                    "first multiplier, or model_channels that are a multiple of 32."
                )
        for mult in {*self.channel_mult, *self.enc_channel_mult}:
            if mult * self.model_channels % self.num_heads:
                raise ValueError(
                    f"num_heads={self.num_heads} does not divide {mult * self.model_channels} "
                    f"channels (model_channels={self.model_channels} x {mult})."
                )

    def _normalised_widths(self) -> set[int]:
        """Widths that the U-Net normalises: on the way up, features of two blocks meet."""
        unit = self.model_channels
        widths = {unit * mult for mult in self.channel_mult}
        channels = unit * self.channel_mult[0]
        lateral = [channels]
        for level, mult in enumerate(self.channel_mult):
            lateral += [channels] * (level > 0)
            channels = unit * mult
            lateral += [channels] * self.num_res_blocks
        for mult in reversed(self.channel_mult):
            for _ in range(self.num_res_blocks + 1):
                widths.add(channels + lateral.pop())
                channels = unit * mult
        return widths

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Take a configuration from a mapping, such as a JSON file; unknown names are refused.

        ``style_channels`` and ``beta_schedule``, which the official code also writes down, are
        accepted where they say what is always so here.

        Raises
        ------
        ValueError
            If a name is unknown, or the sizes do not fit together.
        """
        given = dict(values)
        width = given.get("embed_channels", cls.embed_channels)
        for name, expected in (("style_channels", width), ("beta_schedule", "linear")):
            if given.pop(name, expected) != expected:
                raise ValueError(f"{name}={values[name]!r} is not supported: expected {expected}.")
        known = {field.name for field in fields(cls)}
        if unknown := sorted(given.keys() - known):
            raise ValueError(f"unknown sizes {unknown}: expected some of {sorted(known)}.")
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """Return all sizes as a dictionary that JSON can hold."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


_SIZE_64 = DiffAEConfig()
_SIZE_128 = DiffAEConfig(
    image_size=128,
    model_channels=128,
    channel_mult=(1, 1, 2, 3, 4),
    enc_channel_mult=(1, 1, 2, 3, 4, 4),
)
_SIZE_256 = DiffAEConfig(
    image_size=256,
    model_channels=128,
    channel_mult=(1, 1, 2, 2, 4, 4),
    enc_channel_mult=(1, 1, 2, 2, 4, 4, 4),
)

OFFICIAL_CONFIGS: Mapping[str, DiffAEConfig] = {
    "ffhq256_autoenc": _SIZE_256,
    "ffhq128_autoenc_72M": _SIZE_128,
    "ffhq128_autoenc_130M": _SIZE_128,
    "bedroom128_autoenc": _SIZE_128,
    "horse128_autoenc": _SIZE_128,
    "celeba64d2c_autoenc": _SIZE_64,
}
