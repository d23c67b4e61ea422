"""The registry through HTTP: what comes in is whole and registered, or leaves nothing."""

import asyncio
import hashlib
import json
import sqlite3
import unicodedata
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import polars as pl
import pytest

from epochd.core.datasets import Facts
from epochd.data.tables.catalog import BUILTIN
from epochd.registry.staging import STAGING_FOLDER
from epochd.store import datasets

URL = "/api/v1/datasets"
CSV = b"x,color,day,y\n" + b"".join(
    b"%d,%s,2024-01-%02d,%d\n" % (i, [b"red", b"blue"][i % 2], i, i % 2) for i in range(1, 31)
)
TRAINING = {"target_column": "y", "feature_columns": ["x"], "framework": "pytorch"}
OTHER = CSV.replace(b"\n", b"\n10").removesuffix(b"10")


def home(house: Any) -> Path:
    return Path(house.service.settings.dataset_roots[0])


def left_behind(house: Any) -> list[str]:
    """What lies in the server's dataset folder besides registered files."""
    pending = home(house) / STAGING_FOLDER
    assert not pending.exists() or not list(pending.iterdir())
    return sorted(path.name for path in home(house).iterdir() if path.name != STAGING_FOLDER)


async def upload(house: Any, name: str = "colors", body: bytes = CSV, **query: object) -> httpx.Response:
    params = {"name": name, "filename": f"{name}.csv"} | query
    answer: httpx.Response = await house.http.post(URL, params=params, content=body)
    return answer


async def paused(house: Any, fingerprint: str, **values: Any) -> str:
    """A training that was paused with a checkpoint; its id."""
    task_id: str = await house.start(**values)
    worker = await (await house.worker()).begin()
    pausing = asyncio.create_task(house.post(f"/pause/{task_id}"))
    await worker.ordered("pause")
    await worker.pause(restores={"data_fingerprint": fingerprint})
    await pausing
    return task_id


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A SQLite database with a table of orders."""
    path = tmp_path / "hidden place" / "shop.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE orders (id INTEGER, price REAL, late INTEGER)")
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?)", [(i, i / 3, i % 2) for i in range(40)])
    return path


async def test_a_form_with_a_file_becomes_a_dataset(house):
    files = {"file": ("my colors.csv", CSV, "text/csv")}
    answer = await house.http.post(URL, files=files, data={"name": "colors"})
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert (told["name"], told["kind"], told["state"]) == ("colors", "upload", "ready")
    assert (told["rows"], told["columns"], told["bytes"]) == (30, 4, len(CSV))
    assert told["schema"][0] == {"name": "x", "type": "Int64"}
    assert (home(house) / "colors.csv").read_bytes() == CSV
    assert left_behind(house) == ["colors.csv"]


async def test_the_files_name_is_the_datasets_unless_another_is_given(house):
    answer = await house.http.post(URL, files={"file": ("C:\\data\\colors.v2.CSV", CSV)})
    assert answer.json()["name"] == "colors.v2"
    assert left_behind(house) == ["colors.v2.csv"]


async def test_a_plain_body_with_a_filename_is_an_upload(house):
    answer = await house.http.post(URL, params={"filename": "colors.csv"}, content=CSV)
    assert answer.status_code == 201, answer.text
    assert answer.json()["name"] == "colors"


async def test_a_form_in_the_smallest_pieces_arrives_whole(house):
    request = house.http.build_request("POST", URL, files={"file": ("colors.csv", CSV)}, data={"name": "colors"})
    body = await request.aread()

    async def pieces():
        for byte in body:
            yield bytes([byte])

    answer = await house.http.post(URL, content=pieces(), headers={"Content-Type": request.headers["Content-Type"]})
    assert answer.status_code == 201, answer.text
    assert (home(house) / "colors.csv").read_bytes() == CSV


FORM = "multipart/form-data; boundary=b"


def part(disposition: bytes, value: bytes = b"v") -> bytes:
    return b"--b\r\nContent-Disposition: form-data; " + disposition + b"\r\n\r\n" + value + b"\r\n"


FILE = part(b'name="file"; filename="colors.csv"', CSV)


@pytest.mark.parametrize(
    ("content_type", "body", "status", "words"),
    [
        (FORM, b"no form at all", 400, "not a valid multipart"),
        (FORM, FILE, 400, "ends in the middle"),
        (FORM, part(b'name="name"') + b"--b--\r\n", 422, "no file"),
        (FORM, FILE + part(b'name="name"') + b"--b--\r\n", 422, "before 'file'"),
        (FORM, FILE + FILE + b"--b--\r\n", 422, "two files"),
        (FORM, part(b'name="name"', b"x" * 5_000), 422, "longer than"),
        (FORM, part(b'name="x"') * 30, 400, "parts"),
        ("multipart/form-data", FILE, 400, "boundary"),
        ("multipart/form-data; boundary=" + "b" * 30_000, FILE, 400, "Boundary length"),
    ],
)
async def test_a_form_that_cannot_be_used_is_refused(house, content_type, body, status, words):
    answer = await house.http.post(URL, content=body, headers={"Content-Type": content_type})
    assert answer.status_code == status
    assert words in answer.text
    assert left_behind(house) == []


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a/b", "-x", "x" * 121, "a\nb", "a\u202eb"])
async def test_a_name_that_could_be_something_else_is_refused(house, name):
    answer = await house.http.post(URL, params={"name": name, "filename": f"{name}.csv"}, content=CSV)
    assert answer.status_code == 422
    assert answer.json()["problems"][0]["field"] == "name"
    assert left_behind(house) == []


@pytest.mark.parametrize("filename", ["", "colors", "colors.exe", "csv"])
async def test_a_format_that_cannot_be_read_is_refused(house, filename):
    answer = await house.http.post(URL, params={"name": "colors", "filename": filename}, content=CSV)
    assert answer.status_code == 422
    assert ".parquet" in answer.json()["problems"][0]["hint"]


@pytest.mark.parametrize("body", [b"", b"x,y\n", b"x,y\n1,2\n3,4,5\n", b"x,y\n\x00,2\n"])
async def test_a_file_that_cannot_be_read_leaves_nothing(house, body):
    answer = await upload(house, body=body)
    assert answer.status_code == 422
    assert answer.json()["code"] == "data_error"
    assert STAGING_FOLDER not in answer.text
    assert left_behind(house) == []
    assert (await house.http.get(f"{URL}/colors")).status_code == 404


@pytest.mark.parametrize("announced", [False, True])
async def test_a_file_above_the_limit_is_413_with_the_figures(open_house, announced):
    house = await open_house(upload_mb=1)
    body = b"x" * (3 << 20)

    async def pieces():
        for start in range(0, len(body), 1 << 16):
            yield body[start : start + (1 << 16)]

    answer = await upload(house, body=body if announced else pieces())
    assert answer.status_code == 413
    assert "1,048,576" in answer.json()["message"]
    assert ("3,145,728" in answer.json()["message"]) == announced
    assert left_behind(house) == []


async def test_a_dataset_shows_how_far_it_has_come(house):
    go_on, half = asyncio.Event(), len(CSV) // 2

    async def pieces():
        yield CSV[:half]
        await go_on.wait()
        yield CSV[half:]

    params, headers = {"filename": "colors.csv"}, {"Content-Length": str(len(CSV))}
    sending = asyncio.create_task(house.http.post(URL, params=params, content=pieces(), headers=headers))
    async with asyncio.timeout(5):
        while (await house.http.get(f"{URL}/colors")).json().get("received_bytes") != half:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    told = (await house.http.get(f"{URL}/colors")).json()
    assert (told["state"], told["total_bytes"], told["rows"]) == ("uploading", len(CSV), None)
    second = await upload(house)
    assert (second.status_code, second.json()["code"]) == (409, "name_taken")
    go_on.set()
    assert (await sending).status_code == 201
    assert (await house.http.get(f"{URL}/colors")).json()["state"] == "ready"


async def test_a_client_that_hangs_up_leaves_nothing(live):
    _, writer = await asyncio.open_connection("127.0.0.1", live.http.base_url.port)
    head = f"POST {URL}?filename=colors.csv HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
    writer.write(head.encode() + CSV)
    await writer.drain()
    async with asyncio.timeout(5):
        while (await live.http.get(f"{URL}/colors")).status_code != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    writer.close()
    async with asyncio.timeout(5):
        while (await live.http.get(f"{URL}/colors")).status_code != 404:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert left_behind(live) == []
    assert (await upload(live)).status_code == 201


async def test_a_refused_upload_is_answered_through_a_real_socket(live):
    await upload(live)
    answer = await upload(live, body=CSV + b"1,red,2024-01-01,0\n" * 500_000)
    assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")


async def test_a_start_sweeps_what_a_former_server_left(open_house, tmp_path):
    pending = tmp_path / "data" / "datasets" / STAGING_FOLDER / "0123"
    pending.mkdir(parents=True)
    (pending / "half.csv").write_bytes(CSV)
    house = await open_house()
    assert left_behind(house) == []


async def test_a_name_is_replaced_only_on_request(house):
    await upload(house)
    refused = await upload(house)
    assert (refused.status_code, refused.json()["code"]) == (409, "name_taken")
    frame = pl.DataFrame({"a": [1, 2, 3]})
    frame.write_parquet(home(house).parent / "new.parquet")
    body = (home(house).parent / "new.parquet").read_bytes()
    answer = await upload(house, body=body, filename="x.parquet", replace="true")
    assert answer.status_code == 201, answer.text
    assert (await house.http.get(f"{URL}/colors")).json()["first_rows"] == frame.to_dicts()
    assert left_behind(house) == ["colors.parquet"]


async def test_a_file_of_unknown_origin_is_not_overwritten(house):
    (home(house) / "colors.csv").write_text("precious\n1\n")
    answer = await upload(house)
    assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")
    assert (home(house) / "colors.csv").read_text() == "precious\n1\n"


async def test_built_in_datasets_stay_as_they_are(house):
    for answer in (await upload(house, "iris"), await house.http.delete(f"{URL}/iris")):
        assert (answer.status_code, answer.json()["code"]) == (409, "built_in")


async def test_a_path_under_an_allowed_folder_is_registered_and_stays(open_house, tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "far.csv").write_bytes(CSV)
    house = await open_house(data_roots=str(tmp_path / "far"))
    answer = await house.http.post(URL, json={"name": "colors", "path": "far.csv"})
    assert answer.status_code == 201, answer.text
    assert (answer.json()["kind"], answer.json()["rows"]) == ("path", 30)
    assert (await house.http.delete(f"{URL}/colors")).json() == {"success": True, "name": "colors"}
    assert (tmp_path / "far" / "far.csv").exists()
    assert (await house.http.get(f"{URL}/colors")).status_code == 404


@pytest.mark.parametrize("path", ["/etc/passwd", "../../etc/passwd", "nothing.csv", "iris"])
async def test_a_path_elsewhere_is_refused(house, path):
    answer = await house.http.post(URL, json={"name": "colors", "path": path})
    assert (answer.status_code, answer.json()["code"]) == (422, "data_error")
    assert answer.json()["problems"][0]["field"] == "path"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "x"},
        {"path": "x.csv"},
        {"name": "x", "path": "a.csv", "query": "SELECT 1"},
        {"name": "x", "path": 3},
        {"name": "x", "path": "a.csv", "colour": "red"},
    ],
)
async def test_a_registration_says_what_it_needs(house, body):
    answer = await house.http.post(URL, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["problems"]


async def test_the_list_has_registered_datasets_first_and_is_paged(house):
    for name in ("first", "second"):
        await upload(house, name)
    told = (await house.http.get(URL)).json()
    assert [one["name"] for one in told["datasets"]] == ["second", "first", *BUILTIN]
    assert told["total"] == 2 + len(BUILTIN)
    iris = next(one for one in told["datasets"] if one["name"] == "iris")
    assert (iris["kind"], iris["rows"], iris["columns"], iris["created_at"]) == ("builtin", 150, 5, None)
    page = (await house.http.get(URL, params={"limit": 2, "offset": 1})).json()
    assert [one["name"] for one in page["datasets"]] == ["first", BUILTIN[0]]
    found = (await house.http.get(URL, params={"name": "IR"})).json()
    assert [one["name"] for one in found["datasets"]] == ["first", "iris"]


@pytest.mark.parametrize("name", BUILTIN)
async def test_a_built_in_dataset_has_a_profile(house, name):
    told = (await house.http.get(f"{URL}/{name}")).json()
    assert len(told["profile"]) == told["columns"] == len(told["schema"])
    assert len(told["first_rows"]) == 10
    assert len(told["fingerprint"]) == 64


async def test_a_profile_is_computed_once_and_again_for_new_content(house, monkeypatch):
    await upload(house)
    first = (await house.http.get(f"{URL}/colors")).json()
    assert first["profile"][0]["max"] == 30
    with monkeypatch.context() as patch:
        patch.setattr("epochd.registry.profile.profile", None)
        assert (await house.http.get(f"{URL}/colors")).json() == first
    (home(house) / "colors.csv").write_bytes(CSV + b"99,red,2024-02-01,1\n")
    again = (await house.http.get(f"{URL}/colors")).json()
    assert (again["rows"], again["profile"][0]["max"]) == (31, 99)
    assert again["fingerprint"] != first["fingerprint"]
    assert (await house.http.get(URL)).json()["datasets"][0]["rows"] == 31


async def test_an_unknown_dataset_is_404_with_the_nearest_names(house):
    await upload(house)
    for answer in (await house.http.get(f"{URL}/colours"), await house.http.delete(f"{URL}/colours")):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert "'colors'" in answer.json()["message"]


async def test_a_registered_name_can_be_trained_on(house):
    await upload(house)
    task_id = await house.start(dataset="colors", **TRAINING)
    ticket = (await house.worker()).ticket
    assert ticket.registered == {"colors": (home(house) / "colors.csv").absolute()}
    record = (await house.http.get(f"{URL}/colors")).json()
    facts = (await house.get(f"/tasks/{task_id}")).json()["summary"]["dataset"]
    assert facts["fingerprint"] == record["fingerprint"]


async def test_a_dataset_in_any_script_is_found_by_its_name_however_that_is_written(house):
    file = unicodedata.normalize("NFD", "客户流失 café.csv")
    answer = await house.http.post(URL, files={"file": (file, CSV)})
    assert (answer.status_code, answer.json()["name"]) == (201, "客户流失 café")
    assert left_behind(house) == ["客户流失 café.csv"]
    for form in ("NFC", "NFD"):
        path = f"{URL}/{quote(unicodedata.normalize(form, '客户流失 café'))}"
        assert (await house.http.get(path)).json()["rows"] == 30
        listed = (await house.http.get(URL, params={"name": unicodedata.normalize(form, "失 café")})).json()
        assert [one["name"] for one in listed["datasets"]] == ["客户流失 café"]
    assert (await house.http.delete(path)).json() == {"success": True, "name": "客户流失 café"}
    assert left_behind(house) == []
    await upload(house, "客户流失 café")
    task_id = await house.start(dataset=unicodedata.normalize("NFD", "客户流失 café"), **TRAINING)
    assert (await house.get(f"/tasks/{task_id}")).json()["config"]["dataset"] == "客户流失 café"
    assert (await house.http.delete(path)).json()["code"] == "dataset_in_use"
    await house.post(f"/stop/{task_id}", params={"wait": 0})


async def test_a_config_names_the_whole_file_that_it_found_without_a_suffix(house):
    for name in ("客户流失", "新客户"):
        (home(house) / f"{name}.csv").write_bytes(CSV if name == "客户流失" else OTHER)
    task_id = await house.start(dataset="客户流失", validation_dataset="新客户", **TRAINING)
    config = (await house.get(f"/tasks/{task_id}")).json()["config"]
    assert (config["dataset"], config["validation_dataset"]) == ("客户流失.csv", "新客户.csv")


@pytest.mark.parametrize("written", ["NFC", "NFD"])
async def test_columns_are_found_however_their_letters_are_written(house, written):
    other = "NFD" if written == "NFC" else "NFC"
    header = unicodedata.normalize(written, "größe,forêt,结果\n")
    (home(house) / "t.csv").write_text(header + "".join(f"{i},{i % 3},{i % 2}\n" for i in range(40)))
    columns = {"feature_columns": [unicodedata.normalize(other, "größe")], "target_column": "结果"}
    answer = (await house.post("/validate", json={"dataset": "t", **columns})).json()
    assert answer["valid"], answer["problems"]
    assert answer["dataset"]["features"] == ["größe"]


async def test_columns_whose_names_unicode_makes_equal_are_refused(house):
    (home(house) / "t.csv").write_text("café,cafe\u0301,y\n1,2,0\n3,4,1\n")
    answer = await house.post("/validate", json={"dataset": "t", "target_column": "y"})
    [problem] = answer.json()["problems"]
    assert "columns have the same name: 'café' (columns 1, 2)" in problem["message"]


async def test_a_misspelt_name_suggests_registered_ones(house):
    await upload(house)
    answer = await house.post("/start", json={"dataset": "colours", **TRAINING})
    assert answer.status_code == 422
    assert "colors" in answer.text


@pytest.mark.parametrize("field", ["dataset", "validation_dataset"])
async def test_a_dataset_that_a_task_needs_cannot_be_removed(house, field):
    await upload(house, "other", OTHER)
    await upload(house)
    names = {"dataset": "other"} | {field: "colors"}
    task_id = await house.start(**names, **TRAINING)
    for answer in (await house.http.delete(f"{URL}/colors"), await upload(house, replace="true")):
        assert (answer.status_code, answer.json()["code"]) == (409, "dataset_in_use")
        assert task_id in answer.json()["message"]
    await house.post(f"/stop/{task_id}", params={"wait": 0})


async def test_removing_an_upload_removes_its_file(house):
    await upload(house)
    assert (await house.http.delete(f"{URL}/colors")).status_code == 200
    assert left_behind(house) == []


async def test_a_query_becomes_a_snapshot_and_can_be_run_again(open_house, shop):
    house = await open_house(connections={"shop": f"sqlite:///{shop}"})
    body = {"name": "orders", "connection": "shop", "query": "SELECT * FROM orders WHERE id < 35"}
    answer = await house.http.post(URL, json=body)
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert (told["kind"], told["rows"], told["connection"], told["query"]) == ("query", 35, "shop", body["query"])
    with closing(sqlite3.connect(shop)) as connection, connection:
        connection.execute("DELETE FROM orders WHERE id < 5")
    assert pl.read_parquet(home(house) / "orders.parquet").height == 35
    again = (await house.http.post(f"{URL}/orders/refresh")).json()
    assert again["rows"] == 30
    assert again["fingerprint"] != told["fingerprint"]
    assert left_behind(house) == ["orders.parquet"]


async def test_the_address_of_a_connection_stays_inside(open_house, shop, caplog):
    urls = {
        "shop": f"sqlite:///{shop}",
        "gone": "sqlite:////hidden place/gone.db",
        "far": "postgresql://bob:hush@127.0.0.1:9/secretdb",
        "odd": "mysql://bob:hush@secrethost/db",
    }
    house = await open_house(connections=urls)
    answers = []
    for connection in [*urls, "unknown"]:
        for query in ("SELECT * FROM orders", "SELECT * FROM nothing"):
            body = {"name": f"{connection}{len(answers)}", "connection": connection, "query": query}
            answers.append(await house.http.post(URL, json=body))
            answers.append(await house.http.get(f"{URL}/{body['name']}"))
    told = "".join(answer.text for answer in answers) + caplog.text
    for secret in ("hidden", "hush", "bob", "secret", "127.0.0.1", "gone.db", "shop.db"):
        assert secret not in told, secret
    assert "far, gone, odd, shop" in told


async def test_only_a_snapshot_can_be_refreshed(house):
    await upload(house)
    for name in ("colors", "iris"):
        assert (await house.http.post(f"{URL}/{name}/refresh")).status_code == 422
    assert (await house.http.post(f"{URL}/nothing/refresh")).status_code == 404


@pytest.mark.real_readers
async def test_a_query_whose_client_has_left_is_ended(open_house, shop):
    house = await open_house(connections={"shop": f"sqlite:///{shop}"})
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS i FROM n"
    body = json.dumps({"name": "endless", "connection": "shop", "query": endless}).encode()
    messages = [{"type": "http.request", "body": body}, {"type": "http.disconnect"}]

    async def receive():
        return messages.pop(0)

    async def send(message):
        pass

    scope = {"type": "http", "method": "POST", "path": URL, "query_string": b"", "headers": [(b"host", b"localhost")]}
    async with asyncio.timeout(10):
        await house.app(scope | {"asgi": {"version": "3.0"}}, receive, send)
    assert (await house.http.get(f"{URL}/endless")).status_code == 404
    assert left_behind(house) == []


async def test_resume_with_changed_data_is_refused_and_changes_nothing(house):
    await upload(house)
    task_id = await paused(house, "0" * 64, dataset="colors", **TRAINING)
    answer = await house.post(f"/resume/{task_id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "data_changed")
    assert "allow_changed_data" in answer.json()["message"]
    assert (await house.get(f"/tasks/{task_id}")).json()["state"] == "paused"


async def test_resume_with_changed_data_can_be_allowed(house):
    await upload(house)
    task_id = await paused(house, "0" * 64, dataset="colors", **TRAINING)
    answer = await house.post(f"/resume/{task_id}", json={"allow_changed_data": True})
    assert answer.status_code == 200, answer.text
    assert (await house.worker()).ticket.spec.allow_changed_data is True
    assert (await house.get(f"/tasks/{task_id}")).json()["config"]["allow_changed_data"] is True


async def test_resume_with_data_that_cannot_be_trained_on_is_refused_and_the_task_stays_paused(house):
    await upload(house)
    task_id = await paused(house, "0" * 64, dataset="colors", **TRAINING)
    file = home(house) / "colors.csv"
    short = CSV[: CSV.index(b"\n", 40) + 1]
    for content, said in [(b"", "colors"), (CSV.replace(b"x,", b"z,"), "no column 'x'"), (short, "rows")]:
        file.write_bytes(content)
        answer = await house.post(f"/resume/{task_id}", json={"allow_changed_data": True})
        assert answer.status_code == 422, answer.text
        assert said in answer.text
        assert (await house.get(f"/tasks/{task_id}")).json()["state"] == "paused"
    file.write_bytes(OTHER)
    assert (await house.post(f"/resume/{task_id}", json={"allow_changed_data": True})).status_code == 200


async def waiting(house: Any) -> str:
    """A training on a file of the server's, in the queue behind another one; its id."""
    (home(house) / "t.csv").write_bytes(CSV)
    await house.start(dataset="iris", target_column="target")
    await house.worker()
    task_id: str = await house.start(dataset="t.csv", **TRAINING)
    return task_id


async def test_a_task_that_never_ran_resumes_only_with_the_data_that_it_was_accepted_with(house):
    task_id = await waiting(house)
    await house.post(f"/pause/{task_id}")
    (home(house) / "t.csv").write_bytes(OTHER)
    answer = await house.post(f"/resume/{task_id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "data_changed")
    assert "since task" in answer.json()["message"]
    assert "was submitted" in answer.json()["message"]
    (home(house) / "t.csv").write_bytes(CSV.replace(b",y\n", b",z\n", 1))
    refused = await house.post(f"/resume/{task_id}", json={"allow_changed_data": True})
    assert (refused.status_code, refused.json()["problems"][0]["field"]) == (422, "target_column")
    (home(house) / "t.csv").write_bytes(CSV)
    assert (await house.post(f"/resume/{task_id}")).status_code == 200


async def test_changed_data_that_are_accepted_on_a_resume_are_those_that_the_task_is_pinned_to(house):
    task_id = await waiting(house)
    await house.post(f"/pause/{task_id}")
    (home(house) / "t.csv").write_bytes(OTHER[: len(OTHER) // 2].rpartition(b"\n")[0] + b"\n")
    answer = await house.post(f"/resume/{task_id}", json={"allow_changed_data": True})
    assert answer.status_code == 200, answer.text
    facts = (await house.get(f"/tasks/{task_id}")).json()["summary"]["dataset"]
    assert facts["fingerprint"] == hashlib.sha256((home(house) / "t.csv").read_bytes()).hexdigest()
    assert facts["rows"] < 30
    await house.post(f"/pause/{task_id}")
    (home(house) / "t.csv").write_bytes(CSV)  # another change needs no other permission: the config now has it
    assert (await house.post(f"/resume/{task_id}")).status_code == 200
    assert (await house.get(f"/tasks/{task_id}")).json()["summary"]["dataset"]["rows"] == 30


async def test_a_retry_from_the_beginning_accepts_the_present_data(house):
    (home(house) / "t.csv").write_bytes(CSV)
    task_id = await house.start(dataset="t.csv", **TRAINING)
    worker = await (await house.worker()).begin()
    await worker.cancel()
    (home(house) / "t.csv").write_bytes(b"x,y\n1,2\n")
    assert (await house.post(f"/retry/{task_id}")).status_code == 422
    (home(house) / "t.csv").write_bytes(OTHER)
    again = (await house.post(f"/retry/{task_id}")).json()
    facts = (await house.get(f"/tasks/{again['task_id']}")).json()["summary"]["dataset"]
    assert facts["fingerprint"] == hashlib.sha256(OTHER).hexdigest()


async def test_a_column_that_the_checkpoint_needs_and_changed_data_lack_is_a_problem_and_the_task_stays_paused(house):
    rows = [f"{i * 7 % 30 / 10},{i * 11 % 29 / 10},{i % 2}\n" for i in range(40)]
    await upload(house, body=("x,z,y\n" + "".join(rows)).encode())
    task_id = await paused(house, "0" * 64, dataset="colors", target_column="y", framework="pytorch")
    (home(house) / "colors.csv").write_text("z,y\n" + "".join(row.partition(",")[2] for row in rows))
    answer = await house.post(f"/resume/{task_id}", json={"allow_changed_data": True})
    assert answer.status_code == 422, answer.text
    [problem] = answer.json()["problems"]
    assert (problem["field"], problem["message"]) == ("feature_columns", "the changed dataset has no column 'x'")
    assert (await house.get(f"/tasks/{task_id}")).json()["state"] == "paused"


async def test_resume_with_the_same_data_asks_for_nothing(house):
    record = (await upload(house)).json()
    task_id = await paused(house, record["fingerprint"], dataset="colors", **TRAINING)
    assert (await house.post(f"/resume/{task_id}", json={})).status_code == 200


@pytest.mark.parametrize("body", [{"allow_changed_data": 1}, {"force": True}])
async def test_a_resume_takes_no_other_option_and_no_other_type(house, body):
    record = (await upload(house)).json()
    task_id = await paused(house, record["fingerprint"], dataset="colors", **TRAINING)
    answer = await house.post(f"/resume/{task_id}", json=body)
    assert (answer.status_code, answer.json()["problems"][0]["field"]) == (422, next(iter(body)))


async def test_datasets_want_the_token_like_everything_else(open_house):
    house = await open_house(tokens="secret")
    for method, path in (("GET", ""), ("POST", ""), ("GET", "/iris"), ("DELETE", "/iris"), ("POST", "/iris/refresh")):
        assert (await house.http.request(method, URL + path)).status_code == 401


async def test_a_large_body_that_is_no_file_is_still_refused(house):
    answer = await house.http.post(URL, content=b"{" + b" " * (2 << 20), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


async def test_no_other_route_takes_a_large_body_for_a_file(house):
    body = b" " * (2 << 20)
    for path in ("/api/v1/epoch-training/start", f"{URL}/x/refresh"):
        answer = await house.http.post(path, params={"filename": "x.csv"}, content=body)
        assert answer.status_code == 413


async def test_note_of_a_dataset_that_went_away_does_nothing(house):
    await datasets.note(house.service.db, "gone", Facts(1, 1, [], "f"))
    assert await datasets.get(house.service.db, "gone") is None


@pytest.mark.parametrize("replace", ["true", "false"])
async def test_a_folder_with_the_name_of_a_file_is_not_replaced(house, replace):
    (home(house) / "colors.csv").mkdir()
    answer = await upload(house, replace=replace)
    assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")
    assert "contains a folder 'colors.csv'" in answer.json()["message"]
    assert left_behind(house) == ["colors.csv"]


async def test_an_upload_whose_file_has_become_a_folder_can_be_removed(house):
    await upload(house)
    (home(house) / "colors.csv").unlink()
    (home(house) / "colors.csv").mkdir()
    assert (await house.http.delete(f"{URL}/colors")).status_code == 200
    assert (home(house) / "colors.csv").is_dir()


async def test_a_dataset_whose_file_has_become_a_link_elsewhere_is_refused_wherever_it_is_used(house, tmp_path):
    await upload(house)
    (tmp_path / "secret.csv").write_bytes(CSV)
    (home(house) / "colors.csv").unlink()
    (home(house) / "colors.csv").symlink_to(tmp_path / "secret.csv")
    shown = await house.http.get(f"{URL}/colors")
    started = await house.post("/start", json={"dataset": "colors", "target_column": "y"})
    for answer in (shown, started):
        assert (answer.status_code, answer.json()["code"]) == (422, "data_error")
        assert "a link that leads out of the server's dataset folders" in answer.json()["message"]


GBK = ("城市,年龄,y\n" + "".join(f"{['北京', '上海'][i % 2]},{i},{i % 2}\n" for i in range(40))).encode("gbk")


async def test_options_of_an_upload_are_stored_shown_and_used(house: Any) -> None:
    columns = {"年龄": {"type": "number"}}
    query = {"encoding": "gbk", "columns": json.dumps(columns)}
    answer = await upload(house, "cities", GBK, **query)
    assert (answer.status_code, answer.json()["options"]) == (201, {"encoding": "gbk", "columns": columns})
    shown = (await house.http.get(f"{URL}/cities")).json()
    assert shown["options"] == answer.json()["options"]
    assert (shown["notes"], shown["first_rows"][0]) == ([], {"城市": "北京", "年龄": 0, "y": 0})
    checked = await house.http.post(
        "/api/v1/epoch-training/validate", json=TRAINING | {"dataset": "cities", "feature_columns": ["城市"]}
    )
    assert not [warning for warning in checked.json()["warnings"] if "detected" in warning]


async def test_options_in_a_form_come_before_the_file(house: Any) -> None:
    files = {"encoding": (None, "gbk"), "sheet": (None, "2"), "file": ("cities.csv", GBK)}
    answer = await house.http.post(URL, files=files)
    assert (answer.status_code, answer.json()["options"]) == (201, {"encoding": "gbk", "sheet": 2})
    late = {"file": ("more.csv", GBK), "encoding": (None, "gbk")}
    assert (await house.http.post(URL, files=late)).json()["problems"][0]["hint"] == "put 'encoding' before 'file'"


async def test_a_path_is_registered_with_options(house: Any) -> None:
    (home(house) / "cities.csv").write_bytes(GBK)
    body = {"name": "places", "path": "cities.csv", "encoding": "gb18030"}
    answer = await house.http.post(URL, json=body)
    assert (answer.status_code, answer.json()["options"]) == (201, {"encoding": "gb18030"})
    wrong = await house.http.post(URL, json=body | {"name": "wrong", "encoding": "utf-8"})
    assert "line 1 is not UTF-8: byte 1 of the line" in wrong.json()["problems"][0]["message"]


@pytest.mark.parametrize(
    ("options", "field"),
    [({"encoding": "klingon"}, "encoding"), ({"sheet": ""}, "sheet"), ({"columns": "{"}, "columns"),
     ({"columns": '{"a": {"type": "x"}}'}, "columns.a.type")],
)  # fmt: skip
async def test_options_that_make_no_sense_are_refused_by_name(house: Any, options: Any, field: str) -> None:
    answer = await upload(house, "cities", GBK, **options)
    assert (answer.status_code, answer.json()["problems"][0]["field"]) == (422, field)
    assert left_behind(house) == []


async def test_options_are_changed_and_the_profile_is_computed_again(house: Any) -> None:
    await upload(house, "cities", GBK)
    before = (await house.http.get(f"{URL}/cities")).json()
    assert "'cities' is read as GB18030, which was detected" in before["notes"][0]
    changed = await house.http.patch(f"{URL}/cities", json={"encoding": "utf-8"})
    assert changed.status_code == 422
    changed = await house.http.patch(f"{URL}/cities", json={"encoding": "gbk", "columns": {"y": {"type": "number"}}})
    assert changed.json()["options"] == {"encoding": "gbk", "columns": {"y": {"type": "number"}}}
    assert (await house.http.get(f"{URL}/cities")).json()["notes"] == []
    removed = await house.http.patch(f"{URL}/cities", json={"columns": None})
    assert removed.json()["options"] == {"encoding": "gbk"}


async def test_options_stay_while_a_task_needs_the_dataset(house: Any) -> None:
    await upload(house)
    await house.start(**TRAINING, dataset="colors")
    answer = await house.http.patch(f"{URL}/colors", json={"encoding": "utf-8"})
    assert (answer.status_code, answer.json()["code"]) == (409, "dataset_in_use")


async def test_options_of_unknown_and_built_in_datasets_cannot_be_changed(house: Any) -> None:
    assert (await house.http.patch(f"{URL}/nothing", json={})).status_code == 404
    assert (await house.http.patch(f"{URL}/iris", json={})).status_code == 409
    await upload(house)
    [problem] = (await house.http.patch(f"{URL}/colors", json={"sheeet": 1})).json()["problems"]
    assert problem["field"] == "sheeet"
