"""Matching: which rows of a table belong to no scan, told with a count and the first places."""

from collections.abc import Collection, Mapping

from mg3d.data.faults import Fault

_MOST_PLACES = 5


def match_faults(
    place: str,
    places: Mapping[str, str],
    keys: Collection[str],
    *,
    none: str,
    orphan: str,
    what: str,
) -> list[Fault]:
    """Faults of a table whose rows should each belong to something that a site has.

    Args:
        place: The table's name.
        places: Key of each row -> where it stands.
        keys: What the site has.
        none: Fault when no row matches.
        orphan: Fault when some rows do not.
        what: Word for a key in messages, such as "study".
    """
    wanted = set(keys)
    orphans = [where for key, where in places.items() if key not in wanted]
    if not orphans:
        return []
    if len(orphans) == len(places):
        message = (
            f"none of its {len(places)} {what} ids is one of the {len(wanted)} known. Spell them "
            "alike in both (spreadsheets drop leading zeros)."
        )
        return [Fault(kind=none, message=message, place=place)]
    message = f"{len(orphans)} of {len(places)} rows belong to no {what} here: {listed(orphans)}"
    return [Fault(kind=orphan, message=message, place=place)]


def listed(places: Collection[str]) -> str:
    """The first places and how many more there are."""
    first = list(places)[:_MOST_PLACES]
    more = len(places) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")
