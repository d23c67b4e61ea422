"""Encodings of text: each table is written in one, and read without being told which."""

import gzip

import pytest
from backports import zstd

from epochd.core.columns import ReadOptions
from epochd.core.errors import DataError
from epochd.core.specs import parse
from epochd.data.checks.report import check_dataset
from epochd.data.formats import encodings, text
from epochd.data.tables.catalog import Catalog, open_dataset

TABLES = {
    "a Chinese export": ("gb18030", "客户编号,城市,性别,会员\n1001,北京,男,是\n1002,上海,女,否\n1003,广州市,女,是\n"),
    "two Chinese cities": ("gb18030", "a,y\n北京,1\n上海,0\n"),
    "two Chinese characters": ("gb18030", "x,sex,y\n1,男,1\n2,女,0\n"),
    "a Chinese header": ("gb18030", "单价(元),订单号\n12,A1\n13,A2\n"),
    "Chinese dates": ("gb18030", "日期,金额\n2024年1月5日,5\n"),
    "rare Chinese names": ("gb18030", "姓名,y\n朱镕基,1\n陶喆,0\n"),
    "a character of four bytes": ("gb18030", "姓名,城市,y\n㐀明,北京,1\n李雷,上海,0\n"),
    "a Taiwanese export": ("big5", "客戶編號,城市,性別,會員\n1001,臺北,男,是\n1002,高雄,女,否\n1003,臺中市,女,是\n"),
    "two Taiwanese cities": ("big5", "a,y\n台北,1\n高雄,0\n"),
    "two traditional characters": ("big5", "x,sex,y\n1,男,1\n2,女,0\n"),
    "a Japanese export": ("shift_jis", "顧客番号,都市,会員\n1001,東京,はい\n1002,大阪,いいえ\n"),
    "two Japanese cities": ("shift_jis", "a,y\n東京,1\n大阪,0\n"),
    "half-width katakana": ("shift_jis", "name,y\nﾀﾛｳ,1\nﾊﾅｺ,0\n"),
    "a Korean export": ("euc-kr", "고객번호,도시,성별,회원\n1001,서울,남,예\n1002,부산,여,아니오\n"),
    "a German table": ("cp1252", "Größe,Stadt\n1,München\n2,Köln\n"),
    "one accent": ("cp1252", "a,b\n1,x\n2,café\n"),
    "a French table": ("cp1252", "nom,prénom,ville\nLefèvre,Zoé,Besançon\nGarçon,Chloë,Nîmes\n"),
    "a Spanish table": ("cp1252", "año,país\n1,España\n2,Perú\n"),
    "a Danish table": ("cp1252", "Navn,By\nJørgen,Tromsø\nÅse,Ålesund\n"),
    "one sign": ("cp1252", "temp °C,y\n1,2\n"),
    "prices": ("cp1252", "price,y\n€5,1\n£7,2\n"),
    "a Russian table": ("cp1251", "Город,Пол,Клиент\nМосква,муж,да\nКазань,жен,нет\n"),
    "a Polish table": ("cp1250", "miasto,imię\nŁódź,Michał\nGdańsk,Żaneta\n"),
    "a Czech table": ("cp1250", "Město,Příjmení\nPlzeň,Dvořák\nČeské Budějovice,Němec\n"),
}


@pytest.fixture(params=TABLES.values(), ids=TABLES)
def table(request):
    """The encoding of a table, its text, and its cells."""
    encoding, written = request.param
    return encoding, written, [line.split(",") for line in written.splitlines()]


def cells(frame):
    return [frame.columns, *([str(value) for value in row] for row in frame.rows())]


def source(folder, content, name="t.csv", **options):
    (folder / name).write_bytes(content)
    return open_dataset(name, [folder]).reading(ReadOptions(**options))


def test_an_encoding_is_detected_and_told(tmp_path, table):
    encoding, written, expected = table
    found = source(tmp_path, written.encode(encoding))
    assert cells(found.expecting({}).read()) == expected
    [note] = found.notes()
    assert note.startswith(f"'t.csv' is read as {encodings.label(encoding)}, which was detected")


def test_a_declared_encoding_is_used_and_not_told(tmp_path, table):
    encoding, written, expected = table
    found = source(tmp_path, written.encode(encoding), encoding=encoding)
    assert cells(found.expecting({}).read()) == expected
    assert found.notes() == []


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.zst", ".ndjson", ".ndjson.zst"])
def test_unicode_is_read_with_and_without_byte_order_mark_plain_and_compressed(tmp_path, codec, suffix):
    written = "城市,y\n北京,1\n上海,0\n" if "csv" in suffix else '{"城市": "北京", "y": 1}\n{"城市": "上海", "y": 0}\n'
    content = written.encode(codec)
    content = gzip.compress(content) if suffix.endswith("gz") else content
    content = zstd.compress(content) if suffix.endswith("zst") else content
    found = source(tmp_path, content, f"t{suffix}")
    assert cells(found.read()) == [["城市", "y"], ["北京", "1"], ["上海", "0"]]
    assert len(found.notes()) == (codec in ("utf-16-le", "utf-16-be"))


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.zst"])
def test_compressed_text_in_gbk_is_read(tmp_path, suffix):
    content = "城市,y\n北京,1\n".encode("gbk")
    content = gzip.compress(content) if suffix.endswith("gz") else zstd.compress(content)
    assert source(tmp_path, content, f"t{suffix}").read().rows() == [("北京", 1)]


def test_lines_of_json_in_gbk_are_read(tmp_path):
    found = source(tmp_path, '{"城市": "北京"}\n{"城市": "上海"}\n'.encode("gbk"), "t.ndjson")
    assert found.read().rows() == [("北京",), ("上海",)]
    assert "GB18030" in found.notes()[0]


def test_a_byte_outside_utf8_at_the_end_of_a_large_file_decides_its_encoding(tmp_path):
    found = source(tmp_path, b"a,b\n" + b"1,x\n" * 400_000 + "2,北京\n".encode("gbk"))
    frame = found.read()
    assert (frame.height, frame["b"][-1]) == (400_001, "北京")


def test_a_large_copy_is_a_temporary_file_that_needs_no_name(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "MEMORY_BYTES", 100)
    found = source(tmp_path, "城市,y\n".encode("gbk") + "北京,1\n".encode("gbk") * 500)
    kept = found.apply(lambda table: table)
    assert kept.collect().height == 500
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_what_fits_as_well_is_told(tmp_path):
    [note] = source(tmp_path, "a,y\n北京,1\n上海,0\n".encode("gbk")).notes()
    assert note == "'t.csv' is read as GB18030, which was detected, but could be Big5 as well; set encoding"


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        ("a,b\n1,café\n".encode("latin-1"), "utf-8", "line 2 is not UTF-8: byte 6 of the line is 0xe9, after '1,caf'"),
        ("城市,y\n北京,1\n".encode("gbk") + b"\xff,1\n", "gbk", "line 3 is not GBK: byte 1 of the line is 0xff"),
        ("a,城\n".encode("utf-16")[:-1] + b"\xd8\n\0", "utf-16", "line 1 is not UTF-16"),
        ("x,y\n1,é\n".encode() * 9 + b"1,\xe9\n", None, "line 19 is not UTF-8: byte 3 of the line is 0xe9, after '1,'"),
    ],
)
def test_what_cannot_be_decoded_is_named_with_line_and_byte(tmp_path, content, encoding, message):
    with pytest.raises(DataError, match=message):
        source(tmp_path, content, encoding=encoding).read()


def test_a_bad_byte_is_found_in_compressed_text_too(tmp_path):
    content = zstd.compress("a,b\n1,é\n2,ü\n".encode() + b"3,\xe9\n")
    with pytest.raises(DataError, match="line 4 is not UTF-8"):
        source(tmp_path, content, "t.csv.zst").read()


def test_a_check_warns_of_a_detected_encoding(tmp_path):
    (tmp_path / "t.csv").write_bytes(("城市,年龄,y\n" + "北京,5,1\n上海,7,0\n" * 20).encode("gbk"))
    spec = {"dataset": "t.csv", "target_column": "y"}
    detected = check_dataset(parse(spec), Catalog([tmp_path])).warnings
    assert any(warning.startswith("'t.csv' is read as GB18030, which was detected") for warning in detected)
