"""StudyDataset: rows of a store as model inputs; `collate` puts them into a StudyBatch.

Reports are tokenised once, volumes are read when a batch is made. Rows and reports are `packed`.
Nothing here is random: an item depends on its row and on nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mg3d.batch import StudyBatch
from mg3d.data.hounsfield import scale_hu
from mg3d.data.packed import PackedReports, PackedRows
from mg3d.data.store import StoreRow, VolumeStore
from mg3d.data.text.tokens import ReportTokenizer, TokenizedReport
from mg3d.errors import ConfigError

_LENGTH_MULTIPLE = 8
"""Batches are padded to a multiple of it, which tensor cores like."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyItem:
    """One volume with the report of its study."""

    store: VolumeStore
    report: TokenizedReport
    row: StoreRow
    pad_token_id: int

    @property
    def image(self) -> Tensor:
        """(1, X, Y, Z) float32 in [0, 1], read now."""
        return torch.from_numpy(scale_hu(self.store.read_hu(self.row.volume_id)))[None]


class StudyDataset(Dataset[StudyItem]):
    """The volumes of some rows with their tokenised reports.

    Args:
        store: Where the rows come from.
        rows: Which volumes, in which order; `VolumeStore.select` gives those of a split.
        tokenizer: Its clause rule must be the store's.

    Raises:
        ConfigError: If the clause rules differ.
    """

    def __init__(
        self, store: VolumeStore, rows: Sequence[StoreRow], tokenizer: ReportTokenizer
    ) -> None:
        if tokenizer.clauses != store.settings.clauses:
            raise ConfigError(
                f"the tokenizer cuts clauses by {tokenizer.clauses!r}, the store {store.path} was "
                f"prepared for {store.settings.clauses!r}; prepare a store with the other rule"
            )
        self.store = store
        self.rows = PackedRows(rows)
        self.pad_token_id = tokenizer.pad_token_id
        studies = {study: number for number, study in enumerate({row.study_id: 0 for row in rows})}
        self._report_of = torch.tensor([studies[row.study_id] for row in rows], dtype=torch.int64)
        self._reports = PackedReports(tokenizer(store.report(study)) for study in studies)

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process gets: the store without its tables, which are packed here."""
        return {**self.__dict__, "store": self.store.without_tables()}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> StudyItem:
        row = self.rows[index]
        return StudyItem(
            store=self.store,
            report=self._reports[int(self._report_of[index])],
            row=row,
            pad_token_id=self.pad_token_id,
        )

    @property
    def patient_ids(self) -> tuple[str, ...]:
        """The patient of each item, as `EpochSampler` wants them."""
        return tuple(row.patient_id for row in self.rows)

    @property
    def num_truncated_reports(self) -> int:
        """Studies whose report lost tokens at its end."""
        return int((self._reports.num_truncated > 0).sum())

    @property
    def num_truncated_tokens(self) -> int:
        """Tokens lost over all studies."""
        return int(self._reports.num_truncated.sum())


def collate(items: Sequence[StudyItem]) -> StudyBatch:
    """Stack items; reports are padded to the longest, rounded up to a multiple of 8.

    Images are the HU of the store, int16, until `StudyBatch.to` scales them where they are needed:
    half as much has to pass between processes and to a GPU.

    Args:
        items: One or more items of one dataset.
    """
    longest = max(len(item.report.token_ids) for item in items)
    length = -(-longest // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE
    reports = [item.report for item in items]
    sizes = torch.tensor([len(report.token_ids) for report in reports])
    labels = np.array([item.row.labels for item in items], dtype=np.float32)
    return StudyBatch(
        image=_read_volumes(items),
        token_ids=_pad([r.token_ids for r in reports], length, items[0].pad_token_id),
        token_mask=torch.arange(length) < sizes[:, None],
        clause_ids=_pad([r.clause_ids for r in reports], length, 0),
        word_ids=_pad([r.word_ids for r in reports], length, 0),
        volume_ids=tuple(item.row.volume_id for item in items),
        study_ids=tuple(item.row.study_id for item in items),
        patient_ids=tuple(item.row.patient_id for item in items),
        report_ids=tuple(item.row.report_id for item in items),
        labels=torch.from_numpy(labels) if labels.size else None,
    )


def _read_volumes(items: Sequence[StudyItem]) -> Tensor:
    """(B, 1, X, Y, Z) int16, read from the store to where it is to be."""
    grid = items[0].store.settings.geometry.grid
    images = torch.empty((len(items), 1, *grid), dtype=torch.int16)
    for image, item in zip(images.numpy()[:, 0], items, strict=True):
        item.store.read_hu_into(image, item.row.volume_id)
    return images


def _pad(rows: Sequence[npt.NDArray[np.int64]], length: int, fill: int) -> Tensor:
    padded = torch.full((len(rows), length), fill, dtype=torch.int64)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = torch.from_numpy(row)
    return padded
