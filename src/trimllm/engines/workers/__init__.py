"""Programs that run an engine, told by turns (`trimllm.base.turns`) what to do.

Each defines `Engine`, made of: `path` of what it loads and of a `draft` (or None), `prompts` (token
ids, all of one length), `generate` (tokens), `batch` (the most texts at once), `threads`, `device`,
`dtype`, `exact` (to be compared, not timed), and `trust_remote_code`. Its attribute `facts` says
`version`, `versions`, `kernel` and what else it alone knows. Its methods return JSON:

    time(batch)      seconds until every text has its first token (`prefill`), and of the `generate`
                     tokens after that (`decode`)
    answer(number)   one prompt with all its tokens: `seconds`, `tokens`; tokens `proposed` by the
                     draft, and those `accepted`
    gap(number, written)  how far ahead of the next one the best token is after a prompt and some
                     written ones, nats
"""
