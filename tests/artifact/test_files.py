"""Durable folders: whole or absent."""

import json

import pytest

from epochd.artifact import files
from epochd.core.errors import CorruptFile, FileNotReadable


def write(final, text="hello"):
    with files.durable_folder(final) as path:
        (path / "a.txt").write_text(text)


def test_a_folder_appears_whole_with_its_manifest(tmp_path):
    write(tmp_path / "x")
    files.verify(tmp_path / "x")
    assert (tmp_path / "x" / "a.txt").read_text() == "hello"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def write_half(final):
    with files.durable_folder(final) as path:
        (path / "a.txt").write_text("half")
        raise OSError("disk full")


def test_a_block_that_fails_leaves_nothing_and_spares_the_old_one(tmp_path):
    write(tmp_path / "x", "old")
    with pytest.raises(OSError, match="disk full"):
        write_half(tmp_path / "x")
    assert (tmp_path / "x" / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_everything_is_flushed_before_the_rename(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(
        files, "flush", lambda path: flushed.append((path.name.split("-")[0], (tmp_path / "x").exists()))
    )
    write(tmp_path / "x")
    assert sorted(flushed[:2]) == [("a.txt", False), ("manifest.json", False)]
    assert flushed[2:] == [(".tmp", False), (tmp_path.name.split("-")[0], True)]


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "manifest"])
def test_damage_is_found(tmp_path, damage):
    write(tmp_path / "x")
    target = tmp_path / "x" / ("manifest.json" if damage == "manifest" else "a.txt")
    match damage:
        case "flip":
            target.write_text("hellp")
        case "truncate" | "manifest":
            target.write_text(target.read_text()[:-3])
        case "remove":
            target.unlink()
    with pytest.raises(CorruptFile, match=target.name):
        files.verify(tmp_path / "x")


@pytest.mark.parametrize("old", ['"files"', '"bytes"', '"sha256"', "{", '"a.txt": {'])
def test_damage_to_the_keys_of_a_manifest_is_damage(tmp_path, old):
    write(tmp_path / "x")
    manifest = tmp_path / "x" / "manifest.json"
    new = {"{": "[1]", '"a.txt": {': '"a.txt": 1, "b.txt": {'}.get(old, f'"g{old[2:]}')
    text = manifest.read_text()
    manifest.write_text(new if old == "{" else text.replace(old, new))
    with pytest.raises(CorruptFile, match=r"manifest\.json is damaged"):
        files.verify(tmp_path / "x")


def test_a_link_moves_in_one_step(tmp_path):
    write(tmp_path / "x", "one")
    write(tmp_path / "y", "two")
    files.replace_link(tmp_path / "latest", tmp_path / "x")
    files.replace_link(tmp_path / "latest", tmp_path / "y")
    assert (tmp_path / "latest" / "a.txt").read_text() == "two"
    assert str((tmp_path / "latest").readlink()) == "y"


def test_no_nan_reaches_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "x.json", {"loss": float("nan")})
    files.write_json(tmp_path / "y.json", {"名": 0.1})
    assert json.loads((tmp_path / "y.json").read_text()) == {"名": 0.1}


def modes(folder):
    return {path.name: oct(path.stat().st_mode & 0o777) for path in (folder, *folder.iterdir())}


@pytest.mark.parametrize(("mode", "file"), [(0o700, "0o600"), (0o750, "0o640")])
def test_all_files_of_a_folder_have_the_same_mode_whatever_the_umask(tmp_path, mode, file):
    with files.durable_folder(tmp_path / "x", mode=mode) as path:
        (path / "a.txt").touch(0o644)
        (path / "b.txt").touch(0o400)
    assert modes(tmp_path / "x") == {"x": oct(mode), "a.txt": file, "b.txt": file, "manifest.json": file}


def test_what_else_lies_in_a_folder_that_is_replaced_stays(tmp_path):
    write(tmp_path / "x", "old")
    write(tmp_path / "x" / "of another")
    write(tmp_path / "x", "new")
    files.verify(tmp_path / "x")
    files.verify(tmp_path / "x" / "of another")
    assert (tmp_path / "x" / "a.txt").read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {"x"}


def test_only_what_the_manifest_names_is_removed(tmp_path):
    write(tmp_path / "x")
    manifest = tmp_path / "x" / files.MANIFEST
    about = json.loads(manifest.read_text())
    (tmp_path / "outside").write_text("stays")
    manifest.write_text(json.dumps({"files": about["files"] | {"../outside": {}, "/etc/passwd": {}}}))
    (tmp_path / "x" / "mine").write_text("stays")
    assert not files.remove_own(tmp_path / "x")
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["mine"]
    assert (tmp_path / "outside").read_text() == "stays"
    (tmp_path / "x" / "mine").unlink()
    assert files.remove_own(tmp_path / "x")
    assert files.remove_own(tmp_path / "x" / "absent")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}'])
def test_a_damaged_manifest_names_nothing(tmp_path, text):
    write(tmp_path / "x")
    (tmp_path / "x" / files.MANIFEST).write_text(text)
    assert not files.remove_own(tmp_path / "x")
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["a.txt"]


@pytest.mark.parametrize("function", ["sha256", "json.loads"])
def test_files_of_another_user_are_not_taken_for_damaged(tmp_path, monkeypatch, function):
    def refuse(*given):
        raise PermissionError(13, "Permission denied", "model.json")

    write(tmp_path / "x")
    monkeypatch.setattr(f"epochd.artifact.files.{function}", refuse)
    with pytest.raises(
        FileNotReadable, match=r"model\.json cannot be read: this user has no permission.*GROUP_READABLE"
    ):
        files.verify(tmp_path / "x")


def test_a_file_system_without_modes_is_no_obstacle(tmp_path, monkeypatch):
    def refuse(self, mode):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.chmod", refuse)
    write(tmp_path / "x")
    files.verify(tmp_path / "x")
