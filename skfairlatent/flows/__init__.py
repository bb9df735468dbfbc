"""Invertible networks over vectors: the Glow and the layers it is made of."""

from skfairlatent.flows._actnorm import ActNorm
from skfairlatent.flows._base import Bijection
from skfairlatent.flows._coupling import AffineCoupling
from skfairlatent.flows._glow import Glow
from skfairlatent.flows._rotation import Rotation

__all__ = ["ActNorm", "AffineCoupling", "Bijection", "Glow", "Rotation"]
