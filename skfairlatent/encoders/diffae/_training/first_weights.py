"""The network that a training starts from, and the generator that it draws from."""

__all__ = ["draw_dropout_from", "random_network"]

import torch
from torch import nn

from skfairlatent.encoders.diffae._config import DiffAEConfig
from skfairlatent.encoders.diffae._networks.blocks import STARTS_AT_ZERO, Dropout
from skfairlatent.encoders.diffae._networks.networks import DiffusionAutoencoder
from skfairlatent.flows._linear import draw_weights


def random_network(config: DiffAEConfig, generator: torch.Generator) -> DiffusionAutoencoder:
    """Return a network as torch's layers start, with weights drawn from `generator`.

    Parameters
    ----------
    generator : torch.Generator
        On the CPU, where the network is made, in float32.
    """
    with torch.device("meta"):
        network = DiffusionAutoencoder(config)
    network = network.float().to_empty(device="cpu")
    for layer in network.modules():
        if getattr(layer, STARTS_AT_ZERO, False):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
        elif isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            draw_weights(layer, generator)
        elif isinstance(layer, nn.GroupNorm):
            layer.reset_parameters()
    return network


def draw_dropout_from(generator: torch.Generator, network: nn.Module) -> None:
    """Let the dropout of a network, while it is trained, draw from `generator`."""
    for layer in network.modules():
        if isinstance(layer, Dropout):
            layer.generator = generator
