// What several views show.

import { Problem } from "./api.js";
import { button, h, say, symbol } from "./dom.js";
import { RUN_STATES } from "./words.js";

export function chip(state) {
  const { symbol: name, word } = RUN_STATES[state] ?? { symbol: "none", word: state };
  return h("span", { class: `chip ${name}` }, symbol(name), word);
}

export function problem(error) {
  if (!(error instanceof Problem)) throw error;
  return h(
    "div",
    { class: "problem", role: "alert" },
    h("p", {}, h("strong", {}, error.message), error.code && h("code", {}, error.code)),
    error.mistakes.length > 0 && h("ul", {}, error.mistakes.map(({ where, what }) => h("li", {}, `${where}: ${what}`))),
    error.hint && h("p", {}, error.hint),
    error.runId && h("p", {}, h("a", { href: `#/runs/${error.runId}` }, "Show that run")),
    error.requestId && h("p", { class: "note" }, "Request ", h("code", {}, error.requestId)),
  );
}

// Looks now and again while the view is shown and seen; `look` puts its own result in place.
export async function again(everyMs, signal, notice, look) {
  for (;;) {
    try {
      if (!document.hidden) {
        await look();
        notice.replaceChildren();
      }
    } catch (error) {
      if (signal.aborted) return;
      notice.replaceChildren(problem(error));
    }
    await new Promise((resolve) => {
      setTimeout(resolve, everyMs);
      signal.addEventListener("abort", resolve, { once: true });
    });
    if (signal.aborted) return;
  }
}

export function dialog(title, ...children) {
  const element = h("dialog", { "aria-labelledby": "dialog-title", onclose: () => element.remove() },
    h("div", { class: "dialog-head" },
      h("h2", { id: "dialog-title" }, title),
      button("Close", () => element.close(), { class: "quiet" })),
    ...children);
  document.body.append(element);
  element.showModal();
  return element;
}

export function copyCommand(command) {
  const note = h("p", { class: "note", role: "status" });
  dialog("The same as a command",
    h("p", {}, "Set DXR_INGEST_TOKEN to a token first."),
    h("pre", { tabindex: "0", class: "command", role: "region", "aria-label": "Command" }, command),
    note);
  const selectIt = () => {
    note.textContent = "Select it and copy it.";
  };
  if (!navigator.clipboard) selectIt();
  else navigator.clipboard.writeText(command).then(() => {
    note.textContent = "It is in the clipboard.";
    say("Copied.");
  }, selectIt);
}
