"""The one exception that commands turn into one clear line and a non-zero exit."""


class UserError(Exception):
    """A mistake of the user's: one clear line with the fix, no traceback."""
