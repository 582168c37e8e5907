"""Random global batches for objectives, in float64, and how they are cut into ranks.

A case holds one leaf tensor for each field of `Views` that carries a gradient, so that a test can
compare gradients whatever way the loss was computed.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mg3d.batch import StudyBatch
from mg3d.objectives.base import Counts, ObjectiveOutput, StepContext, Views
from mg3d.objectives.registry import OBJECTIVES, ObjectivesConfig

STEP = StepContext(seed=0, epoch=0, step=0)
VOCABULARY = 7
LEAVES = (
    "image_embedding",
    "text_embedding",
    "logit_scale",
    "logit_bias",
    "fused_pair",
    "plain_pair",
    "aggregated",
    "aggregation_anchor",
    "clause_visual",
    "token_logits",
    "clause_reconstruction",
    "reconstruction",
)
PER_TOKEN = {"token_logits", "token_targets"}
PER_RUN = {"logit_scale", "logit_bias", "similarity_cutoffs", "counts"}


@dataclass(frozen=True)
class Study:
    """One row of a case. No clauses means no report."""

    study: str
    patient: str
    report: str
    num_clauses: int
    num_masked_tokens: int


@dataclass(frozen=True)
class Case:
    """A global batch with the row each masked token belongs to."""

    studies: tuple[Study, ...]
    views: Views
    batch: StudyBatch
    token_row: Tensor


def own(index: int, num_clauses: int = 2, num_masked_tokens: int = 2) -> Study:
    """A study related to no other."""
    return Study(f"s{index}", f"p{index}", f"r{index}", num_clauses, num_masked_tokens)


# Row 1 is another volume of row 0's study, row 2 another study of that patient, row 4 has the
# report of row 3 word for word, row 5 has none, row 6 is short, row 7 is long.
MIXED = (
    Study("s0", "p0", "r0", 3, 2),
    Study("s0", "p0", "r0", 3, 2),
    Study("s2", "p0", "r2", 2, 1),
    Study("s3", "p3", "r3", 4, 3),
    Study("s4", "p4", "r3", 4, 0),
    Study("s5", "p5", "", 0, 0),
    Study("s6", "p6", "r6", 1, 1),
    Study("s7", "p7", "r7", 5, 4),
)


def build_case(studies: tuple[Study, ...], seed: int = 0, num_features: int = 5) -> Case:
    """A case in float64; each field that carries a gradient is a leaf."""
    generator = torch.Generator().manual_seed(seed)
    rows, longest = len(studies), max([1, *(study.num_clauses for study in studies)])

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def unit(*shape: int) -> Tensor:
        return torch.nn.functional.normalize(normal(*shape), dim=-1)

    counts = torch.tensor([study.num_clauses for study in studies])
    clause_mask = torch.arange(longest) < counts[:, None]
    token_row = torch.tensor(
        [row for row, study in enumerate(studies) for _ in range(study.num_masked_tokens)],
        dtype=torch.int64,
    )
    grid = (3, 2, 4)
    views = Views(
        has_report=clause_mask.any(dim=1),
        clause_mask=clause_mask,
        image_embedding=unit(rows, num_features),
        text_embedding=unit(rows, num_features),
        logit_scale=torch.tensor([3.7], dtype=torch.float64),
        logit_bias=torch.tensor([-1.3], dtype=torch.float64),
        fused_pair=unit(rows, num_features),
        plain_pair=unit(rows, num_features),
        aggregated=unit(rows, num_features),
        aggregation_anchor=unit(rows, num_features),
        clause_visual=normal(rows, longest, num_features),
        clause_reference=normal(rows, longest, 3),
        similarity_cutoffs=(-0.2, 0.3),
        token_logits=2 * normal(len(token_row), VOCABULARY),
        token_targets=torch.randint(VOCABULARY, (len(token_row),), generator=generator),
        clause_reconstruction=normal(rows, longest, num_features),
        clause_target=normal(rows, longest, num_features),
        reconstruction=normal(rows, 1, *grid),
        voxel_mask=normal(rows, 1, *grid) > 0,
    )
    for name in LEAVES:
        getattr(views, name).requires_grad_()
    return Case(studies, views, _batch(studies, normal(rows, 1, *grid)), token_row)


def _batch(studies: tuple[Study, ...], image: Tensor) -> StudyBatch:
    nothing = torch.zeros(len(studies), 1, dtype=torch.int64)
    return StudyBatch(
        image=image,
        token_ids=nothing,
        token_mask=nothing.bool(),
        clause_ids=nothing,
        word_ids=nothing,
        volume_ids=tuple(f"v{row}" for row in range(len(studies))),
        study_ids=tuple(study.study for study in studies),
        patient_ids=tuple(study.patient for study in studies),
        report_ids=tuple(study.report for study in studies),
    )


def select(case: Case, rows: list[int]) -> Case:
    """The case of these rows alone, in this order, padded no further than they need."""
    studies = tuple(case.studies[row] for row in rows)
    longest = max([1, *(study.num_clauses for study in studies)])
    order = [int(t) for row in rows for t in (case.token_row == row).nonzero()[:, 0]]
    fields = {}
    for name, value in vars(case.views).items():
        if name in PER_RUN:
            picked = value.detach().clone() if isinstance(value, Tensor) else value
        elif name in PER_TOKEN:
            picked = value.detach()[torch.tensor(order, dtype=torch.int64)]
        else:
            picked = value.detach()[torch.tensor(rows, dtype=torch.int64)]
            if name.startswith("clause_"):
                picked = picked[:, :longest].clone()
        fields[name] = picked.requires_grad_() if name in LEAVES else picked
    token_row = [rows.index(int(case.token_row[token])) for token in order]
    batch = _batch(studies, case.batch.image[torch.tensor(rows, dtype=torch.int64)])
    batch = replace(batch, volume_ids=tuple(case.batch.volume_ids[row] for row in rows))
    return Case(studies, Views(**fields), batch, torch.tensor(token_row, dtype=torch.int64))


def pad_clauses(case: Case, extra: int) -> Case:
    """The same case with ``extra`` more columns of clauses, filled with what must not be read."""
    fields = {}
    for name, value in vars(case.views).items():
        padded = value.detach().clone() if isinstance(value, Tensor) else value
        if name.startswith("clause_"):
            shape = (value.shape[0], extra, *value.shape[2:])
            filler = (
                torch.zeros(shape, dtype=torch.bool)
                if name == "clause_mask"
                else (torch.full(shape, 1e9, dtype=value.dtype))
            )
            padded = torch.cat([padded, filler], dim=1)
        fields[name] = padded.requires_grad_() if name in LEAVES else padded
    return replace(case, views=Views(**fields))


def leaves(name: str, case: Case) -> dict[str, Tensor]:
    """The tensors of the case that objective ``name`` must send a gradient to."""
    return {key: getattr(case.views, key) for key in LEAVES if key in OBJECTIVES[name].needs}


def apply(
    name: str, case: Case, settings: object | None = None, counts: Counts | None = None
) -> ObjectiveOutput:
    """The objective ``name`` on the case, with default settings and its own counts unless others
    are given."""
    settings = getattr(ObjectivesConfig(), name) if settings is None else settings
    views = replace(case.views, counts=counts or case.views.count().over_ranks())
    return OBJECTIVES[name](settings).forward(views, case.batch, STEP)


def loss_and_gradients(name: str, case: Case) -> tuple[Tensor, dict[str, Tensor]]:
    """The share of the loss, and its gradient with respect to `leaves`; all of them must exist."""
    inputs = leaves(name, case)
    loss = apply(name, case).loss
    gradients = torch.autograd.grad(loss, list(inputs.values()))
    return loss.detach(), dict(zip(inputs, gradients, strict=True))


def relative_error(measured: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Largest absolute difference over all tensors by the largest absolute expected value.

    Expected values that are 0 but for rounding (a row alone in its batch) count as 1. A NaN is an
    error of NaN, which no limit lets pass.
    """
    assert measured.keys() == expected.keys()
    for key, value in expected.items():
        assert measured[key].shape == value.shape, key  # nothing is broadcast
    error = _largest([measured[key] - value for key, value in expected.items()])
    largest = _largest(list(expected.values()))
    return error / largest if largest > 1e-12 else error


def _largest(values: list[Tensor]) -> float:
    """Not by the built-in max, which keeps 1e-16 of (1e-16, nan)."""
    sizes = [value.abs().max().double() for value in values if value.numel()]
    return float(torch.stack(sizes).max()) if sizes else 0.0
