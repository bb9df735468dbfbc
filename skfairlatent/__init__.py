"""Fair latent spaces for scikit-learn: mitigate what a model reads of sensitive attributes."""

__version__ = "0.1.0.dev0"

from typing import TYPE_CHECKING

from skfairlatent._transformer import FairLatentTransformer

if TYPE_CHECKING:
    from skfairlatent._transformer_cv import FairLatentTransformerCV

__all__ = ["FairLatentTransformer", "FairLatentTransformerCV", "__version__"]


def __getattr__(name: str) -> object:
    # fairlearn, which only the search needs, takes as long to import as all the rest.
    if name == "FairLatentTransformerCV":
        from skfairlatent._transformer_cv import FairLatentTransformerCV  # noqa: PLC0415

        return FairLatentTransformerCV
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), "FairLatentTransformerCV"]
