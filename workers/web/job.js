// One job: how far it is, its curve as it grows, its boundaries and verdicts, its log, and what can be done with it.

import { follow, get, getText, jobPath, poll, post } from "./api.js";
import { announce, confirmed, el, setChildren, setText } from "./dom.js";
import { duration, when } from "./format.js";
import { curvePart } from "./curve.js";
import { showProgress, stateBadge, TERMINAL, unitWords } from "./jobs.js";
import { boundariesPart, eventsPart, eventsOf, stagesPart, verdictsPart } from "./findings.js";

const LOG_MS = 2000, LOG_LINES = 400, RESULTS_MS = 1000;

export async function jobView(main, { id, query, signal }) {
  const job = await get(jobPath(id), signal);
  const head = header(job, signal, () => stream());
  const curve = curvePart(job, query, signal);
  const findings = Object.fromEntries(["boundaries", "stages", "verdicts", "events"].map((name) => [name, el("section", { id: name })]));
  const log = logPart(id, () => TERMINAL.has(head.job.state), signal);
  main.append(head.node, curve.node, ...Object.values(findings), log, settingsPart(job));

  let loading = null, again = false, failed = "", boundaries = 0;
  const refresh = async () => {
    const results = await load(id, signal);
    curve.update({ ...results, total: head.job.checkpoints, ended: TERMINAL.has(head.job.state) });
    setChildren(findings.verdicts, [results.curve.verdicts, results.curve.sentences], () => verdictsPart(results.curve));
    setChildren(findings.boundaries, results.stages, () => boundariesPart(results.stages, results.curve));
    setChildren(findings.stages, results.stages, () => stagesPart(results.stages));
    setChildren(findings.events, results.comparison, () => eventsPart(results.comparison, results.curve.measures));
    const found = results.stages?.boundaries.length ?? 0;
    if (found > boundaries) announce(`${found === 1 ? "1 boundary" : `${found} boundaries`} found so far`);
    boundaries = found;
  };
  // At most one load at a time and one a second, however quickly the results change.
  const schedule = () => {
    again = true;
    loading ??= (async () => {
      while (again && !signal.aborted) {
        again = false;
        await refresh().then(() => { if (failed) head.object(failed = ""); }, (error) => { if (!signal.aborted) head.object(failed = error.message); });
        await new Promise((resolve) => setTimeout(resolve, RESULTS_MS));
      }
      loading = null;
    })();
  };
  const stream = () => follow(id, { status: head.update, results: schedule, end: (last) => { head.update(last); schedule(); } }, signal);
  if (TERMINAL.has(job.state)) schedule();
  else stream();
}

/** The curve, and what else there is of the results so far. */
async function load(id, signal) {
  const curve = await get(jobPath(id, "trajectory"), signal);
  const there = new Set(curve.available ?? []);
  const [stages, comparison] = await Promise.all(
    ["stages", "comparison"].map((name) => (there.has(name) ? get(jobPath(id, name), signal) : null)));
  return { curve, stages, comparison, events: eventsOf(comparison, curve.measures) };
}

function header(first, signal, restarted) {
  const state = el("span");
  const byline = el("p", { class: "byline" });
  const bar = el("progress", { "aria-label": "Progress of the job" });
  const words = el("p", { class: "progress-words" });
  const message = el("p", { class: "message", role: "status" });
  const problem = el("p", { class: "problem", role: "alert" });
  const actions = el("div", { class: "actions" });
  const node = el("header", { class: "job-head" },
    el("div", { class: "title-row" }, el("h1", {}, first.name), state), byline,
    el("div", { class: "job-progress" }, bar, words), message, actions, problem);
  const self = { node, job: first, update, object: (sentence) => setText(problem, sentence) };
  const act = (verb, title, sentence, label) => async () => {
    if (!(await confirmed(title, sentence, label))) return;
    setText(problem, "");
    try {
      update(await post(jobPath(self.job.id, verb)));
      if (verb === "resume") restarted();
      else if (!TERMINAL.has(self.job.state)) busy(cancel, "Cancelling …");
    } catch (error) {
      setText(problem, error.message);
    }
  };
  const cancel = el("button", { onclick: act("cancel", "Cancel this job?", "What is finished is kept; the job can be resumed later.", "Cancel the job") }, "Cancel");
  const resume = el("button", { onclick: act("resume", "Resume this job?", "Only what is missing is computed.", "Resume the job") }, "Resume");
  const report = el("a", { class: "button primary", href: jobPath(first.id, "report"), target: "_blank", rel: "noopener" }, "Open the report");
  const results = el("a", { class: "button", href: jobPath(first.id, "results"), download: `${first.id}.zip` }, "Download results");
  const overlay = el("a", { class: "button", href: `#/compare?a=${encodeURIComponent(first.id)}` }, "Compare with another job");
  actions.append(report, results, overlay, cancel, resume);

  function update(job) {
    const ended = TERMINAL.has(job.state);
    if (job.state !== self.job.state) announce(`The job is ${job.state.toLowerCase()} now`);
    self.job = { ...self.job, ...job };
    setChildren(state, job.state, () => stateBadge(job.state));
    const done = showProgress(bar, job);
    setText(words, ended ? "" : [job.phase || "waiting for its turn", done, job.label].filter(Boolean).join(", "));
    bar.parentElement.hidden = ended;
    setText(message, job.message);
    message.classList.toggle("bad", job.state === "FAILED");
    report.hidden = job.state !== "SUCCEEDED";
    cancel.hidden = ended;
    if (ended) ready(cancel, "Cancel");
    resume.hidden = !(job.state === "STOPPED" || job.state === "FAILED" || job.units?.failed > 0) || !ended;
    tell(job, ended);
  }

  function tell(job, ended) {
    const took = duration(job.started, ended ? job.updated : new Date().toISOString());
    const settings = first.job ?? {};
    setChildren(byline, [job.state, took, job.units], () => [
      el("code", { class: "id" }, job.id), settings.problem ? [", problem ", el("code", {}, settings.problem)] : "",
      `, submitted ${when(job.created)}`, took ? `, ${ended ? "took" : "running for"} ${took}` : "",
      job.follow ? ", follows its directory" : "", job.units?.computed || job.units?.reused || job.units?.failed ? [", units: ", unitWords(job.units)] : "", ".",
    ]);
  }

  update(first);
  const clock = setInterval(() => { if (!TERMINAL.has(self.job.state)) tell(self.job, false); }, 1000);
  signal.addEventListener("abort", () => clearInterval(clock));
  return self;
}

function busy(button, words) {
  button.disabled = true;
  setText(button, words);
}

function ready(button, words) {
  button.disabled = false;
  setText(button, words);
}

function logPart(id, ended, signal) {
  const text = el("pre", { class: "log", tabindex: "0", role: "log", "aria-label": "Log of the job" });
  const details = el("details", {}, el("summary", {}, "Log"), text);
  let closed = null;
  const load = async () => {
    const following = text.scrollHeight - text.scrollTop - text.clientHeight < 30;
    setText(text, (await getText(jobPath(id, `logs?tail=${LOG_LINES}`), signal)) || "The job has written nothing yet.");
    if (following) text.scrollTop = text.scrollHeight;
    if (ended()) closed?.abort();
  };
  details.addEventListener("toggle", () => {
    closed?.abort();
    if (!details.open) return;
    closed = new AbortController();
    poll(load, () => LOG_MS, AbortSignal.any([signal, closed.signal]));
  });
  return el("section", { id: "log" }, details);
}

function settingsPart(job) {
  if (!job.job) return el("section");
  return el("section", { id: "settings" }, el("details", {}, el("summary", {}, "Settings"),
    el("pre", { tabindex: "0", "aria-label": "Settings of the job" }, JSON.stringify(job.job, null, 2)),
    el("p", {}, el("a", { href: `#/new?from=${encodeURIComponent(job.id)}` }, "Use them for a new job"))));
}
