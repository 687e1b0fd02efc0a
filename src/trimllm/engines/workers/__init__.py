"""Scripts that run a model in an engine (`trimllm.base.workers`), timed as
`trimllm.throughput.session.Entry` says; `facts` are `version`, `versions`, `kernel`."""
