import pytest
import torch

from sepasr_cli.errors import SepasrError
from sepasr_cli.recognition.recognizer import RecognizerConfig
from sepasr_cli.recognition.transformer_encoder import TransformerEncoder, TransformerEncoderConfig
from sepasr_cli.settings import validate

TINY = {"blocks": 2, "size": 16, "heads": 2, "feed_forward": 32}


def test_configurations():
    with torch.device("meta"):
        assert len(TransformerEncoder(TransformerEncoderConfig(), 80).blocks) == 12
    chosen = validate(RecognizerConfig, {"encoder": {"kind": "transformer"} | TINY}, "test")
    assert chosen.encoder.kind == "transformer"
    assert validate(RecognizerConfig, {"encoder": {"blocks": 2}}, "test").encoder.kind == "conformer"
    with pytest.raises(SepasrError, match=r"'encoder.kind': found 'lstm', expected one of 'conformer', 'transformer'"):
        validate(RecognizerConfig, {"encoder": {"kind": "lstm"}}, "test")
    with pytest.raises(SepasrError, match=r"unknown key 'encoder.kernel'"):
        validate(RecognizerConfig, {"encoder": {"kind": "transformer", "kernel": 3}}, "test")


@pytest.mark.parametrize("subsampling", [2, 4])
def test_example_alone_equals_itself_in_a_padded_batch(subsampling):
    torch.manual_seed(0)
    encoder = TransformerEncoder(TransformerEncoderConfig(**TINY, subsampling=subsampling), 12).eval()
    features, lengths = torch.randn(3, 60, 12), torch.tensor([60, 33, 5])
    batch, frames = encoder(features, lengths)
    for example, length, count, found in zip(features, lengths, frames, batch, strict=True):
        alone, _ = encoder(example[None, :length], length[None])
        torch.testing.assert_close(found[:count], alone[0, :count], rtol=1e-4, atol=1e-5)


def test_order_matters_and_checkpoints_change_nothing():
    torch.manual_seed(0)
    encoder = TransformerEncoder(TransformerEncoderConfig(**TINY), 12).eval()
    features, lengths = torch.randn(1, 60, 12, requires_grad=True), torch.tensor([60])
    found = encoder(features, lengths)[0]
    assert (encoder(features.flip(1), lengths)[0].flip(1) - found).abs().max() > 0.01
    again = TransformerEncoder(TransformerEncoderConfig(**TINY, checkpoint_activations=True), 12).eval()
    again.load_state_dict(encoder.state_dict())
    other = again(features, lengths)[0]
    torch.testing.assert_close(other, found)
    gradients = [torch.autograd.grad(x.square().sum(), features)[0] for x in (found, other)]
    torch.testing.assert_close(*gradients)
