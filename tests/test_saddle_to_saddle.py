"""The whole chain on a run whose stages are known: a linear network learns one singular mode after the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.saddle_to_saddle import one_between_each, trajectory
from estimators.problems import train
from slt.events import read_events
from slt.stages import detect_stages
from slt.trajectory import VerdictKind


@pytest.mark.slow
def test_every_stage_of_a_linear_network_holds_one_mode_and_labels_say_why_they_cannot(tmp_path: Path) -> None:
    train("linear_network", tmp_path, {"data_seed": 5}, seed=5)
    modes = [event.step for event in read_events(tmp_path / "events.csv")]
    assert len(modes) == 4
    stages = detect_stages(trajectory(tmp_path, "self", 5))
    assert one_between_each([boundary.step for boundary in stages.boundaries], modes)
    from_labels = trajectory(tmp_path, "labels", 5)
    below = [v for v in from_labels.verdicts or () if v.kind is VerdictKind.BELOW_CHECKPOINT]
    assert from_labels.llc.min() < -10
    assert len(below) > 30
    assert all("not a local minimum" in verdict.sentence for verdict in below)
