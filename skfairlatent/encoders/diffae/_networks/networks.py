"""The two networks of a diffusion autoencoder: semantic encoder and conditional U-Net."""

__all__ = ["DiffusionAutoencoder", "SemanticEncoder"]

import math

import torch
from torch import Tensor, nn

from skfairlatent.encoders.diffae._config import DiffAEConfig
from skfairlatent.encoders.diffae._networks.blocks import (
    Attention,
    Conditioned,
    DownSample,
    ResBlock,
    UpSample,
    zeroed,
)
from skfairlatent.encoders.diffae._networks.normalization import normalization, normalized
from skfairlatent.encoders.diffae._networks.pieces import bytes_per_image, in_pieces
from skfairlatent.encoders.diffae._networks.winograd import ImageConv

MAX_PERIOD = 10_000


class SemanticEncoder(nn.Module):
    """Images of shape (n, 3, size, size) in [-1, 1] to semantic codes (n, embed_channels)."""

    def __init__(self, config: DiffAEConfig) -> None:
        super().__init__()
        self._bytes = bytes_per_image(config, config.enc_channel_mult)
        channels = config.enc_channel_mult[0] * config.model_channels
        blocks = [Conditioned(ImageConv(channels))]
        resolution = config.image_size
        for level, mult in enumerate(config.enc_channel_mult):
            if level:
                resolution //= 2
                blocks.append(Conditioned(ResBlock(channels, channels, resample=DownSample())))
            for _ in range(config.enc_num_res_blocks):
                out_channels = mult * config.model_channels
                block = Conditioned(ResBlock(channels, out_channels))
                channels = out_channels
                if resolution in config.attention_resolutions:
                    block.append(Attention(channels, config.num_heads))
                blocks.append(block)
        self.input_blocks = nn.ModuleList(blocks)
        self.middle_block = Conditioned(
            ResBlock(channels, channels),
            Attention(channels, config.num_heads),
            ResBlock(channels, channels),
        )
        self.out = nn.Sequential(
            normalization(channels),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, config.embed_channels, 1),
            nn.Flatten(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return z_sem, shape (n, embed_channels)."""
        return in_pieces(self._encode, self._bytes, x)

    def _encode(self, x: Tensor) -> Tensor:
        for block in self.input_blocks:
            x = block(x)
        norm, _, pool, projection, flatten = self.out
        pooled = pool(normalized(norm, self.middle_block(x)))
        code: Tensor = flatten(projection(pooled))
        return code


class _TimeEmbedding(nn.Module):
    """Time steps to vectors. The nested name is the official one."""

    def __init__(self, config: DiffAEConfig) -> None:
        super().__init__()
        self.width = config.model_channels
        self.time_embed = nn.Sequential(
            nn.Linear(config.model_channels, config.embed_channels),
            nn.SiLU(),
            nn.Linear(config.embed_channels, config.embed_channels),
        )

    def forward(self, t: Tensor) -> Tensor:
        """Map time steps of shape (n,) to (n, embed_channels)."""
        half = self.width // 2
        exponents = torch.arange(half, dtype=torch.float32, device=t.device) / half
        angles = t[:, None].float() * torch.exp(-math.log(MAX_PERIOD) * exponents)
        waves = torch.cat((angles.cos(), angles.sin()), dim=1)
        waves = nn.functional.pad(waves, (0, self.width % 2))
        embedded: Tensor = self.time_embed(waves)
        return embedded


class DiffusionAutoencoder(nn.Module):
    """The conditional U-Net, which predicts noise, and inside it the semantic encoder.

    The names of all tensors are those of the official code.

    References
    ----------
    K. Preechakul, N. Chatthee, S. Wizadwongsa, S. Suwajanakorn, "Diffusion Autoencoders: Toward a
    Meaningful and Decodable Representation", CVPR 2022, arXiv:2111.15640.
    """

    def __init__(self, config: DiffAEConfig) -> None:
        super().__init__()
        self.config = config
        self._bytes = bytes_per_image(config, config.channel_mult)
        self.time_embed = _TimeEmbedding(config)
        self.encoder = SemanticEncoder(config)
        self._build_down(config)
        self._build_up(config)

    def _res_block(
        self, channels: int, out_channels: int, resample: nn.Module | None = None
    ) -> ResBlock:
        config = self.config
        width, groups = config.embed_channels, config.norm_groups
        return ResBlock(channels, out_channels, width, config.dropout, resample, groups)

    def _attention(self, channels: int) -> Attention:
        return Attention(channels, self.config.num_heads, self.config.norm_groups)

    def _block(self, channels: int, mult: int, resolution: int) -> Conditioned:
        out_channels = mult * self.config.model_channels
        block = Conditioned(self._res_block(channels, out_channels))
        if resolution in self.config.attention_resolutions:
            block.append(self._attention(out_channels))
        return block

    def _build_down(self, config: DiffAEConfig) -> None:
        channels = config.channel_mult[0] * config.model_channels
        blocks = [Conditioned(ImageConv(channels))]
        self._lateral_channels = [channels]
        resolution = config.image_size
        for level, mult in enumerate(config.channel_mult):
            if level:
                resolution //= 2
                blocks.append(Conditioned(self._res_block(channels, channels, DownSample())))
                self._lateral_channels.append(channels)
            for _ in range(config.num_res_blocks):
                blocks.append(self._block(channels, mult, resolution))
                channels = mult * config.model_channels
                self._lateral_channels.append(channels)
        self.input_blocks = nn.ModuleList(blocks)
        self.middle_block = Conditioned(
            self._res_block(channels, channels),
            self._attention(channels),
            self._res_block(channels, channels),
        )

    def _build_up(self, config: DiffAEConfig) -> None:
        lateral = list(self._lateral_channels)
        channels = lateral[-1]
        resolution = config.image_size >> (len(config.channel_mult) - 1)
        blocks = []
        for level, mult in reversed(list(enumerate(config.channel_mult))):
            for index in range(config.num_res_blocks + 1):
                block = self._block(channels + lateral.pop(), mult, resolution)
                channels = mult * config.model_channels
                if level and index == config.num_res_blocks:
                    resolution *= 2
                    block.append(self._res_block(channels, channels, UpSample()))
                blocks.append(block)
        self.output_blocks = nn.ModuleList(blocks)
        self.out = nn.Sequential(
            normalization(channels, config.norm_groups),
            nn.SiLU(),
            zeroed(nn.Conv2d(channels, 3, 3, padding=1)),
        )

    def forward(self, x: Tensor, t: Tensor, code: Tensor) -> Tensor:
        """Predict the noise in noisy images.

        Parameters
        ----------
        x : Tensor of shape (n, 3, size, size)
            Noisy images.
        t : Tensor of shape (n,), int64
            Time steps of the training schedule, 0 to T - 1.
        code : Tensor of shape (n, embed_channels)
            Semantic codes.

        Returns
        -------
        Tensor of shape (n, 3, size, size)
        """
        return in_pieces(self._predict, self._bytes, x, t, code)

    def _predict(self, x: Tensor, t: Tensor, code: Tensor) -> Tensor:
        time = self.time_embed(t)
        laterals: list[Tensor] = []
        for block in self.input_blocks:
            x = block(x, time, code)
            laterals.append(x)
        x = self.middle_block(x, time, code)
        for block in self.output_blocks:
            x = block(torch.cat((x, laterals.pop()), dim=1), time, code)
        norm, _, convolution = self.out
        noise: Tensor = convolution(normalized(norm, x))
        return noise
