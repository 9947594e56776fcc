"""The documentation's code runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from slt.trajectory import Floats
from workers.job import JobConfig, Resources, SamplerSettings, StageSettings

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    return [code for kind, code in FENCE.findall((ROOT / page).read_text(encoding="utf-8")) if kind == language]


def run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(directory), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_the_page_on_bringing_your_own_model_works_as_written(tmp_path: Path) -> None:
    problem, training, notebook = blocks("docs/your-own-model.md", "python")
    (job,) = blocks("docs/your-own-model.md", "yaml")
    (tmp_path / "my_problem.py").write_text(problem)
    (tmp_path / "blobs.yaml").write_text(job)

    trained = run([sys.executable, "-c", training], tmp_path)
    assert trained.returncode == 0, trained.stderr
    slt = str(Path(sys.executable).with_name("slt"))
    estimated = run([slt, "run", "blobs.yaml", "--serial"], tmp_path)
    assert estimated.returncode == 0, estimated.stderr + estimated.stdout
    assert (tmp_path / "results/blobs/report.html").stat().st_size > 100_000
    in_python = run([sys.executable, "-c", notebook], tmp_path)
    assert in_python.returncode == 0, in_python.stderr


def test_every_file_that_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_tree_in_the_readme_names_every_source_file() -> None:
    """The README's tree is the architecture document; a file that it leaves out is a file that nobody finds."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files = [path for package in ("slt", "estimators", "workers") for path in (ROOT / package).rglob("*.py")]
    missing = [str(path.relative_to(ROOT)) for path in files if path.stem != "__init__" and path.name not in readme]
    assert missing == []


def test_the_pictures_of_the_page_on_stages_are_those_that_its_script_makes(tmp_path: Path) -> None:
    page = (ROOT / "docs/stages.md").read_text(encoding="utf-8")
    shown = re.findall(r"\]\(images/(stages_\w+\.svg)\)", page)
    made = run([sys.executable, str(ROOT / "docs/figures/stages.py"), str(tmp_path)], ROOT)
    assert made.returncode == 0, made.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(shown)
    for name in shown:  # what the detector says today, whatever the last digits
        kept, new = (_numbers(folder / name) for folder in (ROOT / "docs/images", tmp_path))
        assert kept.shape == new.shape
        np.testing.assert_allclose(kept, new, atol=0.5, err_msg=f"{name}: run docs/figures/stages.py, read the page")


def _numbers(picture: Path) -> Floats:
    """All coordinates of a picture's lines, in points."""
    lines = re.findall(r' d="([^"]*)"', picture.read_text(encoding="utf-8"))
    return np.array([float(number) for line in lines for number in re.findall(r"-?[\d.]+", line)])


def test_every_key_of_a_job_file_is_documented() -> None:
    page = (ROOT / "docs/your-own-model.md").read_text(encoding="utf-8")
    table = page[page.index("## All keys of a job file") : page.index("## Choosing")]
    sections = (JobConfig, SamplerSettings, StageSettings, Resources)
    keys = [key for section in sections for key in section.model_fields]
    assert [key for key in keys if not re.search(rf"\b{key}\b", table)] == []
