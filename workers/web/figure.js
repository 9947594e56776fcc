// The figure of one job as plotly takes it: landmarks' labels, the LLC, the ribbon of stages, a panel for each measure.
// A pure function of what the service sent; plot.js puts it on the page.

import { band, baseLayout, heightAt, inLanes, line, plain, pointWords, timeAxis, visible, wrapped, xLayout, yLayout } from "./axes.js";
import { exactStep, interval, number, probability, stepText } from "./format.js";
import { OK, UNKNOWN_VERDICT, VERDICTS } from "./theme.js";

const LANE = 18, RIBBON = 20, PANEL = 84, GAP = 21, TOP = 10; // pixels
const LONGEST_LABEL = 28;
const AT_LEAST_PROBABLE = 0.5;

/** The panels that measures fill: those whose names differ in a last number share one. */
export function panelsOf(measures) {
  const families = Map.groupBy(Object.keys(measures), (name) => name.match(/^(.+)_\d+$/)?.[1] ?? name);
  return [...families].flatMap(([family, names]) =>
    names.length > 2 ? [{ title: `${family}_1 … ${names.length}`, names }] : names.map((name) => ({ title: name, names: [name] })),
  );
}

/**
 * @param {object} job `{curve, stages, events}`: the trajectory document, the stages document or null, events or [].
 * @param {object} options `{log, colors, width, panels}`: the axis, the theme, the plot's pixels, the titles of the panels to show.
 * @returns {{data, layout, steps, notes}} the figure, the steps of its LLC points, and what it could not show.
 */
export function jobFigure({ curve, stages, events }, { log, colors, width, panels }) {
  const axis = timeAxis(curve.steps, log, curve.step_unit);
  const shown = visible(curve.steps, axis);
  const chosen = panelsOf(curve.measures).filter((panel) => panels.has(panel.title) && hasNumbers(panel, curve, shown));
  const at = (column) => shown.map((i) => column?.[i] ?? null);
  const llc = { steps: at(curve.steps), values: at(curve.llc), errors: at(curve.llc_std_error) };
  llc.range = heightRange(llc.values, curve.llc_chains && shown.flatMap((i) => curve.llc_chains[i]));
  const boundaries = inLanes(boundaryMarks(stages, axis), axis, width);
  const lanesOfBoundaries = 1 + Math.max(-1, ...boundaries.map((mark) => mark.lane));
  const happened = inLanes(eventMarks(events, axis), axis, width, lanesOfBoundaries);
  const rows = heights(Math.max(1, lanesOfBoundaries, ...happened.map((mark) => mark.lane + 1)), width, stages, chosen);
  const data = [
    ...strip(boundaries, happened, colors), ...chains(curve, shown, llc, colors),
    ...band(llc.steps, llc.values, llc.errors, "y2", colors.band), llcLine(curve, shown, llc, colors),
    ...flags(curve, shown, llc, colors), ...onsets(stages, llc, axis, colors), ...ribbonLabels(stages, axis, width, colors),
    ...chosen.flatMap((panel, i) => panelLines(panel, curve, shown, `y${4 + i}`, colors)),
  ];
  const layout = {
    ...layoutOf(rows, axis, colors, llc.range, chosen, curve, shown),
    shapes: [...landmarkShapes(boundaries, happened, rows, colors), ...ribbonShapes(stages, axis, colors)],
  };
  layout.annotations = [...labels(boundaries, happened, axis, colors), ...panelTitles(chosen)];
  return { data, layout, axis, shown, notes: notes(curve, axis, events) };
}

function hasNumbers(panel, curve, shown) {
  return panel.names.some((name) => shown.some((i) => Number.isFinite(curve.measures[name][i])));
}

function heights(lanes, width, stages, chosen) {
  const rows = [lanes * LANE, width < 480 ? 260 : 320, stages?.stages.length ? RIBBON : 1, ...chosen.map(() => PANEL)];
  const total = rows.reduce((sum, row) => sum + row + GAP, -GAP);
  let top = total;
  const domains = rows.map((row) => {
    const domain = [Math.max((top - row) / total, 0), top / total];
    top -= row + GAP;
    return domain;
  });
  return { total, domains, lanes };
}

function layoutOf(rows, axis, colors, range, chosen, curve, shown) {
  const hidden = { visible: false, fixedrange: true };
  const layout = {
    ...baseLayout(colors, rows.total + TOP + 44, TOP),
    xaxis: xLayout(axis, colors, `y${rows.domains.length}`),
    yaxis: { ...hidden, domain: rows.domains[0], range: [-rows.lanes + 0.5, 0.5] },
    yaxis2: { ...yLayout(colors, "LLC"), domain: rows.domains[1], range },
    yaxis3: { ...hidden, domain: rows.domains[2], range: [0, 1] },
  };
  chosen.forEach((panel, i) => {
    layout[`yaxis${4 + i}`] = { ...yLayout(colors), ...scale(panel, curve, shown), domain: rows.domains[3 + i] };
  });
  return layout;
}

/** A panel is logarithmic where all is positive and spans more than two decades; then with few labels. */
function scale(panel, curve, shown) {
  const known = panel.names.flatMap((name) => shown.map((i) => curve.measures[name][i])).filter(Number.isFinite);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  if (!(low > 0 && high > 100 * low)) return { nticks: 4 };
  return { type: "log", dtick: Math.max(1, Math.ceil(Math.log10(high / low) / 4)), exponentformat: "power" };
}

/** The curve and its chains, but no chain may squash the curve to under half. */
function heightRange(values, chainValues) {
  const known = values.filter(Number.isFinite);
  if (!known.length) return [0, 1];
  let [low, high] = [Math.min(...known), Math.max(...known)];
  const span = high - low || Math.abs(high) || 1;
  const others = (chainValues ?? []).filter(Number.isFinite);
  low = Math.max(Math.min(low, ...others), low - span / 2);
  high = Math.min(Math.max(high, ...others), high + span / 2);
  return [low - 0.05 * span, high + 0.05 * span];
}

function boundaryMarks(stages, axis) {
  const mark = (tentative) => (boundary) => ({
    step: boundary.step, low: axis.clip(boundary.low), high: axis.clip(boundary.high), tentative,
    label: `${stepText(boundary.step)} (${probability(boundary.probability)})`,
    detail: `${tentative ? "tentative " : ""}boundary, ${boundary.kind}: ${axis.unit} ${stepText(boundary.step)}, 90 % interval ` +
      `${interval(boundary.low, boundary.high)}, probability ${probability(boundary.probability)}`,
  });
  const all = stages ? [...stages.boundaries.map(mark(false)), ...stages.tentative.map(mark(true))] : [];
  return all.filter(({ step }) => axis.shows(step));
}

function eventMarks(events, axis) {
  return events.filter((event) => axis.shows(event.step)).map((event) => ({
    step: event.step, low: event.step, high: event.step, detail: `${event.name}: ${axis.unit} ${stepText(event.step)}`,
    label: event.name.length > LONGEST_LABEL ? `${event.name.slice(0, LONGEST_LABEL - 1)}…` : event.name,
  }));
}

function strip(boundaries, events, colors) {
  const rows = [[boundaries, "line-ns-open", colors.ink, 11], [events, "triangle-down", colors.event, 9]];
  return rows.filter(([marks]) => marks.length).map(([marks, symbol, color, size]) => ({
    type: "scatter", mode: "markers", yaxis: "y", x: marks.map((mark) => mark.step), y: marks.map((mark) => -mark.lane),
    marker: { symbol, color, size, line: { width: 1.5, color } }, cliponaxis: false,
    error_x: {
      type: "data", symmetric: false, array: marks.map((mark) => mark.high - mark.step),
      arrayminus: marks.map((mark) => mark.step - mark.low), color, thickness: 1, width: 3,
    },
    hoverinfo: "text", hovertext: marks.map((mark) => wrapped(mark.detail)),
  }));
}

function chains(curve, shown, llc, colors) {
  const C = curve.llc_chains?.[0]?.length ?? 0;
  return Array.from({ length: C }, (_, c) =>
    line(llc.steps, shown.map((i) => curve.llc_chains[i][c]), "y2", colors.chain, { width: 0.8, size: 0, opacity: 0.55 }));
}

function llcLine(curve, shown, llc, colors) {
  const marks = shown.map((i) => wrapped(pointSentence(curve, i)));
  return { ...line(llc.steps, llc.values, "y2", colors.curve, { marks }), name: "LLC" };
}

/** All there is to say of one checkpoint. */
export function pointSentence(curve, i) {
  const error = Number.isFinite(curve.llc_std_error?.[i]) ? ` ± ${number(curve.llc_std_error[i])}` : "";
  const verdict = curve.verdicts[i] ? `, ${curve.verdicts[i]}` : "";
  const sentence = curve.sentences?.[i] ? `: ${curve.sentences[i]}` : "";
  return `${curve.step_unit} ${exactStep(curve.steps[i])}: LLC ${number(curve.llc[i])}${error}${verdict}${sentence}`;
}

/** The kinds of verdict that are not ok, in the order of their first checkpoint. */
export function flagKinds(curve) {
  return [...new Set(curve.verdicts)].filter((kind) => kind && kind !== OK);
}

function flags(curve, shown, llc, colors) {
  const floor = llc.range[0] + 0.02 * (llc.range[1] - llc.range[0]);
  return flagKinds(curve).map((kind) => {
    const { color, symbol } = VERDICTS[kind] ?? UNKNOWN_VERDICT;
    const chosen = shown.flatMap((i, row) => (curve.verdicts[i] === kind ? [row] : []));
    return {
      type: "scatter", mode: "markers", yaxis: "y2", x: chosen.map((row) => llc.steps[row]),
      y: chosen.map((row) => llc.values[row] ?? floor),
      marker: { symbol, color: colors[color], size: 7, line: { width: 1.2, color: colors[color] } },
      hoverinfo: "text", hovertext: chosen.map((row) => wrapped(pointSentence(curve, shown[row]))),
    };
  });
}

function onsets(stages, llc, axis, colors) {
  const all = stages ? [stages.first_onset, ...[...stages.boundaries, ...stages.tentative].map((each) => each.onset)] : [];
  const marks = all.filter((onset) => onset && axis.shows(onset.step));
  if (!marks.length || !llc.values.some(Number.isFinite)) return [];
  return [{
    type: "scatter", mode: "markers", yaxis: "y2", x: marks.map((onset) => onset.step),
    y: marks.map((onset) => heightAt(onset.step, llc.steps, llc.values, axis)),
    marker: {
      symbol: marks.map((onset) => (onset.probability < AT_LEAST_PROBABLE ? "diamond-open" : "diamond")),
      color: colors.onset, size: 9, line: { color: colors.paper, width: 1 },
    },
    error_x: {
      type: "data", symmetric: false, array: marks.map((onset) => axis.clip(onset.high) - onset.step),
      arrayminus: marks.map((onset) => onset.step - axis.clip(onset.low)), color: colors.onset, thickness: 1.4, width: 3,
    },
    hoverinfo: "text",
    hovertext: marks.map((onset) => wrapped(`onset: ${axis.unit} ${stepText(onset.step)}, 90 % interval ` +
      `${interval(onset.low, onset.high)}, probability ${probability(onset.probability)}`)),
  }];
}

function panelLines(panel, curve, shown, yaxis, colors) {
  const steps = shown.map((i) => curve.steps[i]);
  return panel.names.map((name, k) => {
    const values = shown.map((i) => curve.measures[name][i]);
    const style = panel.names.length > 1 ? { size: 2, opacity: 1 - (0.75 * k) / panel.names.length } : { size: 2.5 };
    return line(steps, values, yaxis, colors.measure, { width: 1.2, marks: pointWords(steps, values, name, curve.step_unit), ...style });
  });
}

function panelTitles(chosen) {
  return chosen.map((panel, i) => ({
    text: `<b>${plain(panel.title)}</b>`, font: { size: 11 }, showarrow: false, xref: "paper", yref: `y${4 + i} domain`,
    x: 0, y: 1, xanchor: "left", yanchor: "bottom",
  }));
}

/** Labels stand on the page's colour, so that no line crosses a letter. */
function labels(boundaries, events, axis, colors) {
  const rows = [...boundaries.map((mark) => [mark, mark.tentative ? colors.grey : colors.ink]), ...events.map((mark) => [mark, colors["event-ink"]])];
  return rows.map(([mark, color]) => {
    const edge = mark.toLeft ? mark.low : mark.high;
    return {
      text: plain(mark.label), font: { size: 11, color }, bgcolor: colors.paper, borderpad: 0, showarrow: false,
      // An annotation takes the logarithm on a logarithmic axis, a shape the value itself.
      x: axis.log ? Math.log10(edge) : edge, y: -mark.lane, xref: "x", yref: "y",
      xanchor: mark.toLeft ? "right" : "left", yanchor: "middle", xshift: mark.toLeft ? -6 : 6,
    };
  });
}

/** Bands and lines through all panels, each starting at its label's lane. */
function landmarkShapes(boundaries, events, rows, colors) {
  const vertical = (mark, color, dash, width) => ({
    type: "line", xref: "x", yref: "paper", x0: mark.step, x1: mark.step, y0: 0,
    y1: 1 - ((mark.lane + 0.5) * LANE) / rows.total, layer: "between", line: { color, width, dash },
  });
  const bands = boundaries.map((mark) => ({
    type: "rect", xref: "x", yref: "paper", x0: mark.low, x1: mark.high, y0: 0, y1: rows.domains[1][1],
    layer: "between", line: { width: 0 }, fillcolor: mark.tentative ? colors.tentative : colors.interval,
  }));
  const lines = boundaries.map((mark) => vertical(mark, mark.tentative ? colors.grey : colors.ink, mark.tentative ? "dash" : "solid", 1));
  return [...bands, ...lines, ...events.map((mark) => vertical(mark, colors.event, "dot", 1.2))];
}

function spans(stages, axis) {
  return (stages?.stages ?? []).map((stage, i) => ({ ...stage, number: i + 1, start: axis.clip(stage.start), end: axis.clip(stage.end) }))
    .filter((span) => span.end > span.start);
}

function ribbonShapes(stages, axis, colors) {
  return spans(stages, axis).map((span) => ({
    type: "rect", xref: "x", yref: "y3", x0: span.start, x1: span.end, y0: 0, y1: 1, layer: "between",
    line: { color: colors.paper, width: 1 }, fillcolor: colors[span.kind] ?? colors.flat,
  }));
}

function ribbonLabels(stages, axis, width, colors) {
  const all = spans(stages, axis);
  if (!all.length) return [];
  const words = all.map((span) => {
    const room = (axis.fraction(span.end) - axis.fraction(span.start)) * width;
    return [`${span.number} ${span.kind}`, `${span.number}`].find((text) => text.length * 7 < room) ?? "";
  });
  return [{
    type: "scatter", mode: "text", yaxis: "y3", y: all.map(() => 0.5), text: words, textfont: { size: 11, color: colors.ink },
    x: all.map((span) => (axis.log ? Math.sqrt(span.start * span.end) : (span.start + span.end) / 2)), hoverinfo: "text",
    hovertext: all.map((span) => wrapped(`stage ${span.number}: ${span.kind}, ${interval(span.start, span.end)}, LLC ${number(span.change, true)}`)),
  }];
}

function notes(curve, axis, events) {
  const sentences = [];
  const unseen = axis.log ? curve.steps.findIndex((step) => step <= 0) : -1;
  if (unseen >= 0) {
    sentences.push(`The checkpoint at ${curve.step_unit} ${exactStep(curve.steps[unseen])} (LLC ${number(curve.llc[unseen])}) has no place on a logarithmic axis and is not drawn.`);
  }
  const missing = curve.llc.filter((value) => !Number.isFinite(value)).length;
  if (missing) sentences.push(`${missing === 1 ? "1 checkpoint without an estimate leaves a gap" : `${missing} checkpoints without an estimate leave gaps`}.`);
  const outside = events.filter((event) => !axis.shows(event.step));
  if (outside.length) sentences.push(`Outside the checkpoints' range and not drawn: ${outside.map((event) => `${event.name} (${stepText(event.step)})`).join(", ")}.`);
  return sentences;
}
