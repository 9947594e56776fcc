// The form for a new job: fields with help, or a whole job file. What the service objects to stands beside it.

import { get, jobPath, post } from "./api.js";
import { el, setText } from "./dom.js";
import { FIELDS, fill, jobOf, label, SECTIONS, toYaml } from "./fields.js";
import { jobHref } from "./jobs.js";

export async function submitView(main, { query, signal }) {
  const [{ problems }, { roots }, from] = await Promise.all([
    get("api/problems", signal), get("api/roots", signal), query.get("from") ? get(jobPath(query.get("from")), signal) : null,
  ]);
  const error = el("p", { class: "problem", role: "alert" });
  const inputs = new Map();
  const fields = SECTIONS.map((section) => sectionOf(section, inputs, { problems, roots }));
  let edited = false;
  const yaml = el("textarea", {
    id: "yaml", rows: 22, spellcheck: "false", "aria-describedby": "yaml-help", oninput: () => { edited = yaml.value.trim() !== ""; },
  });
  const follow = el("input", { type: "checkbox", id: "follow", "aria-describedby": "follow-help" });
  const panes = {
    form: el("div", { role: "tabpanel", id: "pane-form", "aria-labelledby": "tab-form" }, fields),
    yaml: el("div", { role: "tabpanel", id: "pane-yaml", "aria-labelledby": "tab-yaml", hidden: true }, label("yaml", "Job file"), yaml,
      el("p", { class: "help", id: "yaml-help" }, "The job file as slt run reads it; out is left aside, the service chooses the folder. Changes here do not go back into the form.")),
  };
  const tabs = tabList(panes, (name) => { if (name === "yaml" && !edited) yaml.value = yamlOf(inputs, error); });
  const send = el("button", { class: "primary" }, "Submit");
  const form = el("form", { class: "submit", novalidate: true }, tabs.node, panes.form, panes.yaml,
    el("div", { class: "field check" }, follow, label("follow", "Follow the directory"),
      el("p", { class: "help", id: "follow-help" }, "Training is still writing checkpoints: estimate each as soon as it is complete, and go on until training ends.")),
    error, el("div", { class: "actions" }, send));
  main.append(el("h1", {}, "New job"), form);
  if (from?.job) fill(inputs, from.job);
  follow.checked = Boolean(from?.follow);

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    setText(error, "");
    clear(inputs);
    send.disabled = true;
    try {
      const job = tabs.current() === "yaml"
        ? await post(`api/jobs?follow=${follow.checked}`, yaml.value, "application/yaml")
        : await post("api/jobs", { job: jobOf(inputs), follow: follow.checked });
      location.hash = jobHref(job.id);
    } catch (problem) {
      setText(error, problem.message);
      point(inputs, problem.message, tabs.current() === "form");
    } finally {
      send.disabled = false;
    }
  });
}

function yamlOf(inputs, error) {
  try {
    return toYaml(jobOf(inputs));
  } catch (problem) {
    setText(error, problem.message);
    return "";
  }
}

function sectionOf(section, inputs, lists) {
  const rows = FIELDS.filter((field) => field.section === section.name).map((field) => row(field, inputs, lists));
  const grid = el("div", { class: `grid ${section.columns ?? ""}` }, rows);
  if (section.folded) return el("details", { class: "fields" }, el("summary", {}, section.title), grid);
  return el("fieldset", { class: "fields" }, el("legend", {}, section.title), section.help && el("p", { class: "help" }, section.help), grid);
}

function row(field, inputs, lists) {
  const id = `field-${field.key.replace(".", "-")}`;
  const common = { id, name: field.key, "aria-describedby": `${id}-help`, placeholder: field.placeholder, required: field.required };
  const input = field.lines ? el("textarea", { ...common, rows: field.lines, spellcheck: "false" })
    : el("input", { ...common, value: field.value ?? "", list: field.list ? `${id}-list` : null, inputmode: field.number ? "decimal" : null, autocomplete: "off", spellcheck: "false" });
  inputs.set(field.key, { field, input, wrong: el("p", { class: "wrong", id: `${id}-wrong` }) });
  const choices = field.list && el("datalist", { id: `${id}-list` }, (lists[field.list] ?? field.choices ?? []).map((value) => el("option", { value })));
  const hint = field.key === "checkpoints" && lists.roots.length ? ` It lies in ${lists.roots.join(" or ")}.`
    : field.list === "problems" && lists.problems.length ? ` This service knows ${lists.problems.join(", ")}.` : "";
  return el("div", { class: "field" }, label(id, field.label, field.required), input, choices,
    el("p", { class: "help", id: `${id}-help` }, field.help + hint), inputs.get(field.key).wrong);
}

/** Marks the field that a sentence of the service begins with, and goes there. */
function point(inputs, sentence, visible) {
  const named = sentence.match(/^(?:unknown key )?'?([a-z_]+(?:\.[a-z_]+)?)'?(?=[\s:])/)?.[1];
  const entry = inputs.get(named) ?? inputs.get(named?.split(".")[0]);
  if (!entry || !visible) return;
  entry.input.setAttribute("aria-invalid", "true");
  entry.input.setAttribute("aria-errormessage", entry.wrong.id);
  setText(entry.wrong, sentence);
  entry.input.closest("details")?.setAttribute("open", "");
  entry.input.focus();
}

function clear(inputs) {
  for (const { input, wrong } of inputs.values()) {
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-errormessage");
    setText(wrong, "");
  }
}

/** Tabs as keyboards know them: one stop, arrows between them. */
function tabList(panes, shown) {
  const names = { form: "Form", yaml: "YAML" };
  let current = "form";
  const buttons = Object.keys(panes).map((name) => el("button", {
    type: "button", role: "tab", id: `tab-${name}`, "aria-controls": panes[name].id, onclick: () => choose(name),
    onkeydown: (event) => {
      if (event.key === "ArrowLeft" || event.key === "ArrowRight") choose(name === "form" ? "yaml" : "form", true);
    },
  }, names[name]));
  const choose = (name, focus = false) => {
    current = name;
    for (const button of buttons) {
      const own = button.id === `tab-${name}`;
      button.setAttribute("aria-selected", String(own));
      button.tabIndex = own ? 0 : -1;
      if (own && focus) button.focus();
    }
    for (const [key, pane] of Object.entries(panes)) pane.hidden = key !== name;
    shown(name);
  };
  choose("form");
  return { node: el("div", { class: "tabs", role: "tablist", "aria-label": "How to write the job" }, buttons), current: () => current };
}
