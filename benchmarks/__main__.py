"""The benchmarks one after the other, and the page of their results: `make bench`.

Left out, and run by name, are those of a day (synthesis, levers, cues, ladder, torture) and those that look
into one choice (evidence, promotion, rare_labels, shift, eight_bits, gpu).
"""

from __future__ import annotations

import argparse

from benchmarks import (
    answers,
    audit,
    backends,
    cascade,
    conclusions,
    conformal,
    corpora,
    demo,
    distillation,
    doctor,
    dollars,
    first_stages,
    ingest,
    many_workers,
    nubes,
    one_way,
    peers,
    predictions,
    pretraining,
    record,
    review_order,
    scoring,
    stock_trainer,
    training,
)


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__).parse_args()
    demo.main()
    training.main()
    ingest.main([])
    predictions.main([])
    scoring.main([])
    many_workers.main([])
    doctor.main([])
    audit.main([])
    distillation.main([])
    one_way.main([])
    answers.main([])
    real = (
        corpora.main, nubes.main, pretraining.main, backends.main, peers.main, dollars.main,
        cascade.main, conformal.main, review_order.main, conclusions.main, stock_trainer.main,
        first_stages.main,
    )  # fmt: skip
    for on_real_reports in real:
        try:
            on_real_reports([])
        except corpora.Missing as missing:
            print(f"left out: {missing}")
    record.main()


if __name__ == "__main__":
    main()
