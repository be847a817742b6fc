// The runs, newest first, by kind, dataset and state.

import { get, getPage } from "./api.js";
import { button, h, show } from "./dom.js";
import { again, chip, problem } from "./parts.js";
import { start } from "./start.js";
import { RUN_STATES, count, day, moment, span, took } from "./words.js";

const LOOK_EVERY_MS = 10_000;
const FILTERS = ["kind", "dataset", "state"];

export function runs(place, { query, signal }) {
  document.title = "Runs – dxr-ingest";
  const chosen = Object.fromEntries(FILTERS.map((name) => [name, query.get(name) ?? ""]));
  const rows = h("tbody");
  const empty = h("p", { class: "empty", hidden: true });
  const older = button("Older runs", more, { hidden: true });
  const notice = h("div");
  let next = null;
  let paged = false;

  place.append(
    h("div", { class: "head" },
      h("h1", {}, "Runs"),
      h("div", { class: "actions" }, button("Start snapshot", () => start("snapshot"), { class: "main" }), button("Start classification", () => start("classification")))),
    filters(chosen, signal),
    notice,
    h("div", { class: "card list" },
      h("table", {},
        h("caption", { class: "hidden" }, "Runs, newest first"),
        h("thead", {}, h("tr", {}, ["State", "Dataset and day", "Rows", "Started", "Took", "Asked by"].map((name, at) => h("th", { scope: "col", class: COLUMNS[at] }, name)))),
        rows),
      empty),
    h("div", { class: "actions" }, older));

  function take({ items, next: following }, added) {
    next = following;
    older.hidden = next === null;
    if (added) rows.append(...items.map(row));
    else show(rows, items.map(row));
    empty.hidden = rows.children.length > 0;
    empty.textContent = Object.values(chosen).some(Boolean) ? "No run fits. Choose something wider above." : "No run yet. Start a snapshot to see one here.";
  }

  async function more() {
    older.disabled = true;
    paged = true;
    try {
      take(await getPage(next, signal), true);
    } catch (error) {
      if (!signal.aborted) notice.replaceChildren(problem(error));
    }
    older.disabled = false;
  }

  // Whoever has gone on to older runs reads: nothing moves under their eyes any more.
  again(LOOK_EVERY_MS, signal, notice, async () => {
    if (paged) return;
    const said = new URLSearchParams({ ...Object.fromEntries(Object.entries(chosen).filter(([, value]) => value)), limit: "50" });
    const page = await getPage(`/v1/runs?${said}`, signal);
    if (!paged) take(page, false);
  });
}

const COLUMNS = ["", "", "figure", "", "figure wide", "wide"];

function row(run) {
  const rows = run.kind === "snapshot" ? run.counts.rows ?? run.progress.rows : run.counts.scanned ?? run.progress.scanned;
  const lasted = took(run);
  return h("tr", {},
    h("td", {}, chip(run.state), run.error && h("code", { class: "under" }, run.error.code)),
    h("td", {}, h("a", { href: `#/runs/${run.id}`, id: `run-${run.id}` }, breakable(run.dataset)), h("span", { class: "under note" }, day(run.ingestion_date), run.kind === "classification" && " · classification")),
    h("td", { class: "figure" }, count(rows)),
    h("td", {}, moment(run.started_at ?? run.created_at)),
    h("td", { class: "figure wide" }, lasted === null ? "–" : span(lasted)),
    h("td", { class: "wide" }, run.trigger));
}

// A long name breaks behind an underscore first.
const breakable = (name) => name.split(/(?<=_)/).flatMap((part) => [part, h("wbr")]);

function filters(chosen, signal) {
  const dataset = select("dataset", "Dataset", chosen.dataset, chosen.dataset ? [chosen.dataset] : []);
  get("/v1/datasets?days=1", signal).then((all) => {
    for (const { dataset: name } of all) if (name !== chosen.dataset) dataset.lastChild.append(h("option", { value: name }, name));
  }, () => {}); // the list itself says what is wrong
  return h("form", { class: "filters", onchange: (event) => refilter(event.currentTarget), onsubmit: (event) => event.preventDefault() },
    select("kind", "Kind", chosen.kind, ["snapshot", "classification"]),
    dataset,
    select("state", "State", chosen.state, Object.keys(RUN_STATES)));
}

function select(name, label, value, options) {
  return h("div", { class: "field" },
    h("label", { for: `filter-${name}` }, label),
    h("select", { id: `filter-${name}`, name },
      h("option", { value: "" }, "all"),
      options.map((option) => h("option", { value: option, selected: option === value }, option))));
}

function refilter(form) {
  const said = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  location.hash = said.size ? `#/runs?${said}` : "#/runs";
}
