"""The dashboard as the server sends it: its page at each address, its files, its policy; and what is not built."""

import re
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from epochd.api import dashboard
from epochd.api.security import RootPath
from epochd.core.settings import Settings

PAGE = '<!doctype html><base href="/" /><script type="module" src="./assets/index-Ab12.js"></script>'
SCRIPT = "export const answer = 42;\n" * 100


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "static/assets").mkdir(parents=True)
    (tmp_path / "static/index.html").write_text(PAGE)
    (tmp_path / "static/assets/index-Ab12.js").write_text(SCRIPT)
    (tmp_path / "secret.txt").write_text("nobody may read this")
    return tmp_path / "static"


def client(built: Path, prefix: str = "") -> httpx.AsyncClient:
    app = FastAPI()
    app.add_middleware(RootPath, prefix=prefix)
    dashboard.install(app, Settings(root_path=prefix), built)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


ADDRESSES = [
    "/",
    "/tasks",
    "/tasks/epoch_training_20260131_093000_4fd2c1",
    "/models/models/churn",
    "/start?dataset=iris",
]


@pytest.mark.parametrize("address", ADDRESSES)
async def test_each_address_is_the_page(built, address):
    answer = await client(built).get(address)
    assert (answer.status_code, answer.text) == (200, PAGE)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("prefix", ["/epochd", "/lab/epochd"])
@pytest.mark.parametrize("is_stripped", [True, False])
async def test_under_a_prefix_the_page_says_where_it_is(built, prefix, is_stripped):
    http = client(built, prefix)
    for address in ("", *ADDRESSES):
        answer = await http.get((address or "/") if is_stripped else prefix + address)
        assert answer.text == PAGE.replace('href="/"', f'href="{prefix}/"'), address
    script = "/assets/index-Ab12.js"
    assert (await http.get(script if is_stripped else prefix + script)).text == SCRIPT


async def test_the_policy_allows_the_files_of_the_server_only(built):
    answer = await client(built).get("/")
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'self'"
    assert policy["object-src"] == policy["frame-ancestors"] == "'none'"
    assert not re.search(r"unsafe|\*|https?:|data:", str(policy))
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_files_never_change_under_their_names_and_are_compressed(built):
    http = client(built)
    answer = await http.get("/assets/index-Ab12.js", headers={"Accept-Encoding": "gzip"})
    assert answer.text == SCRIPT
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = await http.get("/assets/index-Ab12.js", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    "path", ["../../secret.txt", "..%2f..%2fsecret.txt", "%2e%2e/%2e%2e/secret.txt", "//etc/passwd", "../index.html"]
)
async def test_nothing_outside_the_files_is_sent(built, path):
    scope = {
        "type": "http",
        "method": "GET",
        "path": f"/assets/{path}",
        "root_path": "",
        "headers": [],
        "query_string": b"",
    }
    for raw in (
        f"http://localhost/assets/{path}",
        httpx.URL("http://localhost").copy_with(raw_path=scope["path"].encode()),
    ):
        answer = await client(built).get(raw)
        assert answer.status_code == 404 or answer.text == PAGE
        assert "nobody" not in answer.text


async def test_a_page_is_only_read(built):
    assert (await client(built).head("/")).status_code == 200
    assert (await client(built).post("/", json={})).status_code == 405


async def test_without_a_build_the_page_says_how_to_make_one(tmp_path):
    answer = await client(tmp_path / "absent", "/epochd").get("/epochd/")
    assert answer.status_code == 404
    assert "make setup" in answer.text
    assert '<base href="/epochd/"' in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")


async def test_the_page_needs_no_token_and_other_paths_are_as_before(open_house):
    house = await open_house(tokens="secret")
    assert (await house.http.get("/tasks")).headers["content-type"].startswith("text/html")
    for path in ("/api/v1/models", "/api/v1/epoch-training/tasks"):
        assert (await house.http.get(path)).json()["code"] == "unauthorized"
    for path in ("/api", "/api/v1/nothing", "/nothing", "/assets/nothing.js", "/tasksets"):
        answer = await house.http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
    assert (await house.http.get("/v2/nothing")).json().keys() == {"error"}
    assert (await house.http.get("/health")).json()["status"] == "ok"
    assert "/" not in (await house.http.get("/openapi.json")).json()["paths"]


async def test_the_list_of_tasks_is_sorted_by_the_server(house):
    for name in ("b", "c", "a"):
        await house.start(name=name)

    async def names(sort: str) -> list[str]:
        found = (await house.get(f"/tasks?sort={sort}")).json()["tasks"]
        return [task["name"] for task in found]

    assert await names("name") == ["a", "b", "c"]
    assert await names("-name") == ["c", "b", "a"]
    assert await names("created") == ["b", "c", "a"]
    assert await names("-created") == ["a", "c", "b"]
    answer = await house.get("/tasks?sort=size")
    assert answer.status_code == 422
    assert "sort" in answer.json()["message"]


async def test_the_descriptions_of_options_have_the_language_of_the_request(house):
    described = {}
    for language in ("en", "zh"):
        schema = (await house.get("/schema", headers={"Accept-Language": language})).json()
        described[language] = {name: field["description"] for name, field in schema["properties"].items()}
    assert described["en"]["epochs"] == "The number of passes over the training rows."
    assert "``" not in str(described)
    untranslated = {name for name, text in described["zh"].items() if not re.search(r"[\u4e00-\u9fff]", text)}
    assert untranslated == set()
