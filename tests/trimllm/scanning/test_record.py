"""A scan survives its record, and the record has every score."""

from __future__ import annotations

import json

from trimllm.scanning import Scan, from_record, to_record
from trimllm.sublayers import Unit

ALL = [Unit(block, kind) for block in range(3) for kind in ("attention", "mlp")]


def test_the_record_has_every_score_and_gives_the_scan_back() -> None:
    scan = Scan(
        documents=20,
        baseline=55.0,
        baseline_likelihood=-0.7,
        correct=dict(zip(ALL, range(6), strict=True)),
        norm={unit: float(i + 1) for i, unit in enumerate(ALL)},
        likelihood=dict.fromkeys(ALL, -1.5),
        seconds=2.5,
        tokens=77,
        operations=10**12,
    )
    for found in (scan.correct, scan.likelihood):
        del found[ALL[0]]
    record = json.loads(json.dumps(to_record(scan)))
    assert [(row["block"], row["kind"]) for row in record["units"]] == ALL
    assert "correct" not in record["units"][0]
    assert from_record(record) == scan
