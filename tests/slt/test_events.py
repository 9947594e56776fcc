from __future__ import annotations

import numpy as np
import pytest

from slt.errors import EventsError
from slt.events import CircuitEvent, crossing, onset_events, read_events, spikes, write_events

STEPS = np.unique(np.round(np.logspace(0, 4, 100)))


def test_a_written_file_reads_back_the_same(tmp_path):
    events = (
        CircuitEvent("memorised", 79.123456789012345, 70, 90.5, "train accuracy"),
        CircuitEvent('name, with "commas"', 0.0),
        CircuitEvent("grokked", 5722, None, 6000),
    )
    write_events(tmp_path / "events.csv", events)
    assert read_events(tmp_path / "events.csv") == events


def test_only_name_and_step_are_needed(tmp_path):
    (tmp_path / "events.csv").write_text("step,comment,name\n12,x,first\n\n40,,second\n")
    assert read_events(tmp_path / "events.csv") == (CircuitEvent("first", 12.0), CircuitEvent("second", 40.0))


def test_a_header_alone_means_that_nothing_happened(tmp_path):
    write_events(tmp_path / "events.csv", ())
    assert read_events(tmp_path / "events.csv") == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("name,time\na,3\n", r"no column 'step' in .*events.csv; its columns are name, time"),
        ("step\n3\n", "no column 'name'"),
        ("name,step\na,3\nb,soon\n", "'soon' in column 'step', row 3 of .*, is not a number"),
        ("name,step,low\na,3,early\n", "'early' in column 'low', row 2"),
        ("name,step\na,-3\n", r"event 'a' has step -3.0; .* \(row 2 of"),
        ("name,step\na,nan\n", r"event 'a' has step nan; .* \(row 2 of"),
        ("name,step\na,\n", "event 'a' in row 2 of .* has no step"),
        ("name,step\n,4\n", "row 2 of .* has no name"),
        ("name,step,low,high\na,3,5,2\n", r"event 'a' has low 5 above high 2 \(row 2 of"),
        ("name,step,low,high\na,3,4,5\n", r"event 'a' at step 3 is not within 4..5 \(row 2 of"),
        ("name,step,low\na,3,4\n", r"event 'a' has low 4 above high 3"),
        ("name,step\na,3,5\n", "row 2 of .* has 3 fields but the header has 2"),
        ("name,step\n\n\na,1\nb\n", "row 5 of .* has 1 fields"),
    ],
)
def test_a_bad_events_file_is_named_with_its_row(tmp_path, text, says):
    (tmp_path / "events.csv").write_text(text)
    with pytest.raises(EventsError, match=says):
        read_events(tmp_path / "events.csv")


@pytest.mark.parametrize("step", [None, "soon", float("nan"), -1])
def test_an_event_without_a_step_is_refused(step):
    with pytest.raises(EventsError, match=f"event 'a' has step {step}; it must be a number from 0 up"):
        CircuitEvent("a", step)


def test_a_missing_or_binary_file_is_an_events_error(tmp_path):
    with pytest.raises(EventsError, match="no such file"):
        read_events(tmp_path / "nowhere.csv")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(EventsError, match="cannot be read as a CSV table"):
        read_events(tmp_path / "binary")
    with pytest.raises(EventsError, match="cannot be read as a CSV table"):
        read_events(tmp_path)


def test_a_crossing_is_interpolated_in_the_logarithm_of_the_step():
    event = crossing([1, 10, 1000], [0, 0, 1], 0.5, "half")
    assert (event.name, event.low, event.high) == ("half", 10, 1000)
    assert event.step == pytest.approx(100)


def test_a_crossing_after_step_zero_is_interpolated_in_the_step():
    assert crossing([0, 8], [0, 1], 0.25, "early").step == pytest.approx(2)


def test_the_first_of_several_crossings_in_the_asked_direction_is_taken():
    steps, values = [1, 2, 3, 4, 5], [0.9, 0.1, 0.9, 0.1, 0.9]
    assert crossing(steps, values, 0.5, "up").low == 2
    assert crossing(steps, values, 0.5, "down", rising=False).low == 1


def test_reaching_the_level_is_a_crossing():
    assert crossing([1, 2, 4], [0.0, 0.5, 0.5], 0.5, "reached").step == pytest.approx(2)


def test_a_curve_that_never_passes_the_level_has_no_crossing():
    assert crossing([1, 2, 3], [0, 0.1, 0.2], 0.5, "never") is None
    assert crossing([1, 2, 3], [0.7, 0.8, 0.9], 0.5, "was there from the start") is None
    assert crossing([], [], 0.5, "empty") is None


def test_values_that_are_not_finite_are_passed_over():
    assert crossing([1, 10, 100], [0, np.nan, 1], 0.5, "over a gap").step == pytest.approx(10)


def test_a_curve_of_two_lengths_is_an_error():
    with pytest.raises(EventsError, match="one value per step"):
        crossing([1, 2], [1], 0.5, "bad")


def test_the_onset_of_a_measured_rise_is_found_where_it_begins():
    x = np.log10(STEPS)
    rng = np.random.default_rng(0)
    rise = np.clip(x - 2.5, 0, 1) + 0.002 * rng.standard_normal(len(x))
    (event,) = onset_events(STEPS, rise, "rise", "curve")
    # at the kink; half a checkpoint gap (0.02 decades) and the detector's bandwidth (0.03)
    assert abs(np.log10(event.step) - 2.5) < 0.05
    assert event.low <= event.step <= event.high
    assert (event.name, event.group) == ("rise", "curve")


def test_several_onsets_are_numbered():
    x = np.log10(STEPS)
    rng = np.random.default_rng(0)
    rises = np.clip(x - 1, 0, 0.5) + np.clip(x - 2.5, 0, 0.5) + 0.002 * rng.standard_normal(len(x))
    assert [event.name for event in onset_events(STEPS, rises, "rise", "curve")] == ["rise 1", "rise 2"]


def loss_curve(seed: int = 0, noise: float = 0.05) -> np.ndarray:
    """A loss that falls over four orders of magnitude with a kink, and multiplicative noise."""
    rng = np.random.default_rng(seed)
    x = np.log10(STEPS)
    return 4 * 10 ** (-2 * np.clip(x - 1, 0, 2)) * np.exp(noise * rng.standard_normal(len(x)))


def test_a_momentary_jump_of_the_loss_is_a_spike_at_its_top():
    loss = loss_curve()
    loss[60] *= 5
    loss[61] *= 9
    (event,) = spikes(STEPS, loss, "loss spike", group="loss")
    assert (event.name, event.step, event.group) == ("loss spike", STEPS[61], "loss")
    assert (event.low, event.high) == (STEPS[60], STEPS[62])


def test_two_spikes_are_two_events():
    loss = loss_curve()
    loss[[30, 70]] *= 6
    assert [event.name for event in spikes(STEPS, loss, "spike")] == ["spike 1", "spike 2"]


def test_noise_is_no_spike_however_loud():
    found = [spikes(STEPS, loss_curve(seed, noise), "spike") for seed in range(100) for noise in (0.01, 0.3)]
    # 200 curves; six noise levels are a chance of less than one in a thousand curves
    assert sum(map(len, found)) <= 1


def test_a_jump_that_stays_and_a_steep_fall_are_no_spikes():
    loss = loss_curve(noise=0.0)
    loss[50:] *= 20
    assert spikes(STEPS, loss, "spike") == ()


def test_a_jump_must_exceed_the_noise_around_it():
    loss = loss_curve(noise=0.5)
    loss[60] = 2 * loss[60]
    assert spikes(STEPS, loss, "spike") == ()


def test_a_loss_that_underflows_to_zero_is_no_obstacle():
    loss = loss_curve()
    loss[60:] = 0.0
    loss[70] = 1.0
    (event,) = spikes(STEPS, loss, "spike")
    assert event.step == STEPS[70]
    assert spikes(STEPS, np.zeros(len(STEPS)), "spike") == ()
