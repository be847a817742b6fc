// The counts that must be equal, as the contract of the landing has them. Pure.

const sum = (terms) => terms.reduce((total, [, value]) => total + value, 0);

function equation(title, left, right) {
  const difference = sum(left) - sum(right);
  return { title, left, right, difference, known: [...left, ...right].every(([, value]) => Number.isFinite(value)) };
}

// Of a run that has landed; each side is a list of [name, number].
export function equations(run) {
  const counts = run.counts;
  if (run.kind === "classification") {
    if (counts.scanned === undefined) return [];
    const reasons = Object.values(counts.reasons ?? {}).reduce((total, number) => total + number, 0);
    const parts = [["unchanged", counts.unchanged], ["labelled", counts.labelled], ["without labels", reasons]];
    return [equation("Every file has labels or a reason", [["files scanned", counts.scanned]], parts)];
  }
  if (counts.served_lines === undefined) return [];
  const lines = [["rows", counts.rows], ["rejected", counts.rejected_rows], ["blank", counts.blank_lines]];
  const found = [equation("Every line served is accounted for", [["lines served", counts.served_lines]], lines)];
  if (run.receipt?.state === "ingested") {
    const landed = [["rows landed", counts.rows], ["rejected", counts.rejected_rows]];
    const stored = [["in the table", run.receipt.table_rows], ["in quarantine", run.receipt.quarantined_rows]];
    found.push(equation("Everything landed is in Delta", landed, stored));
  }
  return found;
}
