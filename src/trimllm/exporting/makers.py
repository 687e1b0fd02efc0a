"""What each format writes, and which engine is asked for its proof."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from trimllm.base import kernels
from trimllm.base.errors import UserError
from trimllm.checkpoint import load, load_tokenizer, store
from trimllm.checkpoint.stock import to_stock
from trimllm.exporting import gguf_file
from trimllm.exporting.ask import Asker
from trimllm.exporting.evidence import Answer
from trimllm.exporting.formats import require_llama_cpp, vllm_python
from trimllm.exporting.layers import Layers


class Maker(ABC):
    """One format of one checkpoint.

    Args:
        source: the checkpoint.
        directory: an existing empty folder for the export.
        kind: type of the numbers, where the format has several.
        name: of the model.
        license: of the model, where it is known.
    """

    format = ""
    library = "transformers"  # the hub's name of what loads it

    def __init__(
        self, source: Path, directory: Path, kind: str, name: str, license: str | None
    ) -> None:
        self.source, self.directory, self.kind = source, directory, kind
        self.name, self.license = name, license
        self.config = AutoConfig.from_pretrained(source, local_files_only=True)

    @cached_property
    def tokenizer(self) -> Any:
        """The checkpoint's."""
        return load_tokenizer(self.source)

    @property
    def context(self) -> int:
        """Longest text, tokens."""
        return self.config.max_position_embeddings

    def weights(self) -> list[Path]:
        """Files that hold them."""
        return sorted(self.directory.glob("*.safetensors"))

    @abstractmethod
    def write(self) -> dict[str, int]:
        """Write the export; returns bytes of its tensors by part."""

    @abstractmethod
    def ask(self, asker: Asker) -> Answer:
        """What its engine says."""

    @abstractmethod
    def loading(self) -> str:
        """How it is loaded, Markdown."""


class Gguf(Maker):
    """One GGUF file."""

    format = "gguf"
    library = "gguf"

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        require_llama_cpp()
        self.layers = Layers(self.config, self.source)
        self.file = self.directory / gguf_file.file_name(self.kind)

    @property
    def context(self) -> int:
        return self.layers.context

    def weights(self) -> list[Path]:
        return [self.file]

    def write(self) -> dict[str, int]:
        about = {"license": self.license} if self.license else {}
        found = gguf_file.write(
            self.layers, self.tokenizer, self.file, self.kind, name=self.name, about=about
        )
        # For the hub, and for people: what the file was made from.
        shutil.copyfile(self.source / "config.json", self.directory / "config.json")
        return found

    def ask(self, asker: Asker) -> Answer:
        return asker.llama_cpp(self.file)

    def loading(self) -> str:
        chat = " --jinja" if self.tokenizer.chat_template else ""
        return (
            "Stock llama.cpp reads it (architecture `deci`), and what is built on it:\n\n"
            f"```\nllama-server -m {self.file.name} -c {min(4096, self.context)}{chat}\n```\n\n"
            "Or without llama.cpp's own programs, by the wheel `xllamacpp`: "
            f"`trimllm serve {self.file.name}`.\n"
        )


class Vllm(Maker):
    """The checkpoint with the code that vLLM's Transformers backend loads it by."""

    format = "vllm"

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        vllm_python()
        if kernels.method_of(self.config.to_dict()) is not None:
            raise UserError(
                f"{self.source} is compressed; export to vLLM what it was compressed from"
            )

    def write(self) -> dict[str, int]:
        model, tokenizer = load(self.source, dtype="auto")
        if getattr(model, "base_class", model) is None:
            raise UserError(
                f"{self.source}: {type(model).__name__} names no `base_class`, which vLLM loads; "
                "give the trimmed class one, or take padded"
            )
        store.write(model, tokenizer, self.directory)
        return store.bytes_by_part(self.directory)

    def ask(self, asker: Asker) -> Answer:
        return asker.vllm(self.directory)

    def loading(self) -> str:
        if getattr(self.config, "units", None) is None:
            return "Stock vLLM serves it: `vllm serve PATH`.\n"
        return (
            "Stock vLLM serves it by its Transformers backend. The modeling file that lies beside "
            "the weights is code, which vLLM runs only where it is told to trust it:\n\n"
            "```\nvllm serve PATH --trust-remote-code\n```\n\n"
            "In one pipeline stage; a GPU build of vLLM runs the same code.\n"
        )


class Padded(Maker):
    """A stock model of full size."""

    format = "padded"

    def write(self) -> dict[str, int]:
        model, tokenizer = load(self.source, dtype="auto")
        store.write(to_stock(model), tokenizer, self.directory)
        return store.bytes_by_part(self.directory)

    def ask(self, asker: Asker) -> Answer:
        return asker.transformers(self.directory, "stock")[0]

    def loading(self) -> str:
        return (
            "A stock model of full size, for engines that know no trimmed ones: what was dropped "
            "is there and adds nothing. It needs no code of its own, and saves neither memory nor "
            "time.\n\n"
            '```python\nAutoModelForCausalLM.from_pretrained("PATH")\n```\n'
        )


MAKERS = {maker.format: maker for maker in (Gguf, Vllm, Padded)}
