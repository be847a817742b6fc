// One run, live: its way to Delta, the counts that must be equal, and what is wrong when something is.

import { asCurl, call } from "./api.js";
import { equations } from "./balance.js";
import { blame } from "./blame.js";
import { button, h, hidden, say, show, symbol } from "./dom.js";
import { follow } from "./events.js";
import { chip, copyCommand, dialog, problem } from "./parts.js";
import { stages } from "./stages.js";
import { requestOf, start } from "./start.js";
import { count, day, exactly, plural, reason, span, took } from "./words.js";

const SILENT_AFTER_S = 6;
const ENDS = {
  settled: "Nothing will change any more.",
  no_receipt: "The table job has not taken it for 15 minutes. Look at the table job; load this page again to go on waiting.",
  forgotten: "The run was removed from the store: it is older than RUN_HISTORY_DAYS.",
};

export function run(place, { id, signal }) {
  document.title = "Run – dxr-ingest";
  const parts = Object.fromEntries(["top", "error", "way", "balance", "facts"].map((name) => [name, h("div")]));
  const line = h("p", { class: "note line" }, "Asking the service …");
  const notice = h("div");
  place.append(h("div", { class: "stack" }, parts.top, line, notice, parts.error, parts.way, parts.balance, parts.facts));
  let shown = null;
  let before = null;
  let speed = null;
  let heard = performance.now();

  function draw(told) {
    if (shown && shown.state !== told.state) say(`The run is ${told.state}.`);
    shown = told;
    document.title = `${told.state}: ${told.dataset} – dxr-ingest`;
    if (told.ended_at) notice.replaceChildren();
    show(parts.top, top(told, notice));
    show(parts.error, told.error && failure(told));
    drawWay();
    show(parts.balance, balance(told));
    show(parts.facts, facts(told));
  }

  function drawWay() {
    const silent = Math.floor((performance.now() - heard) / 1000);
    show(parts.way, way(shown, silent < SILENT_AFTER_S ? speed : null, silent));
  }

  function onEvent(name, data) {
    heard = performance.now();
    if (name === "end") {
      line.textContent = ENDS[data.reason] ?? "";
      return;
    }
    if (name === "run") draw(data);
    else {
      speed = before?.attempt === data.attempt ? speedOf(before, data) : null;
      before = data;
      shown = { ...shown, state: data.state, attempt: data.attempt, progress: data.progress };
      drawWay();
    }
  }

  const ticking = setInterval(() => shown?.state === "running" && drawWay(), 1000);
  signal.addEventListener("abort", () => clearInterval(ticking), { once: true });

  const onLine = (state) => {
    line.textContent = state === "live" ? "Live: what changes shows here within a second or two." : "The line is broken; trying again …";
  };
  follow(`/v1/runs/${id}/events`, { signal, onEvent, onLine }).catch((error) => {
    if (signal.aborted) return;
    line.textContent = "";
    show(notice, problem(error), h("p", {}, h("a", { href: "#/runs" }, "Show all runs")));
  });
}

function speedOf(before, now) {
  const seconds = (new Date(now.at) - new Date(before.at)) / 1000;
  const per = (name) => ((now.progress[name] ?? 0) - (before.progress[name] ?? 0)) / seconds;
  return seconds > 0 ? { rows: per("rows"), bytes: per("raw_bytes") } : null;
}

function top(told, notice) {
  const active = told.state === "queued" || told.state === "running";
  const [path, body] = requestOf(told);
  return [h("div", { class: "head" },
    h("div", {},
      h("h1", {}, told.dataset, " ", h("span", { class: "of-day" }, day(told.ingestion_date))),
      h("p", { class: "chips" }, chip(told.state), h("span", { class: "tag" }, told.kind),
        told.attempt > 1 && h("span", { class: "tag" }, `attempt ${told.attempt}`))),
    h("div", { class: "actions" },
      active && button("Cancel run", () => cancel(told, notice), { id: "cancel", class: "danger" }),
      button("Run again", () => start(told.kind, body), { id: "again", class: told.error ? "main" : "" }),
      button("Copy as curl", () => copyCommand(asCurl("POST", path, body)), { id: "curl" })))];
}

function cancel(told, notice) {
  const sure = dialog("Cancel this run?",
    h("p", {}, "What it has read so far is thrown away; the table keeps what it had. A run that is just landing may land all the same."),
    h("div", { class: "actions" },
      button("Cancel run", async () => {
        sure.close();
        try {
          await call("POST", `/v1/runs/${told.id}/cancel`);
          show(notice, h("p", { role: "status" }, "Asked to stop; it may take a moment."));
        } catch (error) {
          show(notice, problem(error));
        }
      }, { class: "danger" }),
      button("Let it run", () => sure.close())));
}

function failure({ error, attempt }) {
  const whose = blame(error.code);
  return h("section", { class: "card failure", "aria-labelledby": "failure" },
    h("h2", { id: "failure" }, symbol("failed"), "Why it failed"),
    h("p", { class: "what" }, error.message),
    error.hint && h("p", {}, h("b", {}, "What to do: "), error.hint),
    h("dl", { class: "facts" },
      pair("Where to look", whose ?? "–"),
      pair("A retry", error.retryable ? "helps: run it again" : "does not help before this is changed"),
      pair("Tried", plural(attempt, "time")),
      pair("Code", h("code", {}, error.code))));
}

function way(told, speed, silent) {
  const boxes = stages(told, speed).map(({ name, state, word, figures }) =>
    h("li", { class: `stage ${state}` },
      h("h3", {}, symbol(state), name, hidden(`: ${word}`)),
      h("p", { class: "note", "aria-hidden": "true" }, word),
      figures.length > 0 && h("dl", {}, figures.map(([label, value]) => pair(label, value)))));
  return [h("section", { class: "card", "aria-labelledby": "way" },
    h("h2", { id: "way" }, "Its way to Delta"),
    h("ol", { class: "stages" }, boxes),
    silence(told, silent),
    estimate(told),
    lanes(told))];
}

// A classification may wait for a job for minutes; a snapshot that stands still is worth a look.
function silence({ state, kind }, silent) {
  if (state !== "running" || kind !== "snapshot" || silent < SILENT_AFTER_S) return null;
  return h("p", { class: "hint" }, `Nothing new for ${span(silent)}. After DXR_HTTP_TIMEOUT without a whole row the attempt ends and is tried again.`);
}

function estimate({ state, progress }) {
  if (state !== "running" || !progress.rows_before) return null;
  const part = Math.min(1, (progress.rows ?? 0) / progress.rows_before);
  return h("div", { class: "estimate" },
    h("progress", { max: "1", value: part, "aria-label": "Estimate of how far it is" }),
    h("p", { class: "note" }, `≈ ${Math.round(part * 100)} % of the ${count(progress.rows_before)} rows of the snapshot before. An estimate: Data X-Ray does not say how many will come.`));
}

function lanes({ state, progress }) {
  const all = Object.entries(progress.lanes ?? {});
  if (state !== "running" || all.length === 0) return null;
  return h("div", {}, h("h3", {}, "Jobs per datasource"),
    h("dl", { class: "facts" }, all.map(([datasource, does]) => pair(`Datasource ${datasource}`, does))));
}

function balance(told) {
  const all = equations(told);
  const reasons = Object.entries(told.counts.reasons ?? {});
  if (all.length === 0) return [];
  return [h("section", { class: "card", "aria-labelledby": "balance" },
    h("h2", { id: "balance" }, "Counts that must be equal"),
    h("ul", { class: "equations" }, all.map(equationOf)),
    reasons.length > 0 && h("table", { class: "reasons" },
      h("caption", {}, "Files without labels"),
      h("tbody", {}, reasons.map(([code, number]) => h("tr", {}, h("th", { scope: "row" }, reason(code), " ", h("code", {}, code)), h("td", { class: "figure" }, count(number)))))))];
}

function equationOf({ title, left, right, difference, known }) {
  const equal = known && difference === 0;
  const terms = (side) => side.flatMap(([name, value], at) => [at > 0 && h("span", { class: "sign" }, "+"), h("span", { class: "term" }, h("b", {}, count(value)), " ", h("span", { class: "note" }, name))]);
  return h("li", {},
    h("p", { class: "verdict" }, h("span", { class: `chip ${equal ? "complete" : "failed"}` }, symbol(equal ? "complete" : "failed"), equal ? "equal" : known ? `differs by ${count(Math.abs(difference))}` : "not told"), title),
    h("p", { class: "sides" }, h("span", { class: "side" }, terms(left)), h("span", { class: "side" }, h("span", { class: "sign" }, equal ? "=" : "≠"), terms(right))));
}

const pair = (name, ...value) => h("div", {}, h("dt", {}, name), h("dd", {}, ...value));

function facts(told) {
  const lasted = took(told);
  const { receipt } = told;
  return [h("section", { class: "card", "aria-labelledby": "facts" },
    h("h2", { id: "facts" }, "This run"),
    h("dl", { class: "facts" },
      pair("Asked by", told.trigger),
      pair("Asked", exactly(told.created_at)),
      pair("Began", exactly(told.started_at)),
      pair("Ended", exactly(told.ended_at)),
      pair("Took", lasted === null ? "–" : span(lasted)),
      pair("Attempts", count(told.attempt)),
      told.record_cap !== null && pair("Cap", plural(told.record_cap, "row")),
      told.progress.full && pair("Takes", "unchanged files too")),
    h("dl", { class: "facts long" },
      told.query !== null && pair("Query", h("code", {}, told.query)),
      told.progress.prefix && pair("Only below", h("code", {}, told.progress.prefix)),
      pair("Run", h("code", {}, told.id)),
      told.commit && pair("Commit", h("code", {}, told.commit)),
      receipt && pair("Receipt", `${receipt.state}${receipt.reason ? `: ${receipt.reason}` : ""}`, receipt.table && [" · ", h("code", {}, receipt.table), ` version ${receipt.table_version}`])))];
}
