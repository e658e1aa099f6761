"""A profile's tables and plots as one HTML page, as a Markdown page, and as SVG files beside it.

Every number comes from the document, and the command that measured it stands above it. It must never compute a result.
"""

import re
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from loadgen.profile.figures import Figure, figures
from loadgen.profile.tables import Table, all_tables, headline
from loadgen.report import plots
from loadgen.report.markup import Markup, element

Json = Mapping[str, Any]

_MARGIN, _LINE, _KEYS = 8, 14, 3  # of a plot in a file: left edge, height of a line, keys in one
# A file that stands alone has no style sheet but its own.
_COLOURS = ("#0067a8", "#c4500a", "#00805a", "#8a4f9e", "#94700a", "#4a5560", "#d6336c")
_SEVENTH = f".s6{{--own:{_COLOURS[6]}}}"  # which the report's style sheet lacks; it reads on light and dark
_STYLE = (
    "svg{font-family:sans-serif;background:#fff}text{fill:#555;font-size:11px}.grid{fill:none;stroke:#e3e3e3}"
    ".axis{fill:none;stroke:#555}.line{fill:none;stroke:#555;stroke-width:1.6}.dash1{stroke-dasharray:6 4}"
    ".hit{fill:none}.title{font-weight:bold;fill:#222}"
) + "".join(f".line.s{k}{{stroke:{colour}}}.s{k} .dot,.key.s{k}{{fill:{colour}}}" for k, colour in enumerate(_COLOURS))


def html_page(document: Json) -> str:
    """One file without anything to fetch."""
    style = resources.files("loadgen.report").joinpath("page.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"loadgen profile: {headline(document)}"),
        element("style", Markup(style + _SEVENTH)),
    )
    drawn = [
        element(
            "figure",
            element("figcaption", element("h3", figure.title), plots.legend(figure.keys, toggles=False)),
            figure.picture,
            class_="chart",
        )
        for figure in figures(document)
    ]
    top = element("header", element("p", "loadgen profile", class_="eyebrow"), element("h1", headline(document)))
    body = element(
        "body",
        top,
        element("p", element("code", document["command"])),
        element("section", element("div", *drawn, class_="charts")) if drawn else None,
        *(_section(table) for table in all_tables(document)),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _section(table: Table) -> Markup:
    head = element("thead", element("tr", *(element("th", column) for column in table.columns)))
    rows = [element("tr", element("th", row[0]), *(element("td", cell) for cell in row[1:])) for row in table.rows]
    drawn = element("div", element("table", head, element("tbody", *rows), class_="figures"), class_="scroll")
    return element("section", element("h2", table.title), drawn, element("p", table.note, class_="note"))


def svg_files(document: Json) -> dict[str, str]:
    """Name → content of each plot, its legend inside."""
    return {_svg_name(document, figure): _alone(figure) for figure in figures(document)}


def _svg_name(document: Json, figure: Figure) -> str:
    return f"{document['model']['name']}-{figure.slug}.svg"


def _alone(figure: Figure) -> str:
    """The title above and the keys below, where no line runs through them."""
    below = -(-len(figure.keys) // _KEYS)
    keys = [
        element(
            "text",
            label,
            x=_MARGIN + k % _KEYS * (plots.WIDTH - _MARGIN) // _KEYS,
            y=plots.HEIGHT + 12.0 + _LINE * (k // _KEYS),
            class_=f"key {style}",
        )
        for k, (style, label) in enumerate(figure.keys)
    ]
    title = element("text", figure.title, x=_MARGIN, y=-8.0, class_="title")
    top, height = 2 * _LINE, plots.HEIGHT + 2 * _LINE + _LINE * below + 4
    opening, rest = figure.picture.split(">", 1)
    opening = opening.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    opening = re.sub(r'viewBox="[^"]*"', f'viewBox="0 {-top} {plots.WIDTH} {height}"', opening)
    body = rest.removesuffix("</svg>")
    return f"{opening}>{element('style', Markup(_STYLE))}{title}{body}{''.join(keys)}</svg>\n"


def markdown_page(documents: Iterable[Json], command: str = "") -> str:
    """One page of any number of profiles: what was run, the plots (of `svg_files`, beside the page), the tables.

    `command`: what wrote the page from profiles that were measured before.
    """
    parts = ["# The modules of a decoder, timed\n"]
    if command:
        parts.append(f"Written by\n\n    {command}\n\nfrom what the command below each title measured.\n")
    for document in documents:
        parts.append(f"## {headline(document)}\n\n    {document['command']}\n")
        parts += [f"![{figure.title}]({_svg_name(document, figure)})\n" for figure in figures(document)]
        parts += [_markdown_table(table) for table in all_tables(document)]
    return "\n".join(parts)


def _markdown_table(table: Table) -> str:
    rules = ["---" if k < table.left else "---:" for k in range(len(table.columns))]
    lines = [_line(table.columns), _line(rules), *(_line(row) for row in table.rows)]
    note = f"\n{table.note}\n" if table.note else ""
    return f"### {table.title}\n\n" + "\n".join(lines) + f"\n{note}"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in cells) + " |"
