"""Mask-based MVDR, 4 s and 8 microphones, against ESPnet's NeuralBeamformer with the same weights."""

import torch
from espnet_twins import MaskMVDRTwin
from measure import Row, alternately, parse, relative_error, report
from torch import Tensor

from sepasr_cli.separation import MaskMVDR, MaskMVDRConfig

RATE, SECONDS, MICROPHONES = 16000, 4.0, 8


def main() -> None:
    """Measure and print."""
    options = parse(__doc__)
    model = MaskMVDR(MaskMVDRConfig(microphones=MICROPHONES)).to(options.device).eval()
    twin = MaskMVDRTwin(model).to(options.device).eval()
    mixture = torch.randn(1, MICROPHONES, round(SECONDS * RATE), device=options.device)
    mixture = mixture / mixture.std()  # the peer does not bring it to the level that the model works at

    def half() -> Tensor:
        with torch.autocast(options.device, torch.bfloat16):
            return model(mixture)

    with torch.inference_mode():
        wanted = twin(mixture)
        errors = {"fp32": relative_error(model(mixture), wanted), "bf16": relative_error(half(), wanted)}
        tasks = {"peer": lambda: twin(mixture), "fp32": lambda: model(mixture), "bf16": half}
        seconds = alternately(tasks, options)
    rows = []
    for name, allowed in (("fp32", 1e-5), ("bf16", 1e-2)):
        rows.append(Row(f"MVDR {SECONDS:g} s, {MICROPHONES} microphones, {name}", seconds["peer"], seconds[name], 2))
        rows.append(Row(f"its relative error, {name}", allowed, errors[name], 1, ""))
    report("mvdr", rows, options.device)


if __name__ == "__main__":
    main()
