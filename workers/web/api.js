// Everything that goes over the wire. All addresses are relative: the service may live under a path.

/** What the service answered when it said no: its sentence, and the HTTP status (0: it could not be reached). */
export class ApiError extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** Fires "lost" and "found" as the service goes and comes back, and "unauthorised" when it wants a token. */
export const connection = new EventTarget();

const SECONDS_TO_ANSWER = 60;
const RETRY_MS = 2000;

/** JSON of GET `path`. */
export async function get(path, signal) {
  return (await request(path, { signal })).json();
}

/** Text of GET `path`. */
export async function getText(path, signal) {
  return (await request(path, { signal })).text();
}

/** JSON of POST `path` with `body`, which is JSON unless `type` says otherwise. */
export async function post(path, body, type = "application/json") {
  const text = typeof body === "string" ? body : JSON.stringify(body ?? {});
  return (await request(path, { method: "POST", body: text, headers: { "Content-Type": type } })).json();
}

/** The address of a job's resource: "report", "results", or "" for the job itself. */
export function jobPath(id, resource = "") {
  return `api/jobs/${encodeURIComponent(id)}${resource ? `/${resource}` : ""}`;
}

async function request(path, { signal, headers, ...options }) {
  const limit = AbortSignal.timeout(SECONDS_TO_ANSWER * 1000);
  let response;
  try {
    response = await fetch(path, {
      ...options,
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
      headers: { "X-SLT": "1", ...headers },
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    tell("lost");
    throw new ApiError(0, "The service does not answer. This page tries again by itself.");
  }
  tell("found");
  if (response.ok) return response;
  if (response.status === 401) tell("unauthorised");
  throw new ApiError(response.status, await sentenceOf(response));
}

async function sentenceOf(response) {
  try {
    const { error } = await response.json();
    if (typeof error === "string" && error) return error;
  } catch { /* not JSON: an intermediary answered */ }
  return `The service answered ${response.status} ${response.statusText}.`;
}

function tell(what) {
  connection.dispatchEvent(new Event(what));
}

/**
 * Follows a job's server-sent events until it ends or `signal` aborts: status(job), results({points}), end(job).
 * The browser reconnects after a broken connection; after an error answer (a proxy's 502) we do. A page that nobody
 * sees lets go of its stream: a browser opens only six connections to one service.
 */
export function follow(id, handlers, signal) {
  const stop = new AbortController();
  let source, timer;
  const close = () => { source?.close(); source = null; clearTimeout(timer); };
  const open = () => {
    close();
    if (document.hidden || stop.signal.aborted) return;
    source = new EventSource(jobPath(id, "events"));
    source.onopen = () => tell("found");
    source.onerror = () => {
      tell("lost");
      if (source?.readyState !== EventSource.CLOSED) return;
      get(jobPath(id), stop.signal).catch(() => {}); // says so if it is the token that is missing
      timer = setTimeout(open, RETRY_MS);
    };
    for (const name of ["status", "results", "end"]) {
      source.addEventListener(name, (event) => {
        if (name === "end") stop.abort();
        handlers[name]?.(JSON.parse(event.data));
      });
    }
  };
  stop.signal.addEventListener("abort", close);
  signal.addEventListener("abort", () => stop.abort());
  document.addEventListener("visibilitychange", open, { signal: stop.signal });
  open();
}

/** Calls `work` now and `pause()` ms after each end, while the page is seen; it is tried again after an error. */
export function poll(work, pause, signal) {
  let timer, busy = false;
  const turn = async () => {
    clearTimeout(timer);
    if (busy || signal.aborted) return;
    busy = true;
    if (!document.hidden) await work().catch(() => {});
    busy = false;
    if (!signal.aborted) timer = setTimeout(turn, pause());
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) turn(); }, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  turn();
}
