"""Train from one checkpoint to the next: fine-tuning, a dropping at once, an epoch of a chain."""

from pathlib import Path

from trimllm_paper.forked import forked

with forked(snakemake) as job:
    from trimllm.train import TrainJob, make_checkpoint
    from trimllm_paper import records
    from trimllm_paper.recipe import place_of

    how, compute, inputs = job.how, job.compute, snakemake.input
    processes = snakemake.resources.processes
    arguments = dict(how["arguments"])
    if epoch := inputs.get("epoch"):
        # Epoch 0 chooses the blocks that are trained; all later ones, and settling, train the same.
        arguments["trainable"] = records.Epoch.read(epoch).trainable_blocks
    if scan := inputs.get("scan"):  # the library, which knows of no seals, chooses blocks by it
        records.ScanFile.read(scan)
    hashes, seed = job.data_hashes(), how["settings"]["seed"]
    work = TrainJob(
        recipe=how["recipe"],
        checkpoint=str(Path(inputs.manifest).parent),
        train=job.training_file(),
        calibration=inputs.get("calibration"),
        scan=inputs.get("scan"),
        held_back=inputs.held_back,
        teacher=inputs.get("teacher"),
        exact=how["exact"],
        settings=how["settings"],
        arguments=arguments,
        processes=processes,
        threads=max(1, snakemake.threads // processes),
        offload=compute["offload"],
        weights_on=compute["weights_on"],
        gradient_checkpointing=bool(snakemake.resources.recompute),
        code=job.run.code_hash,
        **how["loading"],
    )
    place = place_of(snakemake.output.record)
    kind = records.Epoch if place.kind == "epoch" else records.Training
    told = {"model": place.model, "domain": place.domain, "recipe": str(place.recipe)}
    told["seed"] = seed
    make_checkpoint(
        work,
        Path(snakemake.output.manifest).parent,
        record_name=place.kind,
        seal=lambda found: kind(**told | how["chain"] | found, provenance=job.stamp).content(),
        provenance=lambda: job.provenance(data_hashes=hashes, seed=seed),
    )
