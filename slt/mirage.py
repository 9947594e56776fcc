"""Is a sudden change in the model or in the ruler? A thresholded metric beside its continuous counterpart.

Accuracy or exact match can jump while the probability of the right answer grows smoothly (Schaeffer et al. 2023).
Such a jump is the metric's. Where the continuous metric changes as suddenly, the jump is the model's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from slt.curves import check_size
from slt.errors import TrajectoryError
from slt.noise import local_noise
from slt.trajectory import Floats, Trajectory

BROADER = 2.0
"""The continuous metric takes this many times the decades that the thresholded one takes: the jump is the ruler's."""
CLEAR = 5.0
"""A change below this many noise levels is none."""
FEWEST = 8


@dataclass(frozen=True)
class Transition:
    """One metric's change from its first level to its last.

    Attributes:
        start, end: steps at which it has made 10 % and, for the first time, 90 % of the change.
        decades: between the two, at least the gap between checkpoints there.
        change: last level less first.
    """

    start: float
    end: float
    decades: float
    change: float


@dataclass(frozen=True)
class Mirage:
    """The two metrics side by side.

    Attributes:
        sharp, smooth: transitions of the thresholded metric and of the continuous one.
        done_before: share of the continuous metric's change that was made when the thresholded one had made 10 %.
        verdict: "model", "ruler" or "undecided".
        sentence: the verdict and what it rests on.
    """

    sharp: Transition
    smooth: Transition
    done_before: float
    verdict: str
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def mirage(sharp: Trajectory, smooth: Trajectory) -> Mirage:
    """Compare the sharpness of a thresholded metric with that of its continuous counterpart.

    Args:
        sharp: such as accuracy or exact match.
        smooth: such as log-probability or loss on the same examples; up or down does not matter.

    Raises:
        TrajectoryError: fewer than 8 checkpoints with a value after step 0, a metric that does not change, or one
            whose values cannot be squared.
    """
    first, second = transition(sharp, "thresholded"), transition(smooth, "continuous")
    x_T, share_T = _share(smooth)
    done = float(np.interp(np.log10(first.start), x_T, share_T))
    ratio = second.decades / first.decades
    early = f"it had made {done:.0%} of its change when the thresholded one began"
    if ratio >= BROADER and done >= 0.1:
        verdict = "ruler"
        text = (
            f"the jump is in the ruler: the continuous metric takes {second.decades:.2g} decades, {ratio:.1f} times "
            f"the thresholded one's {first.decades:.2g}; it starts to move at step {second.start:,.0f}, and {early}"
        )
    elif ratio < BROADER:
        verdict = "model"
        text = (
            f"the jump is in the model: the continuous metric takes {second.decades:.2g} decades, not more than "
            f"{BROADER:g} times the thresholded one's {first.decades:.2g}; it starts to move at step "
            f"{second.start:,.0f}"
        )
    else:
        verdict = "undecided"
        text = (
            f"undecided: the continuous metric takes {ratio:.1f} times as long, but {early}: what is slow in it comes "
            "after the jump"
        )
    return Mirage(first, second, done, verdict, text)


def transition(trajectory: Trajectory, name: str = "metric") -> Transition:
    """When a curve went from its first level to its last; 10 % counts for good, what came before it was taken back.

    Raises:
        TrajectoryError: as `mirage`.
    """
    kept = trajectory.select(np.isfinite(trajectory.llc) & (trajectory.steps > 0))
    if len(kept) < FEWEST:
        raise TrajectoryError(
            f"the {name} metric has a value at {len(kept)} checkpoints after step 0; a transition takes {FEWEST}"
        )
    check_size(kept.llc)
    change = float(np.subtract(*_levels(kept.llc)[::-1]))
    noise = float(np.median(local_noise(np.log10(kept.steps), kept.llc)))
    if abs(change) <= CLEAR * noise:
        raise TrajectoryError(
            f"the {name} metric changes by {change:.3g} from its first level to its last, which is not more than "
            f"{CLEAR:g} times its noise ({noise:.2g}): there is no transition to compare"
        )
    x_T, share_T = _share(kept)
    end = int((share_T >= 0.9).argmax())
    if end == 0:
        raise TrajectoryError(
            f"the {name} metric is at its last level at its first checkpoint already; leave out what comes before the "
            "change, or give more checkpoints there"
        )
    start = int(np.flatnonzero(share_T[: end + 1] <= 0.1).max(initial=0))
    x_start, x_end = _crossing(x_T, share_T, start, 0.1), _crossing(x_T, share_T, end - 1, 0.9)
    width = max(x_end - x_start, float(x_T[end] - x_T[max(end - 1, 0)]))
    return Transition(float(10**x_start), float(10**x_end), width, change)


def _share(trajectory: Trajectory) -> tuple[Floats, Floats]:
    """Log steps, and the share of the change that is made there; of a curve that has a transition."""
    kept = trajectory.select(np.isfinite(trajectory.llc) & (trajectory.steps > 0))
    first, last = _levels(kept.llc)
    return np.log10(kept.steps), (kept.llc - first) / (last - first)


def _levels(y_T: Floats) -> tuple[float, float]:
    """First and last level: medians of a twentieth of the checkpoints, at least three."""
    ends = max(3, len(y_T) // 20)
    return float(np.median(y_T[:ends])), float(np.median(y_T[-ends:]))


def _crossing(x_T: Floats, share_T: Floats, left: int, level: float) -> float:
    """Where the share passes the level between a point and the next."""
    left = max(left, 0)
    rise = share_T[left + 1] - share_T[left]
    part = (level - share_T[left]) / rise if rise > 0 else 0.0
    return float(x_T[left] + np.clip(part, 0.0, 1.0) * (x_T[left + 1] - x_T[left]))
