"""Which patients teach, which calibrate and which judge: by hash of the patient, for ever.

A patient's split depends on nothing but the patient's key, so it stays the same whatever else is in
the data, whenever it was added and on whichever machine: what judged last year's model never taught
this year's.
"""

from __future__ import annotations

import hashlib
from typing import Literal, get_args

Split = Literal["train", "calibration", "holdout"]
SPLITS: tuple[Split, ...] = get_args(Split)

TRAIN_SHARE = 0.70
CALIBRATION_SHARE = 0.15  # the rest, 0.15, is the holdout

# Changing a salt moves every patient: what was once held out would then have been trained on.
_SPLIT_SALT = "laudos-split-1"
_RESERVED_SALT = "laudos-reserved-1"


def unit_interval(key: str, salt: str) -> float:
    """A number in [0, 1), uniform over keys and fixed for each; another salt gives independent ones."""
    digest = hashlib.sha256(f"{salt}\0{key}".encode()).digest()
    return (int.from_bytes(digest[:8]) >> 11) / 2**53  # 53 bits: all a float holds, so 1.0 never comes out


def split_of(patient_key: str) -> Split:
    """The split every report of this patient belongs to."""
    place = unit_interval(patient_key, _SPLIT_SALT)
    if place < TRAIN_SHARE:
        return "train"
    return "calibration" if place < TRAIN_SHARE + CALIBRATION_SHARE else "holdout"


def is_reserved(patient_key: str, share: float) -> bool:
    """Whether this patient is kept out of every split; a larger share keeps those of a smaller one."""
    return unit_interval(patient_key, _RESERVED_SALT) < share
