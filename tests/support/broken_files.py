"""Files that cannot be read, as people have them: each builder writes one and says what should be told about it."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import xlsxwriter

Case = tuple[str, str]
"""The dataset's name, and a pattern that the problem's message matches."""

BROKEN: dict[str, Callable[[Path], Case]] = {}

TABLE = pl.DataFrame({"a": range(3000), "b": [f"text {i % 70}" for i in range(3000)]})


def case(build: Callable[[Path], Case]) -> Callable[[Path], Case]:
    BROKEN[build.__name__] = build
    return build


def written(folder: Path, name: str, content: bytes | str, message: str) -> Case:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return name, message


def text_of(table: pl.DataFrame) -> bytes:
    return table.write_csv().encode()


def bytes_of(folder: Path, write: str, suffix: str) -> bytes:
    path = folder / f"whole{suffix}"
    getattr(TABLE, write)(path)
    content = path.read_bytes()
    path.unlink()
    return content


@case
def gzip_cut_in_the_middle(folder: Path) -> Case:
    packed = gzip.compress(text_of(TABLE))
    return written(folder, "cut.csv.gz", packed[: len(packed) // 2], "end too early: the file is cut off")


@case
def gzip_without_its_last_bytes(folder: Path) -> Case:
    return written(folder, "cut.tsv.gz", gzip.compress(b"a\tb\n" + b"1\tx\n" * 90_000)[:-4], "end too early")


@case
def gzip_of_json_lines_cut(folder: Path) -> Case:
    return written(folder, "cut.ndjson.gz", gzip.compress(b'{"a": 1}\n' * 90_000)[:-4], "end too early")


@case
def gzip_with_a_damaged_byte(folder: Path) -> Case:
    packed = bytearray(gzip.compress(text_of(TABLE)))
    packed[len(packed) // 2] ^= 255
    return written(folder, "bad.csv.gz", bytes(packed), "the compressed data are damaged")


@case
def zstd_cut(folder: Path) -> Case:
    path = folder / "whole.zst"
    TABLE.lazy().sink_csv(path, compression="zstd")
    packed = path.read_bytes()
    path.unlink()
    return written(folder, "cut.csv.zst", packed[: len(packed) // 2], "end too early: the file is cut off")


@case
def parquet_that_is_none(folder: Path) -> Case:
    return written(folder, "text.parquet", "a,b\n1,2\n" * 9, r"not a Parquet file \(it begins with b'a,b\\n'\)")


@case
def parquet_without_footer(folder: Path) -> Case:
    return written(folder, "cut.parquet", bytes_of(folder, "write_parquet", ".parquet")[:-9], "its footer is missing")


@case
def parquet_with_damaged_pages(folder: Path) -> Case:
    content = bytearray(bytes_of(folder, "write_parquet", ".parquet"))
    content[20:80] = b"\xff" * 60
    return written(folder, "damaged.parquet", bytes(content), "the file is damaged")


@case
def parquet_of_no_bytes(folder: Path) -> Case:
    return written(folder, "empty.parquet", b"", "the file is empty")


@case
def latin_1_text_in_utf_8(folder: Path) -> Case:
    content = "a,b\n1,größe\n2,über\n".encode() + "3,café\n".encode("latin-1")
    return written(folder, "latin.csv", content, r"line 4 is not UTF-8: byte 6 of the line is 0xe9, after '3,caf'")


@case
def latin_1_text_in_utf_8_compressed(folder: Path) -> Case:
    content = gzip.compress("a,b\n1,größe\n2,über\n".encode() + "3,café\n".encode("latin-1"))
    return written(folder, "latin.csv.gz", content, r"line 4 is not UTF-8: byte 6 of the line is 0xe9")


@case
def bytes_of_no_encoding(folder: Path) -> Case:
    return written(folder, "bytes.csv", b"a,b\n1,x\x81\n", r"line 2 is not UTF-8: byte 4 of the line is 0x81")


@case
def rows_of_different_lengths(folder: Path) -> Case:
    return written(folder, "ragged.csv", "a,b\n1,2\n1,2,3\n", "line 3 has 3 values, but the header names 2 columns")


@case
def rows_that_are_too_short(folder: Path) -> Case:
    return written(folder, "short.csv", "a,b\n1,2\n\n1\n", "line 4 has 1 value, but the header names 2 columns")


@case
def quote_that_is_never_closed(folder: Path) -> Case:
    return written(folder, "quote.csv", 'a,b\n1,2\n3,"4\n' + "5,6\n" * 9, "line 3 opens a quote that is never closed")


@case
def quote_in_the_header_never_closed(folder: Path) -> Case:
    return written(folder, "quote.tsv", '"a\tb\n1\t2\n', "line 1 opens a quote that is never closed")


@case
def text_after_a_closing_quote(folder: Path) -> Case:
    return written(folder, "quotes.csv", 'a,b\n1,"x"y\n', "line 2 has text after the quote that closes a value")


@case
def header_alone(folder: Path) -> Case:
    return written(folder, "header.tsv", "a\tb\n", "there is a header line, but no row below it")


@case
def file_of_no_bytes(folder: Path) -> Case:
    return written(folder, "empty.csv", b"", "the file is empty")


@case
def lines_without_content(folder: Path) -> Case:
    return written(folder, "blank.csv", b"\r\n\r\n", "the file is empty")


@case
def nul_byte(folder: Path) -> Case:
    return written(folder, "nul.csv", b"a,b\n1,x\n2,\0\n", "line 3 has a NUL byte")


@case
def nul_bytes_at_the_end(folder: Path) -> Case:
    return written(folder, "nuls.csv", b"a,b\n" + b"1,x\n" * 40_000 + bytes(512), "NUL bytes at its end")


@case
def picture_named_csv(folder: Path) -> Case:
    return written(folder, "picture.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + os.urandom(3000), "line 3 has a NUL byte")


@case
def full_width_commas(folder: Path) -> Case:
    return written(folder, "wide.csv", "城市，目标\n北京，1\n", "only column is '城市，目标'.* full-width commas")


@case
def semicolons_in_some_lines(folder: Path) -> Case:
    return written(folder, "semi.csv", "a;b\n1,5;2\n3\n1;2\n", "line 3 has 1 value, but the header names 2 columns")


@case
def utf_32_text(folder: Path) -> Case:
    return written(folder, "utf32.csv", "a,b\n1,2\n".encode("utf-32"), "line 1 has a NUL byte")


@case
def names_that_stand_twice(folder: Path) -> Case:
    return written(
        folder, "twice.csv", "a,b, a ,b\n1,2,3,4\n", r"same name: 'a' \(columns 1, 3\), 'b' \(columns 2, 4\)"
    )


@case
def column_without_a_name(folder: Path) -> Case:
    return written(folder, "unnamed.csv", "a,,b\n0,,1\n0,2,1\n", "column 2 has no name")


@case
def json_line_cut(folder: Path) -> Case:
    content = '{"a": 1}\n{"a": 2,\n{"a": 3}\n'
    return written(folder, "cut.ndjson", content, "line 2 is not valid JSON: .* at character 9")


@case
def json_of_different_types(folder: Path) -> Case:
    content = '{"a": 1, "b": 2}\n{"a": 3, "b": [4, 5]}\n'
    return written(
        folder, "types.jsonl", content, "column 'b' is a single value in line 1, but a list of values in line 2"
    )


@case
def json_array(folder: Path) -> Case:
    return written(folder, "array.ndjson", '[{"a": 1}, {"a": 2}]', "line 1 is a JSON array, not an object")


@case
def json_of_bare_values(folder: Path) -> Case:
    return written(folder, "values.ndjson", "1\n2\n", "line 1 is a single value, not an object")


@case
def json_with_nan(folder: Path) -> Case:
    return written(folder, "nan.ndjson", '{"a": 1.5}\n{"a": NaN}\n', "line 2 has NaN, which is not a JSON value")


@case
def json_nested_without_end(folder: Path) -> Case:
    return written(folder, "deep.ndjson", '{"a": ' + "[" * 90_000 + "]" * 90_000 + "}\n", "line 1 is nested too deeply")


@case
def excel_that_is_no_zip(folder: Path) -> Case:
    return written(folder, "text.xlsx", "hello\n", r"not a .xlsx file \(it begins with b'hell'\)")


@case
def excel_with_a_password(folder: Path) -> Case:
    return written(folder, "secret.xlsx", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(4000), "protected by a password")


@case
def excel_cut(folder: Path) -> Case:
    content = bytes_of(folder, "write_excel", ".xlsx")
    return written(folder, "cut.xlsx", content[: len(content) // 2], "the file is damaged")


@case
def excel_with_nothing_on_it(folder: Path) -> Case:
    with xlsxwriter.Workbook(folder / "blank.xlsx") as book:
        book.add_worksheet()
    return "blank.xlsx", "its sheet 'Sheet1' is empty"


@case
def excel_with_a_header_alone(folder: Path) -> Case:
    TABLE.clear().write_excel(folder / "header.xlsx")
    return "header.xlsx", "no row below it"


@case
def excel_with_a_name_twice(folder: Path) -> Case:
    with xlsxwriter.Workbook(folder / "twice.xlsx") as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["a", "b", "a"])
        sheet.write_row(1, 0, [1, 2, 3])
    return "twice.xlsx", r"same name: 'a' \(columns 1, 3\)"


@case
def arrow_cut(folder: Path) -> Case:
    content = bytes_of(folder, "write_ipc", ".arrow")
    return written(folder, "cut.arrow", content[: len(content) // 2], "its footer is missing")


@case
def arrow_stream_cut(folder: Path) -> Case:
    content = bytes_of(folder, "write_ipc_stream", ".arrow")
    return written(folder, "cut.ipc", content[: len(content) // 2], "the file is damaged")


@case
def arrow_that_is_none(folder: Path) -> Case:
    return written(folder, "text.feather", "a,b\n1,2\n", "not an Arrow file")


@case
def folder_of_different_types(folder: Path) -> Case:
    (folder / "types").mkdir()
    TABLE.write_parquet(folder / "types" / "1.parquet")
    TABLE.with_columns(a=pl.col("a").cast(pl.String)).write_parquet(folder / "types" / "2.parquet")
    return "types", "'2.parquet' has column 'a' as String, but '1.parquet' has it as Int64"


@case
def folder_of_different_columns(folder: Path) -> Case:
    (folder / "columns").mkdir()
    TABLE.write_parquet(folder / "columns" / "1.parquet")
    TABLE.rename({"b": "c"}).write_parquet(folder / "columns" / "2.parquet")
    return "columns", "'2.parquet' has no column 'b', which '1.parquet' has"


@case
def folder_of_different_keys(folder: Path) -> Case:
    (folder / "keys" / "year=2020").mkdir(parents=True)
    TABLE.write_parquet(folder / "keys" / "1.parquet")
    TABLE.write_parquet(folder / "keys" / "year=2020" / "2.parquet")
    return "keys", "'year=2020/2.parquet' and '1.parquet' are in folders with different keys"


@case
def folder_with_a_file_cut(folder: Path) -> Case:
    (folder / "cut").mkdir()
    TABLE.write_parquet(folder / "cut" / "1.parquet")
    written(folder, "cut/2.parquet", (folder / "cut" / "1.parquet").read_bytes()[:-9], "")
    return "cut", "'2.parquet': the file is cut off"


@case
def folder_without_parquet(folder: Path) -> Case:
    (folder / "notes").mkdir()
    written(folder, "notes/table.csv", "a\n1\n", "")
    return "notes", "the folder has no .parquet file"


@case
def folder_named_csv(folder: Path) -> Case:
    (folder / "folder.csv").mkdir()
    return "folder.csv", "the folder has no .parquet file"


@case
def pipe_named_csv(folder: Path) -> Case:
    os.mkfifo(folder / "pipe.csv")
    return "pipe.csv", "not a regular file"
