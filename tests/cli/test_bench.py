"""``epochd bench``, with one engine and small networks."""

import json
from pathlib import Path
from typing import Any

import pytest

from epochd.core import specs
from epochd.core.settings import Settings
from epochd.engines import registry, speeds
from epochd.engines.speeds import Sample, Speeds
from epochd.loop.engine import Setup
from epochd.worker import measurement
from epochd.worker.measurement import Measured

NETWORKS = ["mlp", "cnn", "cnn2d", "lstm", "gru"]
QUICK = ("bench", "--size", "small", "--seconds", "0")


@pytest.fixture(autouse=True)
def _one_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "installed", lambda: ["pytorch"])


def test_each_network_is_measured_and_auto_uses_the_table(run: Any, tmp_path: Path) -> None:
    server = Speeds(tmp_path / "speeds")
    ended = run(*QUICK, "--json", "--data-dir", tmp_path)
    told = json.loads(ended.out)
    assert list(told["cpu"]) == NETWORKS
    assert all(set(row) == {"pytorch"} for row in told["cpu"].values())
    assert told["engines"]["pytorch"]["import"] > 0.1, "the framework is imported in a process of its own"
    assert told["engines"]["pytorch"]["start"] > 0
    assert server.table.as_json() == told
    setup = Setup(specs.parse({"target_column": "t", "epochs": 3, "early_stopping_patience": None}), "binary", (30,), 1)
    expected = speeds.training_seconds("pytorch", setup, 455, measured=server)
    assert expected != speeds.training_seconds("pytorch", setup, 455)


def test_the_table_has_a_line_for_each_network_and_engine(run: Any, tmp_path: Path) -> None:
    ended = run(*QUICK, "--data-dir", tmp_path)
    assert [line.split()[0] for line in ended.out.splitlines()[-len(NETWORKS) :]] == NETWORKS
    assert f"stored in {tmp_path / 'speeds'}" in ended.err


def test_an_engine_that_cannot_be_measured_is_left_out(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "installed", lambda: ["broken", "pytorch"])
    ended = run(*QUICK, "--json", "--data-dir", tmp_path)
    assert "the speed of broken cannot be measured" in ended.err
    assert list(json.loads(ended.out)["engines"]) == ["pytorch"]


def test_without_any_measurement_nothing_is_stored(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "installed", lambda: ["broken"])
    assert run(*QUICK, "--data-dir", tmp_path).code == 1
    assert not (tmp_path / "speeds").exists()


@pytest.mark.parametrize("blocked", ["speeds", "speeds/table.json"], ids=["before", "afterwards"])
def test_a_table_that_cannot_be_stored_is_an_error(run: Any, tmp_path: Path, monkeypatch: Any, blocked: str) -> None:
    if blocked == "speeds":
        monkeypatch.setattr(measurement, "measured", lambda *_, **__: pytest.fail("it is known before"))
        (tmp_path / blocked).touch()
    else:
        (tmp_path / blocked).mkdir(parents=True)
    ended = run(*QUICK, "--data-dir", tmp_path)
    assert ended.code == 1
    assert f"measured speeds cannot be stored in {tmp_path / 'speeds'}: " in " ".join(ended.err.split())


def test_larger_networks_are_measured_with_all_threads_too(run: Any, tmp_path: Path, monkeypatch: Any) -> None:
    runs: list[tuple[int, list[str]]] = []

    def measured(engine: str, sizes: list[str], *, threads: int, seconds: float) -> Any:
        runs.append((threads, sizes))
        yield Measured(engine, {"start": 0.1, "import": 1.0})
        for flops in (1e8, 1e10) if "large" in sizes else (1e6,):
            step = flops * (0.5e-11 if threads > 1 and flops > 1e9 else 1e-11)
            yield Measured(engine, sample=Sample(engine, "mlp", flops, step, 0.0), threads=threads)

    monkeypatch.setattr(measurement, "measured", measured)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    ended = run("bench", "--data-dir", tmp_path, "--json")
    assert runs == [(1, ["small", "medium", "large"]), (8 // Settings().slots, ["medium", "large"])]
    assert json.loads(ended.out)["threads"] == {"mlp": {"pytorch": 1e10}}
    assert Speeds(tmp_path / "speeds").table.threads_of("pytorch") == {"mlp": 1e10}
    assert run("bench", "--data-dir", tmp_path).out.splitlines()[-1].split()[-1] == "10"


def test_of_several_measurements_the_fastest_counts() -> None:
    def line(step: float, compiled: float, start: float) -> list[Measured]:
        sample = Sample("jax", "mlp", 1e9, step, compiled)
        return [Measured("jax", {"start": start, "import": 2.0 - start}), Measured("jax", sample=sample)]

    found = measurement.table([*line(0.2, 3.0, 0.5), *line(0.1, 4.0, 0.7)], threads=2)
    assert found.samples == (Sample("jax", "mlp", 1e9, 0.1, 3.0),)
    assert found.processes == {"jax": {"start": 0.5, "import": 1.3}}
    assert found.speeds["mlp"]["jax"].compile == 3.0
