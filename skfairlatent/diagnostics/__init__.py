"""Diagnostics of the latent space: leakage, effective rank, redundancy, and advice."""

from skfairlatent.diagnostics._diagnose import (
    LatentDiagnostics,
    diagnose,
)
from skfairlatent.diagnostics._probes import (
    group_leakage,
)
from skfairlatent.diagnostics._redundancy import (
    effective_rank,
    off_diagonal_mass,
)

__all__ = [
    "LatentDiagnostics",
    "diagnose",
    "effective_rank",
    "group_leakage",
    "off_diagonal_mass",
]
