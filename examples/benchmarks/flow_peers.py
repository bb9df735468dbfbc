"""The same architecture out of other libraries' parts, for ``speed.py``.

Every model maps rows of shape (n, d) to z of shape (n, d) and a log-determinant of shape (n,),
in float32: `n_blocks` times a scale and shift of every feature, a linear map that mixes all
features, and an affine coupling whose conditioner has two hidden layers. Of a library that offers
several linear maps the fastest to train is taken. A library that is not installed
raises ImportError when its model is built.
"""

from importlib import import_module

import torch
from torch import nn


def normflows_lu(d, n_blocks, hidden):
    """ActNorm, LULinearPermute and AffineCouplingBlock."""
    flows = import_module("normflows").flows
    layers = []
    for _ in range(n_blocks):
        coupling = flows.AffineCouplingBlock(conditioner(d - d // 2, 2 * (d // 2), hidden))
        layers += [flows.ActNorm(d), flows.LULinearPermute(d), coupling]
    # The direction in which LULinearPermute multiplies; in the other it solves.
    return Chain(layers, lambda layer, x: layer.inverse(x))


def freia_fixed(d, n_blocks, hidden):
    """AllInOneBlock with a random rotation that is not learned, so less than ours."""
    return _freia(d, n_blocks, hidden, n_reflections=0)


def freia_learned(d, n_blocks, hidden):
    """AllInOneBlock with a random rotation and 8 learned reflections, as ours."""
    return _freia(d, n_blocks, hidden, n_reflections=8)


def zuko_lu(d, n_blocks, hidden):
    """ElementWiseTransform, LULinearTransform and GeneralCouplingTransform."""
    flows, transforms = import_module("zuko.flows"), import_module("zuko.transforms")
    sizes = {"hidden_features": (hidden, hidden), "activation": nn.ReLU}
    given = torch.arange(d) >= d // 2
    layers = []
    for _ in range(n_blocks):
        start = torch.eye(d) + torch.randn(d, d) / d
        layers += [
            flows.ElementWiseTransform(d),
            flows.UnconditionalTransform(transforms.LULinearTransform, start),
            flows.GeneralCouplingTransform(d, mask=given, **sizes),
        ]
    return Chain(layers, lambda layer, x: layer().call_and_ladj(x))


PEERS = {
    "normflows, LU": normflows_lu,
    "FrEIA, rotation with 8 reflections": freia_learned,
    "FrEIA, fixed rotation (less than ours)": freia_fixed,
    "zuko, LU": zuko_lu,
}


class Chain(nn.Module):
    """Layers one after the other; ``call(layer, x)`` applies one."""

    def __init__(self, layers, call):
        super().__init__()
        self.layers, self.call = nn.ModuleList(layers), call

    def forward(self, x):
        total = 0.0
        for layer in self.layers:
            x, log_det = self.call(layer, x)
            total = total + log_det
        return x, total


def conditioner(n_inputs, n_outputs, hidden):
    """Return the network of a coupling, its last layer at zero."""
    last = nn.Linear(hidden, n_outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    layers = [nn.Linear(n_inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), last]
    return nn.Sequential(*layers)


def _freia(d, n_blocks, hidden, n_reflections):
    block = import_module("FrEIA.modules").AllInOneBlock
    options = {"permute_soft": True, "learned_householder_permutation": n_reflections}

    def subnet(n_inputs, n_outputs):
        return conditioner(n_inputs, n_outputs, hidden)

    layers = [block([(d,)], subnet_constructor=subnet, **options) for _ in range(n_blocks)]
    return Chain(layers, _call_freia)


def _call_freia(layer, x):
    (z,), log_det = layer([x])
    return z, log_det
