"""A bar chart as SVG text: ratios of proxies to one that stands at 1.0, a row for each workload.

Nothing but text is made here: no file is written, nothing is measured and no unit is known. [`draw`] is where to start. The
picture follows a browser's choice of light or dark; where that choice is not understood it is light.
"""

import math
from dataclasses import dataclass, field
from html import escape

WIDTH = 900
# Where the axis begins and ends; right of it stand the figures.
LEFT, RIGHT = 270, 730
FIGURE, LIMIT = 790, 860
BAR, GAP, ROW = 13, 3, 46
# An axis ends here at most, unless the first proxy or its limit go further; a longer bar is cut, and its figure tells how
# long it is.
LONGEST = 2.0

STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #212529; }
  .paper { fill: #ffffff; }
  .title { font-size: 18px; font-weight: 600; }
  .section { font-size: 14px; font-weight: 600; }
  .quiet { font-size: 11px; fill: #5c636a; }
  .number { text-anchor: end; font-variant-numeric: tabular-nums; }
  .grid { stroke: #dee2e6; stroke-width: 1; }
  .one { stroke: #495057; stroke-width: 1.5; }
  .whisker { stroke: #212529; stroke-width: 1; }
  .limit { stroke: #c2255c; stroke-width: 3; }
  .limit-text, .wrong { fill: #c2255c; }
  .first { fill: #0b7285; }
  .second { fill: #a9b1b9; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e9ecef; }
    .paper { fill: #16191d; }
    .quiet { fill: #a3abb3; }
    .grid { stroke: #343a40; }
    .one { stroke: #ced4da; }
    .whisker { stroke: #f8f9fa; }
    .limit { stroke: #f783ac; }
    .limit-text, .wrong { fill: #f783ac; }
    .first { fill: #22a6bd; }
    .second { fill: #6c757d; }
  }
"""


@dataclass
class Row:
    """A workload: what each proxy showed, as (median, least, most), and the most that is wanted of the first one."""

    name: str
    about: str
    values: dict
    bar: float | None = None
    # What makes the row worth nothing.
    wrong: str = ""


@dataclass
class Section:
    """Rows that are ratios of one kind."""

    heading: str
    # What stands at 1.0.
    one: str
    rows: list = field(default_factory=list)


def axis_end(section, first):
    """The end of the axis: the quarter beyond all that is shown, within reason."""
    needed, wished = [1.2], [1.2]
    for row in section.rows:
        wished += [high for _, _, high in row.values.values()]
        needed += [row.bar or 0, *row.values.get(first, (0,))[:1]]
    longest = max(max(needed), min(LONGEST, max(wished)))
    return math.ceil(longest * 4) / 4


class Canvas:
    """Lines of SVG, and the scale of the section that is drawn."""

    def __init__(self):
        self.end = 1.0
        self.lines = []

    def x(self, ratio):
        return LEFT + (RIGHT - LEFT) * min(ratio, self.end) / self.end

    def text(self, x, y, words, kind=""):
        self.lines.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(words)}</text>')

    def line(self, x1, y1, x2, y2, kind):
        self.lines.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>')

    def box(self, x, y, width, height, kind, hint=""):
        inside = f"<title>{escape(hint)}</title>" if hint else ""
        self.lines.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0, width):.1f}" height="{height}" class="{kind}">{inside}</rect>'
        )

    def cut(self, y):
        """Two strokes across the end of a bar that goes on."""
        for shift in (-9, -5):
            self.line(RIGHT + shift, y + BAR + 2, RIGHT + shift + 4, y - 2, "grid")


def legend(canvas, peers, y):
    """What the colours and strokes mean, each word after its sign."""
    x = 24
    for kind, peer in zip(("first", "second"), peers):
        canvas.box(x, y - 10, 20, 11, kind)
        canvas.text(x + 26, y, peer)
        x += 50 + 8 * len(peer)
    canvas.line(x, y - 11, x, y + 2, "limit")
    canvas.text(x + 8, y, f"the most that is wanted of {peers[0]}")
    x += 265
    canvas.line(x, y - 4, x + 22, y - 4, "whisker")
    canvas.line(x, y - 7, x, y - 1, "whisker")
    canvas.line(x + 22, y - 7, x + 22, y - 1, "whisker")
    canvas.text(x + 30, y, "least and most of the rounds")


def bars(canvas, row, peers, y):
    """One row: a bar for each proxy, its spread, its figure, and the limit's tick across the first bar."""
    canvas.text(24, y + BAR - 1, row.name)
    canvas.text(24, y + BAR + 14, row.wrong or row.about, "quiet wrong" if row.wrong else "quiet")
    for number, (kind, peer) in enumerate(zip(("first", "second"), peers)):
        if peer not in row.values:
            continue
        median, low, high = row.values[peer]
        top = y + number * (BAR + GAP)
        hint = f"{row.name}, {peer}: {median:.2f}, rounds from {low:.2f} to {high:.2f}"
        canvas.box(LEFT, top, canvas.x(median) - LEFT, BAR, kind, hint)
        if median > canvas.end:
            canvas.cut(top)
        middle = top + BAR / 2
        if low < high and low < canvas.end:
            canvas.line(canvas.x(low), middle, canvas.x(high), middle, "whisker")
        for end in (low, high):
            if low < high and end < canvas.end:
                canvas.line(canvas.x(end), middle - 3, canvas.x(end), middle + 3, "whisker")
        canvas.text(FIGURE, top + BAR - 2, f"{median:.2f}", "number")
    if row.bar is not None:
        canvas.line(canvas.x(row.bar), y - 3, canvas.x(row.bar), y + BAR + 3, "limit")
        canvas.text(LIMIT, y + BAR - 2, f"{row.bar:.2f}", "number limit-text")


def draw(title, notes, peers, sections):
    """The whole picture. `peers` are one or two names, in the order of their bars; `notes` are lines below the title."""
    sections = [section for section in sections if section.rows]
    canvas = Canvas()
    canvas.text(24, 34, title, "title")
    y = 34
    for note in notes:
        y += 18
        canvas.text(24, y, note, "quiet")
    y += 28
    legend(canvas, peers, y)
    for section in sections:
        canvas.end = axis_end(section, peers[0])
        y += 38
        canvas.text(24, y, section.heading, "section")
        canvas.text(FIGURE, y, "ratio", "number quiet")
        canvas.text(LIMIT, y, "limit", "number quiet")
        top = y + 10
        bottom = top + ROW * len(section.rows)
        for quarter in range(int(canvas.end * 4) + 1):
            ratio = quarter / 4
            canvas.line(canvas.x(ratio), top, canvas.x(ratio), bottom, "one" if ratio == 1 else "grid")
            if quarter % 2 == 0:
                canvas.lines.append(
                    f'<text x="{canvas.x(ratio):.1f}" y="{bottom + 15:.1f}" class="quiet" text-anchor="middle">'
                    f"{f'{section.one} = 1.0' if ratio == 1 else f'{ratio:.1f}'}</text>"
                )
        for number, row in enumerate(section.rows):
            bars(canvas, row, peers, top + 9 + ROW * number)
        y = bottom + 18
    height = y + 20
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="paper" width="{WIDTH}" height="{height:.0f}"/>',
            *canvas.lines,
            "</svg>\n",
        ]
    )
