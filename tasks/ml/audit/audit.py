"""Every check on one corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from types import MappingProxyType

from threadpoolctl import threadpool_limits

from tasks.ml.audit import ceiling, headings, identity, near_duplicates, numbers, shortcuts, wording
from tasks.ml.audit.corpus import Corpus
from tasks.ml.audit.ground import Ground
from tasks.ml.audit.result import Audit, Check

REVISION = 2  # rises when a check changes what it can find: sets that passed are then audited again

CHECKS: MappingProxyType[str, Callable[[Ground], Check]] = MappingProxyType(
    {
        "label_words": wording.label_words,
        "words": wording.single_words,
        "word_pairs": wording.word_pairs,
        "keyword_rule": wording.keyword_rule,
        "length": shortcuts.length,
        "marks": shortcuts.marks,
        "layout": shortcuts.layout,
        "order": headings.order,
        "numbers": numbers.numbers,
        "duplicates": shortcuts.duplicates,
        "near_duplicates": near_duplicates.across_splits,
        "row_words": identity.confined_words,
        "row_neighbours": identity.nearest_reports,
        "printed_measurements": identity.printed_measurements,
        "whole_text": ceiling.whole_text,
        "ceiling": ceiling.ceiling,
    }
)


def audit(corpus: Corpus, only: Collection[str] = ()) -> Audit:
    """What the reports give away besides their findings, by all checks or some; a large corpus is sampled.

    Raises UnfitData where there is nothing to audit. The result quotes reports: it is for a person's eyes;
    `Audit.numbers` does not.
    """
    some = corpus.checked().sampled()
    ground = Ground(some)
    # matrices this small are slower on several threads than on one
    with threadpool_limits(1):
        checks = [check(ground) for name, check in CHECKS.items() if not only or name in only]
    return Audit(
        len(some.texts),
        len(set(some.groups)),
        dict(sorted(Counter(some.labels).items())),
        len(corpus.texts),
        corpus.measurements is not None,
        tuple(checks),
    )
