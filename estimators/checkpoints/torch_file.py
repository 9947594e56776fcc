"""One file of `torch.save` is one checkpoint: a state dict, or a dict with one inside. No code in it is ever run."""

from __future__ import annotations

import argparse
import codecs
import pickle
import re
import threading
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from estimators.checkpoints.format import Claim, Contents
from estimators.checkpoints.step_names import step_from_values
from estimators.storage import Location
from slt.errors import UnreadableCheckpoint

NAME = "torch"

_SUFFIXES = (".pt", ".pth", ".ckpt")
_WEIGHT_KEYS = ("model", "state_dict", "model_state_dict", "model_state", "module", "net", "params", "weights")

_NUMPY_SCALAR, _NUMPY_ARRAY = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
# Plain values that training loops save beside the weights (a best loss, the arguments); none of them runs code.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    codecs.encode,
    np.dtype,
    np.ndarray,
    *(type(np.dtype(name)) for name in ("float32", "float64", "int32", "int64", "bool")),
    _NUMPY_SCALAR,
    _NUMPY_ARRAY,
    (_NUMPY_SCALAR, "numpy.core.multiarray.scalar"),  # the names before numpy 2
    (_NUMPY_ARRAY, "numpy.core.multiarray._reconstruct"),
]

_ONE_AT_A_TIME = threading.Lock()
"""torch keeps its list of harmless types for the whole process."""


def claims(folder: Location, names: Sequence[str]) -> list[Claim]:
    """Every .pt, .pth and .ckpt file, and Hugging Face's older pytorch_model.bin."""
    wanted = [name for name in names if name.endswith(_SUFFIXES) or name == "pytorch_model.bin"]
    return [Claim(folder / name, frozenset([name])) for name in wanted]


def parts(path: Path) -> Sequence[str]:
    """None: it is one file."""
    return ()


def examine(path: Path) -> Contents:
    """Unpickle with the tensors left on disk, where the file allows it."""
    saved = _load(path)
    values = saved if isinstance(saved, Mapping) else {}
    not_weights = "" if _state_dict(saved) else f"{path} holds no state dict, only {_describe(saved)}"
    return Contents(step_from_values(values), path.stat().st_size, not_weights)


def read(path: Path) -> dict[str, Tensor]:
    """The state dict inside; what else it holds (an extra state of no tensors) is left out."""
    saved = _load(path)
    weights = _state_dict(saved)
    if not weights:
        raise UnreadableCheckpoint(
            f"{path} holds no state dict, only {_describe(saved)}. "
            f"Save the model's state_dict(), alone or under one of the keys {', '.join(_WEIGHT_KEYS[:4])}"
        )
    return weights


def _load(path: Path) -> Any:
    if path.stat().st_size == 0:
        raise UnreadableCheckpoint(f"{path} is empty (0 bytes). Save it again, or move it out of the directory")
    try:
        with _ONE_AT_A_TIME, torch.serialization.safe_globals(_HARMLESS):
            # Only torch's zip format can be memory-mapped; the one before torch 1.6 is a bare pickle.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise _unsafe_or_broken(path, str(error)) from None
    except Exception as error:  # torch raises whatever a damaged file makes its reader stumble on
        raise _broken(path, str(error)) from None


def _unsafe_or_broken(path: Path, message: str) -> UnreadableCheckpoint:
    found = re.search(r"[Uu]nsupported (?:global: )?(?:GLOBAL|class) ([\w.]+)", message)
    if not found:
        return _broken(path, "its pickle is damaged")
    return UnreadableCheckpoint(
        f"{path} is a pickle that needs '{found[1]}' to be imported and run, which is not safe, so it was not read. "
        f"If you trust it, convert it where it was written: saved = torch.load('{path.name}', weights_only=False), "
        f"then torch.save(saved.state_dict(), ...), or of the model in it"
    )


def _broken(path: Path, message: str) -> UnreadableCheckpoint:
    reason = message.strip().split("\n")[0].split(". ")[0] or "it ends early"
    return UnreadableCheckpoint(
        f"{path} is cut short or is not a torch file ({path.stat().st_size:,} bytes; {reason}). "
        f"Copy or save it again, or move it out of the directory"
    )


def _state_dict(saved: Any) -> dict[str, Tensor]:
    """The state dict itself, or under a usual key, or under the only key that holds one; {} if there is none."""
    if not isinstance(saved, Mapping):
        return {}
    if _is_state_dict(saved):
        return _tensors(saved)
    for key in _WEIGHT_KEYS:
        if _is_state_dict(saved.get(key)):
            return _tensors(saved[key])
    nested = [value for key, value in saved.items() if _is_state_dict(value)]
    return _tensors(nested[0]) if len(nested) == 1 else {}


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(_tensors(value))
        and all(isinstance(key, str) for key in value)
        and all(isinstance(item, Tensor) or str(key).endswith("_extra_state") for key, item in value.items())
    )


def _tensors(value: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {str(key): item for key, item in value.items() if isinstance(item, Tensor)}


def _describe(saved: Any) -> str:
    if isinstance(saved, Mapping):
        return "the keys " + ", ".join(str(key) for key in list(saved)[:8])
    return f"a {type(saved).__name__}"
