// Two jobs laid over each other.

import { follow, get, jobPath } from "./api.js";
import { band, baseLayout, inLanes, line, plain, timeAxis, visible, wrapped, xLayout, yLayout } from "./axes.js";
import { axisSwitch, remember } from "./curve.js";
import { el, setChildren, setText, table } from "./dom.js";
import { pointSentence } from "./figure.js";
import { count, interval, number, probability, stepText } from "./format.js";
import { jobHref, TERMINAL } from "./jobs.js";
import { discard, draw } from "./plot.js";
import { onThemeChange, theme } from "./theme.js";

const SIDES = ["a", "b"];
const COLORS = { a: ["curve", "band"], b: ["other", "other-band"] };
const LANE = 18, HEIGHT = 360, MARGINS = 60, RESULTS_MS = 1000; // pixels, milliseconds

export async function compareView(main, { query, signal }) {
  const { jobs } = await get("api/jobs", signal);
  const state = { log: query.get("axis") !== "linear", normalised: query.get("normalised") === "1", a: null, b: null };
  const plot = el("div", { class: "plot", role: "img" });
  const note = el("p", { class: "empty", role: "status" });
  const figure = el("figure", { hidden: true }, plot, el("figcaption"));
  const findings = el("section");
  const redraw = () => show(state, { plot, figure, note, findings });
  const stops = {};
  const choose = async (side, id) => {
    stops[side]?.abort();
    stops[side] = new AbortController();
    const stop = AbortSignal.any([signal, stops[side].signal]);
    state[side] = id ? { job: await get(jobPath(id), stop) } : null;
    if (state[side]) await watch(state[side], stop, redraw);
    redraw();
  };
  const pickers = SIDES.map((side) => picker(side, jobs, query.get(side), (id) => {
    remember(side, id);
    choose(side, id).catch((error) => setText(note, error.message));
  }));
  const normalise = el("input", { type: "checkbox", checked: state.normalised, onchange: () => {
    state.normalised = normalise.checked;
    remember("normalised", state.normalised ? "1" : "0");
    redraw();
  } });
  main.append(el("h1", {}, "Two jobs laid over each other"),
    el("div", { class: "pickers" }, pickers),
    el("div", { class: "switches" }, axisSwitch(state.log, (log) => { state.log = log; remember("axis", log ? "log" : "linear"); redraw(); }),
      el("label", { class: "inline" }, normalise, "each curve over its own range, 0 to 1")),
    note, figure, findings);
  onThemeChange(redraw, signal);
  signal.addEventListener("abort", () => discard(plot));
  redraw();
  await Promise.all(SIDES.map((side) => choose(side, query.get(side) ?? "")));
}

function picker(side, jobs, chosen, changed) {
  const options = jobs.map((job) => el("option", { value: job.id, selected: job.id === chosen }, `${job.name} (${job.state.toLowerCase()}, ${job.id})`));
  const select = el("select", { onchange: () => changed(select.value) }, el("option", { value: "" }, jobs.length ? "choose a job" : "there are no jobs yet"), options);
  return el("label", { class: `picker side-${side}` }, el("span", {}, side === "a" ? "First job" : "Second job"), select);
}

/** Loads a side, and again whenever its job has new results. */
async function watch(side, signal, redraw) {
  const load = async () => {
    side.curve = await get(jobPath(side.job.id, "trajectory"), signal);
    side.stages = side.curve.available?.includes("stages") ? await get(jobPath(side.job.id, "stages"), signal) : null;
  };
  await load();
  if (TERMINAL.has(side.job.state)) return;
  let timer = null;
  const later = () => {
    timer ??= setTimeout(async () => {
      timer = null;
      await load().then(redraw).catch(() => {});
    }, RESULTS_MS);
  };
  follow(side.job.id, { results: later, end: later }, signal);
  signal.addEventListener("abort", () => clearTimeout(timer));
}

async function show(state, { plot, figure, note, findings }) {
  const sides = SIDES.filter((side) => state[side]?.curve?.steps.length);
  const empty = SIDES.filter((side) => state[side] && !state[side].curve?.steps.length);
  figure.hidden = !sides.length;
  setText(note, empty.length ? `${state[empty[0]].job.name} has no estimate yet.` : SIDES.every((side) => state[side]) ? "" : "Choose two jobs above.");
  setChildren(findings, sides.map((side) => [state[side].job.id, state[side].stages]), () => boundaryTable(sides.map((side) => [side, state[side]])));
  if (!sides.length) return;
  const made = overlay(sides.map((side) => [side, state[side]]), { ...state, colors: theme(), width: Math.max(plot.clientWidth - MARGINS, 200) });
  plot.setAttribute("aria-label", sides.map((side) => `${state[side].job.name}: ${count(state[side].curve.steps.length, "checkpoint")}`).join("; "));
  setText(figure.lastChild, `LLC over training with boundaries and their 90 % intervals${state.normalised ? "; each curve over its own range" : ""}.`);
  try {
    await draw(plot, made, `${state.log} ${state.normalised}`);
    figure.dataset.sides = sides.join("");
  } catch (error) {
    setText(note, error.message);
  }
}

function overlay(sides, { log, normalised, colors, width }) {
  const axis = timeAxis(sides.flatMap(([, { curve }]) => curve.steps), log, sides[0][1].curve.step_unit);
  const data = [], shapes = [], annotations = [];
  let lanes = 0;
  for (const [side, { curve, stages }] of sides) {
    const [color, pale] = COLORS[side].map((name) => colors[name]);
    const shown = visible(curve.steps, axis);
    const scaled = scaleOf(curve.llc, normalised);
    const steps = shown.map((i) => curve.steps[i]), values = shown.map((i) => scaled.value(curve.llc[i]));
    const errors = shown.map((i) => scaled.size(curve.llc_std_error[i]));
    data.push(...band(steps, values, errors, "y2", pale));
    data.push({ ...line(steps, values, "y2", color, { marks: shown.map((i) => wrapped(pointSentence(curve, i))) }), name: side });
    data.at(-1).marker.symbol = side === "a" ? "circle" : "square";
    const marks = inLanes((stages?.boundaries ?? []).filter(({ step }) => axis.shows(step)).map((each) => ({
      step: each.step, low: axis.clip(each.low), high: axis.clip(each.high), label: `${stepText(each.step)} (${probability(each.probability)})`,
    })), axis, width, lanes);
    lanes = Math.max(lanes, ...marks.map((mark) => mark.lane + 1));
    for (const mark of marks) {
      shapes.push(...boundaryShapes(mark, color, pale, side));
      annotations.push(boundaryLabel(mark, color, log, colors));
    }
  }
  const total = Math.max(lanes, 1) * LANE + 10 + HEIGHT;
  const layout = {
    ...baseLayout(colors, total + 60, 10), shapes, annotations,
    xaxis: xLayout(axis, colors, "y2"),
    yaxis: { visible: false, fixedrange: true, domain: [(HEIGHT + 10) / total, 1], range: [-Math.max(lanes, 1) + 0.5, 0.5] },
    yaxis2: { ...yLayout(colors, normalised ? "LLC, over its own range" : "LLC"), domain: [0, HEIGHT / total] },
  };
  return { data, layout };
}

function scaleOf(values, normalised) {
  const known = values.filter(Number.isFinite);
  const low = Math.min(...known), span = Math.max(...known) - low || 1;
  const finite = (change) => (value) => (Number.isFinite(value) ? change(value) : null);
  if (!normalised) return { value: finite((value) => value), size: finite((value) => value) };
  return { value: finite((value) => (value - low) / span), size: finite((value) => value / span) };
}

function boundaryShapes(mark, color, pale, side) {
  const common = { xref: "x", layer: "below" };
  return [
    { ...common, type: "rect", yref: "y2 domain", x0: mark.low, x1: mark.high, y0: 0, y1: 1, line: { width: 0 }, fillcolor: pale },
    { ...common, type: "line", yref: "paper", x0: mark.step, x1: mark.step, y0: 0, y1: 0.99, line: { color, width: 1, dash: side === "a" ? "solid" : "dash" } },
  ];
}

function boundaryLabel(mark, color, log, colors) {
  const edge = mark.toLeft ? mark.low : mark.high;
  return {
    text: plain(mark.label), font: { size: 11, color }, bgcolor: colors.paper, showarrow: false, xref: "x", yref: "y",
    x: log ? Math.log10(edge) : edge, y: -mark.lane, xanchor: mark.toLeft ? "right" : "left", yanchor: "middle", xshift: mark.toLeft ? -6 : 6,
  };
}

function boundaryTable(sides) {
  const rows = sides.flatMap(([side, { job, stages }]) => (stages?.boundaries ?? []).map((each) => ({ side, job, each })))
    .toSorted((left, right) => left.each.step - right.each.step);
  if (!rows.length) return null;
  return [
    el("h2", {}, "Boundaries of both, in order"),
    table("Boundaries of both jobs", [["Job", "name"], ["Boundary", "n"], ["90 % interval", "tight"], ["Probability", "n"], ["Kind", "tight"]],
      rows.map(({ side, job, each }) => [
        el("a", { href: jobHref(job.id), class: `side-${side}` }, job.name), stepText(each.step), interval(each.low, each.high), probability(each.probability), each.kind,
      ])),
    el("p", { class: "note" }, sides.map(([, { job, curve }]) => {
      const known = curve.llc.filter(Number.isFinite);
      return known.length ? `${job.name}: LLC from ${number(Math.min(...known))} to ${number(Math.max(...known))}. ` : "";
    })),
  ];
}
