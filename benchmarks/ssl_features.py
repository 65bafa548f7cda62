"""WavLM Large on 8 s, one stream and two, against transformers' eager pass in full precision.

The weights are random, as transformers draws them, or those of --weights.
"""

from argparse import Namespace
from functools import cache, partial

import torch
from measure import Row, Task, apart, parser, prepared, relative_error, report
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
    rows = [row for streams in (1, 2) for row in _rows(streams, options)]
    report("ssl", rows, options.device)


def _rows(streams: int, options: Namespace) -> list[Row]:
    wanted = passing(streams, "peer", options)()
    seconds = apart(("peer", "fp32", "bf16"), partial(passing, streams), options)
    what = f"WavLM Large {SECONDS:g} s, {streams} stream{'s' * (streams > 1)}"
    rows = []
    for name, must, allowed in (("fp32", 1.3, 1e-5), ("bf16", 3, 1.5e-2)):
        error = relative_error(passing(streams, name, options)(), wanted)
        rows.append(Row(f"{what}, {name}", seconds["peer"], seconds[name], must))
        rows.append(Row(f"its relative error, {name}", allowed, error, 1, ""))
    return rows


def passing(streams: int, kind: str, options: Namespace) -> Task:
    """The mean of all layers' features of the same audio: by transformers, or by ours in one precision."""
    ours = _features(options.weights, options.device)
    torch.manual_seed(streams)
    audio = torch.randn(streams, round(SECONDS * RATE), device=options.device)
    audio = (audio - audio.mean(1, keepdim=True)) / audio.std(1, correction=0, keepdim=True)
    lengths = torch.full((streams,), audio.shape[1], device=options.device)

    def theirs() -> Tensor:
        model, weights = ours.model, torch.full((25,), 1 / 25, device=options.device)
        found = model(audio, attention_mask=torch.ones_like(audio).long(), output_hidden_states=True)
        layers = torch.stack([*found.hidden_states[:-1], found.last_hidden_state])
        return torch.einsum("l,lbtd->btd", weights, layers)

    def task() -> Tensor:
        with torch.inference_mode(), torch.autocast(options.device, torch.bfloat16, enabled=kind == "bf16"):
            return theirs() if kind == "peer" else ours(audio, lengths)[0]

    return task


@cache
def _features(weights: str | None, device: str) -> SSLFeatures:
    torch.manual_seed(0)
    model = WavLMModel.from_pretrained(weights) if weights else WavLMModel(WavLMConfig(**LARGE))
    return SSLFeatures(SSLConfig(reduction=None), RATE, (model, {"do_normalize": True})).to(device).eval()


if __name__ == "__main__":
    main()
