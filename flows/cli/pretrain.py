"""`laudos pretrain`: an encoder that has read the hospital's own reports."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.session import AsJson, ready_to_run, show


def add_to(app: typer.Typer) -> None:
    """Hang the command on the root."""
    app.command(epilog="Example: laudos pretrain --classifier paaf --unlabelled 5000")(pretrain)


def pretrain(
    classifier: Annotated[
        str | None, typer.Option("--classifier", help="Which one; may be left out where there is one only.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from", help="A folder, an imported encoder's name or scratch; default: the classifier's own."
        ),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(min=0.01, help="Passes; default: 3, and 10 from scratch.")
    ] = None,
    unlabelled: Annotated[
        int | None, typer.Option(min=0, help="At most so many reports without a label beside those with one.")
    ] = None,
    whole_words: Annotated[
        bool, typer.Option("--whole-words/--pieces", help="What is left out at once, in a WordPiece encoder.")
    ] = True,
    next_sentence: Annotated[
        bool, typer.Option("--next-sentence", help="Of a BERT, ask also which part of a report follows.")
    ] = False,
    accumulate: Annotated[
        int, typer.Option(min=1, help="So many batches make one step: fewer steps, each surer of its way.")
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Go on training an encoder on your own reports, and say whether it helped; no model changes."""
    ready_to_run()
    from flows.pretrain import pretrain as run
    from tasks.pretraining.learning import UNLABELLED

    most = UNLABELLED if unlabelled is None else unlabelled
    show(
        run(
            classifier=classifier,
            start=start,
            epochs=epochs,
            unlabelled=most,
            whole_words=whole_words,
            next_sentence=next_sentence,
            accumulate=accumulate,
        ),
        as_json,
    )
