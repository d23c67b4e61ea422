"""Durable folders: whole or absent."""

import json

import pytest

from epochd.artifact import files
from epochd.core.errors import CorruptFile


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
