"""Environments of external engines; `test_compress.py` runs the engines themselves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from models import tiny, word_tokenizer

from trimllm import checkpoint
from trimllm.base.errors import UserError
from trimllm.compress.methods import EXTERNAL, CompressSettings
from trimllm.compress.run import check, compress

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", EXTERNAL.values())
def test_conda_file_has_the_pins_of_the_lock(name: str) -> None:
    lines = (ROOT / f"envs/{name}/requirements.lock").read_text().splitlines()
    locked = [line for line in lines if not line.startswith("#")]
    conda = (ROOT / f"envs/{name}.yaml").read_text().splitlines()
    assert [line.split("- ")[1] for line in conda if "==" in line] == locked
    engine = (ROOT / f"envs/{name}/engine.lock").read_text().split()[-1]
    assert engine in (ROOT / f"envs/{name}.post-deploy.sh").read_text().split()


def test_an_environment_that_does_not_work_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense = checkpoint.save(tiny("llama", mlp_width=64), word_tokenizer(), tmp_path / "dense")
    monkeypatch.setenv("TRIMLLM_AUTOAWQ_PYTHON", "/nowhere/python")
    with pytest.raises(UserError, match="/nowhere/python is not an executable Python"):
        check("awq_int4", dense, 9, engine="autoawq", settings=CompressSettings(group_size=32))
    # Ours has no awq.
    settings = CompressSettings(group_size=32, python=Path(sys.executable))
    texts = [f"w{n} w1 w2 w3" for n in range(9)]
    with pytest.raises(RuntimeError, match="autoawq: ModuleNotFoundError.*'awq'"):
        compress(
            *("awq_int4", dense, texts, ["w1 w2 w3"], tmp_path / "out"),
            engine="autoawq",
            settings=settings,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["dense"]
