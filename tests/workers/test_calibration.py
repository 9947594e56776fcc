"""Automatic settings in a job: chosen first, written down, reused, and chosen anew when something changes."""

from __future__ import annotations

import json

import pytest
import yaml

CHEAP = {"chains": 2, "draws": 12, "burn_in": 4, "n_beta": 10, "localization": 1}


@pytest.fixture
def automatic(workplace):
    """The usual job, with the step size left to calibration."""
    workplace.configure(sampler=CHEAP)
    return workplace


def record(workplace) -> dict:
    return json.loads((workplace.out / "calibration.json").read_text())


@pytest.mark.slow
def test_a_job_without_a_sampler_section_chooses_everything(workplace):
    workplace.configure()
    job = yaml.safe_load((workplace.path / "tiny.yaml").read_text())
    del job["sampler"]
    (workplace.path / "tiny.yaml").write_text(yaml.safe_dump(job))
    result = workplace.slt("calibrate", "tiny.yaml", "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert set(document["chosen"]) == {"step_size", "n_beta", "localization", "draws", "burn_in"}
    assert document == record(workplace)
    assert len(document["sentences"]) >= 4
    for suffix in ("png", "svg"):
        assert (workplace.out / f"calibration.{suffix}").stat().st_size > 5000


def test_a_run_uses_what_was_chosen_and_says_so_in_its_folder_and_report(automatic):
    result = automatic.run("--json")
    assert result.exit_code == 0, result.stderr
    assert "calibrating: " in result.stderr
    chosen = record(automatic)["chosen"]
    echo = yaml.safe_load((automatic.out / "job.yaml").read_text())
    assert chosen == {"step_size": echo["sampler"]["step_size"]}
    assert (echo["sampler"]["n_beta"], echo["sampler"]["draws"]) == (10, 12)
    assert "chosen by calibration" in (automatic.out / "report.html").read_text()


def test_what_was_chosen_is_used_again_until_a_probed_checkpoint_or_a_setting_changes(automatic):
    assert automatic.slt("calibrate", "tiny.yaml").exit_code == 0
    first = record(automatic)
    result = automatic.run("--json")
    assert "calibrating" not in result.stderr
    assert json.loads(result.stdout)["units"]["computed"] == 6

    assert automatic.slt("calibrate", "tiny.yaml", "--set", "sampler.localization=3").exit_code == 0
    other = record(automatic)
    assert other["key"] != first["key"]
    automatic.save(1024, [0.9, 0.8, 0.7])
    assert automatic.slt("calibrate", "tiny.yaml", "--set", "sampler.localization=3").exit_code == 0
    assert record(automatic)["key"] != other["key"]


def test_a_damaged_record_is_made_anew(automatic):
    automatic.slt("calibrate", "tiny.yaml")
    before = record(automatic)
    (automatic.out / "calibration.json").write_text("{")
    assert automatic.slt("calibrate", "tiny.yaml").exit_code == 0
    assert record(automatic) == before


def test_settings_given_by_hand_are_not_calibrated_and_the_report_does_not_say_so(automatic):
    automatic.slt("calibrate", "tiny.yaml")
    result = automatic.run("--set", "sampler.step_size=0.00123")
    assert "calibrating" not in result.stderr
    assert "chosen by calibration" not in (automatic.out / "report.html").read_text()


def test_a_kernel_that_cannot_be_calibrated_is_one_sentence(automatic):
    result = automatic.slt("calibrate", "tiny.yaml", "--set", "sampler.kernel=rmsprop_sgld")
    assert result.exit_code == 2
    assert "step_size: auto is found from the acceptance of Langevin proposals" in result.stderr
    assert "Traceback" not in result.stderr
