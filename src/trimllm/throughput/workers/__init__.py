"""Scripts that run in a process of their own (`trimllm.base.workers`): a model, or the machine's
rates."""
