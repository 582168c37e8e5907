"""ReportTokenizer: a report as token, clause and word numbers, from one tokenisation.

The report is lower-cased, cut into clauses, joined by single spaces and tokenised once; the
character offsets say to which clause a token belongs. So the text that a frozen encoder reads is
the plain report, and clause borders can never drift from it.
"""

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from mg3d.data.text.clauses import ClauseRule
from mg3d.data.text.reports import Report
from mg3d.data.text.token_count import DEFAULT_MAX_TOKENS
from mg3d.data.text.vocabulary import SPECIAL_TOKENS, train_wordpiece
from mg3d.errors import ConfigError
from mg3d.files import write_atomic, write_json

_SETTINGS_FILE = "report_tokenizer.json"


@dataclass(frozen=True, eq=False)
class TokenizedReport:
    """One report as numbers; every array is (L,) int64."""

    token_ids: npt.NDArray[np.int64]
    clause_ids: npt.NDArray[np.int64]
    """0 special token, k = k-th clause that kept a token (1..S without gaps)."""
    word_ids: npt.NDArray[np.int64]
    """0 special token, k = k-th whole word."""
    num_truncated: int = 0
    """Tokens that did not fit."""

    @property
    def num_clauses(self) -> int:
        """S; 0 for an empty report."""
        return int(self.clause_ids.max(initial=0))


class ReportTokenizer:
    """Turns reports and prompts into `TokenizedReport`.

    Args:
        tokenizer: Any fast Hugging Face tokenizer (it must give character offsets).
        max_tokens: Most tokens of a report, special tokens included; the rest is cut off.
        clauses: The clause rule, see `mg3d.data.text.clauses`.

    Raises:
        ConfigError: If the tokenizer is not a fast one or lacks a padding token, or if
            ``max_tokens`` leaves no room for text.
    """

    def __init__(
        self, tokenizer: Any, *, max_tokens: int = DEFAULT_MAX_TOKENS,
        clauses: ClauseRule = "sentence",
    ) -> None:  # fmt: skip
        if not getattr(tokenizer, "is_fast", False):
            raise ConfigError(
                f"{type(tokenizer).__name__} gives no character offsets. Choose a model with a "
                "fast tokenizer (a tokenizer.json in its folder)."
            )
        if tokenizer.pad_token_id is None:
            raise ConfigError("the tokenizer has no padding token; set one and save it again")
        num_special = tokenizer.num_special_tokens_to_add()
        if max_tokens <= num_special:
            raise ConfigError(f"max_tokens {max_tokens}: give more than {num_special}")
        self.tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_truncation()  # saved tokenizers may cut or pad by themselves
        self._backend.no_padding()
        self.max_tokens = max_tokens
        self.clauses: ClauseRule = clauses

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int = 4000, *,
        max_tokens: int = DEFAULT_MAX_TOKENS, clauses: ClauseRule = "sentence",
    ) -> Self:  # fmt: skip
        """Learn a small WordPiece vocabulary (the same texts, the same bytes).

        Args:
            texts: Reports of the training split only: a vocabulary of the test split is a leak.
            vocab_size: Most entries, special tokens and single characters included.
            max_tokens: As in the class.
            clauses: As in the class.
        """
        pad, unknown, start, end, mask = SPECIAL_TOKENS
        fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=train_wordpiece(texts, vocab_size),
            pad_token=pad, unk_token=unknown, cls_token=start, sep_token=end, mask_token=mask,
        )  # fmt: skip
        return cls(fast, max_tokens=max_tokens, clauses=clauses)

    @classmethod
    def load(
        cls, name_or_folder: str | Path, *,
        max_tokens: int | None = None, clauses: ClauseRule | None = None,
    ) -> Self:  # fmt: skip
        """Open a saved tokenizer or that of any Hugging Face model.

        Args:
            name_or_folder: What `save` wrote, a local model folder, or a name on the Hub.
            max_tokens: Overrides the saved number (250 where none is saved).
            clauses: Overrides the saved rule ("sentence" where none is saved).

        Raises:
            ConfigError: If there is no fast tokenizer under that name.
        """
        saved: dict[str, Any] = {}
        settings_file = Path(name_or_folder) / _SETTINGS_FILE
        if settings_file.is_file():
            saved = json.loads(settings_file.read_text(encoding="utf-8"))
        try:
            fast = AutoTokenizer.from_pretrained(str(name_or_folder), use_fast=True)
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(
                f"no tokenizer under {str(name_or_folder)!r} ({type(error).__name__}). Give a "
                "folder that holds tokenizer.json, or a Hugging Face name while the hub is "
                "reachable or its files are cached."
            ) from error
        return cls(
            fast,
            max_tokens=max_tokens or saved.get("max_tokens", DEFAULT_MAX_TOKENS),
            clauses=clauses or saved.get("clauses", "sentence"),
        )

    def save(self, folder: Path | str) -> None:
        """Write the tokenizer and its settings so that `load` and `AutoTokenizer` open them."""
        folder = Path(folder)
        with tempfile.TemporaryDirectory() as scratch:
            self.tokenizer.backend_tokenizer.no_truncation()  # else the last call would be saved
            self.tokenizer.save_pretrained(scratch)
            for file in sorted(Path(scratch).iterdir()):
                write_atomic(folder / file.name, _lasting(file))
        write_json(
            folder / _SETTINGS_FILE, {"max_tokens": self.max_tokens, "clauses": self.clauses}
        )

    @property
    def vocab_size(self) -> int:
        """Rows that a token embedding needs."""
        return len(self.tokenizer)

    @property
    def pad_token_id(self) -> int:
        """Id that fills the end of shorter reports."""
        return int(self.tokenizer.pad_token_id)

    @property
    def mask_token_id(self) -> int:
        """Id that hides a token.

        Raises:
            ConfigError: If the tokenizer has none, so that masked_report cannot be trained.
        """
        if self.tokenizer.mask_token_id is None:
            raise ConfigError("the tokenizer has no mask token, which masked_report needs")
        return int(self.tokenizer.mask_token_id)

    @property
    def start_token_id(self) -> int | None:
        """Id of the token before a text ([CLS]), if there is one."""
        found: int | None = self.tokenizer.cls_token_id
        return found

    @property
    def end_token_id(self) -> int | None:
        """Id of the token after a text ([SEP]), if there is one."""
        found: int | None = self.tokenizer.sep_token_id
        return found

    @property
    def special_token_ids(self) -> tuple[int, ...]:
        """Ids that never stand for text, sorted."""
        return tuple(sorted(self.tokenizer.all_special_ids))

    def __call__(self, report: Report) -> TokenizedReport:
        """Tokenise findings, then impression."""
        return self._tokenize(report.clauses(self.clauses))

    def encode_text(self, text: str) -> TokenizedReport:
        """Tokenise a prompt or sentence in exactly the way of a report."""
        return self(Report(text))

    def _tokenize(self, clauses: tuple[str, ...]) -> TokenizedReport:
        lowered = [clause.lower() for clause in clauses]
        text = " ".join(lowered)
        encoded = self._backend.encode(text)
        num_truncated = max(0, len(encoded) - self.max_tokens)
        if num_truncated:
            self._backend.enable_truncation(self.max_tokens)
            encoded = self._backend.encode(text)
            self._backend.no_truncation()
        special = np.array(encoded.special_tokens_mask, dtype=bool)
        return TokenizedReport(
            token_ids=np.array(encoded.ids, dtype=np.int64),
            clause_ids=_renumber(_clause_of(encoded.offsets, lowered), special),
            word_ids=_renumber(_as_array(encoded.word_ids), special),
            num_truncated=num_truncated,
        )


def _lasting(file: Path) -> bytes:
    """The content of a saved tokenizer file without traces of how it was loaded."""
    if file.name != "tokenizer_config.json":
        return file.read_bytes()
    settings = json.loads(file.read_text(encoding="utf-8"))
    for passing in ("is_local", "local_files_only", "name_or_path"):
        settings.pop(passing, None)
    if settings.get("tokenizer_class") == "TokenizersBackend":  # transformers 4 knows it as this
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    return (json.dumps(settings, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _clause_of(offsets: list[tuple[int, int]], clauses: list[str]) -> npt.NDArray[np.int64]:
    """Number of the clause in which each token ends (a leading space may lie before it)."""
    last = np.array([max(start, end - 1) for start, end in offsets], dtype=np.int64)
    ends = np.cumsum([len(clause) + 1 for clause in clauses])  # each with the space that follows
    return np.searchsorted(ends, last, side="right")


def _as_array(numbers: list[int | None]) -> npt.NDArray[np.int64]:
    return np.array([-1 if number is None else number for number in numbers], dtype=np.int64)


def _renumber(
    numbers: npt.NDArray[np.int64], special: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """0 on special tokens, elsewhere 1, 2, ... in order and without gaps."""
    result = np.zeros(len(numbers), dtype=np.int64)
    _, ranks = np.unique(numbers[~special], return_inverse=True)
    result[~special] = ranks + 1
    return result
