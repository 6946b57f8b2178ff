"""An encoder of images without weights, and images and PDF files to test with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from embplug.encoders import Encoded, EncodedImages
from embplug.methods.token_batch import TokenBatch

DIM = 16
PATCH = 16
"""Pixels of the side of a patch."""

PROMPT = 2
"""Tokens that stand before the patches of each image."""

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "gold": (230, 190, 20)}


class ColourEncoder:
    """Makes a token of the mean colour of each patch of 16 x 16 pixels, and of each word for a colour."""

    spec = "colours"

    def __init__(self) -> None:
        self.sizes: list[list[tuple[int, int]]] = []

    def encode_images(self, images: Sequence[Image.Image]) -> EncodedImages:
        assert all(image.mode == "RGB" for image in images)
        self.sizes.append([image.size for image in images])
        matrices, saliency, grids = [], [], []
        for image in images:
            pixels = np.asarray(image, dtype=np.float32)
            rows, columns = len(pixels) // PATCH, pixels.shape[1] // PATCH
            patches = pixels[: rows * PATCH, : columns * PATCH].reshape(rows, PATCH, columns, PATCH, 3)
            colours = patches.mean(axis=(1, 3)).reshape(-1, 3)
            matrices.append(np.concatenate([_prompt(), tokens_of(colours)]))
            # White paper matters least, the prompt most.
            saliency.append(np.concatenate([np.full(PROMPT, 999), 255 - colours.mean(axis=1)]))
            grids.append((rows, columns, PROMPT))
        return EncodedImages(
            TokenBatch.from_list(matrices),
            saliency=np.concatenate(saliency).astype(np.float32),
            grids=np.array(grids),
        )

    def encode_queries(self, texts: Sequence[str]) -> Encoded:
        words = [[COLOURS[word] for word in text.split()] for text in texts]
        return Encoded(TokenBatch.from_list([tokens_of(np.float32(colours)) for colours in words]))

    encode_documents = encode_queries


class ImagesAlone:
    """The same, without texts."""

    spec = "images-alone"

    def encode_images(self, images: Sequence[Image.Image]) -> EncodedImages:
        return ColourEncoder().encode_images(images)


def tokens_of(colours: np.ndarray) -> np.ndarray:
    """Unit vectors of which those of like colours lie close together."""
    centred = colours / 255 - 0.5
    directions = np.random.default_rng(0).standard_normal((3, DIM))
    vectors = centred @ directions + 0.1
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _prompt() -> np.ndarray:
    return np.eye(DIM, dtype=np.float32)[:PROMPT]


def picture(colour: str, size: tuple[int, int] = (64, 48), box: tuple[int, int] = (16, 16)) -> Image.Image:
    """White paper with a coloured square, whose upper left corner is ``box``."""
    image = Image.new("RGB", size, "white")
    image.paste(COLOURS[colour], (*box, box[0] + 32, box[1] + 32))
    return image


def write_pdf(path: Path, texts: Sequence[str | None], *, encrypted: bool = False) -> Path:
    """Write a PDF of one page of 200 x 100 points for each text; None is a page that is damaged."""
    kids = " ".join(f"{10 + 2 * i} 0 R" for i in range(len(texts)))
    objects = {
        1: "<< /Type /Catalog /Pages 2 0 R >>",
        2: f"<< /Type /Pages /Kids [{kids}] /Count {len(texts)} /MediaBox [0 0 200 100] >>",
        3: "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    }
    for i, text in enumerate(texts):
        if text is not None:
            content = f"BT /F1 24 Tf 20 40 Td ({text}) Tj ET"
            objects[10 + 2 * i] = (
                f"<< /Type /Page /Parent 2 0 R /Contents {11 + 2 * i} 0 R "
                "/Resources << /Font << /F1 3 0 R >> >> >>"
            )
            objects[11 + 2 * i] = f"<< /Length {len(content)} >>\nstream\n{content}\nendstream"
    trailer = "/Root 1 0 R"
    if encrypted:
        noise = "41" * 32
        objects[4] = f"<< /Filter /Standard /V 1 /R 2 /P -4 /O <{noise}> /U <{noise}> >>"
        trailer += " /Encrypt 4 0 R /ID [<00> <00>]"
    written, offsets = b"%PDF-1.4\n", {}
    for number, body in objects.items():
        offsets[number] = len(written)
        written += f"{number} 0 obj\n{body}\nendobj\n".encode()
    size = max(objects) + 1
    rows = [
        f"{offsets[number]:010} 00000 n \n" if number in offsets else "0000000000 65535 f \n"
        for number in range(size)
    ]
    start = len(written)
    written += f"xref\n0 {size}\n{''.join(rows)}trailer\n<< /Size {size} {trailer} >>\n".encode()
    path.write_bytes(written + f"startxref\n{start}\n%%EOF\n".encode())
    return path
