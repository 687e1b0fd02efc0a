"""Which files a target needs.

A recipe that several tables show is trained and evaluated once, for its path says all that it
depends on within a configuration.
"""

import os
import re
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.kept import drops_for
from trimllm.base.names import RULE_KEPT
from trimllm.exporting.formats import installed, require_engine
from trimllm_paper import kept_runs
from trimllm_paper.context import Context
from trimllm_paper.figures import FIGURES
from trimllm_paper.jobs import Jobs
from trimllm_paper.jobs.measuring import engine_formats
from trimllm_paper.own.choice import nearest_trimmed
from trimllm_paper.recipe import FULL_FT, PRETRAINED, SPARSE_FT, Recipe, place_of
from trimllm_paper.records import Choice
from trimllm_paper.specification import needed, needed_timings
from trimllm_paper.tables import TABLES

Names = Iterable[str]
Files = dict[str, list[str]]  # by kind of result


class Targets:
    """Files of a configuration's run; `hardware` measures throughput. Of a kept run (`kept`) what
    is absent is left out."""

    def __init__(self, jobs: Jobs, hardware: str, *, kept: bool = False) -> None:
        self.jobs, self.config, self.paths = jobs, jobs.config, jobs.paths
        self.hardware, self.kept = hardware, kept
        self.tables = Context.of(self.config)
        self.main_models = [model.name for model in self.tables.select("main")]
        # Domains of Tables 3 and 6.
        self.compared = [domain.name for domain in self.tables.trained("compared")]
        # Trial runs with results of their own do not draw over the project's figures.
        is_main = self.paths.results == "results" or kept
        self.figures_folder = "paper_figures" if is_main else f"{self.paths.results}/figures"
        # Records of the main tables' trainings and chains.
        main = self.main_models, self.config.domain_specs
        self.main = {"epochs": self.chains(*main, self.config.trim.recipes)}
        self.main["trainings"] = self.trainings(*main)

    def epochs(self, model: str, name: str, percent: float | None = None) -> list[Recipe]:
        """Every checkpoint of a chain, as far as `percent` of the sublayers (None: to its end)."""
        step, units = self.jobs.chains[name].step, self.config.models[model].units
        last = end = self.jobs.end(model, name)
        if percent and (drops := drops_for(percent, units, step)) is not None:
            last = min(drops, end)
        return [Recipe.trimmed(name, drops, units) for drops in range(0, last + 1, step)]

    def chains(self, models: Names, domains: Names, names: Names) -> list[str]:
        """Records of every epoch of chains."""
        return [
            self.paths.epoch(model, domain, recipe)
            for model, domain, name in product(models, domains, names)
            for recipe in self.epochs(model, name)
        ]

    def trainings(self, models: Names, domains: Names, *recipes: str) -> list[str]:
        """Records of these trainings (none named: of full and sparse fine-tuning)."""
        places = product(models, domains, recipes or (FULL_FT, SPARSE_FT))
        return [self.paths.training(*place) for place in places]

    def answers(self, tables: Names) -> list[str]:
        """Evaluations that tables are made from, of this run."""
        return [
            self.paths.evaluation(model, trained, recipe, task)
            for table in tables
            for model, trained, recipe, tested in needed(TABLES[table](self.tables), self.tables)
            for task in self.config.tested[tested].tests
        ]

    def accuracies(self, model: str) -> list[str]:
        """Evaluations of a model by sublayers dropped: those of tables, and of every epoch of the
        domains that Tables 3 and 6 compare."""
        is_compared = model in [one.name for one in self.tables.select("compared")]
        return self.answers(["table2", "table7"]) + [
            self.paths.evaluation(model, domain, recipe, task)
            for domain in (self.compared if is_compared else ())
            for chain in self.config.trim.recipes
            for recipe in self.epochs(model, chain, RULE_KEPT)
            for task in self.config.tested[domain].tests
        ]

    def timings(self) -> list[str]:
        """Measurements of throughput: this machine's, and those copied here from others."""
        mine = [self.paths.throughput(self.hardware, *one) for one in needed_timings(self.tables)]
        there = [f for f in self.there("throughput") if place_of(f).hardware != self.hardware]
        return self._present(mine) + there

    def there(self, room: str) -> list[str]:
        """Measurements that lie here, of any machine."""
        return [str(f) for f in kept_runs.glob(Path(self.paths.results, room), "**/*.json")]

    def _present(self, files: Names) -> list[str]:
        """Files, each once; of a kept run those that were kept."""
        return [f for f in dict.fromkeys(files) if not self.kept or kept_runs.is_file(f)]

    def _pooled(self, files: Files) -> Files:
        """The same files of all seeds."""
        own = self.paths.results
        folders = [own, *map(os.path.normpath, self.config.replicates)]
        return {
            kind: self._present(folder + f.removeprefix(own) for folder in folders for f in one)
            for kind, one in files.items()
        }

    def context(self, model: str | None = None) -> dict[str, Any]:
        """What is shown of the configuration, in tables or of one model in figures and claims, as
        plain data for a rule's parameters."""
        return (Context.of(self.config, model) if model else self.tables).model_dump(mode="json")

    def inputs(self, files: Files) -> Files:
        """Inputs of what shows some results: their files, of a kept run the one that holds all."""
        return {"records": [f"{self.paths.results}/{kept_runs.RECORDS}"]} if self.kept else files

    def table(self, name: str) -> Files:
        """Results that a table shows, of all seeds; speed is of one."""
        spec = TABLES[name](self.tables)
        if spec.blocks == "engine":  # this machine's in those that are installed, and all there are
            mine = [
                self.paths.engines(self.hardware, model, engine)
                for model in (() if self.kept else self.main_models)
                for engine in engine_formats(self.jobs, model)
                if installed(engine, self.jobs.device)
            ]
            return {"engines": list(dict.fromkeys([*mine, *self.there("engines")]))}
        models = [model.name for model in spec.models]
        timed = any(column.shows == "time" for column in spec.columns)
        # Of records of training all are timed, or some choose the smallest checkpoint.
        rows = [row for row in spec.rows if timed or row.smallest]
        names = dict.fromkeys(n for row in rows for n in row.names if n in self.jobs.chains)
        files: Files = {}
        if timed:
            domains = [self.tables.timed.name]
            files["trainings"] = self.trainings(models, domains)
            files["epochs"] = self.chains(models, domains, names)
        elif rows:
            domains = [c.tested for c in spec.columns if c.shows == "accuracy" and c.tasks]
            files["trainings"], files["epochs"] = self.trainings(models, domains, FULL_FT), []
            for model, domain, recipe, _ in needed(spec, self.tables):
                checkpoint = Recipe.parse(recipe)
                if checkpoint.name in names and not checkpoint.compressor:
                    files["trainings"] += self.trainings([model], [domain], recipe)
                    files["epochs"].append(self.paths.epoch(model, domain, checkpoint))
        if any(column.shows == "accuracy" for column in spec.columns):
            files["evaluations"] = self.answers([name])
        files = self._pooled(files)
        if spec.blocks == "machine":
            files["throughput"] = self.timings()
        return files

    def figure(self, figure: str, model: str) -> Files:
        """Results that a figure of a model shows, of all seeds; speed is of one."""
        of_chains = {"figure3": {"epochs": self.main["epochs"]}, "figure4": self.main}
        files = of_chains.get(figure) or {"evaluations": self.accuracies(model)}
        of_model = {kind: [f for f in one if f"/{model}/" in f] for kind, one in files.items()}
        timings = {"throughput": self.timings()} if figure == "figure2" else {}
        return self._pooled(of_model) | timings

    def claims(self) -> Files:
        """Results that claims judge: all that tables and figures show; of all seeds but for speed.
        Engines are measured for `table_engines` alone: a claim takes what there is."""
        answers = [f for model in self.main_models for f in self.accuracies(model)]
        answers += self.answers(["table3", "table6", "table4", "table5"])
        files = self._pooled({"evaluations": answers, **self.main})
        engines = {"engines": there} if (there := self.there("engines")) else {}
        return files | {"throughput": self.timings()} | engines

    def own(self) -> list[str]:
        """The report of every model. Raises `UserError` where no requirements are configured, or
        the engine of the export is not installed."""
        if self.config.own is None:
            remedy = "`trimllm start my.jsonl --model MODEL` writes one"
            raise UserError(f"the configuration has no section `own` with requirements; {remedy}")
        require_engine(self.config.own.export)
        return [self.paths.choice(model, "report.html") for model in self.config.models]

    def own_report(self, model: str) -> Files:
        """What a report is made from, whatever is chosen."""
        domain, kept = self.jobs.own_domain, self.jobs.kept_recipes(model)
        recipes: list[Recipe | str] = [PRETRAINED, FULL_FT, *kept]
        tests = product(recipes, self.config.tested[domain].tests)
        return {
            "evaluations": [self.paths.evaluation(model, domain, *one) for one in tests],
            "throughput": [self.paths.throughput(self.hardware, model, one) for one in kept],
            "data": [self.paths.data(domain)],
        }

    def own_chosen(self, model: str, choice: Choice) -> Files:
        """Answers of the chosen checkpoint and of those beside it, and its export."""
        near = nearest_trimmed(choice.candidates, choice.chosen, choice.required)
        compared = [PRETRAINED, FULL_FT, choice.recipe, *([near.recipe] if near else [])]
        answers = [self.paths.answers(model, one) for one in dict.fromkeys(compared)]
        place = model, self.jobs.own_domain, choice.recipe, choice.format
        return {"answers": answers, "export": [self.paths.export(*place)]}

    def own_context(self, model: str) -> dict[str, Any]:
        """What a report takes from the configuration, as plain data."""
        domain = self.config.tested[self.jobs.own_domain]
        label = self.config.models[model].label
        return {"model": label, "data": domain.label, "tasks": list(domain.tests)}

    def figures(self, *names: str) -> list[str]:
        """Figures of the paper (none named: all), of every model."""
        places = product(names or FIGURES, self.main_models)
        return [f"{self.figures_folder}/{name}_{model}.png" for name, model in places]

    def all_exports(self) -> list[str]:
        """The main chains' kept checkpoints in the configured formats: records of their proofs."""
        return [
            self.paths.export(model, domain, recipe, variant)
            for model in self.config.models
            for domain in self.config.domain_specs
            for recipe in self.jobs.kept_recipes(model)
            for variant in self.config.export.formats
        ]

    def kept_models(self) -> str:
        """Constraint on {model} that looks ahead: the weights of which epochs stay."""
        kept = {model: map(str, self.jobs.kept_recipes(model)) for model in self.config.models}
        ends = {model: "|".join(map(re.escape, recipes)) for model, recipes in kept.items()}
        if self.config.trim.keep_checkpoints:
            ends = dict.fromkeys(ends, ".+")
        return "|".join(rf"{re.escape(model)}(?=/[^/]+/({end})/)" for model, end in ends.items())
