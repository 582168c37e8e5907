"""Identifiers are found and masked; measurements, image numbers and gradings are not."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mg3d.data.text.identifiers import find_identifiers, mask_identifiers

MASKED = {
    "Compared with 03.12.2019.": "Compared with [date].",
    "CT of 1/1/00 and 12/31/2020.": "CT of [date] and [date].",
    "On 2020-03-05.": "On [date].",
    "since March 12, 2020 or 12 March 2020": "since [date] or [date]",
    "since 12-Mar-2020, Mar 2020 and 03/2020": "since [date], [date] and [date]",
    "since 1st of May 2020, on March 14.": "since [date], on [date].",
    "MRN: 00123456": "MRN: [record_number]",
    "Medical record number 12-34-56": "Medical record number [record_number]",
    "Accession No. A123456789": "Accession No. [record_number]",
    "case #2019-0042": "case #[record_number]",
    "LIDC-IDRI-0132, TCGA-17-Z058": "[record_number], [record_number]",
    "UID 1.2.840.113619.2.55.3.604688": "UID [record_number]",
    "Number a819497684894126": "Number [record_number]",
    "SSN 123-45-6789": "SSN [record_number]",
    "Call 555-123-4567 or (555) 123-4567.": "Call [phone] or [phone].",
    "Phone: +49 30 1234567": "Phone: [phone]",
    "ext. 4432": "ext. [phone]",
    "Mail a.b@hospital.org or www.hospital.org/x": "Mail [email] or [url]",
    "A 94-year-old man": "A [age]-year-old man",
    "aged 101, 92 yo, 95 y/o": "aged [age], [age] yo, [age] y/o",
    "Dr. Velt, 12 March 2020": "Dr. [name], [date]",
}
UNTOUCHED = [
    "A 2.2 x 1.4 cm lesion (Image 30/116, series 5, image #12) in segments 8/9/10.",
    "Ribs 10/12/14. T10-11-12. Grade 2/4. 3/6 murmur. L1-L2. BI-RADS 4. COVID-19. SARS-CoV-2.",
    "Nodule of 5-10-15 mm. 1. First. 2. Second. 1.2.3 numbering. HU 1234. 120 kVp, 350 mAs.",
    "An 89-year-old woman. In 2019. Since 2018. May 5 mm lesions grow? 90 mm. Aged 65.",
    "Volume 1,234,567 mm3 and 0.1234567. 10:04 AM. 95 % saturation. 64-slice scanner.",
    "T2N0M0, stage IIIA. SUV 12.5. PD-L1. CD4 200. p = 0.0001234567.",
]


@pytest.mark.parametrize("text", MASKED)
def test_identifiers_are_masked(text: str) -> None:
    masked, counts = mask_identifiers(text)
    assert masked == MASKED[text]
    assert counts.total() == masked.count("[")


@pytest.mark.parametrize("text", UNTOUCHED)
def test_what_reports_are_about_stays(text: str) -> None:
    assert mask_identifiers(text) == (text, {})


def test_passages_are_in_order_and_do_not_overlap() -> None:
    text = "Dr. Maria Velt, MRN 1234567, 1/2/2020, 555-123-4567, maria.velt@x.org"
    found = find_identifiers(text)
    assert [each.kind for each in found] == ["name", "record_number", "date", "phone", "email"]
    assert all(first.end <= second.start for first, second in pairwise(found))


PIECES = st.lists(
    st.sampled_from(
        ["Dr. ", "Velt", "Maria ", "dictated by ", "MRN ", "1234567", "12/", "3/2020", " ", ".",
         "March ", "12, ", "2020", "555-", "123-", "4567", "@", "x.org", "94", " yo", "[name]",
         "\n", ",", "-", "a", "aged ", "^", "www."]
    ),
    max_size=25,
).map("".join)  # fmt: skip


@given(st.one_of(PIECES, st.text()))
def test_a_masked_text_has_nothing_more_to_mask(text: str) -> None:
    masked, counts = mask_identifiers(text)
    assert find_identifiers(masked) == ()
    assert mask_identifiers(masked) == (masked, {})
    assert bool(counts) == (masked != text)


@pytest.mark.real_data
def test_real_reports_hold_dates_only_where_they_do(real_reports: list[dict[str, str]]) -> None:
    """Read by eye: of 16 sections only one impression names a date; all comparisons are dates."""
    found = {
        name: [each.kind for report in real_reports for each in find_identifiers(report[name])]
        for name in ("findings", "impression", "comparison", "clinical_history", "technique")
    }
    assert found["findings"] == found["clinical_history"] == found["technique"] == []
    assert found["impression"] == ["date"]
    assert found["comparison"] == ["date"] * 6
