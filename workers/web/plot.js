// Puts figures on the page with plotly, which is fetched when the first one is drawn.

let library = null;

function plotly() {
  library ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "static/plotly.min.js";
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => { library = null; reject(new Error("The drawing library could not be fetched from the service.")); };
    document.head.append(script);
  });
  return library;
}

/** Draws, or draws anew what changed; a reader's zoom stays as long as `view` is the same text. */
export async function draw(node, { data, layout }, view) {
  const Plotly = await plotly();
  if (!node.isConnected) return;
  const touch = matchMedia("(pointer: coarse)").matches;
  await Plotly.react(node, data, {
    ...layout, uirevision: view, template: EMPTY_TEMPLATE,
    dragmode: touch ? false : "zoom", // a finger on the figure scrolls the page
  }, {
    responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"], displayModeBar: touch ? false : "hover",
    toImageButtonOptions: { format: "svg" }, showTips: false,
  });
}

const EMPTY_TEMPLATE = { layout: {}, data: {} };

/** Frees what plotly keeps for a figure. */
export function discard(node) {
  window.Plotly?.purge(node);
}

/**
 * Lets the reader go along a curve with the arrow keys: `tell(i)` is called with the point's index.
 * `curve()` gives plotly's number of the curve and how many points it has.
 */
export function walk(node, curve, tell) {
  let at = -1;
  const show = (i) => {
    const { number, length } = curve();
    if (!length) return;
    at = Math.min(Math.max(i, 0), length - 1);
    window.Plotly?.Fx.hover(node, [{ curveNumber: number, pointNumber: at }], "xy2");
    tell(at);
  };
  const keys = { ArrowLeft: () => at - 1, ArrowRight: () => at + 1, Home: () => 0, End: () => Infinity, PageUp: () => at - 10, PageDown: () => at + 10 };
  node.addEventListener("keydown", (event) => {
    if (event.key in keys && !event.altKey && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      show(keys[event.key]());
    }
  });
}
