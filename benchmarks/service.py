"""The service under many clients: 50 that poll and 20 that submit, at once, while jobs run.

    python -m benchmarks.service [--seconds 60] [--pollers 50] [--submitters 20] [--json]

The service is a process of its own with a Ray of its own, which runs one job at a time meanwhile. Each poller asks for
the state of one of the jobs twice a second, and every tenth time for the list of the newest 50; each submitter submits
a job that was not there before once a second, and then the same job again. Times are those of the clients, all in this
process, from the request to the whole answer; a failure is any answer but 200 and 201, or none.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from workers.service import local_ray

SLT = str(Path(sys.executable).with_name("slt"))
POLLS_A_SECOND = 2.0
STATUS_WITHIN = 0.2
TRAINING = ["train", "linear_network", "--out", "runs", "--set", "width=4", "--set", "n_samples=50"]
TRAINING += ["--set", "steps=200", "--set", "checkpoints=12"]
JOB = {
    "checkpoints": "runs",
    "problem": "linear_network",
    "problem_args": {"width": 4, "n_samples": 50},
    "sampler": {"step_size": 1e-3, "n_beta": 10, "localization": 1, "draws": 50, "burn_in": 10},
}


class Clients:
    """Clients that ask until the time is over, and what they met."""

    def __init__(self, http: httpx.AsyncClient, until: float) -> None:
        self.http, self.until = http, until
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.failures: list[str] = []
        self.ids: list[str] = []
        self.numbers = itertools.count()
        self.counts: dict[str, int] = {}

    async def ask(self, kind: str, method: str, path: str, **options: Any) -> httpx.Response | None:
        """One request, timed."""
        begun = time.perf_counter()
        try:
            answer = await self.http.request(method, path, **options)
        except httpx.HTTPError as error:
            self.failures.append(f"{kind}: {type(error).__name__} {error}")
            return None
        self.seconds[kind].append(time.perf_counter() - begun)
        if answer.status_code not in (200, 201):
            self.failures.append(f"{kind}: {answer.status_code} {answer.text[:200]}")
        return answer

    async def poll(self, number: int) -> None:
        """A client that looks."""
        await asyncio.sleep(number / 50 / POLLS_A_SECOND)  # as people come: not all in the same instant
        for turn in itertools.count():
            if time.monotonic() > self.until:
                return
            if self.ids and turn % 10:
                await self.ask("status", "GET", f"/api/jobs/{random.choice(self.ids)}")
            else:
                await self.ask("list", "GET", "/api/jobs", params={"limit": 50})
            await asyncio.sleep(1 / POLLS_A_SECOND)

    async def submit(self, number: int) -> None:
        """A client that submits."""
        await asyncio.sleep(number / 20)
        while time.monotonic() < self.until:
            body = {"job": JOB | {"name": f"job{next(self.numbers)}"}}
            answer = await self.ask("submit", "POST", "/api/jobs", json=body)
            if answer is not None and answer.status_code == 201:
                self.ids.append(answer.json()["id"])
            again = await self.ask("submit again", "POST", "/api/jobs", json=body)
            if answer is not None and again is not None and again.status_code != 200:
                self.failures.append(f"submit again: {again.status_code}, not the job that is there")
            await asyncio.sleep(1)


async def load(url: str, token: str, options: argparse.Namespace) -> Clients:
    """All clients at once."""
    limits = httpx.Limits(max_connections=options.pollers + options.submitters)
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=30) as http:
        clients = Clients(http, time.monotonic() + options.seconds)
        pollers = [clients.poll(number) for number in range(options.pollers)]
        await asyncio.gather(*pollers, *(clients.submit(number) for number in range(options.submitters)))
        counts = (await http.get("/api/jobs", params={"limit": 1})).json()["counts"]
    clients.counts = counts
    return clients


@contextlib.contextmanager
def running_service(place: Path) -> Any:
    """`slt serve` with checkpoints to work on; gives its address and token."""
    subprocess.run([SLT, *TRAINING], cwd=place, check=True, capture_output=True)
    folder = place / "service"
    command = [SLT, "serve", "--folder", str(folder), "--port", "0", "--root", str(place), "--max-running", "1"]
    with open(place / "service.log", "wb") as log:
        service = subprocess.Popen(command, cwd=place, stdout=log, stderr=log)
    try:
        while not (folder / "address").is_file():
            if service.poll() is not None:
                raise SystemExit((place / "service.log").read_text())
            time.sleep(0.2)
        yield (folder / "address").read_text().strip(), (folder / "token").read_text().strip(), service.pid
    finally:
        service.terminate()
        service.wait(60)
        local_ray.stop(folder)


def processor_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pollers", type=int, default=50)
    parser.add_argument("--submitters", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, running_service(Path(place)) as (url, token, pid):
        before, spent = os.getloadavg()[0], processor_seconds(pid)
        clients = asyncio.run(load(url, token, options))
        spent = processor_seconds(pid) - spent
    rows = {
        kind: {
            "requests": len(seconds),
            **{f"p{share}_ms": round(1000 * float(np.percentile(seconds, share)), 1) for share in (50, 95, 99)},
        }
        for kind, seconds in sorted(clients.seconds.items())
    }
    a_request = 1000 * spent / max(1, sum(row["requests"] for row in rows.values()))
    good = not clients.failures and rows["status"]["p95_ms"] < 1000 * STATUS_WITHIN
    if options.json:
        print(
            json.dumps(
                {
                    "requests": rows,
                    "failures": clients.failures,
                    "jobs": clients.counts,
                    "good": good,
                    "processor_ms_a_request": a_request,
                }
            )
        )
        return 0 if good else 1
    print(
        f"{options.pollers} pollers and {options.submitters} submitters for {options.seconds:g} s; "
        f"load of the machine before: {before:.1f}"
    )
    print(f"{'':>14}{'requests':>10}{'p50 ms':>10}{'p95 ms':>10}{'p99 ms':>10}")
    for kind, row in rows.items():
        print(f"{kind:>14}" + "".join(f"{value:>10}" for value in row.values()))
    print(f"processor time of the service: {a_request:.1f} ms a request, its looking after jobs included")
    print(f"failed requests: {len(clients.failures)} {clients.failures[:3] or ''}")
    print(f"jobs: {', '.join(f'{count} {state}' for state, count in clients.counts.items() if count)}")
    print(f"no request failed and 95 % of status within {1000 * STATUS_WITHIN:g} ms: {'yes' if good else 'NO'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
