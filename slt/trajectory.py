"""An LLC trajectory: one estimate per checkpoint, with its chains and verdicts; CSV and back.

Legend of shapes: T checkpoints, C chains, D draws.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slt.errors import TrajectoryError
from slt.intervals import student_factor
from slt.table import as_floats, numbers, read_table

Floats = NDArray[np.float64]

STATISTICS = ("loss", "rhat", "ess", "wbic", "heat_capacity", "share_below", "distance", "acceptance", "step_bias")
"""Columns of one number per checkpoint besides the LLC and its error, named alike in `Estimate` and `Trajectory`."""
ALWAYS = ("loss", "rhat", "ess")
"""Those that a trajectory of estimates has even where all are NaN."""


class VerdictKind(StrEnum):
    """What the diagnostics say of one estimate."""

    OK = "ok"
    DIVERGED = "diverged"
    CHAINS_DISAGREE = "chains disagree"
    DRIFTING = "still drifting"
    BELOW_CHECKPOINT = "below the checkpoint's loss"
    SATURATED = "saturated"
    STEP_TOO_SMALL = "step too small"
    STEP_TOO_LARGE = "step too large"
    FAILED = "failed"


@dataclass(frozen=True)
class Verdict:
    """A judgement of one estimate: its kind, the statistic that led to it, and the sentence a user reads."""

    kind: VerdictKind
    statistic: float
    sentence: str


@dataclass(frozen=True)
class Estimate:
    """The local learning coefficient at one checkpoint.

    Attributes:
        step: training step of the checkpoint, in the trajectory's unit.
        llc: lambda-hat, dimensionless; NaN if a chain diverged.
        llc_std_error: standard error over chains.
        llc_chains: (C,) each chain's own lambda-hat; NaN for a chain that met a NaN.
        loss: L_n(w*), nats per sample, mean over the whole data set.
        rhat: rank-normalised split R-hat of the excess-loss traces.
        ess: effective number of draws, summed over chains.
        verdict: the judgement of the diagnostics.
        excess_loss: (C, D) paired differences L_B(w) - L_B(w*) of every draw, burn-in excluded.
        wbic: `n L_n(w*) + llc log n`, nats; NaN if n was not told.
        heat_capacity: `n_beta^2` times the variance of the loss over all draws.
        share_below: of the draws, those with a loss below the checkpoint's on the same batch.
        distance: root mean square of |w - w*| over draws and chains.
        acceptance: mean over chains of the probability with which proposals were accepted; NaN if none is refused.
        step_bias: of the LLC, what is due to the finite step and to the noise of batches, to first order, in the LLC's
            units; NaN for a sampler that corrects for its step.
    """

    step: float
    llc: float
    llc_std_error: float
    llc_chains: Floats
    loss: float
    rhat: float
    ess: float
    verdict: Verdict
    excess_loss: Floats | None = None
    wbic: float = math.nan
    heat_capacity: float = math.nan
    share_below: float = math.nan
    distance: float = math.nan
    acceptance: float = math.nan
    step_bias: float = math.nan


@dataclass(frozen=True, eq=False)
class Trajectory:
    """LLC over training, in increasing order of step; lists and other sequences of numbers become arrays.

    Attributes:
        steps: (T,) training steps, strictly increasing, not negative.
        llc: (T,) lambda-hat; NaN where there is no estimate.
        llc_std_error: (T,) standard error over chains, or None.
        llc_chains: (T, C) each chain's lambda-hat, or None.
        loss: (T,) L_n(w*) in nats per sample, or None.
        verdicts: T verdicts, or None.
        rhat, ess: (T,) convergence statistics, or None.
        wbic, heat_capacity, share_below, distance, acceptance, step_bias: (T,) as in `Estimate`, or None.
        step_unit: "step", "epoch", "token" or "example".

    Raises:
        TrajectoryError: a column that is not numbers or does not fit the others; steps that do not increase from 0 up.
    """

    steps: Floats
    llc: Floats
    llc_std_error: Floats | None = None
    llc_chains: Floats | None = None
    loss: Floats | None = None
    verdicts: tuple[Verdict, ...] | None = None
    rhat: Floats | None = None
    ess: Floats | None = None
    step_unit: str = "step"
    wbic: Floats | None = None
    heat_capacity: Floats | None = None
    share_below: Floats | None = None
    distance: Floats | None = None
    acceptance: Floats | None = None
    step_bias: Floats | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "llc", "llc_std_error", "llc_chains", *STATISTICS):
            if (column := getattr(self, name)) is not None or name in ("steps", "llc"):
                object.__setattr__(self, name, as_floats(column, name, 2 if name == "llc_chains" else 1))
        _check_steps(self.steps)
        length = len(self.steps)
        for name in ("llc", "llc_std_error", "llc_chains", "verdicts", *STATISTICS):
            column = getattr(self, name)
            if column is not None and len(column) != length:
                raise TrajectoryError(f"'{name}' has {len(column)} rows but there are {length} steps")

    def __len__(self) -> int:
        return len(self.steps)

    @classmethod
    def from_estimates(cls, estimates: Iterable[Estimate], step_unit: str = "step") -> Trajectory:
        """Stack estimates, sorted by step."""
        ordered = sorted(estimates, key=lambda estimate: estimate.step)

        def column(name: str) -> Floats:
            return np.array([getattr(estimate, name) for estimate in ordered], dtype=float)

        known = {name: column(name) for name in STATISTICS}
        measured = {name: values for name, values in known.items() if name in ALWAYS or np.isfinite(values).any()}
        return cls(
            steps=column("step"),
            llc=column("llc"),
            llc_std_error=column("llc_std_error"),
            llc_chains=np.stack([estimate.llc_chains for estimate in ordered]) if ordered else None,
            verdicts=tuple(estimate.verdict for estimate in ordered),
            step_unit=step_unit,
            **measured,
        )

    def interval(self, level: float = 0.9) -> tuple[Floats, Floats] | None:
        """(low, high), each (T,): a confidence interval for each LLC, as `slt.learning_coefficient.interval` has it."""
        if self.llc_std_error is None:
            return None
        chains = 1 if self.llc_chains is None else self.llc_chains.shape[1]
        half = self.llc_std_error * student_factor(chains, level)
        return self.llc - half, self.llc + half

    def finite(self) -> Trajectory:
        """Only the checkpoints that have a finite LLC (and finite chains, where there are chains)."""
        keep = np.isfinite(self.llc)
        if self.llc_chains is not None:
            keep &= np.isfinite(self.llc_chains).all(axis=1)
        return self.select(keep)

    def select(self, keep: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Trajectory:
        """The checkpoints chosen by a boolean mask, indices or a slice."""
        index = np.arange(len(self))[keep]

        def rows(column: Floats | None) -> Floats | None:
            return None if column is None else column[index]

        statistics: dict[str, Any] = {name: rows(getattr(self, name)) for name in STATISTICS}
        return replace(
            self,
            steps=self.steps[index],
            llc=self.llc[index],
            llc_std_error=rows(self.llc_std_error),
            llc_chains=rows(self.llc_chains),
            verdicts=None if self.verdicts is None else tuple(self.verdicts[i] for i in index),
            **statistics,
        )

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write `step, llc, llc_std_error, llc_low, llc_high, llc_chain_0..`, `STATISTICS` and the verdicts.

        `llc_low` and `llc_high` are the 90 % interval. Numbers are written with 17 significant digits, so that reading
        gives back the same bits. What is not known has no column.
        """
        header = ["step", "llc"]
        columns: list[Sequence[str]] = [_text(self.steps), _text(self.llc)]
        if self.llc_std_error is not None:
            header.append("llc_std_error")
            columns.append(_text(self.llc_std_error))
        if (limits := self.interval()) is not None:
            header += ["llc_low", "llc_high"]
            columns += [_text(limit) for limit in limits]
        if self.llc_chains is not None:
            header += [f"llc_chain_{chain}" for chain in range(self.llc_chains.shape[1])]
            columns += [_text(chain) for chain in self.llc_chains.T]
        for name in STATISTICS:
            values = getattr(self, name)
            if values is not None:
                header.append(name)
                columns.append(_text(values))
        if self.verdicts is not None:
            header += ["verdict", "statistic", "sentence"]
            columns.append([verdict.kind.value for verdict in self.verdicts])
            columns.append(_text(np.array([verdict.statistic for verdict in self.verdicts])))
            columns.append([verdict.sentence for verdict in self.verdicts])
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(zip(*columns, strict=True))

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str], value: str = "llc", step_unit: str = "step") -> Trajectory:
        """Read a table with columns `step` and `value`; every other column of `to_csv` is optional.

        Args:
            path: the CSV file.
            value: name of the column that holds the curve. Chains (`<value>_chain_*`) and standard
                error (`<value>_std_error`) are looked for under the same name.
            step_unit: unit of the step column.

        Raises:
            TrajectoryError: no such file or column, text in a number column, a ragged row, steps that
                are negative, duplicated or not increasing.
        """
        header, table = read_table(Path(path))
        value = " ".join(value.split())  # as the header is read
        for name in ("step", value):
            if name not in header:
                hint = "Rename a column, or name one with --value" if len(header) > 1 else "Separate columns by commas"
                raise TrajectoryError(f"no column '{name}' in {path}; its columns are {', '.join(header)}. {hint}")
        steps = numbers(table["step"], "step", path)
        _check_steps(steps, 2, f" of {path}")

        def optional(name: str) -> Floats | None:
            return numbers(table[name], name, path) if name in table else None

        chain_names = [name for name in header if name.startswith(f"{value}_chain_")]
        chains = [numbers(table[name], name, path) for name in chain_names]
        verdicts = None
        if {"verdict", "statistic", "sentence"} <= set(header):
            verdicts = tuple(
                Verdict(_kind(str(kind), path), statistic, str(sentence))
                for kind, statistic, sentence in zip(
                    table["verdict"], numbers(table["statistic"], "statistic", path), table["sentence"], strict=True
                )
            )
        return cls(
            steps=steps,
            llc=numbers(table[value], value, path),
            llc_std_error=optional(f"{value}_std_error"),
            llc_chains=np.stack(chains, axis=1) if chains else None,
            verdicts=verdicts,
            step_unit=step_unit,
            **{name: optional(name) for name in STATISTICS},
        )


def _check_steps(steps: Floats, first_row: int = 1, where: str = "") -> None:
    if not np.isfinite(steps).all():
        row = int(np.flatnonzero(~np.isfinite(steps))[0])
        raise TrajectoryError(f"step {steps[row]} in row {first_row + row}{where} is not a number")
    if (steps < 0).any():
        row = int(np.flatnonzero(steps < 0)[0])
        raise TrajectoryError(
            f"step {steps[row]:g} in row {first_row + row}{where} is negative; training steps start at 0"
        )
    order = np.diff(steps)
    if (order <= 0).any():
        row = int(np.flatnonzero(order <= 0)[0])
        what = "appears twice" if order[row] == 0 else f"is followed by {steps[row + 1]:g}"
        raise TrajectoryError(
            f"step {steps[row]:g} in row {first_row + row}{where} {what}; sort the rows and keep one per step"
        )


def _kind(text: str, path: object) -> VerdictKind:
    try:
        return VerdictKind(text)
    except ValueError:
        known = ", ".join(kind.value for kind in VerdictKind)
        raise TrajectoryError(f"verdict '{text}' in {path} is not one of: {known}") from None


def _text(values: Floats) -> list[str]:
    return [format(int(v), "d") if float(v).is_integer() and abs(v) < 2**53 else repr(float(v)) for v in values]
