"""Links and pictures of the documentation lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
DOTTED = re.compile(r"\bmg3d(?:\.[A-Za-z_]\w*)+(?!/\d)\b")
"""Dotted names, but not those of schemas, which end with their version (`mg3d.store/3`)."""
MOST_BYTES_OF_A_PICTURE = 350_000


def links_of(page: Path) -> list[str]:
    return LINK.findall(CODE.sub("", page.read_text(encoding="utf-8")))


def anchors_of(page: Path) -> set[str]:
    """Anchors as GitHub makes them from headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links_of(page):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert target.is_relative_to(ROOT), f"{page.name}: {link} leaves the repository"
        if anchor:
            assert anchor in anchors_of(target), f"{page.name}: {link}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in links_of(page):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.is_file():
                waiting.append(target)
    lost = {str(page.relative_to(ROOT)) for page in set((ROOT / "docs").rglob("*.md")) - reached}
    assert not lost


def test_pictures_are_small_and_used() -> None:
    used = {
        (page.parent / link).resolve()
        for page in PAGES
        for link in links_of(page)
        if link.endswith(".png")
    }
    assert set((ROOT / "docs" / "images").glob("*.png")) == used
    for picture in used:
        assert picture.stat().st_size < MOST_BYTES_OF_A_PICTURE, picture.name


def test_pages_name_no_absolute_path_of_a_machine() -> None:
    for page in PAGES:
        assert not re.search(r"(?<![\w.])/(?:home|root|work|Users|tmp)/", page.read_text()), page


def test_every_decision_is_listed_under_its_number() -> None:
    listed = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    for record in (ROOT / "docs" / "decisions").glob("0*.md"):
        assert f"[{record.stem[:4]}]({record.name})" in listed


def test_what_is_named_of_the_package_exists() -> None:
    """`mg3d.part.module.name` in a text: the module is there and holds the name."""
    for page in PAGES:
        for name in set(DOTTED.findall(page.read_text(encoding="utf-8"))):
            place, parts = ROOT / "src" / "mg3d", name.split(".")[1:]
            while parts and (place / parts[0]).is_dir():
                place /= parts.pop(0)
            if parts and (place / f"{parts[0]}.py").is_file():
                place /= f"{parts.pop(0)}.py"
            held = place.read_text(encoding="utf-8") if place.is_file() else ""
            assert not parts or re.search(rf"\b{parts[0]}\b", held), f"{page.name}: {name}"
