"""Kinds of GPUs, told apart by the driver's names of them and their memory."""

from __future__ import annotations

import pytest
from configurations import configuration, with_compute

from trimllm_paper import gpus


@pytest.mark.parametrize(
    "name, gib, kind",
    [
        ("NVIDIA A100-SXM4-80GB", 80, "A100-SXM4-80GB"),
        ("NVIDIA A100 80GB PCIe", 79.6, "A100-PCIe-80GB"),
        ("NVIDIA A100-SXM4-40GB", 39.6, "A100-SXM4-40GB"),
        ("NVIDIA A100-PCIE-40GB", 39.4, "A100-PCIe-40GB"),
        ("NVIDIA H100 80GB HBM3", 79.6, "H100-SXM5-80GB"),
        ("NVIDIA H100 PCIe", 79.6, "H100-PCIe-80GB"),
        ("NVIDIA H200", 140.4, "H200-141GB"),
        ("NVIDIA L40S", 44.99, "L40S-48GB"),
        ("NVIDIA GeForce RTX 3090", 24, "RTX-3090-24GB"),
        # Other cards, parts of one, and one whose memory is another's.
        ("NVIDIA RTX A1000", 8, None),
        ("NVIDIA RTX A1000 Laptop GPU", 6, None),
        ("NVIDIA GeForce RTX 3090 Ti", 24, None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 16, None),
        ("NVIDIA L40", 44.99, None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 4.75, None),
        ("NVIDIA H100 NVL", 93.6, None),
        ("NVIDIA A100-SXM4-80GB", 10, None),
    ],
)
def test_kinds_by_whole_words_memory_and_form(name: str, gib: float, kind: str | None) -> None:
    assert gpus.kind_named(name, gib) == kind


@pytest.mark.parametrize("name", gpus.KINDS)
def test_every_kind_knows_itself_by_its_own_name(name: str) -> None:
    assert gpus.kind_named(f"NVIDIA {name.replace('-', ' ')}", gpus.KINDS[name].gib) == name


def test_the_kind_is_the_one_told_or_the_smallest_here_or_the_papers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = with_compute(configuration("paper"), gpu=None)
    cards = {"present": (("NVIDIA A100-SXM4-80GB", 80.0), ("NVIDIA Unheard-Of", 12.0))}
    monkeypatch.setattr(gpus, "here", lambda: cards["present"])
    assert gpus.kind_of(with_compute(config, gpu="L40S-48GB"))[0] == "L40S-48GB"
    name, kind = gpus.kind_of(config)
    assert (name, kind.gib) == ("NVIDIA Unheard-Of", 12)
    assert kind.rate == gpus.KINDS[gpus.ASSUMED].rate
    cards["present"] = cards["present"][:1]
    assert gpus.kind_of(config)[0] == "A100-SXM4-80GB"
    cards["present"] = ()
    assert gpus.kind_of(config) == (gpus.ASSUMED, gpus.KINDS[gpus.ASSUMED])
