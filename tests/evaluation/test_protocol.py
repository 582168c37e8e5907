import json

from mg3d.evaluation.protocol import LEGACY, PROTOCOLS, STRICT


def test_the_two_protocols_differ_in_every_rule_and_are_stored_whole() -> None:
    strict, legacy = STRICT.as_dict(), LEGACY.as_dict()
    assert strict.keys() == legacy.keys()
    assert [name for name in strict if strict[name] == legacy[name]] == ["version"]
    assert [json.loads(json.dumps(p.as_dict()))["name"] for p in PROTOCOLS] == ["strict", "legacy"]
