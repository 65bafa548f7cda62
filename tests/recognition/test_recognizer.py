from itertools import pairwise

import numpy as np
import pytest
import torch

from sepasr_cli.errors import SepasrError
from sepasr_cli.features import FilterbankConfig
from sepasr_cli.joint import JointModel
from sepasr_cli.recognition.beam_search import DecodingConfig
from sepasr_cli.recognition.conformer import ConformerConfig
from sepasr_cli.recognition.language_model import LanguageModel, LanguageModelConfig
from sepasr_cli.recognition.recognizer import (
    Recognizer,
    RecognizerConfig,
    SpecAugmentConfig,
    smoothed_loss,
    specaugment,
    time_warp,
)
from sepasr_cli.recognition.tokens import Vocabulary
from sepasr_cli.recognition.transformer_decoder import TransformerDecoderConfig
from sepasr_cli.settings import validate

TEXTS = ["add a bee", "deed"]
VOCABULARY = Vocabulary.train(TEXTS, "characters")


def tiny(**changes):
    torch.manual_seed(0)
    settings = {
        "features": FilterbankConfig(mels=20),
        "encoder": ConformerConfig(blocks=2, size=32, heads=2, feed_forward=64, kernel=5, dropout=0.0),
        "decoder": TransformerDecoderConfig(blocks=1, heads=2, feed_forward=64, dropout=0.0),
        "vocabulary": VOCABULARY,
    }
    return Recognizer(RecognizerConfig(**{**settings, **changes}))


@pytest.fixture(scope="module")
def batch():
    """Two utterances of noise: audio, lengths, targets, target lengths."""
    torch.manual_seed(1)
    audio, lengths = torch.randn(2, 9600), torch.tensor([9600, 6100])
    targets = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(VOCABULARY.encode(text)) for text in TEXTS], batch_first=True, padding_value=-1
    )
    return audio, lengths, targets, torch.tensor([len(text) for text in TEXTS])


@pytest.fixture(scope="module")
def trained(batch):
    """A recogniser that knows the two utterances by heart."""
    model = tiny(specaugment=None).train()
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(150):
        optimiser.zero_grad()
        loss = model(*batch).total.mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return model.eval(), losses


METHODS = [
    DecodingConfig(method="greedy"),
    DecodingConfig(method="attention", beam=3),
    DecodingConfig(beam=3),
    DecodingConfig(beam=3, ctc_weight=1.0),
    DecodingConfig(beam=3, lm_weight=0.2, length_bonus=0.1),
]


def test_training_lowers_the_loss_until_the_texts_are_known(trained, batch):
    model, losses = trained
    assert losses[1] < losses[0]
    assert losses[-1] < 0.1 * losses[0]
    assert model(*batch).accuracy.tolist() == [1.0, 1.0]
    for decoding in METHODS[:4]:
        assert [hypothesis.text for hypothesis in model.transcribe(*batch[:2], decoding)] == TEXTS, decoding


@pytest.mark.parametrize("untrained", [True, False])
def test_an_example_alone_equals_itself_in_a_padded_batch(trained, batch, untrained):
    model = tiny().eval() if untrained else trained[0]
    language_model = LanguageModel(
        LanguageModelConfig(blocks=1, size=8, heads=2, feed_forward=8, embedding=4, vocabulary=VOCABULARY)
    ).eval()
    audio, lengths, targets, target_lengths = batch
    losses = model(*batch)
    encoded, frames = model.encode(audio, lengths)
    for number, (length, target_length) in enumerate(zip(lengths, target_lengths, strict=True)):
        one = slice(number, number + 1)
        alone = (audio[one, :length], lengths[one])
        alone_encoded, alone_frames = model.encode(*alone)
        assert alone_frames[0] == frames[number]
        torch.testing.assert_close(alone_encoded[0], encoded[number, : frames[number]], rtol=1e-3, atol=1e-4)
        alone_losses = model(*alone, targets[one, :target_length], target_lengths[one])
        for name in ("total", "ctc", "attention", "accuracy"):
            torch.testing.assert_close(
                getattr(alone_losses, name)[0], getattr(losses, name)[number], rtol=1e-3, atol=1e-4, msg=name
            )
    for decoding in METHODS:
        together = model.transcribe(audio, lengths, decoding, language_model)
        for number, length in enumerate(lengths):
            one = slice(number, number + 1)
            alone_hypothesis = model.transcribe(audio[one, :length], lengths[one], decoding, language_model)[0]
            assert alone_hypothesis.tokens == together[number].tokens
            assert alone_hypothesis.score == pytest.approx(together[number].score, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("ctc_weight", [0.3, 1.0])
def test_gradients_reach_the_audio_and_every_weight(batch, ctc_weight):
    model = tiny(ctc_weight=ctc_weight).train()
    audio = batch[0].clone().requires_grad_()
    losses = model(audio, *batch[1:])
    losses.total.sum().backward()
    assert audio.grad is not None
    assert (audio.grad[0].abs().sum() > 0) and (audio.grad[1, :6100].abs().sum() > 0)
    assert (audio.grad[1, 6100:] == 0).all()
    missing = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert not missing
    expected = ctc_weight * losses.ctc + (1 - ctc_weight) * losses.attention
    torch.testing.assert_close(losses.total, expected)


@pytest.mark.parametrize("ctc_weight", [0.3, 1.0])
@pytest.mark.parametrize("columns", [0, 2])
def test_an_empty_target_has_a_finite_loss(batch, ctc_weight, columns):
    targets = torch.tensor([[2, 3], [-1, -1]])[:, :columns]
    losses = tiny(ctc_weight=ctc_weight)(*batch[:2], targets, torch.tensor([columns, 0]))
    assert losses.total.isfinite().all()
    assert losses.ctc[1] > 0


def test_too_many_tokens_for_the_frames_cost_nothing_and_spoil_no_gradient(batch):
    model = tiny(ctc_weight=1.0)
    losses = model(batch[0], batch[1], torch.full((2, 90), 3), torch.tensor([90, 1]))
    assert losses.ctc[0] == 0 and losses.ctc[1] > 0
    losses.total.sum().backward()
    assert all(weight.grad.isfinite().all() for weight in model.parameters())


@pytest.mark.parametrize("decoding", METHODS[:4])
@pytest.mark.parametrize("samples", [1, 400, 8000])
def test_silence_and_crumbs_are_transcribed(decoding, samples):
    hypotheses = tiny().transcribe(torch.zeros(2, samples), torch.tensor([samples, 1]), decoding)
    assert all(hypothesis.score > -torch.inf for hypothesis in hypotheses)


def test_saving_and_loading_keeps_the_transcripts(trained, batch, tmp_path):
    model, _ = trained
    model.save_pretrained(tmp_path)
    again = Recognizer.from_pretrained(tmp_path)
    assert again.config == model.config
    assert again.transcribe(*batch[:2], DecodingConfig()) == model.transcribe(*batch[:2], DecodingConfig())


def test_transcribing_while_training_evaluates_and_goes_on_training(trained, batch):
    model, _ = trained
    expected = model.transcribe(*batch[:2], DecodingConfig())
    model.train()
    assert model.transcribe(*batch[:2], DecodingConfig()) == expected
    assert model.training
    model.eval()


def test_a_frozen_ssl_model_is_not_saved(tmp_path):
    from transformers import WavLMConfig, WavLMModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": [8, 8], "conv_kernel": [10, 8], "conv_stride": [10, 16], "num_feat_extract_layers": 2}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "feat_extract_norm": "layer"}
    WavLMModel(WavLMConfig(**sizes, **convolutions, **positions)).save_pretrained(tmp_path / "wavlm")
    features = {"kind": "ssl", "name": str(tmp_path / "wavlm"), "reduction": 12}
    model = tiny(features=features).eval()
    names = model.own_state()
    assert "features.layer_weights" in names and "features.reduction.weight" in names
    assert not any(name.startswith("features.model.") for name in names)
    model.save_pretrained(tmp_path / "recognizer")
    audio, lengths = torch.randn(1, 4000), torch.tensor([4000])
    again = Recognizer.from_pretrained(tmp_path / "recognizer")
    torch.testing.assert_close(again.encode(audio, lengths)[0], model.encode(audio, lengths)[0])
    thawed = tiny(features={**features, "freeze": False})
    assert any(name.startswith("features.model.") for name in thawed.own_state())


def test_bpe_recogniser_decodes():
    vocabulary = Vocabulary.train(TEXTS, "bpe", 14)
    hypothesis = tiny(tokens="bpe", vocabulary=vocabulary).transcribe(
        torch.randn(1, 4000), torch.tensor([4000]), DecodingConfig(beam=2)
    )[0]
    assert hypothesis.text == vocabulary.decode(hypothesis.tokens)


def test_what_cannot_be_decoded_is_refused(batch):
    with pytest.raises(SepasrError, match="CTC alone"):
        tiny(ctc_weight=1.0).transcribe(*batch[:2], DecodingConfig(method="attention"))
    with pytest.raises(SepasrError, match="without a language model"):
        tiny().transcribe(*batch[:2], DecodingConfig(lm_weight=0.5))
    other = LanguageModelConfig(
        blocks=1, size=8, heads=2, feed_forward=8, vocabulary=Vocabulary.train(["xyz"], "characters")
    )
    with pytest.raises(SepasrError, match="not the recogniser's"):
        tiny().transcribe(*batch[:2], DecodingConfig(lm_weight=0.5), LanguageModel(other))


def test_configurations():
    assert RecognizerConfig().features.kind == "ssl"
    with pytest.raises(SepasrError, match="has no vocabulary"):
        Recognizer(RecognizerConfig())
    with pytest.raises(SepasrError, match="cannot be shared"):
        validate(RecognizerConfig, {"decoder": {"heads": 5}}, "test")
    with pytest.raises(SepasrError, match="the vocabulary is one of"):
        validate(RecognizerConfig, {"tokens": "bpe", "vocabulary": VOCABULARY.model_dump()}, "test")


def test_smoothed_loss_without_smoothing_is_cross_entropy():
    logits, targets = torch.randn(2, 3, 5), torch.tensor([[1, 2, 3], [4, -1, -1]])
    expected = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), targets, ignore_index=-1, reduction="none"
    ).sum(1)
    torch.testing.assert_close(smoothed_loss(logits, targets, 0.0), expected)


def test_specaugment_masks_within_its_bounds_and_by_the_seed():
    config = SpecAugmentConfig(time_warp=0)
    features, lengths = torch.ones(3, 400, 80), torch.tensor([400, 120, 1])
    torch.manual_seed(0)
    found = specaugment(features, lengths, config)
    torch.manual_seed(0)
    assert torch.equal(found, specaugment(features, lengths, config))
    assert not torch.equal(found, specaugment(features, lengths, config))
    assert not torch.equal(found[0, :120], found[1, :120])
    masked_frames = (found[0] == 0).all(1).sum()
    masked_features = (found[0] == 0).all(0).sum()
    assert 0 < masked_frames <= 80 and 0 < masked_features <= 32
    assert (found[1, 120:] == 1).all()


def test_time_warp_keeps_length_ends_and_order():
    torch.manual_seed(0)
    ramp = torch.arange(60.0)[:, None].expand(-1, 3)
    moved = set()
    for _ in range(20):
        warped = time_warp(ramp, 5)
        assert warped.shape == ramp.shape
        assert (warped.diff(dim=0) >= 0).all()
        assert (warped - ramp).abs().max() <= 6
        moved.add(round(float((warped - ramp).abs().max())))
    assert len(moved) > 2
    assert torch.equal(time_warp(ramp[:11], 5), ramp[:11])


def test_a_frame_s_time_is_the_centre_of_what_it_sees(recognizer_config: RecognizerConfig) -> None:
    """Of the audio that a frame's subsampled features depend on, for both subsamplings."""
    for factor in (2, 4):
        encoder = recognizer_config.encoder.model_copy(update={"subsampling": factor})
        model = Recognizer(recognizer_config.model_copy(update={"normalize": "none", "encoder": encoder})).eval()
        audio = torch.randn(1, 8000, requires_grad=True)
        features, lengths = model.features(audio, torch.tensor([8000]))
        frames, _ = model.encoder.subsampling(features, lengths)
        first, step = model.frame_times()
        for place in (3, 8):
            (gradient,) = torch.autograd.grad(frames[0, place].square().sum(), audio, retain_graph=True)
            seen = gradient[0].nonzero().flatten()
            assert abs(float(seen[0] + seen[-1]) / 2 / 8000 - (first + step * place)) < 1 / 8000


@pytest.fixture(scope="module")
def recognizer(tiny_joint: JointModel) -> Recognizer:
    """A recogniser of random weights that hears several words in any sound."""
    torch.manual_seed(1)
    wordy = Recognizer(tiny_joint.recognizer.config).eval()
    with torch.no_grad():
        wordy.ctc_head.weight.mul_(8)
    return wordy


def test_words_have_times_and_confidences_where_asked_for(recognizer: Recognizer, talkers: np.ndarray) -> None:
    audio, lengths = torch.from_numpy(talkers), torch.tensor([talkers.shape[1], 9000])
    decoding = DecodingConfig(method="greedy")
    plain = recognizer.transcribe(audio, lengths, decoding)
    timed = recognizer.transcribe(audio, lengths, decoding, word_times=True)
    assert [(one.text, one.tokens) for one in timed] == [(one.text, one.tokens) for one in plain]
    assert all(one.word_times is None and one.word_confidences is None for one in plain)
    assert any(" " in one.text for one in timed)
    for one, length in zip(timed, lengths.tolist(), strict=True):
        assert one.word_times is not None and one.word_confidences is not None
        assert len(one.word_times) == len(one.word_confidences) == len(one.text.split())
        assert one.word_times[0][0] >= 0 and one.word_times[-1][1] <= length / 8000
        assert (np.diff(np.ravel(one.word_times)) >= 0).all()
        assert all(0 < sure <= 1 for sure in one.word_confidences)
    alone = recognizer.transcribe(audio[1:, :9000], lengths[1:], decoding, word_times=True)[0]
    assert alone.word_times == timed[1].word_times


def test_greedy_words_are_as_sure_as_their_spikes(recognizer: Recognizer, talkers: np.ndarray) -> None:
    """What greedy search takes is the best label of each frame, so that alignment finds those very frames."""
    audio, lengths = torch.from_numpy(talkers[:1]), torch.tensor([talkers.shape[1]])
    with torch.no_grad():
        encoded, _ = recognizer.encode(audio, lengths)
        best = recognizer.ctc_log_probs(encoded)[0].max(-1)
    found = recognizer.transcribe(audio, lengths, DecodingConfig(method="greedy"), word_times=True)[0]
    spikes = [
        float(best.values[start:end].max())
        for label, start, end in runs(best.indices.tolist())
        if label != 0 and recognizer.vocabulary.tokens[label] != "<space>"
    ]
    letters = [len(word) for word in found.text.split()]
    means = [np.exp(np.mean([spikes.pop(0) for _ in range(count)])) for count in letters]
    assert found.word_confidences == pytest.approx(means, abs=1e-4) and spikes == []


def runs(labels: list[int]) -> list[tuple[int, int, int]]:
    """Each label that stays, with its first frame and the one after its last."""
    edges = [0, *(place for place in range(1, len(labels)) if labels[place] != labels[place - 1]), len(labels)]
    return [(labels[start], start, end) for start, end in pairwise(edges)]
