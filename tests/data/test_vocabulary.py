"""The vocabulary: same texts, same bytes; no character of a prompt is unknown."""

import hashlib
import subprocess
import sys
from collections import Counter

import pytest

from mg3d.data.text import vocabulary
from mg3d.data.text.vocabulary import SPECIAL_TOKENS, train_wordpiece
from mg3d.errors import ConfigError

TEXTS = [
    "No pleural effusion. The heart is normal in size.",
    "Pleural effusion on the left, pericardial effusion.",
    "Atelectasis; consolidation, bronchiectasis. Caf\u00e9-au-lait na\u00efve \u00b5m.",
] * 3


def test_other_processes_learn_the_same_bytes() -> None:
    program = (
        "import hashlib; from mg3d.data.text.vocabulary import train_wordpiece; "
        f"text = train_wordpiece({TEXTS!r}, 240).to_str(); "
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    here = hashlib.sha256(train_wordpiece(TEXTS, 240).to_str().encode()).hexdigest()
    for _ in range(2):  # the stock trainer gave another vocabulary in each of four processes
        found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
        assert found.stdout.decode().strip() == here


def test_frequent_words_become_one_piece_and_sizes_are_kept() -> None:
    tokenizer = train_wordpiece(TEXTS, 300)
    assert tokenizer.get_vocab_size() <= 300
    assert "effusion" in tokenizer.encode("effusion").tokens
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3, 4]
    small = train_wordpiece(TEXTS, 150)
    assert small.get_vocab_size() == 150
    assert len(small.encode(TEXTS[0]).tokens) > 2 * len(tokenizer.encode(TEXTS[0]).tokens)


def test_words_never_seen_are_spelled_not_unknown() -> None:
    tokenizer = train_wordpiece(TEXTS, 240)
    tokens = tokenizer.encode("Xylophone quiz: 93% @ (7/8) ~caf\u00e9!").tokens
    assert "[UNK]" not in tokens
    joined = "".join(token.removeprefix("##") for token in tokens[1:-1])
    assert joined == "xylophonequiz:93%@(7/8)~cafe!"  # lower-cased, accents stripped, as BERT does


def test_no_room_for_the_alphabet_is_refused() -> None:
    with pytest.raises(ConfigError, match="vocab_size 50 is too small"):
        train_wordpiece(TEXTS, 50)


def test_the_length_of_a_line_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train_wordpiece(TEXTS * 5, 240).to_str()
    monkeypatch.setattr(vocabulary, "_WORDS_A_LINE", 2)
    assert train_wordpiece(TEXTS * 5, 240).to_str() == whole
    assert max(map(len, vocabulary._lines(Counter({"a": 5})))) == len("a a")
    assert " ".join(vocabulary._lines(Counter({"a": 5, "b": 1}))) == "a a a a a b"
