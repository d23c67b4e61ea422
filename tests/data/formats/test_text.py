"""Text in pieces of whole lines, and the errors of what is no text."""

import gzip

import polars as pl
import pytest

from epochd.data.formats import text
from epochd.data.formats.errors import FormatError
from epochd.data.formats.text import Text


def zstd(path):
    pl.LazyFrame({"a": ["1", None, "ü"]}).sink_csv(path, compression="zstd")
    return path


def test_lines_end_at_line_feeds_only(tmp_path):
    (tmp_path / "t").write_bytes(b"\xef\xbb\xbfa\rb\r\nc\x0bd\n\ne")
    assert list(text.of(tmp_path / "t", None).lines()) == ["a\rb\r\n", "c\x0bd\n", "\n", "e"]


def test_lines_may_end_in_cr_alone(tmp_path):
    (tmp_path / "t").write_bytes(b"a\rb\r\rc")
    assert list(text.of(tmp_path / "t", None).lines()) == ["a\n", "b\n", "\n", "c"]


def test_compressed_lines_are_the_same(tmp_path):
    (tmp_path / "t").write_bytes(gzip.compress("a\n1\n\nü\n".encode()))
    assert list(Text(tmp_path / "t").lines()) == ["a\n", "1\n", "\n", "ü\n"]
    assert list(Text(zstd(tmp_path / "z")).lines()) == ["a\n", "1\n", "\n", "ü\n"]


@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le", "gb18030"])
def test_pieces_are_whole_lines_in_utf8_whatever_the_size_of_a_read(tmp_path, monkeypatch, codec):
    monkeypatch.setattr(text, "PIECE_BYTES", 3)
    (tmp_path / "t").write_bytes("北京,1\n上海\n\n广州,22".encode(codec))
    pieces = list(Text(tmp_path / "t", codec=codec).pieces())
    assert b"".join(pieces).decode() == "北京,1\n上海\n\n广州,22"
    assert len(pieces) > 2
    assert all(piece.endswith(b"\n") for piece in pieces[:-1])


def test_utf_32_is_rejected(tmp_path):
    (tmp_path / "t").write_bytes("a,b\n1,2\n".encode("utf-32"))
    with pytest.raises(FormatError, match="line 1 has a NUL byte"):
        text.of(tmp_path / "t", None)
