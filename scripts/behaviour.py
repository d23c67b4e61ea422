"""What the product does, recorded from outside, so that two versions of the source can be compared.

    python scripts/behaviour.py record BEFORE.json --source ../old-checkout
    python scripts/behaviour.py record AFTER.json
    python scripts/behaviour.py compare BEFORE.json AFTER.json

Everything goes through ``epochd serve``, ``epochd predict`` and the files that they leave. Record both versions on the
same machine, from the same checkout: bad inputs are those of its tests. What differs from run to run (ids, times,
memory) is replaced by placeholders.
"""

import argparse
import hashlib
import importlib
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import behaviour_answers as answers
import behaviour_cases as cases
import polars as pl
from behaviour_answers import Record
from behaviour_server import DATASETS, TRAINING, Notes, Server, normal, shape

HERE = Path(__file__).resolve().parent.parent
SECTIONS = (
    *("starts", "tasks", "histories", "files", "models", "weights", "splits", "predictions"),
    *("quiet", "datasets", "finished", "steering", "judgements", "corpus"),
)
IDENTICAL = ("histories", "models", "weights", "splits", "predictions")
MISSING = "(nothing)"


def record_trainings(server: Server, configs: Mapping[str, cases.Config], record: Record) -> dict[str, str]:
    """Start all, wait for all; each one's id."""
    ids = {}
    for name, config in configs.items():
        answer = server.ask("POST", f"{TRAINING}/start", json=config | {"output_path": f"/models/{folder_name(name)}"})
        record["starts"][name] = normal(answer.json())
        ids[name] = answer.json()["task_id"]
    for name, task_id in ids.items():
        collect(server, name, task_id, record)
    return ids


def folder_name(name: str) -> str:
    return re.sub(r"\W+", "-", name)


def collect(server: Server, name: str, task_id: str, record: Record) -> None:
    """All that a training has left, once it has ended."""
    task = server.until(task_id)
    print(f"{name}: {task['state']}", flush=True)
    record["tasks"][name] = normal(task)
    record["histories"][name] = normal(server.ask("GET", f"{TRAINING}/history/{task_id}").json()["history"])
    if task["artifact"]:
        collect_model(server, name, server.data_dir / task["artifact"], record)


def collect_model(server: Server, name: str, folder: Path, record: Record) -> None:
    described = json.loads((folder / "model.json").read_text())
    record["files"][name] = sorted(normal(path.name) for path in folder.parent.iterdir())
    record["files"][name] += sorted(path.name for path in folder.iterdir())
    record["models"][name] = normal(described)
    record["weights"][name] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    record["splits"][name] = hashlib.sha256(pl.read_parquet(folder / "splits.parquet").write_csv().encode()).hexdigest()
    rows = first_rows(server, described["spec"]["dataset"])
    record["predictions"][name] = server.predict(folder, rows).splitlines()


def first_rows(server: Server, dataset: str) -> Path:
    """A file with a dataset's first rows, for a model to predict."""
    path = server.data_dir / "rows" / f"{Path(dataset).stem}.parquet"
    path.parent.mkdir(exist_ok=True)
    if dataset in (made := cases.tables() if "." in dataset else {}):
        made[dataset].head(12).write_parquet(path)
    else:
        pl.DataFrame(server.ask("GET", f"{DATASETS}/{dataset}").json()["first_rows"]).write_parquet(path)
    return path


def record_paused(server: Server, record: Record) -> None:
    """A training that is paused and resumed on its way; it ends as if it had not been."""
    note = Notes(server, record["steering"])
    task_id = server.ask("POST", f"{TRAINING}/start", json=cases.PAUSED).json()["task_id"]
    server.until(task_id, epoch=3)
    note("POST", f"{TRAINING}/pause/{task_id}?wait=60", about="on its way", change=shape)
    note("GET", f"{TRAINING}/progress/{task_id}", about="paused on its way", change=shape)
    note("POST", f"{TRAINING}/resume/{task_id}", about="paused on its way", change=shape)
    collect(server, "torch mlp, paused and resumed", task_id, record)


def record_successors(server: Server, ids: Mapping[str, str], record: Record) -> None:
    """Tasks that go on from tasks which have ended."""
    note = Notes(server, record["steering"])
    parents = {"continue": "torch mlp, no validation", "retry": "torch mlp, diverges"}
    bodies = {"continue": {"epochs": 5}, "retry": {"from_beginning": True}}
    for order, parent in parents.items():
        answer = note("POST", f"{TRAINING}/{order}/{ids[parent]}", about=str(bodies[order]), json=bodies[order])
        collect(server, f"{parent}, {order}", answer["task_id"], record)


def record_judgements(server: Server, record: Record) -> None:
    """What ``validate`` says of good and of broken inputs."""
    for name, config in cases.GOOD.items():
        record["judgements"][name] = normal(server.ask("POST", f"{TRAINING}/validate", json=config).json())
    for name, config in broken_inputs(server.data_dir / "datasets"):
        answer = server.ask("POST", f"{TRAINING}/validate", json=config).json()
        record["corpus"][name] = normal({"problems": answer["problems"], "warnings": answer["warnings"]})


def broken_inputs(folder: Path) -> Iterator[tuple[str, cases.Config]]:
    """Those of the tests: each case's name and config, its files in a folder of its own."""
    sys.path.insert(0, str(HERE))
    files, tables = (importlib.import_module(f"tests.support.{name}") for name in ("broken_files", "broken_tables"))
    for name, build in files.BROKEN.items():
        (folder / name).mkdir()
        yield name, {"dataset": f"{name}/{build(folder / name)[0]}", "target_column": "y"}
    for name, build in (tables.BROKEN_TABLES | tables.SUSPICIOUS_TABLES).items():
        (folder / name).mkdir()
        config = build().write(folder / name)
        inside = {key: f"{name}/{config[key]}" for key in ("dataset", "validation_dataset") if key in config}
        yield name, config | inside


def record_all(source: Path) -> Record:
    record: Record = {name: {} for name in SECTIONS}
    with tempfile.TemporaryDirectory(prefix="behaviour-") as made:
        folder = Path(made)
        shop = cases.write_shop(folder / "shop.db")
        with server_of(source, folder / "main", EPOCHD_SLOTS="2", EPOCHD_CONNECTIONS=shop) as server:
            answers.record_quiet(server, record)
            answers.record_datasets(server, record)
            ids = record_trainings(server, cases.TRAININGS, record)
            record_paused(server, record)
            record_successors(server, ids, record)
            answers.record_finished(server, ids, record)
        with server_of(source, folder / "small", EPOCHD_SLOTS="1", EPOCHD_RESIDENT_MB="1") as server:
            record_trainings(server, cases.STREAMED, record)
            record["files"]["streamed rows"] = sorted(path.name for path in server.data_dir.glob("cache/rows/*"))
            answers.record_steering(server, record)
        with server_of(source, folder / "judge", EPOCHD_MEMORY_MB="2000") as server:
            record_judgements(server, record)
    return record


def server_of(source: Path, folder: Path, **settings: str) -> Server:
    server = Server(source, folder, **settings)
    cases.write_tables(folder / "datasets")
    return server


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value that is no container, or an empty one, under the way to it."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not members:
        yield path, value
    for name, one in members:
        yield from leaves(one, (*path, str(name)))


def compare(before: Record, after: Record) -> int:
    """Print all differences by section; 1 if there is one where there must not be."""
    status = 0
    for section in sorted({*before, *after}):
        old, new = (dict(leaves(record.get(section, {}))) for record in (before, after))
        differing = [path for path in {**old, **new} if old.get(path, MISSING) != new.get(path, MISSING)]
        strict = section in IDENTICAL
        status |= bool(differing) and strict
        print(f"{section}: {len(differing) or 'no'} differences{' (it has to be identical)' if strict else ''}")
        for path in differing:
            print(f"  {' / '.join(path)}\n    before: {old.get(path, MISSING)}\n    after:  {new.get(path, MISSING)}")
    return status


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="record what a version does")
    recording.add_argument("out", type=Path)
    recording.add_argument("--source", type=Path, default=HERE, help="a checkout, or a folder that holds epochd")
    comparing = commands.add_parser("compare", help="list what differs between two records")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    return parser.parse_args()


def main() -> int:
    given = arguments()
    if given.command == "compare":
        return compare(*(json.loads(path.read_text()) for path in (given.before, given.after)))
    source = given.source.resolve()
    source = source / "src" if (source / "src" / "epochd").is_dir() else source
    record = record_all(source)
    given.out.write_text(json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
