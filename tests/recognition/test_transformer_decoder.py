import torch

from sepasr_cli.recognition.transformer_decoder import TransformerDecoder, TransformerDecoderConfig

TINY = TransformerDecoderConfig(blocks=2, heads=2, feed_forward=24)


def test_defaults_build():
    with torch.device("meta"):
        assert len(TransformerDecoder(TransformerDecoderConfig(), 256, 30).stack.layers) == 6


@torch.no_grad()
def test_cached_steps_equal_teacher_forcing():
    torch.manual_seed(0)
    decoder = TransformerDecoder(TINY, 12, 7).eval()
    encoded, lengths, tokens = torch.randn(3, 9, 12), torch.tensor([9, 4, 1]), torch.randint(0, 7, (3, 40))
    expected = decoder(encoded, lengths, tokens).log_softmax(-1)
    state = decoder.start(encoded, lengths)
    for place in range(40):
        found = decoder.step(tokens[:, place, None], state)
        torch.testing.assert_close(found[:, 0], expected[:, place], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_chosen_hypotheses_go_on_as_themselves():
    """A random search of many steps, with utterances leaving it, against teacher forcing of each sentence."""
    random = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    decoder = TransformerDecoder(TINY, 12, 7).eval()
    encoded, lengths = torch.randn(4, 9, 12), torch.tensor([9, 4, 1, 6])
    state = decoder.start(encoded, lengths)
    tokens = torch.full((4, 1), 6)
    sentences = tokens[..., None]
    for step in range(50):
        found = decoder.step(tokens, state)
        if step % 7 == 0:
            flat = sentences.flatten(0, 1)
            each = torch.arange(len(encoded)).repeat_interleave(sentences.shape[1])
            expected = decoder(encoded[each], lengths[each], flat)[:, -1].log_softmax(-1)
            torch.testing.assert_close(found.flatten(0, 1), expected, rtol=1e-4, atol=1e-5)
        if step in (20, 30):
            left = torch.tensor([2, 0]) if step == 20 else torch.tensor([1])
            state.keep(left)
            encoded, lengths, sentences = encoded[left], lengths[left], sentences[left]
        hypotheses = 1 + step % 5
        parents = torch.randint(sentences.shape[1], (len(encoded), hypotheses), generator=random)
        tokens = torch.randint(7, parents.shape, generator=random)
        state.select(parents)
        rows = torch.arange(len(encoded))[:, None]
        sentences = torch.cat([sentences[rows, parents], tokens[..., None]], dim=2)
