// What was found, in tables: verdicts, boundaries and onsets, stages, events.

import { el, table } from "./dom.js";
import { exactStep, count, firstUpper, interval, number, probability, pValue, stepText } from "./format.js";
import { OK, VERDICTS } from "./theme.js";

/** How many checkpoints got which verdict, and why those that are not ok. */
export function verdictsPart(curve) {
  const kinds = Map.groupBy(curve.verdicts.map((_, i) => i), (i) => curve.verdicts[i]);
  if (!kinds.size) return null;
  const rows = [...kinds].toSorted(([, a], [, b]) => b.length - a.length)
    .map(([kind, all]) => [kind, all.length.toLocaleString("en-GB"), kind === OK ? "nothing to object" : VERDICTS[kind]?.meaning ?? ""]);
  const doubtful = curve.verdicts.flatMap((kind, i) => (kind === OK ? [] : [i]));
  const reasons = doubtful.map((i) => [exactStep(curve.steps[i]), number(curve.llc[i]), curve.verdicts[i], curve.sentences?.[i] ?? ""]);
  return [
    el("h2", {}, "Verdicts on the estimates"),
    table("Verdicts", [["Verdict", "tight"], ["Checkpoints", "n"], ["Meaning", "wide"]], rows),
    doubtful.length > 0 && el("details", {}, el("summary", {}, `The ${count(doubtful.length, "checkpoint")} not ok, each with its reason`),
      table("Checkpoints not ok", [["Step", "n"], ["LLC", "n"], ["Verdict", "tight"], ["Reason", "wide"]], reasons)),
  ];
}

/** Boundaries, tentative ones in italics, each with the onset after it; then what limits the trust in them. */
export function boundariesPart(stages, curve) {
  if (!stages) return null;
  const all = [...stages.boundaries.map((each) => [each, false]), ...stages.tentative.map((each) => [each, true])]
    .toSorted(([a], [b]) => a.step - b.step);
  const landmark = (each) => (each ? [stepText(each.step), interval(each.low, each.high), probability(each.probability)] : ["", "", ""]);
  const rows = all.map(([each, tentative]) => [...landmark(each), `${each.kind}${tentative ? ", tentative" : ""}`, ...landmark(each.onset)]);
  const columns = [["Boundary", "n"], ["90 % interval", "tight"], ["Probability", "n"], ["Kind", "tight"], ["Onset after it", "n"], ["90 % interval", "tight"], ["Probability", "n"]];
  const first = stages.first_onset;
  return [
    el("h2", {}, "Boundaries and onsets"),
    rows.length ? table("Boundaries and onsets", columns, rows, (i) => ({ class: all[i][1] ? "tentative" : null })) : el("p", {}, "No boundary so far."),
    first && el("p", { class: "note" }, `The first burst of change begins at ${curve.step_unit} ${stepText(first.step)} (90 % interval ${interval(first.low, first.high)}).`),
    stages.warnings.length > 0 && el("details", {}, el("summary", {}, count(stages.warnings.length, "warning") + " of the detector"),
      el("ul", {}, stages.warnings.map((sentence) => el("li", {}, `${firstUpper(sentence)}.`)))),
  ];
}

/** The stages between the boundaries. */
export function stagesPart(stages) {
  if (!stages?.stages.length) return null;
  const sum = stages.stages.reduce((total, stage) => total + Math.abs(stage.change), 0);
  const rows = stages.stages.map((stage, i) => [
    String(i + 1), stepText(stage.start), stepText(stage.end),
    [el("span", { class: `swatch fill-${stage.kind}` }), stage.kind], number(stage.change, true), sum ? `${Math.round((100 * Math.abs(stage.change)) / sum)} %` : "",
  ]);
  return [el("h2", {}, "Stages"),
    table("Stages", [["Stage", "n"], ["Start", "n"], ["End", "n"], ["Kind", "tight"], ["Change of LLC", "n"], ["Share", "n"]], rows)];
}

/** The events that the job was given, as {name, step}: onsets of its own measures are not among them. */
export function eventsOf(comparison, measures) {
  return (comparison?.sightings ?? []).filter(({ group }) => !(group in measures)).map(({ event, step }) => ({ name: event, step }));
}

/** Which of the given events were seen, and whether chance would do as well. */
export function eventsPart(comparison, measures) {
  const given = (comparison?.sightings ?? []).filter(({ group }) => !(group in measures));
  if (!given.length) return null;
  const step = (value) => (Number.isFinite(value) ? stepText(value) : "");
  const rows = given.map((sighting) => [
    sighting.event, step(sighting.step), sighting.seen ? "yes" : "no", step(sighting.boundary_step), step(sighting.onset_step),
  ]);
  const groups = comparison.groups.filter(({ group }) => !(group in measures));
  return [
    el("h2", {}, "Events"),
    table("Events", [["Event", "name"], ["Step", "n"], ["Seen", "tight"], ["Nearest boundary", "n"], ["Nearest onset", "n"]], rows),
    el("p", { class: "note" }, `Seen: a boundary or an onset within ${comparison.tolerance} decades. `,
      groups.map((group) => `${group.group || "All events"}: ${Number.isFinite(group.p_value) ? `p ${pValue(group.p_value)}. ` : ""}${group.note} `)),
  ];
}
