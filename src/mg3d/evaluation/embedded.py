"""EmbeddedVolumes: a split after the model has seen it, the only thing the protocols read.

Plain arrays, sorted by volume, so that every score is a pure function of them and does not depend
on the order in which studies were encoded. V volumes, E embedding, F findings, P prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np

from mg3d.errors import DataError
from mg3d.evaluation.bootstrap import Array, Flags, Rows


@dataclass(frozen=True, kw_only=True)
class EmbeddedVolumes:
    """One row a unit: a volume, or a study after `by_study`."""

    volume_ids: tuple[str, ...]
    study_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    report_ids: tuple[str, ...]
    """Hash of the normalised report; "" where there is none."""
    image: Array
    """(V, E) L2-normalised."""
    text: Array
    """(V, E) L2-normalised; rows without a report are not read."""
    labels: Array
    """(V, F) 1, 0 or NaN (unknown)."""
    finding_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.volume_ids)

    @property
    def has_report(self) -> Flags:
        """(V,) bool."""
        return np.array([bool(report) for report in self.report_ids], dtype=bool)

    def check_finite(self) -> None:
        """Stop at the first study that the model could not embed.

        Raises:
            DataError: Naming the study; a missing score is never counted as a wrong one.
        """
        bad_image = ~np.isfinite(self.image).all(1)
        bad_text = ~np.isfinite(self.text).all(1) & self.has_report
        for kind, bad in (("image", bad_image), ("report", bad_text)):
            if bad.any():
                row = int(np.argmax(bad))
                raise DataError(
                    f"study '{self.study_ids[row]}' (volume '{self.volume_ids[row]}'): the {kind} "
                    f"embedding is not finite ({int(bad.sum())} such volumes), so no score of this "
                    "split can be trusted. Check the model's metrics.jsonl for non-finite losses."
                )

    def take(self, rows: Rows) -> Self:
        """The same object with ``rows`` only, in that order."""
        return type(self)(
            volume_ids=tuple(self.volume_ids[row] for row in rows),
            study_ids=tuple(self.study_ids[row] for row in rows),
            patient_ids=tuple(self.patient_ids[row] for row in rows),
            report_ids=tuple(self.report_ids[row] for row in rows),
            image=self.image[rows],
            text=self.text[rows],
            labels=self.labels[rows],
            finding_names=self.finding_names,
        )

    def sorted(self) -> Self:
        """Rows ordered by volume name: the order that every protocol works in."""
        return self.take(np.argsort(np.array(self.volume_ids), kind="stable"))

    def in_unit(self, unit: Literal["study", "volume"]) -> Self:
        """The rows that a protocol counts, in an order of their own."""
        return self.by_study() if unit == "study" else self.sorted()

    def by_study(self) -> Self:
        """One row a study: its reconstructions' embeddings averaged and normalised again.

        The other fields are those of the study's first volume by name.
        """
        ordered = self.sorted()
        first, mean = mean_by_study(ordered.study_ids, ordered.image)
        length = np.linalg.norm(mean, axis=1, keepdims=True)
        return replace(ordered.take(first), image=mean / length.clip(1e-12))


def mean_by_study(study_ids: Sequence[str], values: Array) -> tuple[Rows, Array]:
    """Average rows (V, ...) of the same study.

    Returns:
        The first row of each study, studies sorted by name, and the means (S, ...).
    """
    _, first, study_of_row, count = np.unique(
        np.array(study_ids), return_index=True, return_inverse=True, return_counts=True
    )
    total = np.zeros((len(first), *values.shape[1:]))
    np.add.at(total, study_of_row, values)
    return first, total / count.reshape(-1, *[1] * (values.ndim - 1))
