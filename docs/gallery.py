"""The order of the gallery, in which a newcomer reads, and what its examples share."""

from typing import Any

import sklearn

DEFAULTS = sklearn.get_config()

READING_ORDER = (
    "plot_quickstart.py",
    "plot_tables.py",
    "plot_grid_search.py",
    "plot_several_attributes.py",
    "plot_certificate.py",
    "plot_displays.py",
    "plot_audit.py",
    "plot_encoders.py",
    "plot_counterfactuals.py",
    "skrub_tables.py",
    "celeba_embeddings.py",
    "celeba_images.py",
    "celeba_vae.py",
    "audit_adult.py",
    "audit_faces.py",
)


class ReadingOrder:
    """Sort key of sphinx-gallery; an example that is not listed comes last."""

    def __init__(self, src_dir: str) -> None:
        self.src_dir = src_dir

    def __call__(self, filename: str) -> tuple[int, str]:
        listed = filename in READING_ORDER
        return (READING_ORDER.index(filename) if listed else len(READING_ORDER), filename)


def forget_settings(_gallery: Any, _file: str) -> None:
    """Undo the ``sklearn.set_config`` of the example before: all run in one process."""
    sklearn.set_config(**DEFAULTS)
