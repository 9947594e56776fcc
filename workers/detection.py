"""The stages of a job's LLC, with what supports them and what would sharpen them: stages.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from slt.advice import Advice, advise
from slt.errors import TrajectoryError
from slt.online import Settled
from slt.second_opinion import confirmed, second_opinion
from slt.stages import Boundary, Stages, detect_stages
from slt.trajectory import Trajectory
from workers.files import remove, write_json
from workers.job import StageSettings
from workers.store import JobFolder

FILE = "stages.json"


@dataclass(frozen=True)
class Detection:
    """What was found in a trajectory.

    Attributes:
        stages: of the detector.
        confirmed: per boundary, whether the second opinion has it too.
        advice: where more checkpoints or more draws would sharpen a boundary.
        settled: while a run goes on, the boundaries that it will not take back; None when it is over.
    """

    stages: Stages
    confirmed: tuple[bool, ...]
    advice: tuple[Advice, ...]
    settled: tuple[Settled, ...] | None = None

    def to_dict(self, with_draws: bool = False) -> dict[str, Any]:
        """The document of the stages, each boundary with the flags `confirmed` and, where some settle, `settled`."""
        document = self.stages.to_dict(with_draws)
        for boundary, flag in zip(document["boundaries"], self.confirmed, strict=True):
            boundary["confirmed"] = flag
        document["advice"] = [asdict(each) for each in self.advice]
        if self.settled is not None:
            document["settled"] = [asdict(each) for each in self.settled]
            for found, boundary in zip(self.stages.boundaries, document["boundaries"], strict=True):
                boundary["settled"] = any(same_boundary(found, each.boundary) for each in self.settled)
        return document


def detect(
    settings: StageSettings, trajectory: Trajectory, folder: JobFolder, settled: Sequence[Settled] | None = None
) -> Detection | None:
    """Detect stages and write stages.json; None if too few checkpoints have an estimate.

    Args:
        settings: of the detector.
        trajectory: with or without gaps.
        folder: of the job.
        settled: while a run goes on, the boundaries that it will not take back.
    """
    path, curve, axis = folder.path / FILE, trajectory.finite(), settings.axis
    try:
        stages = detect_stages(
            curve, axis=axis, draws=settings.draws, seed=settings.seed, probability=settings.probability
        )
        agreed = confirmed(stages, second_opinion(curve, axis=axis)) if stages.boundaries else ()
    except TrajectoryError:
        remove(path)
        return None
    found = Detection(stages, agreed, advise(curve, stages), None if settled is None else tuple(settled))
    write_json(path, found.to_dict(with_draws=True))
    return found


def same_boundary(one: Boundary, other: Boundary) -> bool:
    """Whether two sightings of a boundary, at different times, are of the same: their intervals overlap."""
    return one.low <= other.high and other.low <= one.high
