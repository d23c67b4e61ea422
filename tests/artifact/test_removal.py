"""What goes from the disk with a task, and what stays."""

import errno
import os
from pathlib import Path

import pytest

from epochd.artifact import files, removal
from epochd.core.errors import OutOfSpace
from epochd.core.jobs import Job, State
from epochd.core.settings import Settings
from epochd.core.specs import TrainingSpec

ONE, TWO, THREE = (f"epoch_training_20260101_00000{n}_abcdef" for n in (1, 2, 3))


@pytest.fixture
def settings(tmp_path):
    return Settings(data_dir=tmp_path)


def job(task_id: str, output_path: str = "/models/x") -> Job:
    spec = TrainingSpec.model_construct(target_column="y", output_path=output_path)
    return Job(task_id, spec, State.COMPLETED, created_at=0.0, queued_at=0.0)


def trained(settings: Settings, task_id: str, finished_at: int) -> Path:
    """All that a completed task leaves; its model's folder."""
    for folder in (settings.checkpoints_dir / task_id / "0001-000001", settings.logs_dir / task_id):
        folder.mkdir(parents=True)
        (folder / "file").write_text("content")
    model = settings.artifacts_dir / "models" / "x" / task_id
    with files.durable_folder(model) as path:
        (path / "model.json").write_text("{}")
    os.utime(model / files.MANIFEST, (finished_at, finished_at))
    files.replace_link(model.parent / files.LATEST, model)
    return model


def remove(settings: Settings, task_id: str, *, keep_model: bool = False) -> None:
    removal.complete(settings, removal.write_note(settings, job(task_id), keep_model=keep_model))


def rest(settings: Settings) -> set[str]:
    """Ids in all paths below the data folder."""
    return {part for path in settings.data_dir.rglob("*") for part in path.parts if part.startswith("epoch_training")}


def test_everything_of_a_task_goes_and_nothing_of_another(settings):
    trained(settings, TWO, 2)
    one, two = trained(settings, ONE, 1), settings.artifacts_dir / "models" / "x" / TWO
    remove(settings, ONE)
    assert rest(settings) == {TWO}
    assert not one.exists()
    files.verify(two)


def test_a_model_that_is_kept_is_kept_with_latest(settings):
    model = trained(settings, ONE, 1)
    remove(settings, ONE, keep_model=True)
    files.verify(model.parent / files.LATEST)
    assert not (settings.checkpoints_dir / ONE).exists()
    assert not (settings.logs_dir / ONE).exists()


def test_latest_goes_back_to_the_model_that_was_finished_before_and_then_goes(settings):
    trained(settings, THREE, 1)  # created last, finished first
    trained(settings, ONE, 2)
    latest = trained(settings, TWO, 3).parent / files.LATEST
    for task_id, left in ((TWO, ONE), (ONE, THREE)):
        remove(settings, task_id)
        assert latest.readlink() == Path(left)
    remove(settings, THREE)
    assert not os.path.lexists(latest)


def test_latest_stays_where_it_is_when_another_model_goes(settings):
    trained(settings, ONE, 9)
    latest = trained(settings, TWO, 1).parent / files.LATEST
    remove(settings, ONE)
    assert latest.readlink() == Path(TWO)


def test_latest_never_leads_to_half_a_model_or_to_what_is_no_task_s(settings):
    latest = trained(settings, ONE, 1).parent / files.LATEST
    (latest.parent / TWO).mkdir()
    with files.durable_folder(latest.parent / "mine"):
        pass
    remove(settings, ONE)
    assert not os.path.lexists(latest)
    assert (latest.parent / "mine").is_dir()


def test_a_model_that_is_finished_meanwhile_gets_latest(settings, monkeypatch):
    model = trained(settings, ONE, 1)
    look = removal._newest

    def slow(folder, but):
        found = look(folder, but)
        if found is None:
            trained(settings, TWO, 2)
        return found

    monkeypatch.setattr(removal, "_newest", slow)
    removal.repoint_latest(model)
    assert (model.parent / files.LATEST).readlink() == Path(TWO)


def test_a_task_that_left_nothing_is_removed_too_and_half_written_models_go(settings):
    remove(settings, ONE)
    half = settings.artifacts_dir / "models" / "x" / f"{files.TEMPORARY}{ONE}-1234"
    half.mkdir(parents=True)
    remove(settings, ONE)
    assert not half.exists()


def test_a_removal_that_dies_leaves_a_whole_model_or_none(settings, monkeypatch):
    model = trained(settings, ONE, 1)

    def die(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(removal, "_delete", die)
    with pytest.raises(KeyboardInterrupt):
        remove(settings, ONE)
    assert list(model.parent.iterdir()) == []
    monkeypatch.undo()
    removal.complete_interrupted(settings, {TWO})
    assert rest(settings) == set()


def test_a_model_on_another_disk_goes_where_it_lies(settings, monkeypatch):
    model = trained(settings, ONE, 1)

    def refuse(self, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "rename", refuse)
    remove(settings, ONE)
    assert not model.exists()


def test_a_sweep_ends_what_was_noted_and_touches_nothing_else(settings):
    models = {task_id: trained(settings, task_id, n) for n, task_id in enumerate((ONE, TWO, THREE))}
    removal.write_note(settings, job(ONE), keep_model=False)
    removal.write_note(settings, job(TWO), keep_model=False)  # the server died before the row went
    removal.complete_interrupted(settings, {TWO})
    assert rest(settings) == {TWO, THREE}  # no note tells of the last, though the database does not know it
    assert list(settings.removals_dir.iterdir()) == []
    files.verify(models[TWO])
    files.verify(models[THREE])


def test_a_note_that_keeps_the_model_keeps_it_in_the_sweep_too(settings):
    model = trained(settings, ONE, 1)
    removal.write_note(settings, job(ONE), keep_model=True)
    removal.complete_interrupted(settings, set())
    files.verify(model)
    assert not (settings.checkpoints_dir / ONE).exists()


def test_a_note_that_makes_no_sense_is_told_and_left(settings, caplog):
    trained(settings, ONE, 1)
    note = removal.write_note(settings, job(ONE), keep_model=False)
    note = note.rename(note.with_name(f"{ONE}.json"))
    note.write_text("{")
    removal.complete_interrupted(settings, set())
    assert str(note) in caplog.text
    assert (settings.checkpoints_dir / ONE).is_dir()


def test_a_note_needs_no_room_on_the_disk(settings):
    model = trained(settings, ONE, 1)
    note = removal.write_note(settings, job(ONE), keep_model=False)
    assert note.stat().st_size == 0
    removal.complete_interrupted(settings, set())
    assert not model.exists()
    assert not note.exists()


def test_the_note_of_a_model_whose_folder_is_too_long_for_a_name_has_it_inside(settings):
    long = "/".join(["öäü" * 20] * 8)
    model = settings.artifacts_dir / long / ONE
    with files.durable_folder(model):
        pass
    removal.write_note(settings, job(ONE, long), keep_model=False)
    removal.complete_interrupted(settings, set())
    assert not model.exists()


def test_a_note_that_does_not_fit_on_the_disk_is_told_and_not_left(settings, monkeypatch):
    def refuse(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "flush", refuse)
    with pytest.raises(OutOfSpace, match="nothing was removed; free space"):
        removal.write_note(settings, job(ONE), keep_model=False)
    assert list(settings.removals_dir.iterdir()) == []


def test_a_model_inside_the_folder_of_another_outlives_it(settings, caplog):
    """Earlier versions accepted an output path that leads into the folder of another task."""
    outer, inner = trained(settings, ONE, 1), settings.artifacts_dir / "models" / "x" / ONE / TWO
    with files.durable_folder(inner) as path:
        (path / "model.json").write_text("{}")
    files.replace_link(outer / files.LATEST, inner)
    remove(settings, ONE)
    files.verify(outer / files.LATEST)
    assert {path.name for path in outer.iterdir()} == {TWO, files.LATEST}
    assert str(outer) in caplog.text
    removal.complete(settings, removal.write_note(settings, job(TWO, f"/models/x/{ONE}"), keep_model=False))
    assert list(outer.iterdir()) == []


def test_a_model_without_a_readable_manifest_is_left(settings, caplog):
    model = trained(settings, ONE, 1)
    (model / files.MANIFEST).write_text("{")
    remove(settings, ONE)
    assert [path.name for path in model.iterdir()] == ["model.json"]
    assert "delete it manually" in caplog.text
    assert not (settings.checkpoints_dir / ONE).exists()


@pytest.mark.parametrize("folder", ["名" * 100, "a/" + "b" * 300, "/".join(["x" * 100] * 50), "file/x"])
def test_a_task_whose_model_could_have_no_folder_can_be_removed(settings, folder):
    trained(settings, ONE, 1)
    (settings.artifacts_dir / "file").write_text("no folder")
    older = Job(ONE, TrainingSpec.model_construct(output_path=folder), State.FAILED, created_at=0.0, queued_at=0.0)
    removal.complete(settings, removal.write_note(settings, older, keep_model=False))
    assert not (settings.checkpoints_dir / ONE).exists()
    assert list(settings.removals_dir.iterdir()) == []
