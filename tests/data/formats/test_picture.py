"""Pictures of all formats and modes as pixels, and what is wrong with those that cannot be read."""

import os
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from tests.support.pictures import png, shape

from epochd.data.formats import picture
from epochd.data.formats.picture import PictureError

HALVES = np.zeros((8, 12), np.uint8)
HALVES[:, 6:] = 200


def encoded(image, form, **options):
    content = BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"])
def test_each_format_gives_the_same_picture(form):
    image = Image.fromarray(np.stack([HALVES, HALVES // 2, 255 - HALVES], -1))
    found = picture.decode(encoded(image, form), 8, 12, "rgb")
    assert (found.shape, found.dtype) == ((8, 12, 3), np.uint8)
    np.testing.assert_allclose(found[:, [1, -2]].astype(int), np.asarray(image)[:, [1, -2]].astype(int), atol=12)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(HALVES),
        Image.fromarray(HALVES).convert("RGB"),
        Image.fromarray(HALVES).convert("P"),
        Image.fromarray(HALVES.astype(np.uint16) * 257),
        Image.fromarray(HALVES).convert("LA"),
        Image.fromarray(HALVES).convert("RGBA"),
    ],
    ids=lambda image: image.mode,
)
@pytest.mark.parametrize("mode", ["grey", "rgb"])
def test_each_mode_of_png_has_the_same_brightness(image, mode):
    found = picture.decode(png(image), 8, 12, mode)
    assert (np.abs(found.astype(int) - HALVES[:, :, None]) <= 2).all()


def test_black_and_white_and_print_colours_are_read():
    bits = picture.decode(png(Image.fromarray(HALVES).convert("1", dither=Image.Dither.NONE)), 8, 12, "grey")
    assert set(np.unique(bits)) == {0, 255}
    cmyk = encoded(Image.new("RGB", (16, 16), (200, 30, 60)).convert("CMYK"), "JPEG", quality=95)
    np.testing.assert_allclose(picture.decode(cmyk, 2, 2, "rgb")[0, 0].astype(int), [200, 30, 60], atol=8)
    assert abs(int(picture.decode(cmyk, 2, 2, "grey")[0, 0, 0]) - (200 * 299 + 30 * 587 + 60 * 114) // 1000) < 8


def test_transparent_pixels_are_white_whatever_colour_they_hide():
    hidden = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert (picture.decode(png(hidden), 4, 4, "rgb") == 255).all()
    palette = Image.new("P", (4, 4), 3)
    palette.putpalette([0, 0, 0] * 256)
    content = encoded(palette, "PNG", transparency=3)
    assert (picture.decode(content, 4, 4, "grey") == 255).all()


def test_a_picture_is_turned_as_its_camera_says():
    image = Image.fromarray(np.kron(HALVES, np.ones((8, 8), np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: a quarter turn clockwise shows the picture upright
    found = picture.decode(encoded(image, "JPEG", exif=exif, quality=95), 12, 8, "grey")[..., 0]
    assert found[1].mean() < 10
    assert found[-2].mean() > 190


def test_a_large_picture_is_made_smaller_without_losing_lines():
    stripes = np.zeros((640, 640), np.uint8)
    stripes[:, ::2] = 255
    for content in (png(Image.fromarray(stripes)), encoded(Image.fromarray(stripes), "JPEG", quality=98)):
        found = picture.decode(content, 10, 10, "grey")
        assert (np.abs(found.astype(int) - 127) < 4).all()


def test_the_first_frame_of_an_animation_counts():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("blue", "red")]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert picture.decode(content, 2, 2, "rgb")[0, 0].tolist() == [0, 0, 255]


def png_header(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"hello, this is text", "is not a PNG, JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a PNG, JPEG"),
        (png(shape("circle", 1))[:300], "is damaged"),
        (png_header(30_000, 30_000), "has too many pixels; the limit is 80,000,000"),
        (png_header(9_000, 9_000), "has 9,000 x 9,000 pixels"),
        (png_header(5, 5), "is damaged"),
        (encoded(Image.new("F", (3, 3)), "TIFF"), "floating-point"),
    ],
)
def test_what_is_wrong_with_a_picture_is_said(content, reason):
    with pytest.raises(PictureError, match=reason):
        picture.decode(content, 4, 4, "rgb")


def test_only_the_header_of_a_file_is_checked(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(shape("circle", 1)))
    picture.check(path)
    path.write_bytes(b"text")
    for name, reason in (("a.png", "is not a PNG"), ("b.png", "does not exist"), (".", "is not a file")):
        with pytest.raises(PictureError, match=reason):
            picture.check(tmp_path / name)
        with pytest.raises(PictureError, match=reason):
            picture.decode(picture.read(tmp_path / name), 4, 4, "rgb")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_picture_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for look in (picture.check, picture.read):
        with pytest.raises(PictureError, match="is not a file"):
            look(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about odd metadata
def test_random_damage_is_an_error_of_the_picture_or_none():
    random = np.random.default_rng(5)
    for form in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"):
        content = np.frombuffer(encoded(shape("cross", 3), form), np.uint8)
        for _ in range(40):
            damaged = content.copy()
            damaged[random.integers(0, len(damaged), 3)] = random.integers(0, 256, 3)
            try:
                assert picture.decode(damaged.tobytes(), 6, 6, "rgb").shape == (6, 6, 3)
            except PictureError:
                continue
