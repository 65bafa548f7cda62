"""The one exception that users are meant to see."""


class SepasrError(Exception):
    """A problem its user can solve. Its text is one line: what was found, what was expected, what to do."""
