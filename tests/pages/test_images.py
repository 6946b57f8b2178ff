"""Images of users: decoded as they are seen, small enough, or refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from embplug.errors import ImageError, InvalidArgumentError
from embplug.pages import PageImage
from tests.images import picture


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PIL", "path", "str", "bytes", "bytearray"])
def test_an_image_comes_in_any_form(tmp_path, kind):
    image, path = picture("red"), tmp_path / "red.png"
    image.save(path)
    source = {
        "PIL": image,
        "path": path,
        "str": str(path),
        "bytes": path.read_bytes(),
        "bytearray": bytearray(path.read_bytes()),
    }[kind]
    page = PageImage(source)
    assert not page.is_blank
    loaded = page.load()
    assert loaded.mode == "RGB"
    np.testing.assert_array_equal(loaded, image)


def test_transparency_is_white_paper():
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.putpixel((2, 3), (10, 20, 30, 255))
    pixels = np.asarray(PageImage(encoded(image)).load())
    assert pixels[3, 2].tolist() == [10, 20, 30] and pixels[0, 0].tolist() == [255, 255, 255]


def test_an_image_is_upright():
    image = Image.new("RGB", (20, 10), "white")
    exif = Image.Exif()
    exif[0x0112] = 6
    assert PageImage(encoded(image, "JPEG", exif=exif)).load().size == (10, 20)


def test_sixteen_bits_are_not_cut_off():
    levels = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    pixels = np.asarray(PageImage(encoded(Image.fromarray(levels))).load())
    np.testing.assert_array_equal(pixels[..., 0], levels >> 8)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "CMYK", "I;16", "F"])
def test_every_mode_becomes_rgb(mode):
    source = picture("blue").convert("L" if mode == "I;16" else mode)
    assert PageImage(source).load().mode == "RGB"
    small = PageImage(source, max_pixels=300, on_large="downscale").load()
    assert small.mode == "RGB" and small.size == (20, 15)


def test_blank_paper_may_be_any_colour_and_a_little_uneven():
    noise = np.random.default_rng(0).integers(200, 208, (30, 20, 3), dtype=np.uint8)
    assert PageImage(Image.fromarray(noise)).is_blank
    assert PageImage(Image.new("1", (9, 9))).is_blank
    noise[7, 8] = 190
    assert not PageImage(Image.fromarray(noise)).is_blank


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_large_image_is_refused_or_made_smaller(kind):
    content = encoded(picture("red", (800, 600), (200, 200)), kind)
    with pytest.raises(ImageError, match=r"at most 1,200 pixels \(max_pixels\).*got 800 x 600 pixels"):
        PageImage(content, max_pixels=1200).check()
    small = PageImage(content, max_pixels=1200, on_large="downscale").load()
    assert small.size == (40, 30)
    assert np.asarray(small)[10, 10, 0] - np.asarray(small)[10, 10, 1].astype(int) > 100


def test_the_users_own_image_is_left_as_it_is(tmp_path):
    path = tmp_path / "large.jpg"
    picture("red", (800, 600)).save(path)
    with Image.open(path) as image:
        PageImage(image, max_pixels=1200, on_large="downscale").load()
        assert image.size == (800, 600)
    mine = picture("red")
    PageImage(mine).load().paste("black", (0, 0, 9, 9))
    assert mine.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"words", "expected an image that Pillow reads, got a file of another kind"),
        (encoded(picture("red", (800, 600)))[:900], "expected an image that can be decoded"),
    ],
    ids=["text", "cut off"],
)
def test_what_cannot_be_decoded_is_refused(content, message):
    with pytest.raises(ImageError, match=message):
        PageImage(content).check()


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ImageError, match="expected a file that can be read, got No such file"):
        PageImage(tmp_path / "none.png").check()
    with pytest.raises(ImageError, match="expected a file that can be read, got Is a directory"):
        PageImage(tmp_path).check()


def test_a_tiff_of_several_pages_is_not_cut_to_its_first(tmp_path):
    path = tmp_path / "scan.tif"
    picture("red").save(path, save_all=True, append_images=[picture("blue")])
    with pytest.raises(ImageError, match="read_pages reads files of several pages, got 2 pages"):
        PageImage(path).check()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": 7}, "source: expected a PIL image"),
        ({"source": b"", "max_pixels": 0}, "max_pixels: expected an integer of at least 1"),
        ({"source": b"", "on_large": "crop"}, "on_large: expected 'raise' or 'downscale'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        PageImage(**arguments)


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ImageError, match=r"^image: expected an image with pixels, got 0 x 5 pixels"):
        PageImage(Image.new("RGB", (0, 5))).check()
