"""A Ray cluster: reached or started, what its nodes can hold, and how large their cards are."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from slt.errors import BadInput

# Read by Ray when it is imported or started: no usage report, and no advice on settings printed between progress lines.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

SECONDS_TO_REACH = 10
SECONDS_TO_PROBE = 60
LOCAL = "local"
MODE = "RAY_AUTH_MODE"

LARGEST_PART = 8
"""Units that share a card at most: each holds a CUDA context of its own."""

CONTEXT_BYTES = 600 * 2**20
"""What a process takes of a card before it has put anything there."""


def connect(address: str | None, cores: int, user_code: Iterable[Path]) -> None:
    """Connect this process to a running cluster, or start a Ray of so many cores on this machine.

    The code of this project and of the user travels with it, so that all nodes run the same.

    Raises:
        BadInput: the cluster cannot be reached, or Ray cannot be started.
    """
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address and address != LOCAL:
        if at := _require_reachable(address):
            _agree_on_token(at)
        options |= {"address": address, "runtime_env": {"py_modules": _own_packages(user_code)}}
    else:
        options |= {"address": LOCAL, "num_cpus": cores, "include_dashboard": False}
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        _start(options)
        if main:  # Ray puts one of its own in place, which ends the process with a stack trace
            signal.signal(signal.SIGTERM, handler)
    except Exception as error:  # Ray raises Exception itself where its processes are late
        where = address or "on this machine"
        token = ", or the cluster's token in RAY_AUTH_TOKEN" if address else ""
        raise BadInput(
            f"Ray {where} cannot be used: {first_line(error)}; run with --serial, or check --address{token}"
        ) from None


def _start(options: Mapping[str, Any], tries: int = 3) -> None:
    """`ray.init`; again where a busy machine did not start Ray's processes in the 30 s that Ray allows them."""
    try:
        ray.init(**options)
    except Exception as error:
        if tries == 1 or "timed out during startup" not in str(error):
            raise
        ray.shutdown()
        _start(options, tries - 1)


def answers() -> bool:
    """Whether the head of the cluster that this process is connected to can be reached now."""
    if ray.util.client.ray.is_connected():  # Ray's client minds its own connection
        return True
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def slots(nodes: Sequence[Mapping[str, Any]], cpus: float, gpus: float) -> int:
    """Items of this shape that the living nodes hold at once; none is spread over nodes, and no part over cards.

    Args:
        nodes: as `ray.nodes()` gives them.
        cpus: cores of one item.
        gpus: cards of one item, whole or a fraction.
    """
    total = 0
    for node in nodes:
        if not node["Alive"]:
            continue
        has: Mapping[str, float] = node["Resources"]
        fits = [has.get("CPU", 0) // cpus] if cpus else []
        if gpus:
            cards = has.get("GPU", 0)
            fits.append(cards // gpus if gpus >= 1 else cards * math.floor(1 / gpus + 1e-6))
        total += int(min(fits))
    return total


def share_of_card(needed: int, card: int | None) -> float:
    """The share of a card that an item takes: one over a whole number, as Ray counts (in ten-thousandths).

    Args:
        needed: bytes that the item keeps busy there.
        card: bytes of the smallest card; None (not known) is taken as just large enough.
    """
    if card is None:
        return 1.0
    parts = min(LARGEST_PART, card // max(1, needed + CONTEXT_BYTES))
    return 1.0 if parts < 2 else math.floor(10_000 / parts) / 10_000


def smallest_card() -> int | None:
    """Bytes of the smallest card on the nodes that are up, 0 if none has a card, None if no node can tell."""
    probe = ray.remote(num_cpus=0, max_retries=0)(card_bytes)
    with_cards = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) > 0]
    if not with_cards:
        return 0
    asked = [
        probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
        for node in with_cards
    ]
    answered, _ = ray.wait(asked, num_returns=len(asked), timeout=SECONDS_TO_PROBE)
    sizes = []
    for reference in answered:
        try:
            sizes.append(ray.get(reference))
        except RayError:  # the node has gone meanwhile
            continue
    known = [size for size in sizes if size]
    return min(known) if known else None


def card_bytes() -> int | None:
    """Bytes of this machine's smallest card, from its driver's own tool, which takes no card to ask."""
    try:
        command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
        reply = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        return min(int(line) for line in reply.split()) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def first_line(error: BaseException) -> str:
    """What an error says first."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _require_reachable(address: str) -> str | None:
    """Ray itself waits minutes for a cluster that is not there; returns where the head listens, if that is known."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():  # "auto": Ray looks for the cluster on this machine
        return None
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_REACH).close()
    except OSError as error:
        reason = error.strerror or error
        raise BadInput(f"no Ray cluster answers at {address}: {reason}; check --address, or run without it") from None
    return None if address.startswith("ray://") else address


def _agree_on_token(address: str) -> None:
    """Show the token of Ray's own place for it to a cluster that asks for one, as `ray start` does, and to no other.

    A driver that shows one to a cluster without loses every unit, because no worker can report to it.

    Raises:
        BadInput: only one side has a token.
    """
    asked = _asks_for_token(address)
    if asked and MODE not in os.environ:
        with suppress(ImportError):  # as Ray itself does where it finds a cluster on this machine
            from ray._private.authentication.authentication_token_setup import (
                maybe_enable_token_auth_if_token_available,
            )

            logging.getLogger("ray").setLevel(logging.ERROR)
            maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    if asked != (os.environ.get(MODE, "").lower() == "token"):
        mode = os.environ.get(MODE, "not set")
        to_do = f"set {MODE}=token, and RAY_AUTH_TOKEN to the cluster's" if asked else f"unset {MODE}"
        raise BadInput(
            f"the Ray cluster at {address} asks for {'a' if asked else 'no'} token ({MODE} is {mode}); {to_do}"
        )


def _asks_for_token(address: str) -> bool:
    """Whether the head turns away a request that shows no token."""
    import grpc

    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")(b"", timeout=SECONDS_TO_REACH)
        except grpc.RpcError as error:
            return bool(error.code() == grpc.StatusCode.UNAUTHENTICATED)
    return False


def _own_packages(user_code: Iterable[Path]) -> list[str]:
    import estimators
    import slt
    import workers

    # Folders, not modules, which Ray cannot copy in a driver of Ray Jobs; there each package has a folder of its own.
    packages = [str(Path(package.__file__ or "").parent) for package in (slt, estimators, workers)]
    return [*packages, *(str(path) for path in user_code)]
