"""A network that reads each sentence by itself: where sentences end, and what a token sees of the others.

Where every token of a report sees every other, the rest of the report tells a network what a denial is about,
and it need not learn to read the denial: cues that lessons had taught to the last one were lost among reports
(docs/behaviour.md). Here tokens see their own sentence alone, as if it were the whole text, and attention
over all tokens (network/attentive.py) brings sentences together. A sentence in a report is then what a lesson
was.

A sentence that is cut in two loses what its beginning denies, and two that are read as one lose nothing: in
doubt it goes on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Regex, normalizers
from transformers import PreTrainedTokenizerBase

# behind these a full stop ends nothing; nor does one behind a single letter: "p. ex.", "J. Silva"
ABBREVIATIONS = (
    "ant", "aprox", "cat", "cel", "cels", "cél", "céls", "cit", "dir", "dr", "dra", "esp", "esq", "ex", "ext",
    "fig", "hist", "inf", "lam", "lâm", "lat", "max", "máx", "med", "min", "mín", "mod", "neg", "nuc", "núc",
    "obs", "pac", "pos", "post", "prof", "profa", "quad", "ref", "reg", "sr", "sra", "sup", "susp", "tam",
    "vs",
)  # fmt: skip
ENDS = (".", ";")
TOLD = "sentence_ends"  # by a tokenizer's configuration: its ENDS

_POINT = Regex(r"(?<=\d)\.(?=\d)")
_SHORTENED = Regex(r"(?i)(?<=\b\p{L}|" + "|".join(rf"\b{one}" for one in ABBREVIATIONS) + r")\.")
# a line that is too long for its paper goes on in the next, with a small letter or, all in capitals, behind
# another capital; a list may be denied as a whole by the line before it
_LINE = Regex(r"(?<=[\p{Ll}\d)%])[ \t]*\n(?=[ \t]*\p{Lu})|\n[ \t]*\n")


def ended_sentences() -> list[normalizers.Normalizer]:
    """What makes ENDS stand at the end of every sentence, and nowhere else; capitals must still be there."""
    return [
        normalizers.Replace(_POINT, ","),
        normalizers.Replace(_SHORTENED, " "),
        normalizers.Replace(_LINE, " . "),
    ]


def ends_of(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of the tokens that end a sentence where each is read by itself; none for any other tokenizer."""
    return [int(one) for one in tokenizer.convert_tokens_to_ids(tokenizer.init_kwargs.get(TOLD, []))]


def apart(
    input_ids: torch.Tensor, attention_mask: torch.Tensor, ends: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """What each token sees, (windows, 1, tokens, tokens) bool, and its place in its sentence.

    Of (windows, tokens) each; `ends`: ids of the tokens behind which another sentence begins.
    """
    end = (input_ids.unsqueeze(-1) == torch.tensor(ends, device=input_ids.device)).any(dim=-1).long()
    sentence = end.cumsum(dim=1) - end  # what ends it belongs to it
    sentence = sentence.masked_fill(attention_mask == 0, -1)  # padding sees padding, and nobody else does
    same = sentence.unsqueeze(2) == sentence.unsqueeze(1)
    return same.unsqueeze(1), same.tril(-1).sum(dim=-1)
