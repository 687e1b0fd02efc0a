"""A small project with every kind of job."""

import json
from pathlib import Path
from typing import Any

import yaml
from exports import byte_tokenizer
from models import tiny

import trimllm

# By the names that tables have columns for.
ROWS = "from: [{file: sums.jsonl}], fields: {question: q, choices: c, answer: a}"
DOMAINS = {
    "lexglue": f"""
label: sums
licence: none
sets:
  rows: {{{ROWS}}}
train: rows
tests:
  sums: {{set: rows}}
""",
    "legalbench": f"""
label: differences
licence: none
sets:
  rows: {{{ROWS.replace("sums", "differences")}}}
tests:
  differences: {{set: rows}}
""",
}


PROJECT = """
domains_folder: domains
domains: [lexglue]
models:
  tiny:
    {label: Tiny, family: llama, blocks: 6, learning_rate: 1.0e-3, source: {directory: source}}
recipes:
  paper: {criterion: both, ratio: 0.25, step: 6, settle: 1}
  ours: {criterion: likelihood, ratio: 1, step: 6, settle: 1, start: full_ft,
    teacher: {kl: 0.7, hidden: 1.0}}
finetune: {epochs: 1, documents: 8, held_back_documents: 8, batch_size: 4}
trim:
  {recipes: [paper, ours], kept_percent: [50], documents: 8, calibration_documents: 4,
    calibration_pool: 8}
tables:
  {domains: [lexglue], criteria: [both], rules: [bottom], ratios: [0.25],
    near: {lexglue: legalbench}}
evaluate: {documents: 8}
compress: {methods: [llm_int8], calibration_documents: 8, held_back_documents: 8}
throughput:
  {tokens: 24, generate: 4, repeats: 1, threads: 1, shapes: [llama-tiny], kept_percent: [50],
    compressors: [], composed: []}
compute: {device: cpu}
"""


def write_project(folder: Path) -> None:
    """A configuration of every kind of job: a model of 12 sublayers, a domain to train on and one
    that is only tested, a chain of the paper's recipe and one from Full-FT with a teacher, each of
    two epochs."""
    (folder / "domains").mkdir()
    for name, text in DOMAINS.items():
        (folder / f"domains/{name}.yaml").write_text(text)
    for name, sign, count in (("sums", "and", 99), ("differences", "less", 20)):
        answer = int(sign == "less")
        rows = [
            {"q": f"What is {i} {sign} one?", "c": [f"{i + 1}", f"{i - 1}"], "a": answer}
            for i in range(count)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    config: dict[str, Any] = yaml.safe_load(PROJECT)
    size = {"hidden_size": 64, "head_dim": 16, "intermediate_size": 128, "num_hidden_layers": 6}
    model = tiny("llama", vocab_size=320, max_position_embeddings=8192, **size)
    trimllm.save(model, byte_tokenizer(), folder / "source", dtype="float32")
    config["models"]["tiny"]["parameters"] = model.num_parameters()
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
