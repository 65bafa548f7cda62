import pytest
import torch

from sepasr_cli.errors import SepasrError
from sepasr_cli.recognition.conformer import Conformer, ConformerConfig, RelativeAttention, sinusoids
from sepasr_cli.settings import validate

TINY = ConformerConfig(blocks=2, size=16, heads=2, feed_forward=32, kernel=5)


def test_defaults_build():
    with torch.device("meta"):
        assert len(Conformer(ConformerConfig(), 80).blocks) == 12


@pytest.mark.parametrize("subsampling", [2, 4])
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_an_example_alone_equals_itself_in_a_padded_batch(subsampling, norm):
    torch.manual_seed(0)
    model = Conformer(TINY.model_copy(update={"subsampling": subsampling, "convolution_norm": norm}), 12).eval()
    lengths = [40, 23, 7, 1]
    features = torch.randn(4, 40, 12)
    encoded, frames = model(features, torch.tensor(lengths))
    for number, length in enumerate(lengths):
        alone, alone_frames = model(features[number : number + 1, :length], torch.tensor([length]))
        assert alone_frames[0] == frames[number] == alone.shape[1] >= 1
        torch.testing.assert_close(encoded[number, : frames[number]], alone[0], rtol=1e-4, atol=1e-5)


def test_training_statistics_do_not_depend_on_padding():
    torch.manual_seed(0)
    features, lengths = torch.randn(2, 30, 12), torch.tensor([30, 21])
    models = [Conformer(ConformerConfig(**{**TINY.model_dump(), "dropout": 0.0}), 12).train() for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    first, frames = models[0](features, lengths)
    second, _ = models[1](torch.nn.functional.pad(features, (0, 0, 0, 50)), lengths)
    for number, length in enumerate(frames):
        torch.testing.assert_close(first[number, :length], second[number, :length], rtol=1e-4, atol=1e-5)
    for name, value in models[0].state_dict().items():
        torch.testing.assert_close(value, models[1].state_dict()[name])


def test_one_frame_alone_can_be_trained_on():
    encoded, frames = Conformer(TINY, 12).train()(torch.randn(1, 1, 12), torch.tensor([1]))
    assert frames.tolist() == [1]
    assert encoded.isfinite().all()


def test_relative_attention_equals_its_definition():
    """Dai et al. 2019, appendix B, one pair of frames at a time."""
    torch.manual_seed(0)
    size, heads, frames = 8, 2, 5
    model = RelativeAttention(size, heads, 0.0)
    x = torch.randn(1, frames, size)
    found = model(x, sinusoids(torch.arange(frames - 1, -frames, -1), size), torch.tensor([[True] * 4 + [False]]))

    query, key, value = (layer(x)[0].view(frames, heads, -1) for layer in (model.query, model.key, model.value))
    mixed = torch.zeros(frames, heads, size // heads)
    for head in range(heads):
        for i in range(frames):
            scores = torch.zeros(4)
            for j in range(4):
                distance = model.position(sinusoids(torch.tensor([i - j]), size)).view(heads, -1)[head]
                scores[j] = (query[i, head] + model.content_bias[head, 0]) @ key[j, head]
                scores[j] += (query[i, head] + model.position_bias[head, 0]) @ distance
            mixed[i, head] = (scores / (size // heads) ** 0.5).softmax(0) @ value[:4, head]
    torch.testing.assert_close(found[0], model.out(mixed.flatten(1)))


def test_checkpointed_activations_change_nothing():
    torch.manual_seed(0)
    plain = Conformer(TINY, 12).train()
    checkpointed = Conformer(TINY.model_copy(update={"checkpoint_activations": True}), 12).train()
    checkpointed.load_state_dict(plain.state_dict())
    features, lengths = torch.randn(2, 30, 12), torch.tensor([30, 20])
    for model in (plain, checkpointed):
        torch.manual_seed(1)
        model(features, lengths)[0].square().sum().backward()
    for (name, expected), found in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, msg=name)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(checkpointed.state_dict()[name], value)


@pytest.mark.parametrize(
    "values", [{"size": 30, "heads": 4}, {"size": 5, "heads": 5}, {"kernel": 14}, {"subsampling": 3}]
)
def test_impossible_sizes_are_refused(values):
    with pytest.raises(SepasrError):
        validate(ConformerConfig, values, "test")


def test_too_few_features_are_refused():
    with pytest.raises(SepasrError, match="6 dimensions"):
        Conformer(TINY, 6)


def test_a_new_encoder_tells_frames_apart():
    """With Glorot's weights the first attention layers average over time at full strength, each block halves what
    differs between frames, and training stood still for thousands of steps (0.6 % of energy left after 8 blocks)."""
    torch.manual_seed(0)
    encoder = Conformer(ConformerConfig(blocks=8, size=64, heads=4, feed_forward=128, subsampling=4), 40).eval()
    encoded, _ = encoder(torch.randn(4, 200, 40), torch.full((4,), 200))
    varying = (encoded - encoded.mean(1, keepdim=True)).square().mean() / encoded.square().mean()
    assert varying > 0.1
