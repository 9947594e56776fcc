"""The page's files as text: what may not be in them, and what they share with the rest of the project."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from slt.trajectory import VerdictKind
from workers.job import JobConfig, Resources, SamplerSettings, StageSettings
from workers.report import palette
from workers.report.page import MEANINGS

WEB = Path(__file__).parents[2] / "workers" / "web"
FILES = sorted(path for path in WEB.iterdir() if path.is_file())
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
NAMESPACES = {"http://www.w3.org/2000/svg"}


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


@pytest.mark.parametrize("path", SCRIPTS, ids=names(SCRIPTS))
def test_no_script_makes_markup_or_code_of_a_text(path: Path) -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|srcdoc"
    assert re.findall(forbidden, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_no_file_names_another_machine(path: Path) -> None:
    assert set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[\w/.]*", path.read_text(encoding="utf-8"))) <= NAMESPACES


def test_the_page_has_no_script_or_style_of_its_own_and_loads_only_files_that_are_there() -> None:
    page = (WEB / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>|<style|\son\w+=|\sstyle=", page) == []
    loaded = re.findall(r'(?:src|href)="static/([^"]+)"', page)
    imported = [name for path in SCRIPTS for name in re.findall(r'from "\./([^"]+)"', path.read_text(encoding="utf-8"))]
    assert {*loaded, *imported} <= set(names(FILES))
    assert set(names(SCRIPTS)) <= {*loaded, *imported}


def test_the_readme_s_tree_names_every_script() -> None:
    readme = (WEB.parents[1] / "README.md").read_text(encoding="utf-8")
    assert [name for name in names(SCRIPTS) if not re.search(rf"\b{re.escape(name)}", readme)] == []


def test_light_colours_are_those_of_the_report() -> None:
    light = (WEB / "style.css").read_text(encoding="utf-8").partition("@media")[0]
    colors = dict(re.findall(r"--([\w-]+): (#\w+);", light))
    for name in ("CURVE", "CHAIN", "ONSET", "EVENT", "MEASURE", "INK", "GRID"):
        assert colors[name.lower()].lower() == getattr(palette, name).lower(), name
    for kind, color in palette.STAGE.items():
        assert colors[kind].lower() == color.lower(), kind


def test_every_verdict_has_the_report_s_colour_sign_and_meaning() -> None:
    text = (WEB / "theme.js").read_text(encoding="utf-8")
    light = dict(
        re.findall(r"--([\w-]+): (#\w+);", (WEB / "style.css").read_text(encoding="utf-8").partition("@media")[0])
    )
    shown = re.findall(r'^  "([^"]+)": \{\s+color: "(\w+)", symbol: "([\w-]+)".*?meaning: "([^"]*)"', text, re.M | re.S)
    assert {kind for kind, *_ in shown} == {kind.value for kind in VerdictKind} - {"ok"}
    for kind, color, symbol, meaning in shown:
        of_report, plotly_symbol, _ = palette.FLAG[VerdictKind(kind)]
        assert light[color].lower() == of_report.lower()
        assert symbol == plotly_symbol
        # The report has a section of failed items; the page has the sentence of each.
        assert meaning == MEANINGS[VerdictKind(kind)] or kind == VerdictKind.FAILED


def test_every_field_of_the_form_is_a_key_of_a_job_file() -> None:
    keys = set(re.findall(r'key: "([\w.]+)"', (WEB / "fields.js").read_text(encoding="utf-8")))
    sections = {"sampler": SamplerSettings, "stages": StageSettings, "resources": Resources}
    valid = {
        *JobConfig.model_fields,
        *(f"{name}.{key}" for name, model in sections.items() for key in model.model_fields),
    }
    assert keys
    assert keys <= valid
    assert {name for name, field in JobConfig.model_fields.items() if field.is_required()} - {"out"} <= keys
