"""The client and its commands: what they send, what they refuse to unpack, and how they say what is wrong."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from slt.errors import BadInput
from tests.workers.patience import until
from workers.client import ServiceError, _unpack, local_service

COMMANDS = ["serve", "submit", "status", "watch", "logs", "cancel", "resume", "results", "list"]


def archive(name: str, *, compression: int = zipfile.ZIP_STORED, mode: int = 0) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        entry = zipfile.ZipInfo(name)
        entry.compress_type, entry.external_attr = compression, mode << 16
        made.writestr(entry, b"x" * 1000)
    return buffer


@pytest.mark.parametrize("name", ["../x", "job/../../x", "/etc/x", "job/..", "x", "job/a\\..\\..\\x"])
def test_an_archive_never_writes_outside_its_folder(tmp_path, name):
    with pytest.raises(BadInput, match="nothing is unpacked"):
        _unpack(archive(name), tmp_path / "target")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_links_and_bombs_in_an_archive_are_refused(tmp_path):
    for number, hostile in enumerate(
        (archive("job/x", mode=0o120777), archive("job/x", compression=zipfile.ZIP_DEFLATED))
    ):
        with pytest.raises(BadInput, match="nothing is unpacked"):
            _unpack(hostile, tmp_path / str(number))
    _unpack(archive("job/deep/x"), tmp_path / "good")
    assert (tmp_path / "good" / "deep" / "x").read_bytes() == b"x" * 1000
    with pytest.raises(ServiceError, match="no whole archive"):
        _unpack(io.BytesIO(archive("job/x").getvalue()[:50]), tmp_path / "torn")


def test_the_local_service_s_token_is_sent_to_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SLT_TOKEN", raising=False)
    folder = tmp_path / ".slt" / "service"
    folder.mkdir(parents=True)
    (folder / "token").write_text("local-token\n")
    (folder / "token").chmod(0o600)
    (folder / "address").write_text("http://127.0.0.1:9999\n")
    assert local_service(None, None) == ("http://127.0.0.1:9999", "local-token")
    assert local_service("http://127.0.0.1:9999/", None) == ("http://127.0.0.1:9999", "local-token")
    assert local_service("http://evil.example", None) == ("http://evil.example", None)
    monkeypatch.setenv("SLT_TOKEN", "given")
    assert local_service("http://other.example", None) == ("http://other.example", "given")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_example(workplace, command):
    result = workplace.slt(command, "--help")
    assert result.exit_code == 0
    assert f"slt {command} " in result.stdout.split("Options")[-1]


def test_commands_on_a_service_start_without_torch_or_ray(workplace):
    script = (
        "import sys; from workers.cli import app\n"
        "try: app(sys.argv[1:], standalone_mode=False)\n"
        "except SystemExit: pass\n"
        "except Exception as error: assert type(error).__name__ == 'Exit', error\n"
        "heavy = {'torch', 'ray', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    nobody = ["--service", "http://127.0.0.1:9"]
    for arguments in (
        ["list", *nobody],
        ["submit", "tiny.yaml", *nobody],
        ["serve", "--help"],
        ["results", "x", *nobody],
    ):
        ran = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["list", "--service", "http://127.0.0.1:9"], "no service answers at http://127.0.0.1:9"),
        (["list", "--service", "127.0.0.1:9"], "no service answers"),
        (["list", "--service", "http://[bad"], "no service answers"),
        (["list", "--address", "http://127.0.0.1:9"], "no Ray cluster answers at http://127.0.0.1:9"),
        (["status", "../x", "--service", "http://127.0.0.1:9"], "is no job id"),
        (["submit", "missing.yaml"], "missing.yaml"),
        (["list", "--token-file", "missing"], "cannot be read"),
        (["serve", "--no-token", "--host", "0.0.0.0"], "without a token bind to"),
        (["serve", "missing.yaml"], "missing.yaml"),
        (["serve", "--module", "not a module"], "modules"),
        (["serve", "--address", "head"], "address"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_exit_code_2(workplace, arguments, says):
    result = workplace.slt(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_job_through_all_commands(service, workplace, monkeypatch):
    """Submit, status, watch, list, logs, results, cancel, resume, against the real service and its own Ray."""
    monkeypatch.setenv("SLT_SERVICE", service.client.url)
    token = ["--token-file", str(service.folder / "token")]

    def slt(*arguments: str, code: int = 0):
        result = workplace.slt(*arguments, *token)
        assert result.exit_code == code, result.stderr
        return result

    submitted = slt("submit", "tiny.yaml", "--json")
    made = json.loads(submitted.stdout)
    assert (made["new"], made["name"]) == (True, "tiny")
    assert json.loads(slt("submit", "tiny.yaml", "--json").stdout)["new"] is False
    watched = slt("watch", made["id"], "--json")
    assert json.loads(watched.stdout)["state"] == "SUCCEEDED"
    assert "estimating: 12/12" in watched.stderr
    assert json.loads(slt("status", made["id"], "--json").stdout)["units"]["computed"] == 6
    assert "SUCCEEDED" in slt("status", made["id"]).stdout
    assert made["id"] in slt("list").stdout
    assert "12 checkpoints" in slt("logs", made["id"], "--tail", "5").stdout
    assert slt("results", made["id"], "--out", "fetched").stdout.strip() == "fetched"
    serial = workplace.run()
    assert serial.exit_code == 0
    assert Path("fetched/trajectory.csv").read_bytes() == workplace.trajectory
    assert "already" in slt("results", made["id"], "--out", "fetched", code=2).stderr
    slt("results", made["id"], "--out", "fetched", "--overwrite")
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("years of work")
    slt("results", made["id"], "--out", "mine", "--overwrite", code=2)
    assert Path("mine/thesis.tex").exists()

    slow = slt("submit", "tiny.yaml", "--set", "problem_args={seconds: 0.2}", "--submission-id", "slow").stdout.strip()
    units = service.folder / "jobs" / slow / "units"
    until(lambda: list(units.glob("*.npz")), "a finished unit")
    slt("cancel", slow)
    assert json.loads(slt("watch", slow, "--json", code=1).stdout)["state"] == "STOPPED"
    done = len(list(units.glob("*.npz")))
    assert 1 <= done < 6
    assert "PENDING" in slt("resume", slow).stdout
    ended = json.loads(slt("watch", slow, "--json").stdout)
    assert ended["state"] == "SUCCEEDED"
    assert ended["units"]["reused"] >= done
