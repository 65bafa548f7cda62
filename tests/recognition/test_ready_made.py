"""Recognisers of transformers, on tiny models made here: nothing is downloaded."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import sepasr_cli
from sepasr_cli.errors import SepasrError
from sepasr_cli.joint import JointModel
from sepasr_cli.pretrained import load_recognizer, load_system
from sepasr_cli.recognition import DecodingConfig
from sepasr_cli.recognition.ready_made import PretrainedCTC, Whisper, load_ready_made

from transformers import (  # isort: skip
    HubertConfig,
    HubertForCTC,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WavLMConfig,
    WavLMForCTC,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

FAMILIES = {
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2ForCTC),
    "hubert": (HubertConfig, HubertForCTC),
    "wavlm": (WavLMConfig, WavLMForCTC),
}
LETTERS = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "E": 5, "T": 6, "A": 7, "O": 8, "'": 9}


def sizes(norm: str) -> dict:
    return {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "conv_dim": [8, 8, 8],
        "conv_kernel": [10, 3, 2],
        "conv_stride": [5, 4, 2],
        "num_feat_extract_layers": 3,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 2,
        "feat_extract_norm": norm,
        "do_stable_layer_norm": norm == "layer",
        "vocab_size": len(LETTERS),
        "pad_token_id": 0,
        "layerdrop": 0.3,
        "final_dropout": 0.4,
    }


def save_tokenizer(folder: Path, tokens: dict[str, int] = LETTERS, **settings) -> None:
    (folder / "vocab.json").write_text(json.dumps(tokens))
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), **settings).save_pretrained(folder)


@pytest.fixture(scope="session")
def ctc_folders(tmp_path_factory) -> dict[str, Path]:
    """Tiny CTC models with random weights, as they lie on a hub."""
    torch.manual_seed(0)
    folders = {}
    for family, (config_class, model_class) in FAMILIES.items():
        norm = "group" if family == "hubert" else "layer"
        folder = folders[family] = tmp_path_factory.mktemp(family)
        model = model_class(config_class(**sizes(norm)))
        model.lm_head.weight.data.mul_(20)
        model.save_pretrained(folder)
        save_tokenizer(folder)
        Wav2Vec2FeatureExtractor(do_normalize=norm == "layer", return_attention_mask=True).save_pretrained(folder)
    return folders


@pytest.fixture(scope="session")
def whisper_folder(tmp_path_factory) -> Path:
    """A tiny English-only Whisper of bytes."""
    folder = tmp_path_factory.mktemp("whisper")
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + ["Ġ"]
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"]
    tokenizer = WhisperTokenizer(vocab={token: n for n, token in enumerate([*letters, *special])}, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    tokenizer.save_pretrained(folder)
    end, start = len(letters), len(letters) + 1
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_mel_bins=80,
        max_target_positions=32,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
        begin_suppress_tokens=None,
        suppress_tokens=None,
    )
    torch.manual_seed(3)
    model = WhisperForConditionalGeneration(config)
    model.generation_config.update(
        is_multilingual=False, no_timestamps_token_id=start + 1, max_length=12, decoder_start_token_id=start
    )
    model.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder


def theirs(folder: Path, family: str, audio: np.ndarray) -> str:
    """The text of transformers' own greedy pipeline."""
    inputs = Wav2Vec2FeatureExtractor.from_pretrained(folder)(audio, sampling_rate=16000, return_tensors="pt")
    model = FAMILIES[family][1].from_pretrained(folder).eval()
    ids = model(inputs["input_values"]).logits.argmax(-1)[0]
    return Wav2Vec2CTCTokenizer.from_pretrained(folder).decode(ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_text_is_that_of_transformers_alone_and_in_a_batch(ctc_folders, family):
    model = load_ready_made(str(ctc_folders[family]), 16000)
    assert isinstance(model, PretrainedCTC)
    audio, lengths = torch.randn(2, 6000), torch.tensor([6000, 4300])
    found = model.transcribe(audio, lengths, DecodingConfig(method="greedy"))
    for text, signal, length in zip(found, audio, lengths.tolist(), strict=True):
        wanted = theirs(ctc_folders[family], family, signal[:length].numpy())
        assert text.text == " ".join(wanted.replace("<unk>", "").replace("<s>", "").replace("</s>", "").split()) or (
            "<" in wanted  # what stands for nothing that is written
        )
    assert any(hypothesis.text for hypothesis in found)


def test_words_have_times(ctc_folders):
    model = load_ready_made(str(ctc_folders["wavlm"]), 8000)
    found = model.transcribe(
        torch.randn(1, 6000), torch.tensor([6000]), DecodingConfig(method="greedy"), word_times=True
    )
    assert found[0].word_times and len(found[0].word_times) == len(found[0].text.split())
    assert found[0].word_times[-1][1] <= 6000 / 8000


def test_beam_search_takes_ctc_alone(ctc_folders):
    model = load_ready_made(str(ctc_folders["wavlm"]), 16000)
    audio, lengths = torch.randn(1, 4000), torch.tensor([4000])
    hypothesis = model.transcribe(audio, lengths, DecodingConfig(beam=4))[0]
    assert hypothesis.text and hypothesis.score > -1000
    with pytest.raises(SepasrError, match="method is attention"):
        model.transcribe(audio, lengths, DecodingConfig(method="attention"))


def test_words_are_made_of_the_case_that_the_model_knows(ctc_folders):
    vocabulary = load_ready_made(str(ctc_folders["wavlm"]), 16000).vocabulary
    assert vocabulary.case == "upper" and vocabulary.decode(vocabulary.encode("tea toe")) == "TEA TOE"


def test_another_sample_rate_is_resampled(ctc_folders):
    model = load_ready_made(str(ctc_folders["wav2vec2"]), 8000)
    _, frames = model.encode(torch.randn(1, 4000), torch.tensor([4000]))
    _, whole = load_ready_made(str(ctc_folders["wav2vec2"]), 16000).encode(torch.randn(1, 8000), torch.tensor([8000]))
    assert frames.tolist() == whole.tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_fine_tuning_reaches_the_separator(ctc_folders, tiny_separator, family):
    recognizer = load_ready_made(str(ctc_folders[family]), tiny_separator.config.sample_rate)
    model = JointModel.join(tiny_separator, recognizer).train()
    convolutions = [p.clone() for p in recognizer.features.model.feature_extractor.parameters()]
    ids = torch.tensor([recognizer.vocabulary.encode("TEA"), recognizer.vocabulary.encode("TOE")])
    mixture, lengths = torch.randn(1, 2, 4000), torch.tensor([4000])
    result = model(mixture, lengths, ids[None], torch.full((1, 2), 3))
    result.recognition.total.sum().backward()
    gradients = [p.grad for p in tiny_separator.parameters() if p.grad is not None]
    assert gradients and all(torch.isfinite(grad).all() for grad in gradients) and any(g.abs().sum() for g in gradients)
    assert recognizer.ctc_head.weight.grad is not None
    assert all(p.grad is None for p in recognizer.features.model.feature_extractor.parameters())
    torch.testing.assert_close(convolutions, list(recognizer.features.model.feature_extractor.parameters()))
    tiny_separator.zero_grad(set_to_none=True)
    tiny_separator.eval()


def test_a_joint_model_of_it_is_saved_whole(ctc_folders, tiny_separator, tmp_path):
    recognizer = load_ready_made(str(ctc_folders["wavlm"]), tiny_separator.config.sample_rate)
    model = JointModel.join(tiny_separator, recognizer).eval()
    model.save_pretrained(tmp_path)
    record = json.loads((tmp_path / "config.json").read_text())
    record["config"]["recognizer"]["name"] = "gone/away"
    (tmp_path / "config.json").write_text(json.dumps(record))
    again = load_system(str(tmp_path))
    mixture = torch.randn(1, 2, 4000)
    decoding = DecodingConfig(method="greedy")
    wanted, found = model.transcribe(mixture, decoding=decoding), again.transcribe(mixture, decoding=decoding)
    assert [one.text for one in wanted[0][0]] == [one.text for one in found[0][0]]
    torch.testing.assert_close(wanted[1], found[1])


def test_whisper_transcribes_a_batch_and_does_not_train(whisper_folder, tiny_separator):
    model = load_ready_made(str(whisper_folder), tiny_separator.config.sample_rate)
    assert isinstance(model, Whisper) and model.own_state() == {}
    found = model.transcribe(torch.randn(2, 8000), torch.tensor([8000, 5000]), DecodingConfig(beam=2))
    assert len(found) == 2 and all(isinstance(one.text, str) and one.tokens for one in found)
    joint = JointModel.join(tiny_separator, model)
    with pytest.raises(SepasrError, match="a whisper only transcribes; fine-tuning takes a CTC recogniser"):
        _ = joint.trainable_recognizer
    with pytest.raises(SepasrError, match="Whisper has no CTC head to take word times from"):
        model.transcribe(torch.randn(1, 8000), torch.tensor([8000]), DecodingConfig(), word_times=True)
    with pytest.raises(SepasrError, match="takes no language model"):
        model.transcribe(torch.randn(1, 8000), torch.tensor([8000]), DecodingConfig(), language_model=object())


def test_transcribe_with_another_recogniser(ctc_folders, whisper_folder, separator_folder, talkers, tmp_path):
    soundfile.write(tmp_path / "two.wav", talkers.T, 8000)
    for folder in (ctc_folders["wavlm"], whisper_folder):
        outcome = sepasr_cli.transcribe(
            [tmp_path / "two.wav"], model=str(separator_folder), recognizer=str(folder), decoding="greedy"
        )
        outcome.check()
        assert any(segment.words for segment in outcome.segments)


def test_joint_finetune_of_a_ready_made_recogniser(ctc_folders, make_run):
    run = make_run(joint=False)
    for split in ("train", "dev"):
        run.manifest(split).write_text(run.manifest("test").read_text())
    steps = ["joint_finetune.max_steps=1", "joint_finetune.validate_every=1", "joint_finetune.batch_size=1"]
    sepasr_cli.joint_finetune(run.path, recognizer=str(ctc_folders["wavlm"]), overrides=steps, device="cpu")
    assert run.recipe().joint_finetune.recognizer == str(ctc_folders["wavlm"])
    model = load_system(str(run.path))
    assert isinstance(model.recognizer, PretrainedCTC)
    before = load_ready_made(str(ctc_folders["wavlm"]), 8000)
    assert not torch.equal(model.recognizer.ctc_head.weight, before.ctc_head.weight)
    outcome = sepasr_cli.transcribe([run.path], split="test")
    outcome.check()
    with pytest.raises(SepasrError, match=r"joint was made with joint_finetune.recognizer = .* now 'no/model'"):
        sepasr_cli.joint_finetune(run.path, recognizer="no/model", device="cpu")


def test_ours_is_loaded_as_well(joint_folder, tiny_joint):
    assert load_recognizer(str(joint_folder), 8000).vocabulary == tiny_joint.recognizer.vocabulary


def test_what_cannot_recognise(ctc_folders, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SepasrError, match=r"recognizer 'no/where': no such folder, .*vocab.json of https"):
        load_recognizer("no/where", 16000)
    bare = tmp_path / "bare"
    HubertModel(HubertConfig(**sizes("layer"))).save_pretrained(bare)
    with pytest.raises(SepasrError, match=r"'.*bare': the folder holds no such model \(it lacks preprocessor_config"):
        load_ready_made(str(bare), 16000)
    save_tokenizer(bare)
    Wav2Vec2FeatureExtractor().save_pretrained(bare)
    with pytest.raises(SepasrError, match=r"lacks 2 weights \(lm_head.*give one that was trained to recognise"):
        load_ready_made(str(bare), 16000)
    phones = tmp_path / "phones"
    HubertForCTC(HubertConfig(**sizes("layer"))).save_pretrained(phones)
    save_tokenizer(phones, {**LETTERS, "tS": 5})
    Wav2Vec2FeatureExtractor().save_pretrained(phones)
    with pytest.raises(SepasrError, match="found 'tS' among its tokens; expected a model of characters"):
        load_ready_made(str(phones), 16000)
