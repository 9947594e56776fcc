from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slt.errors import JobError, OutputError
from slt.trajectory import Trajectory, VerdictKind
from tests.workers.report_folder import HOSTILE, OUTSIDE, STEPS, bare, trajectory, write_job
from workers.report import write_report
from workers.report.folder import read_job
from workers.report.page import MEANINGS, SIGNS
from workers.report.palette import FLAG


class Page(HTMLParser):
    """Text, headings, tables and everything that a browser would load."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.loads, self.tags, self.data = "", [], [], {}
        self._tag, self._attributes = "", {}
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag, self._attributes = tag, dict(attrs)
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "data", "action", "srcset") and value]

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""

    def handle_data(self, data: str) -> None:
        if self._attributes.get("id") == "figure-data" and self._tag == "script":
            self.data = json.loads(data)
        elif self._tag not in ("script", "style"):
            self.text += data
        if self._tag == "style":
            assert "url(" not in data
            assert "@import" not in data

    def shown(self) -> str:
        return " ".join(self.text.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    job = write_job(tmp_path_factory.mktemp("report") / "job")
    write_report(job)
    return job


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page(folder / "report.html")


def test_the_page_has_every_section_and_says_what_was_found(page: Page) -> None:
    for heading in ("Stages", "Boundaries and onsets", "Warnings of the detector", "Comparison with events",
                    "Verdicts on the estimates", "Failed items", "What these numbers mean", "Settings"):  # fmt: skip
        assert heading in page.shown()
    # The curve rests between its two bursts at step 100 and 10,000, so that there are two stages.
    assert "passes through 2 stages (rise, rise), with a boundary at step" in page.shown()
    assert "Of 4 events, the LLC saw" in page.shown()
    assert "8 did not pass the diagnostics: 1 diverged, 3 below the checkpoint's loss and 4 saturated" in page.shown()
    assert "a NaN in '<w>'" in page.shown()


def test_names_from_users_are_text_and_never_markup(page: Page) -> None:
    assert HOSTILE in page.shown()
    assert "a <run> & more" in page.shown()
    assert "the reason for saturated <i>" in page.shown()
    assert "<b>bold" not in page.html
    assert "<script>alert" not in page.html
    assert page.tags.count("script") == 3  # the figure's data, plotly.js, the call


def test_names_in_the_figure_are_escaped_for_plotly_which_reads_markup(page: Page) -> None:
    texts = [note["text"] for note in page.data["layout"]["annotations"]]
    assert "<b>&lt;loss&gt;</b>" in texts
    assert any(text.startswith("&lt;script&gt;alert") for text in texts)


def test_the_page_loads_nothing(page: Page) -> None:
    assert page.loads
    assert all(load.startswith("data:") for load in page.loads)
    assert "default-src 'none'" in page.html


def test_the_figures_are_files_that_a_paper_can_use(folder: Path) -> None:
    for name in ("llc", "trajectory"):
        with Image.open(folder / "figures" / f"{name}.png") as image:
            image.verify()
            assert image.size[0] >= 1800  # 6 inches at 300 dots per inch
        drawing = ElementTree.parse(folder / "figures" / f"{name}.svg").getroot()
        assert drawing.tag == "{http://www.w3.org/2000/svg}svg"


def test_an_event_is_a_mark_with_a_label_and_a_measures_own_onset_stands_on_its_curve(folder: Path) -> None:
    drawing = _drawing(folder)
    assert {mark.detail.split(":")[0] for mark in drawing.events} == {"first", HOSTILE.split(":")[0], "late"}
    panels = {panel.name: panel for panel in drawing.panels}
    assert not panels["<loss>"].onsets
    [onset] = panels["weight_norm"].onsets
    # The measure is sqrt(step + 1); between log-spaced checkpoints 11 % apart its chord errs by under 1 %.
    assert onset.height == pytest.approx(np.sqrt(701), rel=0.01)


def test_labels_in_one_lane_never_overlap_even_on_a_narrow_page(tmp_path: Path) -> None:
    from workers.report.drawing import Axis, Mark
    from workers.report.prepare import CHARACTER, NARROW_PLOT, in_lanes

    rng = np.random.default_rng(0)
    axis = Axis(True, 1.0, 1e5, "step")
    marks = [Mark(s, s / 1.1, s * 1.1, "x" * int(rng.integers(1, 28)), "") for s in 10 ** rng.uniform(0, 5, 40)]
    placed = in_lanes(marks, axis, first_lane=0)
    assert len(placed) == len(marks)
    for lane in {mark.lane for mark in placed}:
        boxes = []
        for mark in (mark for mark in placed if mark.lane == lane):
            width = len(mark.label) * CHARACTER / NARROW_PLOT
            low, high = float(axis.fraction(mark.low)), float(axis.fraction(mark.high))
            boxes.append((low - width, high) if mark.to_left else (low, high + width))
        boxes.sort()
        assert all(first[1] < second[0] for first, second in pairwise(boxes))


def test_what_a_logarithmic_axis_cannot_show_is_said_in_a_note(page: Page) -> None:
    assert "The checkpoint at step 0 (LLC" in page.shown()
    assert f"Outside the checkpoints' range and not drawn: {OUTSIDE} (2)" in page.shown()


def test_a_checkpoint_without_an_estimate_leaves_a_gap_and_a_sign(folder: Path) -> None:
    drawing = _drawing(folder)
    [diverged] = [flag for flag in drawing.flags if flag.kind is VerdictKind.DIVERGED]
    assert diverged.steps.tolist() == [STEPS[60]]
    assert np.isfinite(diverged.heights).all()
    assert np.isnan(drawing.curve.llc[drawing.curve.steps == STEPS[60]]).all()


def test_every_verdict_has_a_sign_and_a_meaning() -> None:
    assert set(FLAG) | {VerdictKind.OK} == set(VerdictKind) == set(MEANINGS)
    assert {marker for _, _, marker in FLAG.values()} == set(SIGNS)


def test_shares_of_change_sum_to_one_and_measures_change_as_they_did(folder: Path) -> None:
    from workers.report.tables import measure_rows, stage_rows

    job = read_job(folder)
    # Each share is rounded to a whole percent.
    assert sum(int(row.share.rstrip("%")) for row in stage_rows(job)) == pytest.approx(100, abs=1)
    changes = dict(measure_rows(job))["weight_norm"]
    total = sum(float(change.replace(",", "")) for change, _ in changes)
    # sqrt(100,001) - sqrt(11); two terms of three significant digits.
    assert total == pytest.approx(np.sqrt(100_001) - np.sqrt(11), abs=1)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ({"events": False}, "No events were given."),
        ({"measures": False}, "LLC over training, mean over 4 chains. The ribbon"),
        ({"stages": False}, "no stages were detected"),
        ({"failures": False}, "Comparison with events"),
    ],
)
def test_a_missing_part_leaves_a_report_that_says_so(tmp_path: Path, missing: dict[str, bool], said: str) -> None:
    page = Page(write_report(write_job(tmp_path / "job", **missing)))
    assert said in page.shown()
    assert ("Failed items" in page.shown()) == missing.get("failures", True)
    assert page.data["data"]


def test_a_curve_without_chains_verdicts_or_errors_is_reported(tmp_path: Path) -> None:
    page = Page(write_report(write_job(tmp_path / "job", curve=bare(trajectory()), events=False)))
    assert "The trajectory carries no verdicts." in page.shown()
    assert "single chains" not in page.shown()


def test_a_job_in_which_everything_failed_is_reported_without_a_figure(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job", stages=False, events=False, measures=False)
    (job / "trajectory.csv").unlink()
    page = Page(write_report(job))
    assert page.shown().count("No checkpoint was estimated.") == 1
    assert "1 item failed" in page.shown()
    assert not page.data


def test_a_trajectory_of_failures_alone_is_reported(tmp_path: Path) -> None:
    curve = trajectory()
    nothing = replace(curve, llc=np.full(len(curve), np.nan), llc_chains=np.full((len(curve), 4), np.nan))
    page = Page(write_report(write_job(tmp_path / "job", curve=nothing, stages=False)))
    assert "91 checkpoints without an estimate leave gaps." in page.shown()


@pytest.mark.parametrize("step", [0.0, 5.0])
def test_a_single_checkpoint_is_reported(tmp_path: Path, step: float) -> None:
    curve = Trajectory(steps=np.array([step]), llc=np.array([1.5]))
    page = Page(write_report(write_job(tmp_path / "job", curve=curve, stages=False, events=False)))
    assert "1 checkpoint" in page.shown()


def test_a_linear_axis_shows_step_zero(tmp_path: Path) -> None:
    page = Page(write_report(write_job(tmp_path / "job", axis="linear")))
    assert "type" not in page.data["layout"]["xaxis"]
    assert "has no place on a logarithmic axis" not in page.shown()
    assert page.data["layout"]["xaxis"]["range"][0] < 0


def test_a_chain_that_ran_away_does_not_squash_the_curve(tmp_path: Path) -> None:
    curve = trajectory()
    chains = curve.llc_chains
    assert chains is not None
    chains[50, 1] = 1e6
    drawing = _drawing(write_job(tmp_path / "job", curve=curve, stages=False))
    low, high = drawing.height_range
    # The curve spans 50; it must keep a third of the picture.
    assert high - low < 150
    assert any("Chains that run far" in note for note in drawing.notes)


def test_thousands_of_checkpoints_are_drawn_no_finer_than_a_screen(tmp_path: Path) -> None:
    steps = np.arange(1.0, 20_001.0)
    curve = Trajectory(steps=steps, llc=np.log(steps))
    drawing = _drawing(write_job(tmp_path / "job", curve=curve, stages=False, events=False))
    assert len(drawing.curve) <= 1500
    assert drawing.curve.steps[0] == 1.0


def test_a_folder_without_a_job_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"no job.yaml in .*; give the folder"):
        write_report(tmp_path)


@pytest.mark.parametrize("name", ["stages.json", "comparison.json", "measures.csv", "job.yaml"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    job = write_job(tmp_path / "job")
    (job / name).write_text('{"half": [a,\n1,2,3')
    with pytest.raises(JobError, match=name):
        write_report(job)


def test_a_folder_that_cannot_be_written_is_refused_and_the_old_report_stays(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    (job / "report.html").write_text("old")
    (job / "figures").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="the report cannot be written"):
        write_report(job)
    assert (job / "report.html").read_text() == "old"


def _drawing(folder: Path):  # type: ignore[no-untyped-def]
    from workers.report.prepare import prepare

    drawing = prepare(read_job(folder))
    assert drawing is not None
    return drawing


def test_the_page_tells_which_gauge_sees_which_boundary(folder: Path) -> None:
    job, shown = read_job(folder), Page(folder / "report.html").shown()
    assert job.gauges is not None
    assert job.gauges.names == ("LLC", "weight_norm", "<loss>")
    heading = shown.index("Which gauge sees which boundary")
    assert shown.index("weight_norm", heading) < shown.index("No stages of broken: ", heading)
    (folder / "gauges.json").rename(folder / "elsewhere.json")
    write_report(folder)
    assert "Which gauge sees" not in Page(folder / "report.html").shown()
    (folder / "elsewhere.json").rename(folder / "gauges.json")
    write_report(folder)
