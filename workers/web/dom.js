// Builds elements. Whatever comes from the server ends as a text node or an attribute, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `attributes` starting with "on" are listeners, true and false set or leave out; children may be nested. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for a part of a drawing. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Sets a node's text only where it differs, so that screen readers and selections are left in peace. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Replaces children only if `fingerprint` differs from that of the last call: a table is not rebuilt under a reader. */
export function setChildren(node, fingerprint, make) {
  const mark = JSON.stringify(fingerprint);
  if (made.get(node) === mark) return;
  made.set(node, mark);
  node.replaceChildren(...[make()].flat(Infinity).filter(Boolean));
}
const made = new WeakMap();

/** A table that scrolls sideways by itself where it is too wide; columns are [heading, "n" for numbers or ""]. */
export function table(caption, columns, rows, rowAttributes = () => ({})) {
  const head = columns.map(([text, kind]) => el("th", { scope: "col", class: kind }, text));
  const body = rows.map((cells, i) =>
    el("tr", rowAttributes(i), cells.map((cell, j) => el("td", { class: columns[j][1] || null }, cell))),
  );
  const inner = el("table", {}, el("caption", { class: "visually-hidden" }, caption), el("thead", {}, el("tr", {}, head)), el("tbody", {}, body));
  return el("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" }, inner);
}

/** Asks in a dialog; resolves to true if the user agrees. */
export function confirmed(title, sentence, verb) {
  return new Promise((resolve) => {
    const dialog = el(
      "dialog",
      { "aria-labelledby": "dialog-title", onclose: () => { dialog.remove(); resolve(dialog.returnValue === "yes"); } },
      el("form", { method: "dialog" },
        el("h2", { id: "dialog-title" }, title),
        el("p", {}, sentence),
        el("div", { class: "actions" },
          el("button", { value: "no" }, "Back"),
          el("button", { value: "yes", class: "primary" }, verb))),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Says something to screen readers alone. */
export function announce(sentence) {
  setText(document.getElementById("announcer"), sentence);
}
