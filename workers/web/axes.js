// What the figures share: axes, text for plotly, curves, and where labels stand.

import { exactStep, number } from "./format.js";

export const FONT = '"Source Serif Pro", Charter, Georgia, "Times New Roman", serif';
const CHARACTER = 6.4; // pixels of a label's letter
const FINEST = 1500; // points across the axis; more cannot be told apart and make the page slow

/** Text as it is: plotly reads a little HTML in its texts, and names come from users. */
export function plain(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** The same in lines of about `width` letters, for the box under the pointer. */
export function wrapped(text, width = 52) {
  const lines = [""];
  for (const word of text.split(" ")) {
    if (lines.at(-1).length + word.length > width && lines.at(-1)) lines.push("");
    lines.push(`${lines.pop()}${word} `);
  }
  return lines.map((line) => plain(line.trim())).join("<br>");
}

/** The axis of time over `steps`: its limits with a margin, and where a step lies on it (0 to 1). */
export function timeAxis(steps, log, unit) {
  const shown = log ? steps.filter((step) => step > 0) : steps;
  const [low, high] = shown.length ? [Math.min(...shown), Math.max(...shown)] : log ? [1, 10] : [0, 1];
  const axis = { log, unit };
  if (log) {
    const margin = Math.max((high / low) ** 0.015, 1.02);
    Object.assign(axis, { low: low / margin, high: high * margin });
  } else {
    const margin = Math.max((high - low) * 0.015, 0.02);
    Object.assign(axis, { low: low - margin, high: high + margin });
  }
  const place = (step) => (log ? Math.log10(step) : step);
  axis.fraction = (step) => (place(step) - place(axis.low)) / (place(axis.high) - place(axis.low));
  axis.clip = (step) => Math.min(Math.max(step, axis.low), axis.high);
  axis.shows = (step) => step >= axis.low && step <= axis.high;
  return axis;
}

/** Indices of the points that the axis shows and a screen can tell apart. */
export function visible(steps, axis) {
  const taken = new Set();
  return steps.flatMap((step, i) => {
    const cell = Math.floor(axis.fraction(step) * FINEST);
    if (!axis.shows(step) || taken.has(cell)) return [];
    taken.add(cell);
    return [i];
  });
}

/** Plotly's x axis. */
export function xLayout(axis, colors, anchor) {
  const common = {
    title: { text: plain(axis.unit) + (axis.log ? " (logarithmic)" : ""), standoff: 6 }, anchor,
    gridcolor: colors.grid, linecolor: colors.grey, ticks: "outside", tickcolor: colors.grey, tickformat: "~s",
    zeroline: false, showline: true,
  };
  if (!axis.log) return { ...common, range: [axis.low, axis.high], nticks: 8 };
  const decades = Math.log10(axis.high / axis.low);
  const ticks = decades > 2 ? { dtick: 1, minor: { dtick: "D1", ticks: "outside", ticklen: 3 } } : { dtick: "D2" };
  return { ...common, ...ticks, type: "log", range: [Math.log10(axis.low), Math.log10(axis.high)] };
}

/** Plotly's y axis. */
export function yLayout(colors, title = "") {
  return {
    title: { text: title, standoff: 4 }, gridcolor: colors.grid, linecolor: colors.grey, showline: true,
    zerolinecolor: colors.grey, zerolinewidth: 0.6, ticks: "outside", tickcolor: colors.grey, ticklen: 3,
    tickfont: { size: 10.5 },
  };
}

/** What every figure's layout begins with. */
export function baseLayout(colors, height, top) {
  return {
    height, margin: { l: 50, r: 10, t: top, b: 44 }, font: { family: FONT, size: 12, color: colors.ink },
    hoverlabel: { font: { family: FONT, color: colors.ink }, bgcolor: colors.paper, bordercolor: colors.grey, align: "left" },
    hovermode: "closest", showlegend: false, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colors.grey, activecolor: colors.ink },
  };
}

/** A curve with its points; a null leaves a gap. `marks` are the sentences under the pointer. */
export function line(steps, values, yaxis, color, { width = 1.6, size = 4, marks = null, opacity = 1, dash = "solid" } = {}) {
  return {
    type: "scatter", mode: size ? "lines+markers" : "lines", x: steps, y: values, yaxis, opacity,
    line: { color, width, dash }, marker: { size, color }, connectgaps: false,
    ...(marks ? { hoverinfo: "text", hovertext: marks } : { hoverinfo: "skip" }),
  };
}

/** The band of one standard error, in one piece for each run of finite values. */
export function band(steps, middle, halfWidth, yaxis, color) {
  const known = (i) => Number.isFinite(middle[i]) && Number.isFinite(halfWidth[i]);
  const runs = [];
  steps.forEach((_, i) => {
    if (!known(i)) return;
    if (i > 0 && known(i - 1)) runs.at(-1).push(i);
    else runs.push([i]);
  });
  return runs.filter((run) => run.length > 1).map((run) => ({
    type: "scatter", mode: "lines", yaxis, line: { width: 0 }, fill: "toself", fillcolor: color, hoverinfo: "skip",
    x: [...run.map((i) => steps[i]), ...run.toReversed().map((i) => steps[i])],
    y: [...run.map((i) => middle[i] + halfWidth[i]), ...run.toReversed().map((i) => middle[i] - halfWidth[i])],
  }));
}

/** The words under the pointer at each point of a curve. */
export function pointWords(steps, values, name, unit) {
  return steps.map((step, i) => plain(`${unit} ${exactStep(step)}: ${name} ${number(values[i])}`));
}

/** Gives each mark {step, low, high, label} the first lane in which its label overlaps no other, on the side where it fits. */
export function inLanes(marks, axis, width, firstLane = 0) {
  const lanes = [];
  return marks.toSorted((a, b) => a.step - b.step).map((mark) => {
    const room = ((mark.label.length + 3) * CHARACTER) / width;
    let [left, right] = [axis.fraction(mark.low), axis.fraction(mark.high)];
    const toLeft = right + room > 1;
    [left, right] = toLeft ? [left - room, right + 0.03] : [left - 0.03, right + room];
    let lane = lanes.findIndex((taken) => taken.every(([a, b]) => right < a || left > b));
    if (lane < 0) lane = lanes.push([]) - 1;
    lanes[lane].push([left, right]);
    return { ...mark, lane: firstLane + lane, toLeft };
  });
}

/** A curve's height at a step, between its points. */
export function heightAt(step, steps, values, axis) {
  const known = steps.flatMap((at, i) => (Number.isFinite(values[i]) ? [i] : []));
  const after = known.findIndex((i) => steps[i] >= step);
  if (after <= 0) return values[known.at(after === 0 ? 0 : -1)];
  const [a, b] = [known[after - 1], known[after]];
  const share = (axis.fraction(step) - axis.fraction(steps[a])) / (axis.fraction(steps[b]) - axis.fraction(steps[a]));
  return values[a] + share * (values[b] - values[a]);
}
