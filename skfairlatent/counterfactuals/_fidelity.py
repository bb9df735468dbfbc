"""Whether decoded images are those of the people they stand for."""

__all__ = ["warn_if_far"]

from typing import Any

import numpy as np
import numpy.typing as npt

from skfairlatent._user_warnings import warn_user
from skfairlatent.encoders._images import ImageSource

# In levels of 255, mean over an image: about what blurs a face so that others are read from it.
FAR = 10.0


def warn_if_far(decoded: npt.NDArray[Any], given: Any, encoder: Any) -> None:
    """Warn if images decoded with the noise that was found in them are not what was given.

    Parameters
    ----------
    decoded : ndarray of shape (n, height, width, channels), uint8
        The originals, without an edit.
    given : images
        What they should be.
    encoder : object
        Whose `n_steps` says how finely noise is found and decoded.
    """
    wanted = ImageSource(given, decoded.shape[1]).read(slice(None))
    distance = float(np.abs(decoded.astype(np.float32) - wanted).mean())
    if distance > FAR:
        n_steps = getattr(encoder, "n_steps", None)
        now = "" if n_steps is None else f" (now {n_steps})"
        warn_user(
            f"Without any edit, decoded images differ from those given by {distance:.0f} of 255 "
            "levels on average, and what is read from decoded images is in part this difference. "
            f"Raise n_steps of the encoder{now}."
        )
