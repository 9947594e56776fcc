// Numbers, steps and times as a reader says them; the same words as in the report.

const LOCALE = "en-GB";

/** A step to three significant digits, thousands separated: 40,100. */
export function stepText(step) {
  if (!Number.isFinite(step)) return "unknown";
  if (step !== 0 && Math.abs(step) < 100) return String(Number(step.toPrecision(3)));
  const digits = Math.max(String(Math.trunc(Math.abs(step))).length - 3, 0);
  return (Math.round(step / 10 ** digits) * 10 ** digits).toLocaleString(LOCALE);
}

/** A checkpoint's step in full: 123,456. */
export function exactStep(step) {
  return Number.isFinite(step) ? step.toLocaleString(LOCALE) : "unknown";
}

/** Two steps as a range. */
export function interval(low, high) {
  return `${stepText(low)} to ${stepText(high)}`;
}

/** A quantity to three significant digits, with a true minus sign; null and NaN are "n/a". */
export function number(value, signed = false) {
  if (!Number.isFinite(value)) return "n/a";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const plain = size >= 1000 && size < 1e7 ? Math.round(size).toLocaleString(LOCALE) : threeDigits(size);
  return (value < 0 ? "−" : signed ? "+" : "") + plain;
}

function threeDigits(size) {
  const text = size.toPrecision(3);
  return text.includes("e") || size < 1e-4 ? Number(text).toExponential().replace("-", "−").replace("+", "") : text.replace(/\.$/, "");
}

/** A probability to two digits; certainty is never claimed from a finite number of draws. */
export function probability(value) {
  return value > 0.995 ? ">0.99" : value.toFixed(2);
}

/** A p-value to two significant digits. */
export function pValue(value) {
  if (!Number.isFinite(value)) return "n/a";
  return value < 0.001 ? "<0.001" : String(Number(value.toPrecision(2)));
}

/** "no jobs", "1 job", "4 jobs". */
export function count(quantity, noun) {
  return `${quantity ? quantity.toLocaleString(LOCALE) : "no"} ${noun}${quantity === 1 ? "" : "s"}`;
}

/** A moment in the reader's own time: "today 14:05", "24 Nov 14:05". */
export function when(iso) {
  const date = new Date(iso ?? NaN);
  if (Number.isNaN(date.getTime())) return "";
  const clock = date.toLocaleTimeString(LOCALE, { hour: "2-digit", minute: "2-digit" });
  const now = new Date();
  if (date.toDateString() === now.toDateString()) return `today ${clock}`;
  const year = date.getFullYear() === now.getFullYear() ? undefined : "numeric";
  return `${date.toLocaleDateString(LOCALE, { day: "numeric", month: "short", year })} ${clock}`;
}

/** The time between two moments: "42 s", "3 min 20 s", "2 h 5 min"; "" if either is unknown. */
export function duration(from, to) {
  const seconds = Math.round((new Date(to ?? NaN) - new Date(from ?? NaN)) / 1000);
  if (!(seconds >= 0)) return "";
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/** A text with its first letter in upper case. */
export function firstUpper(text) {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}
