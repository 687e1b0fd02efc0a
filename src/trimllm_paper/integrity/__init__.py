"""What protects results.

`codehash` and `provenance` write what a result came from, `lineage` refuses what another
configuration, model, data or code made, and `checks` (`make verify`) compares every file with its
manifest and its inputs. Seals of records are in `trimllm_paper.records`, atomic writing in
`trimllm.base.files`.
"""
