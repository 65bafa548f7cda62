"""The documentation says what is so: its commands, code, recipes, records, tables and links are all tried."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest
import typer
import yaml
from pydantic import BaseModel, TypeAdapter
from typer.testing import CliRunner

from sepasr_cli import audio, transcripts
from sepasr_cli.cli import app
from sepasr_cli.corpora import AN4, WSJ0, Espeak, Folder, Kaldi, LibriSpeech, Table, table
from sepasr_cli.corpora.corpus import Corpus
from sepasr_cli.corpora.text import TextRule
from sepasr_cli.datasets import SMSWSJ, WHAMR, LibriCSS, LibriMix, WSJ0Mix
from sepasr_cli.datasets.dataset import Dataset
from sepasr_cli.datasets.librimix import LibriMixSources
from sepasr_cli.datasets.whamr import WHAMRSources
from sepasr_cli.datasets.wsj0_2mix import WSJ0MixSources
from sepasr_cli.features import FilterbankConfig, SSLConfig
from sepasr_cli.manifest import BankRoom, Mixture, Separated, Source
from sepasr_cli.recipe import Corpora, Recipe, ScoringConfig, load_recipe
from sepasr_cli.recognition import DecodingConfig, LanguageModelConfig, RecognizerConfig
from sepasr_cli.recognition.conformer import ConformerConfig
from sepasr_cli.recognition.recognizer import SpecAugmentConfig
from sepasr_cli.recognition.transformer_decoder import TransformerDecoderConfig
from sepasr_cli.recognition.transformer_encoder import TransformerEncoderConfig
from sepasr_cli.scoring.normalisation import Normalisation
from sepasr_cli.scoring.report import RecordingScore, summarise
from sepasr_cli.scoring.signals import SignalScore
from sepasr_cli.scoring.words import WordScore
from sepasr_cli.separation import MaskMVDRConfig, TFGridNetConfig
from sepasr_cli.settings import Settings
from sepasr_cli.simulation.config import (
    CircularArray,
    FolderNoise,
    FreeArray,
    LinearArray,
    RoomConfig,
    SimulationConfig,
    SyntheticNoise,
)
from sepasr_cli.training.loop import LoopConfig
from sepasr_cli.training.tasks import JointFinetuneConfig, PretrainAsrConfig, PretrainLmConfig, PretrainSepConfig

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "recipes").rglob("*.md")),
    ROOT / "benchmarks" / "README.md",
]
#: The runs of the README: of the bundled model, and of the debug recipe.
DEMO, DEBUG = "runs/demo", "runs/debug"

#: The tables of docs/recipes.md: a configuration, and the one whose keys it has too.
TABLES: dict[type[Settings], type[Settings] | None] = {
    Recipe: None,
    Corpora: None,
    Corpus: None,
    AN4: Corpus,
    LibriSpeech: Corpus,
    Kaldi: Corpus,
    WSJ0: Corpus,
    Table: Corpus,
    Folder: Corpus,
    Espeak: Corpus,
    Dataset: None,
    WSJ0Mix: Dataset,
    WHAMR: Dataset,
    LibriMix: Dataset,
    SMSWSJ: Dataset,
    LibriCSS: Dataset,
    WSJ0MixSources: None,
    WHAMRSources: None,
    LibriMixSources: None,
    SimulationConfig: None,
    RoomConfig: None,
    CircularArray: None,
    LinearArray: None,
    FreeArray: None,
    SyntheticNoise: None,
    FolderNoise: None,
    TFGridNetConfig: None,
    MaskMVDRConfig: None,
    RecognizerConfig: None,
    FilterbankConfig: None,
    SSLConfig: None,
    SpecAugmentConfig: None,
    ConformerConfig: None,
    TransformerEncoderConfig: None,
    TransformerDecoderConfig: None,
    LanguageModelConfig: None,
    LoopConfig: None,
    PretrainSepConfig: LoopConfig,
    PretrainAsrConfig: LoopConfig,
    PretrainLmConfig: LoopConfig,
    JointFinetuneConfig: LoopConfig,
    DecodingConfig: None,
    ScoringConfig: None,
}


#: Tables whose first column must be these names.
NAMES: dict[str, set[str]] = {
    "Mixture": set(Mixture.model_fields),
    "Source": set(Source.model_fields),
    "CorpusConfig": {
        kind.model_fields["kind"].default for kind in TABLES if issubclass(kind, Corpus) and kind != Corpus
    },
    "DatasetConfig": {
        kind.model_fields["kind"].default for kind in TABLES if issubclass(kind, Dataset) and kind != Dataset
    },
    "TextRule": set(get_args(TextRule)),
    "Format": set(get_args(transcripts.Format)),
    "loss": set(get_args(PretrainSepConfig.model_fields["loss"].annotation)),
    "Normalisation": set(get_args(Normalisation)),
    "summary": set(summarise([], "early", "basic")),
    "record": set(
        RecordingScore("a", signals=(SignalScore(),), words=WordScore(), speakers=("b",), estimates=("c",)).record()
    )
    - set(summarise([], "early", "basic"))
    | {"counts", "notes"},
}

#: What the records of a JSON block are, by the word after `json`.
RECORDS: dict[str, Any] = {
    "Mixture": Mixture,
    "BankRoom": BankRoom,
    "Separated": Separated,
    "Segment": transcripts.Segment,
}


class Block(NamedTuple):
    """A block of code in a page: its language, the rest of that line, its text, and where it is."""

    language: str
    note: str
    text: str
    where: str


def blocks(*languages: str) -> list[Any]:
    """The blocks in these languages, as parameters of a test."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w+) *([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            where = f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}"
            if match[1] in languages:
                found.append(pytest.param(Block(match[1], match[2], match[3], where), id=where))
    return found


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of each `sepasr` command in the lines of a text."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("sepasr "):
            yield shlex.split(line, comments=True)[1:]


def spoken_of() -> list[Any]:
    """The `sepasr` commands within the text of pages, as parameters of a test."""
    found = {}
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        found |= {one: f"{page.relative_to(ROOT)}: {one}" for one in re.findall(r"`(sepasr [a-z][^`]*)`", text)}
    return [pytest.param(one, id=where) for one, where in found.items()]


def check(arguments: list[str]) -> None:
    """See that a command and its options exist, that the recipe does, and that what it sets can be set."""
    name, *rest = arguments
    with sepasr_commands()[name].make_context(name, rest) as context:
        recipe = context.params.get("recipe")
        shipped = recipe is not None and recipe.parts[0] == "recipes"
        path = ROOT / recipe if shipped else ROOT / "recipes" / "debug.yaml"
        load_recipe(path, context.params.get("overrides") or ())


def sepasr_commands() -> dict[str, Any]:
    """The command line's commands by name."""
    return typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder, made the working one, with what the pages speak of: recordings, recipes, and a run with models.

    The run is that of the README's debug recipe, with fewer voices, mixtures and steps.
    """
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shutil.copytree(ROOT / "recipes", "recipes")
        recipe = yaml.safe_load(Path("recipes/debug.yaml").read_text())
        for corpora in recipe["corpora"].values():
            corpora[0] |= {"voices": 2, "utterances": 2}
        recipe["simulation"] |= {"mixtures": {"train": 2, "dev": 1, "test": 1}, "response_bank": 2}
        for training in ("pretrain_sep", "pretrain_asr", "joint_finetune"):
            recipe[training] |= {"batch_size": 2, "max_steps": 1, "validate_every": 1}
        Path("recipes/debug.yaml").write_text(yaml.safe_dump(recipe))
        for arguments in block_of(DEBUG, 7):
            result = CliRunner().invoke(app, arguments)
            assert result.exit_code == 0, (arguments, result.output)
        noise = np.random.default_rng(0).standard_normal((2, 32000)) / 10
        for name in ("meeting.wav", "calls/monday.wav", "calls/tuesday.wav", "call7.wav"):
            audio.write(folder / name, noise, 8000)
        yield folder


def block_of(run: str, count: int) -> list[list[str]]:
    """The commands of the README's one block of so many that are all about a run."""
    found = [list(commands(block.values[0].text)) for block in blocks("sh") if block.id.startswith("README.md")]
    (chosen,) = (block for block in found if len(block) == count and all(run in line for line in block))
    return chosen


@pytest.mark.parametrize(("target", "name", "run", "count"), [("demo", "DEMO", DEMO, 5), ("smoke", "SMOKE", DEBUG, 7)])
def test_make_runs_what_the_readme_says(target: str, name: str, run: str, count: int) -> None:
    rule = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert rule is not None
    lines = rule[1].replace("$(BIN)/", "").replace(f"$({name})", run).replace("\t", "")
    assert list(commands(lines)) == block_of(run, count)


def test_the_debug_recipe_scores(workplace: Path) -> None:
    summary = json.loads((workplace / DEBUG / "scores/test/summary.json").read_text())
    assert summary["counts"]["recordings"] == 1
    assert summary["si_sdr"] is not None and summary["wer"] is not None


@pytest.mark.parametrize("block", blocks("sh", "console"))
def test_commands_exist(block: Block) -> None:
    for arguments in commands(block.text):
        check(arguments)


@pytest.mark.parametrize("command", spoken_of())
def test_commands_in_the_text_exist(command: str) -> None:
    name, *rest = shlex.split(command)[1:]
    assert name in sepasr_commands()
    if rest:
        check([name, *rest])


def test_readme_lists_every_command() -> None:
    listed = re.findall(r"^\| `sepasr ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert set(listed) == set(sepasr_commands())


@pytest.mark.parametrize("block", blocks("yaml"))
def test_recipes_are_valid(block: Block, workplace: Path) -> None:
    path = workplace / "recipes" / "block.yaml"
    path.write_text(block.text if "base:" in block.text else f"base: debug.yaml\n{block.text}")
    load_recipe(path)


@pytest.mark.parametrize("block", blocks("json"))
def test_records_are_valid(block: Block, workplace: Path) -> None:
    try:
        value = json.loads(block.text)
        records = value if isinstance(value, list) else [value]
    except ValueError:
        records = [json.loads(line) for line in block.text.splitlines()]
    if block.note == "table":
        path = workplace / "calls.jsonl"
        path.write_text(block.text)
        assert len(table.read(Table(path=path))) == len(records)
    elif block.note in RECORDS:
        TypeAdapter(list[RECORDS[block.note]]).validate_python(records)  # type: ignore[misc]
    else:
        assert block.note == "metrics" and all({"step", "split", "loss"} <= set(record) for record in records)


@pytest.mark.parametrize("block", blocks("python"))
def test_code_runs(block: Block, workplace: Path) -> None:
    segments = [{"session_id": "meeting", "speaker": "spk1", "start_time": 0, "end_time": 1, "words": "GOOD MORNING"}]
    made = [path for path in ("meeting.json", "meeting.vtt", "exported", "speakers") if (workplace / path).exists()]
    assert made == [], "pages must not need what other pages make"
    if "transcripts.read" in block.text:
        (workplace / "meeting.json").write_text(json.dumps(segments))
    exec(compile(block.text, block.where, "exec"), {"__name__": "example"})
    for path in map(workplace.joinpath, ("meeting.json", "meeting.vtt", "exported", "speakers")):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists() and path.is_relative_to(ROOT), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(path), f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows_after(mark: str) -> list[list[str]]:
    """The cells of the table that follows a comment in a page."""
    for page in PAGES:
        _, found, rest = page.read_text(encoding="utf-8").partition(f"<!-- {mark} -->\n")
        if found:
            lines = re.match(r"(?:\|.*\n)+", rest)
            assert lines is not None, f"{page.name}: no table after {mark}"
            return [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines[0].splitlines()[2:]]
    raise AssertionError(f"no page has the table '{mark}'")


@pytest.mark.parametrize("name", NAMES)
def test_tables_name_everything(name: str) -> None:
    assert {found for row in rows_after(f"names: {name}") for found in re.findall(r"`([\w]+)`", row[0])} == NAMES[name]


def test_the_table_of_formats_is_in_step_with_the_code() -> None:
    rows = {re.findall(r"`(\w+)`", row[0])[0]: row[1:] for row in rows_after("names: Format")}
    for kind, form in transcripts.FORMATS.items():
        assert rows[kind] == ["yes" if kept in form.keeps else "no" for kept in get_args(transcripts.Kept)], kind


@pytest.mark.parametrize("config", TABLES, ids=lambda config: config.__name__)
def test_keys_are_in_step_with_the_code(config: type[Settings]) -> None:
    """The first three columns are those below; what a key means is written by hand."""
    wanted = [[f"`{name}`", *cells] for name, cells in described(config, TABLES[config]).items()]
    if wanted:
        assert [row[:3] for row in rows_after(f"keys: {config.__name__}")] == wanted
    else:
        assert f"`kind: {config.model_fields['kind'].default}`" in (ROOT / "docs/recipes.md").read_text()


def described(config: type[Settings], base: type[Settings] | None) -> dict[str, tuple[str, str]]:
    """Of each key that `base` has not, or has otherwise: its default, and what is allowed; no `kind` without choice."""
    schema = config.model_json_schema()
    return {
        name: (_default(field), _allowed(schema["properties"][name], schema.get("$defs", {})))
        for name, field in config.model_fields.items()
        if base is None or name not in base.model_fields or repr(base.model_fields[name]) != repr(field)
        if not (name == "kind" and len(get_args(field.annotation)) == 1)
    }


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    return _code(field.get_default(call_default_factory=True))


def _code(value: Any) -> str:
    if isinstance(value, BaseModel):
        kind = getattr(value, "kind", None)
        return f"`{kind}`" if kind else "as below"
    text = json.dumps(value, default=str, ensure_ascii=False)
    return "`" + (text.strip('"') if isinstance(value, str) and value else text) + "`"


def _allowed(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What a JSON schema admits, in words."""
    if "$ref" in schema:
        return _allowed(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    if "const" in schema or "enum" in schema:
        return ", ".join(_code(value) for value in schema.get("enum", [schema.get("const")]))
    if options := schema.get("anyOf") or schema.get("oneOf"):
        if all("$ref" in option for option in options):
            return "settings, by `kind`"
        return " or ".join(dict.fromkeys(_allowed(option, definitions) for option in options))
    kind = schema.get("type")
    if kind == "object":
        if schema.get("additionalProperties") is True:
            return "settings"
        return "settings" if "properties" in schema else "settings, by split"
    if kind == "array":
        parts = schema.get("prefixItems", [])
        if [part.get("type") for part in parts] == ["number", "number"]:
            return "number or [low, high]"
        if parts:
            return f"list of {len(parts)}: {_allowed(parts[0], definitions)}"
        return f"list of {_allowed(schema['items'], definitions)}"
    names = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true`, `false`"}
    words = "path" if schema.get("format") == "path" else names.get(kind or "", kind or "anything")
    words = "`null`" if kind == "null" else words
    signs = (("exclusiveMinimum", ">"), ("minimum", ">="), ("exclusiveMaximum", "<"), ("maximum", "<="))
    limits = [f"{sign} {schema[key]:g}" for key, sign in signs if key in schema]
    limits += [f"multiple of {schema['multipleOf']}"] if "multipleOf" in schema else []
    return " ".join([words, " and ".join(limits)]).strip()
