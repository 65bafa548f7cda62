"""Models on disk: `model.safetensors` and a plain `config.json`, loaded without unpickling."""

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from typing_extensions import Self

import sepasr_cli
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import atomic, write_json
from sepasr_cli.hub import unavailable
from sepasr_cli.settings import Settings, validate

ConfigType = TypeVar("ConfigType", bound=Settings)

WEIGHTS, CONFIG = "model.safetensors", "config.json"

#: What stands at the top of config.json too, wherever the configuration has it.
FACTS = ("sample_rate", "microphones", "speakers")


MODEL_CARD = """---
{{ card_data }}
---

# {{ kind }}

A model of sepasr, speech separation and recognition for people who talk at once, with the method of [arXiv
2307.12231](https://arxiv.org/abs/2307.12231). Where FOLDER is this one, or its name on Hugging Face:

    sepasr {{ usage }}

| | |
|---|---|
{% for name, value in facts.items() %}| {{ name }} | {{ value }} |
{% endfor %}
The whole configuration and what the weights were trained from stand in `config.json`. The speech and noise that it was
trained on, their licences, and what the model is not fit for, are for its trainer to add here.
"""


class SavedModel(
    nn.Module,
    ModelHubMixin,
    Generic[ConfigType],
    library_name="sepasr",
    tags=["speech-separation", "automatic-speech-recognition"],
    model_card_template=MODEL_CARD,
):
    """A module made from its configuration alone, which can be saved, loaded and shared.

    A subclass sets `kind`, a name that never changes, and `Config`, the class of its configuration.
    """

    kind: ClassVar[str]
    Config: ClassVar[type[Settings]]
    #: The command that uses a saved one, in its card.
    usage: ClassVar[str] = "transcribe INPUT --model FOLDER"

    def __init__(self, config: ConfigType) -> None:
        super().__init__()
        self.config = config
        #: What made the weights, kept in config.json: recipe fingerprint and the like.
        self.provenance: dict[str, Any] = {}

    def frozen_prefixes(self) -> tuple[str, ...]:
        """Names of weights that belong to somebody else's model and are not saved with ours."""
        return ()

    def own_state(self) -> dict[str, torch.Tensor]:
        """The weights that are saved: all but the frozen ones."""
        frozen = self.frozen_prefixes()
        return {name: value for name, value in self.state_dict().items() if not name.startswith(frozen or "\0")}

    def load_own_state(self, state: dict[str, torch.Tensor], origin: str) -> None:
        """Fill the model from saved weights; its own precision stays, whichever they were saved in.

        Raises:
            SepasrError: where weights are missing, unknown or of another shape.
        """
        wanted = self.own_state()
        wrong = [name for name in wanted if name not in state or state[name].shape != wanted[name].shape]
        wrong += [name for name in state if name not in wanted]
        if wrong:
            raise SepasrError(
                f"{origin}: {len(wrong)} weights do not fit the model that {CONFIG} describes, {wrong[0]} the first; "
                "copy both files again from one place"
            )
        self.load_state_dict(state, strict=False)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The README.md that is saved with the model: what it is, its size, how to use it, what validation said."""
        facts = {name.replace("_", " "): value for name, value in _facts(self.config).items()}
        facts["weights"] = f"{sum(value.numel() for value in self.own_state().values()) / 1e6:.2f} million"
        for name, value in self.provenance.items():
            facts |= {f"{name}: {key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
        return super().generate_model_card(*args, kind=self.kind, facts=facts, usage=self.usage, **kwargs)

    def _save_pretrained(self, save_directory: Path) -> None:
        write_json(
            save_directory / CONFIG,
            {
                "kind": self.kind,
                "sepasr_version": sepasr_cli.__version__,
                **_facts(self.config),
                **self.provenance,
                "config": self.config.model_dump(mode="json"),
            },
        )
        with atomic(save_directory / WEIGHTS) as temporary:
            save_file({name: value.detach().cpu().contiguous() for name, value in self.own_state().items()}, temporary)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, map_location: str = "cpu", **download: Any) -> Self:
        choices = ("revision", "cache_dir", "local_files_only", "force_download", "token")
        folder = local_folder(model_id, **{name: download[name] for name in choices if name in download})
        record = read_config(folder)
        if record["kind"] != cls.kind:
            raise SepasrError(f"{folder}: holds a model of kind '{record['kind']}', expected '{cls.kind}'")
        config: Any = validate(cls.Config, record["config"], str(folder / CONFIG))
        model = cls(config)
        ours = ("kind", "sepasr_version", "config", *FACTS)
        model.provenance = {key: value for key, value in record.items() if key not in ours}
        if not (folder / WEIGHTS).is_file():
            raise SepasrError(f"{folder}: holds no {WEIGHTS}; expected a saved model, copy the weights there too")
        try:
            state = load_file(folder / WEIGHTS, device=map_location)
        except (SafetensorError, OSError) as error:
            raise SepasrError(f"{folder / WEIGHTS}: cannot be read ({error}); copy the model again") from None
        model.load_own_state(state, str(folder / WEIGHTS))
        return model.eval()


def weights_fingerprint(*models: SavedModel) -> str:
    """Sixteen hexadecimal digits that change with the weights or the configuration of any."""
    digest = hashlib.sha256()
    for model in models:
        digest.update(model.config.model_dump_json().encode())
        for name, value in sorted(model.own_state().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _facts(config: Settings) -> dict[str, Any]:
    """Of each of `FACTS` the value in a configuration, or in the first of its parts that has one."""
    parts = [config, *(value for _, value in config if isinstance(value, Settings))]
    return {name: values[0] for name in FACTS if (values := [getattr(p, name) for p in parts if hasattr(p, name)])}


def local_folder(name: str, **download: Any) -> Path:
    """The folder of a saved model: a local one, or the download of a Hugging Face name.

    Raises:
        SepasrError: where there is neither.
    """
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.md"], **download))
    except (HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError, ValueError, OSError) as error:
        remedy = "give its path, or that of a run directory"
        raise SepasrError(f"model {unavailable(name, (CONFIG, WEIGHTS), remedy, error)}") from None


def read_config(folder: Path) -> dict[str, Any]:
    """The content of a saved model's `config.json`.

    Raises:
        SepasrError: where it is missing or not one of ours.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise SepasrError(f"{folder}: holds no {CONFIG}; expected a run directory or a saved model's folder")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SepasrError(f"{path}: not JSON ({error}); copy the model again") from None
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str) or "config" not in record:
        raise SepasrError(f"{path}: not the configuration of a sepasr model; expected the keys 'kind' and 'config'")
    return record
