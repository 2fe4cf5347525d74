"""Display names from data as plain text: on a terminal, in Markdown, in HTML."""

from __future__ import annotations

import html
import re
import unicodedata

__all__ = ["as_html", "as_markdown", "one_line", "visible"]

_LONGEST = 200
_UNSEEN = re.compile(
    "[^\n\t\x20-\x7e\u00a0-\U0010ffff]|[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_WORD_END = r"(?<![^\W_])_|_(?![^\W_])"
_ITEM = "|".join(rf"(?<=^{'[0-9]' * n})[.)](?=\s|$)" for n in range(1, 10))
_SPECIAL = re.compile(
    rf"""(?P<escaped>[`*\[\]~]|{_WORD_END}|^[#+\-=>])  # emphasis, code, links, lists, headings
    |(?P<entity>[<]|&(?=\#?\w)|(?<=[a-z]):(?=//)|(?<=\S)@(?=\S+\.\S)|(?<=\bwww)\.|{_ITEM})  # markup
    |(?P<apart>[$\\])  # formulas, which are detected after entities are resolved
    """,
    re.VERBOSE | re.IGNORECASE,
)


def visible(text: str) -> str:
    r"""Escape text for a terminal: control and bidirectional characters, as ``\x1b``.

    Line breaks and tabs are kept.
    """
    return _UNSEEN.sub(lambda match: _code(match[0]), text)


def one_line(name: object, length: int = _LONGEST) -> str:
    """Show a name on one line, without control characters; a long one is cut in its middle.

    Parameters
    ----------
    name
        The name; converted to text.
    length
        Maximum number of characters; two thirds are from the end, where names differ most.
    """
    text = visible(" ".join(str(name).split()))
    if len(text) > length:
        head = (length - 1) // 3
        text = f"{text[:head]}…{text[head + 1 - length :]}"
    return text


def as_markdown(name: object, length: int = _LONGEST) -> str:
    """Escape a name for Markdown, as shown in notebooks: no markup, link, HTML or formula.

    Names without such characters stay unchanged.

    Parameters
    ----------
    name
        The name; converted to text.
    length
        Maximum number of characters; sentences need more.
    """

    def escape(match: re.Match[str]) -> str:
        if match["escaped"]:
            return f"\\{match[0]}"
        entity = f"&#{ord(match[0])};"
        return f"<span>{entity}</span>" if match["apart"] else entity

    return _SPECIAL.sub(escape, one_line(name, length))


def as_html(name: object) -> str:
    """Escape text for HTML, such as the caption of a table: no markup or formula."""
    escaped = html.escape(visible(str(name)))
    return re.sub(r"[$\\]", lambda match: f"<span>&#{ord(match[0])};</span>", escaped)


def _code(letter: str) -> str:
    if unicodedata.category(letter) == "Cs":
        return f"\\u{ord(letter):04x}"
    return letter.encode("unicode_escape").decode()
