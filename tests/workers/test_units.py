"""Groups, files and keys of units of work."""

from __future__ import annotations

import json
import math
import os
import resource

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slt.errors import OutputError
from workers.executor import Failure
from workers.files import to_json, write_path, write_text
from workers.store import JobFolder
from workers.units import UNIT_BYTES, CheckpointResult, UnitResult, group_size, grouped


@given(st.integers(10, 5000))
def test_a_job_of_small_models_is_cut_into_10_to_20_units(checkpoints):
    size = group_size(checkpoints, chains=4, parameters=1000)
    assert 10 <= math.ceil(checkpoints / size) <= 20


def test_groups_of_large_models_stay_within_memory_and_hold_at_least_one():
    assert group_size(1000, chains=4, parameters=10**6) * 4 * 4 * 4 * 10**6 <= UNIT_BYTES
    assert group_size(1000, chains=4, parameters=10**12) == 1


@given(st.lists(st.integers(), max_size=50), st.integers(1, 9))
def test_groups_are_neighbours_and_lose_none(items, size):
    groups = list(grouped(items, size))
    assert [item for group in groups for item in group] == items
    assert all(len(group) == size for group in groups[:-1])


def result(*entries) -> UnitResult:
    return UnitResult(entries, seconds=1.5)


def numbers(seed: int) -> CheckpointResult:
    rng = np.random.default_rng(seed)
    return CheckpointResult(
        rng.normal(size=(2, 5)),
        rng.normal(),
        rng.normal(size=2),
        rng.normal(size=2),
        7,
        {"loss": rng.normal(), "a.b": 1},
    )


def test_a_saved_unit_reads_back_bit_for_bit_with_its_failures(tmp_path):
    folder = JobFolder(tmp_path)
    folder.open()
    saved = result(numbers(0), Failure("application", "ValueError: no", "Traceback ..."), numbers(1))
    folder.save_unit("key", saved)
    read = folder.load_unit("key")
    assert read.entries[1] == saved.entries[1]
    assert read.seconds == saved.seconds
    for position in (0, 2):
        ours, theirs = saved.entries[position], read.entries[position]
        np.testing.assert_array_equal(ours.excess_loss_CD, theirs.excess_loss_CD)
        np.testing.assert_array_equal(ours.distance_C, theirs.distance_C)
        assert (ours.loss, ours.measures) == (theirs.loss, theirs.measures)


def test_a_unit_with_a_failure_is_not_done_until_it_is_mended(tmp_path):
    folder = JobFolder(tmp_path)
    folder.open()
    folder.save_unit("key", result(numbers(0), Failure("system", "the node died")))
    assert not folder.is_done("key")
    folder.save_unit("key", result(numbers(0), numbers(1)))
    assert folder.is_done("key")
    assert [path.name for path in folder.units.iterdir()] == ["key.npz"]


def test_a_folder_on_a_disk_without_room_is_refused_before_the_work(tmp_path):
    with pytest.raises(OutputError, match="MB free"):
        JobFolder(tmp_path).open(bytes_needed=10**18)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    write_text(path, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(OutputError, match=r"table.csv cannot be written: File too large"):
            write_text(path, "new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_a_writer_that_raises_leaves_the_old_folder_and_nothing_else(tmp_path):
    def write(path) -> None:
        path.mkdir()
        (path / "new").touch()
        raise ValueError("half way")

    (tmp_path / "failures").mkdir()
    (tmp_path / "failures" / "old").touch()
    with pytest.raises(ValueError, match="half way"):
        write_path(tmp_path / "failures", write)
    assert os.listdir(tmp_path) == ["failures"]
    assert os.listdir(tmp_path / "failures") == ["old"]


def test_json_documents_hold_no_nan():
    document = {"a": [1.0, float("nan")], "b": {"c": (float("inf"), "NaN")}}
    assert json.loads(to_json(document)) == {"a": [1.0, None], "b": {"c": [None, "NaN"]}}


def test_a_unit_that_was_damaged_on_disk_is_not_done(tmp_path):
    folder = JobFolder(tmp_path)
    folder.open()
    entry = CheckpointResult(np.zeros((2, 5)), 1.0, np.zeros(2), np.full(2, np.nan), 7, {})
    folder.save_unit("abc", UnitResult((entry,)))
    assert folder.is_done("abc")
    (saved,) = folder.units.glob("*.npz")
    saved.write_bytes(saved.read_bytes()[:100])
    assert not folder.is_done("abc")
