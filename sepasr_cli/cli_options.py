"""What may be said to several commands: arguments, options, and the choices that some of them have."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class DeviceName(str, Enum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class PrecisionName(str, Enum):
    """How precisely to compute."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


class System(str, Enum):
    """Which models of a run directory to use."""

    joint = "joint"
    cascade = "cascade"


class Text(str, Enum):
    """Rules that make texts comparable."""

    none = "none"
    basic = "basic"
    whisper = "whisper"


class TableForm(str, Enum):
    """Forms of a table for files."""

    csv = "csv"
    markdown = "markdown"
    latex = "latex"


class Decoding(str, Enum):
    """Ways to search for words."""

    beam = "beam"
    greedy = "greedy"
    attention = "attention"


Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.", show_default=False)]
Inputs = Annotated[
    list[Path], typer.Argument(metavar="INPUT...", help="Audio files, folders, or a run directory with --split.")
]
RecipeFile = Annotated[
    Path | None, typer.Option(help="Recipe to put in force.", show_default="the run's own", metavar="FILE")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Change one setting, as separation.blocks=4.", metavar="KEY=VALUE")
]
Device = Annotated[DeviceName, typer.Option(help="Where to compute.")]
Precision = Annotated[
    PrecisionName, typer.Option(help="fp32: exact; bf16: faster; auto: bf16 where the processor or GPU has it.")
]
MaxMinutes = Annotated[float | None, typer.Option(help="Stop after so long; run again to go on.", min=0)]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave broken utterances out, and count them.")]
Restart = Annotated[bool, typer.Option("--restart", help="Keep earlier work of other settings aside and begin anew.")]
Model = Annotated[
    str | None,
    typer.Option(
        help="Run directory, saved model folder, Hugging Face name, or bundled.",
        show_default="the run INPUT's own, or bundled: the model that comes with sepasr",
    ),
]
RecognizerChoice = Annotated[
    str | None,
    typer.Option(
        help="Recogniser to use instead: a run, a saved folder, or a CTC model or Whisper of transformers.",
        show_default="the model's own",
    ),
]
SystemChoice = Annotated[
    System | None, typer.Option(help="Which of a run's systems.", show_default="joint where it was trained")
]
Split = Annotated[str | None, typer.Option(help="Take this split of the run directory INPUT: train, dev or test.")]
Channels = Annotated[str | None, typer.Option(help="Microphones to use, numbered from 1, as 1,3.", metavar="LIST")]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        help="Of the files in the folder, one or several: json, stm, ctm, rttm, srt, vtt, textgrid, tsv, txt.",
        show_default="json",
        metavar="LIST",
    ),
]
Speakers = Annotated[
    int | None,
    typer.Option(help="How many speak at most; those with most speech are kept.", min=1, show_default="all who speak"),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that are there already.")]
