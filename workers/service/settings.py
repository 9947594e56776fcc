"""What a service may do: where it listens, what jobs may read, how many run. From options, a YAML file, or both.

folder: /srv/slt                     # jobs/, index.sqlite, token
roots: [/data/runs, s3://team/runs]  # checkpoints and events of jobs lie in these, and nowhere else
modules: [my_problem]                # a job's problem is built in, or of one of these modules
address: http://head:8265            # a cluster; without it a Ray of its own on this machine
max_running: 8
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from slt.errors import JobError

DEFAULT_FOLDER = Path("~/.slt/service")
DEFAULT_PORT = 8420
ADDRESS = "address"
"""File in the folder of a running service: where it listens, for the commands on this machine."""
REMOTE = re.compile(r"^[a-z][a-z0-9+.-]*://")


class Settings(BaseModel):
    """Settings of one service.

    Attributes:
        folder: where jobs, index and token are kept. Every node that runs a driver must see it.
        host, port: where it listens; port 0 takes a free one.
        roots: folders and `s3://` or `gs://` prefixes that checkpoints and events must lie in, links resolved.
        modules: modules (and all below them) of problems that are not built in, or `module:function`. Of a module
            each function can be called with a job's own arguments, those that it has imported from elsewhere too.
        module_folder: where these modules are imported from.
        address: of a cluster's Ray Jobs; None starts a Ray on this machine.
        max_running: jobs at once; the others wait, PENDING.
        max_waiting: submissions beyond so many waiting jobs are refused with 429.
        max_attempts: how often a job whose driver vanished without a word is started again.
        max_body_bytes: of one request.
        no_token: everybody who reaches it may do everything; only where nobody else can reach it.
        allowed_hosts: names besides its own under which browsers reach it, such as a proxy's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path = DEFAULT_FOLDER
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = DEFAULT_PORT
    roots: tuple[str, ...] = (".",)
    modules: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?$")], ...] = ()
    module_folder: Path = Path(".")
    address: Annotated[str, Field(pattern=r"^https?://")] | None = None
    max_running: Annotated[int, Field(ge=1)] = 4
    max_waiting: Annotated[int, Field(ge=1)] = 10_000
    max_attempts: Annotated[int, Field(ge=1)] = 3
    max_body_bytes: Annotated[int, Field(ge=1_000)] = 1_000_000
    no_token: bool = False
    allowed_hosts: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _open_to_nobody_else(self) -> Settings:
        if self.no_token and not is_loopback(self.host):
            raise ValueError(f"no_token is set but host is {self.host}; without a token bind to 127.0.0.1 alone")
        return self

    @property
    def jobs(self) -> Path:
        """The folder that holds one folder for each job."""
        return self.folder / "jobs"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def make_settings(document: dict[str, Any], source: str) -> Settings:
    """Check every key and value; folders become absolute, links resolved.

    Raises:
        JobError: an unknown key or a wrong value, in one sentence.
    """
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        sentences = []
        for detail in error.errors():
            where = ".".join(str(part) for part in detail["loc"])
            message = detail["msg"].removeprefix("Value error, ")
            if detail["type"] == "extra_forbidden":
                sentences.append(f"unknown key '{where}'; valid keys are {', '.join(Settings.model_fields)}")
            else:
                sentences.append(f"{where}: {message}" if where else message)
        raise JobError(f"{'; '.join(sentences)} (in {source})") from None
    roots = tuple(root if REMOTE.match(root) else str(Path(root).expanduser().resolve()) for root in settings.roots)
    resolved = {"folder": settings.folder, "module_folder": settings.module_folder}
    return settings.model_copy(
        update={"roots": roots} | {name: path.expanduser().resolve() for name, path in resolved.items()}
    )
