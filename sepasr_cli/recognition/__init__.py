"""Recognition: audio of one speaker to text."""

from sepasr_cli.recognition.beam_search import DecodingConfig
from sepasr_cli.recognition.language_model import LanguageModel, LanguageModelConfig
from sepasr_cli.recognition.recognizer import Hypothesis, RecognitionLoss, Recognizer, RecognizerConfig
from sepasr_cli.recognition.tokens import Vocabulary

__all__ = [
    "DecodingConfig",
    "Hypothesis",
    "LanguageModel",
    "LanguageModelConfig",
    "RecognitionLoss",
    "Recognizer",
    "RecognizerConfig",
    "Vocabulary",
]
