"""The figures and the chart of `docs/performance.md`, from the last results of each part."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench import chart, results
from bench.chart import Bar, Panel
from bench.results import spread
from bench.streams import STREAM_MIB_MAX
from bench.tables import OURS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PAGE: Final = Path("docs/performance.md")
CHART: Final = Path("docs/performance.svg")
BEGIN: Final = "<!-- written by make performance: do not edit from here -->"
END: Final = "<!-- to here -->"
# CPU s/GB of a C program that only receives, counts, compresses with isal, hashes and writes (see the page).
LIMIT_CPU_S_PER_GB: Final = 1.65
_NAMES: Final = {
    "dxr-ingest snapshot": "dxr-ingest",
    "curl | split, igzip, sha256sum, wc": "shell pipeline",
    "requests.iter_lines, json.loads": "seed's, reading only",
    "requests.iter_lines, json.loads, gzip.open": "seed's client",
}


def write() -> None:
    """Replace what stands between the two marks of the page, and the chart."""
    found = results.saved()
    if not found:
        raise SystemExit("there are no results yet: make bench")
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{figures(found)}\n{END}{after}")
    CHART.write_text(chart.drawn(panels(found)))


def figures(found: Mapping[str, Any]) -> str:
    """All tables, of the parts that have run."""
    machine = found["machine"]
    sections = [
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Linux {machine['kernel']}, "
        f"Python {machine['python']}.\n",
        _runs(found),
    ]
    for name, section in _SECTIONS.items():
        if name in found:
            sections.append(section(found[name]))
    return "\n".join(sections)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """What begins with a figure stands at the right."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    sides = ["---:" if cells and cell[:1].isdigit() else "---" for cell in (cells[0] if cells else head)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (list(head), sides, *cells))


def _runs(found: Mapping[str, Any]) -> str:
    ordered = sorted(found, key=lambda name: [*_SECTIONS, name].index(name))
    parts = {name: found[name] for name in ordered if "judged" in found[name]}
    rows = [
        (f"`{name}`", claim, "yes" if holds else "**no**", part["at"], f"{part['load_before']}")
        for name, part in parts.items()
        for claim, holds in part["judged"].items()
    ]
    return _table(("part", "what must hold", "holds", "measured at (UTC)", "load before"), rows)


def _landing(part: Mapping[str, Any]) -> str:
    contenders = _table(
        ("landing 1.2 GB", "CPU s/GB", "MB/s", "peak MiB"),
        (
            (f"`{name}`", spread(one["cpu_s_per_gb"], 2), spread(one["mb_per_s"], 0), f"{one['peak_mib']:.0f}")
            for name, one in part["figures"].items()
        ),
    )
    ratios = part["ratios"]
    said = (
        f"\n{ratios['cpu_of_shell']:.2f} x the shell's CPU at {ratios['speed_of_shell']:.2f} x its MB/s, and "
        f"{ratios['cheaper_than_seed']:.0f} x cheaper than the seed's client that stores too "
        f"({ratios['cheaper_than_seed_storing_nothing']:.0f} x when that only reads and parses).\n\n"
    )
    longer = _table(
        ("one stream of", "CPU s/GB", "peak MiB"),
        (
            (length, f"{one['cpu_s'] / one['gb']:.2f}", f"{one['peak_mib']:.0f}")
            for length, one in part["by_length"].items()
        ),
    )
    return f"### Landing, on the command line\n\n{contenders}{said}{longer}"


def _streams(part: Mapping[str, Any]) -> str:
    rows = []
    for name, runs in part["runs"].items():
        of = {key: [run[key] for run in runs] for key in runs[0]}
        memory = (f"{max(of[key]):.0f}" for key in ("idle_mib", "peak_mib", "mib_a_stream"))
        rows.append((name, spread(of["cpu_s_per_gb"], 2), spread(of["mb_per_s"], 0), *memory))
    table = _table(("landing in the service", "CPU s/GB", "MB/s", "idle MiB", "peak MiB", "MiB a stream"), rows)
    loops = _table(
        ("event loop", "late p50 / p99 / max ms", "CPU of a callback p50 / p99 / max ms"),
        (
            (f"{name}, {state}", _percentiles(loop[state]["late_ms"]), _percentiles(loop[state]["callback_cpu_ms"]))
            for name, loop in part["loops"].items()
            for state in ("idle", "busy")
        ),
    )
    stages = _table(
        ("module of the service, or library", "share of CPU"),
        ((f"`{m}`", f"{s:.0%}") for m, s in part["stages"].items()),
    )
    functions = _table(
        ("function, and the C function that it called", "share of CPU"),
        (
            (f"`{place}`", f"{share:.0%}")
            for place, share in _shares(part["profile"]).items()
            if share >= 0.02  # the rest is a long tail
        ),
    )
    return (
        f"### Landing, in the service\n\n{table}\n{loops}\n"
        "### Where the time of a stream goes\n\nOne stream to a folder, under Python's own profiler, which makes many "
        f"small calls look dearer than they are.\n\n{stages}\n{functions}"
    )


def _percentiles(values: Mapping[str, float]) -> str:
    return " / ".join(f"{values[key]:.2f}" for key in ("p50", "p99", "max")) if values else "-"


def _shares(spent_s: Mapping[str, float]) -> dict[str, float]:
    total_s = sum(spent_s.values()) or 1.0
    return {place: one / total_s for place, one in spent_s.items()}


def _uploads(part: Mapping[str, Any]) -> str:
    rows = [
        (
            what,
            sender,
            spread([cost["cpu_s"] * 1e9 / cost["bytes"] for cost in costs], 2),
            spread([cost["bytes"] / 1e6 / cost["wall_s"] for cost in costs], 0),
            f"{max(cost['peak_mib'] for cost in costs):.0f}",
        )
        for what, senders in part["figures"].items()
        for sender, costs in senders.items()
    ]
    table = _table(("a job of", "sent by", "CPU s/GB", "MB/s", "peak MiB"), rows)
    ratios = ", ".join(f"{what}: {ratio:.2f}" for what, ratio in part["ratios"].items())
    return f"### Uploads\n\n{table}\nCPU of ours as a part of that of `requests`: {ratios}.\n"


def _classification(part: Mapping[str, Any]) -> str:
    rows = (
        (
            f"{run['files']:,}",
            f"{run['lanes']}",
            f"{run['files_per_s']:.0f}",
            f"{run['mb_per_s']:.1f}",
            f"{run['machine']:.0%}",
            f"{run['tenant']:.0%}",
            f"{run['peak_mib']}",
        )
        for run in part["runs"]
    )
    head = ("files", "datasources", "files/s", "MB/s", "cores busy", "of the simulated tenant's one", "peak MiB")
    return f"### Classification\n\n{_table(head, rows)}"


def _tables(part: Mapping[str, Any]) -> str:
    contenders = _table(
        ("rows of a commit", "written by", "CPU us/row", "rows/s"),
        (
            (rows, name, spread(one["cpu_us"], 0), spread(one["rows_per_s"], 0))
            for rows, figures in part["snapshots"].items()
            for name, one in figures.items()
        ),
    )
    ratios = ", ".join(f"{what}: {ratio:.2f}" for what, ratio in part["ratios"].items())
    peaks = ", ".join(f"{peak:,} MiB at {rows} rows" for rows, peak in part["peak_mib"].items())
    waiting = _table(
        ("commits that one batch settles", "CPU s"),
        ((name, f"{cpu_s:.1f}") for name, cpu_s in part["backlog_cpu_s"].items()),
    )
    merged = _table(
        ("rows of the table", "rows that change", "CPU s", "MB written", "files rewritten"),
        (
            (
                f"{int(rows):,}",
                f"{int(change):,}",
                spread(one["cpu_s"], 1),
                f"{one['mb']:.2f}",
                f"{one['files_rewritten']:.0f}",
            )
            for rows, changes in part["merges"].items()
            for change, one in changes.items()
        ),
    )
    return (
        f"### Bringing rows into tables\n\n{contenders}\nAs ratios: {ratios}.\n\n"
        f"The Spark job's JVM, with a heap of 2 GB, held at most {peaks}.\n\n{waiting}\n{merged}"
    )


def _startup(part: Mapping[str, Any]) -> str:
    idle = part["idle"]
    costs = _table(
        ("start", "figure"),
        (
            ("`dxr-ingest --help`", f"{spread(part['help_cpu_s'], 2)} s CPU"),
            (
                "`dxr-ingest snapshot` to the first byte that it asks for",
                f"{spread(part['first_byte_cpu_s'], 2)} s CPU",
            ),
            ("idle service, resident", f"{idle['rss']:.0f} MiB"),
            ("idle service, CPU", f"{idle['cpu_ms_per_s']:.1f} ms a second"),
        ),
    )
    made_of = _table(
        ("an idle service is made of", "MiB", "CPU s to import"),
        ((name, f"{one['mib']:.1f}", f"{one['cpu_s']:.2f}") for name, one in part["made_of"].items()),
    )
    return f"### Start and idle\n\n{costs}\n{made_of}"


_SECTIONS: Final = {
    "landing": _landing,
    "streams": _streams,
    "uploads": _uploads,
    "classification": _classification,
    "tables": _tables,
    "startup": _startup,
}


def panels(found: Mapping[str, Any]) -> list[Panel]:
    """One panel for each part that has run."""
    drawn = list[Panel]()
    if part := found.get("landing"):
        cpu = {name: statistics.median(one["cpu_s_per_gb"]) for name, one in part["figures"].items()}
        bars = [Bar("limit (C, checks no row)", LIMIT_CPU_S_PER_GB, f"{LIMIT_CPU_S_PER_GB}", "limit")]
        for name, value in cpu.items():
            bars.append(Bar(_NAMES[name], value, f"{value:.3g}", "ours" if name.startswith("dxr") else "theirs"))
        cut = 1.6 * max(value for name, value in cpu.items() if not name.startswith("requests"))
        drawn.append(Panel("Landing: CPU", "seconds per GB of rows, less is better", bars, cut))
    if part := found.get("streams"):
        bars = [Bar("allowed", STREAM_MIB_MAX, f"{STREAM_MIB_MAX}", "limit")]
        for name, runs in part["runs"].items():
            label = name.replace(" at once", "").replace(" times as long", " x long").replace(", to a ", ": ")
            most = max(run["mib_a_stream"] for run in runs)
            bars.append(Bar(label, most, f"{most:.0f}"))
        drawn.append(Panel("Landing: memory", "MiB per stream beyond an idle service, less is better", bars))
    if part := found.get("uploads"):
        bars = [
            Bar(f"{sender}, {what.rpartition('of ')[2]} files", value, f"{value:.2f}", _kind(sender))
            for what, senders in part["figures"].items()
            for sender, costs in senders.items()
            if (value := statistics.median(cost["cpu_s"] * 1e9 / cost["bytes"] for cost in costs))
        ]
        drawn.append(Panel("Uploads: CPU", "seconds per GB of files, less is better", bars))
    if part := found.get("classification"):
        bars = [
            Bar(
                f"{run['lanes']} datasource{'s' if run['lanes'] > 1 else ''}",
                run["files_per_s"],
                f"{run['files_per_s']:.0f}",
            )
            for run in part["runs"]
            if run["files"] == part["runs"][0]["files"]
        ]
        drawn.append(Panel("Classification", "files per second, more is better", bars))
    if part := found.get("tables"):
        bars = [
            Bar(f"{name.rpartition(',')[0]} at {rows}", value, f"{value:.0f}", "ours" if name == OURS else "theirs")
            for rows, figures in part["snapshots"].items()
            for name, one in figures.items()
            if (value := statistics.median(one["cpu_us"]))
        ]
        drawn.append(Panel("Tables: CPU", "microseconds per row, less is better", bars))
    return drawn


def _kind(sender: str) -> str:
    return "ours" if sender == "ours" else "theirs"
