"""An image in the size and the colours in which it is encoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from embplug.pages.pillow import pillow

if TYPE_CHECKING:
    from PIL.Image import Image


Fit: TypeAlias = Callable[[int, int], float]
"""Says by which factor an image of a width and a height is made smaller; 1 keeps it."""


def scaled(image: Image, scale: float) -> Image:
    """Return an image with ``scale`` times as many pixels in both directions, rounded down."""
    if scale == 1:
        return image
    # Palettes and bits have to become colours before they are averaged.
    smooth = image if image.mode in ("L", "RGB", "RGBA", "CMYK") else as_seen(image)
    size = max(1, int(smooth.width * scale)), max(1, int(smooth.height * scale))
    return smooth.resize(size, reducing_gap=2.0)


def as_seen(image: Image) -> Image:
    """Return an image upright, on white, in the mode RGB."""
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode == "I":
        # Scans of 16 bits; Pillow would cut them off at 255.
        levels = np.asarray(image, dtype=np.int64)
        levels = levels >> 8 if levels.max() > 255 else levels
        image = pillow().fromarray(levels.clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = pillow().new("RGBA", image.size, "white")
        image = pillow().alpha_composite(white, image)
    return image if image.mode == "RGB" else image.convert("RGB")
