"""Self-supervised features, on tiny models made here: nothing is downloaded."""

import json

import pytest
import torch

import sepasr_cli  # noqa: F401  before transformers, for torchaudio
from sepasr_cli.errors import SepasrError
from sepasr_cli.features import SSLConfig, build_features
from sepasr_cli.features.ssl import SSLFeatures

from transformers import (  # isort: skip
    BertConfig,
    BertModel,
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertModel,
    UniSpeechSatConfig,
    UniSpeechSatModel,
    Wav2Vec2Config,
    Wav2Vec2ConformerConfig,
    Wav2Vec2ConformerModel,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

FAMILIES = {
    "wavlm": (WavLMConfig, WavLMModel),
    "hubert": (HubertConfig, HubertModel),
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
}
CASES = [(family, norm) for family in FAMILIES for norm in ("layer", "group")]
FAMILIES |= {
    "data2vec": (Data2VecAudioConfig, Data2VecAudioModel),
    "unispeech-sat": (UniSpeechSatConfig, UniSpeechSatModel),
    "wav2vec2-conformer": (Wav2Vec2ConformerConfig, Wav2Vec2ConformerModel),
}
CASES += [("data2vec", "layer"), ("unispeech-sat", "layer"), ("wav2vec2-conformer", "layer")]


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folders of tiny models, by family and kind of normalisation."""
    torch.manual_seed(0)
    folders = {}
    for family, norm in CASES:
        config_class, model_class = FAMILIES[family]
        config = config_class(
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=32,
            conv_dim=[8, 8, 8],
            conv_kernel=[10, 3, 2],
            conv_stride=[5, 2, 2],
            num_feat_extract_layers=3,
            num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=2,
            feat_extract_norm=norm,
            do_stable_layer_norm=norm == "layer",
            layerdrop=0.5,
            hidden_dropout=0.5,
            mask_time_prob=0.5,
            mask_time_length=2,
        )
        folders[family, norm] = tmp_path_factory.mktemp(f"{family}-{norm}")
        model_class(config).save_pretrained(folders[family, norm])
    return folders


def make(folder, sample_rate=16000, **settings) -> SSLFeatures:
    torch.manual_seed(1)
    features = build_features(SSLConfig(name=str(folder), **settings), sample_rate)
    assert isinstance(features, SSLFeatures)
    return features


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("sample_rate", [8000, 16000])
def test_shapes_and_alone_equals_padded_batch(models, case, sample_rate):
    features = make(models[case], sample_rate, reduction=5)
    audio = torch.randn(3, 2000)
    found, lengths = features(audio, torch.tensor([2000, 1300, 2000]))
    assert features.size == 5
    assert found.shape == (3, int(lengths[0]), 5)
    assert (found[1, lengths[1] :] == 0).all()
    alone, alone_lengths = features(audio[1:2, :1300], torch.tensor([1300]))
    assert alone_lengths[0] == lengths[1] == alone.shape[1]
    torch.testing.assert_close(found[1, : lengths[1]], alone[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_a_step_teaches_the_mixture_but_not_the_frozen_model(models, case):
    features = make(models[case]).train()
    before = {name: value.clone() for name, value in features.model.state_dict().items()}
    audio = torch.randn(2, 1500, requires_grad=True)
    optimiser = torch.optim.SGD(features.parameters(), lr=1.0)
    found, _ = features(audio, torch.tensor([1500, 1200]))
    found.square().sum().backward()
    assert audio.grad is not None and (audio.grad[1, :1200] != 0).any() and (audio.grad[1, 1200:] == 0).all()
    assert features.layer_weights is not None and (features.layer_weights.grad != 0).all()
    assert features.reduction is not None and (features.reduction.weight.grad != 0).any()
    optimiser.step()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in features.model.parameters())
    assert all(torch.equal(before[name], value) for name, value in features.model.state_dict().items())


def test_a_frozen_model_never_trains(models):
    features = make(models["wavlm", "layer"]).train()
    assert features.training and not any(module.training for module in features.model.modules())
    audio, lengths = torch.randn(1, 1500), torch.tensor([1500])
    torch.testing.assert_close(features(audio, lengths)[0], features(audio, lengths)[0], atol=0, rtol=0)


def test_an_unfrozen_model_trains_without_dropped_layers_or_masks(models):
    features = make(models["wavlm", "layer"], freeze=False).train()
    assert features.model.training
    assert features.model.config.layerdrop == 0 and not features.model.config.apply_spec_augment
    features(torch.randn(1, 1500), torch.tensor([1500]))[0].sum().backward()
    assert features.model.encoder.layers[1].feed_forward.output_dense.weight.grad is not None


def test_an_unfrozen_model_lets_gradients_through_to_a_separator(models):
    """transformers asked its input, which then was no leaf, for gradients: RuntimeError in joint training."""
    audio = torch.randn(1, 1500, requires_grad=True)
    features = make(models["wavlm", "layer"], freeze=False).train()
    features(2 * audio, torch.tensor([1500]))[0].sum().backward()
    assert audio.grad is not None and audio.grad.abs().sum() > 0


@pytest.mark.parametrize("case", CASES)
def test_equal_weights_give_the_mean_of_all_hidden_layers(models, case):
    """The last layer is the one after the final normalisation, which transformers 5 leaves out of hidden_states."""
    features = make(models[case], reduction=None, normalise=False)
    audio = torch.randn(1, 1500)
    output = features.model(audio, output_hidden_states=True)
    layers = [*output.hidden_states[:-1], output.last_hidden_state]
    assert len(layers) == 4 and features.size == 16
    found, _ = features(audio, torch.tensor([1500]))
    torch.testing.assert_close(found, torch.stack(layers).mean(0), atol=1e-5, rtol=1e-4)


def test_one_layer(models):
    folder = models["hubert", "layer"]
    audio, lengths = torch.randn(1, 1500), torch.tensor([1500])
    last = make(folder, layers="last", reduction=None)
    first = make(folder, layers=0, reduction=None)
    assert last.layer_weights is None
    for number in (3, -1):
        torch.testing.assert_close(
            last(audio, lengths)[0], make(folder, layers=number, reduction=None)(audio, lengths)[0]
        )
    assert not torch.allclose(first(audio, lengths)[0], last(audio, lengths)[0])


@pytest.mark.parametrize(("layers", "wrong"), [(4, "4"), (-5, "-5"), ((0, 7), "7"), ((), "none")])
def test_a_layer_that_is_not_there(models, layers, wrong):
    with pytest.raises(SepasrError, match=rf"layer {wrong} of .* asked for, it has layers 0 to 3"):
        make(models["hubert", "layer"], layers=layers)


def test_a_mix_of_the_top_layers(models):
    features = make(models["wavlm", "layer"], layers=(-2, -1), reduction=None)
    audio, lengths = torch.randn(1, 1500), torch.tensor([1500])
    parts = [make(models["wavlm", "layer"], layers=n, reduction=None)(audio, lengths)[0] for n in (2, 3)]
    torch.testing.assert_close(features(audio, lengths)[0], sum(parts) / 2)
    features(audio, lengths)[0].square().sum().backward()
    assert features.layer_weights.grad.shape == (2,) and (features.layer_weights.grad != 0).all()


@pytest.mark.parametrize("case", CASES)
def test_convolutional_features(models, case):
    features = make(models[case], layers="convolutional", reduction=None, normalise=False)
    audio = torch.randn(2, 1500)
    found, lengths = features(audio, torch.tensor([1500, 900]))
    assert features.size == 8 and features.layer_weights is None and found.shape[2] == 8
    alone = features.model.feature_extractor(audio[1:, :900]).transpose(1, 2)
    torch.testing.assert_close(found[1, : lengths[1]], alone[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("do_normalize", [True, False])
def test_input_is_normalised_as_the_model_says(models, tmp_path, do_normalize):
    source = models["wavlm", "layer"]
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).write_bytes((source / file).read_bytes())
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "do_normalize": do_normalize,
                "return_attention_mask": True,
                "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            }
        )
    )
    features = make(tmp_path)
    assert features.normalise is do_normalize
    audio = 0.1 * torch.randn(2, 1200) + 0.05
    prepared, _ = features._prepare(audio, torch.tensor([1200, 900]))
    theirs = Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)(
        [audio[0].numpy(), audio[1, :900].numpy()], sampling_rate=16000, padding=True, return_tensors="pt"
    )
    torch.testing.assert_close(prepared, theirs["input_values"], atol=1e-4, rtol=1e-4)


def test_without_a_preprocessor_file_the_family_decides(models):
    assert make(models["wavlm", "layer"]).normalise is True
    assert make(models["wavlm", "group"]).normalise is False
    assert make(models["wavlm", "group"], normalise=True).normalise is True


@pytest.mark.parametrize("case", [("wavlm", "layer"), ("hubert", "group")])
def test_silence_and_audio_too_short_for_a_frame(models, case):
    features = make(models[case], normalise=True)
    audio = torch.zeros(2, 12, requires_grad=True)
    found, lengths = features(audio, torch.tensor([12, 5]))
    found.sum().backward()
    assert lengths.tolist() == [1, 1] and found.shape == (2, 1, 80)
    assert torch.isfinite(found).all()
    assert audio.grad is not None and torch.isfinite(audio.grad).all()


def test_a_model_that_cannot_be_had(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        SepasrError,
        match=r"'nobody/none': no such folder, and it is not in the cache.*download config.json, model.safetensors",
    ) as raised:
        SSLFeatures(SSLConfig(name="nobody/none"), 16000)
    assert "\n" not in str(raised.value)


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(SepasrError, match=r"holds no such model \(it lacks config.json"):
        make(tmp_path)


def test_a_folder_with_pickled_weights_only(models, tmp_path):
    source = models["wavlm", "layer"]
    (tmp_path / "config.json").write_bytes((source / "config.json").read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(SepasrError, match=r"model\.safetensors"):
        make(tmp_path)


def test_a_folder_that_lacks_weights(models, tmp_path):
    from safetensors.torch import load_file, save_file

    source = models["wavlm", "layer"]
    (tmp_path / "config.json").write_bytes((source / "config.json").read_bytes())
    weights = load_file(source / "model.safetensors")
    del weights["encoder.layer_norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SepasrError, match=r"lacks 1 weights \(encoder.layer_norm.weight first\)"):
        make(tmp_path)


def test_a_model_of_another_family(tmp_path):
    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=9)
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(SepasrError, match="is a model of type 'bert'"):
        make(tmp_path)


@pytest.mark.parametrize("sample_rate", [8000, 16000])
def test_a_frame_s_time_is_the_centre_of_what_it_sees(models, sample_rate):
    config = SSLConfig(name=str(models["wavlm", "layer"]), layers="convolutional", reduction=None, normalise=False)
    features = build_features(config, sample_rate)
    audio = torch.randn(1, 4000, requires_grad=True)
    frames, _ = features(audio, torch.tensor([4000]))
    first, step = features.frame_times()
    for place in (10, 31):
        (gradient,) = torch.autograd.grad(frames[0, place].square().sum(), audio, retain_graph=True)
        seen = gradient[0].abs()
        # Resampling smears what is seen a little.
        seen = (seen > 1e-3 * seen.max()).nonzero().flatten()
        assert abs(float(seen[0] + seen[-1]) / 2 / sample_rate - (first + step * place)) < 1 / sample_rate


def test_convention_of_s3prl_gives_a_frame_for_each_stride(models):
    plain, other = (make(models["wavlm", "layer"], convention=one) for one in ("transformers", "s3prl"))
    audio, lengths = torch.randn(2, 4000), torch.tensor([4000, 1710])
    (found, frames), (expected, before) = other(audio, lengths), plain(audio, lengths)
    assert frames.tolist() == [200, 86]
    for example, length, alike, count in zip(found, frames.tolist(), expected, before.tolist(), strict=True):
        torch.testing.assert_close(example[:count], alike[:count], atol=1e-3, rtol=1e-3)
        assert length > count and (example[count:length] == example[count - 1]).all()
        assert (example[length:] == 0).all()
