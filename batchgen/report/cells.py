"""Texts as cells of a table that no spreadsheet runs as a formula, and back. Pure.

Which separator a spreadsheet expects depends on the region. Where that is none of the file's, its
quotes protect nothing, and each semicolon, tab or line break in a text begins a cell. Full-width
signs count where Chinese, Japanese or Korean is written. In the gallery `exports.js` does the same.
In a file that is separated by semicolons, so does each comma.
"""

import re

_SKIPPED = r'"\u200b-\u200d\u2060\ufeff'
# What is, or may become, the beginning of a cell, behind blanks and quotes.
_BLANKS = rf"(?:[^\S\t\r\n]|[{_SKIPPED}])*"
_BEGINNING = rf"(?:\A[\s{_SKIPPED}]*|[;\t\r\n]{_BLANKS})"
# An apostrophe that was there counts as one of the formula, so that there is a way back.
_BEFORE_FORMULA = r"(?='*[-=+@＝＋－＠])"
_FORMULA = re.compile(_BEGINNING + _BEFORE_FORMULA)
_AFTER_COMMA = re.compile(rf",{_BLANKS}{_BEFORE_FORMULA}")
_ESCAPED_FORMULA = re.compile(rf"({_BEGINNING})'{_BEFORE_FORMULA}")
_ODD_START = re.compile(r"'*[\t\r]")
_ESCAPED_START = re.compile(r"'+[\t\r]")


def escape_formulas(text: str, separator: str = ",") -> str:
    """Return the text with an apostrophe before each formula in it. separator: of the file."""
    text = _FORMULA.sub(r"\g<0>'", text)
    if separator == ";":
        text = _AFTER_COMMA.sub(r"\g<0>'", text)
    return f"'{text}" if _ODD_START.match(text) else text


def unescape_formulas(cell: str) -> str:
    """Return the text of which `escape_formulas` made the cell of a file with commas."""
    text = cell[1:] if _ESCAPED_START.match(cell) else cell
    return _ESCAPED_FORMULA.sub(r"\1", text)
