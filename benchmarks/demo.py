"""The demo, measured: what it found out, what it took, what a second night costs, what a new head saves.

    python -m benchmarks.demo

Runs `laudos demo` in a new folder and `laudos nightly` right after, as a user would, and then, side by
side in one process, encodes the demo's backlog again and re-scores it from stored features.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from sqlalchemy import select

from benchmarks.record import Figure, write
from db import features, models, reports
from db.engine import reading
from db.tables import prediction
from tasks.database import open_database
from tasks.ml.network.features import last_linear
from tasks.ml.network.head import fit_head_and_pool
from tasks.ml.network.predictor import Predictor
from tasks.model_folders import folder_of
from tasks.night.summary import NightTold, tell_last_night
from tasks.settings.settings import Settings
from tasks.training.learning_data import read_part

COMMAND = "python -m benchmarks.demo"
CLASSIFIER = "malignidade"
REPETITIONS = 5
T = TypeVar("T")

# written down before the first run
EXPECTED = {
    "auroc_report": ".97 to .99, about TF-IDF's",
    "auroc_row": ".985 to 1",
    "seconds_after_install": "150 to 250 on two quiet cores",
    "peak_memory_gib": "1.2: torch and a server of Prefect's, not the 2x128 network",
    "second_nightly_encoded": "0",
    "head_refresh_speedup": "100 to 200: encoding takes seconds, a matrix product milliseconds",
    "encoding_over_refit_and_rescoring": "2 to 5: the fit itself takes a second or two",
}
NAMES = {
    "auroc_report": "auroc_report",
    "auroc_patient": "auroc_row",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}


def laudos(*arguments: str) -> float:
    """Run one command as a user would; wall seconds."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "flows.cli.app", *arguments], check=True)
    return time.monotonic() - began


def judged(night: NightTold) -> dict[str, Figure]:
    """Every figure of the summary's tables; a baseline's bear its name: auroc_report_tfidf_word."""
    figures: dict[str, Figure] = {}
    for table in night.classifiers[0].judged:
        place = "" if table.population == "holdout" else f"_on_{table.population}"
        for subject, found in table.figures.items():
            whose = "" if subject == "model" else f"_{subject}"
            for name, cell in found.items():
                if cell.value is not None:
                    key = f"{NAMES[name]}{whose}{place}"
                    figures[key] = Figure(
                        cell.value, "share", cell.low, cell.high, cell.n, EXPECTED.get(key, "")
                    )
    return figures


def second_night(night: NightTold, seconds: float) -> dict[str, Figure]:
    """What a night with nothing new still did."""
    return {
        "second_nightly_encoded": _expected(
            "second_nightly_encoded", sum(one.encoded for one in night.scored), "reports"
        ),
        "second_nightly_written": Figure(sum(one.written for one in night.scored), "predictions"),
        "second_nightly_seconds": Figure(seconds, "s"),
    }


def head_refresh(settings: Settings) -> dict[str, Figure]:
    """Encoding the backlog again over re-scoring it from stored features, pair by pair in one process.

    Both sides read their input from SQL (texts, or vectors) and end with the same predictions. Fitting
    the new head itself is told beside, as a share of the encoding.
    """
    engine = open_database(settings)
    with reading(engine) as c:
        champion = models.champion_of(c, CLASSIFIER)
        if champion is None:
            raise SystemExit("the demo promoted no model: see its summary above")
        predicted = select(prediction.c.report_version_id).where(prediction.c.model_id == champion.model.id)
        ids = list(c.scalars(predicted))
    predictor = Predictor.load(folder_of(settings, champion.model))

    def stored(ids: Sequence[int]) -> tuple[np.ndarray, list[bytes]]:
        with reading(engine) as c:
            found = features.get(c, predictor.encoder_sha, ids)
        vectors = np.frombuffer(b"".join(found[one].vector for one in ids), "<f4").reshape(len(ids), -1)
        return vectors, [found[one].sketch for one in ids]

    def encode() -> list[str]:
        with reading(engine) as c:
            texts = reports.texts(c, ids)
        return [one.label for one in predictor.predict([texts[one] for one in ids])]

    def rescore() -> list[str]:
        return [one.label for one in predictor.from_vectors(*stored(ids))]

    def refit() -> object:
        taught, calibration = (
            read_part(engine, champion.model.snapshot_id, split, predictor.labels)
            for split in ("train", "calibration")
        )
        read, held = stored(taught.ids)[0], stored(calibration.ids)[0]
        return fit_head_and_pool(
            read,
            taught.labels_idx,
            len(predictor.labels),
            held,
            calibration.labels_idx,
            hidden=last_linear(predictor.model)[1].in_features,
        )

    rounds = [(_timed(encode), _timed(rescore), _timed(refit)) for _ in range(REPETITIONS)]
    differing = sum(a != b for (_, said), (_, again), _ in rounds for a, b in zip(said, again, strict=True))
    return {
        "head_refresh_speedup": _ratio("head_refresh_speedup", [e / r for (e, _), (r, _), _ in rounds]),
        "encoding_over_refit_and_rescoring": _ratio(
            "encoding_over_refit_and_rescoring", [e / (r + f) for (e, _), (r, _), (f, _) in rounds]
        ),
        "answers_that_differ": Figure(differing, "answers"),
        "backlog": Figure(len(ids), "reports"),
    }


def _ratio(name: str, ratios: list[float]) -> Figure:
    """The median of the rounds, and their range."""
    middle = sorted(ratios)[len(ratios) // 2]
    return Figure(middle, "ratio", min(ratios), max(ratios), len(ratios), EXPECTED[name])


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds, and what came of it."""
    began = time.perf_counter()
    done = work()
    return time.perf_counter() - began, done


def _expected(name: str, value: float, unit: str) -> Figure:
    return Figure(value, unit, expected=EXPECTED[name])


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="laudos-demo-") as folder:
        configuration = str(Path(folder) / "laudos.toml")
        first = laudos("demo", "--folder", folder)
        # of the largest process so far: nothing larger was started by this one
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        os.environ["LAUDOS_CONFIG"] = configuration
        settings = Settings.load()
        figures = judged(tell_last_night(settings))
        figures["seconds_after_install"] = _expected("seconds_after_install", first, "s")
        figures["peak_memory_gib"] = _expected("peak_memory_gib", peak, "GiB")
        again = laudos("--config", configuration, "nightly")
        figures |= second_night(tell_last_night(settings), again)
        figures |= head_refresh(settings)
    print(f"wrote {write('demo', COMMAND, figures)}")


if __name__ == "__main__":
    main()
