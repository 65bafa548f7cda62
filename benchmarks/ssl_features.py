"""WavLM Large on 8 s, one stream and two, against transformers' eager pass in full precision.

The weights are random, as transformers draws them, or those of --weights.
"""

from argparse import Namespace

import torch
from measure import Row, alternately, parser, prepared, relative_error, report
from torch import Tensor

from sepasr_cli.features import SSLConfig, SSLFeatures

from transformers import WavLMConfig, WavLMModel  # isort: skip

RATE, SECONDS = 16000, 8.0
LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
}


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--weights", help="Hugging Face name or folder of a WavLM")
    options = prepared(options.parse_args())
    model = WavLMModel.from_pretrained(options.weights) if options.weights else WavLMModel(WavLMConfig(**LARGE))
    ours = SSLFeatures(SSLConfig(reduction=None), RATE, (model, {"do_normalize": True})).to(options.device).eval()
    with torch.inference_mode():
        rows = [row for streams in (1, 2) for row in _rows(ours, streams, options)]
    report("ssl", rows, options.device)


def _rows(ours: SSLFeatures, streams: int, options: Namespace) -> list[Row]:
    audio = torch.randn(streams, round(SECONDS * RATE), device=options.device)
    audio = (audio - audio.mean(1, keepdim=True)) / audio.std(1, correction=0, keepdim=True)
    lengths = torch.full((streams,), audio.shape[1], device=options.device)
    model, weights = ours.model, torch.full((25,), 1 / 25, device=options.device)

    def theirs() -> Tensor:
        found = model(audio, attention_mask=torch.ones_like(audio).long(), output_hidden_states=True)
        layers = torch.stack([*found.hidden_states[:-1], found.last_hidden_state])
        return torch.einsum("l,lbtd->btd", weights, layers)

    def half() -> Tensor:
        with torch.autocast(options.device, torch.bfloat16):
            return ours(audio, lengths)[0]

    wanted = theirs()
    errors = {"fp32": relative_error(ours(audio, lengths)[0], wanted), "bf16": relative_error(half(), wanted)}
    seconds = alternately({"peer": theirs, "fp32": lambda: ours(audio, lengths), "bf16": half}, options)
    what = f"WavLM Large {SECONDS:g} s, {streams} stream{'s' * (streams > 1)}"
    rows = []
    for name, must, allowed in (("fp32", 1.3, 1e-5), ("bf16", 3, 1.5e-2)):
        rows.append(Row(f"{what}, {name}", seconds["peer"], seconds[name], must))
        rows.append(Row(f"its relative error, {name}", allowed, errors[name], 1, ""))
    return rows


if __name__ == "__main__":
    main()
