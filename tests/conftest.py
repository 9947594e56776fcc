"""One thread for torch: tests share their cores with each other, and tiny problems run faster so.

On CI hypothesis draws the same examples every time: what it has not seen yet is looked for at people's desks.
"""

from __future__ import annotations

import os

import torch
from hypothesis import settings

torch.set_num_threads(1)
# Ray lowers its workers' priority by 15: the tests that run beside them would leave them no time at all.
os.environ.setdefault("RAY_worker_niceness", "0")
# A token in this user's home, where Ray leaves one, must not matter. Tests of tokens bring a home of their own.
os.environ["RAY_AUTH_MODE"] = "disabled"
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
