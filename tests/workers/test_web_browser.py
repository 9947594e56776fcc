"""The service's page in a real browser, on a real service with real jobs. Skipped where Chromium is not installed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from estimators.problems import train
from tests.workers.patience import PATIENCE, until
from tests.workers.web_visit import (
    ALL_UNITS,
    CHECKPOINTS,
    CHROMIUM,
    FEW_UNITS,
    ONE_UNIT,
    PROBLEM_ARGS,
    SAMPLER,
    Service,
    Visit,
    chromium,
    visit,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed; the page was not opened in a browser"),
]

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"
SAMPLER_FIELDS = {
    "Step size": "step_size", "n β": "n_beta", "Localization": "localization", "Draws": "draws", "Burn-in": "burn_in",
    "Chains": "chains", "Reference": "reference",
}  # fmt: skip
PHONE = {"width": 360, "height": 740}
Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training run whose events have names that browsers would run, if they were taken for markup."""
    folder = tmp_path_factory.mktemp("runs") / "linear"
    train("linear_network", folder, {**PROBLEM_ARGS, "checkpoints": CHECKPOINTS, "steps": 10_000})
    with open(folder / "events.csv", "a", newline="") as file:
        csv.writer(file).writerow([HOSTILE, 700, 690, 710, "<b>hostile</b>"])
    return folder


@pytest.fixture(scope="module")
def service(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service") / "slt"
    left = folder / "jobs" / "<img src=x onerror=alert(3)>"  # as `slt run` may have left it there
    left.mkdir(parents=True)
    (left / "job.yaml").write_text("name: x\nproblem: <script>alert(4)</script>\n")
    service = Service(folder, run.parent)
    try:
        service.start()
        yield service
    finally:
        service.close()


@pytest.fixture(scope="module")
def finished(service: Service, run: Path) -> str:
    """The id of a job, finished when it is first asked for."""
    job = service.submit("finished", run, events=str(run / "events.csv"), measures=["loss", "singular_values"])
    until(lambda: service.job(job)["state"] == "SUCCEEDED", "the job to finish")
    return job


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def go(browser: object, service: Service) -> Iterator[Open]:
    """Opens the service at an address of the page, logged in, with the browser's settings given; checks at the end."""
    contexts = []

    def opened(address: str = "", *, login: bool = True, **settings: object) -> Visit:
        context = browser.new_context(**{"viewport": {"width": 1180, "height": 900}, **settings})  # type: ignore[attr-defined]
        contexts.append(context)
        kept = visit(context, service)
        if login:
            kept.page.goto(f"{service.url}/?token={service.token}")
        kept.page.goto(f"{service.url}/{address}")
        return kept

    yield opened
    for context in contexts:
        context.close()


def test_a_job_goes_from_the_form_over_a_growing_curve_and_a_reload_to_its_report(
    go: Open, service: Service, run: Path, tmp_path: Path
) -> None:
    seen = go()
    page = seen.page
    assert "token" not in page.url
    page.get_by_role("link", name="New job").last.click()
    page.get_by_label("Name").fill("from_the_form")
    page.get_by_label("Problem (required)").fill("gated_linear:build")
    page.get_by_label("Checkpoints").fill(str(run))
    arguments = PROBLEM_ARGS | {"allowed": service.allow("from_the_form", ONE_UNIT)}
    page.get_by_label("Arguments").fill("\n".join(f"{name}: {value}" for name, value in arguments.items()))
    page.get_by_label("Measures").fill("loss, weight_norm, singular_values")
    page.get_by_label("Events").fill(str(run / "events.csv"))
    page.get_by_text("More settings").click()
    for name, key in SAMPLER_FIELDS.items():
        page.get_by_label(name).fill(str(SAMPLER[key]))
    page.get_by_role("button", name="Submit").click()

    seen.until("text=running")
    first = until(seen.points, "the curve's first points")
    service.allow("from_the_form", FEW_UNITS)
    more = until(lambda: seen.points() > first and seen.points(), "the curve to grow")
    assert first < more < CHECKPOINTS
    page.reload()
    after = until(seen.points, "the curve after the reload")
    assert more <= after < CHECKPOINTS
    assert page.get_by_role("heading", level=1).inner_text() == "from_the_form"
    service.allow("from_the_form", ALL_UNITS)
    until(lambda: seen.points() == CHECKPOINTS, "the whole curve")
    seen.until("text=succeeded")
    until(lambda: page.locator("#boundaries tbody tr").count() >= 3, "boundaries")
    assert page.locator("#figure .plot .annotation-text", has_text="(").count() >= 3
    assert page.locator("#figure .plot path.point").count() > CHECKPOINTS

    with page.expect_popup() as popup:
        page.get_by_role("link", name="Open the report").click()
    popup.value.locator("#plot .main-svg").first.wait_for(timeout=PATIENCE * 1000)
    assert popup.value.locator("h1").inner_text().startswith("from_the_form")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download results").click()
    download.value.save_as(tmp_path / "results.zip")
    with ZipFile(tmp_path / "results.zip") as archive:
        assert any(name.endswith("/trajectory.csv") for name in archive.namelist())
    seen.check()


def test_a_job_is_cancelled_and_resumed_and_keeps_what_was_done(go: Open, service: Service, run: Path) -> None:
    job = service.submit("to_cancel", run, ONE_UNIT)
    seen = go(f"#/jobs/{job}")
    page = seen.page
    until(lambda: seen.points() > 0, "the curve's first points")
    page.get_by_role("button", name="Cancel").click()
    page.keyboard.press("Escape")
    assert service.job(job)["state"] == "RUNNING"
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the job").click()
    seen.until(".state-stopped")
    kept = seen.points()
    assert 0 < kept < CHECKPOINTS
    service.allow("to_cancel", FEW_UNITS)
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Resume the job").click()
    seen.until(".state-running")
    until(lambda: seen.points() > kept, "the curve to go on from where it was")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the job").click()
    seen.until(".state-stopped")
    seen.check()


def test_names_that_look_like_markup_are_shown_as_text(go: Open, finished: str) -> None:
    seen = go()
    dialogs: list[str] = []
    seen.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    seen.page.get_by_role("link", name="<img src=x onerror=alert(3)>").click()
    seen.until("code:text-is('<script>alert(4)</script>')")
    seen.page.goto(seen.page.url.partition("#")[0] + f"#/jobs/{finished}")
    seen.until(f"td:text-is('{HOSTILE}')")
    seen.until(".plot .annotation-text:has-text('<script>alert(1)</script>')")
    assert seen.page.locator("img").count() == 0
    assert dialogs == []
    seen.check()


def test_what_the_service_objects_to_stands_beside_the_field(go: Open) -> None:
    seen = go("#/new")
    page = seen.page
    page.get_by_label("Name").fill("refused")
    page.get_by_label("Checkpoints").fill("/etc")
    page.get_by_label("Problem (required)").fill("linear_network")
    page.get_by_role("button", name="Submit").click()
    seen.until(".problem:has-text('/etc')")
    wrong = page.get_by_label("Checkpoints")
    assert wrong.get_attribute("aria-invalid") == "true"
    assert wrong.evaluate("node => node === document.activeElement")
    page.get_by_role("tab", name="YAML").click()
    assert "checkpoints: /etc\n" in page.get_by_label("Job file").input_value()
    page.get_by_label("Job file").fill("name: <script>\n")
    page.get_by_role("button", name="Submit").click()
    seen.until(".problem:has-text('<script>')")
    seen.check(expected="status of 422")


def test_all_of_it_can_be_done_with_the_keyboard(go: Open, finished: str) -> None:
    seen = go()
    page = seen.page
    seen.until("text=finished")
    page.keyboard.press("Tab")
    assert _focused(seen)["text"] == "Skip to content"
    _tab_to(seen, "finished")
    assert _focused(seen)["outline"] != "none"
    page.keyboard.press("Enter")
    until(lambda: seen.points() == CHECKPOINTS, "the curve")
    _tab_to(seen, "logarithmic")
    page.keyboard.press("ArrowRight")
    assert "axis=linear" in page.url
    until(lambda: page.locator(".xtitle", has_text="step").first.text_content() == "step", "the linear axis")
    page.locator(".plot").focus()
    page.keyboard.press("End")
    assert page.locator(".readout").inner_text().startswith("step 10,000: LLC ")
    page.keyboard.press("ArrowLeft")
    before = page.locator(".readout").inner_text()
    assert not before.startswith("step 10,000")
    page.reload()
    assert page.get_by_label("linear", exact=True).is_checked()
    _tab_to(seen, "Log")
    page.keyboard.press("Enter")
    seen.until("pre.log:has-text('units:')")
    seen.check()


def test_every_view_fits_a_telephone(go: Open, finished: str) -> None:
    for address in ("", "#/new", f"#/jobs/{finished}", f"#/compare?a={finished}&b={finished}"):
        seen = go(address, viewport=PHONE, is_mobile=True, has_touch=True)
        seen.until("h1")
        if finished in address:
            seen.until(".main-svg")
        assert seen.overflow() == 0, address
        narrow = seen.page.evaluate(TARGETS)
        assert narrow == [], f"too small for a finger at {address}"
        seen.check()


def test_two_jobs_are_laid_over_each_other(go: Open, service: Service, finished: str, run: Path) -> None:
    other = service.submit("other", run, stages={"axis": "linear"})
    seen = go(f"#/compare?a={finished}")
    page = seen.page
    until(lambda: service.job(other)["state"] == "SUCCEEDED", "the other job")
    page.reload()
    page.get_by_label("Second job").select_option(other)
    seen.until("figure[data-sides='ab']")
    assert page.locator(".plot g.trace.scatter .lines path").count() >= 2
    page.get_by_label("each curve over its own range").check()
    until(lambda: page.locator(".y2title").text_content() == "LLC, over its own range", "the other axis")
    page.reload()
    seen.until("figure[data-sides='ab']")
    assert page.locator(".y2title").text_content() == "LLC, over its own range"
    seen.check()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_in_dark(go: Open, finished: str, scheme: str) -> None:
    seen = go(f"#/jobs/{finished}", color_scheme=scheme)
    seen.until(".main-svg")
    paper = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is (scheme == "light")
    assert seen.page.evaluate(CONTRASTS) == []
    seen.check()


def test_without_a_token_there_is_the_login_and_nothing_else(go: Open, service: Service) -> None:
    seen = go(login=False)
    page = seen.page
    assert page.url.endswith("/login")
    _log_in(seen, "wrong")
    seen.until("text=That is not the token")
    _log_in(seen, service.token)
    seen.until("h1:text-is('Jobs')")
    page.context.clear_cookies()
    seen.until("h1:text-is('slt')")
    seen.check(expected="status of 401")


def test_a_killed_service_is_found_again_by_the_page(go: Open, service: Service, run: Path) -> None:
    job = service.submit("outlives", run, ONE_UNIT)
    seen = go(f"#/jobs/{job}")
    until(lambda: seen.points() > 0, "the curve's first points")
    port = service.port
    service.kill()
    seen.until("#connection:has-text('Connection lost')")
    service.start(port)
    service.allow("outlives", ALL_UNITS)
    until(lambda: seen.page.locator("#connection").inner_text() == "", "the page to find the service")
    until(lambda: seen.points() == CHECKPOINTS, "the whole curve, without a reload")
    seen.until(".state-succeeded")
    seen.check(
        expected="ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE"
    )


def _log_in(seen: Visit, token: str) -> None:
    seen.until("input[name=token]:focus")  # the page puts the cursor there; Chromium logs it if somebody was faster
    seen.page.keyboard.type(token)
    seen.page.get_by_role("button", name="Log in").click()


def _focused(seen: Visit) -> dict[str, str]:
    found: dict[str, str] = seen.page.evaluate(
        "(() => { const node = document.activeElement; return {"
        " text: (node.labels?.[0] ?? node).textContent, outline: getComputedStyle(node).outlineStyle } })()"
    )
    return found


def _tab_to(seen: Visit, text: str, most: int = 60) -> None:
    for _ in range(most):
        if _focused(seen)["text"] == text:
            return
        seen.page.keyboard.press("Tab")
    raise AssertionError(f"'{text}' is not reached by the tabulator")


# What a finger has to hit is at least 24 pixels high (WCAG 2.2, 2.5.8); a box within its label is hit with it.
TARGETS = """[...document.querySelectorAll("button, .button, nav a, select, input, .switches label")]
  .filter((node) => node.checkVisibility() && !node.matches("input[type=radio], input[type=checkbox]"))
  .filter((node) => node.getBoundingClientRect().height < 24).map((node) => node.outerHTML.slice(0, 80))"""

# Every text has a contrast of at least 4.5 to the page (WCAG, 1.4.3), the drawing's own text included.
CONTRASTS = """(() => {
  const channel = (c) => (c /= 255, c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const [r, g, b, alpha = 1] = numbers(getComputedStyle(node).backgroundColor);
      if (alpha === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const written = (node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
  const texts = [...document.querySelectorAll("main *, header *")]
    .filter((node) => node.checkVisibility() && written(node) && !node.closest("style"));
  return texts.flatMap((node) => {
    const style = getComputedStyle(node), ink = light(numbers(node.closest("svg") ? style.fill : style.color));
    const paper = light(behind(node));
    const contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    return contrast < 4.5 ? [`${node.textContent.slice(0, 40)}: ${contrast.toFixed(2)}`] : [];
  });
})()"""
