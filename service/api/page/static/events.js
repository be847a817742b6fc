// Server-sent events by fetch: `EventSource` cannot send a token.

import { call } from "./api.js";

// The server says something at least every 15 s.
const SILENCE_MAX_MS = 45_000;
const WAIT_MAX_MS = 30_000;

// Calls `onEvent` for each event until the last one, however often the line breaks; `onLine` hears how the line is.
// Raises what a repeat would not cure.
export async function follow(path, { signal, onEvent, onLine }) {
  let lastId = null;
  for (let failures = 0; ; failures += 1) {
    try {
      for await (const event of events(path, lastId, signal, onLine)) {
        if (signal.aborted) return;
        failures = 0;
        lastId = event.id;
        onEvent(event.name, event.data);
        if (event.name === "end" && event.data.reason !== "draining") return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status >= 400 && error.status < 500) throw error;
    }
    onLine("lost");
    const wait = Math.min(WAIT_MAX_MS, 500 * 2 ** failures);
    await pause(wait / 2 + (Math.random() * wait) / 2, signal);
    if (signal.aborted) return;
  }
}

async function* events(path, lastId, signal, onLine) {
  const headers = lastId === null ? {} : { "Last-Event-ID": lastId };
  const response = await call("GET", path, { headers, signal });
  onLine("live");
  let fields = {};
  for await (const line of lines(response.body)) {
    if (line === "") {
      if (fields.data !== undefined) yield { name: fields.event, id: fields.id, data: JSON.parse(fields.data) };
      fields = {};
    } else if (!line.startsWith(":")) {
      const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
      fields[name] = value;
    }
  }
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await soon(reader.read());
      if (done) return;
      const parts = (rest + value).split(/\r?\n/);
      rest = parts.pop();
      yield* parts;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function soon(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("silence")), SILENCE_MAX_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
