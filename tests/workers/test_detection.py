"""What a job says beyond its boundaries: who else sees them, what would sharpen them, and jumps of a metric alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slt.comparison import compare
from slt.events import CircuitEvent
from slt.online import Settled
from slt.trajectory import Trajectory
from tests.workers.report_folder import trajectory, write_job
from workers.detection import detect
from workers.files import read_stages
from workers.job import StageSettings, read_job
from workers.report import write_report
from workers.screens import pairs
from workers.store import JobFolder


@pytest.fixture
def folder(tmp_path) -> JobFolder:
    job = JobFolder(tmp_path / "job")
    job.open()
    return job


def test_stages_of_a_job_say_what_is_confirmed_and_what_would_sharpen_them(folder):
    curve = trajectory()
    found = detect(StageSettings(), curve, folder)
    document = json.loads((folder.path / "stages.json").read_text())
    assert len(document["boundaries"]) == len(found.confirmed) > 0
    assert [boundary["confirmed"] for boundary in document["boundaries"]] == list(found.confirmed)
    assert any(found.confirmed)
    assert "settled" not in document
    assert all({"boundary", "action", "steps", "reason"} == set(each) for each in document["advice"])
    assert read_stages(folder.path / "stages.json").boundaries == found.stages.boundaries  # `slt compare` reads it

    thin = detect(StageSettings(), curve.select(slice(None, None, 4)), folder)
    assert any(each.action == "more checkpoints" for each in thin.advice)


def test_while_a_run_goes_on_each_boundary_tells_whether_it_is_settled(folder):
    first = detect(StageSettings(), trajectory(), folder).stages.boundaries[0]
    elsewhere = replace(first, step=first.high * 3, low=first.high * 2, high=first.high * 4)
    detect(StageSettings(), trajectory(), folder, [Settled(first, 5e4), Settled(elsewhere, 9e4)])
    document = json.loads((folder.path / "stages.json").read_text())
    assert document["boundaries"][0]["settled"] is True
    assert [each["at"] for each in document["settled"]] == [5e4, 9e4]


def test_the_sensitivity_of_a_job_admits_boundaries_that_its_comparison_uses(folder, workplace):
    curve = trajectory()
    noisy = replace(curve, llc=curve.llc + 0.04 * np.ptp(curve.llc[np.isfinite(curve.llc)]) * noise(len(curve)))
    plain, keen = (
        detect(StageSettings(false_boundaries=value), bare(noisy), folder).stages for value in (None, 0.1720)
    )
    extra = [boundary for boundary in keen.boundaries if boundary.probability < 0.5]
    assert extra
    assert len(plain.boundaries) == len(keen.boundaries) - len(extra)
    assert compare(keen, [CircuitEvent("there", extra[0].step)]).sightings[0].boundary_step == extra[0].step

    workplace.configure(stages={"false_boundaries": 0.05})
    assert read_job(Path("tiny.yaml")).stages.probability == pytest.approx(0.036, abs=0.002)
    workplace.configure(stages={"false_boundaries": 3})
    refused = workplace.run()
    assert refused.exit_code == 2
    assert "3 expected false boundaries cannot be had" in refused.stderr


def noise(count: int):
    return np.random.default_rng(3).normal(size=count)


def bare(curve: Trajectory) -> Trajectory:
    return Trajectory(curve.steps, curve.llc)


def test_the_report_shows_what_is_confirmed_and_advised_and_screened(tmp_path):
    folder = write_job(tmp_path / "job")
    detect(StageSettings(), trajectory().finite().select(slice(None, None, 4)), JobFolder(folder))
    pair = {"sharp": "test_accuracy", "smooth": "test_loss", "sentence": "the jump is in the ruler: it says so"}
    (folder / "mirage.json").write_text(json.dumps({"pairs": [pair]}))
    page = write_report(folder).read_text()
    assert "<th>Confirmed</th>" in page
    assert "What would sharpen them" in page
    assert "<code>test_accuracy</code> beside <code>test_loss</code>: the jump is in the ruler: it says so." in page


def test_pairs_of_metrics_are_known_by_their_names():
    names = [
        "loss",
        "train_accuracy",
        "test_accuracy",
        "test_loss",
        "accuracy_of_nothing",
        "sparsity",
        "mmlu_exact_match",
    ]
    assert pairs(names) == [("train_accuracy", "loss"), ("test_accuracy", "test_loss")]
    assert pairs(["accuracy", "loss"]) == [("accuracy", "loss")]


def test_a_run_screens_the_metrics_that_training_recorded(workplace):
    steps = np.unique(np.geomspace(1, 10_000, 60).astype(int))
    loss = 4 - np.log10(steps)  # as smooth as can be
    accuracy = 1 / (1 + (steps / 1000.0) ** -12)
    rows = [f"{s},{a:.6f},{b:.6f}," for s, a, b in zip(steps, accuracy, loss, strict=True)]
    Path("runs/training.csv").write_text("\n".join(["step,test_accuracy,test_loss,remark", *rows]) + "\n")
    result = workplace.run("--json")
    assert result.exit_code == 0, result.stderr
    [screen] = json.loads(result.stdout)["mirage"]
    assert (screen["sharp"], screen["smooth"], screen["source"]) == ("test_accuracy", "test_loss", "training.csv")
    assert screen["verdict"] == "ruler"
    assert "the jump is in the ruler" in (workplace.out / "report.html").read_text()

    Path("runs/training.csv").unlink()
    assert json.loads(workplace.run("--json").stdout)["mirage"] == []
    assert not (workplace.out / "mirage.json").exists()
