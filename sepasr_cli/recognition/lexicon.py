"""The words there are, as a scorer of the beam search that rules out whatever spells none of them.

Letters: B utterance, K hypothesis, V vocabulary.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from sepasr_cli.errors import SepasrError
from sepasr_cli.recognition.tokens import BLANK_ID, SPACE, UNKNOWN_ID, WORD_START, Vocabulary

#: Nodes of the tree of words: of the sentence's beginning, and of a word's.
SENTENCE, WORD = 0, 1


class LexiconState:
    """At which nodes the hypotheses stand, (B, K)."""

    def __init__(self, nodes: Tensor) -> None:
        self.nodes = nodes

    def keep(self, utterances: Tensor) -> None:
        """Forget all but the utterances at these indices (B',)."""
        self.nodes = self.nodes[utterances.to(self.nodes.device)]

    def select(self, parents: Tensor) -> None:
        """Go on from these hypotheses (B, K')."""
        self.nodes = self.nodes.gather(1, parents.to(self.nodes.device))


class Lexicon:
    """A tree of words, a character an edge, on which tokens of any length walk."""

    def __init__(self, words: Iterable[str], vocabulary: Vocabulary) -> None:
        """The words, spelled as `vocabulary` spells them.

        Raises:
            SepasrError: where there is none, or one that the vocabulary cannot spell.
        """
        self.vocabulary = vocabulary
        self._children: list[dict[str, int]] = [{}, {}]
        self._ends: set[int] = set()
        for word in words:
            tokens = vocabulary.encode(word)
            if UNKNOWN_ID in tokens:
                raise SepasrError(f"words: the recogniser cannot spell '{word}'; leave it out, or mind its case")
            self._add(vocabulary.decode(tokens))
        if not self._ends:
            raise SepasrError("words: none found, expected at least one")
        # Byte-pair tokens begin a sentence as any word, with a mark; characters have none before the first.
        self._children[SENTENCE] = self._children[WORD] | ({" ": WORD} if vocabulary.kind == "bpe" else {})
        self._texts = [self._text(number) for number in range(len(vocabulary.tokens))]
        self._rows: dict[int, tuple[list[int], Tensor]] = {}

    def _add(self, word: str) -> None:
        node = WORD
        for character in word:
            if character not in self._children[node]:
                self._children[node][character] = len(self._children)
                self._children.append({})
            node = self._children[node][character]
        self._ends.add(node)

    def _text(self, token: int) -> str | None:
        """What a token adds to a sentence, None where it may not."""
        if token in (BLANK_ID, UNKNOWN_ID, self.vocabulary.boundary_id):
            return None
        text = self.vocabulary.tokens[token]
        if self.vocabulary.kind == "characters":
            return " " if text == SPACE else text
        return text.replace(WORD_START, " ")

    def _walk(self, node: int, text: str | None) -> int:
        """The node that a text leads to, -1 where no word goes on so."""
        if text is None:
            return -1
        for character in text:
            if character in self._children[node]:
                node = self._children[node][character]
            elif character == " " and node in self._ends:
                node = WORD
            else:
                return -1
        return node

    def _row(self, node: int) -> tuple[list[int], Tensor]:
        """Of a node where each of the V tokens leads, and their log probabilities (V,): 0 or -inf."""
        if node not in self._rows:
            after = [self._walk(node, text) for text in self._texts]
            allowed = torch.tensor(after) >= 0
            allowed[self.vocabulary.boundary_id] = node in self._ends or node == SENTENCE
            log_probs = torch.zeros(len(after)).masked_fill(~allowed, -torch.inf)
            self._rows[node] = [max(place, SENTENCE) for place in after], log_probs
        return self._rows[node]

    def start(self, utterances: int) -> LexiconState:
        """The state before the first token, (B, 1)."""
        return LexiconState(torch.full((utterances, 1), SENTENCE))

    def step(self, tokens: Tensor, state: LexiconState) -> Tensor:
        """Tokens (B, K) -> log probabilities (B, K, V) of the next one, 0 or -inf; the state goes on by the tokens."""
        home = tokens.device
        # The boundary before the first token, and after a sentence's last, where nothing counts any more.
        pairs = zip(state.nodes.flatten().tolist(), tokens.flatten().tolist(), strict=True)
        nodes = [self._row(node)[0][token] for node, token in pairs]
        state.nodes = torch.tensor(nodes).view(tokens.shape)
        return torch.stack([self._row(node)[1] for node in nodes]).view(*tokens.shape, -1).to(home)
