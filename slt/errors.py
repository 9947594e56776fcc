"""Everything that can go wrong, in one tree.

    SltError
    ├── BadInput                  what the user gave cannot be used; the command line exits with 2
    │   ├── JobError              the job file: unknown key, impossible combination
    │   ├── ProblemError          the problem cannot be imported, built or evaluated
    │   ├── CheckpointError       a checkpoint directory or file cannot be used
    │   │   ├── NoCheckpoints     nothing recognised in the directory
    │   │   ├── UnreadableCheckpoint   truncated, not a checkpoint, or not safe to read
    │   │   ├── CheckpointMismatch     names or shapes do not fit the problem's model
    │   │   ├── NonFiniteWeights       a NaN or an infinity among the weights
    │   │   └── DuplicateStep          two files claim one step
    │   ├── TrajectoryError       a trajectory table cannot be read, or is too short
    │   ├── EventsError           an events file cannot be read
    │   ├── NodeError             a node of the cluster lacks what the work needs: a path, this version of the code
    │   ├── StorageError          object storage does not answer, or refuses
    │   └── OutputError           results cannot be written: full disk, unwritable folder
    └── ItemFailed                one unit of work failed while the others went on; exit code 1

Messages have one form: what is wrong, the value, where, and what to do.
"""


class SltError(Exception):
    """Base of every error that this project raises on purpose."""


class BadInput(SltError):
    """What the user gave cannot be used; nothing was computed or lost."""


class JobError(BadInput):
    """The job file has an unknown key or an impossible combination."""


class ProblemError(BadInput):
    """The problem cannot be imported, built or evaluated."""


class CheckpointError(BadInput):
    """A checkpoint directory or file cannot be used."""


class NoCheckpoints(CheckpointError):
    """Nothing in the directory was recognised as a checkpoint."""


class UnreadableCheckpoint(CheckpointError):
    """The file is truncated, is not a checkpoint, or is not safe to read."""


class CheckpointMismatch(CheckpointError):
    """Parameter names or shapes do not fit the problem's model."""


class NonFiniteWeights(CheckpointError):
    """A NaN or an infinity stands among the weights."""


class DuplicateStep(CheckpointError):
    """Two files claim the same training step."""


class TrajectoryError(BadInput):
    """A trajectory table cannot be read, or is too short for what was asked."""


class EventsError(BadInput):
    """An events file cannot be read."""


class NodeError(BadInput):
    """A node of the cluster lacks what the work needs: a path that others see, or this version of the code."""


class StorageError(BadInput):
    """Object storage does not answer, or refuses, or cannot be meant."""


class OutputError(BadInput):
    """Results cannot be written: the disk is full or the folder is not writable."""


class ItemFailed(SltError):
    """One unit of work failed while the others went on."""
