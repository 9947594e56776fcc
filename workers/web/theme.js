// Colours and signs. The colours are style.css's, which has them from the report's palette, for light and for dark.

const NAMES = [
  "ink", "grey", "grid", "paper", "curve", "chain", "onset", "event", "event-ink", "measure", "band", "interval", "tentative",
  "rise", "fall", "flat", "other", "other-band", "alarm", "pink", "orange",
];

/** The page's colours as they are now. */
export function theme() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** Calls `draw` whenever the reader's system turns from light to dark or back. */
export function onThemeChange(draw, signal) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw, { signal });
}

export const OK = "ok";

/** Verdict -> colour, plotly's symbol, the same sign in a box of 22 by 14, and what it means. */
export const VERDICTS = {
  "diverged": {
    color: "alarm", symbol: "x-thin-open", path: "M7 3l8 8M15 3l-8 8",
    meaning: "a chain met a loss that is not finite, or the chains run away; a smaller step size",
  },
  "chains disagree": {
    color: "pink", symbol: "square-open", path: "M7 3h8v8h-8z",
    meaning: "the chains settled at different levels (R-hat); more draws or a smaller step size",
  },
  "still drifting": {
    color: "pink", symbol: "triangle-up-open", path: "M11 2.5l5 8.5h-10z",
    meaning: "the loss still moves in one direction; a longer burn-in",
  },
  "below the checkpoint's loss": {
    color: "event", symbol: "triangle-down-open", path: "M11 11.5l5-8.5h-10z",
    meaning: "the chains found lower losses: the checkpoint is not at a local minimum",
  },
  "saturated": {
    color: "orange", symbol: "circle-open", path: "M15 7a4 4 0 1 1-8 0a4 4 0 1 1 8 0z",
    meaning: "the chains' loss no longer depends on the checkpoint: the LLC mirrors the training loss",
  },
  "step too small": {
    color: "alarm", symbol: "diamond-open", path: "M11 2l5 5-5 5-5-5z",
    meaning: "the chains hardly moved within their draws; a larger step size, or more draws",
  },
  "step too large": {
    color: "orange", symbol: "hexagon-open", path: "M11 2l4.3 2.5v5L11 12l-4.3-2.5v-5z",
    meaning: "a tenth of the LLC or more is the step's: steep directions are shaken too much; a smaller step size",
  },
  "failed": {
    color: "alarm", symbol: "cross-open", path: "M11 2v10M6 7h10",
    meaning: "sampling raised an error; see its sentence",
  },
};

/** The sign of a verdict that this page does not know yet. */
export const UNKNOWN_VERDICT = { color: "alarm", symbol: "star-open", path: "M11 2v10M6 4l10 6M16 4l-10 6", meaning: "" };
