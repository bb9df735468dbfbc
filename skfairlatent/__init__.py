"""Fair latent spaces for scikit-learn: mitigate what a model reads of sensitive attributes."""

__version__ = "0.1.0.dev0"

from skfairlatent._transformer import FairLatentTransformer
from skfairlatent._transformer_cv import FairLatentTransformerCV

__all__ = ["FairLatentTransformer", "FairLatentTransformerCV", "__version__"]
