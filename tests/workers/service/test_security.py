"""What the service refuses: strangers, places, code, bombs. Each refusal is one sentence and leaves nothing behind."""

from __future__ import annotations

import ast
import json
import os
import pickle
import socket
import stat
import threading
import time
from pathlib import Path

import pytest
import torch
import yaml
from starlette.testclient import TestClient

from slt.errors import BadInput, JobError
from workers.service import token as tokens
from workers.service.app import create_app
from workers.service.guard import OPEN
from workers.service.settings import make_settings

from .conftest import TOKEN, Process, job

STATES = (
    "/api/jobs",
    "/api/jobs/x",
    "/api/jobs/x/report",
    "/api/roots",
    "/metrics",
    "/",
    "/static/app.js",
    "/api/docs",
)

FOREIGN = [
    "os:system",
    "subprocess:run",
    "builtins:eval",
    "evil:build",
    "tiny_problem_evil:build",
    "Tiny_problem:build",
]
FOREIGN += [
    "tiny_problem:",
    ":build",
    "tiny_problem:build:x",
    "tiny_problem:build()",
    "../tiny_problem:build",
    "linear",
]
FOREIGN += [
    "tiny_problem:bui-ld",
    "modular_addition:x",
    "tiny_problem",
    "exact:other",
    "exact.below:build",
    "",
    "x" * 200,
]
ODD_JSON = [b"", b"{", b"[]", b"null", b'{"job": 3}', b'{"job": null}', b'{"job": {}}', b"\xff\xfe", b"[" * 500_000]
ODD_JSON += [b'{"job": {"problem_args": {"x": 1' + b"0" * 5_000 + b"}}}", b'{"job": {}, "submission_id": 5}', b"NaN"]
ODD_JSON += [
    b'{"job": {}, "follow": "yes"}',
    b'{"job": {}, "evil": 1}',
    b'{"job": {"name": "\\ud800"}}',
    b'"' + b"x" * 9_999,
]
ODD_JSON += [b'{"job": {"checkpoints": {"a": "b"}, "problem": ["x"]}}', b'{"job": {"sampler": {"chains": 1e400}}}']
YAML = {"content-type": "application/yaml"}


def sentence(answer) -> str:
    """The sentence of a refusal."""
    assert set(answer.json()) == {"error"}
    text = answer.json()["error"]
    assert "Traceback" not in text
    assert "\n" not in text
    return text


def no_jobs(desk) -> bool:
    return not desk.index.find() and not list(desk.settings.jobs.iterdir())


class TestToken:
    @pytest.mark.parametrize(
        "given", [None, "Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", f"Bearer é{TOKEN}"]
    )
    def test_without_the_right_token_every_route_but_health_and_login_is_closed(self, desk, given):
        headers = {"authorization": given.encode()} if given else {}
        with TestClient(create_app(desk, TOKEN), base_url="http://127.0.0.1", headers=headers) as stranger:
            app = stranger.app
            known = [route for route in app.openapi()["paths"] if "{" not in route]
            for path in (*known, *STATES):
                if path not in OPEN:
                    assert stranger.get(path).status_code == 401, path
            assert stranger.post("/api/jobs", json=job()).status_code == 401
            assert stranger.post("/api/jobs/x/cancel", headers={"x-slt": "1"}).status_code == 401
            assert stranger.get("/healthz").json()["status"] == "ok"
            assert stranger.get("/login").status_code == 200
        assert no_jobs(desk)

    def test_the_cookie_of_the_login_opens_the_api_and_no_script_can_read_it(self, desk):
        with TestClient(create_app(desk, TOKEN), base_url="http://127.0.0.1") as browser:
            assert browser.post("/login", data={"token": "wrong"}).status_code == 401
            assert browser.get("/api/jobs").status_code == 401
            answer = browser.post("/login", data={"token": TOKEN}, follow_redirects=False)
            assert answer.status_code == 303
            assert "HttpOnly" in answer.headers["set-cookie"]
            assert "SameSite=strict" in answer.headers["set-cookie"]
            assert browser.get("/api/jobs").status_code == 200

    def test_the_printed_link_logs_in_and_takes_the_token_out_of_the_address(self, desk):
        with TestClient(create_app(desk, TOKEN), base_url="http://127.0.0.1") as browser:
            assert browser.get("/?token=wrong", follow_redirects=False).status_code == 401
            assert browser.get("/api/jobs?token=" + TOKEN).status_code == 401  # only / takes it there
            answer = browser.get(f"/?token={TOKEN}", follow_redirects=False)
            assert (answer.status_code, answer.headers["location"]) == (303, "/")
            assert browser.get("/api/jobs").status_code == 200

    def test_it_is_made_once_and_its_file_is_the_owners_alone(self, tmp_path):
        token, is_new = tokens.read_or_make(tmp_path / "token")
        assert is_new
        assert len(token) >= 40
        assert stat.S_IMODE(os.stat(tmp_path / "token").st_mode) == 0o600
        assert tokens.read_or_make(tmp_path / "token") == (token, False)
        (tmp_path / "token").chmod(0o644)
        with pytest.raises(BadInput, match="chmod 600"):
            tokens.read_or_make(tmp_path / "token")

    def test_it_is_compared_in_constant_time(self):
        """The comparison is the standard library's, and nothing else compares a token."""
        source = Path(tokens.__file__).read_text()
        [matches] = [node for node in ast.parse(source).body if getattr(node, "name", "") == "matches"]
        [calls] = [[node for node in ast.walk(matches) if isinstance(node, ast.Return)]]
        assert [ast.unparse(call.value.func) for call in calls] == ["hmac.compare_digest"]

    def test_a_service_without_one_is_bound_to_this_machine_alone(self):
        assert make_settings({"no_token": True}, "here").no_token
        assert make_settings({"no_token": True, "host": "::1"}, "here").no_token
        for host in ("0.0.0.0", "192.0.2.2", "::", "slt.example.org"):
            with pytest.raises(JobError, match="without a token bind to"):
                make_settings({"no_token": True, "host": host}, "here")


class TestOtherSites:
    def test_a_form_of_another_site_changes_nothing(self, api, desk):
        forms = ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", ""]
        for kind in forms:
            answer = api.post("/api/jobs", content=json.dumps(job()), headers={"content-type": kind})
            assert answer.status_code == 403, kind
        assert api.post("/api/jobs/x/cancel").status_code == 403
        assert no_jobs(desk)

    @pytest.mark.parametrize("host", ["evil.example", "evil.example:8420", "127.0.0.1.evil.example", "[::2]:1", ""])
    def test_a_name_that_was_bound_to_this_machine_by_somebody_else_is_refused(self, api, host):
        assert api.get("/api/jobs", headers={"host": host}).status_code == 421
        assert api.get("/healthz", headers={"host": host}).status_code == 421

    @pytest.mark.parametrize("host", ["127.0.0.1:8420", "localhost", "[::1]:8420", "127.0.0.1"])
    def test_its_own_names_are_served(self, api, host):
        assert api.get("/api/jobs", headers={"host": host}).status_code == 200

    def test_no_other_origin_may_read_answers(self, api):
        for method in ("GET", "OPTIONS"):
            asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
            answer = api.request(method, "/api/jobs", headers=asked)
            assert not [name for name in answer.headers if name.startswith("access-control")]

    def test_no_page_may_load_or_run_anything_from_elsewhere(self, api):
        for path in ("/login", "/", "/api/jobs", "/healthz", "/nothing", "/api/docs"):
            headers = api.get(path).headers
            policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
            assert policy["default-src"] == "'self'"
            assert policy["script-src"] == "'self'"
            assert policy["base-uri"] == "'none'"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"


class TestPlaces:
    @pytest.fixture
    def secret(self, workplace, tmp_path_factory) -> Path:
        """A directory of good checkpoints outside the roots."""
        outside = tmp_path_factory.mktemp("outside") / "runs"
        (workplace.path / "runs").rename(outside)
        (workplace.path / "runs").mkdir()
        return outside

    def test_a_path_out_of_the_roots_is_refused_however_it_is_written(self, api, desk, workplace, secret):
        (workplace.path / "link").symlink_to(secret)
        (workplace.path / "deep").mkdir()
        (workplace.path / "deep" / "link").symlink_to("../link")
        up = os.path.relpath(secret, workplace.path)
        places = [
            up,
            f"runs/../{up}",
            str(secret),
            f"{workplace.path}/{up}",
            "link",
            "deep/link",
            str(workplace.path / "link"),
        ]
        for place in [*places, "/etc", "/", "~", "..", "/proc/self/root/etc", f"file://{secret}", "\u0000", "a\u0000b"]:
            answer = api.post("/api/jobs", json=job(checkpoints=place))
            assert answer.status_code == 422, place
            assert "under the roots" in sentence(answer) or "control character" in sentence(answer)
            answer = api.post("/api/jobs", json=job(checkpoints=str(workplace.path / "runs"), events=place))
            assert answer.status_code == 422, place
        assert no_jobs(desk)

    def test_a_root_s_neighbour_of_nearly_the_same_name_is_outside(self, api, workplace, secret):
        neighbour = workplace.path.with_name(workplace.path.name + "-other")
        neighbour.mkdir()
        assert api.post("/api/jobs", json=job(checkpoints=str(neighbour))).status_code == 422

    def test_a_checkpoint_that_is_a_link_out_of_the_roots_is_refused(self, api, workplace, secret):
        (workplace.path / "runs" / "step_1.safetensors").symlink_to(secret / "step_000001.safetensors")
        answer = api.post("/api/jobs", json=job())
        assert answer.status_code == 422
        assert "leads out of the roots" in sentence(answer)

    def test_a_link_within_the_roots_is_followed(self, api, workplace):
        (workplace.path / "runs").rename(workplace.path / "blobs")
        (workplace.path / "runs").symlink_to("blobs")
        answer = api.post("/api/jobs", json=job())
        assert answer.status_code == 201
        assert api.get(f"/api/jobs/{answer.json()['id']}").json()["job"]["checkpoints"] == str(workplace.path / "blobs")

    @pytest.mark.parametrize(
        "place",
        [
            "s3://other/runs",
            "s3://team-evil/runs",
            "s3://team/runs-other",
            "s3://team/runs/../../other",
            "s3://team/runs/%2e%2e/x",
            "s3://team/runs//x/../../../y",
            "S3://team/runs/x",
            "gs://team/runs",
            "http://team/runs",
            "s3://team/runs?x=1",
            "s3://user:secret@team/runs",
            "s3://team/runs::file:///etc",
            "simplecache::s3://team/runs",
        ],
    )
    def test_object_storage_is_open_under_its_own_roots_alone(self, settings, place):
        from workers.service.places import resolve

        roots = [*settings.roots, "s3://team/runs"]
        assert resolve("s3://team/runs/mine", roots, "checkpoints") == "s3://team/runs/mine"
        assert resolve("s3://team/runs", roots, "checkpoints") == "s3://team/runs"
        with pytest.raises(JobError, match="under the roots"):
            resolve(place, roots, "checkpoints")
        with pytest.raises(JobError, match="under the roots"):
            resolve("s3://team/runs/mine", settings.roots, "checkpoints")

    def test_job_ids_never_leave_the_folder(self, api, workplace):
        (workplace.path / "service" / "token").write_text("x")
        for job_id in ("%2e", "%2e%2e", "..%2fservice", "..%2f..%2f", ".hidden", "a" * 65, "%00"):
            for part in ("", "/report", "/results", "/logs", "/events"):
                assert api.get(f"/api/jobs/{job_id}{part}").status_code in (404, 422), job_id
        for job_id in ("..", ".", "../service", "a/b", "a\\b", ".hidden", "a" * 65, "\u0000", "a\n", "", "-x"):
            assert api.post("/api/jobs", json=job() | {"submission_id": job_id}).status_code == 422, job_id
        assert api.get("/static/../service/token").status_code == 404
        assert api.get("/static/%2e%2e/job.py").status_code == 404
        assert api.get("/static/__init__.py").status_code == 404

    def test_every_key_of_a_job_that_is_a_path_is_known_here(self):
        """A new key that names a file has to be resolved against the roots too."""
        from pydantic import BaseModel

        from workers.job import PLACES, JobConfig

        def paths(model: type[BaseModel], prefix: str = "") -> list[str]:
            found = []
            for name, field in model.model_fields.items():
                if "Path" in str(field.annotation) or "Location" in str(field.annotation):
                    found.append(prefix + name)
                if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                    found += paths(field.annotation, f"{prefix}{name}.")
            return found

        assert sorted(paths(JobConfig)) == sorted(PLACES)


class TestCode:
    @pytest.mark.parametrize("problem", FOREIGN)
    def test_only_listed_modules_and_built_in_problems_run(self, api, desk, problem):
        answer = api.post("/api/jobs", json=job(problem=problem))
        assert answer.status_code == 422
        assert "does not run" in sentence(answer)
        assert no_jobs(desk)

    def test_a_module_may_be_listed_with_one_function_alone(self, api):
        assert api.post("/api/jobs", json=job(problem="exact:build")).status_code == 201

    def test_code_named_anywhere_else_in_a_job_is_refused_too(self, api, desk):
        for keys in ({"measures": ["loss", "evil:measure"]}, {"refinements": {"test": {"data": "evil:data"}}}):
            answer = api.post("/api/jobs", json=job(**keys))
            assert answer.status_code == 422
            assert "does not run" in sentence(answer)

    def test_the_names_of_built_in_problems_are_those_that_there_are(self):
        from estimators.problems import BUILT_IN
        from workers.service import places

        assert set(places.BUILT_IN) == set(BUILT_IN)

    def test_submitting_imports_nothing_of_the_module(self, api, workplace):
        (workplace.path / "tiny_problem.py").write_text("open('imported', 'w')")
        assert api.post("/api/jobs", json=job()).status_code == 201
        assert not (workplace.path / "imported").exists()

    def test_the_command_line_of_a_driver_is_quoted(self, desk, settings, workplace):
        from workers.service.launch import entrypoint

        hostile = workplace.path / "$(touch hacked); `touch hacked` 'x' \"y\" && touch hacked"
        hostile.mkdir()
        found, _ = desk.submit(job(checkpoints=str(hostile))["job"], None, True)
        line = entrypoint(found, str(hostile), settings)
        import shlex

        words = shlex.split(line)
        assert str(hostile) in words
        assert words.count("&&") == 1


class TestBombs:
    def test_aliases_that_stand_for_gigabytes_are_refused_before_they_are_expanded(self, api, desk):
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
        begun = time.process_time()
        answer = api.post("/api/jobs", content="\n".join(lines), headers=YAML)
        assert answer.status_code == 422
        assert "alias" in sentence(answer)
        assert time.process_time() - begun < 5
        assert no_jobs(desk)

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("!!python/object/apply:os.system ['touch hacked']", "not YAML"),
            ("checkpoints: !!python/object/new:os.system ['touch hacked']", "not YAML"),
            ("a: " + "[" * 5_000 + "]" * 5_000, "nested"),
            ("{a: " * 5_000 + "1" + "}" * 5_000, "nested"),
            ("problem_args: {a: " + "9" * 10_000 + "}", "none"),
            ("problem_args: [" + "1, " * 50_000 + "]", "values"),
            ("? {a: b}\n: c", "not YAML"),
            ("a: 2001-99-99", "none"),
            ("a: !!binary x", "not YAML"),
            ("%YAML 9.9\n---\na: b", "not YAML"),
            ("a: b\n---\nc: d", "not YAML"),
            ("", "keys and values"),
            ("just a text", "keys and values"),
            ("a: \x00", "not YAML"),
            ("<<: {a: b}\nproblem: 3", "unknown key 'a'"),
        ],
    )
    def test_odd_yaml_is_one_sentence(self, api, desk, text, says):
        answer = api.post("/api/jobs", content=text.encode(), headers=YAML)
        assert answer.status_code == 422
        assert says in sentence(answer)
        assert not Path("hacked").exists()
        assert no_jobs(desk)

    @pytest.mark.parametrize("body", ODD_JSON)
    def test_odd_json_is_one_sentence(self, api, desk, body):
        answer = api.post("/api/jobs", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 422
        assert sentence(answer)
        assert no_jobs(desk)

    def test_every_field_is_bounded(self, api, desk):
        deep: object = 1
        for _ in range(100):
            deep = [deep]
        for keys in (
            {"name": "n" * 5_000},
            {"checkpoints": "runs/" * 5_000},
            {"problem_args": {"x": "y" * 5_000}},
            {"problem_args": {"x": deep}},
            {"problem_args": {str(i): i for i in range(2_000)}},
            {"measures": ["loss"] * 30_000},
            {"sampler": {"chains": 10**30}},
        ):
            assert api.post("/api/jobs", json=job(**keys)).status_code == 422, list(keys)
        assert no_jobs(desk)

    def test_waiting_jobs_are_bounded(self, api, desk):
        desk.settings = desk.settings.model_copy(update={"max_waiting": 2})
        codes = [api.post("/api/jobs", json=job(name=f"job{i}")).status_code for i in range(4)]
        assert codes == [201, 201, 429, 429]
        assert api.post("/api/jobs", json=job(name="job1")).status_code == 200


class TestNames:
    SCRIPT = "<script>alert(1)</script>"

    def test_script_tags_in_names_are_refused_or_sent_as_data(self, api):
        for keys in ({"name": self.SCRIPT}, {"problem": self.SCRIPT}, {self.SCRIPT: 1}, {"checkpoints": self.SCRIPT}):
            answer = api.post("/api/jobs", json=job(**keys))
            assert answer.status_code == 422
            assert answer.headers["content-type"] == "application/json"
        for path in (f"/api/jobs/{self.SCRIPT}", f"/{self.SCRIPT}", f"/api/jobs?state={self.SCRIPT}"):
            answer = api.get(path)
            assert answer.status_code in (404, 422)
            assert answer.headers["content-type"] == "application/json"

    def test_a_directory_with_such_a_name_reaches_people_as_data(self, api, workplace):
        hostile = workplace.path / "<img src=x onerror=alert(1)>"
        hostile.mkdir()
        made = api.post("/api/jobs", json=job(checkpoints=str(hostile)))
        assert made.status_code == 201
        answer = api.get(f"/api/jobs/{made.json()['id']}")
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["job"]["checkpoints"] == str(hostile)

    def test_the_log_and_the_tables_are_never_html(self, api, desk):
        made = api.post("/api/jobs", json=job()).json()
        (desk.folder(made["id"]) / "driver.log").write_text(self.SCRIPT)
        answer = api.get(f"/api/jobs/{made['id']}/logs")
        assert answer.text == self.SCRIPT
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.headers["x-content-type-options"] == "nosniff"

    def test_the_report_runs_in_a_sandbox_that_reaches_nothing(self, api, desk):
        made = api.post("/api/jobs", json=job()).json()
        (desk.folder(made["id"]) / "report.html").write_text(self.SCRIPT)
        policy = api.get(f"/api/jobs/{made['id']}/report").headers["content-security-policy"]
        assert "sandbox allow-scripts;" in policy
        assert "allow-same-origin" not in policy
        assert "default-src 'none'" in policy
        assert "connect-src" not in policy  # then default-src holds

    def test_the_login_form_escapes_and_an_error_says_nothing_of_the_inside(self, desk):
        app = create_app(desk, TOKEN)

        @app.get("/api/defect")
        def defect() -> None:
            raise RuntimeError("the inside: " + TOKEN)

        headers = {"authorization": f"Bearer {TOKEN}"}
        with TestClient(app, base_url="http://127.0.0.1", headers=headers, raise_server_exceptions=False) as client:
            answer = client.get("/api/defect")
        assert answer.status_code == 500
        assert "inside" not in answer.text


def test_no_secret_is_written_into_job_folders(api, desk, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    made = api.post("/api/jobs", json=job()).json()
    for path in desk.folder(made["id"]).rglob("*"):
        assert TOKEN not in path.read_text()
        assert "very-secret" not in path.read_text()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    place = tmp_path_factory.mktemp("running")
    process = Process(place / "service", place)
    yield process
    process.stop()


@pytest.mark.slow
class TestRealProcess:
    """Bodies and floods against the service as it runs, over a socket."""

    def connect(self, running) -> socket.socket:
        host, port = (running.folder / "address").read_text().strip().removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=300)

    def memory(self, running) -> int:
        status = Path(f"/proc/{running.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    @pytest.mark.parametrize("with_token", [True, False])
    def test_a_body_of_a_gigabyte_is_refused_before_it_is_read(self, running, with_token):
        before = self.memory(running)
        token = f"Authorization: Bearer {running.token}\r\n" if with_token else ""
        with self.connect(running) as connection:
            head = f"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n{token}Content-Type: application/json\r\n"
            connection.sendall(f"{head}Content-Length: {10**9}\r\n\r\n".encode())
            answer = connection.recv(4096)  # nothing of the body has been sent
        assert answer.startswith(b"HTTP/1.1 413")
        assert self.memory(running) - before < 20e6

    def test_a_gigabyte_in_chunks_is_refused_after_the_first_megabyte(self, running):
        before = self.memory(running)
        sent, chunk = 0, b"10000\r\n" + b"x" * 65536 + b"\r\n"
        with self.connect(running) as connection:
            head = f"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {running.token}\r\n"
            connection.sendall(f"{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
            answers: list[bytes] = []
            reader = threading.Thread(target=lambda: answers.append(connection.recv(4096)))
            reader.start()
            try:
                while sent < 10**9 and not answers:
                    connection.sendall(chunk)
                    sent += 65536
            except OSError:  # it has hung up
                pass
            reader.join(300)
        assert answers[0].startswith(b"HTTP/1.1 413")
        assert sent < 50e6
        assert self.memory(running) - before < 50e6

    def test_headers_without_an_end_are_refused(self, running):
        with self.connect(running) as connection:
            answer = b""
            try:
                connection.sendall(b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n")
                answer = connection.recv(4096)
            except OSError:
                pass
        assert not answer or answer.startswith((b"HTTP/1.1 4",))
        assert running.client.jobs() == []

    def test_the_token_is_shown_once_and_kept_out_of_the_log_afterwards(self, running):
        assert running.log.count(running.token) == 1
        running.client.jobs()
        assert running.log.count(running.token) == 1


@pytest.mark.slow
def test_a_pickle_bomb_among_the_checkpoints_is_not_set_off(service, workplace):
    class Bomb:
        def __reduce__(self):
            return (os.system, (f"touch {workplace.path / 'hacked'}",))

    (workplace.path / "bombs").mkdir()
    torch.save({"weight": torch.zeros(1, 3), "bomb": Bomb()}, workplace.path / "bombs" / "step_1.pt")
    (workplace.path / "bombs" / "step_2.pt").write_bytes(pickle.dumps(Bomb()))
    for step in range(3, 14):
        torch.save({"weight": torch.ones(1, 3) * step}, workplace.path / "bombs" / f"step_{step}.pt")
    made, _ = service.client.submit(job(checkpoints=str(workplace.path / "bombs"))["job"])
    [*_, (kind, end)] = service.client.watch(made["id"])
    assert kind == "end"
    assert end["state"] == "FAILED"
    assert "step_1.pt" in end["message"] or "step_2.pt" in end["message"]
    assert not (workplace.path / "hacked").exists()
    assert yaml.safe_load((service.folder / "jobs" / made["id"] / "job.submitted.yaml").read_text())
