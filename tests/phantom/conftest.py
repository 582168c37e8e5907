"""Small phantoms that render in a few milliseconds."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mg3d.phantom.findings import FINDINGS
from mg3d.phantom.lesion import Draw
from mg3d.phantom.settings import DIFFICULTIES, PhantomConfig
from mg3d.phantom.study import StudyPlan, plan_study
from mg3d.randomness import rng


@pytest.fixture(scope="session")
def settings() -> PhantomConfig:
    return PhantomConfig(out=Path("unused"), grid=(64, 54, 48), seed=11)


@pytest.fixture(scope="session")
def plans(settings: PhantomConfig) -> list[StudyPlan]:
    """Six hundred studies, planned only (about half a second)."""
    return [plan_study(settings, "train", index) for index in range(600)]


@pytest.fixture(scope="session")
def healthy(settings: PhantomConfig) -> StudyPlan:
    return replace(plan_study(settings, "train", 0), lesions={})


PlanWith = Callable[..., StudyPlan]


@pytest.fixture(scope="session")
def plan_with(settings: PhantomConfig) -> PlanWith:
    """Build a plan with exactly one finding: ``plan_with(k, index, difficulty="easy")``."""

    def build(finding: int, index: int, difficulty: str = "easy") -> StudyPlan:
        plan = plan_study(settings, "train", index)
        draw = Draw(
            source=rng(5, "only", finding, index),
            anatomy=plan.anatomy,
            level=DIFFICULTIES[difficulty],
        )
        return replace(plan, lesions={finding: FINDINGS[finding].draw(draw)})

    return build
