"""Embeddings of generated faces with attributes, for examples without data."""

__all__ = ["make_faces"]

from importlib.resources import files
from numbers import Integral
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.utils import Bunch

from skfairlatent._files.tensors import read_tensors, verify
from skfairlatent.encoders.diffae._model import load_model

WEIGHTS = "faces64"
# Logistic regressions of CelebA's attributes on the codes: ``faces64.py --attributes`` makes it.
ATTRIBUTES = "faces64_attributes.safetensors"
_REMEDY = "install the package again"


def make_faces(n_samples: int = 2000, *, random_state: int | None = 0) -> Bunch:
    """Draw embeddings of generated faces, with attributes.

    Codes are drawn from a normal distribution fitted to the codes of CelebA faces under the
    encoder that ships with the package, and attributes with the probabilities that logistic
    regressions on these codes give. Attributes are correlated as in CelebA, where women are
    called attractive more often than men. The faces show no real person. For non-commercial
    research only.

    Parameters
    ----------
    n_samples : int, default=2000
        Number of faces.

    random_state : int or None, default=0
        Seed; None gives other faces at each call.

    Returns
    -------
    Bunch
        ``data``, ndarray of shape (n_samples, 512), float32: embeddings, which `DiffAEEncoder`
        decodes; ``frame``, DataFrame of n_samples rows: the attributes ``Attractive``, ``Male``,
        ``Smiling`` and ``Young``, each 0 or 1.

    Raises
    ------
    TypeError
        If `n_samples` is not an integer.
    ValueError
        If `n_samples` is below 1.

    See Also
    --------
    DiffAEEncoder : Decodes the embeddings.
    skfairlatent.datasets.make_biased_embeddings : Embeddings whose factors are known.

    Examples
    --------
    >>> from skfairlatent.encoders import make_faces
    >>> faces = make_faces(1000)
    >>> faces.data.shape
    (1000, 512)
    >>> rates = faces.frame.groupby("Male")["Attractive"].mean()
    >>> bool(rates[0] > rates[1] + 0.2)
    True
    """
    if not isinstance(n_samples, Integral) or isinstance(n_samples, bool):
        raise TypeError(f"{n_samples=} is not valid: pass an integer.")
    if n_samples < 1:
        raise ValueError(f"{n_samples=} is not valid: pass an integer >= 1.")
    generator = np.random.default_rng(random_state)
    statistics = load_model(WEIGHTS, None, None).require_statistics(WEIGHTS)
    codes = statistics.sample(n_samples, generator)
    path = Path(str(files("skfairlatent.encoders.diffae") / "weights" / ATTRIBUTES))
    header, tensors = read_tensors(path, _REMEDY)
    verify(path, header, tensors, _REMEDY)
    names = header["attributes"].split()
    likely = expit(codes @ tensors["weights"].numpy().T + tensors["bias"].numpy())
    drawn = (generator.random(likely.shape) < likely).astype(np.int64)
    return Bunch(data=codes, frame=pd.DataFrame(drawn, columns=names))
