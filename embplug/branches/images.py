"""Images of documents and queries as users pass them, checked before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from embplug.encoders import Encoded, EncodedImages, Encoder, encodes_images, encodes_texts
from embplug.errors import ImageError, InvalidArgumentError, LengthMismatchError
from embplug.pages import PageImage

IMAGES_AT_ONCE = 8
"""Images that are decoded at a time; a page of 300 dpi takes 26 MB."""


def page_image(image: Any, argument: str, on_large: Literal["raise", "downscale"] = "raise") -> PageImage:
    """Return an image of a user as one that is decoded when it is needed.

    Raises
    ------
    InvalidArgumentError
        It is none; the error names ``argument``.
    """
    if isinstance(image, PageImage):
        return image
    try:
        return PageImage(image, on_large=on_large)
    except InvalidArgumentError as error:
        raise type(error)(argument, error.expected, error.got) from None


@contextmanager
def naming_image(image: PageImage, argument: str) -> Iterator[None]:
    """Make the errors of an image name the argument, and the image.

    Raises
    ------
    ImageError
        The image cannot be decoded, or is too large.
    """
    try:
        yield
    except ImageError as error:
        raise ImageError(argument, error.expected, f"{error.got} in {image!r}") from error


def check_images(images: Any, count: int) -> list[PageImage]:
    """Check the images of a batch; each is decoded once, unless that was done.

    Raises
    ------
    LengthMismatchError
        There are not ``count`` images.
    InvalidArgumentError
        An image is wrong. The error, often an ``ImageError``, names it.
    """
    if isinstance(images, str | bytes) or not isinstance(images, Sequence):
        raise InvalidArgumentError("images", "a sequence, one item per document", type(images).__name__)
    if len(images) != count:
        raise LengthMismatchError("images", f"{count} images, one for each document", len(images))
    pages = [page_image(image, f"images[{i}]") for i, image in enumerate(images)]
    for i, page in enumerate(pages):
        with naming_image(page, f"images[{i}]"):
            if page.is_blank:
                raise ImageError("image", "an image that is not blank", "one colour")
    return pages


def text_encoder(encoder: Encoder) -> Encoder:
    """Return an encoder, if it encodes texts.

    Raises
    ------
    InvalidArgumentError
        It encodes images alone.
    """
    if not encodes_texts(encoder):
        raise InvalidArgumentError("encoder", "one that encodes texts", f"{encoder.spec!r}, which does not")
    return encoder


def checked_encoded(encoded: Any, spec: str) -> Encoded:
    """Return what an encoder makes of texts, if it is ``Encoded``.

    Raises
    ------
    InvalidArgumentError
        It is something else.
    """
    if not isinstance(encoded, Encoded):
        expected = "one whose encode_documents and encode_queries return embplug.Encoded"
        raise InvalidArgumentError("encoder", expected, f"{type(encoded).__name__} from {spec!r}")
    return encoded


def encode_images(encoder: Encoder, images: Sequence[PageImage]) -> EncodedImages:
    """Let an encoder encode images.

    Raises
    ------
    InvalidArgumentError
        It encodes texts alone, or returns something else than ``EncodedImages``.
    ImageError
        An image cannot be decoded any more; the error names ``images[i]``.
    """
    if not encodes_images(encoder):
        raise InvalidArgumentError("encoder", "one that encodes images", f"{encoder.spec!r}, which does not")
    decoded = []
    for i, image in enumerate(images):
        with naming_image(image, f"images[{i}]"):
            decoded.append(image.load())
    encoded = encoder.encode_images(decoded)
    if not isinstance(encoded, EncodedImages):
        expected = "one whose encode_images returns embplug.EncodedImages"
        raise InvalidArgumentError("encoder", expected, f"{type(encoded).__name__} from {encoder.spec!r}")
    return encoded
