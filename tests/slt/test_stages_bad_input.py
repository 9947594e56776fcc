"""Whatever table is given to the detector and the comparison: a right answer, or one sentence."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from slt.advice import advise
from slt.comparison import compare, same_signal
from slt.errors import BadInput, TrajectoryError
from slt.events import read_events
from slt.stages import Stages, detect_stages
from slt.synthetic import Sampling, smooth_steps
from slt.trajectory import Trajectory

T = TypeVar("T")
CURVE = smooth_steps(Sampling(points=60), bursts=3, seed=4).trajectory
STEPS, LLC = CURVE.steps, CURVE.llc
TRUE = [boundary.step for boundary in detect_stages(CURVE, draws=60).boundaries]
once_per_file = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
any_float = st.floats(width=64)


def is_one_sentence(error: BaseException) -> bool:
    text = str(error)
    return bool(text) and "\n" not in text and len(text) < 400


def is_sound(stages: Stages, trajectory: Trajectory) -> bool:
    """Boundaries in order inside the data, each in its interval; stages that join from end to end."""
    steps = [boundary.step for boundary in stages.boundaries]
    ends = [stages.stages[0].start, *(stage.end for stage in stages.stages)]
    return (
        steps == sorted(steps)
        and all(b.low <= b.step <= b.high and 0.5 <= b.probability <= 1 for b in stages.boundaries)
        and ends[1:-1] == steps
        and trajectory.steps[0] <= ends[0] * (1 + 1e-9)
        and ends[-1] <= trajectory.steps[-1] * (1 + 1e-9)
        and all(np.isfinite(stage.change) for stage in stages.stages)
    )


def attempt(call: Callable[[], T]) -> T | BadInput:
    """What it gives, or what it refuses with; any other error is a defect."""
    try:
        return call()
    except BadInput as error:
        return error


def check_stages(trajectory: Trajectory, axis: str = "log") -> None:
    found = attempt(lambda: detect_stages(trajectory, draws=20, axis=axis))
    assert is_one_sentence(found) if isinstance(found, BadInput) else is_sound(found, trajectory)


def write(path: Path, header: list[str], *columns: object) -> Path:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(zip(*columns, strict=True))
    return path


@given(values=arrays(np.float64, st.integers(0, 40), elements=any_float), axis=st.sampled_from(["log", "linear"]))
@settings(max_examples=150, deadline=None)
def test_any_values_give_sound_stages_or_one_sentence(values: np.ndarray, axis: str) -> None:
    check_stages(Trajectory(np.arange(len(values), dtype=float) * 10, values), axis)


@given(steps=st.lists(any_float, max_size=40), axis=st.sampled_from(["log", "linear"]))
@settings(max_examples=150, deadline=None)
def test_any_steps_give_sound_stages_or_one_sentence(steps: list[float], axis: str) -> None:
    made = attempt(lambda: Trajectory(np.array(steps, dtype=float), np.sin(np.arange(len(steps), dtype=float))))
    in_order = sorted(set(steps)) == steps and all(0 <= step < np.inf for step in steps)
    assert isinstance(made, Trajectory) == in_order
    if isinstance(made, Trajectory):
        check_stages(made, axis)
    else:
        assert is_one_sentence(made)


@given(steps=st.lists(st.floats(0, 1e300), min_size=8, max_size=40, unique=True).map(sorted))
@settings(max_examples=100, deadline=None)
def test_increasing_steps_give_sound_stages_or_one_sentence(steps: list[float]) -> None:
    trajectory = Trajectory(np.array(steps), np.cos(np.arange(len(steps), dtype=float)))
    check_stages(trajectory)
    check_stages(trajectory, "linear")


@given(
    rows=st.lists(st.integers(0, len(LLC) - 1), min_size=1, max_size=6, unique=True),
    bad=st.sampled_from([np.nan, np.inf, -np.inf]),
)
@settings(max_examples=30, deadline=None)
def test_checkpoints_without_a_number_are_as_if_they_were_not_there(rows: list[int], bad: float) -> None:
    spoiled = LLC.copy()
    spoiled[rows] = bad
    found = detect_stages(replace(CURVE, llc=spoiled), draws=20)
    without = detect_stages(CURVE.select(~np.isin(np.arange(len(LLC)), rows)), draws=20)
    assert found.boundaries == without.boundaries
    assert found.warnings[0].startswith(f"{len(rows)} of {len(LLC)} checkpoints have no finite value")


@given(order=st.permutations(range(12)))
@settings(max_examples=50, deadline=None)
def test_unsorted_steps_are_refused_and_the_row_is_named(order: list[int]) -> None:
    if order == sorted(order):
        return
    with pytest.raises(TrajectoryError, match=r"step .* in row \d+ is followed by .*; sort the rows"):
        Trajectory(np.array(order, dtype=float), np.zeros(12))


def test_a_duplicate_step_is_named() -> None:
    with pytest.raises(TrajectoryError, match="step 4 in row 2 appears twice"):
        Trajectory(np.array([1.0, 4.0, 4.0, 9.0]), np.zeros(4))


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_a_step_that_is_no_step_is_named(bad: float) -> None:
    with pytest.raises(TrajectoryError, match=r"step .* in row 1 "):
        Trajectory(np.array([bad, 4.0]), np.zeros(2))


def test_a_constant_curve_is_one_flat_stage() -> None:
    stages = detect_stages(Trajectory(STEPS, np.full(len(STEPS), 3.5)))
    assert (stages.boundaries, [stage.kind for stage in stages.stages]) == ((), ["flat"])
    assert "constant" in stages.warnings[0]


@pytest.mark.parametrize("settings", [{"draws": 0}, {"draws": -5}, {"probability": np.nan}, {"probability": 2}])
def test_settings_that_mean_nothing_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(TrajectoryError, match="cannot be had; take a draw or more, and a number from 0 to 1"):
        detect_stages(CURVE, **settings)  # type: ignore[arg-type]


def test_three_checkpoints_are_too_few() -> None:
    with pytest.raises(TrajectoryError, match=r"3 checkpoints .* give at least 8"):
        detect_stages(CURVE.select(slice(0, 3)))


@pytest.mark.parametrize("scale", [1e101, 1e-101, 1e300])
def test_values_that_cannot_be_squared_are_refused(scale: float) -> None:
    size = np.abs(LLC).max()
    with pytest.raises(TrajectoryError, match="cannot be squared; scale the values"):
        detect_stages(replace(CURVE, llc=LLC / size * scale))


@pytest.mark.parametrize("scale", [1e-90, 1e90])
def test_values_of_any_other_size_give_the_same_boundaries(scale: float) -> None:
    found = detect_stages(replace(CURVE, llc=LLC * scale), draws=60)
    assert [b.step for b in found.boundaries] == pytest.approx(TRUE, rel=1e-6)


def test_steps_too_close_for_a_logarithm_are_told_of_the_linear_axis() -> None:
    late = replace(CURVE, steps=1e6 + np.arange(60.0))
    with pytest.raises(TrajectoryError, match=r"1,000,000 to 1,000,059 span .* choose the linear axis"):
        detect_stages(late)
    assert len(detect_stages(late, axis="linear").boundaries) == len(TRUE)


def _with_chains(chains: int = 6) -> Trajectory:
    offsets = np.linspace(-0.1, 0.1, chains)
    return replace(CURVE, llc_chains=LLC[:, None] + offsets)


@pytest.mark.parametrize("rows", [slice(None), slice(5, 6), slice(0, 60, 2)])
def test_a_chain_with_missing_values_is_left_out_and_said_so(rows: slice) -> None:
    whole = _with_chains()
    assert whole.llc_chains is not None
    chains = whole.llc_chains.copy()
    chains[rows, 2] = np.nan
    found = detect_stages(replace(whole, llc_chains=chains), draws=60)
    without = detect_stages(replace(whole, llc_chains=np.delete(whole.llc_chains, 2, axis=1)), draws=60)
    assert found.boundaries == without.boundaries
    assert found.warnings[0].startswith("1 of 6 chains lack a value")


def test_a_chain_that_is_infinite_where_the_curve_is_missing_costs_nothing() -> None:
    whole = _with_chains()
    assert whole.llc_chains is not None
    chains, llc = whole.llc_chains.copy(), LLC.copy()
    chains[7, 1], llc[7] = np.inf, np.nan
    found = detect_stages(replace(whole, llc=llc, llc_chains=chains), draws=60)
    assert found.boundaries == detect_stages(whole.select(np.arange(60) != 7), draws=60).boundaries
    assert not any("chains lack" in warning for warning in found.warnings)


@given(cell=st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1, max_size=8))
@example(cell="0\x1f")
@once_per_file
def test_any_cell_is_a_number_or_is_named(tmp_path: Path, cell: str) -> None:
    cells = [str(value) for value in LLC]
    cells[3] = cell
    path = write(tmp_path / "table.csv", ["step", "llc"], STEPS, cells)
    try:
        value = float(cell.strip() or "nan")  # strip knows white space that float does not, such as U+001F
    except ValueError:
        with pytest.raises(TrajectoryError, match=r"in column 'llc', row 5 of .* is not a number"):
            Trajectory.from_csv(path)
    else:
        assert Trajectory.from_csv(path).llc[3] == pytest.approx(value, nan_ok=True)


@given(content=st.binary(max_size=60) | st.text(alphabet='step,lc01e.-"\n\r# \0', max_size=60).map(str.encode))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_is_a_trajectory_or_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.csv"
    path.write_bytes(content)
    made = attempt(lambda: Trajectory.from_csv(path))
    assert isinstance(made, Trajectory) or is_one_sentence(made)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "table.csv", ["step", "llc", "llc"], STEPS, LLC, LLC)
    with pytest.raises(TrajectoryError, match="are called 'llc'; give each its own name"):
        Trajectory.from_csv(path)


def test_a_table_of_numbers_is_read_as_cell_by_cell(tmp_path: Path) -> None:
    bare = write(tmp_path / "bare.csv", ["step", "llc"], STEPS, [repr(float(v)) for v in LLC])
    noted = write(tmp_path / "noted.csv", ["step", "llc", "note"], STEPS, [repr(float(v)) for v in LLC], ["x"] * 60)
    fast, slow = Trajectory.from_csv(bare), Trajectory.from_csv(noted)
    assert fast.steps.tobytes() == slow.steps.tobytes() == STEPS.tobytes()
    assert fast.llc.tobytes() == slow.llc.tobytes() == LLC.tobytes()


def test_a_million_points_take_under_two_seconds_from_the_file_on(tmp_path: Path) -> None:
    long = smooth_steps(Sampling(points=1_000_000), bursts=4, seed=1)
    np.savetxt(tmp_path / "long.csv", np.c_[long.trajectory.steps, long.trajectory.llc], "%.9g", ",", header="step,llc")
    text = (tmp_path / "long.csv").read_text().replace("# ", "", 1)
    (tmp_path / "long.csv").write_text(text)
    start = time.process_time()  # of this process: other work on the machine does not count
    stages = detect_stages(Trajectory.from_csv(tmp_path / "long.csv"))
    assert time.process_time() - start < 2.0
    apart = np.abs(np.log10([b.step for b in stages.boundaries])[:, None] - np.log10(long.boundaries))
    assert apart.shape == (3, 3)
    assert apart.min(axis=1).max() < 0.1


@given(
    header=st.lists(st.sampled_from(["name", "step", "low", "high", "group", "other"]), max_size=6, unique=True),
    cells=st.lists(st.lists(st.text(max_size=5) | any_float.map(str), max_size=6), max_size=5),
)
@once_per_file
def test_any_events_file_is_compared_or_refused_in_one_sentence(
    tmp_path: Path, header: list[str], cells: list[list[str]]
) -> None:
    path = tmp_path / "events.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *cells])
    stages = detect_stages(CURVE, draws=20)
    made = attempt(lambda: compare(stages, read_events(path)))
    if isinstance(made, BadInput):
        assert is_one_sentence(made)
    else:
        assert all(np.isfinite(match.lag_decades) for match in made.matches)


@given(steps=st.lists(st.floats(0, 1e300), max_size=5))
@once_per_file
def test_events_at_any_step_are_compared(tmp_path: Path, steps: list[float]) -> None:
    path = write(tmp_path / "events.csv", ["name", "step"], [f"e{k}" for k in range(len(steps))], steps)
    comparison = compare(detect_stages(CURVE, draws=20), read_events(path))
    assert len(comparison.sightings) == len(steps)
    assert all(group.p_value is None or 0 < group.p_value <= 1 for group in comparison.groups)


extreme = st.sampled_from(
    [0.0, 5e-324, 1e-310, 1e-160, 1e-100, 1.0, 1 + 2**-52, -1.0, 1e100, 1e154, 1e300, 1e308, -1e308]
)
columns = arrays(np.float64, len(LLC), elements=st.one_of(extreme, any_float))


@given(values=columns, loss=columns, chains=arrays(np.float64, (len(LLC), 4), elements=extreme))
@settings(max_examples=60, deadline=None)
def test_tiny_and_huge_values_in_any_column_give_sound_stages_or_one_sentence(
    values: np.ndarray, loss: np.ndarray, chains: np.ndarray
) -> None:
    for llc, llc_chains in ((values, None), (LLC, None), (values, chains)):
        whole = replace(CURVE, llc=llc, loss=loss, llc_std_error=np.abs(loss), llc_chains=llc_chains)
        check_stages(whole)
        stages = detect_stages(CURVE, draws=20)
        attempt(lambda whole=whole, stages=stages: (advise(whole, stages), same_signal(whole, loss, stages)))
