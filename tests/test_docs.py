"""The documentation says what is so: its commands, code, recipes, records, tables and links are all tried."""

import ast
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from typer.testing import CliRunner

from sepasr_cli import audio, manifest, settings, transcripts
from sepasr_cli.cli import app
from sepasr_cli.corpora import AN4, WSJ0, Espeak, Folder, Kaldi, LibriSpeech, Table
from sepasr_cli.corpora.corpus import Corpus
from sepasr_cli.features import FilterbankConfig, SSLConfig
from sepasr_cli.joint import JointModel
from sepasr_cli.recipe import Corpora, Recipe, ScoringConfig, load_recipe
from sepasr_cli.recognition import RecognizerConfig
from sepasr_cli.recognition.beam_search import DecodingConfig
from sepasr_cli.recognition.conformer import ConformerConfig
from sepasr_cli.recognition.recognizer import SpecAugmentConfig
from sepasr_cli.recognition.transformer_decoder import TransformerDecoderConfig
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
from sepasr_cli.training.tasks import JointFinetuneConfig, PretrainAsrConfig, PretrainSepConfig

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "recipes").rglob("*.md")])
PAGES += [ROOT / "benchmarks" / "README.md"]

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
    TransformerDecoderConfig: None,
    LoopConfig: None,
    PretrainSepConfig: LoopConfig,
    PretrainAsrConfig: LoopConfig,
    JointFinetuneConfig: LoopConfig,
    DecodingConfig: None,
    ScoringConfig: None,
}


def described(config: type[Settings], base: type[Settings] | None) -> dict[str, tuple[str, str]]:
    """Of each key that `base` has not, or has otherwise: its default, and what is allowed; no `kind` without a choice."""
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
    assert value is not PydanticUndefined
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
