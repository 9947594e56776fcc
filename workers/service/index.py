"""The index of all jobs, in SQLite: it answers in a fraction of a millisecond, and is made of the job folders."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from workers.service import jobs
from workers.service.jobs import Job

SCHEMA = """
CREATE TABLE jobs (id TEXT PRIMARY KEY, created TEXT NOT NULL, state TEXT NOT NULL, document TEXT NOT NULL);
CREATE INDEX by_created ON jobs (created, id);
CREATE INDEX by_state ON jobs (state, created, id);
"""


class Index:
    """All jobs, safe to use from several threads.

    Args:
        path: the database; an older one is replaced, because `rebuild` is quick and never wrong.
    """

    def __init__(self, path: Path) -> None:
        for stale in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            stale.unlink(missing_ok=True)
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;" + SCHEMA)
        self._lock = threading.Lock()

    def rebuild(self, folder: Path) -> int:
        """Read every job folder; returns how many jobs there are."""
        found = (jobs.read(path) for path in sorted(folder.iterdir()) if path.is_dir())
        rows = [_row(job) for job in found if job]
        with self._lock:
            self._database.execute("BEGIN")
            self._database.executemany("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?)", rows)
            self._database.execute("COMMIT")
        return len(rows)

    def put(self, job: Job) -> None:
        """Add a job, or replace what is known of it."""
        self._ask("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?)", _row(job))

    def get(self, job_id: str) -> Job | None:
        """The job, or None."""
        found = self._ask("SELECT document FROM jobs WHERE id = ?", (job_id,))
        return _job(found[0][0]) if found else None

    def find(self, states: Iterable[str] = (), limit: int = -1, *, newest_first: bool = True) -> list[Job]:
        """Jobs in one of the states (by default in any), in order of creation."""
        states = tuple(states)
        where = f"WHERE state IN ({', '.join('?' * len(states))})" if states else ""
        order = "DESC" if newest_first else "ASC"
        query = f"SELECT document FROM jobs {where} ORDER BY created {order}, id {order} LIMIT ?"
        return [_job(document) for (document,) in self._ask(query, (*states, limit))]

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        return dict.fromkeys(jobs.STATES, 0) | dict(self._ask("SELECT state, COUNT(*) FROM jobs GROUP BY state"))

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    def _ask(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            return self._database.execute(query, values).fetchall()


def _row(job: Job) -> tuple[str, str, str, str]:
    return job.id, job.created, job.state, json.dumps({name: getattr(job, name) for name in jobs.NAMES})


def _job(document: str) -> Job:
    fields = json.loads(document)
    return Job(**fields | {"ray_job_ids": tuple(fields["ray_job_ids"])})
