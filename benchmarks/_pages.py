"""Pages with real patch vectors: PDFs that Debian packages carry, and plots and tables that are drawn."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from embplug import EncodedImages, TokenBatch
from embplug.errors import ImageError
from embplug.pages import PageImage, PdfPage
from embplug.pages.pdf import page_count

ROOT = Path(__file__).resolve().parent.parent / ".cache"
PACKAGES = (
    "asymptote-doc",
    "auto-multiple-choice-doc-pdf",
    "gnuplot-doc",
    "gri-pdf-doc",
    "octave-doc",
    "python-reportlab-doc",
    "r-cran-vcd",
    "xfig-doc",
)
"""Debian packages with manuals that show plots, drawings, tables and text; 25 MB together."""

DPI = 72
"""Enough for the network, which sees a page in 320 x 416 pixels."""

CROP = (0.5, 0.25)
"""Part of the width and of the height of a page that a query shows."""

ZOOM = (0.9, 1.1)
"""A query is smaller or larger than its page, by a random factor between these two."""

CONTRAST = 25
"""Least standard deviation of the grey levels of a query, so that it shows more than paper."""

LEARNED_EVERY = 3
"""Codes learn from the first of so many pages; crops of the others are searched for."""

AT_ONCE = 16


@dataclass(frozen=True, eq=False)
class PageData:
    """Pages and crops of them, encoded.

    Attributes
    ----------
    key : str
        Names the pages, the crops and how they were encoded.
    names : list of str
        Of each page.
    pages, queries : EncodedImages
        Patches of the pages, and of the crops.
    targets : int64 array of shape (n_queries,)
        Page of each crop; codes have not learned from it.
    learned : int64 array
        Pages that codes learn from.
    """

    key: str
    names: list[str]
    pages: EncodedImages
    queries: EncodedImages
    targets: np.ndarray
    learned: np.ndarray


def load_pages(pdf: Path | None, pages: int, drawn: int, patches: int) -> PageData:
    """Pages and queries, encoded once and kept under ``.cache/encoded``.

    Parameters
    ----------
    pdf : Path or None
        Folder of PDFs. None downloads Debian packages, which needs ``apt-get`` and ``dpkg``.
    pages : int
        Number of pages of PDFs, taken evenly from all files.
    drawn : int
        Number of plots and of tables that are drawn.
    patches : int
        Number of patches of a page.
    """
    candidates = dict(_candidates(fetched() if pdf is None else pdf, pages))
    files = {str(page.path): Path(page.path).stat().st_size for page in candidates.values()}
    settings = [
        [*candidates],
        [*files.values()],
        pages,
        drawn,
        patches,
        DPI,
        CROP,
        ZOOM,
        CONTRAST,
        LEARNED_EVERY,
    ]
    key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
    file = ROOT / "encoded" / f"pages-{key}.npz"
    if not file.exists():
        # What is kept tells which pages are not blank: it takes as long to see as a row of the table.
        images: dict[str, Image.Image] = dict(islice(_not_blank(candidates), pages))
        images |= {f"plot {i}": plot(i) for i in range(drawn)}
        images |= {f"table {i}": table(i) for i in range(drawn)}
        _encode(images, patches, file)
    with np.load(file) as arrays:
        encoded = [
            EncodedImages(
                TokenBatch(arrays[f"{kind}.values"], arrays[f"{kind}.offsets"]).to_float32(),
                saliency=arrays[f"{kind}.saliency"],
                grids=arrays[f"{kind}.grids"],
            )
            for kind in ("pages", "queries")
        ]
        names = arrays["names"].tolist()
        return PageData(key, names, *encoded, arrays["targets"], np.arange(0, len(names), LEARNED_EVERY))


def fetched() -> Path:
    """Folder with the PDFs of Debian packages, which are downloaded and unpacked, not installed."""
    folder = ROOT / "pdf"
    if folder.exists():
        return folder
    unpacked = folder.with_suffix(".part")
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir(parents=True)
    subprocess.run(["apt-get", "download", "-q", *PACKAGES], cwd=unpacked, check=True, stdout=sys.stderr)
    for package in sorted(unpacked.glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(package), str(unpacked)], check=True)
        package.unlink()
    for packed in unpacked.rglob("*.pdf.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    unpacked.rename(folder)
    return folder


def _candidates(folder: Path, count: int) -> Iterator[tuple[str, PdfPage]]:
    """Pages of PDFs, as many of each file as it has, and evenly spread; a few more than ``count``."""
    counts = {}
    for file in sorted(folder.rglob("*.pdf")):
        try:
            counts[file] = page_count(file)
        except ImageError as error:
            print(f"{file}: {error}", file=sys.stderr)
    # The smallest number for each file that gives enough pages together.
    most = max(counts.values(), default=0)
    share = next((n for n in range(1, most + 1) if sum(min(n, c) for c in counts.values()) >= count), most)
    for file, own in counts.items():
        for number in np.unique(np.linspace(1, own, min(share, own)).astype(int)).tolist():
            yield f"{file.relative_to(folder)}#{number}", PdfPage(file, number, DPI)


def _not_blank(pages: dict[str, PdfPage]) -> Iterator[tuple[str, Image.Image]]:
    for name, page in pages.items():
        image = page.render()
        if not PageImage(image).is_blank:
            yield name, image


def plot(seed: int) -> Image.Image:
    """A page with a line chart, a bar chart or a cloud of points, and its title."""
    generator = np.random.default_rng(seed)
    image, draw = _paper(f"Figure {seed}: {_words(generator, 4)}")
    left, top, right, bottom = 90, 120, 560, 420 + int(generator.integers(0, 250))
    draw.rectangle((left, top, right, bottom), outline="black")
    colours = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b"]
    generator.shuffle(colours)
    for i in range(1, 6):
        x, y = left + i * (right - left) // 6, top + i * (bottom - top) // 6
        draw.line((x, bottom, x, bottom + 6), fill="black")
        draw.text((x - 8, bottom + 8), f"{generator.integers(0, 100)}", fill="black", font=_font(11))
        draw.line((left - 6, y, left, y), fill="black")
        draw.text((left - 36, y - 6), f"{generator.random():.2f}", fill="black", font=_font(11))
    kind = seed % 3
    for series in range(int(generator.integers(1, 4))):
        colour = colours[series]
        if kind == 0:
            steps = np.cumsum(generator.standard_normal(40))
            heights = np.interp(steps, (steps.min(), steps.max()), (bottom - 15, top + 15))
            xs = np.linspace(left + 5, right - 5, 40)
            draw.line([*zip(xs.tolist(), heights.tolist(), strict=True)], fill=colour, width=2)
        elif kind == 1:
            for x in range(left + 20 + 12 * series, right - 30, 60):
                draw.rectangle((x, generator.integers(top + 20, bottom - 20), x + 10, bottom), fill=colour)
        else:
            centre = generator.uniform((left + 90, top + 60), (right - 90, bottom - 60))
            points = centre + 30 * generator.standard_normal((60, 2))
            for x, y in np.clip(points, (left, top), (right, bottom)):
                draw.ellipse((x - 3, y - 3, x + 3, y + 3), outline=colour)
    return image


def table(seed: int) -> Image.Image:
    """A page with a table of words and numbers, and its title."""
    generator = np.random.default_rng(10_000 + seed)
    image, draw = _paper(f"Table {seed}: {_words(generator, 5)}")
    columns, rows = int(generator.integers(3, 8)), int(generator.integers(8, 28))
    width, height = 500 // columns, int(generator.integers(18, 24))
    ruled, shaded = generator.random(2) < 0.5
    for row in range(rows):
        y = 120 + row * height
        if row == 0 or (shaded and row % 2):
            draw.rectangle((60, y, 60 + columns * width, y + height), fill="#dddddd" if row else "#bbccee")
        for column in range(columns):
            word = _words(generator, 1) if row == 0 or column == 0 else f"{generator.normal(0, 50):.2f}"
            draw.text((64 + column * width, y + 4), word, fill="black", font=_font(11))
            if ruled:
                x = 60 + column * width
                draw.rectangle((x, y, x + width, y + height), outline="black")
    return image


def _paper(title: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (612, 792), "white")
    draw = ImageDraw.Draw(image)
    draw.text((60, 70), title, fill="black", font=_font(18))
    return image, draw


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _words(generator: np.random.Generator, count: int) -> str:
    syllables = ["ba", "lo", "ne", "ri", "tu", "ka", "mi", "so", "ve", "da", "gu", "pe"]
    return " ".join("".join(generator.choice(syllables, 3)) for _ in range(count))


def crop(image: Image.Image, generator: np.random.Generator) -> Image.Image | None:
    """A part of a page that shows something, in another size; None if the page has none."""
    width, height = int(image.width * CROP[0]), int(image.height * CROP[1])
    for _ in range(20):
        x, y = generator.integers(0, image.width - width), generator.integers(0, image.height - height)
        part = image.crop((x, y, x + width, y + height))
        if np.asarray(part.convert("L")).std() > CONTRAST:
            zoom = generator.uniform(*ZOOM)
            return part.resize((int(width * zoom), int(height * zoom)))
    return None


def _encode(images: dict[str, Image.Image], patches: int, file: Path) -> None:
    from _efficientnet import EfficientNetEncoder

    encoder, generator = EfficientNetEncoder(patches), np.random.default_rng(0)
    sources = [*images.values()]
    parts = [
        encoder.encode_images(sources[start : start + AT_ONCE]) for start in range(0, len(sources), AT_ONCE)
    ]
    targets, crops = [], []
    for row, source in enumerate(sources):
        if row % LEARNED_EVERY and (part := crop(source, generator)) is not None:
            targets.append(row)
            crops.append(part)
    few = round(patches * CROP[0] * CROP[1])
    query_parts = [
        encoder.encode_images(crops[start : start + AT_ONCE], few) for start in range(0, len(crops), AT_ONCE)
    ]
    arrays = {**_arrays("pages", parts), **_arrays("queries", query_parts)}
    arrays |= {"targets": np.array(targets), "names": np.array([*images])}
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".part").open("wb") as written:
        np.savez(written, **arrays)
    file.with_suffix(".part").rename(file)


def _arrays(kind: str, parts: Sequence[EncodedImages]) -> dict[str, np.ndarray]:
    tokens = TokenBatch.concat([part.tokens for part in parts if part.tokens is not None])
    return {
        f"{kind}.values": tokens.values.astype(np.float16),
        f"{kind}.offsets": tokens.offsets,
        f"{kind}.saliency": np.concatenate([part.saliency for part in parts if part.saliency is not None]),
        f"{kind}.grids": np.concatenate([part.grids for part in parts if part.grids is not None]),
    }
