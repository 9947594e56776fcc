// Starts the page: which view the address asks for, the navigation, and whether the service is there.
// Addresses are #/, #/jobs/ID?axis=linear, #/compare?a=ID&b=ID, #/new: a reload shows the same again.

import { connection } from "./api.js";
import { compareView } from "./compare.js";
import { el, setText } from "./dom.js";
import { jobView } from "./job.js";
import { jobsView } from "./jobs.js";
import { submitView } from "./submit.js";

const VIEWS = { "": jobsView, jobs: jobView, compare: compareView, new: submitView };
const main = document.getElementById("main");
let leave = new AbortController();

/** Shows the view of the address; the one before is told to stop by its signal. */
async function route({ first = false } = {}) {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, id] = path.split("/");
  const view = VIEWS[name] ?? notFound;
  markNavigation(name === "jobs" && !id ? "" : name);
  main.replaceChildren();
  try {
    await (name === "jobs" && !id ? jobsView : view)(main, { id: decode(id ?? ""), query: new URLSearchParams(query ?? ""), signal });
  } catch (error) {
    if (!signal.aborted) main.replaceChildren(problem(error));
  }
  if (signal.aborted) return;
  document.title = `${main.querySelector("h1")?.textContent ?? "slt"} · slt`;
  if (!first) main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function markNavigation(name) {
  const shown = { "": "jobs", compare: "compare", new: "new" }[name];
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.route === shown) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function problem(error) {
  return el("div", { class: "problem", role: "alert" },
    el("h1", {}, error.status === 404 ? "Not here" : "This could not be shown"),
    el("p", {}, error.message),
    el("p", {}, el("button", { onclick: () => route() }, "Try again"), " ", el("a", { href: "#/" }, "All jobs")));
}

async function notFound() {
  throw Object.assign(new Error("There is no such page."), { status: 404 });
}

const status = document.getElementById("connection");
connection.addEventListener("lost", () => setText(status, "Connection lost. Trying again …"));
connection.addEventListener("found", () => setText(status, ""));
connection.addEventListener("unauthorised", () => location.assign("login"));
addEventListener("hashchange", () => route());
route({ first: true });
