"""A model of the hub whose download is cut: the hub's own client, a hub on this machine."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch
from huggingface_hub import constants
from models import tiny, word_tokenizer
from transformers import AutoModelForCausalLM

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper.fetch import models

NAME, REVISION = "owner/name", "a" * 40


@contextmanager
def hub(folder: Path, asked: list[str], cut: list[str]) -> Iterator[str]:
    """A hub of one model; its address. Of what is in `cut` it sends half, every time."""

    def described(path: Path) -> dict[str, object]:
        told = {"size": path.stat().st_size, "oid": files.sha256_of(path)[:40]}
        if path.suffix == ".safetensors":
            told["lfs"] = {"oid": files.sha256_of(path), "size": told["size"], "pointerSize": 9}
            told["lfs"] |= {"sha256": told["lfs"]["oid"]}
        return told | {"path": path.name, "rfilename": path.name, "type": "file"}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET(head=True)

        def do_GET(self, head: bool = False) -> None:
            path = urlsplit(self.path).path
            told = [described(one) for one in sorted(folder.iterdir())]
            name = path.rpartition("/")[2]
            if path.startswith(f"/api/models/{NAME}/tree/"):
                body = json.dumps(told).encode()
            elif path.startswith(f"/api/models/{NAME}"):
                about = {"id": NAME, "modelId": NAME, "sha": REVISION, "siblings": told}
                body = json.dumps(about).encode()
            else:
                body = (folder / name).read_bytes()
                asked.append(f"{self.command} {name}")
            whole, at = len(body), 0
            if "Range" in self.headers:
                at = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            self.send_response(206 if at else 200)
            self.send_header("X-Repo-Commit", REVISION)
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("Content-Length", str(whole - at))
            if at:
                self.send_header("Content-Range", f"bytes {at}-{whole - 1}/{whole}")
            self.end_headers()
            if not head:
                self.wfile.write(body[at : whole // 2] if name in cut else body[at:])

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_download_that_is_cut_in_a_shard_leaves_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line; once the network is back the same call makes the same weights."""
    model, published, target = tiny("llama"), tmp_path / "published", tmp_path / "target"
    model.save_pretrained(published, max_shard_size=model.num_parameters() * 4 // 2)
    word_tokenizer().save_pretrained(published)
    _, shard, *_ = sorted(path.name for path in published.glob("model-*.safetensors"))
    target.mkdir()
    how = {"downloads": tmp_path, "storage_dtype": "float32"}
    source = {"hub": NAME, "revision": REVISION}
    asked: list[str] = []
    cut = [shard]
    with hub(published, asked, cut) as address:
        cache = tmp_path / "cache"
        for key, value in (("ENDPOINT", address), ("HF_HUB_OFFLINE", False)):
            monkeypatch.setattr(constants, key, value)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        with pytest.raises(UserError, match=rf"^model {NAME} cannot be fetched \(.+\)$") as caught:
            models.fetch_model(source, target, **how)
        assert "\n" not in str(caught.value) and f"GET {shard}" in asked
        assert not any(target.iterdir()) and not [*tmp_path.glob("target.*")]
        # What the client keeps of it has another name, and is gone on from.
        assert not [*cache.rglob(shard)]
        cut.clear()
        models.fetch_model(source, target, **how)
    stored = AutoModelForCausalLM.from_pretrained(target).state_dict()
    assert all(torch.equal(stored[name], one) for name, one in model.state_dict().items())
