"""The page as text: whole in itself, strict about what runs in it, and every word of a run's harmless."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sepasr_cli.reporting.page import METRICS
from sepasr_cli.rundir import RunDir
from sepasr_cli.stages.report import report
from sepasr_cli.stages.score import score

MakeRun = Callable[..., RunDir]
#: What a speaker of the runs says.
CRUEL = '<script>alert("x")</script>'


@pytest.fixture(scope="module")
def page(run: RunDir, other: RunDir, tmp_path_factory: pytest.TempPathFactory) -> str:
    return report([run.path, other.path], out=tmp_path_factory.mktemp("page") / "page.html").read_text("utf-8")


class Parsed(HTMLParser):
    """The elements of a page: their names and attributes, and the text outside scripts and styles."""

    void = frozenset(("meta", "input", "link", "br", "img"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)


def test_words_of_the_run_are_words_on_the_page(page: str) -> None:
    parsed = Parsed(page)
    assert CRUEL.split()[0] not in page
    assert sum(word == CRUEL for word in parsed.words) > 4
    assert [tag for tag, _ in parsed.found].count("script") == 1
    assert not any(name.startswith("on") for _, attributes in parsed.found for name in attributes)


def test_names_are_harmless_wherever_they_stand(new_run: MakeRun) -> None:
    """Ids, speakers and the run's own name, in the table, in labels, in links and in charts."""
    cruel = """'"><img src=x onerror=alert(1)></script><script>alert(2)</script>{{ 7 * 7 }}"""
    run = new_run(count=6, systems=("joint", "cascade"))
    for path in [*run.path.rglob("*.jsonl"), *run.path.rglob("transcripts.json")]:
        text = path.read_text("utf-8")
        for name in ("test_0", "ann"):
            told = json.dumps(f"{name}{cruel}")
            text = re.sub(rf'("(?:id|session_id|speaker)": ?)"{name}"', lambda found, told=told: found[1] + told, text)
        path.write_text(text, "utf-8")
    moved = run.path.rename(run.path.with_name("<b>run"))
    page = report([moved]).read_text("utf-8")
    parsed = Parsed(page)
    assert f"test_0{cruel}" in parsed.words and f"ann{cruel}" in parsed.words and "<b>run joint" in parsed.words
    assert [tag for tag, _ in parsed.found].count("script") == 1 and not {"img", "b>run"} & {
        tag for tag, _ in parsed.found
    }
    assert not any(name.startswith("on") for _, attributes in parsed.found for name in attributes)
    speakers = [
        json.loads(attributes["data-speakers"] or "") for _, attributes in parsed.found if "data-speakers" in attributes
    ]
    assert speakers == [[f"ann{cruel}", "bob"]] * 6


def test_nothing_is_fetched_and_nothing_else_runs(page: str) -> None:
    parsed = Parsed(page)
    for tag, attributes in parsed.found:
        for name in ("src", "href", "action", "data", "poster"):
            value = attributes.get(name) or ""
            assert value == "" or value.startswith(("#", "data:audio/mpeg;base64,")), (tag, value[:80])
        assert "style" not in attributes
    policy = next(attributes["content"] for _, attributes in parsed.found if "http-equiv" in attributes) or ""
    for name in ("script", "style"):
        (text,) = re.findall(f"<{name}>(.*?)</{name}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http:" not in policy


def test_what_is_labelled_is_there(page: str) -> None:
    parsed = Parsed(page)
    ids = [attributes["id"] for _, attributes in parsed.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in parsed.found:
        for name in ("aria-labelledby", "aria-describedby"):
            assert attributes.get(name) is None or attributes[name] in ids
        if (attributes.get("href") or "").startswith("#"):
            assert (attributes["href"] or "")[1:] in ids
    for tag, attributes in parsed.found:
        assert tag != "audio" or attributes["aria-label"]
        assert tag != "svg" or "aria-label" in attributes or attributes.get("aria-hidden") == "true"


def test_all_columns_and_recordings_are_in_it(page: str) -> None:
    words = " ".join(Parsed(page).words)
    for name in ("first joint", "first cascade", "second", "test_3", "test_2 (second)", "WER", "SI-SDR improvement"):
        assert name in words
    assert page.count("<tr data-words=") == page.count('<details class="recording"') == 7
    assert page.count("<audio ") == 4 * (3 + 2 + 2) + 3 * (3 + 2)


def test_differences_to_the_first_column(page: str) -> None:
    """The cascade is bad at words, and worse for sure; the second run has no recording of the first's."""
    cells = re.findall(r'<span class="gain (\w+)">(\S+) <span class="bounds">\[(\S+), (\S+)\]</span>', page)
    assert len(cells) == page.count('class="gain') > 8
    assert cells[0] == ("worse", "+100.0", "+100.0", "+100.0")
    assert {verdict for verdict, *_ in cells} <= {"better", "worse", "undecided"}


def test_numbers_and_what_has_none() -> None:
    assert METRICS["wer"].shown(0.1234) == "12.3" and METRICS["si_sdr"].shown(-1.5) == "\N{MINUS SIGN}1.50"
    assert METRICS["si_sdr_improvement"].shown(2) == "+2.00" and METRICS["pesq"].shown(None) == "\N{EN DASH}"


def test_words_alone_and_signals_alone(new_run: MakeRun, tmp_path: Path) -> None:
    run = new_run(count=2, systems=("joint",))
    (run.path / "separated/test").rename(run.path / "separated/aside")
    score(run.path)
    words = report([run.path], out=tmp_path / "words.html").read_text("utf-8")
    Parsed(words)
    assert (
        words.count("<audio ") == 2 * 3
        and "heard as spk2" in words
        and "SI-SDR improvement over recordings" not in words
    )
    (run.path / "separated/aside").rename(run.path / "separated/test")
    (run.path / "transcripts/test/transcripts.json").unlink()
    score(run.path)
    signals = report([run.path], out=tmp_path / "signals.html").read_text("utf-8")
    Parsed(signals)
    assert (
        signals.count("<audio ") == 2 * 5
        and "heard as" not in signals
        and "SI-SDR improvement over recordings" in signals
    )
