"""The one exception for a user's mistake: the command line prints it as one line and exits with code 2."""


class UserError(ValueError):
    """A mistake in a config, a path or a command; the message names the key or file, what was found and what to do."""
