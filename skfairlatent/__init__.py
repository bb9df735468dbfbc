"""Fair latent spaces for scikit-learn: mitigate what a model reads of sensitive attributes."""

__version__ = "0.1.0.dev0"

from importlib import import_module
from typing import TYPE_CHECKING

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

    def __getattr__(name: str) -> object:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = import_module(_LATER[name])
        return getattr(module, name, module)


def __dir__() -> list[str]:
    return sorted(globals().keys() | _LATER.keys())
