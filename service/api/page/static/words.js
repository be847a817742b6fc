// Figures, times and states in words.

const COUNT = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const DAY = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });
const TO_THE_MINUTE = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
const MOMENT = new Intl.DateTimeFormat("en-GB", TO_THE_MINUTE);
const EXACT = new Intl.DateTimeFormat("en-GB", { ...TO_THE_MINUTE, second: "2-digit" });

export const RUN_STATES = {
  queued: { symbol: "waiting", word: "queued" },
  running: { symbol: "running", word: "running" },
  landed: { symbol: "running", word: "landed" },
  partial: { symbol: "partial", word: "partial" },
  ingested: { symbol: "complete", word: "ingested" },
  failed: { symbol: "failed", word: "failed" },
  cancelled: { symbol: "cancelled", word: "cancelled" },
};

export const DAY_STATES = {
  complete: "whole, and in its table",
  partial: "not all of it",
  failed: "every run failed",
  missing: "the day is over and nobody tried",
  running: "on its way",
  none: "nothing expected",
};

const REASONS = {
  AWAITING_RECEIPT: "landed, awaited in its table",
  RECEIPT_OVERDUE: "landed, but the table job has not taken it for hours",
  CAPPED: "a cap on the rows was asked for",
  FILES_WITHOUT_LABELS: "some files have no labels",
  SUPERSEDED: "a newer run stands in the table",
  UNBALANCED: "the figures do not add up",
  CANCELLED: "cancelled",
  TOO_LARGE: "too large for a classifier job",
  NO_HIT: "the index did not find it in time",
  JOB_FAILED: "its classifier job failed",
  JOB_TIMEOUT: "its classifier job took too long",
  JOB_CANCELLED: "its classifier job was cancelled",
  JOB_VANISHED: "its classifier job vanished",
};

export const reason = (code) => REASONS[code] ?? code;

export const count = (value) => (value === null || value === undefined ? "–" : COUNT.format(value));

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  const step = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, value)) / 3));
  return `${SHORT.format(value / 1000 ** step)} ${units[step]}`;
}

export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

export function age(seconds) {
  for (const [unit, length] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    const number = Math.floor(seconds / length);
    if (number >= (unit === "day" ? 2 : 1)) return `${number} ${unit}${number === 1 ? "" : "s"} old`;
  }
  return "less than a minute old";
}

export const day = (date) => DAY.format(new Date(`${date}T00:00:00Z`));

// In the zone of whoever looks; UTC, as documents and logs have it, when pointed at.
export function moment(text, format = MOMENT) {
  if (!text) return document.createTextNode("–");
  const element = document.createElement("time");
  element.dateTime = text;
  element.title = `${text.slice(0, 19).replace("T", " ")} UTC`;
  element.textContent = format.format(new Date(text));
  return element;
}

export const exactly = (text) => moment(text, EXACT);

export function took(run, now = Date.now()) {
  if (!run.started_at) return null;
  return (new Date(run.ended_at ?? now) - new Date(run.started_at)) / 1000;
}

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
