"""Names of persons: titles, cues and given names find them; anatomy and eponyms are left alone."""

import pytest

from mg3d.data.text.given_names import GIVEN_NAMES
from mg3d.data.text.person_names import find_names

NAMES = {
    "Discussed with Dr. Smith.": "Smith",
    "Discussed with Dr. van der Berg today.": "Dr. van der Berg",
    "Dr Okonkwo-Bell was told.": "Okonkwo-Bell",
    "Prof. O'Neill agrees.": "O'Neill",
    "DICTATED BY: ZORKA VELT AND FILED": "ZORKA VELT",
    "Patient name: Zorka A. Velt, MRN 1": "Zorka A. Velt",
    "Electronically signed by: Velt, Zorka": "Velt, Zorka",
    "Read by Zorka Velt, MD.": "Zorka Velt",
    "Findings were called to nurse. Notified Zorka Velt at 10:04.": "Zorka Velt",
    "dictated by zorka velt regarding": "zorka velt",
    "told dr. velt about it": "velt",
    "VELT^ZORKA^A": "VELT^ZORKA^A",
    "Maria Velt was seen.": "Maria Velt",
    "Velt, Maria was seen.": "Velt, Maria",
    "Radiologist: José Ñandú": "José Ñandú",
}
NO_NAMES = [
    "Kerley B lines. Bochdalek hernia. Morgagni hernia. Hounsfield units. Hampton hump.",
    "Swan Ganz catheter. Swan-Ganz tip. Hodgkin lymphoma. Virchow node. Pancoast tumor.",
    "Sister Mary Joseph nodule. Wegener granulomatosis. Hamman Rich syndrome. Ewing sarcoma.",
    "Discussed with ED. Discussed with the Thoracic Surgery team. Reviewed with Endocrinology.",
    "MR Angiography and MS Patient. DR Chest. Frank pus. Will follow. Mark the lesion.",
    "Westermark sign. Luftsichel sign. Crohn disease. Azygos lobe. Port-A-Cath. Hickman line.",
    "FRANK EFFUSION. MARK LEFT SIDE. LUNGS DO NOT MOVE. NAME THE LESION",
    "resident of a nursing home. attending a clinic. Name of drug: unknown.",
    "Chest CT from March. Charles Bonnet syndrome. x10^3 cells. Austin Flint murmur.",
]


@pytest.mark.parametrize("text", NAMES)
def test_names_are_found(text: str) -> None:
    found = [text[start:end] for start, end in find_names(text)]
    assert NAMES[text] in found


@pytest.mark.parametrize("text", NO_NAMES)
def test_other_capitals_are_not(text: str) -> None:
    assert [text[start:end] for start, end in find_names(text)] == []


def test_given_names_are_single_small_words() -> None:
    assert all(name.isalpha() and name == name.lower() for name in GIVEN_NAMES)
    assert not GIVEN_NAMES & {"austin", "grant", "may", "will", "art", "rich", "dean", "hope"}
