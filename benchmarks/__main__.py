"""Every benchmark, one after the other, and the page of their results: `make bench`."""

from __future__ import annotations

from benchmarks import (
    audit,
    backends,
    conformal,
    corpora,
    demo,
    distillation,
    doctor,
    ingest,
    nubes,
    predictions,
    pretraining,
    record,
    scoring,
    training,
)


def main() -> None:
    demo.main()
    training.main()
    ingest.main([])
    predictions.main([])
    scoring.main([])
    doctor.main([])
    audit.main([])
    distillation.main([])
    for on_real_reports in (corpora.main, nubes.main, pretraining.main, backends.main, conformal.main):
        try:
            on_real_reports([])
        except corpora.Missing as missing:
            print(f"left out: {missing}")
    record.main()


if __name__ == "__main__":
    main()
