"""Folders of pictures, drawn by the tests: shapes with noise, and the built-in digits as PNG files."""

from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, ImageDraw

from epochd.data.tables.catalog import open_dataset

SHAPES = ("circle", "cross", "square")
SUFFIXES = ("png", "jpg", "bmp", "webp", "gif", "tif")


def shape(kind: str, number: int, size: int = 20) -> Image.Image:
    """A shape in some colour and place on noise."""
    random = np.random.default_rng([SHAPES.index(kind), number])
    image = Image.fromarray(random.integers(0, 90, (size, size, 3), np.uint8))
    draw, colour = ImageDraw.Draw(image), tuple(random.integers(150, 256, 3).tolist())
    x, y = random.integers(2, 6, 2).tolist()
    box = (x, y, x + 11, y + 11)
    match kind:
        case "circle":
            draw.ellipse(box, outline=colour, width=2)
        case "square":
            draw.rectangle(box, fill=colour)
        case _:
            draw.line(box, fill=colour, width=3)
            draw.line((x + 11, y, x, y + 11), fill=colour, width=3)
    return image


def shapes(folder: Path, rows: int = 60) -> Path:
    """A folder with a folder of pictures for each shape, in all formats; the folder."""
    for number in range(rows):
        kind = SHAPES[number % len(SHAPES)]
        path = folder / kind / f"{number:03}.{SUFFIXES[number // len(SHAPES) % len(SUFFIXES)]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape(kind, number).save(path)
    return folder


def digits(folder: Path, rows: int = 1_797) -> Path:
    """The first built-in digits: a PNG file of 8 x 8 pixels each, and ``digits.csv`` with its path and its label; the
    folder."""
    table = open_dataset("digits", []).read().head(rows)
    pixels = table.drop("target").to_numpy().reshape(-1, 8, 8)
    (folder / "png").mkdir(parents=True, exist_ok=True)
    paths = [f"png/{number}.png" for number in range(len(pixels))]
    for path, picture in zip(paths, pixels, strict=True):
        Image.fromarray((picture * 255 / 16).astype(np.uint8)).save(folder / path)
    pl.DataFrame({"file": paths, "digit": table["target"]}).write_csv(folder / "digits.csv")
    return folder


def png(image: Image.Image) -> bytes:
    content = BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
