"""HTML and SVG, built so that nothing can be left unescaped: a plain `str` is escaped, only `Markup` is not.

Apart from the pages and plots because it is the one place that may turn text into markup.
"""

from collections.abc import Iterable
from html import escape as escape_html

_VOID = frozenset({"meta", "br", "hr", "circle", "line", "path", "rect"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(value: object) -> Markup:
    """Any value as safe text, also in a quoted attribute; a lone surrogate becomes `?` so that the file is UTF-8."""
    if isinstance(value, Markup):
        return value
    return Markup(escape_html(str(value).encode("utf-8", "replace").decode(), quote=True))


def join(parts: Iterable[object | None], between: str = "") -> Markup:
    """Many pieces as one; None is left out."""
    return Markup(between.join(escape(part) for part in parts if part is not None))


def element(name: str, /, *children: object | None, **attributes: object) -> Markup:
    """`<name …>children</name>`. In attribute names a trailing `_` falls away (`class_`) and `_` is written `-`;
    a value of None or False leaves the attribute out, True writes it bare, a float is written with one decimal."""
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        word = key.rstrip("_").replace("_", "-")
        text = coordinate(value) if isinstance(value, float) else value
        words.append(word if value is True else f'{word}="{escape(text)}"')
    opening = "<" + " ".join(words)
    if not children and name in _VOID:
        return Markup(f"{opening}/>")
    return Markup(f"{opening}>{join(children)}</{name}>")


def coordinate(value: float) -> str:
    """A pixel position with one decimal, no trailing zero: `12`, `12.5`."""
    text = f"{value:.1f}"
    return "0" if text == "-0.0" else text.removesuffix(".0")
