"""The page of benchmarks shows what is in the files of results, and every benchmark can be run."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "benchmarks.md"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    path = ROOT / "docs" / "generate_benchmarks.py"
    spec = importlib.util.spec_from_file_location("generate_benchmarks", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(generator: ModuleType) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == generator.updated(page), "run: python docs/generate_benchmarks.py"


def test_every_file_of_results_has_a_section_with_a_table(generator: ModuleType) -> None:
    for path in generator.result_files():
        text = generator.section(path)
        assert text.startswith(f"## {path.stem}\n\n")
        assert "\n|---" in text, path.name


def test_a_row_shows_both_sides_and_the_ratio(generator: ModuleType) -> None:
    rows = [
        {"case": "forward", "ours": 0.25, "reference": 1234.0, "ratio": 4936.0, "unit": "s"},
        {"case": "a | b", "ours": 7.6e-7, "reference": None, "ratio": None, "unit": ""},
    ]
    assert generator.comparison(rows).splitlines() == [
        "| case | ours | reference | ratio | unit |",
        "|---|---|---|---|---|",
        "| forward | 0.25 | 1,234 | 4,936 | s |",
        "| a \\| b | 7.6e-07 |  |  |  |",
    ]
    assert generator.comparison(rows[1:]).splitlines()[0] == "| case | ours | unit |"


def test_a_file_of_unknown_form_is_shown_whole(generator: ModuleType) -> None:
    text = generator.tables(
        {"seed": 20261122, "planted": {"a date": {"planted": 5, "found": 4}}, "rows": [{"x": True}]}
    )
    assert text == (
        "seed 20261122.\n\nplanted:\n\n|  | planted | found |\n|---|---|---|\n| a date | 5 | 4 |\n"
        "\n| x |\n|---|\n| yes |\n"
    )


def test_what_a_benchmark_missed_is_shown(generator: ModuleType) -> None:
    planted = [
        {"action": "stop", "named": True, "change": "one"},
        {"action": "stop", "named": False, "change": "two"},
    ]
    text = generator.audit({"clean": {"studies": 3, "kinds": {"hu_mask": 1}}, "planted": planted})
    assert "named: hu_mask 1." in text
    assert "| stop | 2 | 1 |" in text
    assert "Planted and not named: two." in text


def test_findings_of_the_fuzzer_are_listed(generator: ModuleType) -> None:
    found = {"input": "nifti:7", "what": "ValueError"}
    target = {"inputs": 9, "read": 3, "refused": {"a": 2, "b": 3}, "slowest_cpu_s": 0.1}
    targets = {"nifti": target | {"findings": [found]}}
    text = generator.fuzz({"inputs": 9, "seed": 0, "targets": targets})
    assert "| nifti | 9 | 3 | 5 | 1 | 0.1 |" in text
    assert "| nifti:7 | ValueError |" in text


def test_a_file_without_its_benchmark_is_refused(generator: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "nobody.json").write_text(json.dumps({}))
    with pytest.raises(SystemExit, match="nobody"):
        generator.section(tmp_path / "nobody.json")


def test_make_bench_runs_every_benchmark() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^bench:.*?(?=^\S|\Z)", makefile, re.MULTILINE | re.DOTALL)
    assert recipe
    named = set(re.findall(r"\w+", recipe[0] + " ".join(_variable(makefile, "BENCHMARKS"))))
    scripts = {
        path.stem
        for path in (ROOT / "benchmarks").glob("*.py")
        if '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8")
    }
    assert scripts - named == set()


def _variable(makefile: str, name: str) -> list[str]:
    found = re.search(rf"^{name} := ((?:.*\\\n)*.*)", makefile, re.MULTILINE)
    return found[1].replace("\\\n", " ").split() if found else []
