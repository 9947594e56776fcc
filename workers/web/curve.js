// The part of a job's page that holds the figure: its switches, its key, the words of the point chosen, all points as a table.

import { el, setChildren, setText, svg, table } from "./dom.js";
import { flagKinds, jobFigure, panelsOf, pointSentence } from "./figure.js";
import { count, exactStep, number } from "./format.js";
import { discard, draw, walk } from "./plot.js";
import { onThemeChange, theme, UNKNOWN_VERDICT, VERDICTS } from "./theme.js";

const PANELS_AT_FIRST = 6;
const WAITING = "The curve appears here as soon as the first checkpoint is estimated.";
const MARGINS = 60; // pixels beside the plot

/** @returns {{node, update}} `update` takes what `load` of job.js gives, and `total`, the number of checkpoints to come. */
export function curvePart(job, query, signal) {
  const state = { results: null, log: (query.get("axis") ?? job.job?.stages?.axis ?? "log") === "log", panels: null, drawn: null };
  const plot = el("div", { class: "plot", tabindex: "0", role: "group", "aria-label": "Curve of the LLC" });
  const waiting = el("p", { class: "empty" }, WAITING);
  const readout = el("p", { class: "readout", role: "status" });
  const key = el("ul", { class: "key", "aria-label": "Key" });
  const caption = el("figcaption");
  const panels = el("fieldset", { class: "choices" });
  const points = el("details", {}, el("summary"), el("div"));
  const figure = el("figure", { id: "figure", hidden: true }, key, plot, readout, caption);
  const switches = el("div", { class: "switches", hidden: true }, axisSwitch(state.log, (log) => {
    state.log = log;
    remember("axis", log ? "log" : "linear");
    redraw();
  }), el("details", { class: "choose" }, el("summary", {}, "Measures"), panels));

  const redraw = () => state.results && show(state, { plot, key, caption, figure });
  const update = (results) => {
    state.results = results;
    const empty = !results.curve.steps.length;
    waiting.hidden = !empty;
    setText(waiting, results.ended ? "No checkpoint was estimated." : WAITING);
    figure.hidden = switches.hidden = points.hidden = empty;
    if (empty) return;
    state.panels ??= Object.keys(results.curve.measures).length ? new Set(panelsOf(results.curve.measures).slice(0, PANELS_AT_FIRST).map(({ title }) => title)) : null;
    setChildren(panels, panelsOf(results.curve.measures), () => panelChoices(results.curve, state, redraw));
    setText(points.firstChild, `${results.curve.steps.length === 1 ? "The checkpoint" : `The ${count(results.curve.steps.length, "checkpoint")}`} as a table`);
    if (points.open) showPoints();
    redraw();
  };
  const showPoints = () => setChildren(points.lastChild, [state.results.curve.steps, state.results.curve.llc], () => pointTable(state.results.curve));
  points.addEventListener("toggle", () => { if (points.open) showPoints(); });
  walk(plot, () => ({ number: state.drawn?.number ?? 0, length: state.drawn?.shown.length ?? 0 }),
    (i) => setText(readout, pointSentence(state.results.curve, state.drawn.shown[i])));
  onThemeChange(redraw, signal);
  signal.addEventListener("abort", () => discard(plot));
  return { node: el("section", { id: "curve" }, el("h2", { class: "visually-hidden" }, "Curve"), waiting, switches, figure, points), update };
}

async function show(state, { plot, key, caption, figure }) {
  const { results, log } = state;
  const { curve, stages } = results;
  const made = jobFigure(results, { log, colors: theme(), width: Math.max(plot.clientWidth - MARGINS, 200), panels: state.panels ?? new Set() });
  state.drawn = { shown: made.shown, number: made.data.findIndex((trace) => trace.name === "LLC") };
  setChildren(key, [flagKinds(curve), stages, results.events.length > 0, Boolean(curve.llc_chains)], () => keyItems(results));
  const soFar = results.total > curve.steps.length ? `${curve.steps.length} of ${count(results.total, "checkpoint")} so far. ` : "";
  setText(caption, `LLC over training${curve.llc_std_error ? ", with a band of one standard error over chains" : ""}. ${soFar}${made.notes.join(" ")} Arrow keys go from point to point.`);
  plot.setAttribute("aria-label", `Curve of the LLC: ${count(curve.steps.length, "checkpoint")}, ${count(stages?.boundaries.length ?? 0, "boundary").replace(/ys$/, "ies")}. Arrow keys go from point to point.`);
  try {
    await draw(plot, made, `${log}`);
    figure.dataset.points = String(curve.steps.length);
  } catch (error) {
    setText(caption, error.message);
  }
}

/** Keeps a switch's place in the address, for a reload; no new entry in the history. */
export function remember(name, value) {
  const [path, query] = location.hash.split("?");
  const values = new URLSearchParams(query ?? "");
  values.set(name, value);
  history.replaceState(null, "", `${path}?${values}`);
}

/** Two radio buttons. */
export function axisSwitch(log, chosen) {
  const choice = (value, word) => el("label", {},
    el("input", { type: "radio", name: "axis", value, checked: (value === "log") === log, onchange: () => chosen(value === "log") }), word);
  return el("fieldset", { class: "segmented" }, el("legend", {}, "Axis"), choice("log", "logarithmic"), choice("linear", "linear"));
}

function panelChoices(curve, state, redraw) {
  const boxes = panelsOf(curve.measures).map(({ title }) => {
    const box = el("input", { type: "checkbox", checked: state.panels?.has(title), onchange: () => {
      if (box.checked) state.panels.add(title);
      else state.panels.delete(title);
      redraw();
    } });
    return el("label", {}, box, title);
  });
  return [el("legend", { class: "visually-hidden" }, "Measures drawn below the curve"), boxes.length ? boxes : "This job has no measures yet."];
}

function keyItems({ curve, stages, events }) {
  const item = (words, ...drawing) => el("li", {}, svg("svg", { viewBox: "0 0 22 14", "aria-hidden": "true" }, drawing), words);
  const path = (d, style) => svg("path", { d, class: style });
  const items = [item("LLC ± standard error", svg("rect", { y: 3, width: 22, height: 8, class: "fill-band" }), path("M0 7h22", "ink-curve"))];
  if (curve.llc_chains) items.push(item("single chains", path("M0 5h22M0 10h22", "ink-chain")));
  if (stages?.boundaries.length) items.push(item("boundary, 90 % interval (probability)", svg("rect", { x: 5, width: 12, height: 14, class: "fill-interval" }), path("M11 0v14", "ink-ink")));
  if (stages?.tentative.length) items.push(item("tentative", path("M11 0v14", "ink-grey dashed")));
  if (stages && (stages.first_onset || stages.boundaries.some((each) => each.onset))) items.push(item("onset of a burst", path("M1 7h20", "ink-onset"), path("M11 2l5 5-5 5-5-5z", "fill-onset")));
  if (events.length) items.push(item("event", path("M11 8v6", "ink-event dotted"), path("M6 1h10l-5 8z", "fill-event")));
  for (const kind of ["rise", "fall", "flat"]) {
    if (stages?.stages.some((stage) => stage.kind === kind)) items.push(item(kind, svg("rect", { y: 2, width: 22, height: 10, class: `fill-${kind}` })));
  }
  for (const kind of flagKinds(curve)) {
    const { color, path: sign } = VERDICTS[kind] ?? UNKNOWN_VERDICT;
    items.push(item(kind, path(sign, `ink-${color}`)));
  }
  return items;
}

function pointTable(curve) {
  const columns = [["Step", "n"], ["LLC", "n"], ["± s.e.", "n"], ["Loss", "n"], ["Verdict", "tight"], ["Reason", "wide"]];
  const rows = curve.steps.map((step, i) => [
    exactStep(step), number(curve.llc[i]), number(curve.llc_std_error?.[i]), number(curve.loss?.[i]), curve.verdicts[i] ?? "", curve.sentences?.[i] ?? "",
  ]);
  return table("Checkpoints", columns, rows);
}
