// Builds elements. Whatever comes from the server only ever becomes a text node or an attribute's value.

const SVG = "http://www.w3.org/2000/svg";

export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function s(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// One of the symbols in index.html; the words beside it say the same.
export function symbol(name) {
  return s("svg", { class: "symbol", "aria-hidden": "true" }, s("use", { href: `#${name}` }));
}

export function hidden(text) {
  return h("span", { class: "hidden" }, text);
}

export function button(text, onclick, attributes = {}) {
  return h("button", { type: "button", onclick, ...attributes }, text);
}

// New content in place of the old; what had the focus has it again, if it is still there.
export function show(place, ...nodes) {
  const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
  place.replaceChildren(...nodes.flat(Infinity).filter(Boolean));
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

// For those who do not see that something changed.
export function say(text) {
  document.getElementById("said").textContent = text;
}
