"""The names of uploaded files, in the forms in which browsers, curl, requests and httpx send them."""

import unicodedata
from collections.abc import AsyncIterator

import httpx
import pytest
import requests

from epochd.core.errors import InvalidRequest
from epochd.registry.upload import checked_name, start_upload

CSV = b"x,y\n1,2\n"


async def named(content_type: str, body: bytes, **query: str | None) -> str:
    """The name and the suffix of a dataset that is uploaded so."""

    async def stream() -> AsyncIterator[bytes]:
        yield body

    upload = await start_upload(stream(), content_type, query.get("name"), query.get("filename"), {})
    assert b"".join([chunk async for chunk in upload.chunks]) == CSV
    return upload.name + upload.suffix


def form(disposition: bytes) -> tuple[str, bytes]:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; ' + disposition
    return "multipart/form-data; boundary=b", head + b"\r\n\r\n" + CSV + b"\r\n--b--\r\n"


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('filename="客户流失.csv"'.encode(), "客户流失.csv"),
        (b"filename*=utf-8''%E5%AE%A2%E6%88%B7.csv", "客户.csv"),
        (b"filename=\"x.csv\"; filename*=UTF-8'zh'%E5%AE%A2%E6%88%B7.csv", "客户.csv"),
        (b"filename*=UTF-8''%E5%AE%A2.tsv; filename=\"x.csv\"", "客.tsv"),
        (b"filename*=ISO-8859-1''caf%E9.csv", "café.csv"),
        ('filename="C:\\销售\\二月 (1).CSV"'.encode(), "二月 (1).csv"),
        ('filename="/tmp/销售　数据.csv"'.encode(), "销售　数据.csv"),
        (unicodedata.normalize("NFD", 'filename="données.csv"').encode(), "données.csv"),
    ],
)
async def test_a_files_name_in_a_form_is_read_in_utf8_and_as_rfc_5987_has_it(disposition: bytes, name: str) -> None:
    assert await named(*form(disposition)) == name


async def test_an_extended_name_inside_a_quoted_one_is_no_parameter() -> None:
    with pytest.raises(InvalidRequest, match="contains '\\*'"):
        await named(*form(b"filename=\"a; filename*=UTF-8''b.csv\""))


@pytest.mark.parametrize("name", ["客户流失.csv", "عملاء.csv", "می‌خواهم.csv", "ग्राहक.csv", "顧客 100%.csv", "🙂.csv"])
async def test_a_file_of_any_script_arrives_under_its_name_from_requests_and_from_httpx(name: str) -> None:
    by_requests = requests.Request("POST", "http://x", files={"file": (name, CSV)}).prepare()
    assert isinstance(by_requests.body, bytes)
    assert await named(by_requests.headers["Content-Type"], by_requests.body) == name
    by_httpx = httpx.Request("POST", "http://x", files={"file": (name, CSV)})
    assert await named(by_httpx.headers["Content-Type"], by_httpx.read()) == name
    assert await named("application/octet-stream", CSV, filename=name) == name


@pytest.mark.parametrize("name", ["客户流失", "  naïve ", "1", "（2024）年", "x" * 120, "名" * 80, "a.b"])
def test_a_name_of_visible_characters_is_accepted_and_trimmed(name: str) -> None:
    assert checked_name(name) == name.strip()
    assert checked_name(unicodedata.normalize("NFD", name)) == name.strip()


@pytest.mark.parametrize(
    ("name", "defect"),
    [
        ("", "is empty"),
        ("a\u202eb", "control, bidirectional or other invisible"),
        ("a\x1bb", "control, bidirectional or other invisible"),
        ("a\ufeffb", "control, bidirectional or other invisible"),
        ("a\udcffb", "control, bidirectional or other invisible"),
        ("客户\ufffd", "not encoded in UTF-8"),
        ("..", r"begins with '\.'"),
        ("-rf", "begins with '-'"),
        ("客/户", "contains '/'"),
        ("客\\户", "contains"),
        ("名" * 81, "longer than 120 characters or 240 bytes"),
        ("x" * 121, "longer than 120 characters or 240 bytes"),
    ],
)
def test_a_name_that_could_be_something_else_is_refused_with_the_reason(name: str, defect: str) -> None:
    with pytest.raises(InvalidRequest, match=defect) as caught:
        checked_name(name)
    [problem] = caught.value.problems
    assert problem.field == "name"
    assert "any script" in problem.hint


async def test_a_files_name_that_is_not_utf8_needs_another_name() -> None:
    kind, body = form('filename="客户.csv"'.encode("gb18030"))
    with pytest.raises(InvalidRequest, match="is not encoded in UTF-8"):
        await named(kind, body)
    assert await named(kind, body, name="客户") == "客户.csv"
