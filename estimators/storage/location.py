"""A place that a user names: a path of this machine, or the URL of something on object storage."""

from __future__ import annotations

import re
from pathlib import Path

import fsspec
from upath import UPath

from slt.errors import StorageError

Location = Path | UPath

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
_SECRET_IN_QUERY = re.compile(r"[?&](x-amz-\w+|awsaccesskeyid|signature|sig|token|password|secret|key)=", re.IGNORECASE)


def location(text: str | Location) -> Location:
    """The place that a user named.

    Raises:
        StorageError: a URL that holds credentials, of an unknown kind, without a bucket, or whose driver is missing.
    """
    if isinstance(text, Path | UPath):
        return text
    protocol, mark, rest = text.partition("://")
    if not mark or not re.fullmatch(r"[a-z][a-z0-9+.:-]*", protocol):
        return Path(text)
    if protocol in ("file", "local"):
        return Path(rest)
    authority = rest.partition("/")[0]
    held = ":" in authority.rpartition("@")[0] or _SECRET_IN_QUERY.search(rest)
    if protocol in _EXTRAS and not authority.startswith("arn:"):  # a bucket's name has neither sign
        held = held or re.search("[@:]", authority)
    if held:
        raise StorageError(
            f"credentials in a URL ({protocol}://...) are refused, for URLs are kept and shown; leave them out, and "
            f"set them in the environment of every node, for example AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if not authority or "::" in text or ".." in rest.split("/"):
        raise StorageError(f"'{text}' is not the URL of a place; write for example {protocol}://bucket/folder")
    _require_driver(protocol, text)
    return UPath(text)


def _require_driver(protocol: str, url: str) -> None:
    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError:
        raise StorageError(f"'{url}' is of an unknown kind; known are s3://, gs:// and what fsspec lists") from None
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        remedy = f"pip install 'slt-stages[{extra}]'" if extra else str(error)
        raise StorageError(f"{url} needs a driver that is not installed here; {remedy}") from None
