"""The command line: parse, call one function of `stages`, say what went wrong in one line.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sepasr_cli.cli_options import (
    Channels,
    Decoding,
    Device,
    DeviceName,
    Formats,
    Inputs,
    MaxMinutes,
    Model,
    Overrides,
    Overwrite,
    Precision,
    PrecisionName,
    RecipeFile,
    RecognizerChoice,
    Restart,
    Run,
    SkipBad,
    Speakers,
    Split,
    System,
    SystemChoice,
    TableForm,
    Text,
)
from sepasr_cli.errors import ArgumentError, SepasrError
from sepasr_cli.version import __version__

#: Options of all commands.
ANYWHERE = ("--debug", "--offline")


class _Commands(TyperGroup):
    """Says in one line what went wrong. Exit status 1, or 130 after Ctrl-C; wrong arguments are 2, as Typer has it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # What is meant for every command may stand at the end of the line too.
        wanted = [one for one in ANYWHERE if one in args]
        return super().parse_args(ctx, wanted + [one for one in args if one not in ANYWHERE])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (SepasrError, KeyboardInterrupt, OSError, MemoryError) as error:
            _report(error, debug=ctx.params["debug"])
            status = {KeyboardInterrupt: 130, ArgumentError: 2}.get(type(error), 1)
            raise typer.Exit(status) from None


def _report(error: BaseException, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
    print(f"sepasr: {' '.join(_explain(error).split())}", file=sys.stderr)


def _explain(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; run the command again to go on"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}; check the path and its rights"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return (
            "out of memory; take a smaller batch_size with more accumulation, shorter recordings, or another --device"
        )
    if isinstance(error, SepasrError):
        return str(error)
    return f"{type(error).__name__}: {error}; a fault of sepasr, please report it with what --debug shows"


app = typer.Typer(
    cls=_Commands,
    name="sepasr",
    help="Separate and transcribe people who talk at once (arXiv 2307.12231).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"sepasr {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Take models from folders and the cache; ask no network.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if offline:
        from sepasr_cli.hub import go_offline

        go_offline()


@app.command(epilog="Example: `sepasr simulate runs/an4 --recipe recipes/an4/tfgridnet.yaml --workers 2`")
def simulate(
    run: Run,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    workers: Annotated[int, typer.Option(help="Processes that render.", min=1)] = 1,
    shard: Annotated[
        str, typer.Option(help="Render part i of n, so that machines share the work.", metavar="i/n")
    ] = "1/1",
    skip_bad: SkipBad = False,
    restart: Restart = False,
) -> None:
    """Corpus -> spatialised, reverberant, noisy mixtures with their references."""
    from sepasr_cli.stages.simulate import simulate as stage

    stage(
        run,
        recipe=recipe,
        overrides=overrides or (),
        workers=workers,
        shard=_fraction(shard),
        skip_bad=skip_bad,
        restart=restart,
    )


def _fraction(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise typer.BadParameter(f"found '{text}', expected i/n with i from 1 to n, as 2/8", param_hint="--shard")
    return int(part), int(parts)


@app.command(epilog="Example: `sepasr pretrain-sep runs/an4 --max-minutes 60`")
def pretrain_sep(
    run: Run,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    device: Device = DeviceName.auto,
    max_minutes: MaxMinutes = None,
    skip_bad: SkipBad = False,
    restart: Restart = False,
) -> None:
    """Train the separator."""
    from sepasr_cli.stages.pretrain_sep import pretrain_sep as stage

    stage(run, **_training(recipe, overrides, device, max_minutes, skip_bad, restart))


@app.command(epilog="Example: `sepasr pretrain-asr runs/an4`")
def pretrain_asr(
    run: Run,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    device: Device = DeviceName.auto,
    max_minutes: MaxMinutes = None,
    skip_bad: SkipBad = False,
    restart: Restart = False,
) -> None:
    """Train the recogniser on single-speaker speech."""
    from sepasr_cli.stages.pretrain_asr import pretrain_asr as stage

    stage(run, **_training(recipe, overrides, device, max_minutes, skip_bad, restart))


@app.command(epilog="Example: `sepasr pretrain-lm runs/an4 --set pretrain_lm.text=[texts/news.txt]`")
def pretrain_lm(
    run: Run,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    device: Device = DeviceName.auto,
    max_minutes: MaxMinutes = None,
    skip_bad: SkipBad = False,
    restart: Restart = False,
) -> None:
    """Train the language model that the search asks beside the recogniser, on transcripts and text files."""
    from sepasr_cli.stages.pretrain_lm import pretrain_lm as stage

    stage(run, **_training(recipe, overrides, device, max_minutes, skip_bad, restart))


@app.command(epilog="Example: `sepasr joint-finetune runs/an4 --set joint_finetune.separation_weight=0.1`")
def joint_finetune(
    run: Run,
    recipe: RecipeFile = None,
    recognizer: Annotated[
        str | None,
        typer.Option(
            help="CTC model of transformers to fine-tune instead, by name or folder.", show_default="RUN/recognizer"
        ),
    ] = None,
    overrides: Overrides = None,
    device: Device = DeviceName.auto,
    max_minutes: MaxMinutes = None,
    skip_bad: SkipBad = False,
    restart: Restart = False,
) -> None:
    """Train separator and recogniser together."""
    from sepasr_cli.stages.joint_finetune import joint_finetune as stage

    stage(run, recognizer=recognizer, **_training(recipe, overrides, device, max_minutes, skip_bad, restart))


def _training(
    recipe: Path | None,
    overrides: list[str] | None,
    device: DeviceName,
    max_minutes: float | None,
    skip_bad: bool,
    restart: bool,
) -> dict[str, Any]:
    return {
        "recipe": recipe,
        "overrides": overrides or (),
        "device": device.value,
        "max_minutes": max_minutes,
        "skip_bad": skip_bad,
        "restart": restart,
    }


@app.command(
    epilog="Examples: `sepasr separate two_people.wav`, `sepasr separate meeting.wav --model runs/an4`, "
    "`sepasr separate runs/an4 --split test`"
)
def separate(
    inputs: Inputs,
    model: Model = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results.", show_default="separated")] = None,
    split: Split = None,
    system: SystemChoice = None,
    device: Device = DeviceName.auto,
    precision: Precision = PrecisionName.fp32,
    channels: Channels = None,
    speakers: Speakers = None,
    overwrite: Overwrite = False,
    restart: Restart = False,
) -> None:
    """Mixtures -> one audio file per speaker."""
    from sepasr_cli.stages.separate import separate as stage

    stage(
        inputs,
        model=model,
        out=out,
        split=split,
        system=system.value if system else None,
        device=device.value,
        precision=precision.value,
        channels=channels,
        speakers=speakers,
        overwrite=overwrite,
        restart=restart,
    ).check()


@app.command(
    epilog="Examples: `sepasr transcribe two_people.wav`, `sepasr transcribe calls/ --model runs/an4 --out texts`"
)
def transcribe(
    inputs: Inputs,
    model: Model = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File for all transcripts, or folder for one each.", show_default="print them"),
    ] = None,
    format: Formats = None,
    split: Split = None,
    system: SystemChoice = None,
    recognizer: RecognizerChoice = None,
    device: Device = DeviceName.auto,
    precision: Precision = PrecisionName.fp32,
    channels: Channels = None,
    decoding: Annotated[
        Decoding | None, typer.Option(help="How to search for words.", show_default="as the run's recipe says")
    ] = None,
    beam: Annotated[int | None, typer.Option(help="Hypotheses kept while searching.", min=1)] = None,
    language_model: Annotated[
        str | None,
        typer.Option(
            help="Language model to search with: a run, a saved folder or a Hugging Face name.",
            show_default="the run's or the model's own, where there is one",
        ),
    ] = None,
    lm_weight: Annotated[
        float | None,
        typer.Option(help="Weight of the language model, 0: none.", min=0, show_default="the recipe's, or 1"),
    ] = None,
    words: Annotated[
        str | None,
        typer.Option(
            help="Text file of the words there are, all that is transcribed is made of; any: no limit.",
            metavar="FILE",
            show_default="the recipe's or the model's own",
        ),
    ] = None,
    word_times: Annotated[
        bool, typer.Option("--word-times", help="Find out when each word was said, and how sure it is.")
    ] = False,
    speaker_names: Annotated[
        str | None,
        typer.Option(
            help="Of the speakers, in the order of their first words.", metavar="LIST", show_default="spk1,..."
        ),
    ] = None,
    speakers: Speakers = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Recognise each separated stream as it is; look for no speech in it.")
    ] = False,
    overwrite: Overwrite = False,
    restart: Restart = False,
) -> None:
    """Mixtures -> who said what."""
    from sepasr_cli.stages.transcribe import transcribe as stage

    stage(
        inputs,
        model=model,
        out=out,
        format=format,
        split=split,
        system=system.value if system else None,
        recognizer=recognizer,
        device=device.value,
        precision=precision.value,
        channels=channels,
        decoding=decoding.value if decoding else None,
        beam=beam,
        language_model=language_model,
        lm_weight=lm_weight,
        words=words,
        word_times=word_times,
        speaker_names=speaker_names,
        speakers=speakers,
        whole=whole,
        overwrite=overwrite,
        restart=restart,
    ).check()


@app.command(
    epilog="Examples: `sepasr convert a.json --out a.srt`, `sepasr convert texts/ --out more --format stm,vtt`"
)
def convert(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Transcripts, or folders of them.")],
    out: Annotated[Path, typer.Option(help="File for all transcripts, or folder for one each.")],
    format: Formats = None,
    overwrite: Overwrite = False,
) -> None:
    """Transcripts from one format into others."""
    from sepasr_cli.stages.convert import convert as stage

    stage(inputs, out=out, format=format, overwrite=overwrite).check()


@app.command(epilog="Example: `sepasr import-espnet exp/enh_asr_train_raw_en_char models/wsj0_2mix`")
def import_espnet(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="Experiment folder of ESPnet2, packed zip, or Hugging Face name.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the model.", show_default=False)],
    language_model: Annotated[
        str | None, typer.Option(help="Source of the language model, where it is not packed with SOURCE.")
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="File of the folder to take.", show_default="the averaged or best one")
    ] = None,
    sample_rate: Annotated[int, typer.Option(help="Of a separator, in Hz; recognisers tell theirs.", min=1)] = 16000,
    overwrite: Overwrite = False,
) -> None:
    """A model trained with ESPnet2 -> a model of sepasr."""
    from sepasr_cli.stages.import_espnet import import_espnet as stage

    stage(
        source,
        out,
        language_model=language_model,
        checkpoint=checkpoint,
        sample_rate=sample_rate,
        overwrite=overwrite,
    )


@app.command(
    epilog="Examples: `sepasr score runs/an4`, `sepasr score --reference said.stm --hypothesis heard.json`, "
    "`sepasr score --reference clean/ --estimate separated/ --mixture mix/`"
)
def score(
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="Run directory.", show_default=False)] = None,
    split: Annotated[str, typer.Option(help="Split of RUN to score: train, dev or test.")] = "test",
    system: Annotated[
        System | None, typer.Option(help="The system that --system named when the split was separated.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            help="Without RUN: what is true. Audio, transcripts, folders, patterns, manifests.", metavar="WHAT"
        ),
    ] = None,
    estimate: Annotated[
        list[str] | None,
        typer.Option("--estimate", "--hypothesis", help="Without RUN: what is to be scored.", metavar="WHAT"),
    ] = None,
    mixture: Annotated[
        list[str] | None,
        typer.Option(help="Without RUN: audio of the mixtures, to show the improvement.", metavar="WHAT"),
    ] = None,
    text: Annotated[
        Text | None, typer.Option(help="How both texts are made equal.", show_default="as the run's recipe, or basic")
    ] = None,
    collar: Annotated[
        float | None,
        typer.Option(
            help="Seconds by which a word may be off in tcpWER.", min=0, show_default="as the run's recipe, or 5"
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="Those to compute, as si_sdr,stoi,wer.", metavar="LIST", show_default="all that apply"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Without RUN: folder for the results as JSON.", show_default="print them alone"),
    ] = None,
    table: Annotated[TableForm | None, typer.Option(help="Print the table in this form.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that score signals.", min=1, show_default="one a processor")
    ] = None,
    examples: Annotated[int, typer.Option(help="Transcripts to show beside their references.", min=0)] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Signals and transcripts against references: SI-SDR, SDR, STOI, PESQ, WER, cpWER and more."""
    from sepasr_cli.stages.score import score as stage

    stage(
        run,
        split=split,
        system=system.value if system else None,
        workers=workers,
        examples=examples,
        reference=reference or (),
        estimate=estimate or (),
        mixture=mixture or (),
        text=text.value if text else None,
        collar=collar,
        metrics=metrics.split(",") if metrics else None,
        out=out,
        table=table.value if table else None,
        overwrite=overwrite,
    )


@app.command(epilog="Examples: `sepasr report runs/an4`, `sepasr report runs/a runs/b --out compared.html`")
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories, side by side.", show_default=False)
    ],
    split: Annotated[str, typer.Option(help="Split that was scored: train, dev or test.")] = "test",
    system: Annotated[
        list[System] | None,
        typer.Option(help="This system alone; may be repeated.", show_default="all that were scored"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The page.", show_default="report-SPLIT.html in the first RUN", metavar="FILE")
    ] = None,
    recordings: Annotated[
        int, typer.Option(help="Recordings to hear and read: the worst, the best, others.", min=0)
    ] = 20,
    plots: Annotated[
        Path | None, typer.Option(help="Folder for the charts as SVG and PNG.", metavar="DIR", show_default="none")
    ] = None,
) -> None:
    """Scores, curves, sound and diagnoses of runs as one HTML page."""
    from sepasr_cli.stages.report import report as stage

    stage(
        runs,
        split=split,
        system=[one.value for one in system or ()],
        out=out,
        recordings=recordings,
        plots=plots,
    )


@app.command(
    epilog="Examples: `sepasr compare runs/a runs/b`, `sepasr compare runs/a/scores/test-cascade runs/a/scores/test`"
)
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN_A", help="Run directory, or folder of scores.")],
    second: Annotated[Path, typer.Argument(metavar="RUN_B", help="The same; differences are what it has more.")],
    split: Annotated[str, typer.Option(help="Split of run directories: train, dev or test.")] = "test",
    system: Annotated[
        System | None, typer.Option(help="Of run directories, the system that --system named when they were scored.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for the result.", show_default="print it alone")] = None,
    table: Annotated[TableForm | None, typer.Option(help="Print the table in this form.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Scores of two systems -> which differences are real."""
    from sepasr_cli.stages.compare import compare as stage

    stage(
        first,
        second,
        split=split,
        system=system.value if system else None,
        out=out,
        table=table.value if table else None,
        overwrite=overwrite,
    )


@app.command(epilog="Examples: `sepasr info runs/an4`, `sepasr info bundled`, `sepasr info recipes`")
def info(
    thing: Annotated[
        Path,
        typer.Argument(
            metavar="THING",
            help="Run, model, recipe, manifest, transcript, audio file, folder of recipes or audio, or bundled.",
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What a run, model, recipe, manifest, transcript or audio file is."""
    from sepasr_cli.stages.info import info as stage

    stage(thing, json=json)


@app.command(epilog="Example: `sepasr doctor`")
def doctor(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Versions, devices, and what is missing for which command."""
    from sepasr_cli.stages.doctor import doctor as stage

    stage(json=json).check()


def main() -> None:
    """Run the command line; exit status 0: all done, 1: something failed, 2: wrong arguments."""
    try:
        app()
    except Exception as error:
        _report(error, debug="--debug" in sys.argv)
        sys.exit(1)
