"""The job file: what `slt run` reads. Every wrong key or value is one sentence, before anything is computed.

name: grokking
checkpoints: runs/grokking          # paths are relative to the current directory
problem: modular_addition           # built-in, or package.module:function
problem_args: {p: 53}
sampler: {step_size: 3e-4, n_beta: 10, localization: 5}   # each may be auto; without this line all are
measures: [loss, weight_norm, sparsity]
refinements: {embedding: {parameters: ["embedding.*"]}, test: {data: test}}     # LLCs of a part, on other data
events: runs/grokking/events.csv
out: results/grokking
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError
from upath import UPath

from estimators.storage import Location, location, read_from
from slt.errors import BadInput, JobError, StorageError
from slt.sensitivity import DEFAULT, probability_for
from workers.job_words import sentence

if TYPE_CHECKING:
    from estimators.llc import SamplerConfig

Auto = Literal["auto"]
POSTERIOR = ("step_size", "n_beta", "localization")
PLACES = ("checkpoints", "events", "out")
"""Keys that name files and folders."""
MOST_SENTENCES = 10


def _place(value: Any) -> Location:
    if not isinstance(value, str | Path | UPath):
        raise PydanticCustomError("path_type", "not a path")
    try:
        return location(value)
    except StorageError as error:
        raise ValueError(str(error)) from None


Place = Annotated[
    Path | UPath,
    PlainValidator(_place),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "format": "path"}),
]
"""A path, or a URL such as s3://bucket/run."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SamplerSettings(_Section):
    """`estimators.SamplerConfig` as a job file writes it; the device comes from `resources`.

    What is auto is chosen by calibration. Left out, step_size, n_beta and localization are auto; draws and burn_in are
    auto if one of those is, and otherwise 300 after 100.
    """

    step_size: float | Auto = "auto"
    n_beta: float | Auto = "auto"
    localization: float | Auto = "auto"
    kernel: str = "sgld"
    chains: int = 4
    draws: int | Auto = 300
    burn_in: int | Auto = 100
    batch_size: int | None = 256
    seed: int = 0
    reference: str = "labels"
    dtype: str = "float32"
    engine: str = "auto"
    steps_between_draws: int = 1

    @model_validator(mode="before")
    @classmethod
    def _length_follows(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and any(given.get(name, "auto") == "auto" for name in POSTERIOR):
            return {"draws": "auto", "burn_in": "auto"} | dict(given)
        return given

    @property
    def automatic(self) -> frozenset[str]:
        """Names of the settings that calibration chooses."""
        return frozenset(name for name, value in self.model_dump().items() if value == "auto" and name != "engine")

    def resolve(self, device: str, chosen: Mapping[str, float] | None = None) -> SamplerConfig:
        """The sampler's settings, with `chosen` in the place of what is automatic, or numbers that mean nothing yet.

        Raises:
            JobError: a value outside its range.
        """
        from estimators.llc import SamplerConfig

        given = {name: value for name, value in self.model_dump().items() if name not in self.automatic}
        unknown = {"step_size": 1.0, "n_beta": 1.0, "localization": 1.0, "draws": 300, "burn_in": 100}
        fill: dict[str, Any] = {name: (chosen or unknown)[name] for name in self.automatic}
        return SamplerConfig(**given, **fill, device=device)


class StageSettings(_Section):
    """How the detector reads the trajectory."""

    axis: Literal["log", "linear"] = "log"
    draws: Annotated[int, Field(ge=50)] = 400
    seed: Annotated[int, Field(ge=0)] = 0
    false_boundaries: float | None = None

    @property
    def probability(self) -> float:
        """From which a boundary is first class."""
        return DEFAULT if self.false_boundaries is None else probability_for(self.false_boundaries)

    @model_validator(mode="after")
    def _sensitivity_is_calibrated(self) -> StageSettings:
        try:
            _ = self.probability
        except BadInput as error:
            raise ValueError(f"false_boundaries: {error}") from None
        return self


class RefinementSettings(_Section):
    """A refined LLC beside the job's own: of a part of the weights, on other data, or both."""

    parameters: tuple[str, ...] = ()
    data: str | None = None

    @model_validator(mode="after")
    def _refines(self) -> RefinementSettings:
        if not self.parameters and self.data is None:
            raise ValueError("it refines nothing; give parameters, for example ['*.attn.*'], or data, or both")
        return self


class Resources(_Section):
    """What one unit of work may use, and how many checkpoints it holds ("auto": about 10 to 20 units a job).

    `gpus: auto` is the share of a card that the model's measured memory asks for, and none where no node has a card;
    `unit_seconds` is a unit's time limit ("auto": none).
    """

    device: str = "auto"
    cpus: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[float, Field(ge=0)] | Auto = 0.0
    checkpoints_per_unit: int | Auto = "auto"
    unit_seconds: Annotated[float, Field(gt=0)] | Auto = "auto"

    @model_validator(mode="after")
    def _device_is_granted(self) -> Resources:
        if self.device.startswith("cuda") and self.gpus == 0:
            raise ValueError(f"device is {self.device} but gpus is 0; set resources.gpus, or device: cpu")
        if self.device == "cpu" and self.gpus != 0:
            given = self.gpus if self.gpus == "auto" else f"{self.gpus:g}"
            raise ValueError(f"gpus is {given} but device is cpu; set device: cuda, or gpus: 0")
        if self.gpus != "auto" and self.gpus > 1 and self.gpus % 1:
            raise ValueError(f"gpus is {self.gpus}; above 1 it is a whole number, for no part is spread over cards")
        if self.checkpoints_per_unit != "auto" and self.checkpoints_per_unit < 1:
            raise ValueError(f"checkpoints_per_unit is {self.checkpoints_per_unit}; it must be at least 1, or auto")
        return self


class JobConfig(_Section):
    """One job. Relative paths are meant from the current directory, so that a job file can be moved."""

    name: Annotated[str, Field(pattern=r"^[\w-][\w.-]*$")]
    checkpoints: Place
    problem: str
    problem_args: dict[str, Any] = {}
    sampler: SamplerSettings = SamplerSettings.model_validate({})
    measures: tuple[str, ...] = ("loss", "weight_norm", "sparsity")
    refinements: dict[str, RefinementSettings] = {}
    events: Place | None = None
    stages: StageSettings = StageSettings()
    resources: Resources = Resources()
    out: Place

    @model_validator(mode="after")
    def _columns_are_distinct(self) -> JobConfig:
        for name in self.refinements:
            if not re.fullmatch(r"[A-Za-z]\w*", name) or re.search(r"_(std_error|low|high|chain_\d+)$", name):
                raise ValueError(
                    f"refinement '{name}' names columns such as llc_{name} and llc_{name}_std_error; use letters, "
                    f"digits and '_', a letter first and no such ending"
                )
        return self


def read_job(
    path: Location,
    overrides: Sequence[str] = (),
    out: Location | None = None,
    checkpoints: Location | None = None,
) -> JobConfig:
    """Read a job file, apply `--set` overrides, then check every key and value.

    Args:
        path: the YAML file; `name` defaults to its stem and `out` to `results/<name>`.
        overrides: `dotted.key=value` texts, the value in YAML.
        out: replaces the job's own `out`.
        checkpoints: replaces the job's own `checkpoints`.

    Raises:
        JobError: no such file, not YAML, an unknown key (the nearest valid one is named), a wrong
            value, or an impossible combination.
    """
    settings = read_settings(path, overrides)
    settings.setdefault("out", f"results/{settings['name']}")
    if out is not None:
        settings["out"] = str(out)
    if checkpoints is not None:
        settings["checkpoints"] = str(checkpoints)
    try:
        return check_job(settings)
    except JobError as error:
        raise JobError(f"{error} (in {path})") from None


def read_settings(path: Location, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The keys and values of a job file with `--set` overrides, not checked yet; `name` defaults to its stem.

    Raises:
        JobError: no such file, not YAML, or an override that is none.
    """
    settings = read_mapping(path, "checkpoints: DIR")
    settings.pop("versions", None)  # the job.yaml of a job folder can be run again
    for override in overrides:
        _apply(settings, override)
    settings.setdefault("name", path.stem)
    return settings


def check_job(settings: Mapping[str, Any]) -> JobConfig:
    """A job from plain data, every key and value checked.

    Raises:
        JobError: an unknown key, a wrong value or an impossible combination, all of them in one sentence.
    """
    try:
        return JobConfig.model_validate(settings)
    except ValidationError as error:
        raise JobError("; ".join(sentence(detail, JobConfig) for detail in error.errors()[:MOST_SENTENCES])) from None


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers: `1e-4` is a float, where YAML 1.1 reads a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)$"), list("-+.0123456789")
)


def parse_yaml(text: str) -> Any:
    """Plain data from YAML text; `1e-4` is a number."""
    return yaml.load(text, Loader=_Loader)


def parse_assignment(text: str) -> tuple[str, Any]:
    """Split `dotted.key=value`, the value read as YAML.

    Raises:
        JobError: no `=`, no key, or a value that is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise JobError(f"'{text}' is not key=value; write for example --set sampler.chains=8")
    try:
        return key.strip(), parse_yaml(value)
    except yaml.YAMLError:
        raise JobError(f"the value of '{text}' is not YAML; quote it, for example --set 'name=\"a: b\"'") from None


def read_mapping(path: Location, example: str) -> dict[str, Any]:
    """A YAML file of keys and values.

    Args:
        path: the file.
        example: a key and a value that such a file may have, for the message.

    Raises:
        JobError: no such file, not YAML, or something else in it.
    """
    try:
        settings = parse_yaml(read_from(path, lambda file: file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise JobError(f"no such job file: {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        raise JobError(f"{path} is not YAML{line}: {getattr(error, 'problem', error)}") from None
    if not isinstance(settings, dict):
        raise JobError(f"{path} holds {type(settings).__name__}, not a mapping of keys such as '{example}'")
    return settings


def _apply(settings: dict[str, Any], override: str) -> None:
    key, value = parse_assignment(override)
    *sections, last = key.split(".")
    for section in sections:
        settings = settings.setdefault(section, {})
        if not isinstance(settings, dict):
            raise JobError(f"--set {override}: '{section}' is not a section of the job file")
    settings[last] = value


def code_references(job: JobConfig) -> list[str]:
    """Every `package.module:function` that running the job would import, wherever it stands in the job file."""
    found: list[str] = []

    def look(value: Any) -> None:
        if isinstance(value, Mapping):
            for part in value.values():
                look(part)
        elif isinstance(value, list):
            for part in value:
                look(part)
        elif isinstance(value, str) and re.fullmatch(r"[^\W\d][\w.]*:[^\W\d]\w*", value):
            found.append(value)

    look({name: value for name, value in as_plain(job).items() if name not in ("name", "problem_args", *PLACES)})
    return list(dict.fromkeys(found))


def as_plain(job: JobConfig) -> Mapping[str, Any]:
    """The job as plain data for YAML and JSON, defaults resolved."""
    return job.model_dump(mode="json")
