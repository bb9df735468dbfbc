"""Sizes from shapes: right, or a request to tell them."""

import dataclasses

import pytest
import torch

from skfairlatent.encoders.diffae._config import OFFICIAL_CONFIGS, DiffAEConfig
from skfairlatent.encoders.diffae._networks.networks import DiffusionAutoencoder, SemanticEncoder
from skfairlatent.encoders.diffae._weights.infer_sizes import infer_sizes

CUSTOM = {
    "one block": DiffAEConfig(
        32, 32, (1, 2), (1, 2, 4), num_res_blocks=1, enc_num_res_blocks=1, embed_channels=48
    ),
    "three blocks": DiffAEConfig(64, 32, (1, 2, 2), (1, 1, 2), (16,), 3, 3),
    "different numbers": DiffAEConfig(64, 32, (2, 2, 4), (2, 4, 4, 4), (16,), 1, 3),
    "no attention below": DiffAEConfig(32, 32, (1, 2), (1, 2, 2)),
}
ALL = {**OFFICIAL_CONFIGS, **CUSTOM}


def _tensors(config, kind=DiffusionAutoencoder):
    with torch.device("meta"):
        return kind(config).state_dict()


@pytest.mark.parametrize("name", ALL)
def test__infer_sizes__finds_sizes_of_whole_models(name):
    sizes = infer_sizes(_tensors(ALL[name]), encoder_only=False, known={})
    assert DiffAEConfig.from_dict(sizes) == ALL[name]


@pytest.mark.parametrize("name", ALL)
def test__infer_sizes__finds_sizes_of_encoders(name):
    expected = _tensors(ALL[name], SemanticEncoder)
    config = DiffAEConfig.from_dict(infer_sizes(expected, encoder_only=True, known={}))
    found = _tensors(config, SemanticEncoder)
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in expected.items()}
    for field in ("image_size", "attention_resolutions", "enc_num_res_blocks", "embed_channels"):
        assert getattr(config, field) == getattr(ALL[name], field)
    if name in OFFICIAL_CONFIGS:
        assert config == ALL[name]


def test__infer_sizes__a_known_image_size_says_where_attention_is():
    config = DiffAEConfig(64, 32, (1, 2, 2), (1, 2, 2), attention_resolutions=(32, 16))
    tensors = _tensors(config)
    sizes = infer_sizes(tensors, encoder_only=False, known={"image_size": 64})
    assert DiffAEConfig.from_dict(sizes) == config
    with pytest.raises(ValueError, match="nothing tells the size of its images"):
        infer_sizes(tensors, encoder_only=False, known={})
    without = dataclasses.replace(config, attention_resolutions=())
    with pytest.raises(ValueError, match="nothing tells the size of its images"):
        infer_sizes(_tensors(without), encoder_only=False, known={})


def test__infer_sizes__the_way_up_tells_the_levels_of_the_u_net():
    # Its nine equal blocks alone could be three levels of two residual blocks, or one of eight.
    config = DiffAEConfig(64, 32, (1, 1, 1), (1, 2, 2), attention_resolutions=())
    sizes = infer_sizes(_tensors(config), encoder_only=False, known={"image_size": 64})
    assert DiffAEConfig.from_dict(sizes) == config


def test__infer_sizes__refuses_to_guess_between_arrangements():
    # Nine equal blocks: three levels of two residual blocks, or one of eight.
    config = DiffAEConfig(64, 32, (1,), (1, 1, 1), attention_resolutions=())
    with pytest.raises(ValueError, match=r"9 blocks .* fit 2 arrangements"):
        infer_sizes(_tensors(config, SemanticEncoder), encoder_only=True, known={"image_size": 64})


def test__infer_sizes__refuses_other_models():
    with pytest.raises(ValueError, match=r"2 tensors are not those .*found weight, bias"):
        infer_sizes(torch.nn.Linear(2, 2).state_dict(), encoder_only=True, known={})
    with pytest.raises(ValueError, match=r"0 tensors are not those .*found none"):
        infer_sizes({}, encoder_only=False, known={})
    tensors = _tensors(CUSTOM["one block"])
    flat = {name: torch.zeros(()) for name in tensors}
    with pytest.raises(ValueError, match="are not those of a diffusion autoencoder"):
        infer_sizes(flat, encoder_only=False, known={})
