"""The automatic settings of a job: found once, kept in the job folder as calibration.json with its figure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch

from estimators.calibrate import AUTOMATIC, Calibration, calibrate, probe_positions
from estimators.checkpoints import CheckpointSequence, load_fitting
from estimators.problem import Problem
from estimators.sampler import SamplerConfig
from slt.calibration import plain
from workers.files import read_text, working_folder, write_json
from workers.job import JobConfig
from workers.phase import Phase
from workers.store import JobFolder
from workers.units import ProblemReference, unit_key

FILE = "calibration.json"
Document = Mapping[str, Any]


def settle(
    job: JobConfig,
    folder: JobFolder,
    checkpoints: CheckpointSequence,
    hashes: Sequence[str],
    problem: Problem,
    reference: ProblemReference,
    phase: Phase,
    *,
    keep: bool = False,
) -> tuple[SamplerConfig, Document | None]:
    """The job's sampler with every automatic setting chosen, and the record of how; None if nothing was automatic.

    What an earlier run chose from the same checkpoints, data, problem, settings and code is used again. With `keep` it
    is used by every later run of the same job in this folder, whatever checkpoints there are by then.

    Raises:
        JobError: a setting that cannot be automatic with this kernel.
    """
    base, automatic = job.sampler.resolve(job.resources.device), job.sampler.automatic
    if not automatic:
        return base, None
    positions = probe_positions([checkpoint.step for checkpoint in checkpoints])
    key = _key([hashes[k] for k in positions], reference, base, automatic, len(checkpoints))
    asked = _key([], reference, base, automatic, 0)
    document = _earlier(folder, key, asked, keep)
    if document is None:
        probes = {
            float(checkpoints.checkpoints[k].step): load_fitting(
                checkpoints.checkpoints[k], problem.model, job.problem, job.problem_args
            )
            for k in positions
        }
        with _threads(job.resources.cpus):
            found = calibrate(
                problem, probes, base, automatic, checkpoints=len(checkpoints), progress=phase("calibrating")
            )
        document = _document(found, automatic) | {"key": key, "asked": asked, "kept": keep}
        write_json(folder.path / FILE, document)
        from workers.calibration_figure import save_figure  # matplotlib takes a second, and most runs need none

        with working_folder(folder.path, lambda name: False) as place:
            save_figure(document, place)
    elif keep and not document["kept"]:
        document = {**document, "kept": True}
        write_json(folder.path / FILE, document)
    return job.sampler.resolve(job.resources.device, document["chosen"]), document


def all_automatic(job: JobConfig) -> JobConfig:
    """The job itself if it leaves something to calibration, else with everything left to it that can be."""
    if job.sampler.automatic:
        return job
    return job.model_copy(update={"sampler": job.sampler.model_copy(update=dict.fromkeys(AUTOMATIC, "auto"))})


def _key(
    weight_hashes: Sequence[str],
    reference: ProblemReference,
    base: SamplerConfig,
    automatic: frozenset[str],
    checkpoints: int,
) -> str:
    numbers = unit_key(weight_hashes, reference, base, ())
    return hashlib.sha256(json.dumps([numbers, sorted(automatic), checkpoints]).encode()).hexdigest()[:32]


def _earlier(folder: JobFolder, key: str, asked: str, keep: bool) -> Document | None:
    """What the folder holds for these checkpoints, or keeps for what is asked; a damaged record is as good as none."""
    try:
        document = json.loads(read_text(folder.path / FILE))
        same = document["key"] == key or (document["asked"] == asked and (keep or document["kept"]))
        return document if same and document["chosen"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _document(found: Calibration, automatic: frozenset[str]) -> dict[str, Any]:
    """What is kept: calibration.json, and what `slt calibrate --json` prints."""
    config = asdict(found.config)
    return {
        "chosen": {name: config[name] for name in AUTOMATIC if name in automatic},
        "healthy": found.healthy,
        "sentences": list(found.sentences),
        "cost": {
            "chain_steps": round(found.chain_steps),
            "run_chain_steps": round(found.run_chain_steps),
            "ratio": round(found.cost_ratio, 4),
        },
        "steps": list(found.steps),
        "trials": plain(found.trials),
        "pilot": plain([found.pilot])[0] | {"trace": found.pilot_trace_KD.round(6).tolist()},
        "length": asdict(found.length),
    }


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """As many threads as a unit of work has: sums are rounded as they are split."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
