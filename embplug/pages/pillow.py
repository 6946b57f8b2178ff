"""Pillow, imported where it is used, and its errors as one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from embplug.errors import ImageError, InvalidArgumentError, MissingExtraError


def pillow() -> Any:
    """Import the module ``PIL.Image``.

    Raises
    ------
    MissingExtraError
        Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("reading images", "pages") from error
    return Image


@contextmanager
def readable() -> Iterator[None]:
    """Turn what Pillow and the system raise of an image into one error.

    Raises
    ------
    ImageError
        The image cannot be read; ``argument`` is ``"image"``.
    """
    image = pillow()
    try:
        yield
    except InvalidArgumentError:
        raise
    except image.UnidentifiedImageError:
        raise ImageError("image", "an image that Pillow reads", "a file of another kind") from None
    except image.DecompressionBombError as error:
        raise ImageError("image", "an image that Pillow takes for safe", error) from None
    except OSError as error:
        expected = "an image that can be decoded" if error.errno is None else "a file that can be read"
        raise ImageError("image", expected, error.strerror or error) from error
    except (SyntaxError, ValueError, EOFError, ArithmeticError, LookupError, TypeError) as error:
        # Pillow raises all of these for files that are cut off or altered.
        raise ImageError("image", "an image that can be decoded", error) from error
