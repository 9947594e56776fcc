"""Files that appear whole or not at all, and never in the place of somebody's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from slt.errors import OutputError
from workers.files import write_json, write_path
from workers.store import JobFolder


def folder_with_a_file(path: Path) -> Path:
    path.mkdir()
    (path / "precious.txt").write_text("keep me")
    return path


def test_a_file_never_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    folder = folder_with_a_file(tmp_path / "results")
    with pytest.raises(OutputError, match="is a folder; name a file in it"):
        write_json(folder, {})
    assert (folder / "precious.txt").read_text() == "keep me"
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_a_folder_takes_the_place_of_the_one_before_it_whole(tmp_path: Path) -> None:
    def make(path: Path) -> None:
        path.mkdir()
        (path / "new.txt").write_text("new")

    write_path(folder_with_a_file(tmp_path / "traces"), make)
    assert [path.name for path in tmp_path.rglob("*")] == ["traces", "new.txt"]


def test_a_folder_with_results_that_no_job_wrote_is_not_used_as_a_job_folder(tmp_path: Path) -> None:
    folder_with_a_file(tmp_path / "failures")
    with pytest.raises(OutputError, match="no job wrote"):
        JobFolder(tmp_path).open()
    assert (tmp_path / "failures" / "precious.txt").exists()
