"""The fuzzer in small: 300 damaged inputs without a finding, and every kind of finding is found."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

NUM_INPUTS = 300


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        from fuzz_seeds import make_seeds
        from mg3d.progress import console

        folder = tmp_path_factory.mktemp("fuzz") / "seeds"
        make_seeds(folder)
        yield folder
        console.quiet = False


def test_no_input_of_three_hundred_is_a_finding(seeds: Path, tmp_path: Path) -> None:
    import fuzz

    fuzz.check_targets()
    findings, refused = [], 0
    for name, number in fuzz._plan(NUM_INPUTS, list(fuzz.TARGETS)).items():
        for each in range(number):
            outcome = fuzz.read_one(name, each, 2412, seeds, tmp_path / "input")
            refused += "refused" in outcome
            if "finding" in outcome:
                findings.append(f"{name}:{each}: {outcome['finding']}")
    assert findings == []
    assert NUM_INPUTS / 4 < refused < NUM_INPUTS  # damage that is seldom noticed tests little


def test_sound_inputs_are_read(seeds: Path, tmp_path: Path) -> None:
    """Else every damaged one would be refused for the same dull reason."""
    import fuzz
    from fuzz_targets import start_of
    from mg3d.errors import DataError

    shutil.copytree(seeds, tmp_path / "seeds")  # a layout may keep a key of its own beside the data
    for name, target in fuzz.TARGETS.items():
        if name == "text":
            continue
        for seed in sorted((tmp_path / "seeds" / name).iterdir()):
            try:
                target.call(start_of(name, seed))
            except DataError as error:
                raise AssertionError(f"{name}/{seed.name}: {error}") from error


def test_a_number_names_an_input_for_good(seeds: Path, tmp_path: Path) -> None:
    import fuzz

    for name, target in fuzz.TARGETS.items():
        contents = []
        for attempt in ("first", "second"):
            folder = tmp_path / attempt
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            target.make(seeds / name, folder, random.Random(f"7/{name}/3"))
            contents.append(
                {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
            )
        assert contents[0] == contents[1]


def test_damage_never_reaches_the_seeds(seeds: Path, tmp_path: Path) -> None:
    import fuzz

    before = {path: path.read_bytes() for path in seeds.rglob("*") if path.is_file()}
    for name in fuzz.TARGETS:
        for number in range(3):
            fuzz.read_one(name, number, 5, seeds, tmp_path / "input")
    assert {path: path.read_bytes() for path in seeds.rglob("*") if path.is_file()} == before


SCRIPT = """
import os, signal, sys
sys.path.insert(0, {folder!r})
import fuzz
from fuzz_targets import Target
from mg3d.errors import DataError

def make(seeds, folder, source):
    (folder / "input").write_text("x")
    return folder / "input"

count = iter(range(int(sys.argv[sys.argv.index("--worker") + 2]), 99))

def call(path):
    number = next(count)
    if number == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    while number == 2:
        pass
    if number == 3:
        raise ValueError("secret")
    if number == 4:
        raise DataError("the Quokka is named")
    if number == 5:
        bytearray(1 << 40)
    if number == 6:
        raise DataError("refused")

fuzz.MOST_CPU_S = 0
fuzz.TARGETS["nifti"] = Target("nifti", 1, make, call)
sys.exit(fuzz.main())
"""


def test_crashes_hangs_and_wrong_exceptions_are_found_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fuzz

    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(folder=str(fuzz.SCRIPT.parent)))
    monkeypatch.setattr(fuzz, "SCRIPT", script)
    out = tmp_path / "fuzz.json"
    assert fuzz.main(["--inputs", "8", "--only", "nifti", "--out", str(out)]) == 1
    report = json.loads(out.read_text())
    target = report["targets"]["nifti"]
    assert target["inputs"] == report["inputs"] == 8
    assert target["read"] == 2
    assert target["refused"] == {"table": 2}
    found = {each["input"]: each["what"] for each in target["findings"]}
    assert found.keys() == {f"nifti:{number}" for number in range(1, 6)}
    assert found["nifti:1"] == "crash -11"
    assert found["nifti:2"] == "hang"
    assert found["nifti:3"].startswith("ValueError at script.py:")
    assert found["nifti:4"] == "message repeats a planted word"
    assert found["nifti:5"].startswith("MemoryError at script.py:")
    assert "secret" not in out.read_text()
