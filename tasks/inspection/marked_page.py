"""A marked report as one page without anything beside it: for the person who asked, and nobody else."""

from __future__ import annotations

import html
import os
from contextlib import suppress
from pathlib import Path

from db.errors import LaudosError
from tasks.inspection.explain import Explained
from tasks.ml.pages.document import STYLE

WARNING = (
    "This page holds the text of a patient's report. Keep it where reports may be kept; delete it after use."
)
CAVEAT = (
    "Marked is what the model went by, not what is true. Sentences that say the same share what they carry: "
    "one of them left out may change nothing."
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # a browser fetches nothing for it
MARKS = """
pre { white-space: pre-wrap; font: inherit; border: 1px solid #d5dce2; border-radius: 6px; padding: 1rem; }
mark { padding: .1em .15em; border-radius: 3px; } mark.strong { background: #ffc14d; font-weight: 600; }
mark.some { background: #ffeac2; } mark.against { background: #dbe7f5; text-decoration: underline dotted; }
p.warning { border-left: 4px solid #c0392b; padding-left: .8rem; font-weight: 600; }
""".strip()


def write_page(path: Path, explained: Explained, text: str) -> None:
    """A new file that only its owner may read. Raises LaudosError where it cannot be made."""
    content = _page(explained, text).encode()
    try:
        # exclusive: neither another file nor a link's target is written over, nor its permissions kept
        place = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise LaudosError(f"{path} is there already; name a new file") from None
    except OSError as error:
        raise LaudosError(f"{path} cannot be written ({error.strerror}); name another place") from None
    try:
        with os.fdopen(place, "wb") as file:
            file.write(content)
    except BaseException:
        with suppress(OSError):
            path.unlink()  # half a page is none
        raise


def _page(explained: Explained, text: str) -> str:
    title = f"Report {explained.report_id}, version {explained.version}"
    reason = f" ({explained.because})" if explained.because else ""
    said = (
        f"{explained.classifier}: {explained.label}, probability {explained.probability:.3f}, "
        f"{explained.decision}{reason}, model {explained.model_id}"
    )
    return (
        '<!doctype html>\n<html lang="pt-BR">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{STYLE}\n{MARKS}\n</style>\n</head>\n<body>\n"
        f'<h1>{html.escape(title)}</h1>\n<p class="warning">{WARNING}</p>\n'
        f"<p>{html.escape(said)}</p>\n<pre>{_marked(explained, text)}</pre>\n"
        f'<p><mark class="strong">carried the answer</mark> <mark class="some">helped</mark> '
        f'<mark class="against">spoke against it</mark></p>\n<p>{CAVEAT}</p>\n</body>\n</html>\n'
    )


def _marked(explained: Explained, text: str) -> str:
    parts, reached = [], 0
    for one in explained.passages:
        inside = html.escape(text[one.start : one.end])
        if one.degree != "none":
            inside = f'<mark class="{one.degree}" title="{one.score:+.2f}">{inside}</mark>'
        parts += [html.escape(text[reached : one.start]), inside]
        reached = one.end
    return "".join([*parts, html.escape(text[reached:])])
