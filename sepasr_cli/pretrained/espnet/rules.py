"""Weights by another name: rules that say which of theirs makes which of ours, checked so that none is left over."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from sepasr_cli.errors import SepasrError

#: In place of a name of ours: a weight of theirs that we make otherwise.
DROPPED = ""

#: Names shown in an error.
SHOWN = 8


@dataclass(frozen=True)
class Rule:
    """One of our weights, the names of theirs that it is made of, and how."""

    ours: str
    theirs: tuple[str, ...]
    make: Callable[..., Tensor] = lambda weight: weight

    def prefixed(self, ours: str, theirs: str) -> "Rule":
        """The same rule inside a larger model."""
        name = DROPPED if self.ours == DROPPED else ours + self.ours
        return replace(self, ours=name, theirs=tuple(theirs + name for name in self.theirs))


def same(ours: str, theirs: str, names: Sequence[str] = ("weight", "bias")) -> Iterator[Rule]:
    """The weights of a layer that both have alike."""
    for name in names:
        yield Rule(f"{ours}.{name}", (f"{theirs}.{name}",))


def apply(rules: Iterable[Rule], state: Mapping[str, Tensor], model: nn.Module, origin: str) -> None:
    """Fill a model with their weights.

    Args:
        rules: one for each of the model's weights; they use each of `state`.
        state: their weights.
        model: filled in place, all of it.
        origin: the file, for errors.

    Raises:
        SepasrError: listing the weights that are missing, left over, or of another size than the model's.
    """
    rules = list(rules)
    used = {name for rule in rules for name in rule.theirs}
    missing = sorted(used - set(state))
    left = sorted(set(state) - used)
    if missing or left:
        found = [f"{len(names)} {what} ({listed(names)})" for names, what in ((missing, "missing"), (left, "unknown"))
                 if names]  # fmt: skip
        raise SepasrError(
            f"{origin}: weights do not fit its config.yaml: {', '.join(found)}; give both files of one experiment"
        )
    wanted, filled = model.state_dict(), {}
    for rule in rules:
        if rule.ours == DROPPED:
            continue
        sizes = ", ".join(f"{name} {tuple(state[name].shape)}" for name in rule.theirs[:2])
        try:
            value = rule.make(*(state[name] for name in rule.theirs))
        except (RuntimeError, IndexError) as error:
            raise SepasrError(f"{origin}: {sizes}: not the sizes that config.yaml gives; give both files of one "
                              "experiment") from error  # fmt: skip
        if value.shape != wanted[rule.ours].shape:
            raise SepasrError(
                f"{origin}: {sizes}: sizes do not fit config.yaml, which makes {rule.ours} of "
                f"{tuple(wanted[rule.ours].shape)}; give both files of one experiment"
            )
        filled[rule.ours] = value.to(wanted[rule.ours].dtype)
    model.load_state_dict(filled)


def listed(names: Sequence[str]) -> str:
    """Names for an error, not too many."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
