from __future__ import annotations

import subprocess
import sys

import pytest

import slt


def test_importing_slt_loads_neither_numpy_nor_scipy():
    code = "import sys, slt; print(sorted({'numpy', 'scipy', 'torch', 'ray', 'arviz_stats'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_comparing_and_detecting_load_neither_torch_nor_ray():
    code = "import sys; from slt import *; print(sorted({'torch', 'ray', 'scipy', 'arviz_stats'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", slt.__all__)
def test_each_public_name_is_where_the_package_says(name):
    assert getattr(slt, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        slt.nothing  # noqa: B018
