"""Matching: nothing, something or everything of a table fits."""

from mg3d.data.faults import Fault
from mg3d.data.layouts.matching import listed, match_faults

PLACES = {"a": "t, line 2", "b": "t, line 3"}


def _match(*keys: str) -> list[Fault]:
    return match_faults(
        "t", PLACES, keys, none="report_no_match", orphan="report_orphan", what="study"
    )


def test_the_three_cases() -> None:
    assert _match("a", "b", "c") == []
    (some,) = _match("a")
    assert (some.kind, some.message) == (
        "report_orphan", "1 of 2 rows belong to no study here: t, line 3",
    )  # fmt: skip
    (none,) = _match("c")
    assert none.kind == "report_no_match"
    assert none.message.startswith("none of its 2 study ids is one of the 1 known")


def test_five_places_are_enough() -> None:
    assert listed([str(n) for n in range(5)]) == "0, 1, 2, 3, 4"
    assert listed([str(n) for n in range(8)]) == "0, 1, 2, 3, 4 and 3 more"
