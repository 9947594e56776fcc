"""A real S3 server in a process of its own, and a gate in front of it that can be shut, for tests."""

from __future__ import annotations

import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLEOFTESTS", "AWS_SECRET_ACCESS_KEY": "s3cr3t-0f-the-tests"}
PATIENCE = 300.0


class ObjectStore:
    """`moto_server`: speaks S3 over HTTP and keeps objects in memory; its log has one line per request."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "server.log"
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", self._log.read_text())):
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, "the S3 server does not start"
            time.sleep(0.1)
        self.port = int(found[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = self.client_of(**KEYS)

    def client_of(self, **keys: str) -> Any:
        """A boto3 client: what is on the server is looked at by other code than ours."""
        return self._client("s3", keys)

    def _client(self, service: str, keys: dict[str, str]) -> Any:
        import boto3

        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        )

    def upload(self, folder: Path, bucket: str, prefix: str) -> None:
        """Put a folder's files into a bucket, which is made if it is not there."""
        self.client.create_bucket(Bucket=bucket)
        for path in folder.rglob("*"):
            if path.is_file():
                self.client.upload_file(str(path), bucket, f"{prefix}/{path.relative_to(folder).as_posix()}")

    def read(self, bucket: str, key: str) -> bytes:
        """One object."""
        return bytes(self.client.get_object(Bucket=bucket, Key=key)["Body"].read())

    def names(self, bucket: str, prefix: str = "") -> list[str]:
        """All keys."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def requests(self) -> list[str]:
        """Method and path of every request so far."""
        return re.findall(r'"((?:GET|PUT|POST|HEAD|DELETE) \S+) HTTP', self._log.read_text())

    def user_who_may(self, *actions: str) -> dict[str, str]:
        """Keys of a new user who may do this and nothing else; from then on the server asks who one is."""
        import json

        administration = self._client("iam", KEYS)
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        administration.create_user(UserName="guest")
        administration.put_user_policy(UserName="guest", PolicyName="guest", PolicyDocument=document)
        key = administration.create_access_key(UserName="guest")["AccessKey"]
        asked_from_now_on = urllib.request.Request(
            f"{self.url}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(asked_from_now_on).close()
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    def pause(self) -> None:
        """Connections are accepted, by the kernel, and nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.go_on()
        self.process.kill()
        self.process.wait()


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    store = ObjectStore(folder)
    try:
        yield store
    finally:
        store.close()


class Gate:
    """A TCP proxy on a port of its own. Shut, connections to it are refused, as when the server's process is dead."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._server: socketserver.ThreadingTCPServer | None = None
        self._connections: set[socket.socket] = set()
        self._answer = b""
        self.received = 0  # bytes that came from the server
        self.port = 0
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self, answer: bytes = b"") -> None:
        """Let everything through, or give everybody the same answer."""
        gate = self

        class Passage(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                gate._pass(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._answer = answer
        self._server = Server(("127.0.0.1", self.port), Passage)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def shut(self) -> None:
        """Refuse connections, and cut those that are there."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _pass(self, client: socket.socket) -> None:
        if self._answer:
            with suppress(OSError):
                client.recv(65536)
                client.sendall(self._answer)
            return
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._behind)) as server:
            self._connections |= {client, server}
            back = threading.Thread(target=_pump, args=(server, client, self._count), daemon=True)
            back.start()
            _pump(client, server)
            back.join()
        self._connections.discard(client)

    def _count(self, size: int) -> None:
        self.received += size


def _pump(source: socket.socket, target: socket.socket, count: Callable[[int], None] = lambda size: None) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            count(len(data))
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def environment(url: str, keys: dict[str, str] | None = None) -> dict[str, str]:
    """This process's environment with a way to the server, and nobody else's credentials."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    return plain | nowhere | {"AWS_ENDPOINT_URL": url, "AWS_EC2_METADATA_DISABLED": "true"} | (keys or {})
