from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slt.errors import TrajectoryError
from slt.trajectory import Estimate, Trajectory, Verdict, VerdictKind

COLUMNS = ("steps", "llc", "llc_std_error", "llc_chains", "loss", "rhat", "ess")


def full(length: int = 5, seed: int = 0) -> Trajectory:
    rng = np.random.default_rng(seed)
    llc = rng.standard_normal(length)
    llc[1] = np.nan
    kinds = list(VerdictKind)
    return Trajectory(
        steps=np.cumsum(rng.random(length)) * 1000,
        llc=llc,
        llc_std_error=rng.random(length),
        llc_chains=rng.standard_normal((length, 3)),
        loss=rng.random(length) * 1e-9,
        verdicts=tuple(Verdict(kinds[i % 7], i / 3, f'sentence {i}, with a comma and "quotes"') for i in range(length)),
        rhat=rng.random(length),
        ess=rng.random(length) * 1e3,
    )


def assert_same(one: Trajectory, other: Trajectory) -> None:
    for name in COLUMNS:
        left, right = getattr(one, name), getattr(other, name)
        assert (left is None) == (right is None), name
        if left is not None:
            np.testing.assert_array_equal(left, right, err_msg=name)  # same bits, NaN in the same places
    assert one.verdicts == other.verdicts


def test_a_written_trajectory_reads_back_the_same_bits(tmp_path):
    full().to_csv(tmp_path / "t.csv")
    assert_same(Trajectory.from_csv(tmp_path / "t.csv"), full())


def test_a_bare_trajectory_reads_back_without_inventing_columns(tmp_path):
    bare = Trajectory(np.array([0.0, 3.0]), np.array([1.5, -2.0]))
    bare.to_csv(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "step,llc\n0,1.5\n3,-2\n"
    assert_same(Trajectory.from_csv(tmp_path / "t.csv"), bare)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(), min_size=1, max_size=20))
def test_any_number_survives_the_file(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    trajectory = Trajectory(np.arange(len(values), dtype=float), np.array(values))
    trajectory.to_csv(path)
    assert_same(Trajectory.from_csv(path), trajectory)


def test_another_column_and_its_chains_can_be_the_curve(tmp_path):
    (tmp_path / "t.csv").write_text("step,llc,gini,gini_chain_0,gini_chain_1,llc_chain_0\n1,9,2,3,4,9\n2,9,5,6,7,9\n")
    trajectory = Trajectory.from_csv(tmp_path / "t.csv", value="gini")
    assert trajectory.llc.tolist() == [2, 5]
    assert trajectory.llc_chains.tolist() == [[3, 4], [6, 7]]


def test_an_empty_cell_is_no_estimate(tmp_path):
    (tmp_path / "t.csv").write_text("\ufeffstep, llc\n1,\n2,5\n")  # with a byte order mark, as spreadsheets write it
    trajectory = Trajectory.from_csv(tmp_path / "t.csv")
    np.testing.assert_array_equal(trajectory.llc, [np.nan, 5])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty; it needs a header"),
        ("time,llc\n1,2\n", "no column 'step' in .*; its columns are time, llc"),
        ("step,lambda\n1,2\n", "no column 'llc' in .*--value"),
        ("step,llc\n1,2\n2,high\n", "'high' in column 'llc', row 3 of .*, is not a number"),
        ("step,llc\n1, \n2,high\n", "'high' in column 'llc', row 3 of .*, is not a number"),
        ("step;llc\n1;2\n", "its columns are step;llc. Separate columns by commas"),
        ("step,llc\n1,2\n2\n", "row 3 of .* has 1 fields but the header has 2"),
        ("step,llc\n-1,2\n2,3\n", "step -1 in row 2 of .* is negative"),
        ("step,llc\n1,2\n1,3\n", "step 1 in row 2 of .* appears twice"),
        ("step,llc\n5,2\n1,3\n", "step 5 in row 2 of .* is followed by 1; sort the rows"),
        ("step,llc\n,2\n1,3\n", "step nan in row 2 of .* is not a number"),
        ("step,llc\ninf,2\n", "step inf in row 2 of .* is not a number"),
        ("step,llc,verdict,statistic,sentence\n1,2,fine,0,x\n", "verdict 'fine' in .* is not one of: ok, diverged"),
    ],
)
def test_a_bad_table_is_named(tmp_path, text, says):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(TrajectoryError, match=says):
        Trajectory.from_csv(tmp_path / "t.csv")


def test_a_missing_or_binary_file_is_a_trajectory_error(tmp_path):
    with pytest.raises(TrajectoryError, match="no such file"):
        Trajectory.from_csv(tmp_path / "nowhere.csv")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(TrajectoryError, match="cannot be read as a CSV table"):
        Trajectory.from_csv(tmp_path / "binary")
    with pytest.raises(TrajectoryError, match="cannot be read as a CSV table"):
        Trajectory.from_csv(tmp_path)


def test_columns_of_another_length_are_an_error():
    with pytest.raises(TrajectoryError, match="'loss' has 1 rows but there are 2 steps"):
        Trajectory(np.array([1.0, 2.0]), np.array([1.0, 2.0]), loss=np.array([1.0]))


def test_only_checkpoints_with_finite_llc_and_chains_are_finite():
    trajectory = full()
    trajectory.llc_chains[3, 0] = np.inf
    assert trajectory.finite().steps.tolist() == trajectory.steps[[0, 2, 4]].tolist()
    assert [verdict.statistic for verdict in trajectory.finite().verdicts] == [0, 2 / 3, 4 / 3]


def test_estimates_are_stacked_in_order_of_step():
    verdict = Verdict(VerdictKind.OK, 1.0, "fine")
    estimates = [Estimate(s, s / 2, 0.1, np.array([s, s + 1]), 0.5, 1.0, 99.0, verdict) for s in (30.0, 10.0, 20.0)]
    trajectory = Trajectory.from_estimates(estimates, step_unit="epoch")
    assert trajectory.llc.tolist() == [5, 10, 15]
    assert trajectory.llc_chains.tolist() == [[10, 11], [20, 21], [30, 31]]
    assert trajectory.step_unit == "epoch"


def test_two_estimates_at_one_step_are_an_error():
    verdict = Verdict(VerdictKind.OK, 1.0, "fine")
    estimates = [Estimate(10.0, 1.0, 0.1, np.ones(2), 0.5, 1.0, 99.0, verdict)] * 2
    with pytest.raises(TrajectoryError, match="appears twice"):
        Trajectory.from_estimates(estimates)


def test_a_column_is_found_however_its_spaces_are_written(tmp_path):
    (tmp_path / "t.csv").write_text(" step ,test  loss\n1,2\n")
    assert Trajectory.from_csv(tmp_path / "t.csv", value="test  loss").llc.tolist() == [2]


@pytest.mark.parametrize("kind", [list, tuple, np.int64, np.float32, object, str])
def test_any_sequence_of_numbers_is_a_column(kind):
    column = kind([1, 2, 4]) if kind in (list, tuple) else np.array([1, 2, 4]).astype(kind)
    trajectory = Trajectory(column, column, llc_chains=[[1, 2], [3, 4], [5, 6]])
    assert trajectory.steps.dtype == trajectory.llc.dtype == trajectory.llc_chains.dtype == np.float64
    assert trajectory.steps.tolist() == trajectory.llc.tolist() == [1, 2, 4]
    assert trajectory.select([0, 2]).llc_chains.tolist() == [[1, 2], [5, 6]]


def test_a_masked_value_is_no_estimate():
    masked = np.ma.masked_equal([5, 0, 7], 0)
    np.testing.assert_array_equal(Trajectory(np.arange(3.0), masked).llc, [5, np.nan, 7])


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"llc": ["a", "b"]}, "'llc' is not an array of numbers"),
        ({"llc": None}, r"'llc' has shape \(\); it needs 1 axis"),
        ({"llc": [[1], [2]]}, r"'llc' has shape \(2, 1\); it needs 1 axis"),
        ({"llc": [1, 2], "llc_chains": [1, 2]}, r"'llc_chains' has shape \(2,\); it needs 2 axes"),
        ({"llc": [1, 2], "llc_chains": [[1, 2], [3]]}, "'llc_chains' is not an array of numbers"),
    ],
)
def test_what_is_no_column_is_named(columns, says):
    with pytest.raises(TrajectoryError, match=says):
        Trajectory([1, 2], **columns)
