"""The one exception that speaks to the user: a sentence that says what, where and what to do."""


class UserError(ValueError):
    """Something the user can mend: the command line prints its message alone and exits with 1.

    The message is one sentence: what is wrong, where (file, key, value) and what to do about it.
    It is a ValueError, so library code can be used without knowing this class.
    """
