"""Each bad input is one sentence on standard error and exit code 2, and nothing is sampled or lost."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest


def refusal(workplace, *arguments: str) -> str:
    """The sentence that `slt run` refuses with."""
    result = workplace.run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    error = result.stderr.splitlines()[-1]
    assert error.startswith("Error: ")
    assert "Traceback" not in result.stderr
    assert not list(workplace.path.glob("**/units/*.npz"))
    return error


def test_no_checkpoint_found(workplace):
    (workplace.path / "empty").mkdir()
    assert "no checkpoint found in empty" in refusal(workplace, "--set", "checkpoints=empty")


def test_a_truncated_file_is_named(workplace):
    path = workplace.save(16)
    path.write_bytes(path.read_bytes()[:-5])
    assert "step_000016.safetensors" in refusal(workplace)


def test_a_shape_that_does_not_fit_names_parameter_shapes_and_file(workplace):
    workplace.save(16, [1.0, 2.0])
    error = refusal(workplace)
    for part in ("'weight'", "(1, 2)", "(1, 3)", "step_000016.safetensors"):
        assert part in error


def test_a_nan_in_weights_names_parameter_and_file(workplace):
    workplace.save(16, [1.0, float("nan"), 0.0])
    error = refusal(workplace)
    assert "'weight' in step_000016.safetensors" in error
    assert "NaN" in error


def test_two_files_with_one_step_are_both_named(workplace):
    workplace.save(16).rename(workplace.path / "runs" / "step_16.safetensors")
    workplace.save(16)
    error = refusal(workplace)
    assert "step_16.safetensors" in error
    assert "step_000016.safetensors" in error


def test_an_unknown_key_names_the_nearest(workplace):
    assert "did you mean 'sampler.chains'?" in refusal(workplace, "--set", "sampler.chain=3")


@pytest.mark.parametrize(
    ("problem", "part"),
    [
        ("no_such_module:build", "no_such_module"),
        ("tiny_problem:built", "did you mean 'build'?"),
        ("linear_netwrk", "did you mean 'linear_network'?"),
    ],
)
def test_a_problem_that_cannot_be_imported(workplace, problem, part):
    assert part in refusal(workplace, "--set", f"problem={problem}")


def test_an_argument_that_the_problem_does_not_take(workplace):
    assert "depth" in refusal(workplace, "--set", "problem_args.depth=3")


def test_a_folder_that_cannot_be_written(workplace):
    (workplace.path / "file").write_text("in the way")
    assert "file/out" in refusal(workplace, "--out", "file/out")


def test_fewer_checkpoints_than_stages_can_be_detected_from(workplace):
    for path in sorted((workplace.path / "runs").iterdir())[8:]:
        path.unlink()
    assert "7 checkpoints after step 0 in runs" in refusal(workplace)


def test_an_events_file_with_a_missing_column(workplace):
    (workplace.path / "events.csv").write_text("name,time\nmemorised,3\n")
    assert "no column 'step' in events.csv" in refusal(workplace, "--set", "events=events.csv")


def test_an_unknown_measure_names_the_nearest(workplace):
    assert "did you mean 'weight_norm'?" in refusal(workplace, "--set", "measures=[weight_nrm]")


def test_reference_self_without_a_divergence(workplace):
    assert "divergence" in refusal(workplace, "--set", "sampler.reference=self")


def test_a_cluster_that_does_not_answer_is_refused_at_once(workplace):
    result = workplace.slt("run", "tiny.yaml", "--address", "127.0.0.1:9")
    assert result.exit_code == 2
    assert "Error: no Ray cluster answers at 127.0.0.1:9: Connection refused" in result.stderr


def test_a_full_disk_is_found_before_sampling(workplace):
    script = "import sys; from workers.cli import main; sys.argv[0] = 'slt'; main()"

    def no_file_over_8_kilobytes() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    result = subprocess.run(
        [sys.executable, "-c", script, "run", "tiny.yaml", "--serial"],
        cwd=workplace.path,
        preexec_fn=no_file_over_8_kilobytes,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2, result.stderr
    assert result.stderr.splitlines()[-1].startswith("Error: results/tiny cannot be written: File too large")
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["stages", "none.csv"], "no such file: none.csv"),
        (["compare", "none.json", "events.csv"], "no such file: none.json"),
        (["report", "none"], "none"),
        (["inspect", "none"], "none"),
        (["train", "linear_netwrk", "--out", "new"], "did you mean 'linear_network'?"),
        (["train", "linear_network", "--out", "new", "--set", "widht=3"], "did you mean 'width'?"),
    ],
)
def test_every_command_refuses_in_one_sentence(workplace, arguments, part):
    result = workplace.slt(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert part in result.stderr


def test_a_table_that_is_too_short_is_refused(workplace):
    Path("short.csv").write_text("step,llc\n1,2\n2,3\n")
    result = workplace.slt("stages", "short.csv")
    assert result.exit_code == 2
    assert "8" in result.stderr
