"""Faces of nobody with attributes, for examples that need no data."""

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
    """Draw embeddings of faces of nobody, with the attributes that such faces have.

    Codes are drawn from the normal distribution of the codes of CelebA's faces under the encoder
    that ships with the package, and attributes by the probabilities that logistic
    regressions on these codes give. Attributes go together as they do in CelebA: women are called
    attractive more often than men. Nobody is shown; for non-commercial research only.

    Parameters
    ----------
    n_samples : int, default=2000
        How many.

    random_state : int or None, default=0
        Seed; None for other faces every time.

    Returns
    -------
    Bunch
        ``data``, ndarray of shape (n_samples, 512), float32, which `DiffAEEncoder` decodes;
        ``frame``, DataFrame with the columns ``Attractive``, ``Male``, ``Smiling`` and ``Young``
        of 0 and 1.

    Raises
    ------
    TypeError
        If `n_samples` is no integer.
    ValueError
        If it is below 1.

    See Also
    --------
    DiffAEEncoder : Decodes them.
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
        raise TypeError(f"{n_samples=}: expected how many faces, an integer.")
    if n_samples < 1:
        raise ValueError(f"{n_samples=}: expected >= 1.")
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
