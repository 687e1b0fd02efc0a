"""What a result is protected from, by what, and which test shows it (below `tests/`).

| threat | what stops it | test |
|---|---|---|
| edited result | the seal of a result file (`trimllm_paper.records.sealed`), read by `records` | `trimllm_paper/integrity/test_checks.py` |
| edited scan, by which training would choose other blocks | the same seal, read by `scripts/train.py` before the library reads the file | `workflow/test_faults.py` |
| result of another configuration, model, data or code | `lineage.foreign`: hash of all that its job depends on, while the DAG is built | `workflow/test_faults.py` |
| code that has changed since | `codehash`: hash of what a stage imports, code of one's own that the configuration names included, one of the things its job depends on | `trimllm_paper/integrity/test_codehash.py`, `trimllm_paper/test_jobs.py` |
| replicate of another configuration | `lineage.Replicates`: the same hash under its seed | `workflow/test_replicates.py` |
| half-written file or checkpoint | written beside, then renamed, `manifest.json` last (`trimllm.base.files`) | `trimllm/checkpoint/test_torn_writes.py` |
| two runs at once | `locks.exclusive` on a job's outputs, `cluster.at_work` before a run | `trimllm_paper/integrity/test_locks.py`, `workflow/test_faults.py` |
| torn or changed checkpoint | sha256 of every file in its manifest, whenever it is loaded | `trimllm/checkpoint/test_store.py` |
| corrupt download | sha256 pinned in the configuration | `trimllm_paper/test_fetch.py` |
| changed kept result | `checks.verify_reference`, before anything is drawn from it | `trimllm_paper/test_kept_runs.py` |
| moved or renamed file | a record says its own place (`records`) | `trimllm_paper/integrity/test_checks.py` |
| checkpoint or documents that changed after an evaluation | `checks.verify_result`; `lineage` for a run | `trimllm_paper/integrity/test_checks.py` |
| words that a shell would run on a cluster | `cluster.unfit_for_cluster` | `trimllm_paper/integrity/test_cluster.py` |

`checks` does all that needs no run, behind `make verify`.
"""  # noqa: E501
