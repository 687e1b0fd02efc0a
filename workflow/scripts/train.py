"""Train from a checkpoint to the next: fine-tuning, a dropping by rule, an epoch of a chain."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.train import TrainJob, make_checkpoint
    from trimllm.trimming import make_epoch
    from trimllm_paper import records

    params, compute, inputs = job.params, snakemake.config["compute"], snakemake.input
    read = ("train", "calibration", "scan", "held_back", "teacher")
    processes = snakemake.resources.processes
    arguments = dict(params["arguments"])
    if epoch := inputs.get("epoch"):
        # Epoch 0 chooses the blocks that are trained; later epochs and annealing train the same.
        arguments["trainable"] = records.Epoch.read(epoch).trainable_blocks
    if scan := inputs.get("scan"):
        records.Record.read(scan)  # refuses an edited scan: the library knows no seals
    work = TrainJob(
        checkpoint=str(job.checkpoint),
        **{key: inputs.get(key) for key in read},
        **{key: params[key] for key in ("exact", "settings", "code")},
        **{key: compute[key] for key in ("offload", "weights_on")},
        **params["loading"],
        arguments=arguments,
        processes=processes,
        threads=max(1, snakemake.threads // processes),
        gradient_checkpointing=bool(snakemake.resources.recompute),
    )
    is_epoch = Path(snakemake.output.record).name == "epoch.json"
    make, kind = (make_epoch, records.Epoch) if is_epoch else (make_checkpoint, records.Training)
    make(
        work,
        Path(snakemake.output.manifest).parent,
        record_name=Path(snakemake.output.record).stem,
        seal=lambda result: kind(**job.facts | result).content(),
        provenance=job.provenance,
    )
