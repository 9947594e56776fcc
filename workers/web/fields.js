// The fields of the form, and what they make: a job as plain data, or as YAML.

import { el } from "./dom.js";

export const SECTIONS = [
  { name: "job", title: "Job", columns: "two" },
  { name: "sampler", title: "Sampler", help: "Leave a field empty, or write auto, and short runs at a handful of checkpoints choose it." },
  { name: "more", title: "More settings", folded: true },
];

/** `key` is that of the job file; `number` fields become numbers, `lines` fields mappings, `items` lists. */
export const FIELDS = [
  { section: "job", key: "name", label: "Name", required: true, placeholder: "grokking", help: "Letters, digits, _ - and dots." },
  { section: "job", key: "problem", label: "Problem", required: true, list: "problems", help: "Model, data and loss: built in, or package.module:function." },
  { section: "job", key: "checkpoints", label: "Checkpoints", required: true, list: "roots", help: "The directory of checkpoints." },
  { section: "job", key: "events", label: "Events", list: "roots", help: "A table of dated events, columns name and step; may be left empty." },
  { section: "job", key: "problem_args", label: "Arguments of the problem", lines: 3, placeholder: "width: 16\nsingular_values: [8, 4, 2, 1]", help: "One a line, name: value, as the training used them." },
  { section: "job", key: "measures", label: "Measures", items: true, value: "loss, weight_norm, sparsity", help: "Beside the LLC, separated by commas: loss, weight_norm, sparsity, gradient_norm, and those of the problem." },
  { section: "sampler", key: "sampler.step_size", label: "Step size", number: true, placeholder: "auto", help: "Of the chains, for example 1e-4." },
  { section: "sampler", key: "sampler.n_beta", label: "n β", number: true, placeholder: "auto", help: "Inverse temperature times samples." },
  { section: "sampler", key: "sampler.localization", label: "Localization γ", number: true, placeholder: "auto", help: "How strongly chains are held to the checkpoint." },
  { section: "sampler", key: "sampler.draws", label: "Draws", number: true, placeholder: "auto", help: "Kept from each chain." },
  { section: "sampler", key: "sampler.burn_in", label: "Burn-in", number: true, placeholder: "auto", help: "Draws before these." },
  { section: "sampler", key: "sampler.chains", label: "Chains", number: true, value: "4", help: "Their spread is the error bar." },
  { section: "more", key: "sampler.kernel", label: "Kernel", list: "kernels", choices: ["sgld", "rmsprop_sgld", "mala", "sgnht"], value: "sgld", help: "The sampling algorithm." },
  { section: "more", key: "sampler.reference", label: "Reference", list: "references", choices: ["labels", "self"], value: "labels", help: "labels: the training loss; self: distance from the checkpoint's own outputs." },
  { section: "more", key: "sampler.batch_size", label: "Batch size", number: true, value: "256", help: "Samples per step of a chain." },
  { section: "more", key: "sampler.seed", label: "Seed", number: true, value: "0", help: "The same seed gives the same numbers." },
  { section: "more", key: "stages.axis", label: "Axis of the stages", list: "axes", choices: ["log", "linear"], value: "log", help: "log or linear: where slopes are taken." },
  { section: "more", key: "resources.gpus", label: "GPUs for a unit", number: true, value: "0", help: "Whole or a fraction." },
  { section: "more", key: "resources.cpus", label: "CPUs for a unit", number: true, value: "1", help: "Cores." },
];

/** A label, marked where the field must be filled. */
export function label(id, text, required = false) {
  return el("label", { for: id }, text, required && el("span", { class: "muted" }, " (required)"));
}

/**
 * The job that the form describes, without what was left empty.
 * @throws {Error} a line of a mapping that is not `name: value`.
 */
export function jobOf(inputs) {
  const job = {};
  for (const [key, { field, input }] of inputs) {
    const text = input.value.trim();
    if (!text) continue;
    const value = field.lines ? mapping(text, key) : field.items ? text.split(",").map((item) => item.trim()).filter(Boolean) : field.number ? numberOr(text) : text;
    const [section, leaf] = key.split(".");
    if (leaf) (job[section] ??= {})[leaf] = value;
    else job[key] = value;
  }
  return job;
}

/** Puts a job's values into the form. */
export function fill(inputs, job) {
  for (const [key, { field, input }] of inputs) {
    const value = key.split(".").reduce((part, name) => part?.[name], job);
    if (value === undefined || value === null) input.value = "";
    else if (field.lines) input.value = Object.entries(value).map(([name, each]) => `${name}: ${typeof each === "string" ? each : JSON.stringify(each)}`).join("\n");
    else input.value = field.items ? value.join(", ") : String(value);
  }
}

/** A job as YAML: a block mapping whose values are in JSON where they need it, which YAML is. */
export function toYaml(job, indent = "") {
  return Object.entries(job).map(([key, value]) => {
    if (value && typeof value === "object" && !Array.isArray(value) && !indent && key !== "problem_args") return `${key}:\n${toYaml(value, "  ")}`;
    return `${indent}${key}: ${scalar(value)}\n`;
  }).join("");
}

function scalar(value) {
  return typeof value === "string" && /^[\w/.-]+$/.test(value) && Number.isNaN(Number(value)) && !/^(true|false|yes|no|on|off|null|~)$/i.test(value)
    ? value : JSON.stringify(value);
}

/** A number, or the text as it is: the service says what is wrong with it. */
function numberOr(text) {
  const value = Number(text);
  return Number.isFinite(value) ? value : text;
}

function mapping(text, key) {
  const entries = text.split("\n").filter((line) => line.trim()).map((line) => {
    const [, name, value] = line.match(/^\s*([^:=\s]+)\s*[:=]\s*(.*?)\s*$/) ?? [];
    if (!name) throw new Error(`${key}: '${line.trim()}' is not name: value; write for example p: 53`);
    return [name, plainValue(value)];
  });
  return Object.fromEntries(entries);
}

function plainValue(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
