"""What a run prints: a table of ratios that grows a row at a time, and the same rows as a picture.

Knows nothing of servers and loads; a round is a dictionary of figures for each proxy. [`Table`] is where to start.
"""

import statistics
import sys

import plot

# key of a round: its column
COLUMNS = {
    "cpu": "CPU",
    "user": "user",
    "sys": "system",
    "rate": "rate",
    "p50": "p50",
    "p99": "p99",
    "p999": "p99.9",
    "memory": "memory",
}
# Up to this ratio two proxies are equal.
TIE = 1.03
# What a request of a workload is, and by how much its CPU is multiplied to be told in which unit.
REQUEST, MEBIBYTE, MESSAGE = ("request", 1, "us/request"), ("MiB", 1.024, "ms/GiB"), ("message", 1, "us/message")


def ratios(rounds, peer, base, key):
    """The rounds' ratios of a figure; none where it was not measured."""
    return [r[peer][key] / r[base][key] for r in rounds if r[peer].get(key) is not None and r[base].get(key)]


def middle(values):
    return statistics.median(values) if values else None


def cell(value):
    return f"{value:6.2f}x" if value is not None else "      -"


class Table:
    """`peers` are the proxies that stand beside another one, the judged one first."""

    def __init__(self, peers, sections):
        self.peers = peers
        # name: what its rows are, and what stands at 1.0
        self.sections = {name: plot.Section(*words) for name, words in sections.items()}
        self.met, self.missed, self.behind = [], [], []

    def head(self):
        columns = "".join(f"{heading:>7}" for heading in COLUMNS.values())
        print(f"{'workload':10} {'proxy':8}{columns}  calls (nginx's)", flush=True)

    def judged(self, name, bar, met, unit=""):
        """The words of a verdict, which is kept for the end."""
        (self.met if met else self.missed).append(name)
        return f"  bar {bar}{unit}: {'met' if met else 'MISSED'}"

    def rounds(self, section, name, about, rounds, bar=None):
        """A row for each peer that was measured: medians of the rounds' ratios to nginx."""
        row = plot.Row(name, about, {}, bar)
        for peer in (p for p in self.peers if p in rounds[0]):
            columns = "".join(cell(middle(ratios(rounds, peer, "nginx", key))) for key in COLUMNS)
            of_rounds = ratios(rounds, peer, "nginx", "cpu")
            if of_rounds:
                row.values[peer] = (middle(of_rounds), min(of_rounds), max(of_rounds))
            calls = [middle([r[p]["calls"] for r in rounds if r[p].get("calls") is not None]) for p in (peer, "nginx")]
            counted = f"{calls[0]:7.2f} ({calls[1]:.2f})" if None not in calls else "      -"
            judged = bar is not None and peer == self.peers[0] and of_rounds
            verdict = self.judged(name, f"{bar:.2f}", middle(of_rounds) <= bar) if judged else ""
            bad = sum(r[peer]["bad"] for r in rounds)
            # The judged one is to be behind no other peer either.
            for other in self.peers[1:] if peer == self.peers[0] and self.peers[-1] in rounds[0] else ():
                beside = middle(ratios(rounds, peer, other, "cpu"))
                if beside is not None and beside > TIE:
                    self.behind.append(name)
                    verdict += f"  {beside:.2f}x of {other.upper()}'S"
            if bad:
                verdict += f"  FAILED ANSWERS: {bad}"
                row.wrong = "answers failed: this row is worth nothing"
            print(f"{name:10} {peer:8}{columns}  {counted:16}{verdict}".rstrip(), flush=True)
        self.sections[section].rows.append(row)

    def itself(self, section, name, about, rounds, bar):
        """A row of ringx beside itself `without` what is measured, and beside nginx where that was measured with it."""
        of_rounds = ratios(rounds, "ringx", "without", "cpu")
        cpu = middle(of_rounds)
        row = plot.Row(name, about, {"ringx": (cpu, min(of_rounds), max(of_rounds))}, bar)
        columns = "".join(cell(middle(ratios(rounds, "ringx", "without", key))) for key in COLUMNS)
        calls = [middle([r[p]["calls"] for r in rounds if r[p].get("calls") is not None]) for p in ("ringx", "without")]
        counted = f"{calls[0]:7.2f} ({calls[1]:.2f})" if None not in calls else "      -"
        verdict = self.judged(name, f"{bar:.2f} of itself without", cpu <= bar)
        if "nginx" in rounds[0]:
            verdict += f"  CPU {middle(ratios(rounds, 'ringx', 'nginx', 'cpu')):.2f}x of nginx with it"
        bad = sum(r["ringx"]["bad"] for r in rounds)
        if bad:
            verdict += f"  FAILED ANSWERS: {bad}"
            row.wrong = "answers failed: this row is worth nothing"
        print(f"{name:10} {'ringx':8}{columns}  {counted:16}{verdict}".rstrip(), flush=True)
        self.sections[section].rows.append(row)

    def memory(self, section, name, about, used, bar, words, met=True):
        """Rows of memory alone, in bytes for each proxy. `bar` is the judged one's, in bytes too, `met` whatever else is
        asked of it, and `words` name both."""
        row = plot.Row(name, about, {}, bar / max(1, used["nginx"]))
        for peer in (p for p in self.peers if p in used):
            ratio = used[peer] / max(1, used["nginx"])
            row.values[peer] = (ratio, ratio, ratio)
            columns = "".join(cell(ratio if key == "memory" else None) for key in COLUMNS)
            verdict = self.judged(name, words, met and used[peer] <= bar) if peer == self.peers[0] else ""
            print(f"{name:10} {peer:8}{columns}  {'      -':16}{verdict}".rstrip(), flush=True)
        self.sections[section].rows.append(row)

    def raw(self, rounds, unit=REQUEST):
        """This run's own figures, on standard error: they are not to be kept."""
        for name in rounds[0]:
            found = {k: middle([r[name][k] for r in rounds if r[name].get(k) is not None]) for k in (*COLUMNS, "calls")}
            words = [f"{found['cpu'] * unit[1]:8.2f} {unit[2]} ({found['user'] * unit[1]:.2f} user)", f"{found['rate']:9.0f}/s"]
            words += [f"{COLUMNS[k]} {found[k] * 1e6:.0f} us" for k in ("p50", "p99", "p999") if found[k] is not None]
            words += [f"{found['memory']:.0f} KiB"] if found["memory"] is not None else []
            words += [f"{found['calls']:.2f} calls/{unit[0]}"] if found["calls"] is not None else []
            print(f"    {name:8} " + "  ".join(words), file=sys.stderr)

    def end(self):
        judged = len(self.met) + len(self.missed)
        missed = f"; missed: {', '.join(self.missed)}" if self.missed else ""
        behind = f"; behind {self.peers[1]}: {', '.join(self.behind)}" if self.behind else ""
        print(f"{len(self.met)} of {judged} bars met{missed}{behind}")

    def draw(self, path, title, notes):
        """Writes what was measured so far as a picture."""
        if any(section.rows for section in self.sections.values()):
            with open(path, "w", encoding="utf-8") as f:
                f.write(plot.draw(title, notes, self.peers, self.sections.values()))
