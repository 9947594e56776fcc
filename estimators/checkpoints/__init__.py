"""A directory of checkpoints: `discover` it, then read its weights. One file per format; see `format.py`."""

from estimators.checkpoints.discovery import discover
from estimators.checkpoints.sequence import Checkpoint, CheckpointSequence
from estimators.checkpoints.weights import check_fits, content_hash, fit_names, load_fitting, load_weights

__all__ = [
    "Checkpoint",
    "CheckpointSequence",
    "check_fits",
    "content_hash",
    "discover",
    "fit_names",
    "load_fitting",
    "load_weights",
]
