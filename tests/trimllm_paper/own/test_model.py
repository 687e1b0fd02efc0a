"""A model is looked at: what the configuration says of it, and why it cannot be trimmed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from configurations import ROOT
from models import tiny, word_tokenizer

import trimllm
from trimllm.base.errors import UserError
from trimllm.sublayers import Unit, drop
from trimllm_paper.own import model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "Tiny_Llama"
    trimllm.save(tiny("llama"), word_tokenizer(), folder, dtype="float32")
    return folder


def test_it_is_what_the_fetched_model_will_be(checkpoint: Path) -> None:
    found = model.look(str(checkpoint))
    weights = sum(one.numel() for one in tiny("llama").parameters())  # tied ones once
    assert (found.family, found.blocks, found.parameters) == ("llama", 5, weights)
    assert found.name == "tiny_llama" and found.source == {"directory": str(checkpoint)}
    assert found.learning_rate == 2e-4
    assert replace(found, parameters=134_515_008).learning_rate == 2e-4  # SmolLM2-135M
    # Qwen2.5-Coder-0.5B, which five times as much ruins.
    assert replace(found, parameters=630_167_424).learning_rate == 2e-5


def changed(source: Path, folder: Path, **config: object) -> Path:
    shutil.copytree(source, folder)
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(told | config))
    return folder


def broken(name: str, checkpoint: Path, folder: Path) -> str:
    if name == "no tokenizer":
        made = changed(checkpoint, folder)
        for file in made.glob("*token*"):
            file.unlink()
    elif name == "untrimmable family":
        made = changed(checkpoint, folder, model_type="gpt2")
    elif name == "compressed":
        made = changed(checkpoint, folder, quantization_config={"quant_method": "awq"})
    elif name == "no weights":
        made = changed(checkpoint, folder)
        (made / "model.safetensors").unlink()
    elif name == "trimmed":
        small = tiny("llama")
        drop(small, [Unit(0, "mlp")])
        trimllm.save(small, word_tokenizer(), made := folder)
    else:
        made = folder
        made.mkdir()
        (made / "model.gguf").touch()
    return str(made)


@pytest.mark.parametrize(
    "name, told",
    [
        ("no tokenizer", "has no tokenizer that can be read"),
        ("untrimmable family", "family 'gpt2' cannot be trimmed .those of llama, mistral"),
        ("compressed", "is compressed; start from the model"),
        ("no weights", "holds no weights"),
        ("trimmed", "is trimmed already"),
        ("GGUF", "has no config.json .a GGUF file is no checkpoint"),
    ],
)
def test_what_cannot_be_trimmed_is_one_line(
    checkpoint: Path, tmp_path: Path, name: str, told: str
) -> None:
    with pytest.raises(UserError, match=told) as error:
        model.look(broken(name, checkpoint, tmp_path / "model"))
    assert "\n" not in str(error.value)


def test_what_is_neither_folder_nor_hub_id(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder, and no OWNER/NAME"):
        model.look(str(tmp_path / "nothing"))


class Hub(BaseHTTPRequestHandler):
    """A hub that has one gated model, and no other."""

    def do_GET(self) -> None:
        gated = self.path.startswith("/api/models/meta/gated")
        if gated and not self.path.endswith("/auth-check"):
            body = json.dumps({"id": "meta/gated", "sha": "0" * 40, "gated": "manual"}).encode()
            self.send_response(200)
        else:
            body = b'{"error": "no"}'
            self.send_response(403 if gated else 404)
            self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
            self.send_header("X-Error-Message", "no")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize(
    "name, told",
    [
        (
            "meta/gated",
            "meta/gated is gated: accept its terms at https://huggingface.co/meta/gated",
        ),
        ("nobody/nothing", "nobody/nothing: the hub has no such model, or it is private"),
        ("offline", "some/model: the hub cannot be asked"),
    ],
)
def test_what_the_hub_does_not_give_is_one_line(
    hub: str, tmp_path: Path, name: str, told: str
) -> None:
    (tmp_path / "my.jsonl").write_text(
        "".join(
            json.dumps({"question": f"{i}?", "choices": ["a", "b"], "answer": i % 2}) + "\n"
            for i in range(99)
        )
    )
    where = {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
    if name == "offline":
        name, where = "some/model", where | {"HF_HUB_OFFLINE": "1"}
    words = ["start", "my.jsonl", "--model", name, "--format", "padded"]
    run = subprocess.run(
        [sys.executable, "-m", "trimllm_paper", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **where},
        timeout=300,
    )
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert line.startswith("error: ") and told in line
    assert {file.name for file in tmp_path.glob("*.yaml")} == set()
