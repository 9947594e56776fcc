"""The HTTP API over jobs: submit, list, look, cancel, resume, and fetch what there is so far."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse

from slt.errors import JobError
from workers.files import to_json
from workers.service import documents, events, jobs, safe_yaml
from workers.service.description import SUBMISSION, Progress, errors
from workers.service.desk import Desk
from workers.service.jobs import Job

router = APIRouter(prefix="/api", responses=errors(422))
ONE = {200: {"model": Progress}, **errors(404, 422)}
OTHER = errors(404, 422)
State = Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]


class _Zip(Response):
    media_type = "application/zip"


# Not threads' work: a thread of the pool, twice a request, costs more than what is asked for.
async def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


AtDesk = Annotated[Desk, Depends(_desk)]


async def _job(job_id: Annotated[str, Path(max_length=64, description="The job's id.")], desk: AtDesk) -> Job:
    job = desk.index.get(job_id)
    if job is None:
        raise HTTPException(404, f"there is no job '{job_id}'")
    return job


AJob = Annotated[Job, Depends(_job)]


@router.get("/jobs")
async def list_jobs(
    desk: AtDesk,
    state: Annotated[list[State] | None, Query(description="Only jobs in these states.")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 500,
) -> dict[str, Any]:
    """The jobs, newest first."""
    return {
        "jobs": [job.to_dict() for job in desk.index.find(state or (), limit)],
        "counts": desk.index.counts(),
        "notice": desk.notice,
    }


@router.post(
    "/jobs",
    status_code=201,
    responses={200: {"model": Progress}, 201: {"model": Progress}, **errors(403, 409, 422, 429)},
    openapi_extra={"requestBody": SUBMISSION},
)
async def submit(
    request: Request,
    desk: AtDesk,
    submission_id: Annotated[str | None, Query(max_length=64)] = None,
    follow: Annotated[bool, Query(description="Follow a directory that is still being written.")] = False,
) -> Response:
    """Submit a job: `{"job": {...}}`, or a job file as application/yaml. The same job again is the job there is."""
    body = await request.body()
    if "yaml" in request.headers.get("content-type", ""):
        document: Any = safe_yaml.parse(_text(body))
    else:
        envelope = safe_yaml.parse_json(body)
        document, submission_id, follow = _unwrapped(envelope, submission_id, follow)
    job, is_new = await run_in_threadpool(desk.submit, document, submission_id, follow)
    return JSONResponse(job.to_dict(), 201 if is_new else 200)


@router.get("/jobs/{job_id}", responses=OTHER)
async def job(job: AJob, desk: AtDesk) -> dict[str, Any]:
    """How far a job is, and what was submitted."""
    return job.to_dict() | {"job": desk.submitted(job)}


@router.get("/jobs/{job_id}/events", response_class=EventSourceResponse, responses=OTHER)
async def job_events(job: AJob, desk: AtDesk) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: `status`, `results` and `end`."""
    async for event in events.follow(desk.index, job.id, desk.folder(job.id)):
        yield event


@router.get("/jobs/{job_id}/trajectory", responses=OTHER)
def trajectory(job: AJob, desk: AtDesk) -> Response:
    """The LLC curve and the measures as far as they are."""
    return _json(to_json(documents.trajectory(desk.folder(job.id))))


@router.get("/jobs/{job_id}/stages", responses=OTHER)
def stages(job: AJob, desk: AtDesk) -> Response:
    """The stages document; boundaries of a running job may still move."""
    return _json(_read(desk.folder(job.id) / "stages.json", "stages"))


@router.get("/jobs/{job_id}/comparison", responses=OTHER)
def comparison(job: AJob, desk: AtDesk) -> Response:
    """Boundaries and onsets against the job's events."""
    return _json(_read(desk.folder(job.id) / "comparison.json", "comparison"))


@router.get("/jobs/{job_id}/report", response_class=HTMLResponse, responses=OTHER)
def report(job: AJob, desk: AtDesk) -> Response:
    """The report: one page. Its scripts run in a sandbox of their own, away from the service's cookies and API."""
    path = desk.folder(job.id) / "report.html"
    if not path.is_file():
        raise HTTPException(404, "there is no report yet; it is written when the job is finished")
    policy = "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
    policy += "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; frame-ancestors 'self'"
    return FileResponse(path, media_type="text/html", headers={"content-security-policy": policy})


@router.get("/jobs/{job_id}/logs", response_class=PlainTextResponse, responses=OTHER)
def logs(
    job: AJob, desk: AtDesk, tail: Annotated[int | None, Query(ge=1, le=100_000, description="Last lines.")] = None
) -> Response:
    """What the driver printed."""
    text = desk.logs(job)
    return PlainTextResponse("".join(text.splitlines(keepends=True)[-tail:]) if tail else text)


@router.get("/jobs/{job_id}/results", response_class=_Zip, responses=OTHER)
def results(job: AJob, desk: AtDesk) -> Response:
    """The job's folder as a zip."""
    headers = {"content-disposition": f'attachment; filename="{job.id}.zip"'}
    return StreamingResponse(documents.zipped(desk.folder(job.id)), media_type="application/zip", headers=headers)


@router.post("/jobs/{job_id}/cancel", responses=ONE | errors(403))
def cancel(job: AJob, desk: AtDesk) -> dict[str, Any]:
    """Stop a job; what is finished is kept. A job that is over stays as it is."""
    return desk.cancel(job.id).to_dict()


@router.post("/jobs/{job_id}/resume", responses=ONE | errors(403))
def resume(job: AJob, desk: AtDesk) -> dict[str, Any]:
    """Run a job again that is over: what is missing or has failed is computed, and new checkpoints with it."""
    return desk.resume(job.id).to_dict()


@router.get("/problems")
async def problems(desk: AtDesk) -> dict[str, list[str]]:
    """Problems that a job may name."""
    return {"problems": desk.problems()}


@router.get("/roots")
async def roots(desk: AtDesk) -> dict[str, list[str]]:
    """Places that checkpoints and events of a job may lie in."""
    return {"roots": list(desk.settings.roots)}


def _unwrapped(envelope: Any, submission_id: str | None, follow: bool) -> tuple[Any, str | None, bool]:
    if not isinstance(envelope, dict) or "job" not in envelope:
        raise JobError('the body is not {"job": {...}}; give the keys of a job file under "job"')
    unknown = sorted(set(envelope) - {"job", "submission_id", "follow"})
    if unknown:
        raise JobError(f"unknown key '{unknown[0][:80]}' beside 'job'; valid are job, submission_id and follow")
    submission_id = envelope.get("submission_id", submission_id)
    if submission_id is not None and not isinstance(submission_id, str):
        raise JobError(f"submission_id is a {type(submission_id).__name__}; it is a text")
    follow = envelope.get("follow", follow)
    if not isinstance(follow, bool):
        raise JobError(f"follow is a {type(follow).__name__}; it is true or false")
    return envelope["job"], submission_id, follow


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise JobError("the job file is not UTF-8") from None


def _read(path: FilePath, what: str) -> str:
    try:
        return json.dumps(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise HTTPException(404, f"there is no {what} yet") from None
    except ValueError:
        raise HTTPException(404, f"the {what} of this job cannot be read; resume it, and it is written anew") from None


def _json(text: str) -> Response:
    return Response(text, media_type="application/json")


assert set(jobs.STATES) == set(State.__args__)  # type: ignore[attr-defined]
