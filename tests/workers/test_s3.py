"""A job whose checkpoints, events and results lie on an S3 server: the same numbers, and nothing is lost with it."""

from __future__ import annotations

import json
import pickle
import re
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest
import yaml

from estimators.storage import server
from tests.workers.conftest import Workplace
from tests.workers.object_store import KEYS, Gate, ObjectStore, environment, object_store
from tests.workers.patience import PATIENCE, command, until
from workers.files import remove, write_json, write_path
from workers.store import JobFolder

BUCKET = "jobs"
OUT = "s3://jobs/results/tiny"
UNITS = 6
AWAY = 10.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with object_store(tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture
def store(running: ObjectStore) -> ObjectStore:
    """The server, with an empty bucket."""
    running.client.create_bucket(Bucket=BUCKET)
    for name in running.names(BUCKET):
        running.client.delete_object(Bucket=BUCKET, Key=name)
    return running


@pytest.fixture
def gate(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """The way to the server, for this process and those it starts."""
    gate = Gate(store.port)
    for name, value in environment(gate.url, KEYS).items():
        monkeypatch.setenv(name, value)
    server._driver.cache_clear()
    yield gate
    gate.shut()
    server._driver.cache_clear()
    server._given_up.clear()


@pytest.fixture
def remote(workplace: Workplace, store: ObjectStore, gate: Gate) -> Workplace:
    """The workplace with its checkpoints and events, and a job that reads and writes nothing but object storage."""
    (workplace.path / "runs" / "events.csv").write_text("name,step\nmemorised,30\n")
    store.upload(workplace.path / "runs", BUCKET, "runs")
    workplace.configure(checkpoints="s3://jobs/runs", events="s3://jobs/runs/events.csv", out=OUT)
    return workplace


def results(store: ObjectStore) -> dict[str, bytes]:
    prefix = "results/tiny/"
    return {name.removeprefix(prefix): store.read(BUCKET, name) for name in store.names(BUCKET, prefix)}


def units(store: ObjectStore) -> dict[str, object]:
    found = store.client.list_objects_v2(Bucket=BUCKET, Prefix="results/tiny/units/").get("Contents", [])
    return {entry["Key"]: entry["LastModified"] for entry in found if entry["Key"].endswith(".npz")}


def start(*arguments: str, patience: float = server.PATIENCE) -> subprocess.Popen[str]:
    """`slt run`, which asks a server that is away for so many seconds."""
    impatient = f"from estimators.storage import server; server.PATIENCE = {patience}"
    line = command("run", "tiny.yaml", *arguments, before=impatient)
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_units(done: Callable[[], Collection[object]], count: int, process: subprocess.Popen[str]) -> None:
    until(lambda: process.poll() is not None or len(done()) >= count, "finished units")
    assert process.poll() is None, process.communicate()


def finish(process: subprocess.Popen[str]) -> dict[str, int]:
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    counts: dict[str, int] = json.loads(stdout)["units"]
    return counts


def test_a_job_on_object_storage_leaves_the_same_bytes_as_one_on_disk(remote: Workplace, store: ObjectStore) -> None:
    done = remote.run("--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["report"] == f"{OUT}/report.html"
    here = remote.run("--set", "checkpoints=runs", "--set", "events=runs/events.csv", "--out", str(remote.out))
    assert here.exit_code == 0, here.stderr

    there = results(store)
    local = {path.relative_to(remote.out).as_posix(): path for path in remote.out.rglob("*") if path.is_file()}
    assert there.keys() - {"units/.writable"} == local.keys()
    assert json.loads(there["status.json"])["state"] == "SUCCEEDED"
    of_their_time = re.compile(r"units/|status\.json|job\.yaml|report\.html")  # dates, durations and the folder's name
    same = [name for name in local if not of_their_time.match(name)]
    assert {"trajectory.csv", "stages.json", "measures.csv", "comparison.json", "figures/llc.svg"} <= set(same)
    assert {name: there[name] for name in same} == {name: local[name].read_bytes() for name in same}
    assert there["report.html"].count(b"memorised") == local["report.html"].read_bytes().count(b"memorised") > 0


def test_a_second_run_computes_nothing_and_asks_once_for_what_is_there(remote: Workplace, store: ObjectStore) -> None:
    remote.run()
    before, asked = units(store), len(store.requests())
    again = remote.run("--json")
    requests = store.requests()[asked:]
    assert json.loads(again.stdout)["units"] == {"computed": 0, "reused": UNITS, "failed": 0}
    assert units(store) == before
    whole = [request for request in requests if "list-type=2&prefix=results/tiny/&" in request]
    assert len(whole) == 2  # what there is at the beginning, and what the report is made from at the end
    of_units = [request for request in requests if "results/tiny/units" in request]
    assert len(of_units) >= UNITS
    assert [request for request in of_units if not re.match(r"GET \S+\.npz$", request)] == [
        "PUT /jobs/results/tiny/units/.writable"
    ]


def test_a_job_folder_on_object_storage_is_told_from_somebody_elses(remote: Workplace, store: ObjectStore) -> None:
    store.client.put_object(Bucket=BUCKET, Key="results/tiny/failures/precious.txt", Body=b"keep me")
    refused = remote.run()
    assert refused.exit_code == 2
    assert f"{OUT} holds a 'failures' that no job wrote" in refused.stderr
    assert store.names(BUCKET, "results") == ["results/tiny/failures/precious.txt"]


def test_failures_of_an_earlier_run_go_when_they_are_mended(remote: Workplace, store: ObjectStore) -> None:
    path = remote.save(64, [10.0, 0.0, 0.0])
    store.client.upload_file(str(path), BUCKET, f"runs/{path.name}")
    Path("picky").touch()
    assert remote.run().exit_code == 1
    assert [name for name in results(store) if name.startswith("failures/")] == ["failures/step_64.json"]
    assert any(name.endswith(".partial.npz") for name in results(store))
    Path("picky").unlink()
    again = remote.run("--json")
    assert json.loads(again.stdout)["units"] == {"computed": 1, "reused": UNITS - 1, "failed": 0}
    left = [name for name in results(store) if name.startswith("failures/") or name.endswith(".partial.npz")]
    assert left == []


def test_a_folder_that_is_written_anew_keeps_no_old_file(gate: Gate, store: ObjectStore) -> None:
    from upath import UPath

    def of(*names: str):
        def write(path: Path) -> None:
            for name in names:
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_text(name)

        return write

    write_path(UPath("s3://jobs/folder"), of("a", "b/c", "b/d"))
    write_path(UPath("s3://jobs/folder"), of("a", "b/e"))
    assert store.names(BUCKET, "folder/") == ["folder/a", "folder/b/e"]
    write_json(UPath("s3://jobs/one.json"), {"x": float("nan")})
    assert json.loads(store.read(BUCKET, "one.json")) == {"x": None}
    remove(UPath("s3://jobs/one.json"))
    remove(UPath("s3://jobs/one.json"))
    assert store.names(BUCKET, "one") == []


def test_commands_on_tables_read_and_write_object_storage(remote: Workplace, store: ObjectStore) -> None:
    remote.run()
    inspected = remote.slt("inspect", "s3://jobs/runs", "--json")
    assert len(json.loads(inspected.stdout)["checkpoints"]) == 12
    found = remote.slt("stages", f"{OUT}/trajectory.csv", "--out", "s3://jobs/stages.json", "--json")
    assert found.exit_code == 0, found.stderr
    written = json.loads(store.read(BUCKET, "stages.json"))
    assert written["boundaries"] == json.loads(found.stdout)["boundaries"]
    compared = remote.slt("compare", "s3://jobs/stages.json", "s3://jobs/runs/events.csv", "--json")
    assert compared.exit_code == 0, compared.stderr
    store.client.delete_object(Bucket=BUCKET, Key="results/tiny/report.html")
    assert remote.slt("report", OUT).stdout.strip() == f"{OUT}/report.html"
    assert b"</html>" in store.read(BUCKET, "results/tiny/report.html")
    missing = remote.slt("stages", "s3://jobs/none.csv")
    assert (missing.exit_code, missing.stderr) == (2, "Error: no such file: s3://jobs/none.csv\n")
    no_job = remote.slt("report", "s3://jobs/runs")
    assert (no_job.exit_code, no_job.stderr.partition(";")[0]) == (2, "Error: no job.yaml in s3://jobs/runs")


def test_the_commands_of_the_page_on_object_storage_work_as_written(
    workplace: Workplace, store: ObjectStore, gate: Gate
) -> None:
    page = (Path(__file__).parents[2] / "docs/storage.md").read_text(encoding="utf-8")
    places = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])
    commands = re.findall(r"^\$ slt (.*)$", page, re.MULTILINE)
    assert len(commands) == 5
    (workplace.path / "runs" / "events.csv").write_text("name,step\nmemorised,30\n")
    store.upload(workplace.path / "runs", "team", "runs/grokking")
    workplace.configure(**places)
    Path("tiny.yaml").rename("job.yaml")
    for line in commands:
        done = workplace.slt(*line.split(), *(["--serial"] if line.startswith("run") else []))
        assert done.exit_code == 0, (line, done.output)
    assert "results/grokking/report.html" in store.names("team")


def test_calibration_and_its_figure_are_kept_on_object_storage(remote: Workplace, store: ObjectStore) -> None:
    settings = {"sampler": {"chains": 2, "batch_size": None}, "checkpoints": "s3://jobs/runs", "out": OUT}
    remote.configure(**settings)
    assert remote.slt("calibrate", "tiny.yaml").exit_code == 0
    assert {"calibration.json", "calibration.png", "calibration.svg"} <= results(store).keys()
    asked = len(store.requests())
    assert remote.slt("calibrate", "tiny.yaml").exit_code == 0
    assert not [request for request in store.requests()[asked:] if request.startswith("PUT") and "png" in request]


def test_a_damaged_unit_is_named(remote: Workplace, store: ObjectStore) -> None:
    remote.run()
    damaged = next(iter(units(store)))
    store.client.put_object(Bucket=BUCKET, Key=damaged, Body=b"not an archive")
    again = remote.run()
    assert again.exit_code == 2
    assert f"s3://jobs/{damaged} is damaged" in again.stderr.splitlines()[-1]


def test_units_travel_small_and_no_credentials_are_written_anywhere(remote: Workplace, store: ObjectStore) -> None:
    from estimators.progress import silent
    from workers.job import read_job
    from workers.plan import prepare

    job = read_job(remote.path / "tiny.yaml")
    plan = prepare(job, JobFolder(job.out), lambda title: silent)
    pickled = pickle.dumps(plan.units[0])
    assert len(pickled) < 5000
    done = remote.run("--json")
    secret = KEYS["AWS_SECRET_ACCESS_KEY"].encode()
    written = [pickled, done.stdout.encode(), done.stderr.encode(), *results(store).values()]
    assert len(written) > UNITS
    assert not [text for text in written if secret in text or KEYS["AWS_ACCESS_KEY_ID"].encode() in text]


def refusal(place: Workplace, *arguments: str) -> str:
    result = place.run(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.stderr
    sentence = result.stderr.splitlines()[-1]
    assert sentence.startswith("Error: ")
    return sentence


@pytest.mark.parametrize("key", ["checkpoints", "events", "out"])
def test_a_bucket_that_is_not_there_is_named(remote: Workplace, key: str) -> None:
    sentence = refusal(remote, "--set", f"{key}=s3://nowhere/x/y.csv")
    assert "no bucket for s3://nowhere/x" in sentence
    assert "create it, or correct the URL" in sentence


@pytest.mark.parametrize("key", ["checkpoints", "events", "out"])
def test_credentials_in_a_job_file_are_refused_and_not_repeated(remote: Workplace, key: str) -> None:
    sentence = refusal(remote, "--set", f"{key}=s3://AKIAX:hush@jobs/x")
    assert f"{key}: credentials in a URL" in sentence
    assert "hush" not in sentence


def test_no_credentials_at_all(remote: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    sentence = refusal(remote)
    assert "no credentials for s3://jobs/runs" in sentence
    assert "AWS_ACCESS_KEY_ID" in sentence


def test_an_endpoint_that_is_no_url(remote: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "127.0.0.1:9000")
    assert "AWS_ENDPOINT_URL is 127.0.0.1:9000" in refusal(remote)


@pytest.mark.parametrize("for_good", ["checkpoints", "results"])
def test_an_endpoint_where_nobody_answers(
    remote: Workplace, gate: Gate, monkeypatch: pytest.MonkeyPatch, for_good: str
) -> None:
    monkeypatch.setattr(server, "PATIENCE", 1.5)
    gate.shut()
    here = ["--set", "checkpoints=runs"] if for_good == "results" else []
    sentence = refusal(remote, "--set", "events=null", *here)
    assert re.search(r"s3://jobs/\S+ has not answered for 2 s .*check the network", sentence)
    assert gate.url in sentence


def test_what_is_denied_is_named(workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with object_store(tmp_path) as store:
        store.upload(workplace.path / "runs", BUCKET, "runs")
        reader = store.user_who_may("s3:ListBucket", "s3:GetObject")
        stranger = {**reader, "AWS_SECRET_ACCESS_KEY": "another"}
        sentences = {}
        for name, keys in {"stranger": stranger, "reader": reader}.items():
            for variable, value in environment(store.url, keys).items():
                monkeypatch.setenv(variable, value)
            server._driver.cache_clear()
            sentences[name] = refusal(workplace, "--set", "checkpoints=s3://jobs/runs", "--out", OUT)
        server._driver.cache_clear()
    assert "s3://jobs/runs is denied" in sentences["stranger"]
    assert f"results cannot be written: {OUT}/units/.writable is denied" in sentences["reader"]
    assert all("permit it to the credentials" in sentence for sentence in sentences.values())


@pytest.mark.slow
def test_a_killed_job_goes_on_with_what_is_missing(remote: Workplace, store: ObjectStore) -> None:
    remote.configure(
        checkpoints="s3://jobs/runs", events="s3://jobs/runs/events.csv", out=OUT, problem_args={"seconds": 0.1}
    )
    process = start("--serial")
    wait_for_units(lambda: units(store), 2, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = units(store)
    assert 2 <= len(before) < UNITS
    counts = finish(start("--serial", "--json"))
    assert counts == {"computed": UNITS - len(before), "reused": len(before), "failed": 0}
    assert before.items() <= units(store).items()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "hangs"])
@pytest.mark.parametrize("where", [["--serial"], ["--workers", "2"]], ids=["serial", "ray"])
def test_a_run_survives_the_server_being_away_for_ten_seconds(
    remote: Workplace, store: ObjectStore, gate: Gate, how: str, where: list[str]
) -> None:
    remote.configure(
        checkpoints="s3://jobs/runs", events="s3://jobs/runs/events.csv", out=OUT, problem_args={"seconds": 0.02}
    )
    process = start(*where, "--json")
    wait_for_units(lambda: units(store), 2, process)
    gate.shut() if how == "killed" else store.pause()
    time.sleep(AWAY)
    assert process.poll() is None
    gate.open() if how == "killed" else store.go_on()
    at_return = units(store)
    assert len(at_return) < UNITS
    assert finish(process) == {"computed": UNITS, "reused": 0, "failed": 0}
    assert at_return.items() <= units(store).items()
    here = ["--set", "checkpoints=runs", "--set", "events=runs/events.csv", "--out", str(remote.out)]
    assert remote.run(*here).exit_code == 0
    for name in ("trajectory.csv", "stages.json"):
        assert results(store)[name] == (remote.out / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["checkpoints", "everything"])
def test_a_server_that_does_not_come_back_ends_the_job_in_one_sentence(
    remote: Workplace, store: ObjectStore, gate: Gate, lost: str
) -> None:
    out = OUT if lost == "everything" else "results/tiny"
    remote.configure(
        checkpoints="s3://jobs/runs",
        out=out,
        problem_args={"seconds": 0.05},
        resources={"checkpoints_per_unit": 1},
    )
    process = start("--serial", patience=8)

    def done() -> Collection[object]:
        return units(store) if lost == "everything" else list(remote.path.glob("results/tiny/units/*.npz"))

    wait_for_units(done, 2, process)
    gate.shut()
    began = time.monotonic()
    _, stderr = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - began > 5  # a request may have been under way
    assert process.returncode == 2
    assert "Traceback" not in stderr
    sentence = stderr.splitlines()[-1]
    assert "has not answered for 8 s" in sentence
    assert "what is finished is kept" in sentence
    kept = len(done())
    assert 2 <= kept < 12
    gate.open()
    assert finish(start("--serial", "--json"))["reused"] == kept


def test_the_page_says_how_long_a_server_is_waited_for() -> None:
    page = (Path(__file__).parents[2] / "docs/storage.md").read_text(encoding="utf-8")
    assert re.findall(r"has not answered for (.*?) s", page) == [f"{server.PATIENCE:.0f}"]


@pytest.mark.slow
def test_nothing_of_a_run_stays_behind_on_this_machine(
    remote: Workplace, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = remote.path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    process = start("--serial", "--json")
    watched: set[str] = set()
    while process.poll() is None:
        watched.update(path.name for path in temporary.iterdir())
        time.sleep(0.005)
    finish(process)
    assert [name for name in watched if name.startswith("slt-")]
    assert [path.name for path in temporary.iterdir() if path.name.startswith("slt-")] == []
    assert not remote.out.exists()
    assert not Path("s3:").exists()
