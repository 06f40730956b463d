"""Pages of the site that are made of the code: nothing here is kept in git, so nothing grows old.

`make docs` runs it. A link that leaves `docs/` leads to the page made of that file, or into the
repository where `DOCS_REPOSITORY` names its address; else it is shown as a path.
"""

import contextlib
import io
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|`[^`]*`)+)\]\(([^)#\s:]+)(#[^)\s]*)?\)")
MODULES = {  # the interface of the package, as a reader meets it
    "Environment": (
        "ml.envs.convoy_env",
        "ml.envs.convoy_vec_env",
        "ml.envs.config",
        "ml.envs.convoy_batch",
        "ml.envs.recorded_vec_env",
        "ml.envs.scoring.reward",
        "ml.envs.scoring.metrics",
    ),
    "Radio and sensors": (
        "ml.espnow_emulator.espnow_emulator",
        "ml.espnow_emulator.messages",
        "ml.espnow_emulator.peer_table",
        "ml.parameters",
        "ml.sensors.parameters",
    ),
    "On the board": ("ml.onboard.board", "ml.onboard.observation.spec", "ml.onboard.safety_layer"),
    "Drivers": ("ml.controllers.protocol", "ml.controllers.registry", "ml.evaluation.drivers"),
    "Training": ("ml.training.config", "ml.training.checkpoints"),
    "SUMO": ("ml.sumo.protocol", "ml.sumo.road", "ml.sumo.scenarios"),
    "Errors": ("ml.errors",),
}
OUTSIDE = {  # pages that live beside what they explain
    "firmware/logger/README.md": "logger",
    "firmware/brain/README.md": "brain",
    "firmware/convoy/README.md": "convoy",
    "firmware/hil/README.md": "hil",
    "firmware/node/README.md": "node",
    "ml/envs/cases/README.md": "cases",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
}


def write_pages(folder: Path) -> None:
    """Write every generated page anew."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("commands", "metrics", "radios", "scenarios", "leaderboard", "api"):
        (folder / name).mkdir(parents=True)
    for file, text in (
        ("commands/index.md", _commands(folder / "commands")),
        ("configuration.md", _configuration()),
        ("observation.md", _observation()),
        ("submission.md", _submission()),
        ("leaderboard/ranking.md", _leaderboard(folder / "leaderboard")),
        *((f"metrics/{name}.md", table) for name, table in _metrics().items()),
        ("radios/index.md", _radios(folder / "radios")),
        ("scenarios/index.md", _scenarios(folder / "scenarios")),
        ("api/index.md", _api(folder / "api")),
    ):
        (folder / file).write_text(text, encoding="utf-8")
    for source, name in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        (folder / f"{name}.md").write_text(_relinked(text, ROOT / source, folder))


def rewrite_links(_app: Any, page: str, source: list[str]) -> None:
    """Mend the links of a page that lead out of `docs/`; called by Sphinx for each page."""
    if not page.startswith("generated/"):
        file = DOCS / f"{page}.md"
        source[0] = _relinked(source[0], file, file.parent)
    if page == "adr/README":  # there, and not in the file, which is read elsewhere, too
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n0*\n```\n"


def mend_tables(_app: Any, _what: str, _name: str, _of: Any, _how: Any, lines: list[str]) -> None:
    """Turn the Markdown tables of a docstring into what Sphinx reads; called by autodoc."""
    mended: list[str] = []
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            mended.append(line)
        elif not mended or not mended[-1].startswith("   "):
            mended += [".. list-table::", "   :header-rows: 1", "", *_row(cells)]
        elif set(line) - set("|-: "):
            mended += _row(cells)
    lines[:] = mended


def _row(cells: list[str]) -> list[str]:
    return [f"   {'  ' if i else '* '}- {cell}" for i, cell in enumerate(cells)]


def _relinked(text: str, written_at: Path, shown_at: Path) -> str:
    """Return a page with links that hold where it is shown, of one written somewhere else."""
    made = {(ROOT / source).resolve(): name for source, name in OUTSIDE.items()}

    def lead(match: re.Match[str]) -> str:
        words, link, anchor = match.group(1), match.group(2), match.group(3) or ""
        target = (written_at.parent / link).resolve()
        page = target / "README.md" if target.is_dir() else target
        if page in made:
            target = DOCS / "generated" / f"{made[page]}.md"
        if target.parent == DOCS / "leaderboard" and target.suffix == ".json":
            target = DOCS / "generated" / "leaderboard" / f"{target.stem}.md"
        if target.is_relative_to(DOCS) and target.suffix:
            return f"[{words}]({os.path.relpath(target, shown_at)}{anchor})"
        path = target.relative_to(ROOT).as_posix()
        if repository := os.environ.get("DOCS_REPOSITORY"):
            return f"[{words}]({repository}/blob/main/{path})"
        return words if words.strip("`") == path else f"{words} (`{path}`)"

    return LINK.sub(lead, text)


def _listed(caption: str, names: Iterator[str] | list[str]) -> str:
    return f"\n```{{toctree}}\n:maxdepth: 1\n:caption: {caption}\n\n" + "\n".join(names) + "\n```\n"


def _commands(folder: Path) -> str:
    from ml.commands.catalogue import AROUND, COMMANDS
    from ml.console import markdown_table

    os.environ["COLUMNS"] = "100"
    for name in COMMANDS:
        said = _help([name])
        below = dict.fromkeys(re.findall(r"^│ {4}([a-z][a-z-]+) ", said, re.MULTILINE))
        text = f"# roadsense {name}\n\n```text\n{said}```\n"
        for one in below:
            with contextlib.suppress(ValueError):
                text += f"\n## roadsense {name} {one}\n\n```text\n{_help([name, one])}```\n"
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    rows = [(f"`{line}`", *said) for line, said in AROUND.items()]
    rows += [(f"[`roadsense {name}`]({name}.md)", *said) for name, said in COMMANDS.items()]
    return (
        "# Commands\n\nAbout how long each takes is on two cores that do nothing else.\n\n"
        + markdown_table(("command", "what it does", "about"), rows)
        + "\n```{toctree}\n:hidden:\n\n"
        + "\n".join(COMMANDS)
        + "\n```\n"
    )


def _help(command: list[str]) -> str:
    from ml.commands.catalogue import run

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        run(command[0], [*command[1:], "--help"])
    text = re.sub(r"\x1b\[[0-9;]*m", "", said.getvalue())
    if not text.startswith("usage:"):
        raise ValueError(f"roadsense {' '.join(command)} --help printed no usage")
    return text


def _configuration() -> str:
    from ml.envs.config import EnvConfig
    from ml.training.config import TrainConfig

    text = (
        "# Configuration\n\nEvery key of a configuration file, as `roadsense train --config FILE` "
        "reads it and `config.yaml` of a run holds it. On the command line `ppo.n_steps` is "
        "`--ppo.n-steps`; keys of `env` stand there without `env.`.\n"
    )
    for title, model, path in (("Training", TrainConfig, ""), ("Environment", EnvConfig, "env.")):
        text += f"\n## {title}\n\n| key | default | meaning |\n| --- | --- | --- |\n"
        for key, field in _fields(model, path):
            default = "required" if field.is_required() else f"`{field.get_default()!r}`"
            meaning = " ".join((field.description or "").split()).replace("|", "\\|")
            text += f"| `{key}` | {default.replace('|', chr(92) + '|')} | {meaning} |\n"
    return text


def _fields(model: type[BaseModel], path: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        inner = _model_of(field.annotation)
        if inner is None:
            yield path + name, field
        elif name != "env":
            yield from _fields(inner, f"{path}{name}.")


def _model_of(annotation: Any) -> type[BaseModel] | None:
    options = (
        get_args(annotation) if get_origin(annotation) in {Union, UnionType} else (annotation,)
    )
    for one in options:
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


def _observation() -> str:
    from ml.commands.observation import observation_table

    return observation_table()


def _leaderboard(folder: Path) -> str:
    from ml.reports.acceptance.leaderboard import page_of, ranking, read_leaderboard

    submissions = read_leaderboard(DOCS / "leaderboard")
    for name, submission in submissions.items():
        (folder / f"{name}.md").write_text(page_of(submission), encoding="utf-8")
    pages = f"../generated/{folder.name}"
    names = "\n".join(f"{pages}/{name}" for name in submissions)
    return f"{ranking(submissions, pages)}\n```{{toctree}}\n:hidden:\n\n{names}\n```\n"


def _submission() -> str:
    from ml.console import markdown_table
    from ml.evaluation.acceptance.submission import Submission

    schema = Submission.model_json_schema()
    text = ""
    for name, part in {"The file": schema, **schema["$defs"]}.items():
        if name in {"Asked", "Summary"}:  # options of `roadsense targets`; counts
            continue
        rows = [
            (f"`{key}`", _kind(field), field.get("description", "").replace("\n", " "))
            for key, field in part["properties"].items()
        ]
        title = name.removesuffix("Record")
        text += f"\n### {title}\n\n{part['description'].partition(chr(10))[0]}\n\n"
        text += markdown_table(("key", "holds", "meaning"), rows)
    return text


def _kind(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return field["$ref"].rpartition("/")[2].removesuffix("Record")
    if "anyOf" in field:
        return " or ".join(map(_kind, field["anyOf"]))
    if field.get("type") == "array":
        return f"list of {_kind(field['items'])}"
    if isinstance(field.get("additionalProperties"), dict):
        return f"by name: {_kind(field['additionalProperties'])}"
    if "enum" in field or "const" in field:
        return " or ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    return str(field["type"])


def _metrics() -> dict[str, str]:
    from ml.console import markdown_table
    from ml.envs.prices import PRICES
    from ml.envs.scoring import metrics

    rows = [
        (f"`{m.name}`", m.unit, m.formula, m.threshold, m.mean_over, m.summary and f"`{m.summary}`")
        for m in metrics.METRICS
    ]
    columns = ("name", "unit", "formula", "threshold", "mean over", "summary")
    tables = {"episode": markdown_table(columns, rows)}
    for name, table in (
        ("many", metrics.OVER_EPISODES | metrics.OF_ACCEPTANCE),
        ("recorded", metrics.OF_RECORDED_DRIVE),
        ("curves", metrics.CURVES),
    ):
        said = [(f"`{key}`", formula) for key, formula in table.items()]
        tables[name] = markdown_table(("name", "formula"), said)
    prices = [(f"`{name}`", f"{price:,.0f}") for name, price in PRICES.items()]
    return tables | {"prices": markdown_table(("metric", "points"), prices)}


def _radios(folder: Path) -> str:
    from ml.console import markdown_table
    from ml.parameters import PRESET_NAMES, load_parameters
    from ml.reports.parameters.tables import list_values

    for name in PRESET_NAMES:
        parameters = load_parameters(name)
        picture = DOCS / "pictures" / f"radio-{name}.png"
        shown = f"\n![What the radio {name} does](../../pictures/{picture.name})\n"
        rows = [
            (f"`{e.name}`", str(e.value), e.unit, str(e.drawn or ""), e.basis, e.meaning)
            for e in list_values(parameters)
        ]
        columns = ("parameter", "value", "unit", "drawn", "basis", "meaning")
        text = f"# {name}\n\n{parameters.provenance}\n{shown if picture.exists() else ''}\n"
        (folder / f"{name}.md").write_text(text + markdown_table(columns, rows), encoding="utf-8")
    return (
        "# Radios\n\nThe presets of `--radio`: what each does on a minute of road, where its "
        "numbers come from, and every value.\n" + _listed("Presets", list(PRESET_NAMES))
    )


def _scenarios(folder: Path) -> str:
    from ml.reports.style import house_style, new_figure, save_picture
    from ml.sumo.scenarios import load_scenario

    names = sorted(path.parent.name for path in (ROOT / "sumo-configs").glob("*/*.sumocfg"))
    for name in names:
        road = load_scenario(name).road
        along_m = [road.length_m * i / 500 for i in range(501)]
        with house_style():
            figure = new_figure(7.6, 2.6)
            axes = figure.subplots()
            x_m, y_m, _ = road.pose(along_m)
            axes.plot(x_m, y_m, linewidth=3)
            axes.set(xlabel="x, m", ylabel="y, m", title=f"{name}: {road.length_m:,.0f} m")
            axes.set_aspect("equal", adjustable="datalim")
            save_picture(figure, folder / f"{name}.png", dpi=110)
        source = ROOT / "sumo-configs" / name / "README.md"
        text = _relinked(source.read_text(encoding="utf-8"), source, folder)
        title, _, rest = text.partition("\n")
        page = f"{title}\n\n![The road from above]({name}.png)\n{rest}"
        (folder / f"{name}.md").write_text(page, encoding="utf-8")
    return (
        "# Roads\n\nThe scenarios that come along. [Your own](../../own-roads.md) works the same.\n"
        + _listed("Scenarios", names)
    )


def _api(folder: Path) -> str:
    for title, modules in MODULES.items():
        text = f"{title}\n{'=' * len(title)}\n"
        for module in modules:
            text += f"\n{module}\n{'-' * len(module)}\n\n.. automodule:: {module}\n"
        (folder / f"{title.lower().replace(' ', '-')}.rst").write_text(text, encoding="utf-8")
    pages = [title.lower().replace(" ", "-") for title in MODULES]
    return "# Python interface\n\nFrom the docstrings.\n" + _listed("Modules", pages)
