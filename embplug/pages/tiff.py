"""Pages of TIFF files, in which scanners keep several."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embplug.common.checks import checked_integer
from embplug.pages.pillow import pillow, readable
from embplug.pages.scaling import Fit, scaled

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class TiffPage:
    """A page of a TIFF file, which is decoded when it is needed.

    Parameters
    ----------
    path : str or path
        The file.
    number : int
        Number of the page, from 1.

    Raises
    ------
    InvalidArgumentError
        ``number`` is no integer of at least 1.
    """

    path: str | os.PathLike[str]
    number: int

    def __post_init__(self) -> None:
        checked_integer(self.number, "number", 1)

    def render(self, fit: Fit | None = None) -> Image:
        """Decode the page.

        Parameters
        ----------
        fit : callable, default=None
            Returns a factor for the width and the height in pixels. None is 1.

        Returns
        -------
        PIL.Image.Image
            The page.

        Raises
        ------
        ImageError
            The file cannot be decoded, or has no such page.
        """
        with readable(), pillow().open(self.path) as file:
            file.seek(self.number - 1)
            scale = 1.0 if fit is None else fit(*file.size)
            image: Image = scaled(file.copy(), scale)
        return image


def frame_count(path: str | os.PathLike[str]) -> int:
    """Count the pages of a TIFF file.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    int
        Number of pages.

    Raises
    ------
    ImageError
        The file is no image, or is damaged.
    """
    with readable(), pillow().open(path) as file:
        return int(getattr(file, "n_frames", 1))
