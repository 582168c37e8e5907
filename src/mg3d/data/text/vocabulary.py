"""Training a WordPiece vocabulary that is the same on every run.

The trainer that comes with `tokenizers` for WordPiece walks a randomly ordered hash map: the same
corpus gave four vocabularies in four runs (tokenizers 0.22). Its byte-pair trainer does not, so
the merges come from there, and the pieces are the most frequent ones in words cut by them.
"""

import string
from collections import Counter
from collections.abc import Iterable, Iterator

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from mg3d.errors import ConfigError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LONGEST_WORD = 100
"""Characters beyond which WordPiece gives up on a word, as in BERT."""
_WORDS_A_LINE = 1000


def train_wordpiece(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn a lower-cased WordPiece tokenizer, BERT style.

    Args:
        texts: The reports of the training split, and of no other.
        vocab_size: Most entries of the vocabulary, special tokens and alphabet included.

    Returns:
        A tokenizer that wraps each text in [CLS] and [SEP]. Every printable ASCII character and
        every character of the corpus is covered, so a prompt never becomes [UNK].

    Raises:
        ConfigError: If ``vocab_size`` has no room for the alphabet.
    """
    words = _count_words(texts)
    letters = sorted(set(string.digits + string.ascii_lowercase + string.punctuation).union(*words))
    fixed = [*SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters)]
    if vocab_size < len(fixed):
        raise ConfigError(
            f"vocab_size {vocab_size} is too small: special tokens and single characters alone "
            f"take {len(fixed)}. Give at least that, 1000 or more for real reports."
        )
    counts = _count_pieces(words, vocab_size)
    ranked = sorted(counts, key=lambda piece: (-counts[piece], piece))
    room = vocab_size - len(fixed)
    pieces = fixed + [piece for piece in ranked if piece not in set(fixed)][:room]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return _bert_style(vocabulary)


def _count_words(texts: Iterable[str]) -> Counter[str]:
    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(w for w, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    return counts


def _count_pieces(words: Counter[str], vocab_size: int) -> Counter[str]:
    """How often each piece, "##" in front unless it starts a word, occurs in the corpus."""
    merges = Tokenizer(models.BPE())
    merges.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False)
    merges.train_from_iterator(_lines(words), trainer=trainer)
    counts: Counter[str] = Counter()
    for word, count in words.items():
        first, *rest = merges.encode(word).tokens
        counts[first] += count
        for piece in rest:
            counts[f"##{piece}"] += count
    return counts


def _lines(words: Counter[str]) -> Iterator[str]:
    """Every word as often as it was counted, in lines that the trainer cuts one after the other.

    It holds some hundred bytes for each word of a line: 150 MB for 10,000 reports where a frequent
    word fills one line, 3 MB so. The counts, hence the vocabulary, are the same.
    """
    for word, count in sorted(words.items()):
        for done in range(0, count, _WORDS_A_LINE):
            yield " ".join([word] * min(_WORDS_A_LINE, count - done))


def _bert_style(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(
        models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=_LONGEST_WORD)
    )
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return tokenizer
