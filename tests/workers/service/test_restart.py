"""The service is killed in the middle, Ray is killed in the middle: all jobs are there afterwards, and finish."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers.conftest import furnished
from tests.workers.patience import PATIENCE, until
from workers.service import local_ray
from workers.service.jobs import read_document

from .conftest import Process, job

pytestmark = pytest.mark.slow

SLOW, SLOWER = ({"problem_args": {"seconds": seconds}} for seconds in (0.02, 0.1))  # of each step of a chain


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One service for all of these tests: what one of them has killed, it has started again."""
    place = furnished(tmp_path_factory.mktemp("restart"))
    process = Process(place.path / "service", place.path)
    yield process
    process.stop()


def states(service: Process) -> dict[str, str]:
    return {each["id"]: each["state"] for each in service.client.jobs()}


def finish(service: Process, ids: list[str]) -> None:
    """Wait until all have ended, and succeeded."""
    until(lambda: {states(service)[each] for each in ids} <= {"SUCCEEDED", "FAILED", "STOPPED"}, "the jobs to end")
    assert [service.client.job(each)["message"] for each in ids] == [""] * len(ids)
    assert {states(service)[each] for each in ids} == {"SUCCEEDED"}


def processes_of(temp_dir: str) -> list[int]:
    """Living processes of one Ray."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if temp_dir in (process / "cmdline").read_text().replace("\0", " "):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_three_jobs_outlive_the_service_that_was_killed_while_they_ran(service):
    ids = [service.client.submit(job(name=f"job{i}", **SLOW)["job"])[0]["id"] for i in range(3)]
    until(lambda: [states(service)[each] for each in ids] == ["RUNNING"] * 3, "three running jobs")
    ray = read_document(service.folder / "ray.json")
    service.kill()
    (service.folder / "index.sqlite").write_bytes(b"damaged")

    service.start()
    assert sorted(states(service)) == sorted(ids)
    finish(service, ids)
    assert read_document(service.folder / "ray.json") == ray  # the same Ray, and in it the same drivers
    for each in ids:
        assert read_document(service.folder / "jobs" / each / "service.json")["attempts"] == 1
        report = service.folder / "jobs" / each / "report.html"
        assert report.stat().st_size > 100_000
    again, is_new = service.client.submit(job(name="job1", **SLOW)["job"])
    assert (again["id"] in ids, is_new, again["state"]) == (True, False, "SUCCEEDED")


def test_jobs_go_on_from_what_is_done_when_ray_died_with_the_service(service):
    made, _ = service.client.submit(job(name="without_ray", **SLOWER)["job"])
    folder = service.folder / "jobs" / made["id"]
    until(lambda: len(list(folder.glob("units/*.npz"))) >= 2, "two finished units")
    ray = local_ray.LocalRay(**read_document(service.folder / "ray.json"))
    service.kill()
    os.killpg(ray.group, signal.SIGKILL)
    done = {path.name: path.stat().st_mtime_ns for path in folder.glob("units/*.npz")}

    service.start()
    finish(service, [made["id"]])
    assert {name: (folder / "units" / name).stat().st_mtime_ns for name in done} == done  # none was computed twice
    assert service.client.job(made["id"])["units"]["reused"] >= 2
    assert read_document(service.folder / "ray.json")["session"] != ray.session


def test_a_driver_that_is_killed_is_started_again(service):
    made, _ = service.client.submit(job(name="without_driver", **SLOWER)["job"])
    folder = service.folder / "jobs" / made["id"]
    until(lambda: list(folder.glob("units/*.npz")), "a finished unit")
    drivers = [pid for pid in processes_of(str(folder)) if pid != os.getpid()]
    assert drivers
    for pid in drivers:
        os.kill(pid, signal.SIGKILL)
    finish(service, [made["id"]])
    assert read_document(folder / "service.json")["attempts"] == 2


def test_stopping_the_service_leaves_no_process_behind_and_touches_no_other_ray(service, tmp_path):
    made, _ = service.client.submit(job(name="left_alone", **SLOWER)["job"])
    until(lambda: states(service)[made["id"]] == "RUNNING", "a running job")
    other = tmp_path / "other"
    other.mkdir()
    neighbour, token = local_ray.ensure(other)
    try:
        assert neighbour.address != read_document(service.folder / "ray.json")["address"]
        temp_dir = read_document(service.folder / "ray.json")["temp_dir"]
        service.process.terminate()
        assert service.process.wait(PATIENCE) == 0
        assert "running ones go on" in service.log
        assert processes_of(temp_dir)
        assert local_ray.stop(service.folder)
        until(lambda: not processes_of(temp_dir), "the end of all processes")
        assert not Path(temp_dir).exists()
        assert local_ray.ensure(other) == (neighbour, token)
    finally:
        local_ray.stop(other)
    assert not local_ray.stop(other)
