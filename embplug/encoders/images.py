"""The protocol of encoders of images, and the vectors that such an encoder returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from embplug.encoders.base import Encoded, Encoder

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, eq=False)
class EncodedImages(Encoded):
    """Vectors of images.

    ``tokens``, ``dense`` and ``saliency`` are those of :class:`Encoded`, with one item for each image. The
    saliency of a patch is the attention that the model pays to it.

    Attributes
    ----------
    grids : int64 array of shape (n_images, 3), default=None
        For each image: the rows and the columns of its patches, and the number of tokens before the first
        patch, such as those of a prompt. The patches follow each other row by row; the tokens after them are
        no patches. ``None`` if the tokens of the encoder lie on no grid.
    """

    grids: NDArray[np.int64] | None = None


@runtime_checkable
class ImageEncoder(Protocol):
    """Protocol of encoders of images.

    An object with these two attributes is an encoder of images. It may be an :class:`Encoder` of texts too,
    and has to be one where texts find images.

    Attributes
    ----------
    spec : str
        Name by which :func:`~embplug.load_encoder` loads the encoder again. A recipe stores it.
    """

    spec: str

    def encode_images(self, images: Sequence[Image]) -> EncodedImages:
        """Encode images, of documents or of queries.

        Parameters
        ----------
        images : sequence of PIL.Image.Image
            At least one image, in the mode ``"RGB"``, of any size.

        Returns
        -------
        EncodedImages
            Vectors of the images.
        """
        ...


def encodes_images(encoder: Any) -> TypeGuard[ImageEncoder]:
    """Return whether an encoder takes images."""
    return callable(getattr(encoder, "encode_images", None))


def encodes_texts(encoder: Any) -> TypeGuard[Encoder]:
    """Return whether an encoder takes texts."""
    return all(callable(getattr(encoder, name, None)) for name in ("encode_documents", "encode_queries"))
