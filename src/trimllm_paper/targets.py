"""Which files a target needs: plain functions that the rules ask.

A recipe that several tables show is trained and evaluated once, for its path says all that it
depends on within a configuration.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.kept import drops_for
from trimllm.base.names import RULE_KEPT
from trimllm.engines.formats import installed
from trimllm.exporting.formats import require_engine
from trimllm_paper import kept_runs, layout
from trimllm_paper.choices import Choice
from trimllm_paper.context import Context
from trimllm_paper.figures import FIGURES
from trimllm_paper.jobs import Jobs
from trimllm_paper.jobs.measuring import engine_formats
from trimllm_paper.own.choice import nearest_trimmed
from trimllm_paper.recipe import FULL_FT, PRETRAINED, SPARSE_FT, Recipe, place_of
from trimllm_paper.shapes import RANDOM


class Targets:
    """Files of a configuration's run.

    Args:
        jobs: of the configuration.
        hardware: name of the machine that measures throughput.
        kept: the results are kept ones: what is absent is left out, and said in the artifact.
    """

    def __init__(self, jobs: Jobs, hardware: str, *, kept: bool = False) -> None:
        self.jobs, self.config, self.paths = jobs, jobs.config, jobs.paths
        self.hardware, self.kept = hardware, kept

    # ---- chains and recipes --------------------------------------------------------------------

    def units(self, model: str) -> int:
        """Units of an untrimmed model."""
        return self.config.models[model].units

    def epochs(self, model: str, name: str, percent: float | None = None) -> list[Recipe]:
        """Every checkpoint of a chain, as far as `percent` of the units (None: to its end)."""
        step, units = self.jobs.chains[name].step, self.units(model)
        last = drops_for(percent, units, step) if percent else None
        last = self.jobs.end(model, name) if last is None else last
        return [Recipe.trimmed(name, drops, units) for drops in range(0, last + 1, step)]

    def kept_models(self) -> str:
        """Constraint on {model} that looks ahead: which drops of which chains are kept."""
        if self.config.trim.keep_checkpoints:
            return "|".join(map(re.escape, self.config.models))
        return "|".join(
            rf"{re.escape(model)}(?=/[^/]+/({'|'.join(map(re.escape, map(str, kept)))})/)"
            for model in self.config.models
            if (kept := self.jobs.kept_recipes(model))
        )

    @property
    def main_models(self) -> list[str]:
        """Models of the main tables; OPT has a table of its own."""
        return [model.name for model in self.tables.select("main")]

    @property
    def table_models(self) -> list[str]:
        """Models of Tables 3 to 6 and 9."""
        return [model.name for model in self.tables.select("compared")]

    @property
    def table_domains(self) -> list[str]:
        """Domains of Tables 3 and 6."""
        return [domain.name for domain in self.tables.trained("compared")]

    # ---- tables, figures, claims ---------------------------------------------------------------

    @cached_property
    def tables(self) -> Context:
        """What the tables show of this configuration."""
        return Context.of(self.config)

    def context(self) -> dict[str, Any]:
        """The same as plain data, for a rule's parameters."""
        return self.tables.model_dump(mode="json")

    def figure_context(self, model: str) -> dict[str, Any]:
        """What figures and claims show of a model, as plain data."""
        return Context.of(self.config, model).model_dump(mode="json")

    def present(self, files: Iterable[str]) -> list[str]:
        """Files, each once; of kept results those that were kept."""
        found = dict.fromkeys(files)
        return [file for file in found if not self.kept or kept_runs.is_file(file)]

    def inputs(self, files: dict[str, list[str]]) -> dict[str, list[str]]:
        """Inputs of what shows some results: their files, of a kept run the one that holds all."""
        return {"records": [f"{self.paths.results}/{kept_runs.RECORDS}"]} if self.kept else files

    def of_all_seeds(self, files: Iterable[str]) -> list[str]:
        """The same files of the runs under other seeds, too."""
        own, folders = list(files), [*map(os.path.normpath, self.config.replicates)]
        start = f"{self.paths.results}/"
        return own + [f"{folder}/{f.removeprefix(start)}" for folder in folders for f in own]

    def answers(self, tables: Iterable[str]) -> list[str]:
        """Evaluations that tables are made from, of this run."""
        return [
            self.paths.evaluation(model, trained, recipe, task)
            for table in tables
            for model, trained, recipe, tested in layout.needed(table, self.tables)
            for task in self.config.tested[tested].tests
        ]

    def chains(
        self, models: Iterable[str], domains: Iterable[str], names: Iterable[str]
    ) -> list[str]:
        """Records of every epoch of chains."""
        return [
            self.paths.epoch(model, domain, recipe)
            for model in models
            for domain in domains
            for name in names
            for recipe in self.epochs(model, name)
        ]

    def main_chains(self) -> list[str]:
        """Records of the main tables' chains."""
        return self.chains(self.main_models, self.config.domain_specs, self.config.trim.recipes)

    def trainings(self, models: Iterable[str], domains: Iterable[str]) -> list[str]:
        """Records of full and sparse fine-tuning."""
        return [
            self.paths.training(model, domain, recipe)
            for model in models
            for domain in domains
            for recipe in (FULL_FT, SPARSE_FT)
        ]

    def timings(self) -> list[str]:
        """Measurements of throughput: this machine's, and those copied here from others."""
        mine = (
            self.paths.throughput(self.hardware, model, recipe)
            for model, recipe in layout.needed_timings(self.tables)
        )
        room = Path(self.paths.results, "throughput")
        there = kept_runs.glob(room, "**/*.json")
        others = (f for f in there if place_of(f).hardware != self.hardware)
        return [*self.present(mine), *map(str, others)]

    def in_engines(self, *, measured: bool = False) -> list[str]:
        """Measurements in engines: this machine's in those that are installed, and all that lie
        here. With `measured` the latter alone."""
        mine = [
            self.paths.engines(self.hardware, model, engine)
            for model in (() if measured or self.kept else self.main_models)
            for engine in engine_formats(self.jobs, model)
            if installed(engine, self.jobs.device)
        ]
        there = kept_runs.glob(Path(self.paths.results, "engines"), "*/*/*.json")
        return list(dict.fromkeys([*mine, *map(str, there)]))

    def table(self, name: str) -> dict[str, list[str]]:
        """Inputs of a table, by what they are."""
        form = layout.read(name)
        if form.blocks == "engines":
            return {"engines": self.in_engines()}
        columns, found = layout.columns_of(form, self.tables), dict[str, list[str]]()
        if any(column.epochs for column in columns):
            found |= self._times(form)
        if form.blocks != "machines" and not all(column.epochs for column in columns):
            found["evaluations"] = self.answers([name])
        found = {kind: self.present(self.of_all_seeds(files)) for kind, files in found.items()}
        timed = form.blocks in ("machines", "both")
        return found | ({"throughput": self.timings()} if timed else {})

    def _times(self, form: layout.Layout) -> dict[str, list[str]]:
        """What columns of time are made from: trainings, and the chains that rows name."""
        rows, domain = layout.rows_of(form, self.tables), [self.tables.timed.name]
        models = [model.name for model in layout.models_of(form, self.tables)]
        named = dict.fromkeys(name for row in rows for name in row.names)
        chains = [name for name in named if name in self.jobs.chains]
        return {
            "trainings": self.trainings(models, domain),
            "epochs": self.chains(models, domain, chains),
        }

    def accuracies(self, model: str) -> list[str]:
        """Evaluations by units dropped, of this run: as in tables, and of every epoch if there."""
        chains = [
            self.paths.evaluation(model, domain, recipe, task)
            for domain in self.table_domains
            for chain in self.config.trim.recipes
            for recipe in self.epochs(model, chain, self.compared_percent)
            for task in self.config.tested[domain].tests
            if model in self.table_models
        ]
        return [*self.answers(["table2", "table7"]), *chains]

    def figure(self, figure: str, model: str) -> dict[str, list[str]]:
        """Inputs of a figure of a model, of all seeds; speed is of one."""
        files: dict[str, list[str]] = {}
        if figure in ("figure1", "figure2", "readme"):
            files["evaluations"] = self.accuracies(model)
        if figure in ("figure3", "figure4"):
            files["epochs"] = self.main_chains()
        if figure == "figure4":
            files["trainings"] = self.trainings(self.main_models, self.config.domain_specs)
        found = {
            kind: self.present(f for f in self.of_all_seeds(each) if f"/{model}/" in f)
            for kind, each in files.items()
        }
        return found | ({"throughput": self.timings()} if figure == "figure2" else {})

    @property
    def compared_percent(self) -> float:
        """Units kept where the chains of Tables 3 and 6 end."""
        return self.config.tables.smallest_percent or RULE_KEPT

    def claims(self) -> dict[str, list[str]]:
        """Inputs of the claims: all that tables and figures show; of all seeds but for speed."""
        answers = [f for model in self.main_models for f in self.accuracies(model)]
        answers += self.answers(["table3", "table6", "table4", "table5"])
        found = {
            "evaluations": self.present(self.of_all_seeds(answers)),
            "epochs": self.present(self.of_all_seeds(self.main_chains())),
            "trainings": self.present(
                self.of_all_seeds(self.trainings(self.main_models, self.config.domain_specs))
            ),
            "throughput": self.timings(),
        }
        # Who measures in engines asks for it (`table_engines`): a claim takes what there is.
        engines = self.in_engines(measured=True)
        return found | ({"engines": engines} if engines else {})

    # ---- one's own data ------------------------------------------------------------------------

    def own(self) -> list[str]:
        """The report of every model. Raises `UserError` where nothing says what is wanted, or the
        engine of the export is not installed."""
        if self.config.own is None:
            raise UserError(
                "the configuration has no section `own`, which says what is wanted; "
                "`trimllm start my.jsonl --model MODEL` writes one"
            )
        require_engine(self.config.own.export)
        return [self.paths.chosen(model, "report.html") for model in self.config.models]

    def own_report(self, model: str) -> dict[str, list[str]]:
        """What a report is made from, whatever is chosen."""
        domain, paths = self.jobs.own_domain, self.paths
        kept = self.jobs.kept_recipes(model)
        place = model, domain
        recipes: list[Recipe | str] = [PRETRAINED, FULL_FT, *kept]
        return {
            "evaluations": [
                paths.evaluation(*place, recipe, task)
                for recipe in recipes
                for task in self.config.tested[domain].tests
            ],
            "epochs": self.chains([model], [domain], self.config.trim.recipes),
            "trainings": [paths.training(*place, recipe) for recipe in recipes[1:]],
            "throughput": [paths.throughput(self.hardware, model, recipe) for recipe in kept],
            "data": [paths.data(domain)],
        }

    def own_chosen(self, model: str, choice: Choice) -> dict[str, list[str]]:
        """What a report is made from of the chosen checkpoint, or where that is the full one, of
        the nearest trimmed one beside it."""
        near = nearest_trimmed(choice.candidates, choice.chosen, choice.wanted)
        shown = [near.recipe] if near else []
        compared = dict.fromkeys([PRETRAINED, FULL_FT, choice.recipe, *shown])
        own, domain = self.config.own, self.jobs.own_domain
        export = own.export if own else ""
        return {
            "answers": [self.paths.answers(model, one) for one in compared],
            "export": [self.paths.export(model, domain, choice.recipe, export)],
        }

    def own_context(self, model: str) -> dict[str, Any]:
        """What a report takes from the configuration, as plain data."""
        entry, domain = self.config.models[model], self.jobs.own_domain
        return {
            "model": entry.label,
            "data": self.config.tested[domain].label,
            "stand_in": self.config.tested[domain].stand_in,
            "tasks": list(self.config.tested[domain].tests),
        }

    # ---- all of a kind -------------------------------------------------------------------------

    @property
    def figures_folder(self) -> str:
        """Trial runs with results of their own do not draw over the project's figures."""
        own = self.paths.results == "results" or self.kept
        return "paper_figures" if own else f"{self.paths.results}/figures"

    def figures_named(self, name: str) -> list[str]:
        """One figure of the paper, of every model."""
        return [f"{self.figures_folder}/{name}_{model}.png" for model in self.main_models]

    def all_figures(self) -> list[str]:
        """Every figure."""
        return [file for name in FIGURES for file in self.figures_named(name)]

    def all_data(self) -> list[str]:
        """Every prepared domain."""
        return [self.paths.data(domain) for domain in self.config.domain_specs]

    def all_checkpoints(self) -> list[str]:
        """Every checkpoint that Tables 2 and 8 evaluate, and the records of their chains."""
        rows = [*layout.needed("table2", self.tables), *layout.needed("table8", self.tables)]
        found = [self.paths.manifest(model, domain, recipe) for model, domain, recipe, _ in rows]
        return list(dict.fromkeys([*found, *self.main_chains()]))

    def all_exports(self) -> list[str]:
        """Proofs of the kept checkpoints of the main chains in the formats of the configuration."""
        return [
            self.paths.export(model, domain, recipe, variant)
            for model in self.config.models
            for domain in self.config.domain_specs
            for recipe in self.jobs.kept_recipes(model)
            for variant in self.config.export.formats
        ]

    @property
    def timed_models(self) -> list[str]:
        """What is timed: models and shapes, by their names in paths."""
        shapes = [f"{RANDOM}{shape}" for shape in self.config.throughput.shapes]
        return [*self.config.models, *shapes]
