"""Texts as cells of a table that no spreadsheet runs as a formula, and back. Pure.

Which separator a spreadsheet expects depends on the region. Where that is none of the file's, its
quotes protect nothing, and each semicolon, tab or line break in a text begins a cell. Full-width
signs count where Chinese, Japanese or Korean is written. In the gallery `exports.js` does the same.
"""

import re

_SKIPPED = r'"\u200b-\u200d\u2060\ufeff'
# What is, or may become, the beginning of a cell, behind blanks and quotes.
_BEGINNING = rf"(?:\A[\s{_SKIPPED}]*|[;\t\r\n](?:[^\S\t\r\n]|[{_SKIPPED}])*)"
# An apostrophe that was there counts as one of the formula, so that there is a way back.
_BEFORE_FORMULA = r"(?='*[-=+@＝＋－＠])"
_FORMULA = re.compile(_BEGINNING + _BEFORE_FORMULA)
_ESCAPED_FORMULA = re.compile(rf"({_BEGINNING})'{_BEFORE_FORMULA}")
_ODD_START = re.compile(r"'*[\t\r]")
_ESCAPED_START = re.compile(r"'+[\t\r]")


def escape_formulas(text: str) -> str:
    """Return the text with an apostrophe before each formula in it."""
    text = _FORMULA.sub(r"\g<0>'", text)
    return f"'{text}" if _ODD_START.match(text) else text


def unescape_formulas(cell: str) -> str:
    """Return the text of which `escape_formulas` made the cell."""
    text = cell[1:] if _ESCAPED_START.match(cell) else cell
    return _ESCAPED_FORMULA.sub(r"\1", text)
