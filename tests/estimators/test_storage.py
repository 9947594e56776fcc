"""Checkpoints on object storage: the same sequence, weights and sentences as on disk, and a server that may be away."""

from __future__ import annotations

import json
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from upath import UPath

from estimators.checkpoints import CheckpointSequence, content_hash, discover, load_weights
from estimators.storage import ahead, exists, fetch, listing, local_copy, location, modified, send, server
from slt.errors import CheckpointError, NoCheckpoints, StorageError
from tests.workers.object_store import KEYS, Gate, ObjectStore, environment, object_store

BUCKET = "runs"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with object_store(tmp_path_factory.mktemp("store")) as running:
        running.client.create_bucket(Bucket=BUCKET)
        yield running


@pytest.fixture
def gate(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """The way from this process to the server."""
    gate = Gate(store.port)
    for name, value in environment(gate.url, KEYS).items():
        monkeypatch.setenv(name, value)
    server._driver.cache_clear()
    yield gate
    gate.shut()
    server._driver.cache_clear()
    server._given_up.clear()


def every_kind(folder: Path) -> Path:
    """Small and large files of each format, odd names, damage, and what training leaves beside."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)

    def weights(rows: int) -> dict[str, torch.Tensor]:
        return {"w": torch.randn(rows, 1000, generator=generator), "b": torch.randn(7, generator=generator)}

    save_file(weights(3), folder / "step_1.safetensors")
    save_file(weights(1200), folder / "step_2.safetensors", metadata={"step": "2"})
    torch.save({"model": weights(1200), "optimizer": weights(300), "step": 3}, folder / "a.pt")
    torch.save({"model": weights(1200), "step": torch.tensor(4), "optimizer": weights(700)}, folder / "b.pt")
    torch.save(weights(1200), folder / "step_5.pt", _use_new_zipfile_serialization=False)
    sharded = folder / "checkpoint-6"
    sharded.mkdir()
    save_file({"w": torch.randn(1200, 1000)}, sharded / "model-00001-of-00002.safetensors")
    save_file({"b": torch.randn(7)}, sharded / "model-00002-of-00002.safetensors")
    index = {"weight_map": {"w": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    save_file(weights(2), folder / "odd %23 name?v#[x]* step_7.safetensors")
    (folder / "deep" / "er").mkdir(parents=True)
    save_file(weights(2), folder / "deep" / "er" / "step_8.safetensors")
    (folder / "step_9.safetensors.tmp").write_bytes(b"half")
    (folder / "optimizer.pt").write_bytes(b"not looked at")
    (folder / "strange.xyz").write_bytes(b"?")
    return folder


def test_a_sequence_on_object_storage_is_the_one_on_disk(store: ObjectStore, gate: Gate, tmp_path: Path) -> None:
    here = every_kind(tmp_path / "run")
    store.upload(here, BUCKET, "same")
    local, remote = discover(here), discover("s3://runs/same")
    assert [checkpoint.step for checkpoint in remote] == [1, 2, 3, 4, 5, 6, 7, 8]
    for one, other in zip(local, remote, strict=True):
        facts = [(each.step, each.unit, each.step_source, each.format, each.bytes) for each in (one, other)]
        assert facts[0] == facts[1]
        assert content_hash(load_weights(one)) == content_hash(load_weights(other))
    assert [text.replace(str(here), "s3://runs/same") for text in local.problems] == list(remote.problems)


def test_looking_reads_the_ends_of_large_files_only(store: ObjectStore, gate: Gate, tmp_path: Path) -> None:
    save_file({"w": torch.zeros(6_000_000)}, tmp_path / "step_1.safetensors")
    torch.save({"model": {"w": torch.zeros(6_000_000)}, "step": 2}, tmp_path / "step_2.pt")
    store.upload(tmp_path, BUCKET, "large")
    arrived = gate.received
    assert [checkpoint.bytes > 24e6 for checkpoint in discover("s3://runs/large")] == [True, True]
    assert gate.received - arrived < 6e6


@pytest.mark.parametrize("name", ["step_3.safetensors", "step_3.pt"])
@pytest.mark.parametrize("kept", [0, 1000, 3_900_000])
def test_a_damaged_file_is_told_of_as_on_disk(
    store: ObjectStore, gate: Gate, tmp_path: Path, name: str, kept: int
) -> None:
    path = tmp_path / "run" / name
    path.parent.mkdir()
    weights = {"w": torch.zeros(1_000_000)}
    save_file(weights, path) if name.endswith("s") else torch.save(weights, path)
    path.write_bytes(path.read_bytes()[:kept])
    store.upload(path.parent, BUCKET, f"damaged-{kept}")

    def refusal(sequence: CheckpointSequence) -> str:
        with pytest.raises(CheckpointError) as caught:
            sequence.require_usable()
        return str(caught.value)

    remote = refusal(discover(f"s3://runs/damaged-{kept}"))
    assert remote.replace(f"s3://runs/damaged-{kept}", str(path.parent)) == refusal(discover(path.parent))
    store.client.delete_object(Bucket=BUCKET, Key=f"damaged-{kept}/{name}")


def test_a_shard_that_is_missing_or_elsewhere_is_told_of(store: ObjectStore, gate: Gate) -> None:
    for prefix, shard in (("missing", "model-00001-of-00001.safetensors"), ("elsewhere", "../secret.safetensors")):
        index = json.dumps({"weight_map": {"w": shard}})
        key = f"{prefix}/checkpoint-1/model.safetensors.index.json"
        store.client.put_object(Bucket=BUCKET, Key=key, Body=index)
        [fault] = discover(f"s3://runs/{prefix}").faults
        assert shard in str(fault)
        assert f"s3://runs/{key}" in str(fault)


def test_a_folder_that_is_not_there_and_a_file_are_no_directories(store: ObjectStore, gate: Gate) -> None:
    store.client.put_object(Bucket=BUCKET, Key="file/step_1.safetensors", Body=b"")
    with pytest.raises(NoCheckpoints, match="s3://runs/nothing does not exist"):
        discover("s3://runs/nothing")
    with pytest.raises(NoCheckpoints, match="is a file, not a directory"):
        discover("s3://runs/file/step_1.safetensors")


def test_files_are_dated_as_the_server_has_them(store: ObjectStore, gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    store.upload(tmp_path, BUCKET, "dated")
    head = store.client.head_object(Bucket=BUCKET, Key="dated/file")
    there = location("s3://runs/dated")
    assert modified(there / "file") == head["LastModified"].timestamp()
    assert modified(tmp_path / "file") == (tmp_path / "file").stat().st_mtime
    assert [exists(place / name) for place in (tmp_path, there) for name in ("file", "none")] == [True, False] * 2
    with pytest.raises(FileNotFoundError):
        modified(there / "none")


def test_copies_are_gone_afterwards(
    store: ObjectStore, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file({"w": torch.ones(3)}, tmp_path / "step_1.safetensors")
    store.upload(tmp_path, BUCKET, "copies")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    [checkpoint] = discover("s3://runs/copies")
    assert load_weights(checkpoint)["w"].sum() == 3
    with local_copy(checkpoint.path) as copy:
        assert list(temporary.rglob(copy.name))
    assert list(temporary.iterdir()) == []


def test_a_checkpoint_travels_small_and_without_credentials(store: ObjectStore, gate: Gate, tmp_path: Path) -> None:
    save_file({"w": torch.ones(3)}, tmp_path / "step_1.safetensors")
    store.upload(tmp_path, BUCKET, "travels")
    [checkpoint] = discover("s3://runs/travels")
    load_weights(checkpoint)
    travelling = pickle.dumps(checkpoint)
    assert len(travelling) < 600
    assert not any(value.encode() in travelling for value in KEYS.values())
    assert gate.url.encode() not in travelling
    assert content_hash(load_weights(pickle.loads(travelling))) == content_hash(load_weights(checkpoint))


SECRETS = [
    "s3://AKIAX:hush@bucket/run",
    "s3://AKIAX:hu/sh@bucket/run",
    "gs://hush@bucket/run",
    "sftp://me:hush@host/run",
    "https://host/run?X-Amz-Signature=hush",
    "az://container/run?sig=hush",
]


@pytest.mark.parametrize("url", SECRETS)
def test_a_url_with_credentials_is_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(StorageError, match="credentials in a URL") as caught:
        location(url)
    assert "hush" not in str(caught.value)
    assert "sh@" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("nope://bucket/run", "unknown kind"),
        ("s3://", "write for example s3://bucket/folder"),
        ("s3://bucket/../other", "write for example"),
        ("simplecache::s3://bucket/run", "write for example"),
    ],
)
def test_what_is_no_place_is_refused(url: str, part: str) -> None:
    with pytest.raises(StorageError, match=part):
        location(url)


def test_paths_stay_paths() -> None:
    for text in ("runs/a", "/runs/a", "a:b", "~/x", "file:///runs/a"):
        assert location(text) == Path(text.removeprefix("file://"))
    assert str(location("s3://bucket/a b/c")) == "s3://bucket/a b/c"


def test_a_missing_driver_names_what_to_install() -> None:
    try:
        import gcsfs  # noqa: F401
    except ImportError:
        with pytest.raises(StorageError, match=r"pip install 'slt-stages\[gcs\]'"):
            location("gs://bucket/run")
    else:
        assert location("gs://bucket/run").name == "run"


@pytest.fixture
def something(store: ObjectStore, tmp_path: Path) -> UPath:
    store.client.put_object(Bucket=BUCKET, Key="away/file", Body=b"content")
    return UPath("s3://runs/away/file")


UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("how", ["refused", "503", "hangs"])
def test_a_server_that_is_away_for_seconds_is_waited_for(
    store: ObjectStore, gate: Gate, something: UPath, tmp_path: Path, how: str
) -> None:
    listing(something.parent)  # a connection is open when the server goes
    gate.shut() if how != "hangs" else store.pause()
    if how == "503":
        gate.open(UNAVAILABLE)

    def come_back() -> None:
        if how == "hangs":
            store.go_on()
        else:
            gate.shut()
            gate.open()

    timer = threading.Timer(3.0, come_back)
    timer.start()
    began = time.monotonic()
    local = tmp_path / "local"
    local.write_bytes(b"new content")
    results = list(
        ahead(
            lambda act: act(),
            [
                lambda: listing(something.parent),
                lambda: fetch(something, tmp_path / "copy"),
                lambda: send(local, something.parent / "other"),
            ],
        )
    )
    timer.join()
    assert time.monotonic() - began > 2.5
    assert results[0]["file"] == 7
    assert (tmp_path / "copy").read_bytes() == b"content"
    assert store.read(BUCKET, "away/other") == b"new content"


@pytest.mark.parametrize("how", ["refused", "503", "hangs"])
def test_a_server_that_stays_away_is_one_sentence(
    store: ObjectStore, gate: Gate, something: UPath, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = server.PATIENCE  # that of users
    monkeypatch.setattr(server, "PATIENCE", 2.0)
    monkeypatch.setattr("estimators.storage.copies.STALL", 2.0)
    monkeypatch.setitem(server._ONE_TRY, "read_timeout", 2.0)
    server._driver.cache_clear()
    gate.shut() if how != "hangs" else store.pause()
    if how == "503":
        gate.open(UNAVAILABLE)
    try:
        for act in (lambda: listing(something.parent), lambda: send(Path(__file__), something)):
            began = time.monotonic()
            with pytest.raises(StorageError, match=r"s3://runs/away.* has not answered for 2 s") as caught:
                act()
            assert gate.url in str(caught.value)
            assert time.monotonic() - began < patience
    finally:
        store.go_on()


def test_a_server_that_was_given_up_is_not_waited_for_again_until_it_answers(
    gate: Gate, something: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PATIENCE", 4.0)
    gate.shut()

    def seconds_until_given_up() -> float:
        began = time.monotonic()
        with pytest.raises(StorageError, match="has not answered"):
            listing(something.parent)
        return time.monotonic() - began

    assert seconds_until_given_up() > 4
    assert seconds_until_given_up() < 3.5
    gate.open()
    assert "file" in listing(something.parent)
    gate.shut()
    assert seconds_until_given_up() > 4


def test_an_object_that_is_not_there_is_no_reason_to_wait(gate: Gate, tmp_path: Path) -> None:
    began = time.monotonic()
    fetch(UPath("s3://runs/no/such/object"), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert time.monotonic() - began < server.PATIENCE / 2


def test_results_that_are_fetched_ahead_keep_their_order_and_their_errors() -> None:
    def slowly(number: int) -> int:
        time.sleep(0.02 * (number % 3))
        if number == 7:
            raise StorageError("seven")
        return number

    results = ahead(slowly, range(10), 4)
    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(StorageError, match="seven"):
        next(results)
