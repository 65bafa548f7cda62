import copy
from dataclasses import replace

import pytest
import torch

from sepasr_cli.features import SSLConfig
from sepasr_cli.joint import JointConfig, JointModel
from sepasr_cli.recognition.recognizer import Recognizer
from sepasr_cli.separation import build_separator
from sepasr_cli.separation.mask_mvdr import MaskMVDRConfig
from sepasr_cli.training.mixtures import MixtureBatch, SimulatedMixtures
from sepasr_cli.training.speech import Speech, SpeechBatch, reference_speech
from sepasr_cli.training.tasks import (
    JointFinetuneConfig,
    JointTask,
    PretrainSepConfig,
    RecognitionTask,
    SeparationTask,
    cut_to_speech,
)

RATE = 8000


@pytest.fixture(scope="module")
def batch(manifest, vocabulary) -> MixtureBatch:
    data = SimulatedMixtures(manifest, reference="early", microphones=2, batch_size=3, seed=0, vocabulary=vocabulary)
    return data(0)


@pytest.fixture(scope="session")
def mvdr_config():
    return MaskMVDRConfig(sample_rate=RATE, microphones=2, fft_size=64, hop=32, layers=1, lstm=8, projection=8)


@pytest.fixture
def joint(separator_config, recognizer_config):
    torch.manual_seed(0)
    return JointModel(JointConfig(separator=separator_config, recognizer=recognizer_config))


def losses_of_steps(task, batch, steps=12, rate=0.01):
    optimizer = torch.optim.Adam([value for value in task.parameters() if value.requires_grad], rate)
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = task(batch).loss.mean()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    return found


@pytest.mark.parametrize("kind", ["tfgridnet", "mask_mvdr"])
@pytest.mark.parametrize("loss", ["l1", "si_sdr", "mask"])
def test_training_lowers_the_separation_loss(kind, loss, batch, separator_config, mvdr_config):
    if (kind, loss) == ("tfgridnet", "mask"):
        pytest.skip("TF-GridNet has no masks")
    torch.manual_seed(0)
    model = build_separator(separator_config if kind == "tfgridnet" else mvdr_config)
    found = losses_of_steps(SeparationTask(model, PretrainSepConfig(loss=loss)), batch)
    assert found[-1] < found[0]


def test_validation_tells_the_improvement_over_the_mixture(batch, separator_config):
    task = SeparationTask(build_separator(separator_config), PretrainSepConfig()).eval()

    class Perfect(torch.nn.Module):
        config = separator_config

        def forward(self, mixture, lengths):
            return batch.references.flip(1)

    task.model = Perfect()
    metrics = task(batch).metrics
    assert (metrics["si_sdr"] > 60).all() and (metrics["si_sdr_improvement"] > 50).all()


def test_training_lowers_the_recognition_loss(manifest, vocabulary, recognizer):
    batch = Speech(reference_speech(manifest, "early"), vocabulary, batch_size=6, seed=0)(0)
    found = losses_of_steps(RecognitionTask(recognizer), batch)
    assert found[-1] < found[0]
    metrics = RecognitionTask(recognizer).eval()(batch).metrics
    assert metrics["greedy_accuracy"].shape == (6,) and (metrics["greedy_accuracy"] <= 1).all()


@pytest.mark.parametrize("order", ["ctc", "separation"])
def test_training_lowers_the_joint_loss_and_reaches_both_models(batch, joint, order):
    task = JointTask(joint, JointFinetuneConfig(order=order, separation_weight=0.1))
    before = copy.deepcopy(joint.state_dict())
    found = losses_of_steps(task, batch, steps=6, rate=0.003)
    assert min(found[-2:]) < found[0]
    for part in ("separator", "recognizer"):
        names = [name for name, value in joint.named_parameters() if name.startswith(part)]
        assert any(not torch.equal(before[name], joint.state_dict()[name]) for name in names)


def test_the_pull_to_the_pretrained_weights_grows_with_their_distance(batch, joint):
    joint.eval()
    free = JointTask(joint, JointFinetuneConfig(train="separator"))
    held = JointTask(joint, JointFinetuneConfig(train="separator", pretrained_weight=0.5))
    assert held.state_dict().keys() == free.state_dict().keys()
    free.eval(), held.eval()
    with torch.no_grad():
        torch.testing.assert_close(held(batch).loss, free(batch).loss)
        weight = next(joint.separator.parameters())
        weight.add_(0.1)
        pull = 0.5 * 0.5 * 0.01 * weight.numel()
        torch.testing.assert_close(held(batch).loss, free(batch).loss + pull)


def test_validation_hears_the_references_as_the_recogniser_alone_does(batch, joint):
    with torch.no_grad():
        joint.recognizer.ctc_head.weight.mul_(8)
    metrics = JointTask(joint, JointFinetuneConfig()).eval()(batch).metrics
    speakers = batch.references.shape[1]
    alone = SpeechBatch(
        [f"{name}/{speaker}" for name in batch.ids for speaker in range(speakers)],
        batch.references.flatten(0, 1),
        batch.lengths.repeat_interleave(speakers),
        batch.targets.flatten(0, 1),
        batch.target_lengths.flatten(),
    )
    wanted = RecognitionTask(joint.recognizer).eval()(alone).metrics["greedy_accuracy"]
    assert torch.allclose(metrics["clean_accuracy"], wanted.view(-1, speakers).mean(1))
    assert not torch.equal(metrics["clean_accuracy"], metrics["greedy_accuracy"])
    assert "clean_accuracy" not in JointTask(joint, JointFinetuneConfig()).train()(batch).metrics


def test_streams_are_cut_to_where_their_references_speak(batch, joint):
    references = torch.zeros(2, 2, 100)
    references[0, 0, 20:50], references[0, 1, 40:95], references[1, 0, 0:10] = 1.0, 2.0, 3.0
    signals = torch.arange(400.0).view(2, 2, 100).requires_grad_()
    cut, lengths = cut_to_speech(signals, references, torch.tensor([98, 60]), margin=5)
    assert lengths.tolist() == [[40, 63], [15, 60]]  # a reference that never speaks keeps all
    for index, start in (((0, 0), 15), ((0, 1), 35), ((1, 0), 0), ((1, 1), 0)):
        size = lengths[index]
        assert torch.equal(cut[index][:size], signals[index][start : start + size]) and not cut[index][size:].any()
    cut.sum().backward()
    assert signals.grad[0, 0].nonzero().flatten().tolist() == list(range(15, 55))

    late = torch.cat([torch.zeros_like(batch.references[..., :1000]), batch.references[..., 1000:]], dim=2)
    batch = replace(batch, references=late)
    whole, wide, cut_short = (
        JointTask(joint, JointFinetuneConfig(order="separation", speech_margin=margin)).eval()(batch)
        for margin in (None, 60.0, 0.0)
    )
    torch.testing.assert_close(wide.loss, whole.loss)
    assert not torch.allclose(cut_short.loss, whole.loss)


def test_clean_speech_counts_by_its_weight(batch, joint):
    speakers = batch.references.shape[1]
    alone = SpeechBatch(
        batch.ids * speakers,
        batch.references.flatten(0, 1),
        batch.lengths.repeat_interleave(speakers),
        batch.targets.flatten(0, 1),
        batch.target_lengths.flatten(),
    )
    clean = RecognitionTask(joint.recognizer).eval()(alone).loss.view(-1, speakers).mean(1)
    without, with_it = (JointTask(joint, JointFinetuneConfig(clean_weight=x)).eval()(batch).loss for x in (0, 0.5))
    torch.testing.assert_close(with_it, without + 0.5 * clean)


@pytest.mark.parametrize("part", ["separator", "recognizer"])
def test_a_part_that_is_not_trained_does_not_change(batch, joint, part):
    """Nor do its running statistics."""
    task = JointTask(joint, JointFinetuneConfig(train=part)).train()
    before = copy.deepcopy(joint.state_dict())
    losses_of_steps(task, batch, steps=2)
    changed = {name.split(".")[0] for name, value in joint.state_dict().items() if not torch.equal(before[name], value)}
    assert changed == {part}


def test_the_separator_learns_through_a_frozen_ssl_model(batch, separator_config, recognizer_config, tmp_path):
    from transformers import WavLMConfig, WavLMModel

    tiny = WavLMConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_kernel=(10, 8),
        conv_stride=(5, 4),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        num_feat_extract_layers=2,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
    )
    WavLMModel(tiny).save_pretrained(tmp_path)
    features = SSLConfig(name=str(tmp_path), reduction=16)
    recognizer = Recognizer(recognizer_config.model_copy(update={"features": features}))
    joint = JointModel.join(build_separator(separator_config), recognizer)
    frozen = joint.frozen_prefixes()
    assert frozen == ("recognizer.features.model.",)
    before = {name: value.clone() for name, value in joint.state_dict().items() if name.startswith(frozen)}
    task = JointTask(joint, JointFinetuneConfig()).train()
    task(batch).loss.mean().backward()
    gradients = [value.grad for value in joint.separator.parameters() if value.grad is not None]
    assert gradients and all(torch.isfinite(value).all() for value in gradients)
    assert sum(float(value.abs().sum()) for value in gradients) > 0
    losses_of_steps(task, batch, steps=2)
    assert before and all(torch.equal(before[name], joint.state_dict()[name]) for name in before)
    assert not any(name.startswith(frozen) for name in joint.own_state())
