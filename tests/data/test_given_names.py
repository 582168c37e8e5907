"""The list of given names holds nothing that reports say otherwise."""

from mg3d.data.text.given_names import GIVEN_NAMES
from mg3d.phantom.phrases import PHRASES

MEDICAL = (
    "port picc hila apex rib lobe base node mass fat gas clip tube stent graft vein carina larynx"
    " pleura aorta iris dense hazy virus regina angina alba linea rima rosa_ vena gilbert barrett"
)


def test_names_are_no_words_of_reports() -> None:
    wordings = [text for each in PHRASES for text in (*each.present, *each.detailed, *each.absent)]
    words = {word.strip(".,;{}") for text in wordings for word in text.lower().split()}
    assert not GIVEN_NAMES & (words | set(MEDICAL.split()))
    assert len(GIVEN_NAMES) > 250
