"""One thread for torch: tests share their cores with each other, and tiny problems run faster so."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
