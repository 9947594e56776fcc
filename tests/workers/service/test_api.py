"""The HTTP API over a desk whose jobs nobody runs: what is kept, what is told, what the same job twice is."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace

import yaml

from workers.service import jobs
from workers.service.index import Index

from .conftest import TOKEN, job

YAML = {"content-type": "application/yaml"}
FORM = {"x-slt": "1"}


def test_a_submitted_job_is_there_and_waits(api, desk, workplace):
    made = api.post("/api/jobs", json=job(name="mine"))
    assert made.status_code == 201
    document = made.json()
    assert document["id"].startswith("mine-")
    assert (document["state"], document["done"], document["follow"]) == ("PENDING", 0, False)
    assert api.get("/api/jobs").json()["jobs"] == [document]
    assert api.get("/api/jobs").json()["counts"]["PENDING"] == 1
    whole = api.get(f"/api/jobs/{document['id']}").json()
    assert whole["job"]["checkpoints"] == str(workplace.path / "runs")  # found under the root, absolute
    folder = desk.folder(document["id"])
    assert yaml.safe_load((folder / "job.submitted.yaml").read_text()) == whole["job"]
    assert set(json.loads((folder / "service.json").read_text())) >= {"id", "key", "created", "follow", "attempts"}


def test_the_same_job_twice_is_one_job_however_it_is_written(api):
    first = api.post("/api/jobs", json=job(name="mine"))
    spelt = job(name="mine", out="elsewhere", stages={"draws": 400}, problem_args={})  # defaults, and an out left aside
    again = api.post("/api/jobs", json=spelt)
    text = yaml.safe_dump(job(name="mine")["job"])
    as_yaml = api.post("/api/jobs", content=text, headers=YAML)
    assert [answer.status_code for answer in (first, again, as_yaml)] == [201, 200, 200]
    assert first.json() == again.json() == as_yaml.json()
    other = api.post("/api/jobs", json=job(name="mine", stages={"draws": 500}))
    assert other.status_code == 201
    followed = api.post("/api/jobs?follow=true", content=text, headers=YAML)
    assert (followed.status_code, followed.json()["follow"]) == (201, True)
    assert len(api.get("/api/jobs").json()["jobs"]) == 3


def test_an_id_of_ones_own_is_kept_and_belongs_to_one_job(api):
    first = api.post("/api/jobs", json=job() | {"submission_id": "my.job_1"})
    assert (first.status_code, first.json()["id"]) == (201, "my.job_1")
    assert api.post("/api/jobs", json=job() | {"submission_id": "my.job_1"}).status_code == 200
    other = api.post("/api/jobs", json=job(name="other") | {"submission_id": "my.job_1"})
    assert other.status_code == 409
    assert "belongs to another job" in other.json()["error"]


def test_a_mistake_in_a_job_is_the_sentence_of_the_command_line(api):
    answer = api.post("/api/jobs", json=job(sampler={"chain": 3}))
    assert answer.status_code == 422
    assert answer.json()["error"] == "unknown key 'sampler.chain'; did you mean 'sampler.chains'?"


def test_a_waiting_job_can_be_cancelled_and_resumed(api):
    made = api.post("/api/jobs", json=job()).json()
    stopped = api.post(f"/api/jobs/{made['id']}/cancel", headers=FORM).json()
    assert stopped["state"] == "STOPPED"
    assert api.post(f"/api/jobs/{made['id']}/cancel", headers=FORM).json() == stopped
    assert api.post(f"/api/jobs/{made['id']}/resume", headers=FORM).json()["state"] == "PENDING"


def test_what_is_not_there_is_404_in_a_sentence(api):
    made = api.post("/api/jobs", json=job()).json()
    for path in (
        "/api/jobs/none",
        "/api/jobs/none/events",
        "/api/nothing",
        *(f"/api/jobs/{made['id']}/{part}" for part in ("stages", "comparison", "report")),
    ):
        answer = api.get(path)
        assert answer.status_code == 404, path
        assert set(answer.json()) == {"error"}
    assert api.delete(f"/api/jobs/{made['id']}", headers=FORM).status_code == 405


def test_the_curve_is_told_as_far_as_it_is(api, desk):
    made = api.post("/api/jobs", json=job()).json()
    path, folder = f"/api/jobs/{made['id']}/trajectory", desk.folder(made["id"])
    assert api.get(path).json()["steps"] == []
    (folder / "trajectory.csv").write_text(
        "step,llc,llc_std_error,loss,verdict,statistic,sentence\n1,2.5,0.1,3,ok,1,fine\n4,nan,nan,nan,failed,nan,no\n"
    )
    (folder / "measures.csv").write_text("step,weight_norm\n1,7\n")  # written after the curve: a row behind
    document = api.get(path).json()
    assert document["steps"] == [1, 4]
    assert document["llc"] == [2.5, None]
    assert document["loss"] == [3, None]
    assert document["verdicts"] == ["ok", "failed"]
    assert document["measures"] == {"weight_norm": [7, None]}
    (folder / "trajectory.csv").write_text("step,llc\nx,y\n")
    assert "not a number" in api.get(path).json()["error"]


def test_events_end_with_the_job(api, desk):
    made = desk.submit(job()["job"], None, False)[0]
    (desk.folder(made.id) / "trajectory.csv").write_text("step,llc\n1,2\n4,5\n")
    desk.keep(replace(made, state=jobs.SUCCEEDED))
    answer = api.get(f"/api/jobs/{made.id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [block.splitlines() for block in answer.text.strip().split("\n\n")]
    assert [lines[0] for lines in events] == ["event: status", "event: results", "event: end"]
    assert json.loads(events[1][1].removeprefix("data: ")) == {"points": 2}
    assert json.loads(events[2][1].removeprefix("data: "))["state"] == "SUCCEEDED"


def test_results_are_the_folder_without_what_is_the_service_s(api, desk, workplace):
    made = api.post("/api/jobs", json=job()).json()
    folder = desk.folder(made["id"])
    (folder / "units").mkdir()
    (folder / "units" / "a.npz").write_bytes(bytes(1_000_000))
    (folder / ".hidden").write_text("x")
    (folder / "link").symlink_to(workplace.path / "tiny_problem.py")
    answer = api.get(f"/api/jobs/{made['id']}/results")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == [f"{made['id']}/job.submitted.yaml", f"{made['id']}/units/a.npz"]


def test_logs_are_told_whole_or_by_their_end(api, desk):
    made = api.post("/api/jobs", json=job()).json()
    assert api.get(f"/api/jobs/{made['id']}/logs").text == ""
    (desk.folder(made["id"]) / "driver.log").write_text("one\ntwo\nthree\n")
    assert api.get(f"/api/jobs/{made['id']}/logs?tail=2").text == "two\nthree\n"


def test_the_index_is_made_of_the_folders(api, desk, workplace):
    for number in range(3):
        api.post("/api/jobs", json=job(name=f"job{number}"))
    by_hand = desk.settings.jobs / "by-hand"
    by_hand.mkdir()
    (by_hand / "job.yaml").write_text("name: x")
    (by_hand / "report.html").write_text("done")
    damaged = desk.settings.jobs / "damaged"
    damaged.mkdir()
    (damaged / "service.json").write_text('{"id": [1], "unknown": 2')
    another = Index(workplace.path / "another.sqlite")
    assert another.rebuild(desk.settings.jobs) == 4
    before = {each.id: each for each in desk.index.find()}
    after = {each.id: each for each in another.find()}
    assert after.pop("by-hand").state == "SUCCEEDED"
    assert after == before
    another.close()


def test_metrics_are_in_prometheus_text(api, desk):
    made = api.post("/api/jobs", json=job()).json()
    status = {"state": "RUNNING", "phase": "estimating", "done": 6, "total": 12, "units": {"computed": 3, "failed": 1}}
    (desk.folder(made["id"]) / "status.json").write_text(json.dumps(status))
    desk.index.put(jobs.with_status(desk.index.get(made["id"]), status))
    text = api.get("/metrics").text
    for line in (
        'slt_jobs{state="PENDING"} 1.0',
        'slt_units_total{outcome="computed"} 3.0',
        'slt_units_total{outcome="failed"} 1.0',
        "slt_checkpoints_estimated_total 6.0",
        'slt_request_seconds_count{method="POST",route="/api/jobs",status="201"} 1.0',
    ):
        assert line in text.splitlines(), line
    assert made["id"] not in text  # series stay few


def test_the_description_is_complete_and_its_page_loads_nothing_from_elsewhere(api):
    document = api.get("/api/openapi.json").json()
    assert {"/api/jobs", "/api/jobs/{job_id}/events", "/healthz", "/metrics"} <= set(document["paths"])
    assert "checkpoints" in document["components"]["schemas"]["JobConfig"]["properties"]
    page = api.get("/api/docs").text
    assert "/api/jobs/{job_id}/cancel" in page
    assert "http" not in page.replace("HTTP", "")
    assert "<script" not in page
    assert api.get("/docs").status_code == api.get("/redoc").status_code == 404


def test_the_page_and_its_library_come_from_this_machine(api):
    page = api.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    script = api.get("/static/plotly.min.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert len(script.content) > 1_000_000


def test_what_a_form_offers_is_what_is_allowed(api, settings):
    assert api.get("/api/problems").json()["problems"] == [
        "linear_network",
        "modular_addition",
        "tiny_problem:...",
        "exact:build",
    ]
    assert api.get("/api/roots").json()["roots"] == list(settings.roots)
    assert TOKEN not in api.get("/api/jobs").text
