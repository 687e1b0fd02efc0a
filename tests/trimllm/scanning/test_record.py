"""A scan survives its record, and the record has every score under the names of kept results."""

from __future__ import annotations

import json

from trimllm.scanning import Scan, Scores, from_record, to_record
from trimllm.sublayers import Unit

ALL = [Unit(block, kind) for block in range(3) for kind in ("attention", "mlp")]


def test_the_record_has_every_score_and_gives_the_scan_back() -> None:
    facts = {"documents": 20, "seconds": 2.5, "tokens": 77, "operations": 10**12}
    first = {ALL[0]: Scores(norm=1.0)}  # no candidate
    chosen = first | {u: Scores(5.0 * i, -1.5, i + 1.0) for i, u in enumerate(ALL) if i}
    free = first | {u: Scores(None, -1.5, i + 1.0) for i, u in enumerate(ALL) if i}
    rows = []
    for scan in (
        Scan(sublayers=chosen, baseline=Scores(55.0, -0.7), **facts),
        Scan(sublayers=free, baseline=Scores(None, -0.7), free=True, **facts),
    ):
        record = json.loads(json.dumps(to_record(scan)))
        assert from_record(record) == scan
        assert [(row["block"], row["kind"]) for row in record["units"]] == ALL
        assert record["units"][0].keys() == {"block", "kind", "norm"}
        rows.append(record["units"][3])
    known = {"block": 1, "kind": "mlp", "norm": 4.0}
    assert rows[0] == known | {"correct": 3, "accuracy": 15.0, "likelihood": -1.5}
    assert rows[1] == known | {"answer_likelihood": -1.5}
