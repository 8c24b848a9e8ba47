"""The results as a table, as JSON, and as the table in docs/peers.md."""

import json
import os
import platform
import statistics
from dataclasses import dataclass, field
from pathlib import Path

import plan

BEGIN, END = "<!-- table: benches/peers/run --write-docs -->", "<!-- end of table -->"


@dataclass
class Row:
    """What one side did in one race."""

    database: str
    workload: str
    side: str
    events: int = 0
    rates: list[float] = field(default_factory=list)  # events per second, one for each round
    lost: int = 0  # events that a reader never got, in all rounds
    repeated: int = 0  # events that it got again
    in_order: bool = True  # every reader gave the events in the order in which they were added
    errors: list[str] = field(default_factory=list)

    def add(self, result: dict) -> None:
        self.events = result["events"]
        self.rates.append(result["events"] / result["seconds"])
        self.lost += result["lost"]
        self.repeated += result["repeated"]
        self.in_order &= result["in_order"]

    def median(self) -> float | None:
        return statistics.median(self.rates) if self.rates else None

    def breaks_our_promise(self) -> bool:
        return self.side == "ours" and (self.lost > 0 or not self.in_order)

    def remark(self) -> str:
        """What went wrong with what was read."""
        remarks = ["" if self.in_order else "not in order"]
        if plan.WORKLOADS[self.workload].writers:
            remarks += [f"{self.lost:,} of {self.events * len(self.rates):,} lost"]
            remarks += [f"{self.repeated:,} repeated" if self.repeated else ""]
        told = ", ".join(filter(None, remarks))
        return f" ({told})" if told else ""

    def cells(self) -> tuple[str, str]:
        """Median and spread."""
        if not self.rates:
            return "failed", ""
        return number(self.median()), f"{number(min(self.rates))}..{number(max(self.rates))}"


def number(rate: float) -> str:
    """Three digits that matter."""
    digits = max(0, len(str(int(rate))) - 3)
    return f"{round(rate / 10**digits) * 10**digits:,}"


def ratio(ours: Row, row: Row) -> float | None:
    return ours.median() / row.median() if ours.rates and row.rates else None


def lines(rows: list[Row]) -> list[tuple[str, ...]]:
    """Database, workload, side, median, spread, ours/peer."""
    found = []
    for row in rows:
        ours = next(r for r in rows if (r.database, r.workload, r.side) == (row.database, row.workload, "ours"))
        factor = ratio(ours, row)
        median, spread = row.cells()
        title = plan.SIDES[row.side].title + row.remark()
        compared = "" if row.side == "ours" or factor is None else f"{factor:.2f}"
        found.append(
            (plan.DATABASES[row.database], plan.WORKLOADS[row.workload].title, title, median, spread, compared)
        )
    return found


HEAD = ("database", "workload", "side", "events/s", "min..max", "ours/peer")


def table(rows: list[Row]) -> str:
    """For a terminal."""
    cells = [HEAD, *lines(rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells)


def markdown(rows: list[Row]) -> str:
    """One table for each database, a row for each workload and side."""
    parts = []
    for database in dict.fromkeys(row.database for row in rows):
        parts += ["", f"### {plan.DATABASES[database]}", "", "| " + " | ".join(HEAD[1:]) + " |"]
        parts.append("| --- | --- | ---: | ---: | ---: |")
        before = None
        for line in lines([row for row in rows if row.database == database]):
            workload = "" if line[1] == before else line[1]
            before = line[1]
            parts.append("| " + " | ".join((workload, *line[2:])) + " |")
    return "\n".join(parts)


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} processors ({models[0] if models else platform.machine()})"


def write_json(path: Path, rows: list[Row], facts: dict) -> None:
    found = [
        vars(row) | {"median": row.median(), "min": min(row.rates, default=None), "max": max(row.rates, default=None)}
        for row in rows
    ]
    path.write_text(json.dumps(facts | {"rows": found}, indent=1) + "\n")


def write_docs(path: Path, rows: list[Row], facts: dict) -> None:
    """Replaces what stands between the two markers."""
    text = path.read_text()
    before, _, rest = text.partition(BEGIN)
    _, marker, after = rest.partition(END)
    if not marker:
        raise ValueError(f"{path} has no place for the table")
    told = (
        f"Measured {facts['date']}: {facts['rounds']} rounds, {facts['machine']}, load average at the start "
        f"{facts['load']:.1f}."
    )
    path.write_text(f"{before}{BEGIN}\n\n{told}\n{markdown(rows)}\n\n{END}{after}")
