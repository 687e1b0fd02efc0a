"""Train from a checkpoint to the next: fine-tuning, a dropping by rule, an epoch of a chain."""

from pathlib import Path
from tempfile import TemporaryDirectory

from trimllm_paper.job import Job

with Job(snakemake) as job, TemporaryDirectory() as folder:
    from trimllm.data.document import write_documents
    from trimllm.train import TrainJob, make_checkpoint
    from trimllm.train.batching import documents_of_epoch
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
    train = inputs.train
    if params["pool"] is not None:  # the first documents of the seed's order
        documents = job.documents("train")
        count = min(params["pool"], len(documents))
        train = f"{folder}/train.jsonl"
        write_documents(Path(train), documents_of_epoch(documents, 0, count, job.seed))
    work = TrainJob(
        checkpoint=str(job.checkpoint),
        train=train,
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
