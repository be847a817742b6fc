// Shows the view that the address names, and asks for a token where the API wants one.

import { token } from "./api.js";
import { h, say } from "./dom.js";
import { problem } from "./parts.js";
import { overview } from "./overview.js";
import { run } from "./run.js";
import { runs } from "./runs.js";

const VIEWS = [
  [/^$/, overview, "overview"],
  [/^runs$/, runs, "runs"],
  [/^runs\/([0-9a-f-]{36})$/, run, "runs"],
];

const main = document.getElementById("main");
const forget = document.getElementById("forget");
let leaving = new AbortController();

// Each view has a place of its own, so that what it still does after it was left is seen nowhere.
function fresh() {
  leaving.abort();
  leaving = new AbortController();
  document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
  const place = h("div", { class: "view" });
  main.replaceChildren(place);
  forget.hidden = !token.get();
  return place;
}

function go() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [found, view, page] = VIEWS.map(([pattern, ...rest]) => [pattern.exec(path), ...rest]).find(([fits]) => fits) ?? [];
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.page === page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const place = fresh();
  say("");
  if (!found) place.append(h("h1", {}, "There is no such page"), h("p", {}, h("a", { href: "#/" }, "Go to the overview")));
  else view(place, { id: found[1], query: new URLSearchParams(query ?? ""), signal: leaving.signal });
}

function askForToken(refused) {
  const had = token.get() !== null;
  token.forget();
  const field = h("input", {
    id: "token", type: "password", required: true, pattern: "[!-~]+", autocomplete: "off", spellcheck: "false",
    "aria-describedby": "token-note",
  });
  const form = h(
    "form",
    {
      class: "card token",
      onsubmit: (event) => {
        event.preventDefault();
        token.keep(field.value);
        go();
      },
    },
    h("h1", {}, "This service asks for a token"),
    had && problem(refused),
    h("label", { for: "token" }, "API token"),
    field,
    h("p", { id: "token-note", class: "note" }, "It stays in this tab until you close it or forget it, and goes nowhere but to this service. " +
      "To look around, one with the scope read is enough."),
    h("button", { type: "submit", class: "main" }, "Use this token"),
  );
  fresh().append(form);
  field.focus();
}

document.addEventListener("token-needed", (event) => askForToken(event.detail));
forget.addEventListener("click", () => {
  token.forget();
  go();
  say("The token is forgotten.");
});
addEventListener("hashchange", () => {
  go();
  scrollTo(0, 0);
  main.focus({ preventScroll: true });
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address belongs to the views
  main.focus();
});
go();
