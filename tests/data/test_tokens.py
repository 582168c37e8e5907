"""Tokens, clauses and words of a report, against clause-by-clause tokenisation."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from mg3d.data.text.reports import Report
from mg3d.data.text.tokens import ReportTokenizer
from mg3d.errors import ConfigError

TEXTS = [
    "The heart is normal in size. No pleural effusion; clear lungs.",
    "A 2.5 x 1.4 cm nodule (Image 30/116) in the left upper lobe. Emphysema. 1. Nodule.",
]
TOKENIZER = ReportTokenizer.train(TEXTS, 300)


def _byte_level() -> ReportTokenizer:
    """A RoBERTa-like tokenizer: byte pairs, spaces inside tokens, padding id 1."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, show_progress=False, special_tokens=["<s>", "<pad>", "</s>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    backend.train_from_iterator([text.lower() for text in TEXTS], trainer)
    backend.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=False, add_prefix_space=False
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", mask_token="<mask>",
        bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>",
    )  # fmt: skip
    return ReportTokenizer(fast)


@pytest.mark.parametrize("tokenizer", [TOKENIZER, _byte_level()], ids=["wordpiece", "byte-level"])
@pytest.mark.parametrize("text", TEXTS)
def test_clauses_hold_their_own_tokens(tokenizer: ReportTokenizer, text: str) -> None:
    report = Report(text, "Impression here. Stable.")
    tokens = tokenizer(report)
    clauses = report.clauses()
    assert tokens.num_clauses == len(clauses)
    for number, clause in enumerate(clauses, start=1):
        inside = tokens.token_ids[tokens.clause_ids == number]
        decoded = tokenizer.tokenizer.decode(inside, clean_up_tokenization_spaces=False)
        assert "".join(decoded.split()) == "".join(clause.lower().split())
    special = np.isin(tokens.token_ids, tokenizer.special_token_ids)
    assert (tokens.clause_ids[special] == 0).all()
    assert (tokens.word_ids[special] == 0).all()
    assert (tokens.clause_ids[~special] > 0).all()
    assert (tokens.word_ids[~special] > 0).all()


def test_the_text_is_tokenised_as_one() -> None:
    report = Report(TEXTS[0], TEXTS[1])
    plain = TOKENIZER.tokenizer(" ".join(report.clauses()).lower())["input_ids"]
    assert TOKENIZER(report).token_ids.tolist() == plain


def test_words_group_their_pieces() -> None:
    tokens = TOKENIZER(Report("Xylophone effusion."))
    pieces = TOKENIZER.tokenizer.convert_ids_to_tokens(tokens.token_ids)
    starts = [not piece.startswith("##") for piece in pieces[1:-1]]
    assert tokens.word_ids[1:-1].tolist() == np.cumsum(starts).tolist()
    assert tokens.word_ids.max() == 3


def test_truncation_keeps_the_beginning_and_counts_the_rest() -> None:
    report = Report("Heart normal. Lungs clear. No effusion. No nodule.")
    whole = TOKENIZER(report)
    room = int((whole.clause_ids <= 2).sum()) + 1  # specials, two clauses, one token of the third
    short = ReportTokenizer(TOKENIZER.tokenizer, max_tokens=room)(report)
    assert len(short.token_ids) == room
    assert short.num_truncated == len(whole.token_ids) - room
    assert short.num_clauses == 3  # the fourth lost all its tokens, so it exists nowhere
    assert short.token_ids[0] == whole.token_ids[0]
    assert short.token_ids[-1] == whole.token_ids[-1]  # [SEP] stays
    np.testing.assert_array_equal(short.token_ids[:-1], whole.token_ids[: room - 1])
    np.testing.assert_array_equal(TOKENIZER(report).token_ids, whole.token_ids)  # no lasting trace


def test_an_empty_report_is_two_special_tokens() -> None:
    tokens = TOKENIZER(Report("Not given."))
    assert tokens.token_ids.tolist() == [2, 3]
    assert tokens.num_clauses == 0


def test_prompts_take_the_path_of_reports() -> None:
    prompt = TOKENIZER.encode_text("There is Pleural Effusion.")
    report = TOKENIZER(Report("There is pleural effusion."))
    np.testing.assert_array_equal(prompt.token_ids, report.token_ids)
    assert prompt.num_clauses == 1


@given(st.text(), st.text(), st.integers(3, 40))
def test_numbers_are_gapless_for_any_text(findings: str, impression: str, room: int) -> None:
    tokens = ReportTokenizer(TOKENIZER.tokenizer, max_tokens=room)(Report(findings, impression))
    assert len(tokens.token_ids) <= room
    for numbers in (tokens.clause_ids, tokens.word_ids):
        real = numbers[numbers > 0]
        assert (np.diff(real) >= 0).all()
        assert sorted(set(real.tolist())) == list(range(1, len(set(real.tolist())) + 1))


def test_saving_and_loading_changes_nothing(tmp_path: Path) -> None:
    original = ReportTokenizer.train(TEXTS, 300, max_tokens=12, clauses="sen_comma")
    report = Report(TEXTS[0], TEXTS[1])
    before = original(report)  # truncates, which must not be saved with the tokenizer
    original.save(tmp_path / "a")
    loaded = ReportTokenizer.load(tmp_path / "a")
    assert (loaded.max_tokens, loaded.clauses) == (12, "sen_comma")
    np.testing.assert_array_equal(loaded(report).token_ids, before.token_ids)
    loaded.save(tmp_path / "b")
    ReportTokenizer.train(TEXTS, 300, max_tokens=12, clauses="sen_comma").save(tmp_path / "c")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name
        assert file.read_bytes() == (tmp_path / "c" / file.name).read_bytes(), file.name
        assert str(tmp_path) not in file.read_text()
    plain = AutoTokenizer.from_pretrained(str(tmp_path / "a"))
    assert len(plain("the heart is normal in size. no pleural effusion.")["input_ids"]) > 12


def test_loading_may_override_and_has_defaults(tmp_path: Path) -> None:
    TOKENIZER.save(tmp_path)
    (tmp_path / "report_tokenizer.json").unlink()  # as in the folder of any Hugging Face model
    loaded = ReportTokenizer.load(tmp_path)
    assert (loaded.max_tokens, loaded.clauses) == (250, "sentence")
    assert ReportTokenizer.load(tmp_path, max_tokens=9).max_tokens == 9


def test_no_tokenizer_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no tokenizer under"):
        ReportTokenizer.load(tmp_path / "nothing")


def test_tokenizers_without_offsets_or_padding_are_refused() -> None:
    with pytest.raises(ConfigError, match="no character offsets"):
        ReportTokenizer(object())
    bare = PreTrainedTokenizerFast(tokenizer_object=TOKENIZER.tokenizer.backend_tokenizer)
    with pytest.raises(ConfigError, match="no padding token"):
        ReportTokenizer(bare)
    with pytest.raises(ConfigError, match="give more than 2"):
        ReportTokenizer(TOKENIZER.tokenizer, max_tokens=2)


def test_ids_of_special_tokens() -> None:
    assert TOKENIZER.pad_token_id == 0
    assert TOKENIZER.mask_token_id == 4
    assert TOKENIZER.special_token_ids == (0, 1, 2, 3, 4)
    assert TOKENIZER.vocab_size == len(TOKENIZER.tokenizer)
    assert _byte_level().pad_token_id == 1
