"""Refined LLCs in a job: units of their own, a table side by side, in gauges, report and the JSON document."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
import yaml

from slt.trajectory import Trajectory, VerdictKind
from workers.report.folder import read_job
from workers.report.prepare import prepare

PART, HALF, BOTH = {"parameters": ["weight[:, :2]"]}, {"data": "own_data:half"}, {"parameters": ["weight[:, 2]"]}
REFINEMENTS = {"part": PART, "half": HALF, "both": BOTH | HALF}
DATA = "def half(problem):\n    return tuple(tensor[:32] for tensor in problem.data)\n"


@pytest.fixture
def refined(workplace):
    (workplace.path / "own_data.py").write_text(DATA)
    workplace.configure(refinements=REFINEMENTS)
    return workplace


def curve(workplace, name: str) -> Trajectory:
    return Trajectory.from_csv(workplace.out / "refinements.csv", value=f"llc_{name}")


@pytest.mark.slow
def test_each_refinement_is_a_curve_beside_the_others(refined):
    result = refined.run("--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["units"]["computed"] == 4 * 6
    assert set(document["refinements"]) == set(REFINEMENTS)
    assert sum(document["refinements"]["both"]["verdicts"].values()) == document["checkpoints"] == 12

    whole = Trajectory.from_csv(refined.out / "trajectory.csv")
    curves = {name: curve(refined, name) for name in REFINEMENTS}
    for each in curves.values():
        assert each.llc_chains.shape == whole.llc_chains.shape
        assert not np.array_equal(each.llc, whole.llc)
    gauges = json.loads((refined.out / "gauges.json").read_text())
    assert {f"llc_{name}" for name in REFINEMENTS} <= {*gauges["names"], *gauges["unusable"]}
    traces = xr.open_zarr(refined.out / "traces.zarr", consolidated=False)
    burn_in = traces.attrs["burn_in"]
    for name, each in curves.items():
        mean = traces[f"excess_loss_{name}"].values[:, :, burn_in:].mean(axis=(1, 2))
        np.testing.assert_allclose(traces.attrs["n_beta"] * mean, each.llc, rtol=1e-9, atol=1e-12)

    job = read_job(refined.out)
    assert set(job.refined) == set(REFINEMENTS)
    assert {verdict.kind for verdict in job.refined["half"].verdicts} <= set(VerdictKind)
    assert [panel.name for panel in prepare(job).panels][:3] == [f"llc_{name}" for name in job.refined]
    page = (refined.out / "report.html").read_text()
    assert "Refined LLCs" in page
    assert "weight[:, :2]" in page


@pytest.mark.slow
def test_only_a_changed_refinement_is_computed_again_and_a_dropped_one_leaves_the_table(refined):
    refined.run()
    again = json.loads(refined.run("--json", "--set", "refinements.part.parameters=['weight[:, 1]']").stdout)
    assert (again["units"]["computed"], again["units"]["reused"]) == (6, 18)
    (refined.path / "own_data.py").write_text(DATA.replace("32", "40"))
    changed = refined.compute()["computed"]  # the code of `half` and `both`; their data are read by a new process only
    assert changed == 12
    refined.configure()
    assert refined.run().exit_code == 0
    assert not (refined.out / "refinements.csv").exists()


def test_the_whole_as_a_refinement_is_the_job_itself(workplace):
    workplace.configure(refinements={"all_of_it": {"parameters": ["*"]}})
    assert workplace.run().exit_code == 0
    whole = Trajectory.from_csv(workplace.out / "trajectory.csv")
    np.testing.assert_array_equal(curve(workplace, "all_of_it").llc, whole.llc)
    assert whole.heat_capacity is not None
    assert whole.wbic is not None
    # n L + LLC log n, of 64 examples
    np.testing.assert_allclose(whole.wbic, 64 * whole.loss + whole.llc * np.log(64))


@pytest.mark.parametrize(
    ("refinement", "reason"),
    [
        ({"a": {}}, "refinements.a: it refines nothing; give parameters"),
        ({"a": {"parametres": ["x"]}}, "'refinements.a.parametres'; did you mean 'refinements.NAME.parameters'"),
        ({"a_chain_0": PART}, "refinement 'a_chain_0' names columns such as llc_a_chain_0"),
        ({"a": {"parameters": ["bias"]}}, "refinement 'a': restriction 'bias' matches no parameter"),
        ({"a": {"data": "other"}}, "refinement 'a': problem 'tiny' has no data set 'other'"),
        ({"a": {"parameters": "weight"}}, "refinements.a.parameters is 'weight'; it is a list"),
    ],
)  # fmt: skip
def test_a_refinement_that_cannot_be_is_one_sentence_before_any_sampling(workplace, refinement, reason):
    workplace.configure(refinements=refinement)
    result = workplace.run()
    assert result.exit_code == 2
    assert reason in result.stderr
    assert "Traceback" not in result.stderr


def test_data_without_a_finite_loss_are_refused_by_the_name_of_their_refinement(workplace):
    (workplace.path / "hostile_data.py").write_text(
        "def hostile(problem):\n    return problem.data[0], problem.data[1] * float('inf')\n"
    )
    workplace.configure(refinements={"hostile": {"data": "hostile_data:hostile"}})
    result = workplace.run()
    assert result.exit_code == 2
    assert "refinement 'hostile': tensor 1 of the data of problem 'tiny_problem:build' has a NaN" in result.stderr


def test_the_echo_of_a_job_with_refinements_can_be_run_again(workplace):
    workplace.configure(refinements={"part": PART})
    assert workplace.run().exit_code == 0
    echo = yaml.safe_load((workplace.out / "job.yaml").read_text())
    assert echo["refinements"] == {"part": PART | {"data": None}}
    again = workplace.slt("run", str(workplace.out / "job.yaml"), "--serial", "--json")
    assert json.loads(again.stdout)["units"]["computed"] == 0
