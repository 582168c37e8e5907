"""Can a finding of the phantom be told without looking at the image or at its own sentences?

For each of the 18 findings over 4,000 studies: the AUROC of each number around the study (spacing,
shape, orientation, position, noise, kernel, contrast, anatomy, order), of the length of the report
without the finding's own sentences, and of two models on all of these together (logistic
regression and boosted trees, 5 folds, split by patient). All must lie within 0.5 +- 0.07.

    python benchmarks/phantom_shortcuts.py [--studies 4000] [--difficulty easy] [--seed 0]

Prints a table, writes benchmarks/results/phantom_shortcuts_<difficulty>.json, exits 1 when a
number lies outside.
"""

import argparse
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mg3d.files import write_json
from mg3d.phantom.findings import FINDINGS
from mg3d.phantom.phantom import PhantomConfig
from mg3d.phantom.shortcuts import length_without, metadata
from mg3d.phantom.study import StudyPlan, list_visits, plan_study

ALLOWED = 0.07
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Plan the studies, score every shortcut, print and store the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=4000)
    parser.add_argument("--difficulty", default="easy")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    start = time.perf_counter()
    settings = PhantomConfig(
        out=Path("unused"), num_train=asked.studies, seed=asked.seed, difficulty=asked.difficulty
    )
    plans = [plan_study(settings, *visit) for visit in islice(list_visits(settings), asked.studies)]
    scores = score_all(plans)
    worst = max(abs(value - 0.5) for row in scores.values() for value in row.values())
    print_table(scores)
    seconds = time.perf_counter() - start
    print(f"\n{len(plans)} studies, largest distance from 0.5: {worst:.3f}, {seconds:.0f} s")
    document = {"studies": len(plans), "difficulty": asked.difficulty, "seed": asked.seed,
                "allowed": ALLOWED, "largest_distance": worst, "auroc": scores}  # fmt: skip
    write_json(RESULTS / f"phantom_shortcuts_{asked.difficulty}.json", document)
    return int(worst > ALLOWED)


def score_all(plans: list[StudyPlan]) -> dict[str, dict[str, float]]:
    """Finding -> shortcut -> AUROC."""
    rows = [metadata(plan, order) for order, plan in enumerate(plans)]
    names = list(rows[0])
    table = np.array([[row[name] for name in names] for row in rows], float)
    labels = np.array([plan.labels for plan in plans])
    patients = np.array([plan.patient_id for plan in plans])
    scores: dict[str, dict[str, float]] = {}
    for k, finding in enumerate(FINDINGS):
        lengths = np.array([length_without(plan.report, k) for plan in plans], float)
        features = np.hstack([table, lengths])
        columns = [*names, "report.words", "report.characters"]
        row = {
            name: round(float(roc_auc_score(labels[:, k], features[:, column])), 4)
            for column, name in enumerate(columns)
        }
        scores[finding.name] = row | combined(features, labels[:, k], patients)
    return scores


def combined(
    features: NDArray[np.float64], labels: NDArray[np.int64], patients: NDArray[np.str_]
) -> dict[str, float]:
    """AUROC of two models that see every number, on studies they were not fitted to."""
    models = {
        "all.logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
        "all.boosted_trees": HistGradientBoostingClassifier(max_iter=40, random_state=0),
    }
    scores = {}
    for name, model in models.items():
        predicted = cross_val_predict(
            model, features, labels, groups=patients, cv=GroupKFold(5), method="predict_proba"
        )
        scores[name] = round(float(roc_auc_score(labels, predicted[:, 1])), 4)
    return scores


def print_table(scores: dict[str, dict[str, float]]) -> None:
    """One line a finding: the worst single number, the report's length, the two models."""
    print(f"{'finding':36}{'worst single number':>34}{'words':>8}{'logistic':>10}{'trees':>8}")
    for finding, row in scores.items():
        single = {name: value for name, value in row.items() if not name.startswith("all.")}
        name = max(single, key=lambda key: abs(single[key] - 0.5))
        print(
            f"{finding:36}{name:>26}{row[name]:8.3f}{row['report.words']:8.3f}"
            f"{row['all.logistic']:10.3f}{row['all.boosted_trees']:8.3f}"
        )


if __name__ == "__main__":
    sys.exit(main())
