"""The two ways in which a command stops with a message instead of a stack trace."""


class TrainingError(Exception):
    """Something the user can put right: the message says what was found and what to do."""


class NotRepeated(Exception):
    """A figure that was recomputed is not the one that is committed."""
