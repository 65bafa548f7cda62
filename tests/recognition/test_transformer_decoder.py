import torch

from sepasr_cli.recognition.transformer_decoder import TransformerDecoder, TransformerDecoderConfig

TINY = TransformerDecoderConfig(blocks=2, heads=2, feed_forward=24)


def test_defaults_build():
    with torch.device("meta"):
        assert len(TransformerDecoder(TransformerDecoderConfig(), 256, 30).stack.layers) == 6


def test_cached_steps_equal_teacher_forcing():
    torch.manual_seed(0)
    decoder = TransformerDecoder(TINY, 12, 7).eval()
    encoded, lengths, tokens = torch.randn(3, 9, 12), torch.tensor([9, 4, 1]), torch.randint(0, 7, (3, 6))
    expected = decoder(encoded, lengths, tokens).log_softmax(-1)
    state = decoder.start(encoded, lengths)
    for place in range(6):
        found, state = decoder.step(tokens[:, place], state)
        torch.testing.assert_close(found, expected[:, place], rtol=1e-4, atol=1e-5)


def test_selected_hypotheses_go_on_as_themselves():
    torch.manual_seed(0)
    decoder = TransformerDecoder(TINY, 12, 7).eval()
    encoded, tokens = torch.randn(1, 9, 12), torch.tensor([[6, 2, 3], [6, 4, 5], [6, 4, 1]])
    expected = decoder(encoded.expand(3, -1, -1), torch.tensor([9] * 3), tokens)[:, -1].log_softmax(-1)
    _, state = decoder.step(torch.tensor([6]), decoder.start(encoded))
    _, state = decoder.step(torch.tensor([2, 4]), state.select(torch.tensor([0, 0])))
    found, _ = decoder.step(torch.tensor([3, 5, 1]), state.select(torch.tensor([0, 1, 1])))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    # The same where each hypothesis has its own encoder output.
    state = decoder.start(encoded.repeat(2, 1, 1), torch.tensor([9, 3]))
    _, state = decoder.step(torch.tensor([6, 6]), state)
    alone = decoder(encoded, torch.tensor([3]), torch.tensor([[6, 2]]))[0, -1].log_softmax(-1)
    found, _ = decoder.step(torch.tensor([2]), state.select(torch.tensor([1])))
    torch.testing.assert_close(found[0], alone, rtol=1e-4, atol=1e-5)
