"""Train from one checkpoint to the next: fine-tuning, a dropping at once, an epoch of a chain."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.train import TrainJob, make_checkpoint
    from trimllm.trimming import make_epoch
    from trimllm_paper import records
    from trimllm_paper.recipe import place_of

    params, compute, inputs = job.params, job.compute, snakemake.input
    processes = snakemake.resources.processes
    arguments = dict(params["arguments"])
    if epoch := inputs.get("epoch"):
        # Epoch 0 chooses the blocks that are trained; all later ones, and settling, train the same.
        arguments["trainable"] = records.Epoch.read(epoch).trainable_blocks
    if scan := inputs.get("scan"):  # the library, which knows of no seals, chooses blocks by it
        records.ScanFile.read(scan)
    hashes, seed = job.data_hashes(), params["settings"]["seed"]
    work = TrainJob(
        checkpoint=str(Path(inputs.manifest).parent),
        train=job.training_file(),
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
        code=job.run.code_hash,
        **params["loading"],
    )
    place = place_of(snakemake.output.record)
    make, kind = make_checkpoint, records.Training
    if place.kind == "epoch":
        make, kind = make_epoch, records.Epoch
    told = {"model": place.model, "domain": place.domain, "recipe": str(place.recipe)}
    told["seed"] = seed
    make(
        work,
        Path(snakemake.output.manifest).parent,
        record_name=place.kind,
        seal=lambda found: kind(**told | params["chain"] | found, provenance=job.stamp).content(),
        provenance=lambda: job.provenance(data_hashes=hashes, seed=seed),
    )
