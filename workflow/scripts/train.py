"""Train from a checkpoint to the next: fine-tuning, a dropping by rule, an epoch of a chain."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.train import TrainJob, make_checkpoint
    from trimllm.trimming import make_epoch
    from trimllm_paper import records

    params, compute, inputs = job.params, snakemake.config["compute"], snakemake.input
    processes = snakemake.resources.processes
    arguments = dict(params["arguments"])
    if epoch := inputs.get("epoch"):
        # Epoch 0 chooses the blocks that are trained; later epochs and annealing train the same.
        arguments["trainable"] = records.Epoch.read(epoch).trainable_blocks
    if scan := inputs.get("scan"):
        records.ScanFile.read(scan)  # refuses an edited scan: the library knows no seals
    work = TrainJob(
        checkpoint=str(job.checkpoint),
        train=inputs.train,
        calibration=inputs.get("calibration"),
        scan=inputs.get("scan"),
        held_back=inputs.held_back,
        teacher=inputs.get("teacher"),
        exact=params["exact"],
        settings=params["settings"],
        arguments=arguments,
        processes=processes,
        threads=max(1, snakemake.threads // processes),
        offload=compute["offload"],
        weights_on=compute["weights_on"],
        gradient_checkpointing=bool(snakemake.resources.recompute),
        code=params["code"],
        **params["loading"],
    )
    is_epoch = Path(snakemake.output.record).name == "epoch.json"
    make, kind = (make_epoch, records.Epoch) if is_epoch else (make_checkpoint, records.Training)
    make(
        work,
        Path(snakemake.output.manifest).parent,
        record_name=Path(snakemake.output.record).stem,
        seal=lambda result: kind(**job.facts | result | {"seed": job.seed}).content(),
        provenance=job.provenance,
    )
