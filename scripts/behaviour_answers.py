"""The requests of which ``behaviour.py`` records the answers: every route, what it refuses, in both languages."""

from collections.abc import Mapping, Sequence
from typing import Any

import behaviour_cases as cases
from behaviour_server import CHINESE, DATASETS, TRAINING, Notes, Server, normal, shape, without_lines

Record = dict[str, dict[str, Any]]


def routes(task_id: str) -> Sequence[tuple[str, str]]:
    """Every route about one task, as method and path below the API's prefix."""
    reads = [("GET", f"/{what}/{task_id}") for what in ("tasks", "progress", "history", "stream-progress", "logs")]
    orders = [("POST", f"/{order}/{task_id}") for order in ("pause", "resume", "stop", "retry", "continue")]
    return [*reads, *orders, ("DELETE", f"/tasks/{task_id}")]


def record_quiet(server: Server, record: Record) -> None:
    """Answers of a server that has trained nothing yet."""
    note = Notes(server, record["quiet"])
    record["openapi"] = server.ask("GET", "/openapi.json").json()
    note("GET", "/health", change=shape)
    for path in ("/tasks", "/schema", "/tasks?limit=0", "/tasks?state=nonsense", "/nonsense"):
        note.both("GET", f"{TRAINING}{path}")
    for method, path in routes("nobody"):
        note.both(method, f"{TRAINING}{path}")
    for name, config in cases.BAD.items():
        note.both("POST", f"{TRAINING}/validate", about=name, json=config)
        note("POST", f"{TRAINING}/start", about=name, json=config)
    note("POST", f"{TRAINING}/start", about="no JSON", content=b"{")
    note.both("PUT", f"{TRAINING}/start")
    note("POST", f"{TRAINING}/start", about="too large", content=b" " * (2 << 20))
    note("GET", "/api/v1/system/reconcile")
    note("POST", "/api/v1/system/reconcile")


def record_datasets(server: Server, record: Record) -> None:
    """The registry: uploads, paths, queries, and what is refused."""
    note = Notes(server, record["datasets"])
    rows, other = b"a,b,y\n1,x,0\n2,,1\n3.5,z,1\n", b"a,b,y\n9,x,0\n"
    note("POST", f"{DATASETS}?filename=mine.csv", content=rows)
    note("POST", f"{DATASETS}?filename=mine.csv", about="again", content=rows)
    note("POST", f"{DATASETS}?filename=mine.csv&replace=true", content=other)
    note("POST", DATASETS, about="form", data={"name": "formed"}, files={"file": ("f.ndjson", b'{"a": 1}\n{"a": 2}\n')})
    note("POST", f"{DATASETS}?filename=bad.csv", content=b"a,b\n1,2,3\n")
    note("POST", f"{DATASETS}?filename=bad.xyz", content=b"a,b\n1,2\n")
    note("POST", f"{DATASETS}?filename=a.csv&name=../up", content=rows)
    note("POST", DATASETS, about="path", json={"name": "people", "path": "people.parquet"})
    note("POST", DATASETS, about="outside path", json={"name": "out", "path": "/etc/passwd"})
    note("POST", DATASETS, about="query", json={"name": "sold", "connection": "shop", "query": "SELECT * FROM sales"})
    note("POST", DATASETS, about="bad query", json={"name": "s2", "connection": "shop", "query": "SELECT * FROM sale"})
    note("POST", DATASETS, about="no connection", json={"name": "s3", "connection": "shp", "query": "SELECT 1"})
    note("POST", DATASETS, about="incomplete", json={"name": "s4"})
    for name in ("sold", "mine", "iris", "nobody"):
        note.both("POST", f"{DATASETS}/{name}/refresh")
    for name in ("mine", "people", "formed", "sold", "nobody", *cases.BUILTIN):
        note.both("GET", f"{DATASETS}/{name}")
    for query in ("", "?name=i", "?limit=2&offset=3", "?limit=0"):
        note("GET", f"{DATASETS}{query}")
    for name in ("mine", "sold", "people", "formed", "iris", "nobody"):
        note("DELETE", f"{DATASETS}/{name}")
    record["datasets"]["files left"] = sorted(path.name for path in (server.data_dir / "datasets").iterdir())


def record_finished(server: Server, ids: Mapping[str, str], record: Record) -> None:
    """Every route about a task that has completed, and about one that has failed."""
    note = Notes(server, record["finished"])
    for name in ("torch mlp, diverges", "torch mlp, classes"):
        for method, path in routes(ids[name])[:-1]:
            change = without_lines if "/logs/" in path else normal
            if "diverges" not in name or "/retry/" not in path:
                note(method, f"{TRAINING}{path}", about=name, change=change)
                note(method, f"{TRAINING}{path}", about=name, change=change, language=CHINESE)
    one = ids["torch mlp, classes"]
    for query in ("last_event_id=5", "last_event_id=9999", "last_event_id=x"):
        note("GET", f"{TRAINING}/stream-progress/{one}?{query}")
    note("GET", f"{TRAINING}/logs/{one}?attempt=9")
    note("GET", f"{TRAINING}/logs/{one}?tail=0")
    note("GET", f"{TRAINING}/logs/{one}?follow=true", change=lambda printed: "<lines>")
    for query in ("?state=failed", "?limit=2&offset=1", "?name=train", "?name=nobody"):
        note("GET", f"{TRAINING}/tasks{query}")
    note("DELETE", f"{TRAINING}/tasks/{one}?keep_model=true")
    note("DELETE", f"{TRAINING}/tasks/{ids['torch mlp, two devices']}")
    note("GET", f"{TRAINING}/tasks/{one}", about="removed")
    note("GET", f"{TRAINING}/tasks", about="at the end")
    note("GET", "/health", change=shape)


def note_pending(server: Server, note: Notes) -> None:
    """A task that waits for the only slot."""
    task_id = note("POST", f"{TRAINING}/start", about="pending", json=cases.SHORT)["task_id"]
    note.both("GET", f"{TRAINING}/progress/{task_id}", about="pending")
    note("DELETE", f"{TRAINING}/tasks/{task_id}", about="pending")
    for number, order in enumerate(("resume", "pause", "pause", "resume", "retry", "stop", "stop", "resume")):
        note("POST", f"{TRAINING}/{order}/{task_id}", about=f"pending, order {number}")
        note("GET", f"{TRAINING}/tasks/{task_id}", about=f"pending, after order {number}")
    server.ask("POST", f"{DATASETS}?filename=used.csv", content=cases.people().head(60).write_csv().encode())
    config = {"dataset": "used", "target_column": "answer", "framework": "pytorch"}
    user = note("POST", f"{TRAINING}/start", about="uploaded dataset", json=config)["task_id"]
    note("DELETE", f"{DATASETS}/used", about="in use")
    note("POST", f"{DATASETS}?filename=used.csv&replace=true", about="in use", content=b"a,y\n1,2\n")
    note("POST", f"{TRAINING}/stop/{user}", about="uploaded dataset")
    note("DELETE", f"{TRAINING}/tasks/{user}", about="uploaded dataset")
    note("DELETE", f"{DATASETS}/used", about="free")


def record_steering(server: Server, record: Record) -> None:
    """Orders to a task that runs in the only slot, and to others behind it."""
    note = Notes(server, record["steering"])
    long = server.ask("POST", f"{TRAINING}/start", json=cases.LONG).json()["task_id"]
    server.until(long, epoch=1)
    note_pending(server, note)
    for method, path in (("DELETE", "/tasks"), ("POST", "/retry"), ("POST", "/continue"), ("POST", "/resume")):
        note(method, f"{TRAINING}{path}/{long}", about="running")
    note("GET", "/api/v1/system/reconcile", about="running", change=shape)
    note("GET", f"{TRAINING}/tasks/{long}", about="running", change=shape)
    note.both("POST", f"{TRAINING}/pause/{long}?wait=60", about="running")
    for changes in ({"epochs": 1}, {"optimizer": "sgd"}, {"learning_rate": "fast"}, {"gamma": 0.5, "T_max": 3}):
        note("POST", f"{TRAINING}/resume/{long}", about=str(changes), json=changes, change=shape)
    changes = {"epochs": 60_000, "learning_rate": 0.002, "learning_rate_scheduler": "cosine"}
    note("POST", f"{TRAINING}/resume/{long}", about="changes", json=changes, change=shape)
    note.both("POST", f"{TRAINING}/stop/{long}?wait=60", about="running")
    note("GET", f"{TRAINING}/tasks/{long}", about="stopped", change=shape)
    note("DELETE", f"{TRAINING}/tasks/{long}", about="stopped")
