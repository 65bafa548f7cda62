"""What a separator makes of simulated mixtures, kept on disk, for the recogniser to learn from.

Letters: B batch, S speaker, M microphone, N sample.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState
from torch import Tensor

from sepasr_cli import audio
from sepasr_cli.files import inside
from sepasr_cli.progress import progress
from sepasr_cli.separation import Separator
from sepasr_cli.separation.losses import separation_loss
from sepasr_cli.training.mixtures import MixtureBatch, SimulatedMixtures
from sepasr_cli.training.speech import LabelledSpeech, source_speech

#: Mixtures of like length that are separated together, but on a CPU.
TOGETHER = 16
#: Peak of what is written: a recogniser hears no levels, and nothing is to clip.
PEAK = 0.5


def separate_mixtures(separator: Separator, mixtures: SimulatedMixtures, folder: Path, bf16: bool) -> None:
    """Write each mixture's speakers as the separator gives them, in the order of its sources, each as `kept_at` says.

    What is there already stays. Several processes share the work; none goes on before all is there.

    Args:
        separator: on the device where it is to work.
        mixtures: those of a manifest.
        folder: where they go.
        bf16: compute in bfloat16.
    """
    home = next(separator.parameters()).device
    state = PartialState(cpu=home.type == "cpu")
    places = {
        index: [kept_at(folder, mixture.id, source) for source in range(len(mixture.sources))]
        for index, mixture in enumerate(mixtures.mixtures)
        if index % state.num_processes == state.process_index
    }
    missing = {index: paths for index, paths in places.items() if not all(path.is_file() for path in paths)}
    size = 1 if home.type == "cpu" else TOGETHER
    write = partial(audio.write, sample_rate=separator.config.sample_rate)
    with progress("separating", len(missing)) as advance, ThreadPoolExecutor() as pool:
        for part in mixtures.parts(missing, size):
            estimates = _separated(separator, mixtures.whole(part), bf16)
            paths = [path for index in part for path in missing[index]]
            list(pool.map(write, paths, [one.numpy() for own in estimates for one in own]))
            advance(len(part))
    state.wait_for_everyone()


@torch.inference_mode()
def _separated(separator: Separator, batch: MixtureBatch, bf16: bool) -> list[Tensor]:
    """Each mixture's speakers (S, N) in the order of their references, all at one peak."""
    home = next(separator.parameters()).device
    batch = batch.to(home)
    # Silent channels are those of microphones that were not drawn.
    heard = batch.mixture[:, batch.mixture.any(-1).any(0)]
    with torch.autocast(home.type, torch.bfloat16, enabled=bf16):
        estimates = separator(heard, batch.lengths).float()
    order = separation_loss(estimates, batch.references, batch.lengths, "si_sdr").order
    estimates = estimates.gather(1, order[:, :, None].expand_as(estimates))
    estimates = (PEAK * estimates / estimates.abs().amax(2, keepdim=True).clamp_min(1e-8)).cpu()
    return [own[:, :length] for own, length in zip(estimates, batch.lengths.tolist(), strict=True)]


def kept_at(folder: Path, mixture: str, source: int) -> Path:
    """Where the source of a mixture is, as it was separated."""
    return inside(folder, f"{mixture}_s{source + 1}.flac")


def separated_speech(manifest: Path, folder: Path) -> list[LabelledSpeech]:
    """The separated sources that have a transcript, each cut to where its speaker talks."""
    return source_speech(manifest, "separated", lambda mixture, index: kept_at(folder, mixture.id, index))
