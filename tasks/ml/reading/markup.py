"""Text out of RTF, HTML and HL7 escapes: what the physician read, without how it was printed."""

from __future__ import annotations

import re
from collections import Counter
from html import unescape
from html.parser import HTMLParser

_HTML_TAG = re.compile(
    r"</?(?:html|head|body|p|br|div|span|b|i|u|em|strong|font|table|tr|td|th|ul|ol|li|h[1-6]|pre|hr|style)"
    r"(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-fA-F]{1,6}|[a-zA-Z]{2,8}[0-9]{0,2});")
_BREAKS = {"p", "br", "div", "tr", "li", "ul", "ol", "table", "pre", "hr", *(f"h{n}" for n in range(1, 7))}
_HIDDEN = {"style", "script", "head", "title"}
# all else ends a head: HTML lets </head> be left out, and <body> too
_OF_A_HEAD = _HIDDEN | {"html", "meta", "link", "base", "noscript", "template"}

# HL7 v2.5, chapter 2.7: escape sequences in text fields
_HL7 = re.compile(r"\\(\.br|\.(?:sp|sk|in|ti)[+-]?\d*|\.(?:fi|nf|ce)|[FSTREHN]|X(?:[0-9A-Fa-f]{2})+)\\")
_HL7_SIGNS = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\", "H": "", "N": ""}

# RTF 1.9.1: a control word, a hex character, a control symbol, a brace, a line's end, or a run of text
_RTF = re.compile(
    r"\\([a-z]{1,32})(-?\d{1,10})?[ ]?|\\'([0-9a-fA-F]{2})|\\([^a-z])|([{}])|[\r\n]+|([^\\{}\r\n]+)",
    re.IGNORECASE,
)
_RTF_MARKS = {
    "par": "\n", "line": "\n", "sect": "\n", "page": "\n", "row": "\n", "tab": "\t", "cell": "\t",
    "emdash": "—", "endash": "–", "lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”",
    "bullet": "•", "emspace": " ", "enspace": " ",
}  # fmt: skip
_RTF_HIDDEN = {
    "fonttbl", "colortbl", "stylesheet", "info", "pict", "object", "header", "footer", "themedata",
    "datastore", "listtable", "listoverridetable", "rsidtbl", "generator", "xmlnstbl", "latentstyles",
    "fldinst",
}  # fmt: skip


def plain(text: str, repairs: Counter[str]) -> str:
    """The text without its markup; how many pieces of which kind went is counted."""
    if text.lstrip().startswith("{\\rtf"):
        repairs["rtf"] += 1
        return _from_rtf(text)
    if "<" in text and _HTML_TAG.search(text):
        repairs["html"] += 1
        return _from_html(text)
    if "&" in text:
        text, entities = _ENTITY.subn(lambda found: unescape(found[0]), text)
        repairs["entities"] += entities
    if "\\" in text:
        text, escapes = _HL7.subn(_from_hl7, text)
        repairs["hl7"] += escapes
    return text


def _from_hl7(found: re.Match[str]) -> str:
    code = found[1]
    if code in _HL7_SIGNS:
        return _HL7_SIGNS[code]
    if code.startswith("X"):
        data = bytes.fromhex(code[1:])
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return data.decode("latin-1")
    return " " if code.startswith((".sk", ".in", ".ti")) else "\n"


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.hidden: list[str] = []  # what is open, outermost first, and does not show

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "body" or (tag not in _OF_A_HEAD and self.hidden == ["head"]):
            self.hidden.clear()
        if tag in _HIDDEN:
            self.hidden.append(tag)
        if tag in _BREAKS:
            self.pieces.append("\n")
        elif tag in {"td", "th"}:
            self.pieces.append("\t")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.hidden:
            del self.hidden[self.hidden.index(tag) :]
        if tag in _BREAKS - {"br", "hr"}:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if self.hidden == ["head"] and not data.isspace():
            self.hidden.clear()
        if not self.hidden:
            self.pieces.append(data)


def _from_html(text: str) -> str:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return "".join(reader.pieces)


def _from_rtf(text: str) -> str:
    pieces: list[str] = []
    outer: list[
        tuple[bool, int]
    ] = []  # of each open group around: is it hidden, how many fallbacks follow \u
    hidden, fallbacks, to_skip = False, 1, 0
    for token in _RTF.finditer(text):
        word, number, code, symbol, brace, run = token.groups()
        if brace == "{":
            outer.append((hidden, fallbacks))
        elif brace == "}":
            hidden, fallbacks = outer.pop() if outer else (False, 1)
        elif symbol == "*" or word in _RTF_HIDDEN:
            hidden = True  # \*: a destination that readers may ignore
        elif word == "uc":
            fallbacks = int(number or 1)
        elif hidden:
            continue
        elif word == "u" and number:
            pieces.append(_utf16_unit(int(number)))
            to_skip = fallbacks
        elif word:
            pieces.append(_RTF_MARKS.get(word, ""))
        elif code and to_skip:
            to_skip -= 1
        elif code:
            pieces.append(bytes.fromhex(code).decode("cp1252", "replace"))
        elif symbol:
            pieces.append(
                {"~": "\u00a0", "_": "-", "\n": "\n", "\r": "\n"}.get(
                    symbol, symbol if symbol in "\\{}" else ""
                )
            )
        elif run:
            pieces.append(run[to_skip:])
            to_skip = 0
    # characters beyond the first plane come as two halves
    return "".join(pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _utf16_unit(number: int) -> str:
    return chr(number % 0x10000)
