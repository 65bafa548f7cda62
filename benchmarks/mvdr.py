"""Mask-based MVDR, 4 s and 8 microphones, against ESPnet's NeuralBeamformer with the same weights."""

from argparse import Namespace

import torch
from espnet_twins import MaskMVDRTwin
from measure import Row, Task, apart, parse, relative_error, report
from torch import Tensor

from sepasr_cli.separation import MaskMVDR, MaskMVDRConfig

RATE, SECONDS, MICROPHONES = 16000, 4.0, 8


def main() -> None:
    """Measure and print."""
    options = parse(__doc__)
    wanted = passing("peer", options)()
    seconds = apart(("peer", "fp32", "bf16"), passing, options)
    rows = []
    for name, allowed in (("fp32", 1e-5), ("bf16", 1e-2)):
        error = relative_error(passing(name, options)(), wanted)
        rows.append(Row(f"MVDR {SECONDS:g} s, {MICROPHONES} microphones, {name}", seconds["peer"], seconds[name], 2))
        rows.append(Row(f"its relative error, {name}", allowed, error, 1, ""))
    report("mvdr", rows, options.device)


def passing(kind: str, options: Namespace) -> Task:
    """A pass through the peer, or through ours in one precision; all draw the same weights and the same mixture."""
    torch.manual_seed(0)
    mixture = torch.randn(1, MICROPHONES, round(SECONDS * RATE), device=options.device)
    mixture = mixture / mixture.std()  # the peer does not bring it to the level that the model works at
    model = MaskMVDR(MaskMVDRConfig(microphones=MICROPHONES)).to(options.device).eval()
    chosen = MaskMVDRTwin(model).to(options.device).eval() if kind == "peer" else model

    def task() -> Tensor:
        with torch.inference_mode(), torch.autocast(options.device, torch.bfloat16, enabled=kind == "bf16"):
            return chosen(mixture)

    return task


if __name__ == "__main__":
    main()
