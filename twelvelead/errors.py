"""Errors that a user can act on: one line that names the file, what is wrong and what to do."""


class UserError(Exception):
    """Something outside the program is wrong; the command line prints the message and no traceback."""


class RecordingError(UserError):
    """A recording that cannot be read. The message names the file and the fault."""
