"""Who has which GPU; no GPU is needed to find out."""

import pytest

from epochd.core import specs
from epochd.core.errors import SettingsError
from epochd.dispatch.host import gpus
from epochd.dispatch.host.gpus import Gpu, GpuPool, GpuProcess


def spec(**options):
    return specs.parse({"target_column": "t", **options})


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A stand-in for the driver's tool; returns a function that writes what it answers."""

    def install(script):
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpus._detected.cache_clear()
    yield install
    gpus._detected.cache_clear()


def test_the_driver_is_asked(driver):
    driver("echo 0; echo 1")
    assert gpus.detect("auto") == [0, 1]


def test_a_machine_without_the_tool_has_none(driver):
    assert gpus.detect("auto") == []


def test_a_driver_that_fails_is_logged_and_the_machine_has_none(driver, caplog):
    driver("exit 9")
    assert gpus.detect("auto") == []
    assert "nvidia-smi failed, so trainings run on the CPU" in caplog.text


USERS = """
case "$1" in
  *gpu=*) echo "0, GPU-aa"; echo "1, GPU-bb";;
  *) echo "4711, GPU-bb, 512"; echo "4712, GPU-aa, [N/A]"; echo "4713, GPU-cc, 1";;
esac
"""


def test_the_driver_says_who_uses_which(driver):
    driver(USERS)
    assert gpus.list_processes() == [GpuProcess(4711, 1, 512 * 2**20), GpuProcess(4712, 0, None)]


@pytest.mark.parametrize("answer", ["exit 9", "echo No devices were found"])
def test_a_driver_that_does_not_say_who_uses_them_is_logged(driver, caplog, answer):
    driver(answer)
    assert gpus.list_processes() == []
    assert "failed to list the processes on the GPUs" in caplog.text


def test_without_the_tool_nobody_uses_any(driver, caplog):
    assert gpus.list_processes() == []
    assert caplog.text == ""


@pytest.mark.parametrize(("visible", "found"), [("1", [1]), ("", []), ("1,7", [1]), ("GPU-abc", [])])
def test_what_the_environment_hides_is_not_given_away(driver, monkeypatch, visible, found):
    driver("echo 0; echo 1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus.detect("auto") == found


def test_the_setting_can_name_them_or_none():
    assert gpus.detect("none") == []
    assert gpus.detect("2, 0") == [0, 2]
    with pytest.raises(SettingsError, match=r"^invalid settings: EPOCHD_GPUS=all: use auto, none"):
        gpus.detect("all")


@pytest.mark.parametrize(
    ("options", "owned", "needed"),
    [
        ({}, 0, 0),
        ({}, 4, 1),
        ({"device": "cpu"}, 4, 0),
        ({"num_devices": 2}, 4, 0),
        ({"num_gpus": 3}, 4, 3),
        ({"num_gpus": "auto"}, 4, 4),
        ({"num_gpus": "auto"}, 0, 0),
    ],
)
def test_how_many_a_training_takes(options, owned, needed):
    assert gpus.needed(spec(**options), owned) == needed


def test_a_gpu_belongs_to_one_training_until_it_is_given_back():
    pool = GpuPool([0, 1, 2])
    assert pool.allocate(("a", 1), spec(num_gpus=2)) == [0, 1]
    assert pool.allocate(("b", 1), spec()) == [2]
    assert pool.free == []
    assert pool.allocated(("b", 1)) == [2]
    assert pool.allocate(("on the CPU", 1), spec(device="cpu")) == []
    pool.release(("a", 1))
    assert pool.allocate(("c", 1), spec(num_gpus=2)) == [0, 1]


def test_a_training_that_wants_more_than_there_are_gets_what_is_free():
    pool = GpuPool([0])
    assert pool.allocate(("large", 1), spec(num_gpus=2)) == [0]


def test_a_training_of_a_former_server_keeps_its_gpus():
    pool = GpuPool([0, 1])
    pool.reserve(("old", 1), [1])
    assert pool.allocate(("new", 1), spec()) == [0]
    assert pool.free == []


def test_the_use_of_some_gpus_is_measured(driver):
    driver('echo "0, 37, 1024, 81559"; echo "1, [N/A], 0, 81559"; echo "2, 5, 5, 5"')
    assert gpus.usage([0, 1]) == [
        {"id": 0, "utilization": 0.37, "memory": 1024 * 2**20, "memory_total": 81559 * 2**20},
        {"id": 1, "utilization": None, "memory": 0, "memory_total": 81559 * 2**20},
    ]


def test_memory_that_the_driver_does_not_report_is_none(driver):
    driver('echo "0, 5, [N/A], [N/A]"')
    assert gpus.usage([0]) == [{"id": 0, "utilization": 0.05, "memory": None, "memory_total": None}]


@pytest.mark.parametrize("answer", ["exit 9", 'echo "a, b, c, d"'])
def test_a_driver_that_cannot_measure_is_logged(driver, caplog, answer):
    driver(answer)
    assert gpus.usage([0]) == []
    assert "failed to measure" in caplog.text


def test_gpus_have_names_and_memory_where_the_driver_reports_it(driver):
    driver('echo "0, NVIDIA H200, 143771, 512"; echo "1, Tegra X1, [N/A], [N/A]"')
    assert gpus.list_gpus() == [
        Gpu(0, "NVIDIA H200", 143771 * 2**20, 512 * 2**20),
        Gpu(1, "Tegra X1", None, None),
    ]


@pytest.mark.parametrize("answer", ["exit 9", "echo No devices were found"])
def test_a_driver_that_does_not_describe_them_is_logged(driver, caplog, answer):
    driver(answer)
    assert gpus.list_gpus() == []
    assert "nvidia-smi failed to describe the GPUs" in caplog.text
