// All jobs, newest first, as they go on.

import { get, poll } from "./api.js";
import { announce, el, setChildren, setText } from "./dom.js";
import { count, duration, firstUpper, when } from "./format.js";

const BUSY_MS = 2000, QUIET_MS = 10000;
const AT_ONCE = 200; // rows; more are found by the filter
const FILTER_FROM = 8; // jobs

export const TERMINAL = new Set(["SUCCEEDED", "FAILED", "STOPPED"]);

/** A job's state as a word with a sign; colour only underlines it. */
export function stateBadge(state) {
  return el("span", { class: `state state-${state.toLowerCase()}` }, state.toLowerCase());
}

/** Sets a progress bar and returns the words beside it. */
export function showProgress(bar, job) {
  bar.max = job.total || 1;
  if (job.state === "PENDING" || (!job.total && !TERMINAL.has(job.state))) bar.removeAttribute("value");
  else bar.value = job.state === "SUCCEEDED" ? bar.max : job.done;
  return job.total ? `${job.done.toLocaleString("en-GB")} of ${job.total.toLocaleString("en-GB")}` : "";
}

/** The address of a job's page. */
export function jobHref(id) {
  return `#/jobs/${encodeURIComponent(id)}`;
}

export async function jobsView(main, { signal }) {
  const filter = el("input", { type: "search", id: "filter", placeholder: "name, id or state", oninput: () => show() });
  const filterLabel = el("label", { for: "filter", class: "inline", hidden: true }, "Filter ", filter);
  const note = el("p", { class: "note", role: "status" });
  const body = el("tbody");
  const columns = ["Job", "State", "Progress", "Units", "Submitted", "Took"];
  const table = el("table", { class: "jobs", hidden: true },
    el("caption", { class: "visually-hidden" }, "Jobs, newest first"),
    el("thead", {}, el("tr", {}, columns.map((name) => el("th", { scope: "col" }, name)))), body);
  const empty = el("p", { class: "empty", hidden: true }, "No jobs yet. ", el("a", { href: "#/new" }, "Submit the first one"),
    ", or send one from a terminal: ", el("code", {}, "slt submit job.yaml"), ".");
  main.append(el("div", { class: "title-row" }, el("h1", {}, "Jobs"), filterLabel, el("a", { class: "button primary", href: "#/new" }, "New job")),
    note, table, empty);

  const rows = new Map();
  let jobs = [], total = 0, notice = "";
  const show = () => {
    const wanted = filter.value.trim().toLowerCase();
    const found = jobs.filter((job) => `${job.name} ${job.id} ${job.state}`.toLowerCase().includes(wanted));
    const shown = found.slice(0, AT_ONCE);
    filterLabel.hidden = jobs.length < FILTER_FROM;
    table.hidden = !shown.length;
    empty.hidden = jobs.length > 0;
    const hidden = (wanted ? found.length : total) - shown.length;
    setText(note, [
      notice && `${firstUpper(notice)}.`, jobs.length && !found.length && "No job fits the filter.", hidden > 0 && `${count(hidden, "older job")} not shown.`,
    ].filter(Boolean).join(" "));
    const ids = new Set(shown.map((job) => job.id));
    for (const [id, row] of rows) {
      if (!ids.has(id)) { row.node.remove(); rows.delete(id); }
    }
    shown.forEach((job, i) => {
      const row = rows.get(job.id) ?? jobRow(job);
      rows.set(job.id, row);
      row.update(job);
      if (body.children[i] !== row.node) body.insertBefore(row.node, body.children[i] ?? null);
    });
  };
  const load = async () => {
    const before = new Map(jobs.map((job) => [job.id, job.state]));
    const answer = await get("api/jobs", signal);
    ({ jobs, notice = "" } = answer);
    total = Object.values(answer.counts ?? {}).reduce((sum, each) => sum + each, 0) || jobs.length;
    show();
    const changed = jobs.filter((job) => before.size && before.get(job.id) !== job.state);
    if (changed.length) announce(changed.map((job) => `${job.name}: ${job.state.toLowerCase()}`).join(". "));
  };
  await load();
  poll(load, () => (jobs.every((job) => TERMINAL.has(job.state)) ? QUIET_MS : BUSY_MS), signal);
}

function jobRow(first) {
  const bar = el("progress", { "aria-label": `Progress of ${first.name}` });
  const words = el("span", { class: "muted" });
  const state = el("td", { "data-label": "State" });
  const units = el("td", { "data-label": "Units" });
  const took = el("td", { "data-label": "Took", class: "tight" });
  const message = el("span", { class: "message" });
  const node = el("tr", {},
    el("th", { scope: "row" }, el("a", { href: jobHref(first.id) }, first.name), el("span", { class: "id" }, first.id), message),
    state, el("td", { "data-label": "Progress", class: "progress" }, bar, words), units,
    el("td", { "data-label": "Submitted", class: "tight" }, el("time", { datetime: first.created }, when(first.created))), took);
  const update = (job) => {
    setChildren(state, job.state, () => stateBadge(job.state));
    const done = showProgress(bar, job);
    bar.hidden = TERMINAL.has(job.state) && !job.total;
    setText(words, TERMINAL.has(job.state) ? done : [job.phase, done].filter(Boolean).join(" "));
    setChildren(units, job.units, () => unitWords(job.units));
    setText(took, duration(job.started, TERMINAL.has(job.state) ? job.updated : new Date().toISOString()));
    setText(message, job.message);
  };
  return { node, update };
}

/** "13 computed, 2 failed", the failures marked. */
export function unitWords(units) {
  const words = ["computed", "reused"].filter((kind) => units?.[kind]).map((kind) => `${units[kind]} ${kind}`);
  return [words.join(", "), units?.failed ? [words.length ? ", " : "", el("strong", { class: "bad" }, `${units.failed} failed`)] : ""];
}
