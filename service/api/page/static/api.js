// Calls to /v1 with the token of this tab.

const KEY = "dxr-ingest-token";

export const token = {
  get: () => sessionStorage.getItem(KEY),
  keep: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

// What the service refuses or cannot do, as it says so itself (RFC 9457).
export class Problem extends Error {
  constructor(status, said) {
    super(said.detail ?? said.title ?? "The service answered with an error.");
    this.status = status;
    this.code = said.code ?? "";
    this.hint = said.hint ?? "";
    this.requestId = said.request_id ?? "";
    this.runId = said.run_id ?? null;
    this.mistakes = Array.isArray(said.mistakes) ? said.mistakes : [];
  }
}

// Raises `Problem`; of one without a token the page is told too, and asks for it.
export async function call(method, path, { body, headers = {}, signal } = {}) {
  const response = await send(method, path, body, headers, signal);
  if (response.ok) return response;
  const problem = new Problem(response.status, await response.json().catch(() => ({})));
  if (problem.status === 401 && !signal?.aborted) document.dispatchEvent(new CustomEvent("token-needed", { detail: problem }));
  throw problem;
}

async function send(method, path, body, headers, signal) {
  const given = token.get();
  if (given) headers = { ...headers, Authorization: `Bearer ${given}` };
  if (body !== undefined) headers = { ...headers, "Content-Type": "application/json" };
  try {
    return await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (signal?.aborted) throw error;
    const hint = "The page tries again by itself. Does the service run, and does this machine reach it?";
    throw new Problem(0, { code: "UNREACHABLE", detail: "The service does not answer.", hint });
  }
}

export async function get(path, signal) {
  return (await call("GET", path, { signal })).json();
}

// A page of a list, and where the next one is.
export async function getPage(path, signal) {
  const response = await call("GET", path, { signal });
  const next = /<(\/v1\/[^>]*)>;\s*rel="next"/.exec(response.headers.get("Link") ?? "");
  return { items: await response.json(), next: next ? next[1] : null };
}

// The same call for a shell; the token stays a variable.
export function asCurl(method, path, body) {
  const words = ["curl", "--fail-with-body", "--request", method];
  words.push("--header", '"Authorization: Bearer $DXR_INGEST_TOKEN"');
  if (body !== undefined) words.push("--header", quoted("Content-Type: application/json"), "--data", quoted(JSON.stringify(body)));
  return [...words, quoted(location.origin + path)].join(" ");
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
