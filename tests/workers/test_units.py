"""Groups, files and keys of units of work."""

from __future__ import annotations

import json
import math
import os
import resource
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import llc
from estimators.engines import memory
from estimators.progress import silent
from slt.errors import NodeError, OutputError
from workers import units
from workers.executor import Failure
from workers.files import to_json, write_path, write_text
from workers.store import JobFolder
from workers.units import (
    CheckpointResult,
    Unit,
    UnitResult,
    compute_unit,
    group_size,
    grouped,
    largest_first,
    require_seen,
    tapered,
)


@given(st.integers(10, 5000))
def test_a_job_is_cut_into_10_to_20_units(checkpoints):
    size = group_size(checkpoints)
    assert 10 <= math.ceil(checkpoints / size) <= 20


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
    entry = CheckpointResult(np.zeros((2, 5)), 1.0, np.zeros(2), np.full(2, np.nan), np.zeros(2), 7, {})
    folder.save_unit("abc", UnitResult((entry,)))
    assert folder.is_done("abc")
    (saved,) = folder.units.glob("*.npz")
    saved.write_bytes(saved.read_bytes()[:100])
    assert not folder.is_done("abc")


def units_of(workplace, **changes) -> list[Unit]:
    from workers.job import read_job
    from workers.plan import prepare

    job = read_job(workplace.path / "tiny.yaml")
    plan = prepare(job, JobFolder(job.out), lambda title: silent)
    return [replace(unit, **changes) for unit in plan.units]


def test_another_version_of_the_code_refuses_to_compute(workplace):
    unit, *_ = units_of(workplace, code="slt-stages 0.0.1 torch 1.0 0123456789abcdef")
    with pytest.raises(NodeError, match=r"node .* has 'slt-stages .*' but the job began with 'slt-stages 0.0.1"):
        compute_unit(unit)


def test_the_next_checkpoint_is_read_while_one_is_sampled_and_the_numbers_are_those_of_both_together(
    workplace, monkeypatch
):
    unit, *_ = units_of(workplace)
    at_once = compute_unit(unit)
    monkeypatch.setattr(llc, "GROUP_BYTES", 1)  # as of a model that fills the memory: one after the other
    second_is_read, read, sample = threading.Event(), units.load_fitting, units.sample_group

    def load(checkpoint, *others):
        if checkpoint == unit.checkpoints[1]:
            second_is_read.set()
        return read(checkpoint, *others)

    def sample_when_the_second_is_read(problem, weights, config):
        assert len(weights) == 1
        assert second_is_read.wait(10)
        return sample(problem, weights, config)

    monkeypatch.setattr(units, "load_fitting", load)
    monkeypatch.setattr(units, "sample_group", sample_when_the_second_is_read)
    for one, other in zip(compute_unit(unit).entries, at_once.entries, strict=True):
        np.testing.assert_allclose(one.excess_loss_CD, other.excess_loss_CD, rtol=1e-4)


def test_a_checkpoint_that_is_removed_while_the_job_runs_is_one_failed_item_for_its_driver_too(workplace):
    unit, *_ = units_of(workplace)
    unit.checkpoints[0].path.unlink()
    failures = compute_unit(unit).failures
    assert list(failures) == [0]
    assert failures[0].kind == "node"
    require_seen(unit, failures)


def test_what_a_node_does_not_see_and_its_driver_does_stops_the_job(workplace):
    unit, *_ = units_of(workplace)
    file = unit.checkpoints[0].path
    file.rename("elsewhere")
    failures = compute_unit(unit).failures
    Path("elsewhere").rename(file)
    with pytest.raises(NodeError, match=rf"node \S+ cannot see {file}, which the job's driver reads; mount"):
        require_seen(unit, failures)


@given(st.lists(st.integers(), min_size=1, max_size=80), st.sampled_from([1, 2, 4, 8, 16]))
def test_no_group_but_the_last_changes_as_a_sequence_grows(items, size):
    groups = list(tapered(items, size))
    assert [item for group in groups for item in group] == items
    assert list(tapered([*items, 0], size))[: len(groups) - 1] == groups[:-1]


@pytest.mark.parametrize(("size", "sizes"), [(8, [4, 2, 2, 8, 8, 4]), (2, [1, 1, *[2] * 13]), (1, [1] * 28)])
def test_the_first_group_is_cut_small(size, sizes):
    assert [len(group) for group in tapered(range(28), size)] == sizes


def test_small_units_are_computed_last(workplace):
    workplace.configure(resources={})
    for step in range(2000, 2012):
        workplace.save(step)
    assert [len(unit.checkpoints) for unit in largest_first(units_of(workplace))] == [2] * 11 + [1, 1]


def test_a_share_of_a_card_follows_from_the_memory_that_a_unit_needs():
    gib = 2**30
    assert memory.card_bytes(chain=2**20, chains=4, checkpoints=8) == 2 * 4 * 8 * 2**20
    # too large to stack: one chain at a time
    assert memory.card_bytes(chain=2 * gib, chains=4, checkpoints=8) == 4 * gib


def test_units_measure_the_memory_of_a_card_only_where_it_is_asked_for(workplace):
    assert {unit.card_bytes for unit in units_of(workplace)} == {0}
    workplace.configure(resources={"checkpoints_per_unit": 2, "gpus": "auto"})
    # two checkpoints of two chains: weights, gradient and noise of three parameters, activations of 64 examples
    assert {2 * 2 * 2 * 4 * 64 < unit.card_bytes < 10**5 for unit in units_of(workplace)} == {True}
