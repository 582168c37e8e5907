from rich.console import Console

from mg3d.evaluation.summary import BASELINES, DIRECTIONS, NOTICE, print_summary

HEAD = {"num_patients": 7, "num_studies": 9, "split": "test"}


def estimate(value: float, interval: bool = True) -> dict[str, float | None]:
    ends = (value - 0.1, value + 0.1) if interval else (None, None)
    return {"value": value, "low": ends[0], "high": ends[1]}


def printed(documents) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        print_summary(documents, console)
    return capture.get()


def test_fits_eighty_columns_and_ends_with_the_notice() -> None:
    point = {"value": 0.512, "low": 0.4, "high": 0.6, "chance": 0.051}
    results = {
        "zero_shot": HEAD | {"scoring": "positive", "results": [
            {
                "protocol": protocol,
                "prompts": "report",
                "macro_auroc": estimate(value, protocol == "strict"),
                "macro_f1": estimate(value, False),
            }
            for protocol, value in (("strict", 0.731), ("legacy", 0.802))
        ]},
        "baselines": HEAD | {
            "results": [{"name": name, "macro_auroc": estimate(0.6)} for name in BASELINES]
        },
        "retrieval": HEAD | {"results": [
            {"protocol": "strict", "direction": direction, "gallery_size": 1564,
             measure: {"1": point, "10": point}}
            for direction, (_, measure) in DIRECTIONS.items()
        ]},
    }  # fmt: skip
    text = printed(results)
    lines = text.rstrip().splitlines()
    assert lines[-1] == NOTICE
    assert max(len(line) for line in lines[:-2]) <= 80
    assert "0.731 [0.63 0.83]  0.802" in text
    assert "51.2 (5.1)  -" in text  # no k = 5 in this gallery
    assert "…" not in text
    assert "Findings (macro means; scoring: positive prompt only)" in text
    assert "1564" in text
    assert "7 patients, 9 studies" in text


def test_a_score_that_does_not_exist_is_a_dash() -> None:
    rows = [
        {"protocol": name, "prompts": "plain", "macro_auroc": None, "macro_f1": None}
        for name in ("strict", "legacy")
    ]
    text = printed({"zero_shot": HEAD | {"results": rows}})
    assert "prompts, plain" in text
    assert "None" not in text
