"""Scripts that run in processes of their own: a model in transformers, and the machine's rates."""
