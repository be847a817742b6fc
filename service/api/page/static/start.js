// Starting a run: a form, the call, and what the service says to it.

import { asCurl, call } from "./api.js";
import { button, h } from "./dom.js";
import { copyCommand, dialog, problem } from "./parts.js";

const FORMS = {
  snapshot: {
    title: "Start a snapshot",
    path: "/v1/snapshots",
    fields: [
      { name: "dataset", label: "Dataset", note: "Empty: the configured one. A query of your own needs a name of its own." },
      { name: "ingestion_date", label: "Day", type: "date", note: "Empty: today in UTC." },
      { name: "query", label: "Query (KQL)", note: "Empty: the dataset's own." },
      { name: "record_cap", label: "Stop after so many rows", type: "number", min: "1", note: "Empty: all of them." },
      { name: "accept_shrunken", label: "Accept far fewer rows than before", type: "checkbox" },
    ],
  },
  classification: {
    title: "Start a classification",
    path: "/v1/classifications",
    fields: [
      { name: "prefix", label: "Only below this folder", note: "Empty: as configured." },
      { name: "full", label: "Classify unchanged files too", type: "checkbox" },
    ],
  },
};

export function start(kind, preset = {}) {
  const { title, path, fields } = FORMS[kind];
  const inputs = fields.map((field) => [field, inputOf(field, preset[field.name])]);
  const answer = h("div");
  const submit = h("button", { type: "submit", class: "main" }, "Start");
  const body = () => Object.fromEntries(inputs.map(([field, input]) => [field.name, valueOf(field, input)]).filter(([, value]) => value !== null));
  const keyOf = keys();

  async function send(event) {
    event.preventDefault();
    submit.disabled = true;
    answer.replaceChildren();
    try {
      const wanted = body();
      const response = await call("POST", path, { body: wanted, headers: { "Idempotency-Key": keyOf(wanted) } });
      const run = await response.json();
      location.hash = `#/runs/${run.id}`;
    } catch (error) {
      answer.replaceChildren(problem(error));
      submit.disabled = false;
      submit.focus();
    }
  }

  dialog(title, h("form", { class: "form", onsubmit: send },
    inputs.map(([field, input]) => rowOf(field, input)),
    answer,
    h("div", { class: "actions" },
      submit,
      button("Copy as curl", () => copyCommand(asCurl("POST", path, body()))))));
}

// A repeat of the same wish, after an answer that was lost, must not start a second run.
function keys() {
  let last = null;
  let key = null;
  return (body) => {
    const wish = JSON.stringify(body);
    if (wish !== last) key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    last = wish;
    return key;
  };
}

function inputOf({ name, type = "text", min, note }, value) {
  const described = note ? `${name}-note` : undefined;
  const input = h("input", { id: name, name, type, min, autocomplete: "off", "aria-describedby": described });
  if (type === "checkbox") input.checked = Boolean(value);
  else input.value = value ?? "";
  return input;
}

function rowOf({ name, label, type, note }, input) {
  const words = h("label", { for: name }, label);
  const under = note && h("p", { class: "note", id: `${name}-note` }, note);
  return h("div", { class: type === "checkbox" ? "field check" : "field" }, type === "checkbox" ? [input, words] : [words, input], under);
}

function valueOf({ type }, input) {
  if (type === "checkbox") return input.checked || null;
  if (input.value.trim() === "") return null;
  return type === "number" ? Number(input.value) : input.value;
}

// What a run asked for; that far fewer rows are welcome is decided anew each time.
export function requestOf(run) {
  const { path, fields } = FORMS[run.kind];
  const told = { ...run.progress, ...run };
  const said = fields.map(({ name }) => [name, told[name] ?? null]).filter(([, value]) => value !== null && value !== false);
  return [path, Object.fromEntries(said)];
}
