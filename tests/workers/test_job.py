"""The job file: what is accepted, and the sentence for what is not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from slt.errors import JobError
from workers.job import JobConfig, SamplerSettings, as_plain, parse_yaml, read_job

GOOD = """
checkpoints: runs/tiny
problem: linear_network
sampler: {step_size: 1e-4, n_beta: 10, localization: 100}
"""


@pytest.fixture
def job_file(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "tiny.yaml"
        path.write_text(text)
        return path

    return write


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(JobError) as caught:
        read_job(path, overrides)
    return str(caught.value)


def test_name_and_out_come_from_the_file_name(job_file):
    job = read_job(job_file(GOOD))
    assert job.name == "tiny"
    assert job.out == Path("results/tiny")


def test_exponents_without_a_point_are_numbers(job_file):
    job = read_job(job_file(GOOD + "problem_args: {lr: 2e-3, small: -1E+5, word: 1e, tag: e5, version: 1.5}\n"))
    assert job.sampler.step_size == 1e-4
    assert job.problem_args == {"lr": 2e-3, "small": -1e5, "word": "1e", "tag": "e5", "version": 1.5}
    assert parse_yaml("[0010, 12, -3, .5]") == [8, 12, -3, 0.5]  # whole numbers stay as YAML has them


def test_overrides_reach_nested_keys_and_win_over_the_file(job_file):
    job = read_job(job_file(GOOD), ["sampler.chains=8", "stages.axis=linear", "measures=[loss]"], Path("elsewhere"))
    assert (job.sampler.chains, job.stages.axis, job.measures, job.out) == (8, "linear", ("loss",), Path("elsewhere"))


@pytest.mark.parametrize(
    ("line", "nearest"),
    [
        ("chekpoints: x", "checkpoints"),
        ("chains: 8", "sampler.chains"),
        ("resources: {cpu: 2}", "resources.cpus"),
        ("stages: {axes: log}", "stages.axis"),
    ],
)
def test_an_unknown_key_names_the_nearest_valid_one(job_file, line, nearest):
    sentence = refusal(job_file(GOOD + line + "\n"))
    assert f"did you mean '{nearest}'?" in sentence
    assert "tiny.yaml" in sentence


def test_an_unknown_key_given_on_the_command_line_names_the_nearest(job_file):
    assert "did you mean 'sampler.step_size'?" in refusal(job_file(GOOD), "sampler.stepsize=1e-3")


def test_an_unknown_key_like_nothing_lists_the_valid_ones(job_file):
    assert "valid keys are sampler.step_size, sampler.n_beta" in refusal(job_file(GOOD), "sampler.zzzz=1")


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["resources.device=cuda"], "resources: device is cuda but gpus is 0"),
        (["resources.gpus=1", "resources.device=cpu"], "resources: gpus is 1 but device is cpu"),
        (["resources.checkpoints_per_unit=0"], "checkpoints_per_unit is 0"),
        (["sampler.step_size=automatic"], "sampler.step_size is 'automatic'"),
        (["sampler.chains=auto"], "sampler.chains is 'auto'"),
        (["sampler.chains=many"], "sampler.chains is 'many'"),
        (["stages.axis=cubic"], "stages.axis is 'cubic'"),
        (["sampler=5"], "sampler is 5"),
        (["name=a/b"], "name is 'a/b'"),
        (["sampler"], "'sampler' is not key=value"),
        (["problem.deep=1"], "'problem' is not a section"),
        (["name=[1"], "is not YAML"),
    ],
)
def test_what_cannot_be_is_refused_with_key_and_value(job_file, overrides, part):
    assert part in refusal(job_file(GOOD), *overrides)


def test_a_missing_key_is_named(job_file):
    assert "'checkpoints' is missing" in refusal(job_file("problem: x\nsampler: {step_size: 1, localization: 1}"))


@pytest.mark.parametrize(
    ("text", "part"),
    [("a: [1\n", "is not YAML at line"), ("- a list\n", "holds list"), ("", "holds NoneType")],
)
def test_a_file_that_is_not_a_job_is_one_sentence(job_file, text, part):
    assert part in refusal(job_file(text))


def test_a_missing_file_is_one_sentence(tmp_path):
    assert refusal(tmp_path / "none.yaml") == f"no such job file: {tmp_path / 'none.yaml'}"


def test_sampler_settings_mirror_the_sampler_config_field_by_field():
    from estimators.llc import SamplerConfig

    theirs = {field.name: field for field in dataclasses.fields(SamplerConfig) if field.name != "device"}
    ours = SamplerSettings.model_fields
    assert set(ours) == set(theirs)
    for name, field in theirs.items():
        if field.default is not dataclasses.MISSING:
            assert ours[name].default == field.default, name


def test_what_is_left_out_is_automatic_and_the_length_follows(job_file):
    posterior = {"step_size", "n_beta", "localization"}
    assert read_job(job_file(GOOD)).sampler.automatic == frozenset()
    assert read_job(job_file(GOOD)).sampler.draws == 300
    assert read_job(job_file(GOOD.replace("n_beta: 10, ", ""))).sampler.automatic == {"n_beta", "draws", "burn_in"}
    without = "\n".join(line for line in GOOD.splitlines() if not line.startswith("sampler"))
    assert read_job(job_file(without)).sampler.automatic == posterior | {"draws", "burn_in"}
    assert read_job(job_file(without), ["sampler.draws=50"]).sampler.automatic == posterior | {"burn_in"}


def test_chosen_values_stand_where_the_job_says_auto(job_file):
    sampler = read_job(job_file(GOOD), ["sampler.n_beta=auto", "sampler.draws=50", "sampler.burn_in=5"]).sampler
    assert sampler.resolve("cpu", {"n_beta": 7.5}).n_beta == 7.5
    assert sampler.resolve("cpu", {"n_beta": 7.5}).draws == 50


def test_the_echo_of_a_job_reads_back_as_the_same_job(job_file, tmp_path):
    job = read_job(job_file(GOOD))
    echo = tmp_path / "job.yaml"
    echo.write_text(yaml.safe_dump({**as_plain(job), "versions": {"torch": "2"}}))
    assert read_job(echo) == job
    assert isinstance(job, JobConfig)
