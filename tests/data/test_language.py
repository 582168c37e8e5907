"""English is told from other languages, terse reports included."""
# ruff: noqa: RUF001 - letters of other alphabets are the point here

from pathlib import Path

import pytest

from mg3d.data.text.language import other_language
from mg3d.phantom.settings import PhantomConfig
from mg3d.phantom.study import plan_study

# The last two languages have no list of words of their own.
OTHERS = {
    "German": "Beidseits basale Dystelektasen. Kein Nachweis eines Pneumothorax.",
    "French": "Emphysème modéré. Épaississement bronchique diffus sans condensation du poumon.",
    "Spanish": "Sin evidencia de tromboembolismo pulmonar. Cambios degenerativos en la columna.",
    "Italian": "Enfisema centrolobulare. Calcificazioni delle arterie. Non lesioni ossee sospette.",
    "Portuguese": "Não há derrame pleural. O coração tem tamanho normal.",
    "Dutch": "Vergrote lymfeklieren tot 12 mm. Geen verdachte botlaesies in de thorax.",
    "Turkish": "Koroner arterlerde kalsifikasyonlar izlendi. Kemik yapılar ve mediasten doğaldır.",
    "Polish": "Nie stwierdza się płynu w jamach opłucnej. Serce prawidłowej wielkości.",
    "Swedish": "Ingen pleuravätska. Hjärtat är av normal storlek och inga misstänkta förändringar.",
    "Russian": "Плеврального выпота нет. Сердце нормальных размеров.",
    "Chinese": "双侧胸腔未见积液。心脏大小正常。右肺上叶见一8毫米结节。纵隔未见肿大淋巴结。",
    "Arabic": "لا يوجد انصباب جنبي. القلب طبيعي الحجم. عقدة في الفص العلوي الأيمن.",
    "Czech": "Bez pleurálního výpotku. Srdce přiměřené velikosti. Uzel 8 mm v horním laloku plíce.",
    "Danish": "Ingen pleuraeffusion. Hjertet er af normal størrelse. Der ses en stor nodulus.",
}
ENGLISH = [
    "Cardiomegaly. COPD. Old granulomatous disease. Atelectasis. No change.",
    "Status post CABG. 4 mm LUL GGN. RLL atelectasis. Small HH. DJD spine.",
    "NO ACUTE CARDIOPULMONARY DISEASE. HEART NORMAL IN SIZE.",
    "Emphysema. Bronchiectasis. Pneumonia. Atelectasis. Nodule. Effusion.",
    "", "Normal.", "Nodul", "123 4.5 6/7",
]  # fmt: skip


@pytest.mark.parametrize("language", OTHERS)
def test_other_languages_are_told(language: str) -> None:
    found = other_language(OTHERS[language])
    assert found
    if language in ("German", "French", "Spanish", "Italian", "Portuguese", "Dutch", "Turkish"):
        assert found == language


@pytest.mark.parametrize("text", ENGLISH)
def test_english_is_not(text: str) -> None:
    assert other_language(text) == ""


def test_no_report_of_the_phantom_is_taken_for_another_language() -> None:
    settings = PhantomConfig(out=Path("unused"), seed=4711)
    for index in range(200):
        report = plan_study(settings, "train", index).report
        assert other_language(report.findings_text) == ""
        assert other_language(report.impression_text) == ""


@pytest.mark.real_data
def test_no_section_of_a_real_report_is(real_reports: list[dict[str, str]]) -> None:
    sections = [
        report[name]
        for report in real_reports
        for name in ("findings", "impression", "technique", "clinical_history", "comparison")
    ]
    assert [other_language(text) for text in sections] == [""] * len(sections)
