"""The one exception that speaks to the user: a sentence that says what, where and what to do."""


class UserError(ValueError):
    """Something the user can mend: the command line prints its message alone and exits with 1.

    The message is one sentence: what is wrong, where (file, key, value) and what to do about it.
    It is a ValueError, so library code can be used without knowing this class.
    """


LONGEST_LINE, END = 2000, 300  # characters of a line that is shown, and how many of its last ones


def shown(text: str) -> str:
    """A text that holds values from files, as a terminal may have it: no control characters, no endless lines.

    A line that is too long loses its middle: what is wrong stands at its beginning, the remedy at its end.
    """
    lines = ("".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in text.split("\n"))
    return "\n".join(
        line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - END]} ... {line[-END:]}" for line in lines
    )
