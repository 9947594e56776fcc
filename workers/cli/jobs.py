"""Commands on jobs, of a service or straight on a cluster: submit, look, cancel, resume, fetch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slt.errors import BadInput
from workers.cli.app import FAILED_ITEMS, INTERRUPTED, AsJson, Set, app, print_json, say

if TYPE_CHECKING:
    from workers.client import ServiceClient
    from workers.cluster_client import ClusterClient

Service = Annotated[
    str | None,
    typer.Option("--service", metavar="URL", envvar="SLT_SERVICE", help="The service; by default the local one."),
]
TokenFile = Annotated[
    Path | None, typer.Option(help="File with the service's token; otherwise SLT_TOKEN, or the local service's own.")
]
Address = Annotated[
    str | None, typer.Option(metavar="URL", help="A cluster's Ray Jobs, http://head:8265, in place of a service.")
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id, as `slt list` shows it.")]
ELSEWHERE = "A service is named by --service or SLT_SERVICE; its token by --token-file or SLT_TOKEN."


@app.command(
    epilog="""Examples: `slt submit job.yaml`

    `slt submit job.yaml --service https://slt.example.org --token-file token --watch`

    `slt submit job.yaml --address http://head:8265 --set out=s3://team/results/mine`

    The same job again is the job that is there. With --address the driver lives on the cluster, which must see
    checkpoints and out: name a shared folder, or s3:// or gs://."""
)
def submit(
    job_file: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.")],
    settings: Set = None,
    submission_id: Annotated[str | None, typer.Option(help="An id of your own.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Follow checkpoints that are still being written.")] = False,
    watching: Annotated[bool, typer.Option("--watch", help="Stay, and show how far it is.")] = False,
    service: Service = None,
    token_file: TokenFile = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Submit a job, and go to lunch."""
    from workers.job import read_settings

    document = read_settings(job_file, settings or ())
    with _client(service, token_file, address) as client:
        if address:
            _say_what_a_cluster_must_see(document)
        elif _is_here(client.url):
            _make_absolute(document)
        job, is_new = client.submit(document, submission_id, follow)
        if not is_new:
            say(f"This job is there already, {job['state']}; {_what_now(job)}.")
        elif not watching:
            say(f"Submitted; `slt watch {job['id']}` shows how far it is.")
        if watching:
            _watch(client, job["id"], as_json)
        elif as_json:
            print_json(job | {"new": is_new})
        else:
            typer.echo(job["id"])


@app.command(
    epilog=f"""Examples: `slt status grokking-0123456789ab`

    `slt status grokking-0123456789ab --address http://head:8265`

    {ELSEWHERE}"""
)
def status(
    job_id: JobId,
    service: Service = None,
    token_file: TokenFile = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Show how far a job is."""
    with _client(service, token_file, address) as client:
        job = client.job(job_id)
    if as_json:
        print_json(job)
    else:
        from workers.tables import print_job

        print_job(job)


@app.command(
    epilog=f"""Example: `slt watch grokking-0123456789ab`

    Exit code 0: it succeeded, 1: it did not, or single checkpoints failed. Ctrl-C leaves the job alone.
    {ELSEWHERE}"""
)
def watch(
    job_id: JobId,
    service: Service = None,
    token_file: TokenFile = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Watch a job until it ends: live progress, or with --address its log."""
    with _client(service, token_file, address) as client:
        _watch(client, job_id, as_json)


@app.command(
    epilog=f"""Examples: `slt logs grokking-0123456789ab`

    `slt logs grokking-0123456789ab --tail 20`

    {ELSEWHERE}"""
)
def logs(
    job_id: JobId,
    tail: Annotated[int | None, typer.Option(min=1, help="Only the last lines.")] = None,
    service: Service = None,
    token_file: TokenFile = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Print what a job's driver has printed."""
    with _client(service, token_file, address) as client:
        text = client.logs(job_id, tail)
    if as_json:
        print_json({"id": job_id, "lines": text.splitlines()})
    else:
        sys.stdout.write(text)


@app.command(
    epilog=f"""Example: `slt cancel grokking-0123456789ab`

    What is finished is kept, and `slt resume` goes on from there. {ELSEWHERE}"""
)
def cancel(
    job_id: JobId,
    service: Service = None,
    token_file: TokenFile = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Stop a job; what is done is kept."""
    with _client(service, token_file, address) as client:
        _show(client.cancel(job_id), as_json)


@app.command(
    epilog=f"""Example: `slt resume grokking-0123456789ab`

    Computes what is missing or has failed, and new checkpoints. On a cluster (--address) submit the job again: that
    resumes it. {ELSEWHERE}"""
)
def resume(job_id: JobId, service: Service = None, token_file: TokenFile = None, as_json: AsJson = False) -> None:
    """Let a job that is over go on from what is done."""
    with _service(service, token_file) as client:
        _show(client.resume(job_id), as_json)


@app.command(
    epilog=f"""Examples: `slt results grokking-0123456789ab`

    `slt results grokking-0123456789ab --out results/grokking --overwrite`

    Of a running job it fetches what is there so far. A job submitted with --address has its folder where `out` says.
    {ELSEWHERE}"""
)
def results(
    job_id: JobId,
    out: Annotated[Path | None, typer.Option(help="Folder to make; by default one of the job's id.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace what was fetched there before.")] = False,
    service: Service = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a job's folder: tables, traces, stages, report."""
    target = out or Path(job_id)
    if target.exists() and not _may_be_replaced(target, overwrite):
        raise BadInput(f"{target} is there already; choose another folder with --out, or replace it with --overwrite")
    with _service(service, token_file) as client:
        client.fetch(job_id, target)
    if as_json:
        print_json({"id": job_id, "out": str(target), "report": str(target / "report.html")})
    else:
        typer.echo(str(target))


@app.command(
    "list",
    epilog=f"""Examples: `slt list`

    `slt list --address http://head:8265 --json`

    {ELSEWHERE}""",
)
def list_jobs(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, the newest.")] = 50,
    service: Service = None,
    token_file: TokenFile = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """List the jobs with their state and progress."""
    with _client(service, token_file, address) as client:
        found = client.jobs(limit)
    if as_json:
        print_json({"jobs": found})
    else:
        from workers.tables import print_jobs

        print_jobs(found)


def _client(service: str | None, token_file: Path | None, address: str | None) -> ServiceClient | ClusterClient:
    if not address:
        return _service(service, token_file)
    from workers.cluster_client import ClusterClient

    return ClusterClient(address)


def _service(url: str | None, token_file: Path | None) -> ServiceClient:
    from workers.client import ServiceClient, local_service

    return ServiceClient(*local_service(url, token_file))


def _is_here(url: str) -> bool:
    from urllib.parse import urlsplit

    from workers.service.settings import is_loopback

    return is_loopback(urlsplit(url).hostname or "")


def _make_absolute(document: dict[str, Any]) -> None:
    """A service on this machine has another current directory, and sees the same files."""
    for name in ("checkpoints", "events"):
        given = document.get(name)
        if isinstance(given, str) and Path(given).exists():
            document[name] = str(Path(given).absolute())


def _say_what_a_cluster_must_see(document: dict[str, Any]) -> None:
    for name, given in (
        ("out", document.get("out", f"results/{document['name']}")),
        ("checkpoints", document.get("checkpoints")),
    ):
        if isinstance(given, str) and "://" not in given and not Path(given).is_absolute():
            say(
                f"{name} is {given}, meant as {Path(given).absolute()}: all nodes of the cluster must see this folder; "
                f"otherwise name one that is shared, or s3://, with --set {name}=..."
            )


def _may_be_replaced(target: Path, overwrite: bool) -> bool:
    """A folder that holds nothing, or a job; never a folder of anything else."""
    if not target.is_dir():
        return False
    return not any(target.iterdir()) or (overwrite and (target / "job.submitted.yaml").is_file())


def _watch(client: ServiceClient | ClusterClient, job_id: str, as_json: bool) -> None:
    from workers.console import show_events

    try:
        job = show_events(client.watch(job_id))
    except KeyboardInterrupt:
        say(f"No longer watching; the job goes on. `slt cancel {job_id}` would stop it.")
        raise typer.Exit(INTERRUPTED) from None
    _show(job, as_json)
    failed = (job.get("units") or {}).get("failed", 0) or job.get("message") or job.get("exit_code")
    raise typer.Exit(FAILED_ITEMS if job["state"] != "SUCCEEDED" or failed else 0)


def _show(job: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        typer.echo(f"{job['id']} {job['state']}" + (f": {job['message']}" if job.get("message") else ""))


def _what_now(job: dict[str, Any]) -> str:
    if job["state"] in ("FAILED", "STOPPED"):
        return f"`slt resume {job['id']}` goes on from what is done"
    return (
        f"`slt watch {job['id']}` shows how far it is" if job["state"] != "SUCCEEDED" else "nothing is computed twice"
    )
