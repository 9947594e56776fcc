"""Places on this machine or on object storage: `s3://`, `gs://`, whatever fsspec has a driver for.

Remote files are read through local copies, by the same code as local ones, and written by sending a local file: an
object appears whole or not at all. A server that is away for a while is waited for. Credentials come from the
environment, as the driver finds them, and never from a URL, so that a place can be printed, pickled and kept.
"""

from estimators.storage.copies import (
    COPIES_AT_ONCE,
    ahead,
    chunks_ahead,
    exists,
    fetch,
    fetch_outline,
    in_order,
    listing,
    local_copy,
    modified,
    original_names,
    read_from,
    remove,
    send,
    walk,
)
from estimators.storage.location import Location, location

__all__ = [
    "COPIES_AT_ONCE",
    "Location",
    "ahead",
    "chunks_ahead",
    "exists",
    "fetch",
    "fetch_outline",
    "in_order",
    "listing",
    "local_copy",
    "location",
    "modified",
    "original_names",
    "read_from",
    "remove",
    "send",
    "walk",
]
