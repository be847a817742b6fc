// Was yesterday complete? Every dataset with its last days.

import { get } from "./api.js";
import { button, h, hidden, s, show, symbol } from "./dom.js";
import { again } from "./parts.js";
import { start } from "./start.js";
import { DAY_STATES, age, count, day, exactly, moment, plural, reason } from "./words.js";

const LANDING_AWAY_AFTER_MS = 5 * 60_000;
const MISSING_NAMED = 4;
const LOOK_EVERY_MS = 30_000;

export function overview(place, { signal }) {
  document.title = "Overview – dxr-ingest";
  const notice = h("div");
  const content = h("div", { class: "stack" }, h("p", { class: "note" }, "Asking the service …"));
  place.append(notice, content);
  again(LOOK_EVERY_MS, signal, notice, async () => {
    const datasets = await get("/v1/datasets?days=30", signal);
    const detailShown = content.querySelector(".days :focus") !== null;
    show(content, head(datasets), away(datasets), datasets.map(card), legend(), datasets.length === 0 && nothing());
    if (detailShown) document.activeElement.dispatchEvent(new FocusEvent("focusin", { bubbles: true }));
  });
}

function head(datasets) {
  return h("div", { class: "head" },
    h("div", {},
      h("h1", {}, headline(datasets)),
      h("p", { class: "note" }, "Days are those of UTC. Looked at ", exactly(new Date().toISOString()), ".")),
    h("div", { class: "actions" },
      button("Start snapshot", () => start("snapshot"), { id: "start-snapshot", class: "main" }),
      button("Start classification", () => start("classification"), { id: "start-classification" })));
}

function headline(datasets) {
  const expected = datasets.filter((one) => one.configured && one.first_day && yesterday(one)?.state !== "none");
  if (expected.length === 0) return "No dataset was expected yesterday";
  const complete = expected.filter((one) => yesterday(one)?.state === "complete").length;
  if (expected.length === 1) return complete ? "Yesterday is complete" : "Yesterday is not complete";
  return `Yesterday is complete in ${complete} of ${plural(expected.length, "dataset")}`;
}

const yesterday = (one) => one.days.at(-2);

function away(datasets) {
  const seen = datasets.map((one) => one.landing_seen_at).find(Boolean);
  if (!seen || Date.now() - new Date(seen) < LANDING_AWAY_AFTER_MS) return null;
  return h("p", { class: "problem" }, "The landing was last read ", moment(seen), ": it is away, and what is shown here may be old. Look at the service's log.");
}

function nothing() {
  return h("p", { class: "card" }, "No dataset is configured. Set SNAPSHOT_DATASET or datasets in dxr-ingest.yaml, then restart the service.");
}

function card(one) {
  const id = `dataset-${one.dataset}`;
  return h("section", { class: "card", "aria-labelledby": id },
    h("div", { class: "card-head" },
      h("h2", { id }, one.dataset),
      h("span", { class: "tag" }, one.kind),
      !one.configured && h("span", { class: "tag" }, "on request"),
      h("div", { class: "actions" },
        h("a", { href: `#/runs?dataset=${one.dataset}`, id: `runs-${one.dataset}` }, "Runs"),
        button("Start", () => start(one.kind, one.kind === "snapshot" ? { dataset: one.configured ? one.dataset : "" } : {}),
          { id: `start-${one.dataset}`, "aria-label": `Start a ${one.kind} of ${one.dataset}` }))),
    fresh(one),
    one.first_day ? [chart(one), strip(one), missing(one)] : h("p", { class: "empty" }, "No run yet. Start one here, or let `dxr-ingest` run by schedule."));
}

function fresh(one) {
  const last = one.last_complete;
  const now = one.days.at(-1);
  return h("dl", { class: "facts" },
    fact("Complete up to", last ? h("a", { href: `#/runs/${last.run_id}` }, day(last.date)) : "nothing yet"),
    fact("The data is", one.freshness_seconds === null ? "–" : [age(one.freshness_seconds), h("span", { class: "note under" }, "as of ", moment(one.data_as_of))]),
    fact(one.kind === "snapshot" ? "Rows" : "Files with news", count(last?.rows)),
    fact("Today", now.state === "none" ? "no run yet" : inWords(now)));
}

const fact = (name, ...value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));

function inWords({ state, reason: why }) {
  return why && state !== "complete" ? `${state}: ${reason(why)}` : state;
}

// Bars of the rows, one above each day of the strip.
function chart(one) {
  const withRows = one.days.filter(({ rows }) => rows !== null);
  if (withRows.length === 0) return null;
  const most = Math.max(1, ...withRows.map(({ rows }) => rows));
  const bars = one.days.map(({ rows, state }, place) => {
    const height = ((rows ?? 0) / most) * 40;
    return s("rect", { class: `bar-${state}`, x: place * 10 + 1.5, y: 40 - height, width: 7, height });
  });
  const least = Math.min(...withRows.map(({ rows }) => rows));
  const said = `Rows per day: from ${count(least)} to ${count(most)}, last ${count(withRows.at(-1).rows)}`;
  return h("figure", { class: "chart" },
    h("figcaption", { class: "note" }, `${one.kind === "snapshot" ? "rows" : "records"} per day, at most ${count(most)}`),
    s("svg", { viewBox: "0 0 300 40", preserveAspectRatio: "none", role: "img", "aria-label": said }, bars));
}

function strip(one) {
  const detail = h("p", { class: "detail note", "aria-hidden": "true" }, "Point at a day, or choose it to see its run.");
  const tell = (event) => {
    const item = event.target.closest("li");
    if (item) detail.textContent = item.querySelector(".hidden").textContent;
  };
  return [
    h("ol", { class: "days", "aria-label": `The last ${one.days.length} days of ${one.dataset}`, onmouseover: tell, onfocusin: tell },
      one.days.map((each) => h("li", {}, cell(one, each)))),
    detail,
  ];
}

function cell(one, each) {
  const rows = each.rows === null ? "" : `, ${plural(each.rows, "row")}`;
  const why = each.reason ? reason(each.reason) : DAY_STATES[each.state];
  const content = [symbol(each.state), h("span", { class: "number", "aria-hidden": "true" }, String(Number(each.date.slice(8)))),
    hidden(`${day(each.date)}: ${each.state} (${why})${rows}`)];
  const attributes = { class: `day ${each.state}`, id: `day-${one.dataset}-${each.date}` };
  if (each.run_id) return h("a", { ...attributes, href: `#/runs/${each.run_id}` }, content);
  if (each.state === "missing" && one.kind === "snapshot") {
    return h("button", { ...attributes, type: "button", onclick: () => start("snapshot", { dataset: one.dataset, ingestion_date: each.date }) }, content);
  }
  return h("span", attributes, content);
}

function missing(one) {
  if (one.missing_days.length === 0) return null;
  const days = one.missing_days.slice(-MISSING_NAMED).map(day).join(", ");
  const named = one.missing_days.length > MISSING_NAMED ? `, at last ${days}` : `: ${days}`;
  const help = one.kind === "snapshot" ? " Choose the day to run its snapshot; it will hold what Data X-Ray knows now." : "";
  return h("p", { class: "hint" }, `${plural(one.missing_days.length, "day is", "days are")} missing${named}.${help}`);
}

function legend() {
  return h("ul", { class: "legend", "aria-label": "What the marks mean" },
    Object.entries(DAY_STATES).map(([state, words]) => h("li", {}, h("span", { class: `day ${state}` }, symbol(state)), h("span", {}, h("b", {}, state), ` ${words}`))));
}
