// Whose error it is: where whoever is woken at night looks first. A code that ends in _ means all that begin so.

const PARTIES = [
  ["the configuration", [
    "CONFIGURATION", "DXR_TLS", "DXR_UNAUTHORIZED", "DXR_FORBIDDEN", "DXR_REJECTED", "DXR_REDIRECTED", "DXR_SECRET_REFUSED",
    "DXR_TOO_BROAD", "DXR_TOO_LARGE", "DATABRICKS_TLS", "DATABRICKS_UNAUTHORIZED", "DATABRICKS_FORBIDDEN",
    "DATABRICKS_NO_API", "DATABRICKS_REJECTED", "LANDING_FORBIDDEN", "LANDING_NO_LINKS",
  ]],
  ["Data X-Ray, or the network to it", ["DXR_", "STREAM_", "NOT_NDJSON", "EMPTY_SNAPSHOT", "SHRUNKEN_SNAPSHOT"]],
  ["Databricks, or the network to it", ["DATABRICKS_", "VOLUME_UNAVAILABLE"]],
  ["the storage of the landing", ["LANDING_"]],
  ["what was asked for", [
    "CAPPED_OVER_FULL", "UNPROCESSABLE", "MALFORMED", "UNAUTHORIZED", "FORBIDDEN", "NOT_FOUND", "METHOD_NOT_ALLOWED",
    "REQUEST_TIMEOUT", "ALREADY_", "BODY_TOO_LARGE", "HEAD_TOO_LARGE", "TARGET_TOO_LONG", "UNSUPPORTED_MEDIA_TYPE", "TOO_MANY_",
  ]],
  ["dxr-ingest or its database", [
    "INGEST_REFUSED", "RECEIPTS_OVERDUE", "TAKEOVERS_EXHAUSTED", "INTERNAL", "INTERRUPTED", "LEASE_LOST", "NOT_RUNNING",
    "SERVICE_UNAVAILABLE", "STORE_",
  ]],
];

// The first that fits; null for a code that is not ours.
export function blame(code) {
  const fits = (known) => (known.endsWith("_") ? code.startsWith(known) : code === known);
  return PARTIES.find(([, codes]) => codes.some(fits))?.[0] ?? null;
}
