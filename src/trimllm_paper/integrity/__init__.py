"""What protects results: hashes in records, locks, refusal of foreign results, verification.

`codehash` and `provenance` write what a result came from, `lineage` refuses what another
configuration, model, data or code made, `locks` and `cluster` keep two runs apart, and `checks`
(`make verify`) compares every file with its manifest and its inputs. Seals of records are in
`trimllm_paper.records`, atomic writing in `trimllm.base.files`.
"""
