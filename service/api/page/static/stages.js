// Where on its way a run is: queued, streaming, landed, in Delta. Pure.

import { bytes, count } from "./words.js";

const NAMES = { snapshot: "Streaming", classification: "Classifying" };

// Each stage: name, state (a symbol's name), the state in words, and figures as [label, value].
export function stages(run, speed) {
  const at = reached(run);
  const [queued, working, landed, delta] = ["Queued", NAMES[run.kind], "Landed", "In Delta"].map((name, place) => ({ name, ...stateOf(run, place, at), figures: [] }));
  if (at >= 1 || run.attempt > 0) working.figures = run.kind === "snapshot" ? streamed(run, speed) : classified(run);
  if (run.commit) landed.figures = put(run);
  if (run.receipt) delta.figures = stored(run);
  return [queued, working, landed, delta];
}

// The stage that it is in or stopped at; 4 when it has passed all.
function reached(run) {
  if (run.receipt?.state === "ingested") return 4;
  if (run.commit || run.receipt) return 3;
  return run.state === "queued" || !run.started_at ? 0 : 1;
}

function stateOf(run, place, at) {
  if (place < at) return { state: "complete", word: "done" };
  if (place > at) return { state: "none", word: run.state === "failed" || run.state === "cancelled" ? "not reached" : "to come" };
  if (run.receipt?.state === "superseded") return { state: "cancelled", word: "a newer run stands in the table" };
  if (run.state === "failed") return { state: "failed", word: "failed here" };
  if (run.state === "cancelled") return { state: "cancelled", word: "cancelled here" };
  return place === 0 ? { state: "waiting", word: "waiting for its turn" } : place === 3 ? { state: "waiting", word: "awaiting the table job" } : { state: "running", word: "at work" };
}

function streamed(run, speed) {
  const { progress, counts } = run;
  const figures = [["rows", count(counts.rows ?? progress.rows)]];
  if (run.state === "running") {
    figures.push(["rows/s", speed ? count(Math.round(speed.rows)) : "–"], ["speed", speed ? `${bytes(speed.bytes)}/s` : "–"]);
    figures.push(["parts stored", count(progress.chunks)]);
  }
  figures.push(["read", bytes(counts.raw_bytes ?? progress.raw_bytes)]);
  if (progress.rejected_rows) figures.push(["rejected", count(progress.rejected_rows)]);
  return figures;
}

function classified({ progress, counts }) {
  const told = { ...progress, ...counts };
  return [["files scanned", count(told.scanned)], ["unchanged", count(told.unchanged)], ["sent", count(progress.submitted)], ["labelled", count(told.labelled)]];
}

function put({ counts, kind }) {
  if (kind === "classification") return [["labelled", count(counts.labelled)], ["gone", count(counts.deleted)]];
  return [["rows", count(counts.rows)], ["parts", count(counts.chunks)], ["stored", bytes(counts.stored_bytes)]];
}

function stored({ receipt }) {
  if (receipt.state !== "ingested") return [["verdict", receipt.state]];
  const figures = [["rows", count(receipt.table_rows)], ["in quarantine", count(receipt.quarantined_rows)]];
  if (receipt.table_version !== null) figures.push(["version", count(receipt.table_version)]);
  return figures;
}
