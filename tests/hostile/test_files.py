"""Files that crash the library that reads them, or ask for far more memory than they have bytes."""

import gzip
import os
import random
import struct
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import httpx
import polars as pl
import pytest
from tests.hostile.conftest import attacked
from tests.support.running import Running

FRAME = pl.DataFrame(
    {"a": range(40), "b": ["x", "y"] * 20, "c": [i / 7 for i in range(40)], "target": [0, 1] * 20},
    schema_overrides={"a": pl.Int64},
)


def written(write: Callable[[BytesIO], object]) -> bytes:
    buffer = BytesIO()
    write(buffer)
    return buffer.getvalue()


def wide_csv(columns: int) -> bytes:
    row = b",".join(b"%d" % i for i in range(columns))
    return b"\n".join([row.replace(b"0", b"z"), *[row] * 3])


def far_cell() -> bytes:
    """A spreadsheet with one value, in the last row and the last column that the format allows."""
    from xlsxwriter import Workbook  # noqa: PLC0415 - writes a file, nothing else here does

    def write(buffer: BytesIO) -> None:
        with Workbook(buffer) as book:
            sheet = book.add_worksheet()
            sheet.write(0, 0, "a")
            sheet.write(1_048_575, 16_383, 1)

    return written(write)


def zipped_zeros() -> bytes:
    """A spreadsheet whose sheet is 640 MB of spaces, in less than one."""

    def write(buffer: BytesIO) -> None:
        with zipfile.ZipFile(BytesIO(far_cell())) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
            for name in old.namelist():
                if name != "xl/worksheets/sheet1.xml":
                    new.writestr(name, old.read(name))
            with new.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet:
                for _ in range(160):
                    sheet.write(b" " * (4 << 20))

    return written(write)


def many_rows() -> bytes:
    """300 million rows of one value: a few kilobytes of Parquet."""
    frame = pl.select(pl.repeat(0, 300_000_000, dtype=pl.Int8).alias("a"))
    return written(lambda buffer: frame.write_parquet(buffer, compression="zstd", row_group_size=100_000_000))


BOMBS: dict[str, Callable[[], bytes]] = {
    "columns.csv": lambda: wide_csv(1_000_000),
    "line.csv.gz": lambda: gzip.compress(b"a,b\n" + b"1" * 400_000_000, 1),
    "line.ndjson.gz": lambda: gzip.compress(b'{"a": "' + b"1" * 400_000_000 + b'"}', 1),
    "cell.xlsx": far_cell,
    "zeros.xlsx": zipped_zeros,
    "rows.parquet": many_rows,
    "nesting.ndjson": lambda: b'{"a": ' * 100_000 + b"1" + b"}" * 100_000,
    "quote.csv": lambda: b'a,b\n"' + b"1,2\n" * 2_000_000,
    "nothing.parquet": lambda: b"PAR1" + b"\0" * 100 + struct.pack("<I", 2**31 - 1) + b"PAR1",
}


def upload(server: Running, name: str, content: bytes) -> httpx.Response:
    url = f"{server.url}/api/v1/datasets"
    return server.client.post(url, params={"filename": name, "replace": "true"}, content=content, timeout=120)


def validate(server: Running, **config: object) -> httpx.Response:
    return server.client.post("/validate", json={"target_column": "target", **config}, timeout=120)


@pytest.mark.serial
@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.timeout(300)
def test_a_bomb_is_a_problem_of_its_request_only(server: Running, folder: Path, name: str) -> None:
    content = BOMBS[name]()
    (folder / name).write_bytes(content)
    with attacked(server):
        uploaded, checked = upload(server, f"up-{name}", content), validate(server, dataset=name)
    assert uploaded.status_code in (201, 413, 422), uploaded.text[:500]
    assert checked.status_code == 200
    assert not checked.json()["valid"]
    assert server.task(server.start(epochs=1))["state"] in ("pending", "running", "completed")


SEEDS: dict[str, bytes] = {
    "t.parquet": written(FRAME.write_parquet),
    "t.arrow": written(lambda buffer: FRAME.write_ipc(buffer, compression="zstd")),
    "t.csv": FRAME.write_csv().encode(),
    "t.csv.gz": gzip.compress(FRAME.write_csv().encode()),
    "t.ndjson": FRAME.write_ndjson().encode(),
    "t.xlsx": written(FRAME.write_excel),
}


def mutated(content: bytes, random: random.Random) -> bytes:
    """The content with some bytes changed, cut out, repeated, or the end missing."""
    found = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8))):
        place, size = random.randrange(len(found)), random.randrange(1, 9)
        match random.randrange(5):
            case 0:
                found[place] = random.randrange(256)
            case 1:
                found[place] ^= 1 << random.randrange(8)
            case 2:
                found[place : place + size] = random.randbytes(size)
            case 3:
                found[place:place] = found[place : place + size]
            case _ if len(found) > 100:
                del found[place : place + size]
    return bytes(found)


@pytest.mark.serial
@pytest.mark.timeout(7200 if "FUZZ_MUTATIONS" in os.environ else 300)
def test_no_mutated_file_ends_the_server(server: Running, folder: Path, mutations: int, seed: int) -> None:
    print(f"FUZZ_SEED={seed}")
    generator = random.Random(seed)
    pid = server.process.pid
    with attacked(server):
        for number in range(mutations):
            name = generator.choice(list(SEEDS))
            (folder / name).write_bytes(content := mutated(SEEDS[name], generator))
            answer = validate(server, dataset=name) if number % 2 else upload(server, name, content)
            assert answer.status_code in (200, 201, 422), (number, name, answer.text[:500])
    assert server.process.poll() is None
    assert server.process.pid == pid
