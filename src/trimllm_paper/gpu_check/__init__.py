"""Ten minutes on one GPU: does it take what the plan says, and does all of it run?

`cases` says what is checked, how large it can be here and what the plan predicts of it; `work` does
one check in a process of its own; `commands.check_gpu` starts them and writes what came of it.
"""
