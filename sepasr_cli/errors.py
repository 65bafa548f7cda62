"""The exceptions that users are meant to see."""


class SepasrError(Exception):
    """A problem its user can solve. Its text is one line: what was found, what was expected, what to do."""


class ArgumentError(SepasrError):
    """An argument that is wrong whatever the files hold; the command line's exit status is then 2."""
