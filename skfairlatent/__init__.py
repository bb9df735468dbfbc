"""Fair latent spaces for scikit-learn: mitigate what a model reads of sensitive attributes."""

__version__ = "0.1.0.dev0"

from typing import TYPE_CHECKING

from skfairlatent._lazy_imports import imported_later
from skfairlatent._transformer import FairLatentTransformer

if TYPE_CHECKING:
    from skfairlatent._transformer_cv import FairLatentTransformerCV

__all__ = ["FairLatentTransformer", "FairLatentTransformerCV", "__version__"]

# Where what is imported when it is asked for lies: only these need fairlearn, which takes about a
# quarter of the time that all takes to import.
_LATER = {
    "FairLatentTransformerCV": "skfairlatent._transformer_cv",
    "metrics": "skfairlatent.metrics",
    "selection": "skfairlatent.selection",
}

if not TYPE_CHECKING:  # a type checker would take any name for one of this module
    __getattr__ = imported_later(__name__, _LATER)


def __dir__() -> list[str]:
    return sorted(globals().keys() | _LATER.keys())
