"""What every built-in training loop leaves behind: checkpoints, the curves seen while training, the dated events."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from slt.errors import BadInput, OutputError
from slt.events import CircuitEvent, write_events

Floats = NDArray[np.float64]


def log_spaced_steps(last: int, count: int) -> list[int]:
    """Step 0, the last step, and whole steps in between, evenly spaced in the logarithm; `count` in all.

    Small steps that round to the same number leave room for further ones, so that the count is met
    exactly wherever there are as many steps.
    """
    if count < 2 or last < 1:
        raise BadInput(f"{count} checkpoints in {last} steps are too few. Ask for at least 2 checkpoints and 1 step")
    if count > last:
        return list(range(last + 1))
    if count == 2:
        return [0, last]
    points = count - 1
    while True:
        steps = np.unique(np.rint(np.geomspace(1, last, points)).astype(int))
        if len(steps) >= count - 1:
            return [0, *_thin(steps.tolist(), count - 1)]
        points += count - 1 - len(steps)


def _thin(steps: Sequence[int], count: int) -> list[int]:
    """Drop from a few too many steps the ones nearest to their left neighbour in the logarithm, never the ends."""
    kept = list(steps)
    while len(kept) > count:
        ratios = np.array(kept[1:-1]) / np.array(kept[:-2])
        del kept[1 + int(np.argmin(ratios))]
    return kept


class RunFolder:
    """The directory of one training run; every file appears whole or not at all.

    Raises:
        OutputError: the directory already holds a run (without `overwrite`), or cannot be written.
    """

    def __init__(self, directory: Path, *, overwrite: bool = False) -> None:
        self.directory = directory
        self._curves: list[dict[str, float]] = []
        try:
            directory.mkdir(parents=True, exist_ok=True)
            earlier = [path for path in directory.iterdir() if _is_of_a_run(path)]
            if earlier and not overwrite:
                raise OutputError(
                    f"{directory} already holds a run ({earlier[0].name} and {len(earlier) - 1} more files). "
                    f"Choose another directory, or replace it on purpose with --overwrite"
                )
            self._earlier = earlier  # it goes when there is something to put in its place
        except OSError as error:
            raise _unwritable(directory, error) from None

    def save_checkpoint(self, step: int, weights: Mapping[str, Tensor]) -> None:
        """Write `step_000123.safetensors`."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
        metadata = {"step": str(step)}
        self._write(f"step_{step:06d}.safetensors", lambda path: save_file(tensors, path, metadata=metadata))

    def record(self, step: int, **values: float) -> None:
        """Remember one row of `training.csv`."""
        self._curves.append({"step": step, **values})

    def curve(self, name: str) -> tuple[Floats, Floats]:
        """(steps, values) of what was recorded under a name."""
        rows = [row for row in self._curves if name in row]
        return np.array([row["step"] for row in rows], dtype=float), np.array([row[name] for row in rows], dtype=float)

    def finish(self, made_by: Mapping[str, Any], events: Iterable[CircuitEvent]) -> None:
        """Write `training.csv`, `events.csv` and, last, `problem.yaml`: its presence says that the run is complete."""
        dated = sorted(events, key=lambda event: event.step)
        document = yaml.safe_dump(json.loads(json.dumps(made_by)), sort_keys=False)  # tuples become lists
        self._write("training.csv", self._write_curves)
        self._write("events.csv", lambda path: write_events(path, dated))
        self._write("problem.yaml", lambda path: path.write_text(document, encoding="utf-8"))

    def _write_curves(self, path: Path) -> None:
        names = list(dict.fromkeys(name for row in self._curves for name in row))
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self._curves)

    def _write(self, name: str, write: Callable[[Path], object]) -> None:
        temporary = self.directory / f".{name}.tmp"
        try:
            while self._earlier:
                self._earlier.pop().unlink(missing_ok=True)
            write(temporary)
            temporary.replace(self.directory / name)
        except (OSError, SafetensorError) as error:
            temporary.unlink(missing_ok=True)
            raise _unwritable(self.directory / name, error) from None


def _is_of_a_run(path: Path) -> bool:
    return bool(re.fullmatch(r"\.?(step_\d+\.safetensors|events\.csv|training\.csv|problem\.yaml)(\.tmp)?", path.name))


def _unwritable(path: Path, error: Exception) -> OutputError:
    reason = error.strerror if isinstance(error, OSError) else None
    return OutputError(f"{path} cannot be written: {reason or error}. Choose a writable folder with enough room")
