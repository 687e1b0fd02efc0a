"""`trimllm serve`: the chat endpoint answers."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from exports import byte_tokenizer, needs_llama_cpp, saved, tiny_model

from trimllm.base.workers import environment
from trimllm.exporting import gguf_file


@needs_llama_cpp
def test_the_chat_endpoint_answers(tmp_path: Path) -> None:
    model = tiny_model("llama")
    source, file = saved(model, tmp_path / "checkpoint"), tmp_path / "export/model-F16.gguf"
    file.parent.mkdir()
    gguf_file.write(model, byte_tokenizer(), source, file, "f16", name="tiny")
    command = [sys.executable, "-m", "trimllm_paper", "serve", str(file.parent), "--port", "0"]
    command += ["--context", "128", "--threads", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(1)) as server:
        try:
            address = re.search(r"http://127.0.0.1:\d+/v1", server.stdout.readline())[0]
            messages = [{"role": "user", "content": "What do plants take in?"}]
            request = urllib.request.Request(
                f"{address}/chat/completions",
                json.dumps({"messages": messages, "max_tokens": 8}).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=60) as reply:
                answer = json.load(reply)
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(20) == 0
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert answer["usage"]["prompt_tokens"] > 3 and 0 < answer["usage"]["completion_tokens"] <= 8
