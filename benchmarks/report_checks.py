"""How well are identifiers found in reports, and languages told, and what does it cost?

Names, dates, record numbers, phone numbers and ages over 89 are planted into reports of the phantom,
one a report, in sentences of the kinds below; found means that no letter or digit of it is left by
masking. What is found in the same reports before planting, in phrases full of eponyms and numbers,
and, where there, in real reports, is false (dates in real reports are true). Languages are told on
sentences written for this file; py3langid is measured beside if it is installed.

    python benchmarks/report_checks.py [--reports 2000] [--seed 0] [--real FOLDER]

Prints the figures and writes benchmarks/results/report_checks.json. The planted sentences come from
the same hand as the rules: on reports of another site expect less.
"""
# ruff: noqa: E501, RUF001 - long lines and letters of other alphabets are the point here

import argparse
import importlib.util
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mg3d.data.text.given_names import GIVEN_NAMES
from mg3d.data.text.identifiers import KINDS, find_identifiers
from mg3d.data.text.language import other_language
from mg3d.data.text.report_faults import check_report
from mg3d.data.text.reports import Report
from mg3d.files import write_json
from mg3d.phantom.settings import PhantomConfig
from mg3d.phantom.study import plan_study

RESULTS = Path(__file__).parent / "results"
_PLANTED: dict[str, tuple[str, ...]] = {
    "name with a title": (
        "Discussed with Dr. {it} at 10:04 AM.", "Mr. {it} was informed.", "Seen by Prof. {it}.",
        "Dr {it} agrees.", "Findings were told to Nurse {it}.",
    ),
    "name with a cue": (
        "Dictated by: {it}", "Electronically signed by {it}.", "Referring physician: {it}.",
        "Patient name: {it}", "Radiologist: {it}", "Findings were discussed with {it}.",
        "{it}, MD",
    ),
    "frequent given name alone": ("{given} was seen.", "Compared with the scan of {given}."),
    "any other name alone": ("{it} was seen.", "Compared with the scan of {it}."),
    "date": (
        "Compared with {month}/{day}/{year}.", "Compared with {day:02}.{month:02}.{year}.",
        "CT of {year}-{month:02}-{day:02}.", "Since {name} {day}, {year}.", "On {day} {name} {year}.",
        "CT dated {month}/{day}/{short}.", "Surgery in {name} {year}.", "On {day}-{abbreviation}-{year}.",
    ),
    "record number": (
        "MRN: {number}", "Accession number {letters}{number}.", "Medical record no. {number}",
        "Case #{year}-{number}", "Patient ID: {number}", "Study {letters}-{number}.",
    ),
    "phone number": (
        "Call {phone[0]}-{phone[1]}-{phone[2]}.", "Phone: ({phone[0]}) {phone[1]}-{phone[2]}",
        "Pager {phone[2]}.", "Tel. +49 {phone[0]} {number}",
    ),
    "age over 89": (
        "A {old}-year-old man.", "{old} yo female.", "Aged {old}.", "{old} y/o woman with cough.",
    ),
}  # fmt: skip
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_SYLLABLES = ("ka", "ro", "mi", "ten", "vel", "zor", "bu", "dan", "sho", "lin", "gre", "pa", "ost")
_HARMLESS = (
    "Kerley B lines. Bochdalek hernia. Morgagni hernia. Hounsfield units. Hampton hump.",
    "Swan Ganz catheter. Swan-Ganz tip. Hodgkin lymphoma. Virchow node. Pancoast tumor.",
    "Sister Mary Joseph nodule. Wegener granulomatosis. Hamman Rich syndrome. Ewing sarcoma.",
    "Westermark sign. Luftsichel sign. Crohn disease. Azygos lobe. Port-A-Cath. Hickman line.",
    "Austin Flint murmur. Charles Bonnet syndrome. Ghon focus. Ranke complex. Caplan syndrome.",
    "Monod sign. Golden S sign. Fleischner sign. Stanford type B. DeBakey type I. Judkins view.",
    "Takayasu arteritis. Kartagener syndrome. Marfan syndrome. Ehlers-Danlos. Behcet disease.",
    "Scimitar syndrome. Schmorl nodes. Harrington rods. Dobbhoff tube. Blakemore tube. Greenfield.",
    "Segments 8/9/10. Ribs 10/12/14. Image 30/116. Series 5, image 36. T10-11-12. L1-L2. 2/6.",
    "4.4 x 3.4 x 2.1 cm. 5-10-15 mm. 120 kVp, 350 mAs. SUV 12.5. PD-L1 50 %. CD4 200. 1,234,567.",
    "BI-RADS 4. Lung-RADS 4B. Fleischner 2017. TNM 8. COVID-19. SARS-CoV-2. T2N0M0. Stage IIIA.",
    "Discussed with the ED. Reviewed with Thoracic Surgery. Called to the floor. Read by Radiology.",
)
_LANGUAGES = {
    "German": (
        "Kein Pleuraerguss. Das Herz ist normal groß. Im rechten Oberlappen ein 8 mm großer Rundherd. Keine vergrößerten Lymphknoten mediastinal.",
        "Beidseits basale Dystelektasen. Kein Nachweis eines Pneumothorax. Degenerative Veränderungen der Brustwirbelsäule.",
        "Z.n. Lobektomie links. Unveränderte Darstellung der mediastinalen Lymphknoten, aktuell bis 9 mm. Diskrete Verkalkungen der Koronararterien.",
    ),
    "French": (
        "Absence d'épanchement pleural. Le coeur est de taille normale. Nodule de 8 mm du lobe supérieur droit.",
        "Pas d'adénopathie médiastinale. Opacités en verre dépoli bilatérales prédominant aux bases.",
        "Emphysème centrolobulaire modéré. Calcifications coronaires. Épaississement bronchique diffus sans condensation.",
    ),
    "Spanish": (
        "No se observa derrame pleural. El corazón es de tamaño normal. Nódulo de 8 mm en el lóbulo superior derecho.",
        "Opacidades en vidrio deslustrado bilaterales. Adenopatías mediastínicas de hasta 12 mm.",
        "Sin evidencia de tromboembolismo pulmonar. Cambios degenerativos en la columna dorsal.",
    ),
    "Italian": (
        "Non versamento pleurico. Il cuore è di dimensioni normali. Nodulo di 8 mm nel lobo superiore destro.",
        "Addensamenti a vetro smerigliato bilaterali. Linfonodi mediastinici di dimensioni aumentate.",
        "Enfisema centrolobulare. Calcificazioni delle arterie coronarie. Non lesioni ossee sospette.",
    ),
    "Portuguese": (
        "Não há derrame pleural. O coração tem tamanho normal. Nódulo de 8 mm no lobo superior direito.",
        "Opacidades em vidro fosco bilaterais. Linfonodos mediastinais aumentados de até 12 mm.",
        "Enfisema centrolobular. Calcificações coronarianas. Ausência de lesões ósseas suspeitas.",
    ),
    "Dutch": (
        "Geen pleuravocht. Het hart is normaal van grootte. Nodus van 8 mm in de rechter bovenkwab.",
        "Matglasafwijkingen in beide longen. Vergrote mediastinale lymfeklieren tot 12 mm.",
        "Centrilobulair emfyseem. Verkalkingen van de coronairen. Geen verdachte botlaesies.",
    ),
    "Turkish": (
        "Plevral efüzyon izlenmedi. Kalp boyutları normaldir. Sağ akciğer üst lobda 8 mm çapında nodül mevcuttur.",
        "Her iki akciğerde buzlu cam dansiteleri izlenmektedir. Mediastinal lenf nodları saptanmadı.",
        "Santrilobüler amfizem. Koroner arterlerde kalsifikasyonlar izlendi. Kemik yapılar doğaldır.",
    ),
    "Polish": (
        "Nie stwierdza się płynu w jamach opłucnej. Serce prawidłowej wielkości. Guzek 8 mm w płacie górnym prawego płuca.",
        "Obustronne zagęszczenia o typie matowej szyby. Węzły chłonne śródpiersia powiększone do 12 mm.",
        "Rozedma środkowej części zrazika. Zwapnienia tętnic wieńcowych. Bez zmian kostnych.",
    ),
    "Swedish": (
        "Ingen pleuravätska. Hjärtat är av normal storlek. En 8 mm stor nodul i höger lungas ovanlob.",
        "Bilaterala groundglassförtätningar i lungorna. Förstorade mediastinala lymfkörtlar upp till 12 mm.",
        "Centrilobulärt emfysem. Förkalkningar i kranskärlen. Inga misstänkta skelettförändringar.",
    ),
    "Czech": (
        "Bez pleurálního výpotku. Srdce normální velikosti. Uzel 8 mm v horním laloku pravé plíce.",
    ),
    "Danish": (
        "Ingen pleuraeffusion. Hjertet er af normal størrelse. Der ses en 8 mm stor nodulus i højre overlap.",
    ),
    "Romanian": (
        "Fără lichid pleural. Cordul are dimensiuni normale. Nodul de 8 mm în lobul superior drept.",
    ),
    "Russian": (
        "Плеврального выпота нет. Сердце нормальных размеров. Очаг 8 мм в верхней доле правого лёгкого.",
    ),
    "Chinese": ("双侧胸腔未见积液。心脏大小正常。右肺上叶见一8毫米结节。纵隔未见肿大淋巴结。",),
    "Japanese": ("胸水を認めません。心臓の大きさは正常です。右上葉に8mmの結節を認めます。",),
    "Arabic": ("لا يوجد انصباب جنبي. القلب طبيعي الحجم. عقدة بقطر 8 ملم في الفص العلوي الأيمن.",),
    "Greek": ("Δεν παρατηρείται πλευριτική συλλογή. Η καρδιά έχει φυσιολογικό μέγεθος.",),
    "Korean": ("흉수는 보이지 않습니다. 심장 크기는 정상입니다. 우상엽에 8 mm 결절이 있습니다.",),
}


def main() -> int:
    """Measure, print and store."""
    options = _options()
    settings = PhantomConfig(out=Path("unused"), seed=options.seed)
    plans = [plan_study(settings, "train", index).report for index in range(options.reports)]
    reports = [Report(plan.findings_text, plan.impression_text) for plan in plans]
    report = {
        "schema": "mg3d.report_checks/1",
        "seed": options.seed,
        "reports": options.reports,
        "planted": _plant(reports, random.Random(options.seed)),
        "false": _false(reports, options.real),
        "language": _language(reports, options.real),
        "milliseconds_a_report": round(_milliseconds(reports), 2),
    }
    print(json.dumps(report, indent=1, ensure_ascii=False))
    write_json(RESULTS / "report_checks.json", report)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reports", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", type=Path, default=Path("../shared/data/siim_reports"))
    return parser.parse_args()


def _plant(reports: list[Report], source: random.Random) -> dict[str, Any]:
    """Share of the planted identifiers of which masking leaves nothing."""
    found: Counter[str] = Counter()
    planted: Counter[str] = Counter()
    for number, report in enumerate(reports):
        kind = list(_PLANTED)[number % len(_PLANTED)]
        sentence, words = _sentence(kind, source)
        clauses = list(report.clauses())
        clauses.insert(source.randint(0, len(clauses)), sentence)
        text = " ".join(clauses)
        start = text.index(words, text.index(sentence))
        hidden = {index for each in find_identifiers(text) for index in range(each.start, each.end)}
        planted[kind] += 1
        found[kind] += all(
            index in hidden for index in range(start, start + len(words)) if text[index].isalnum()
        )
    return {
        kind: {"planted": planted[kind], "found": found[kind]} for kind in _PLANTED if planted[kind]
    }


def _sentence(kind: str, source: random.Random) -> tuple[str, str]:
    """A sentence, and the identifier in it."""
    template = source.choice(_PLANTED[kind])
    surname = "".join(source.sample(_SYLLABLES, source.randint(2, 3))).title()
    first = "".join(source.sample(_SYLLABLES, 2)).title()
    given = source.choice(sorted(GIVEN_NAMES)).title()
    month = source.randint(1, 12)
    values: dict[str, Any] = {
        "it": source.choice((f"{first} {surname}", f"{first[0]}. {surname}", f"{first} de {surname}"))
        if kind.startswith("name")
        else f"{first} {surname}",
        "given": f"{given} {surname}",
        "day": source.randint(1, 28), "month": month, "name": _MONTHS[month - 1],
        "abbreviation": _MONTHS[month - 1][:3], "year": source.randint(1990, 2025),
        "short": f"{source.randint(0, 25):02}", "number": f"{source.randint(100_000, 9_999_999)}",
        "letters": source.choice(("CT", "A", "HX")), "old": source.randint(90, 109),
        "phone": [f"{source.randint(200, 999)}", f"{source.randint(200, 999)}",
                  f"{source.randint(1000, 9999)}"],
    }  # fmt: skip
    sentence = template.format(**values)
    shell = template.split("{")[0]
    tail = template.rsplit("}", 1)[1]
    return sentence, sentence[len(shell) : len(sentence) - len(tail)]


def _false(reports: list[Report], real: Path) -> dict[str, Any]:
    """What is found where nothing was planted, by kind."""

    def count(texts: list[str]) -> dict[str, int]:
        counts = Counter(each.kind for text in texts for each in find_identifiers(text))
        return {"texts": len(texts), **{kind: counts[kind] for kind in KINDS}}

    return {
        "phantom": count([f"{each.findings} {each.impression}" for each in reports]),
        "eponyms and numbers": count(list(_HARMLESS)),
        "real findings and impressions": count(_real(real, ("findings", "impression"))),
        "real comparisons": count(_real(real, ("comparison",))),
    }


def _real(folder: Path, sections: tuple[str, ...]) -> list[str]:
    file = folder / "reports.json"
    if not file.is_file():
        return []
    content = json.loads(file.read_text(encoding="utf-8"))
    return [each[name] for each in content["reports"] for name in sections if each[name]]


def _language(reports: list[Report], real: Path) -> dict[str, Any]:
    """Texts that are taken for another language than English, here and by py3langid."""
    english = {
        "phantom findings": [each.findings for each in reports],
        "phantom impressions": [each.impression for each in reports],
        "real sections": _real(real, ("findings", "impression", "technique", "clinical_history")),
    }
    rules: dict[str, Callable[[str], bool]] = {"words": lambda text: bool(other_language(text))}
    if importlib.util.find_spec("py3langid"):
        import py3langid

        rules["py3langid"] = lambda text: py3langid.classify(text)[0] != "en"
    others = [(name, text) for name, texts in _LANGUAGES.items() for text in texts]
    return {
        rule: {
            "told of other languages": f"{sum(tell(text) for _, text in others)} of {len(others)}",
            "missed": sorted({name for name, text in others if not tell(text)}),
            **{
                f"false in {name}": f"{sum(map(tell, texts))} of {len(texts)}"
                for name, texts in english.items()
            },
        }
        for rule, tell in rules.items()
    }


def _milliseconds(reports: list[Report]) -> float:
    """Processor time of all checks of one report."""
    began = time.process_time()
    for report in reports:
        check_report(report)
    return (time.process_time() - began) / len(reports) * 1000


if __name__ == "__main__":
    sys.exit(main())
