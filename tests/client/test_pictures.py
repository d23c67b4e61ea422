"""Pictures on this machine are sent in base64, some at a time, and errors name them."""

import base64
import json

import httpx
import pytest
from tests.support.pictures import png, shape, shapes

from epochd.client import Client, pictures
from epochd.core.errors import DataError, InvalidRequest


@pytest.fixture
def client(monkeypatch):
    """A client of a server that predicts the size of each picture, and refuses those that begin with ``bad``."""
    requests = []

    def answer(request):
        if request.method == "GET":
            kind = "number" if "numbers" in request.url.path else "image"
            return httpx.Response(200, json={"inputs": [{"name": "photo", "kind": kind}]})
        rows = json.loads(request.content)
        rows = rows["rows"] if isinstance(rows, dict) else rows
        requests.append(rows)
        contents = [base64.b64decode(row["photo"].partition(",")[2]) for row in rows]
        for number, content in enumerate(contents, 1):
            if content.startswith(b"bad"):
                message = f"row {number} of column 'photo': the picture '(data)' is damaged"
                problem = {"field": "photo", "message": message, "hint": ""}
                body = {"success": False, "code": "data_error", "message": message, "problems": [problem]}
                return httpx.Response(422, json=body)
        return httpx.Response(200, json={"predictions": [{"prediction": len(content)} for content in contents]})

    transport = httpx.MockTransport(answer)
    original = httpx.Client.__init__
    monkeypatch.setattr(
        httpx.Client, "__init__", lambda self, **given: original(self, **given | {"transport": transport})
    )
    client = Client("http://localhost:1")
    client.requests = requests
    return client


def test_all_pictures_of_a_folder_are_predicted_in_the_order_of_their_paths(client, tmp_path, monkeypatch):
    folder = shapes(tmp_path / "shapes", 12)
    (folder / "notes.txt").write_text("no picture")
    monkeypatch.setattr(pictures, "REQUEST_ROWS", 5)
    found = client.predict_pictures("m", folder)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*"))
    assert [one["photo"] for one in found] == names
    assert [one["prediction"] for one in found] == [(folder / name).stat().st_size for name in names]
    assert [len(rows) for rows in client.requests] == [5, 5, 2]


def test_one_picture_is_one_record_and_large_ones_are_sent_alone(client, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "REQUEST_BYTES", 100)
    folder = shapes(tmp_path / "shapes", 3)
    [one] = client.predict_pictures("m", folder / "circle/000.png")
    assert one["photo"] == "000.png"
    client.predict_pictures("m", folder)
    assert [len(rows) for rows in client.requests] == [1, 1, 1, 1]


def test_a_picture_that_cannot_be_read_is_named(client, tmp_path):
    (tmp_path / "a.png").write_bytes(png(shape("circle", 1)))
    (tmp_path / "b.png").write_bytes(b"bad")
    with pytest.raises(DataError, match=r"the picture 'b\.png' is damaged"):
        client.predict_pictures("m", tmp_path)


def test_what_has_no_pictures_is_refused(client, tmp_path):
    with pytest.raises(InvalidRequest, match="has no pictures"):
        client.predict_pictures("m", tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InvalidRequest, match="reads no pictures"):
        client.predict_pictures("numbers", tmp_path)
