"""Settings that cannot be used are refused by name."""

from __future__ import annotations

import pytest

from estimators import SamplerConfig
from slt.errors import JobError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step_size": 0.0}, "step_size is 0.0; it must be above 0"),
        ({"step_size": float("nan")}, "step_size is nan"),
        ({"n_beta": -1.0}, "n_beta is -1.0"),
        ({"step_size": "1e-3"}, "step_size is '1e-3'; it must be a number from 0"),
        ({"n_beta": 1e300}, r"n_beta is 1e\+300; it must be a number from 0 to 1e\+18"),
        ({"localization": float("inf")}, "localization is inf"),
        ({"chains": 0}, "chains is 0"),
        ({"draws": 2.5}, "draws is 2.5"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"engine": "batch"}, "did you mean 'batched'"),
        ({"kernel": "sgdl"}, "did you mean 'sgld'"),
        ({"dtype": "float16"}, "choose float32 or float64 or bfloat16"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(JobError, match=message):
        SamplerConfig(**({"step_size": 1e-3, "n_beta": 20.0, "localization": 10.0} | changes))
