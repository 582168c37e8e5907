"""Does the audit name what is wrong, and only that? How fast is it?

Three parts: clean phantom studies of a seed that no threshold has seen (anything named is a false
alarm), the table of planted faults of tests/audit, and the throughput on the clean studies.

    python benchmarks/audit.py --seed 20261122 [--studies 200] [--planted] [--keep FOLDER]

Prints tables, writes benchmarks/results/audit.json, exits 1 on a false error or warning or on a
planted fault without its name.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mg3d.audit.audit import AuditConfig, audit
from mg3d.data.faults import FAULTS
from mg3d.files import write_json
from mg3d.phantom.phantom import PhantomConfig, phantom
from mg3d.progress import console

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "audit.json"
GRID = (64, 64, 48)


def main() -> int:
    """Run the parts, print and store what they give."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, required=True, help="one that no threshold has seen")
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--difficulty", default="standard")
    parser.add_argument("--planted", action="store_true", help="run the planted faults, too")
    asked = parser.parse_args()
    document: dict[str, Any] = {
        "machine": {"processor": platform.processor() or platform.machine(), "workers": 1},
        "version": version("mg3d"),
    }
    with tempfile.TemporaryDirectory() as folder:
        clean = look_at_clean(Path(folder), asked.seed, asked.studies, asked.difficulty)
        document["clean"] = clean
        print(f"{clean['studies']} clean studies, seed {asked.seed}: {clean['kinds'] or 'nothing'}")
        print(f"{clean['volumes_per_minute']:.0f} volumes a minute and core, page and all")
        bad = sum(FAULTS[kind].severity != "note" for kind in clean["kinds"])
        if asked.planted:
            console.quiet = True
            document["planted"] = planted = try_planted(Path(folder))
            missed = [row["change"] for row in planted if not row["named"]]
            print(f"{len(planted) - len(missed)} of {len(planted)} planted faults named; missed: "
                  f"{', '.join(missed) or 'none'}")  # fmt: skip
            bad += len(missed)
    write_json(RESULTS, document)
    return int(bad > 0)


def look_at_clean(folder: Path, seed: int, studies: int, difficulty: Any) -> dict[str, Any]:
    """Audit phantoms that have no fault; every kind of fault that is named is a false alarm."""
    tenth = max(1, studies // 10)
    settings = PhantomConfig(
        out=folder / "phantom", num_train=studies - 2 * tenth, num_val=tenth, num_test=tenth,
        seed=seed, difficulty=difficulty, grid=GRID, follow_up_share=0.1, num_workers=1,
    )  # fmt: skip
    phantom(settings)
    began = time.perf_counter()
    audit(
        AuditConfig(
            data=settings.out / "reports.csv", labels=settings.out / "labels.csv",
            out=folder / "audit", num_workers=1, fail_on="never",
        )
    )  # fmt: skip
    seconds = time.perf_counter() - began
    found = json.loads((folder / "audit/audit.json").read_text(encoding="utf-8"))
    counts = found["summary"]["counts"]
    assert counts["usable"] == counts["volumes"]
    return {
        "seed": seed,
        "difficulty": difficulty,
        "grid": list(GRID),
        "studies": counts["studies"],
        "patients": counts["patients"],
        "kinds": {name: kind["count"] for name, kind in found["kinds"].items()},
        "volumes_per_minute": round(60 * counts["volumes"] / seconds, 1),
    }


def try_planted(folder: Path) -> list[dict[str, Any]]:
    """Each planted fault with what was said: the table of the tests, run outside of them."""
    sys.path.append(str(ROOT / "tests" / "audit"))
    from clean_site import Site, hear, make_clean_site
    from every_planted_fault import PLANTED_FAULTS

    clean = make_clean_site(folder / "clean")
    rows = []
    for number, planted in enumerate(PLANTED_FAULTS):
        site = Site.copy(clean, folder / f"site{number}")
        planted.change(site)
        site.finish()
        heard = hear(site, folder / f"work{number}")
        found = Counter({name: kind["count"] for name, kind in heard.document["kinds"].items()})
        rows.append(
            {
                "kind": planted.kind,
                "change": planted.change.__name__,
                "action": FAULTS[planted.kind].action,
                "named": planted.kind in found and set(found) <= {planted.kind} | planted.also,
                "found": dict(found),
            }
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
