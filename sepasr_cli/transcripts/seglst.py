"""SegLST, the truth: a JSON list of segments, as MeetEval (https://github.com/fgnt/meeteval) reads it."""

import json
from collections.abc import Sequence
from typing import Any

from sepasr_cli.errors import SepasrError
from sepasr_cli.settings import validate
from sepasr_cli.transcripts.segment import Segment


def write(segments: Sequence[Segment]) -> str:
    """Every segment with all that is known of it."""
    records = [segment.model_dump(mode="json", exclude_none=True) for segment in segments]
    return json.dumps(records, indent=2, ensure_ascii=False) + "\n"


def read(text: str, origin: str, session: str) -> list[Segment]:
    """Segments of a SegLST file; keys that are not ours are left out."""
    try:
        records = json.loads(text)
    except ValueError as error:
        raise SepasrError(f"{origin}: not JSON ({error}); expected a list of segments (SegLST)") from None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise SepasrError(f"{origin}: expected a JSON list of segments (SegLST), one object each")
    return [
        validate(Segment, _known(record), f"{origin}: segment {number}") for number, record in enumerate(records, 1)
    ]


def _known(record: dict[str, Any]) -> dict[str, Any]:
    """The keys that we keep (SegLST allows any others), names as text."""
    kept = {key: value for key, value in record.items() if key in Segment.model_fields}
    return kept | {key: str(kept[key]) for key in ("session_id", "speaker") if key in kept}
