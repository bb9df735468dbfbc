"""Tiny images drawn for the tests: no real picture is needed or kept."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def _encoded(value, height=6, width=4, suffix=".png"):
    """Return the bytes of an image whose red is ``value``, in a format that loses nothing."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0] = value
    pixels[..., 2] = np.arange(width)
    buffer = io.BytesIO()
    kind = {".png": "PNG", ".jpg": "PNG", ".webp": "WEBP"}[suffix]  # PNG bytes: named as wanted
    Image.fromarray(pixels).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return buffer.getvalue()


def _fill(target, contents, *, as_zip):
    """Write names and bytes into a folder, or into a zip."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    if as_zip:
        with zipfile.ZipFile(target, "w") as archive:
            for name, data in contents.items():
                archive.writestr(name, data)
        return target
    for name, data in contents.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return target


@pytest.fixture
def encoded():
    """Return the function that draws an image."""
    return _encoded


@pytest.fixture
def fill():
    """Return the function that writes files into a folder or a zip."""
    return _fill
