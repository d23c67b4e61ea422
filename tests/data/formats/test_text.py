"""Text line by line, and the errors of invalid text."""

import gzip

import polars as pl
import pytest

from epochd.data.formats import text
from epochd.data.formats.errors import FormatError


def zstd(path):
    pl.LazyFrame({"a": ["1", None, "ü"]}).sink_csv(path, compression="zstd")
    return path


def test_lines_end_at_line_feeds_only(tmp_path):
    (tmp_path / "t").write_bytes(b"\xef\xbb\xbfa\rb\r\nc\n\nd")
    assert list(text.lines(tmp_path / "t")) == ["a\rb\r\n", "c\n", "\n", "d"]


def test_compressed_lines_are_the_same(tmp_path):
    (tmp_path / "t").write_bytes(gzip.compress("a\n1\n\nü\n".encode()))
    assert list(text.lines(tmp_path / "t")) == ["a\n", "1\n", "\n", "ü\n"]
    assert list(text.lines(zstd(tmp_path / "z"))) == ["a\n", "1\n", "\n", "ü\n"]


@pytest.mark.parametrize(("line", "bad"), [(b"plain", ""), ("ü€".encode(), ""), (b"x\xfcy", "byte 0xfc")])
def test_the_byte_that_is_not_utf8_is_named(line, bad):
    assert text.bad_byte(line.decode(errors="surrogateescape")) == bad


def test_a_bad_byte_is_found_in_zstd_too(tmp_path):
    # One raw block of nine bytes, as RFC 8878 has it: magic, single segment, size, block header.
    (tmp_path / "z").write_bytes(bytes.fromhex("28b52ffd2009490000") + b"a,b\n1,\xe9\n\n")
    with pytest.raises(FormatError, match="line 2 is not UTF-8"):
        list(text.utf8_lines(tmp_path / "z"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_wide_encodings_are_rejected(tmp_path, encoding):
    (tmp_path / "t").write_bytes("a,b\n1,2\n".encode(encoding))
    with pytest.raises(FormatError, match=r"UTF-16|NUL byte"):
        text.check(tmp_path / "t")
