"""Packed rows and reports: a corpus as a few blocks of numbers, a tenth of what objects would take.

Whoever reads a `StudyDataset` through worker processes of PyTorch shares them, too: every look at a
Python object writes to its reference count, so that each worker ends up with a copy of its own.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mg3d.data.store import StoreRow
from mg3d.data.text.tokens import TokenizedReport

_ARRAYS = ("token_ids", "clause_ids", "word_ids")
_SHORT = np.iinfo(np.uint16).max
_BLOCK = 1024
"""Reports that are joined as soon as they are there."""


class PackedRows(Sequence[StoreRow]):
    """Rows of an index as one block of text; a row is made when it is asked for.

    Args:
        rows: The rows, in the order to keep.
    """

    def __init__(self, rows: Iterable[StoreRow]) -> None:
        texts = [json.dumps(row.to_json()).encode() for row in rows]
        self._ends = torch.from_numpy(np.cumsum([0, *map(len, texts)]))
        self._text = torch.frombuffer(bytearray(b"".join(texts) or b"\0"), dtype=torch.uint8)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> StoreRow: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[StoreRow, ...]: ...

    def __getitem__(self, index: int | slice) -> StoreRow | tuple[StoreRow, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        place = range(len(self))[index]  # negative ones count from the end
        begin, end = self._ends[place : place + 2].tolist()
        return StoreRow.from_json(json.loads(self._text[begin:end].numpy().tobytes()))


class PackedReports(Sequence[TokenizedReport]):
    """Tokenised reports as three blocks of numbers, of 16 bits where all of them fit.

    Args:
        reports: The reports, in the order to keep; each is let go once it is packed.
    """

    def __init__(self, reports: Iterable[TokenizedReport]) -> None:
        parts: list[npt.NDArray[Any]] = []
        lengths: list[int] = []
        truncated: list[int] = []
        for report in reports:
            part = np.array([getattr(report, name) for name in _ARRAYS])
            parts.append(part.astype(np.uint16 if part.max(initial=0) <= _SHORT else np.int32))
            lengths.append(part.shape[1])
            truncated.append(report.num_truncated)
            if len(lengths) % _BLOCK == 0:  # an array of ten tokens is mostly its own description
                parts[-_BLOCK:] = [np.concatenate(parts[-_BLOCK:], axis=1)]
        self._ends = torch.from_numpy(np.cumsum([0, *lengths]))
        empty = np.zeros((len(_ARRAYS), 0), dtype=np.uint16)
        numbers = np.concatenate([empty, *parts], axis=1)
        # torch hands no unsigned ones to other processes
        self._numbers = torch.from_numpy(numbers.view(numbers.dtype.str.replace("u", "i")))
        self.num_truncated: Tensor = torch.tensor(truncated, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> TokenizedReport: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[TokenizedReport, ...]: ...

    def __getitem__(self, index: int | slice) -> TokenizedReport | tuple[TokenizedReport, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        place = range(len(self))[index]
        begin, end = self._ends[place : place + 2].tolist()
        numbers = self._numbers[:, begin:end].numpy()
        if numbers.dtype == np.int16:
            numbers = numbers.view(np.uint16)
        token_ids, clause_ids, word_ids = numbers.astype(np.int64)
        return TokenizedReport(token_ids, clause_ids, word_ids, int(self.num_truncated[place]))


class PackedPairs(Sequence[tuple[TokenizedReport, TokenizedReport]]):
    """Pairs of tokenised texts, packed alike.

    Args:
        pairs: The pairs, in the order to keep; each is let go once it is packed.
    """

    def __init__(self, pairs: Iterable[tuple[TokenizedReport, TokenizedReport]]) -> None:
        self._texts = PackedReports(text for pair in pairs for text in pair)

    def __len__(self) -> int:
        return len(self._texts) // 2

    @overload
    def __getitem__(self, index: int) -> tuple[TokenizedReport, TokenizedReport]: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[tuple[TokenizedReport, TokenizedReport], ...]: ...

    def __getitem__(
        self, index: int | slice
    ) -> (
        tuple[TokenizedReport, TokenizedReport]
        | tuple[tuple[TokenizedReport, TokenizedReport], ...]
    ):
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        place = range(len(self))[index]
        return self._texts[2 * place], self._texts[2 * place + 1]
