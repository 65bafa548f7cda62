"""TF-GridNet at the paper's size against ESPnet's, with the same weights: forward, training step, peak memory, error.

The weights come from a short training on generated talkers, fp32 and bf16 side by side, whose losses are reported too
(kept under runs/benchmarks). With --weights they are a saved model's.
"""

import json
from argparse import Namespace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from espnet_twins import TFGridNetTwin
from measure import Row, Task, apart, as_used, in_child, parser, peak_memory, prepared, relative_error, report
from torch import Tensor, nn

from sepasr_cli.separation import TFGridNet, TFGridNetConfig
from sepasr_cli.separation.losses import separation_loss

RATE = 16000
#: Where the weights and losses of the short training are kept; of no use to anything else.
KEPT = Path(__file__).parent.parent / "runs" / "benchmarks" / "tfgridnet"
#: Examples of the short training, and the seconds of each.
STEPS, SEGMENT = 60, 1.0
#: Steps at the end over which the two trainings' losses are compared.
LAST = 15
#: The kinds of training step, and how much sooner than the peer's each must be done.
STEPPING = {"fp32": 1.4, "bf16": 3, "fp32, checkpointed": 1.4, "bf16, checkpointed": 3}


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--weights", help="folder of a saved TF-GridNet of the paper's size, 2 microphones")
    options.add_argument("--seconds", type=float, default=4.0, help="of the forward pass (default: 4)")
    options = prepared(options.parse_args())
    rows = []
    if options.weights is None:
        trained, losses = _trained(options)
        ends = {name: float(np.mean(values[-LAST:])) for name, values in losses.items()}
        rows.append(Row("loss after training in bf16, against fp32", 1.05 * ends["fp32"], ends["bf16"], 1, ""))
    else:
        trained = TFGridNet.from_pretrained(options.weights).to(options.device)
    for microphones in (2, 8):
        rows += _forward(_with_microphones(trained, microphones), options)
    rows += _training_step(options)
    for what, function, names in (
        ("forward 32 s, 2 microphones", _forward_memory, ("fp32", "bf16")),
        ("training step 2 s", _step_memory, STEPPING),
    ):
        peer = in_child(function, "peer", options)
        rows += [
            Row(f"peak memory, {what}, {name}", peer, in_child(function, name, options), 2, "MiB") for name in names
        ]
    report("tfgridnet", rows, options.device)


def _forward(model: TFGridNet, options: Namespace) -> list[Row]:
    model = model.eval()
    twin, microphones = TFGridNetTwin(model).to(options.device).eval(), model.config.microphones
    mixture = talkers(microphones, options.seconds, seed=10_000)[0][None].to(options.device)

    def bf16() -> Tensor:
        with torch.autocast(options.device, torch.bfloat16):
            return model(mixture)

    with torch.inference_mode():
        wanted = twin(mixture)
        errors = {"fp32": relative_error(model(mixture), wanted), "bf16": relative_error(bf16(), wanted)}
    seconds = apart(("peer", *errors), partial(_forward_task, microphones), options)
    what = f"forward {options.seconds:g} s, {microphones} microphones"
    rows = []
    for name, must, allowed in (("fp32", 1.5, 1e-5), ("bf16", 4, 1e-2)):
        rows.append(Row(f"{what}, {name}", seconds["peer"], seconds[name], must))
        rows.append(Row(f"its relative error, {name}", allowed, errors[name], 1, ""))
    return rows


def _forward_task(microphones: int, kind: str, options: Namespace) -> Task:
    """A pass as of `sepasr separate`; what the weights are makes no difference to its time."""
    model = _untrained(kind, options, microphones).eval()
    mixture = talkers(microphones, options.seconds, seed=10_000)[0][None].to(options.device)

    def task() -> None:
        with torch.inference_mode(), torch.autocast(options.device, torch.bfloat16, enabled=kind == "bf16"):
            model(mixture)

    return task


def _training_step(options: Namespace) -> list[Row]:
    seconds = apart(("peer", *STEPPING), _step_task, options)
    return [Row(f"training step 2 s, {name}", seconds["peer"], seconds[name], must) for name, must in STEPPING.items()]


def _step_task(kind: str, options: Namespace) -> Task:
    """A step as of `sepasr pretrain-sep`."""
    mixture, sources = (signal[None].to(options.device) for signal in talkers(2, 2.0, seed=20_000))
    return partial(_step, _untrained(kind, options).train(), mixture, sources, kind.startswith("bf16"))


def _step(model: nn.Module, mixture: Tensor, sources: Tensor, half: bool) -> Tensor:
    """Forward, loss and backward; the optimiser's part is the same for all."""
    model.zero_grad()
    with torch.autocast(mixture.device.type, torch.bfloat16, enabled=half):
        estimates = model(mixture)
    loss = separation_loss(estimates, sources).loss.mean()
    loss.backward()
    return loss.detach()


def _forward_memory(kind: str, options: Namespace) -> float:
    as_used(kind, options)
    model = _untrained(kind, options).eval()
    mixture = torch.randn(1, 2, 32 * RATE, device=options.device)
    with torch.inference_mode(), torch.autocast(options.device, torch.bfloat16, enabled=kind == "bf16"):
        model(mixture)
    return peak_memory(options.device)


def _step_memory(kind: str, options: Namespace) -> float:
    as_used(kind, options)
    model = _untrained(kind, options).train()
    mixture, sources = (torch.randn(1, 2, 2 * RATE, device=options.device) for _ in range(2))
    for _ in range(2):
        _step(model, mixture, sources, kind.startswith("bf16"))
    return peak_memory(options.device)


def _untrained(kind: str, options: Namespace, microphones: int = 2) -> nn.Module:
    sizes = TFGridNetConfig(microphones=microphones, checkpoint_activations=kind.endswith("checkpointed"))
    model = TFGridNet(sizes)
    return (TFGridNetTwin(model) if kind == "peer" else model).to(options.device)


def _trained(options: Namespace) -> tuple[TFGridNet, dict[str, list[float]]]:
    """A TF-GridNet trained in fp32, and the losses of that training and of one in bf16 from the same start."""
    if not (KEPT / "losses.json").exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        losses = {}
        for name in ("bf16", "fp32"):
            torch.manual_seed(0)
            model = TFGridNet(TFGridNetConfig()).to(options.device).train()
            losses[name] = _train(model, name == "bf16", options.device)
        model.save_pretrained(KEPT)
        (KEPT / "losses.json").write_text(json.dumps(losses))
        _plot(losses)
    losses = json.loads((KEPT / "losses.json").read_text())
    return TFGridNet.from_pretrained(str(KEPT)).to(options.device), losses


def _train(model: TFGridNet, half: bool, device: str) -> list[float]:
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for step in range(STEPS):
        mixture, sources = (signal[None].to(device) for signal in talkers(2, SEGMENT, step))
        losses.append(float(_step(model, mixture, sources, half) / mixture.std()))
        nn.utils.clip_grad_norm_(model.parameters(), 5)
        optimiser.step()
    return losses


def _plot(losses: dict[str, list[float]]) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
    for name, values in losses.items():
        axes.plot(range(1, len(values) + 1), values, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.legend()
    figure.savefig(Path(__file__).with_name("tfgridnet_training.png"), dpi=100)


def _with_microphones(model: TFGridNet, microphones: int) -> TFGridNet:
    """The model for that many microphones, whose first convolution sees pairs of them as it saw the first pair."""
    if microphones == model.config.microphones:
        return model
    pairs = microphones // model.config.microphones
    found = TFGridNet(model.config.model_copy(update={"microphones": microphones})).to(model.encode.weight.device)
    weights = model.state_dict()
    parts = weights["encode.weight"].chunk(2, dim=1)  # real, imaginary
    weights["encode.weight"] = torch.cat([part.repeat(1, pairs, 1, 1) for part in parts], dim=1) / pairs
    found.load_state_dict(weights)
    return found


def talkers(microphones: int, seconds: float, seed: int) -> tuple[Tensor, Tensor]:
    """Two generated talkers: the mixture (M, N), and what each gives the first microphone, (2, N).

    Harmonics of a gliding pitch under moving formants, in syllables with breathy noise; every microphone hears each
    talker after a delay of its own.
    """
    draw, samples = np.random.default_rng(seed), round(seconds * RATE)
    time = np.arange(samples) / RATE
    mixture, sources = np.zeros((microphones, samples)), []
    for _ in range(2):
        pitch = draw.uniform(90, 240) * (1 + 0.1 * np.sin(2 * np.pi * draw.uniform(0.3, 2) * time + draw.uniform(0, 6)))
        phase, formant = 2 * np.pi * np.cumsum(pitch) / RATE, 500 + 400 * _slow(draw, time, 3)
        signal = 0.02 * draw.standard_normal(samples)
        for harmonic in range(1, 30):
            distance = (harmonic * pitch - formant) / 300
            signal += np.sin(harmonic * phase) * (np.exp(-0.5 * distance**2) + 0.3 / harmonic)
        signal *= np.clip(_slow(draw, time, 4) + 0.3, 0, None)
        signal *= draw.uniform(0.5, 1) / (signal.std() + 1e-6)
        sources.append(signal)
        for index, delay in enumerate([0, *draw.integers(-8, 9, microphones - 1)]):
            mixture[index] += np.roll(signal, delay)
    mixture += 0.01 * draw.standard_normal(mixture.shape)
    return torch.from_numpy(mixture).float(), torch.from_numpy(np.stack(sources)).float()


def _slow(draw: np.random.Generator, time: np.ndarray, rate: float) -> np.ndarray:
    """A curve within -1 and 1 that turns some `rate` times a second."""
    knots = draw.uniform(-1, 1, int(time[-1] * rate) + 3)
    return np.interp(time * rate, np.arange(len(knots)), knots)


if __name__ == "__main__":
    main()
