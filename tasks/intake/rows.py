"""A source's row on its way in: keys instead of a patient's id, and a form that quarantine can keep."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import asdict
from datetime import date, datetime
from typing import Any, NamedTuple

from db.groups import Groups
from db.quarantine import Refused
from db.source_reader import SourceRow
from tasks.ml.reading.cleaning import raw_sha

# PostgreSQL's index takes no longer ones, and no id of a hospital comes near
ID_MAX = 512
_NO_FRACTION = re.compile(r"(?<=\d)\.0+$")
_UNFIT = re.compile("[\0\ud800-\udfff]")


class Row(NamedTuple):
    """One row, with what identifies it worked out. `labels`: classifier -> value as read, if any."""

    external_id: str | None
    text: object
    raw_sha: str
    patient_key: str
    updated_at: datetime | None
    date: date | None
    labels: dict[str, str]
    groups: Groups | None = None  # of the patient; None where the source has no such columns

    def __repr__(self) -> str:
        return f"Row(external_id={self.external_id!r})"

    def refused(self, reason: str) -> Refused:
        """This row for the quarantine, complete for a later retry."""
        payload = {
            "external_id": self.external_id,
            "text": _kept(self.text),
            "patient_key": self.patient_key,
            "updated_at": self.updated_at and self.updated_at.isoformat(),
            "date": self.date and self.date.isoformat(),
            "labels": self.labels,
            "groups": None if self.groups is None else asdict(self.groups),
        }
        known_as = self.external_id if self.external_id is not None and fit_id(self.external_id) else ""
        return Refused(known_as, self.raw_sha, reason, payload)


def row_of(source_name: str, read: SourceRow, groups: Groups | None = None) -> Row:
    """A row as the reader gave it."""
    return Row(
        read.external_id,
        read.text,
        raw_sha(read.text),
        patient_key(source_name, read.external_id, read.patient),
        read.updated_at,
        read.date,
        {name: label for name, value in read.labels.items() if (label := _written(value))},
        groups,
    )


def row_from(payload: dict[str, Any]) -> Row:
    """A row as quarantine kept it."""
    text = _released(payload["text"])
    return Row(
        external_id=payload["external_id"],
        text=text,
        raw_sha=raw_sha(text),
        patient_key=payload["patient_key"],
        updated_at=datetime.fromisoformat(payload["updated_at"]) if payload["updated_at"] else None,
        date=date.fromisoformat(payload["date"]) if payload["date"] else None,
        labels=payload["labels"],
        # what was read before there were groups has none
        groups=Groups(**payload["groups"]) if payload.get("groups") else None,
    )


def patient_key(source_name: str, external_id: str | None, patient: str | None) -> str:
    """sha256 of the patient's id, without the source: one patient in two sources stays one.

    Without a patient's id the report is a patient of its own.
    """
    who = patient if patient is not None else f"{source_name}\0{external_id}"
    return hashlib.sha256(who.encode("utf-8", "surrogatepass")).hexdigest()


def fit_id(external_id: str | None) -> bool:
    """Whether an id can be stored: there, of a sane length, and text on either database."""
    return external_id is not None and len(external_id) <= ID_MAX and not _UNFIT.search(external_id)


def without_fraction(written: str) -> str:
    """A number's text without the ".0" that PostgreSQL gives where SQLite gives none."""
    return _NO_FRACTION.sub("", written)


def _written(value: object) -> str:
    """A label's value as text; a float without a fraction as the integer it stands for."""
    if value is None or value != value:
        return ""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "surrogateescape").strip()
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def _kept(text: object) -> Any:
    if isinstance(text, (bytes, bytearray, memoryview)):
        return {"base64": base64.b64encode(text).decode("ascii")}
    return text if text is None or isinstance(text, str) else str(text)


def _released(kept: Any) -> object:
    return base64.b64decode(kept["base64"]) if isinstance(kept, dict) else kept
