"""The server behind a place: asked again while it is away, and its refusals put into a sentence."""

from __future__ import annotations

import errno
import logging
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

import fsspec
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential_jitter,
)
from upath import UPath

from slt.errors import StorageError

PATIENCE = 60.0
"""Seconds for which a server that does not answer is asked again."""
STALL = 20.0
"""Seconds without an answer after which one request is given up."""

_ONE_TRY = {"retries": {"total_max_attempts": 1}, "connect_timeout": STALL / 2, "read_timeout": STALL}
# Lists are asked for anew: training writes while we look. How often to try is decided here and not also inside.
_OPTIONS: Mapping[str, dict[str, Any]] = {
    "s3": {"use_listings_cache": False, "config_kwargs": _ONE_TRY},
    "gs": {"use_listings_cache": False},
}

_FULL = (errno.ENOSPC, errno.EDQUOT)
_HOPELESS = {errno.EINVAL, errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EMSGSIZE, errno.ENAMETOOLONG, errno.EROFS}
_HOPELESS |= {*_FULL, getattr(errno, "EREMCHG", errno.EINVAL)}  # the bucket is in another region
# By name: the drivers are optional, and each has exceptions of its own.
_PASSING = {"ConnectionError", "HTTPClientError", "ClientConnectionError", "ClientPayloadError", "IncompleteRead"}
_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "DefaultCredentialsError"}
_DRIVERS_OWN = {"BotoCoreError", "ClientError", "HttpError", "GoogleAuthError", "ValueError"}

# Kinds of places whose server was given up: it is asked once more, and not for another minute, until it answers.
_given_up: set[str] = set()

Result = TypeVar("Result")
log = logging.getLogger("slt")


@cache
def _driver(protocol: str) -> Any:
    """One for all threads; its credentials are those of this process's environment."""
    options = _OPTIONS.get({"s3a": "s3", "gcs": "gs"}.get(protocol, protocol), {})
    files = fsspec.filesystem(protocol, skip_instance_cache=True, **options)
    if "config_kwargs" in options:
        files.retries = 1
    return files


def reach(place: UPath, act: Callable[[Any], Result]) -> Result:
    """Do something with a place's driver, again and again while its server is away.

    Raises:
        FileNotFoundError: there is no such object.
        StorageError: it was away for too long, or refuses.
    """

    def tell(state: RetryCallState) -> None:
        if state.attempt_number == 3 and state.outcome:
            reason = _first_line(state.outcome.exception())
            log.warning("%s does not answer (%s); asking again for up to %.0f s", place, reason, PATIENCE)

    persistent = Retrying(
        retry=retry_if_exception(_may_pass),
        wait=wait_exponential_jitter(multiplier=0.25, max=5.0, jitter=0.5),
        stop=stop_after_attempt(1) if place.protocol in _given_up else stop_after_delay(PATIENCE),
        before_sleep=tell,
        reraise=True,
    )
    try:
        result = persistent(lambda: act(_driver(place.protocol)))
        _given_up.discard(place.protocol)
        return result
    except FileNotFoundError as error:
        if not _is_about_the_bucket(error):
            raise
        raise StorageError(f"no bucket for {place}{_endpoint()}; create it, or correct the URL") from None
    except Exception as error:
        if not isinstance(error, OSError) and not _names(error) & (_DRIVERS_OWN | _PASSING):
            raise
        (_given_up.add if _may_pass(error) else _given_up.discard)(place.protocol)
        raise StorageError(_refusal(place, error)) from None


def _is_about_the_bucket(error: FileNotFoundError) -> bool:
    answer = getattr(error.__cause__, "response", {})
    return answer.get("Error", {}).get("Code") == "NoSuchBucket" or "bucket does not exist" in str(error)


def _refusal(place: UPath, error: Exception) -> str:
    reason = _first_line(error)
    if _names(error) & _NO_CREDENTIALS:
        return (
            f"no credentials for {place} on this machine ({reason}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            f"or AWS_PROFILE, or what its driver reads, in the environment of every node"
        )
    if isinstance(error, PermissionError):
        return f"{place} is denied ({reason}); permit it to the credentials of this machine, or set others"
    if _may_pass(error):
        return (
            f"{place} has not answered for {PATIENCE:.0f} s ({reason}); check the network and the address of its "
            f"server{_endpoint()}, and run again: what is finished is kept"
        )
    if isinstance(error, OSError) and error.errno in _FULL:
        return f"no room for a copy of {place} in {tempfile.gettempdir()}; make room, or set TMPDIR"
    return f"{place} cannot be used ({reason}); correct the URL or the settings of its server{_endpoint()}"


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, FileNotFoundError | PermissionError | FileExistsError | IsADirectoryError):
        return False
    if isinstance(error, OSError):
        return error.errno not in _HOPELESS
    return bool(_names(error) & _PASSING)


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _first_line(error: BaseException | None) -> str:
    line = (str(error).strip().splitlines() or [""])[0] or "no answer in time"
    return re.sub(r"//[^/@\s\"]*@", "//", re.sub(r"\?[^\s\"]*", "", line))


def _endpoint() -> str:
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return f" (AWS_ENDPOINT_URL is {_first_line(ValueError(url))})" if url else ""
