"""Pictures: files of PNG, JPEG, BMP, GIF, WebP and TIFF as pixels, by Pillow.

Only these formats are tried, because some of Pillow's others start other programs. A picture is bounded in bytes and in
pixels before any of it is decoded: a small file can unpack to any size.
"""

import warnings
from io import BytesIO
from pathlib import Path
from stat import S_ISREG
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from epochd.core.datasets import PICTURE_SUFFIXES
from epochd.data.formats.errors import short_message

Mode = Literal["grey", "rgb"]
Pixels = npt.NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
SUFFIXES = PICTURE_SUFFIXES
MAX_BYTES, MAX_PIXELS = 256 << 20, 80_000_000
"""The largest file, and the largest picture: 80 megapixels take 240 MB."""
CHANNELS: dict[Mode, int] = {"grey": 1, "rgb": 3}
BACKGROUND = "white"
"""What is seen behind transparent pixels."""
DRAFT = 2
"""JPEG files are decoded at a fraction of their size, if that is at least so many times the wanted one."""
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is checked instead
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # of odd metadata, in the log of a server


class PictureError(Exception):
    """Why a picture cannot be read; completes "row 7: the picture 'a.png' …"."""


def read(path: Path) -> bytes:
    """The content of a picture's file. Raises PictureError."""
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise PictureError("is not a file")
        if status.st_size > MAX_BYTES:
            raise PictureError(f"has {status.st_size:,} bytes; the limit is {MAX_BYTES:,}")
        return path.read_bytes()
    except FileNotFoundError:
        raise PictureError("does not exist") from None
    except OSError as error:
        raise PictureError(f"cannot be opened ({error.strerror or error})") from None


def check(path: Path) -> None:
    """Read the header of a picture's file. Raises PictureError."""
    try:
        if not S_ISREG(path.stat().st_mode):
            raise PictureError("is not a file")
        with path.open("rb") as file, _opened(file, path.stat().st_size):
            pass
    except FileNotFoundError:
        raise PictureError("does not exist") from None
    except OSError as error:
        raise PictureError(f"cannot be opened ({error.strerror or error})") from None


def decode(content: bytes, height: int, width: int, mode: Mode) -> Pixels:
    """The pixels of the first frame, turned as its EXIF data say and resized with antialiasing: uint8 (height, width,
    channels). Raises PictureError."""
    with _opened(BytesIO(content), len(content)) as image:
        try:
            most = DRAFT * max(width, height)  # of both sides: the picture may have to be turned
            image.draft("L" if mode == "grey" else "RGB", (most, most))
            plain = _plain(ImageOps.exif_transpose(image), mode)
            small = plain.resize((width, height), Image.Resampling.BILINEAR)
        except Exception as error:  # damaged files raise errors of all kinds
            raise PictureError(f"is damaged ({short_message(error)})") from None
    return np.asarray(small, np.uint8).reshape(height, width, CHANNELS[mode])


def _opened(file: object, size: int) -> Image.Image:
    """A picture of which only the header has been read."""
    if size > MAX_BYTES:
        raise PictureError(f"has {size:,} bytes; the limit is {MAX_BYTES:,}")
    try:
        image = Image.open(file, formats=FORMATS)  # type: ignore[arg-type]
    except UnidentifiedImageError:
        what = "is empty" if size == 0 else "is not a PNG, JPEG, BMP, GIF, WebP or TIFF file, or is damaged"
        raise PictureError(what) from None
    except BOMBS:
        raise PictureError(f"has too many pixels; the limit is {MAX_PIXELS:,}") from None
    except Exception as error:  # damaged files raise errors of all kinds
        raise PictureError(f"is damaged ({short_message(error)})") from None
    if image.width * image.height > MAX_PIXELS:
        raise PictureError(f"has {image.width:,} x {image.height:,} pixels; the limit is {MAX_PIXELS:,} in all")
    return image


def _plain(image: Image.Image, mode: Mode) -> Image.Image:
    """The picture in 8 bits, grey or RGB: 16 bits are scaled down, transparent pixels are on BACKGROUND."""
    if image.mode.startswith("I"):
        image = _from_16_bits(image)
    elif image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, whose range is unknown; save them with 8 or 16 bits")
    if image.has_transparency_data:
        visible = image.convert("RGBA")
        behind = Image.new("RGBA", visible.size, BACKGROUND)
        image = Image.alpha_composite(behind, visible)
    wanted = "L" if mode == "grey" else "RGB"
    if wanted == "L" and image.mode not in ("1", "L", "LA"):
        image = image.convert("RGB")  # CMYK and others have no direct way to grey
    return image if image.mode == wanted else image.convert(wanted)


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Pillow would cut off what is above 255."""
    values = np.asarray(image).astype(np.int64)
    if values.size and (values.min() < 0 or values.max() > 65_535):
        raise ValueError("its pixels have more than 16 bits; save them with 8 or 16")
    return Image.fromarray(((values * 255 + 32_767) // 65_535).astype(np.uint8))
