"""Live progress as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi.sse import ServerSentEvent

from workers.service import documents
from workers.service.index import Index

SECONDS_BETWEEN_LOOKS = 0.5


async def follow(index: Index, job_id: str, folder: Path) -> AsyncIterator[ServerSentEvent]:
    """`status` at each change, `results` whenever curve or stages have changed, `end` when nothing more will happen."""
    told, results = None, (0, 0)
    while (job := index.get(job_id)) is not None:
        if job != told:
            told = job
            yield ServerSentEvent(event="status", data=job.to_dict())
        written = (_modified(folder / "trajectory.csv"), _modified(folder / "stages.json"))
        if written != results:
            results = written
            yield ServerSentEvent(event="results", data={"points": documents.points(folder)})
        if job.terminal:
            yield ServerSentEvent(event="end", data=job.to_dict())
            return
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
