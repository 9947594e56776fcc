"""The command line: documents for machines, help for people, and a quick start."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workers.patience import PATIENCE, command, until

COMMANDS = ["train", "inspect", "run", "stages", "compare", "mirage", "report"]


@pytest.fixture
def curve(workplace) -> Path:
    """Two bursts of change with a rest between them, from step 1 to 10,000."""
    lines = ["step,llc,other"]
    for index in range(81):
        x = index / 20
        bursts = sum(10 / (1 + 10 ** (-8 * (x - at))) for at in (1, 3))
        lines.append(f"{10**x:.4f},{bursts + 0.001 * (-1) ** index},{index}")
    path = workplace.path / "curve.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_stages_prints_the_promised_document(workplace, curve):
    result = workplace.slt("stages", str(curve), "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert {"boundaries", "tentative", "stages", "warnings"} <= set(document)
    [boundary] = document["boundaries"]
    assert {"step", "low", "high", "probability", "kind", "onset"} <= set(boundary)
    assert boundary["kind"] == "shelf"
    # the rest lies halfway between the bursts, which are at 10 and 1,000
    assert boundary["step"] == pytest.approx(100, rel=0.26)
    assert "draws" not in document


def test_stages_then_compare_work_without_a_job(workplace, curve):
    assert workplace.slt("stages", str(curve), "--out", "stages.json").exit_code == 0
    Path("events.csv").write_text("name,step\nrest,100\n")
    result = workplace.slt("compare", "stages.json", "events.csv", "--json")
    assert result.exit_code == 0
    [sighting] = json.loads(result.stdout)["sightings"]
    assert sighting["event"] == "rest"
    assert sighting["seen"]
    table = workplace.slt("compare", "stages.json", "events.csv")
    assert "rest" in table.stdout


def test_another_column_can_hold_the_curve(workplace, curve):
    straight = json.loads(workplace.slt("stages", str(curve), "--value", "other", "--json").stdout)
    assert straight["boundaries"] == []
    assert [stage["kind"] for stage in straight["stages"]] == ["rise"]


def test_other_columns_are_gauges_of_the_same_boundaries(workplace, curve):
    lines = curve.read_text().splitlines()
    copies = [f"{line},{line.split(',')[1] if index else 'copy'}" for index, line in enumerate(lines)]
    Path("copies.csv").write_text("\n".join(copies) + "\n")
    arguments = ("stages", "copies.csv", "--gauge", "copy", "--gauge", "other")
    table = json.loads(workplace.slt(*arguments, "--json").stdout)["gauges"]
    assert table["names"] == ["llc", "copy", "other"]
    [shared] = table["boundaries"]
    assert set(shared["seen"]) == {"llc", "copy"}
    assert "Which gauge sees which boundary" in workplace.slt(*arguments).stdout


def test_a_second_opinion_confirms_the_shelf(workplace, curve):
    arguments = ("stages", str(curve), "--second-opinion")
    [boundary] = json.loads(workplace.slt(*arguments, "--json").stdout)["boundaries"]
    assert boundary["confirmed"] is True
    assert "shelf, confirmed" in workplace.slt(*arguments).stdout


def test_the_stage_table_names_every_boundary(workplace, curve):
    result = workplace.slt("stages", str(curve))
    assert result.exit_code == 0
    assert "shelf" in result.stdout
    assert "on a log axis" in result.stdout
    shares = [int(share) for share in re.findall(r"(\d+)%", result.stdout)]
    assert sum(shares) == pytest.approx(100, abs=1)
    assert len(shares) == 2


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2]",
        "[" * 100_000,
        '{"boundaries": [], "stages": [], "warnings": []}',
        '{"boundaries": [], "stages": [{"start": "1", "end": 5, "kind": "flat", "change": 0}], "warnings": []}',
        '{"boundaries": [], "stages": [{"start": 0, "end": 0, "kind": "flat", "change": 0}], "warnings": []}',
        '{"boundaries": [], "stages": [{"start": 9, "end": 5, "kind": "flat", "change": 0}], "warnings": []}',
        '{"boundaries": [], "stages": [{"start": 1, "end": 5, "kind": "flat", "change": NaN}], "warnings": []}',
    ],
)
def test_a_stages_file_that_is_none_is_refused(workplace, text):
    Path("stages.json").write_text(text)
    Path("events.csv").write_text("name,step\nrest,100\n")
    result = workplace.slt("compare", "stages.json", "events.csv")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "`slt stages" in result.stderr


def test_inspect_lists_checkpoints_and_fails_on_a_fault(workplace):
    good = workplace.slt("inspect", "runs", "--json")
    assert good.exit_code == 0
    document = json.loads(good.stdout)
    assert [entry["step"] for entry in document["checkpoints"]][:3] == [0, 1, 2]
    assert set(document["checkpoints"][0]) >= {"step", "unit", "step_source", "path", "format", "bytes"}
    assert document["problems"] == []
    Path("runs/step_16.safetensors").write_bytes(Path("runs/step_000016.safetensors").read_bytes())
    bad = workplace.slt("inspect", "runs", "--json")
    assert bad.exit_code == 2
    assert json.loads(bad.stdout)["problems"]


def test_train_writes_a_run_once_unless_told_to_overwrite(workplace):
    arguments = ["train", "linear_network", "--out", "new", "--set", "width=4", "--set", "n_samples=20"]
    arguments += ["--set", "steps=20", "--set", "checkpoints=5", "--json"]
    first = workplace.slt(*arguments)
    assert first.exit_code == 0, first.stderr
    assert json.loads(first.stdout)["checkpoints"] == 5
    assert workplace.slt(*arguments).exit_code == 2
    assert workplace.slt(*arguments, "--overwrite").exit_code == 0


def test_report_writes_the_report_of_a_finished_job_again(workplace):
    workplace.run()
    report = workplace.out / "report.html"
    report.unlink()
    result = workplace.slt("report", "results/tiny", "--json")
    assert result.exit_code == 0
    assert Path(json.loads(result.stdout)["report"]).read_text().startswith("<!")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_example(workplace, command):
    result = workplace.slt(command, "--help")
    assert result.exit_code == 0
    assert f"slt {command} " in result.stdout.split("Options")[-1]


def test_help_lists_all_commands_and_the_exit_codes(workplace):
    text = workplace.slt("--help").stdout
    assert all(command in text for command in COMMANDS)
    assert "Exit codes" in text


def test_commands_on_tables_start_without_torch_ray_or_pandas(workplace, curve):
    script = (
        "import sys; from workers.cli import app\n"
        "app(sys.argv[1:], standalone_mode=False)\n"
        "heavy = {'torch', 'ray', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    for arguments in (["stages", str(curve), "--json"], ["stages", str(curve)], ["--help"]):
        subprocess.run([sys.executable, "-c", script, *arguments], check=True, capture_output=True)


def test_progress_in_a_log_is_plain_lines(workplace):
    errors = workplace.run().stderr
    assert "reading checkpoints: 12/12" in errors
    assert "estimating: 12/12" in errors
    assert "\x1b" not in errors


def test_advice_is_printed_with_its_steps_and_reasons(workplace, curve):
    lines = curve.read_text().splitlines()
    Path("thin.csv").write_text("\n".join([lines[0], *lines[1::4]]) + "\n")
    document = json.loads(workplace.slt("stages", "thin.csv", "--advice", "--json").stdout)
    assert document["advice"][0]["action"] == "more checkpoints"
    assert "more checkpoints for the boundary at" in workplace.slt("stages", "thin.csv", "--advice").stdout


def test_the_mirage_screen_says_where_the_jump_is(workplace):
    lines = ["step,accuracy,loss"]
    for index in range(81):
        x = index / 20
        p = 0.05 + 0.95 * index / 80
        lines.append(f"{10**x:.4f},{p**20},{1 - p}")
    Path("metrics.csv").write_text("\n".join(lines) + "\n")
    arguments = ("mirage", "metrics.csv", "--sharp", "accuracy", "--smooth", "loss")
    assert json.loads(workplace.slt(*arguments, "--json").stdout)["verdict"] == "ruler"
    assert "the jump is in the ruler" in workplace.slt(*arguments).stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_standard_output_that_is_full_is_one_sentence(curve):
    line = command("stages", str(curve), "--json")
    with open("/dev/full", "w") as full:
        result = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "Error: standard output cannot be written: No space left on device; make room, or send it elsewhere"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_is_one_sentence(workplace, how):
    line = command("train", "modular_addition", "--out", "mine")
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    until(lambda: list(Path("mine").glob("step_*")), "the first checkpoint")
    process.send_signal(how)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert errors.splitlines()[-1] == "Interrupted. The checkpoints so far are in mine; begin again with --overwrite."
