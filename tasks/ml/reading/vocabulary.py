"""A WordPiece vocabulary learnt here: the same for the same texts, and free of single patients' words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertTokenizerFast, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tasks.ml.errors import UnfitData
from tasks.ml.reading.sentences import ENDS, TOLD, ended_sentences

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Always known, so that no ordinary word, measure or date is ever an unknown token
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789" + "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" + "ºª°µ×±–"
PATIENTS_MIN = 5


def word_piece_tokenizer(
    texts: Iterable[str],
    patients: Iterable[str] | None,
    size: int,
    window_tokens: int,
    *,
    sentences: bool = False,
) -> PreTrainedTokenizerBase:
    """A BERT tokenizer (lower case, accents stripped: "nao" reads as "não") with at most `size` entries.

    Words that occur in reports of fewer than PATIENTS_MIN patients never take part: a vocabulary
    travels with the model, and a name or a rare finding in it would tell of one person. Without
    `patients` every text counts as a patient. `sentences`: one that tells where sentences end
    (sentences.py). Raises UnfitData where no word is left.
    """
    normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    owned: Iterable[tuple[str | int, str]]
    owned = enumerate(texts) if patients is None else zip(patients, texts, strict=True)
    words = _shared_words(owned, normalizer, splitter)
    if not words:
        raise UnfitData(f"no word occurs in reports of {PATIENTS_MIN} patients; more reports are needed")
    letters = [prefix + letter for prefix in ("", "##") for letter in ALPHABET]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        show_progress=False,
        # the trainer numbers letters in the random order of a hash table unless it knows them beforehand
        special_tokens=[*SPECIALS, *letters],
    )
    learner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    learner.train_from_iterator(_repeated(words), trainer)
    learnt = sorted(learner.get_vocab().items(), key=lambda entry: entry[1])
    tokenizer = BertTokenizerFast(
        vocab={piece: index for index, (piece, _) in enumerate(learnt)},
        do_lower_case=True,
        strip_accents=True,
        model_max_length=window_tokens,
    )
    return _ending_sentences(tokenizer) if sentences else tokenizer


def _ending_sentences(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The same vocabulary, of no class that would be loaded again with the normalizer of its class."""
    inner = tokenizer.backend_tokenizer
    inner.normalizer = normalizers.Sequence([*ended_sentences(), inner.normalizer])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        model_max_length=tokenizer.model_max_length,
        **{TOLD: list(ENDS)},
        **tokenizer.special_tokens_map,
    )


def _shared_words(
    owned: Iterable[tuple[str | int, str]],
    normalizer: normalizers.BertNormalizer,
    splitter: pre_tokenizers.BertPreTokenizer,
) -> dict[str, int]:
    """Word -> occurrences, for words of several patients made of known letters only; owned: patient, text."""
    known = set(ALPHABET)
    counts: Counter[str] = Counter()
    owners: dict[str, set[str | int]] = {}
    for patient, text in owned:
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)):
            counts[word] += 1
            holders = owners.setdefault(word, set())
            if len(holders) < PATIENTS_MIN:
                holders.add(patient)
    return {
        word: count
        for word, count in sorted(counts.items())
        if len(owners[word]) >= PATIENTS_MIN and known.issuperset(word)
    }


def _repeated(words: dict[str, int]) -> Iterator[str]:
    """The words as often as they occurred, a few thousand at a time."""
    for word, count in words.items():
        while count > 0:
            yield " ".join([word] * min(count, 1000))
            count -= 1000
