"""The one exception for a user's mistake: the command line prints it as one line and exits with code 2."""


class UserError(ValueError):
    """A mistake in a config, a path or a command; the message names the key or file, what was found and what to do."""


class MisfitError(UserError):
    """A checkpoint's arrays are not those that the config wants; the message says which."""


def placed(error: UserError, place: str) -> UserError:
    """The same mistake of an object in a list, or inside another, which does not know the `place` where it stands:
    'config.data.path is empty' of config.data.images is one of config.data.images.path."""
    said, group = str(error), '.'.join(place.split('.')[:2])
    if said.startswith(place):
        return error
    own = said.startswith(f'{group}.')
    return UserError(f'{place}{said.removeprefix(group)}' if own else f'{place}: {said}')
