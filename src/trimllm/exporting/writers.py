"""The three forms of an export: a GGUF file, a checkpoint for vLLM, a stock model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import nn

from trimllm.checkpoint import store
from trimllm.checkpoint.card import Facts
from trimllm.checkpoint.stock import to_stock
from trimllm.exporting import gguf_file

GGUF = """\
Stock llama.cpp reads it (architecture `deci`), and programs built on it:

```
llama-server -m {file} -c {context}{options}
```

Or with the wheel `xllamacpp`: `trimllm serve {file}`.
"""
VLLM = """\
Stock vLLM serves it by its Transformers backend. The modeling file beside the weights is code,
which vLLM runs only with this option:

```
vllm serve PATH --trust-remote-code
```

In one pipeline stage; a GPU build of vLLM runs the same code.
"""
PADDED = """\
A stock model of full size for engines that support no trimmed ones: dropped sublayers are present
and add nothing. It needs no code of its own, and saves neither memory nor time.

```python
AutoModelForCausalLM.from_pretrained("PATH")
```
"""


def to_gguf(
    model: nn.Module, tokenizer: Any, source: Path, folder: Path, kind: str, facts: Facts
) -> tuple[dict[str, int], str]:
    """Write a model as one GGUF file into an existing folder, with its config.json for the hub.

    Args:
        source: its checkpoint.
        kind: type of the matrices, of `formats.TYPES`.
        facts: name and license go into the file.

    Returns:
        Bytes of its tensors by part, and how to load it (Markdown).
    """
    file = folder / f"model-{kind.upper()}.gguf"  # the hub reads the type off the name
    sizes = gguf_file.write(model, tokenizer, source, file, kind, facts.name, facts.license)
    shutil.copyfile(source / "config.json", folder / "config.json")
    context = min(4096, gguf_file.context_of(model.config))
    options = " --jinja" if tokenizer.chat_template else ""
    return sizes, GGUF.format(file=file.name, context=context, options=options)


def to_vllm(
    model: nn.Module, tokenizer: Any, source: Path, folder: Path
) -> tuple[dict[str, int], str]:
    """Write a model with the code that vLLM's Transformers backend loads it by (see `to_gguf`)."""
    store.write(model, tokenizer, folder)
    trimmed = getattr(model.config, "units", None) is not None
    loading = VLLM if trimmed else "Stock vLLM serves it: `vllm serve PATH`.\n"
    return store.bytes_by_part(folder), loading


def to_padded(
    model: nn.Module, tokenizer: Any, source: Path, folder: Path
) -> tuple[dict[str, int], str]:
    """Write a stock model of full size (see `to_gguf`)."""
    store.write(to_stock(model), tokenizer, folder)
    return store.bytes_by_part(folder), PADDED
