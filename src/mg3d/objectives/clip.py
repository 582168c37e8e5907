"""clip: the baseline that aligns whole reports with whole volumes and does nothing else.

The loss is `plain_alignment`, unchanged; it has a name of its own so that logs and ablation tables
say which run they come from. The registry refuses both in one run.
Source: CLIP, arXiv:2103.00020.
"""

from dataclasses import dataclass

from mg3d.objectives.plain_alignment import PlainAlignment, PlainAlignmentConfig


@dataclass(frozen=True, kw_only=True)
class ClipConfig(PlainAlignmentConfig):
    """The baseline clip: plain_alignment and nothing else."""

    weight: float = 0.0
    """Factor on this loss in the total; 0 switches the objective off."""


class Clip(PlainAlignment):
    """`PlainAlignment` under the baseline's name."""

    name = "clip"
