"""The commands' front door: help, and what a user can mend in one line."""

import subprocess
import sys
from pathlib import Path

import pytest
from configurations import ROOT

from trimllm_paper import invocation
from trimllm_paper.__main__ import main
from trimllm_paper.config import ConfigError


@pytest.mark.parametrize(
    "words, told",
    [
        (["plan", "table2", "--configfile", "no/such.yaml"], "no/such.yaml: cannot be read"),
        (["plan", "--config", "seed="], "(--config): seed"),
        (["plan", "--config", "seed"], "have to be defined as name=value pairs"),
        (["plan", "--config", "sed=3"], "sed = 3: unknown key; did you mean 'seed'?"),
        (["verify", "no/such/folder"], "no/such/folder does not exist"),
        (["serve", "no/such/folder"], "is no GGUF file and no folder with one"),
        (["export", "no/such/folder", "--format", "padded"], "is no checkpoint: it has no config"),
        (
            ["start", "x", "--model", "m", "--want", "speed=3"],
            "give one or several of above_percent=",
        ),
        (["unpack", "config", "there"], "config holds no kept run"),
        (["reference", "results", "kept", "trim={documents: 0}"], 'trim.documents = "0"'),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and told in line


def test_who_reads_on_no_longer_is_no_error() -> None:
    command = [sys.executable, "-m", "trimllm_paper", "verify", "results/reference_answers"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as run:
        run.stdout.close()
        assert run.stderr.read() == b"" and run.wait() == 141


def test_changes_are_merged_as_snakemake_merges_them(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("trim: {documents: 3, kept_percent: [50]}\nseed: 1\n")
    top = tmp_path / "top.yaml"
    top.write_text("trim: {documents: 5, ratio: 1}\nresults: there\n")
    found = invocation.configuration([file, top], ["trim={documents: 4}", "seed=2"])
    trim = {"documents": "4", "kept_percent": [50], "ratio": 1}
    assert found == {"trim": trim, "seed": 2, "results": "there"}
    with pytest.raises(ConfigError, match="not valid YAML"):
        file.write_text("a: [")
        invocation.configuration([file])
