"""An image as a user passes it, checked without being kept, and decoded when it is encoded."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args, runtime_checkable

import numpy as np

from embplug.common.checks import checked_integer
from embplug.common.validation import short_repr
from embplug.errors import ImageError, InvalidArgumentError
from embplug.pages.pillow import pillow, readable
from embplug.pages.scaling import Fit, as_seen, scaled

if TYPE_CHECKING:
    from PIL.Image import Image

OnLarge: TypeAlias = Literal["raise", "downscale"]
"""What happens to an image of more than ``max_pixels`` pixels."""

MAX_PIXELS = 50_000_000
"""Pixels of an A4 page at 720 dpi; a model reads a few million at most."""

BLANK_RANGE = 8
"""Levels of 256 that the lightest and the darkest pixel of a blank image differ by at most."""

IMAGE = "a PIL image, the path or the bytes of an image file, or a page of a PDF"


@runtime_checkable
class Rendered(Protocol):
    """An image that is computed in the size in which it is needed, such as a page of a PDF."""

    def render(self, fit: Fit | None = None) -> Image:
        """Compute the image, smaller by the factor that ``fit`` returns for its width and height."""
        ...


ImageLike: TypeAlias = "Image | str | os.PathLike[str] | bytes | Rendered | PageImage"


class PageImage:
    """An image that is decoded when it is needed, and not kept.

    Parameters
    ----------
    source : PIL.Image.Image, path, bytes or PdfPage
        The image, the path or the bytes of an image file, or a page of a PDF.
    max_pixels : int, default=50_000_000
        Number of pixels above which the image is too large.
    on_large : {"raise", "downscale"}, default="raise"
        What happens to an image that is too large. ``"downscale"`` makes it smaller, in the same proportions.

    Raises
    ------
    InvalidArgumentError
        An argument is of another kind.
    MissingExtraError
        Pillow is not installed.

    Examples
    --------
    >>> from PIL import Image
    >>> from embplug.pages import PageImage
    >>> image = PageImage(Image.new("L", (300, 200), 255))
    >>> image.load().mode, image.is_blank
    ('RGB', True)
    """

    def __init__(
        self, source: ImageLike, *, max_pixels: int = MAX_PIXELS, on_large: OnLarge = "raise"
    ) -> None:
        check_limits(max_pixels, on_large)
        if isinstance(source, bytearray | memoryview):
            source = bytes(source)
        if not isinstance(source, pillow().Image | str | os.PathLike | bytes | Rendered):
            raise InvalidArgumentError("source", IMAGE, short_repr(source))
        self.source = source
        self.max_pixels = max_pixels
        self.on_large = on_large
        self._blank: bool | None = None

    def __repr__(self) -> str:
        source = f"{len(self.source)} bytes" if isinstance(self.source, bytes) else short_repr(self.source)
        return f"PageImage({source})"

    @property
    def is_blank(self) -> bool:
        """Whether all pixels have nearly the same colour. Reading it decodes the image once.

        Raises
        ------
        ImageError
            The image cannot be decoded, or is too large.
        """
        self.check()
        assert self._blank is not None
        return self._blank

    def check(self) -> None:
        """Decode the image once, unless that was done.

        Raises
        ------
        ImageError
            The image cannot be decoded, or is too large. ``argument`` is ``"image"``.
        """
        if self._blank is None:
            self.load()

    def load(self) -> Image:
        """Decode the image.

        Returns
        -------
        PIL.Image.Image
            The image as it is seen: upright, on white, in the mode ``"RGB"``.

        Raises
        ------
        ImageError
            The image cannot be decoded, or is too large. ``argument`` is ``"image"``.
        """
        with readable():
            if isinstance(self.source, Rendered):
                image = as_seen(self.source.render(self._scale))
            elif isinstance(self.source, str | os.PathLike | bytes):
                with self._opened() as opened:
                    image = as_seen(scaled(opened, self._scale(*opened.size)))
            else:
                image = as_seen(scaled(self.source, self._scale(*self.source.size)))
        if self._blank is None:
            lowest, highest = zip(*image.getextrema(), strict=True)
            self._blank = all(np.subtract(highest, lowest) <= BLANK_RANGE)
        return image

    @contextmanager
    def _opened(self) -> Iterator[Image]:
        is_bytes = isinstance(self.source, bytes)
        file = io.BytesIO(self.source) if is_bytes else os.fspath(self.source)  # type: ignore[arg-type]
        with pillow().open(file) as opened:
            frames = getattr(opened, "n_frames", 1)
            if frames > 1 and opened.format == "TIFF":
                expected = "one image; embplug.pages.read_pages reads files of several pages"
                raise ImageError("image", expected, f"{frames} pages")
            scale = self._scale(*opened.size)
            if scale < 1:
                # A JPEG is decoded in an eighth, a quarter or a half of its size, if that is enough.
                opened.draft(None, (int(opened.width * scale), int(opened.height * scale)))
            yield opened

    def _scale(self, width: int, height: int) -> float:
        """Factor of both sides at which the image is not too large."""
        pixels = width * height
        if not pixels:
            raise ImageError("image", "an image with pixels", f"{width} x {height} pixels")
        if pixels <= self.max_pixels:
            return 1.0
        if self.on_large == "raise":
            expected = f"at most {self.max_pixels:,} pixels (max_pixels), or on_large='downscale'"
            raise ImageError("image", expected, f"{width} x {height} pixels")
        return float(np.sqrt(self.max_pixels / pixels))


def check_limits(max_pixels: Any, on_large: Any) -> None:
    """Check the arguments that say which images are too large.

    Raises
    ------
    InvalidArgumentError
        ``max_pixels`` is no integer of at least 1, or ``on_large`` is no such name.
    """
    checked_integer(max_pixels, "max_pixels", 1)
    if on_large not in get_args(OnLarge):
        raise InvalidArgumentError("on_large", "'raise' or 'downscale'", short_repr(on_large))
