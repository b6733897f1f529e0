"""So many reports written and thrown away, in a process of its own: prints reports a second and peak MiB."""

from __future__ import annotations

import resource
import sys
import time

from benchmarks.carryover import EXAM
from tasks.ml.synthesis.exams import generator
from tasks.ml.synthesis.reports import synthesize


def stream(reports: int) -> tuple[float, float]:
    """Reports a second of processor time, and the peak of this process in MiB."""
    rows = len(generator(EXAM).rows())
    began, done = time.process_time(), 0
    for _ in synthesize(EXAM, mode="findings", reports_per_row=-(-reports // rows), seed=0):
        done += 1
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return done / (time.process_time() - began), peak_kib / 1024


if __name__ == "__main__":
    print(*stream(int(sys.argv[1])))
