"""What the command line prints as one line and not as a traceback: a user's mistake (exit code 2), a failure (1)."""

from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in a config, a path or a command; the message names the key or file, what was found and what to do."""


class MisfitError(UserError):
    """A checkpoint's arrays are not those that the config wants; the message says which."""


class Failure(RuntimeError):  # noqa: N818, as the command line calls it
    """What went wrong though the command is right: numbers that are not finite, a full disk. Says what to do."""


class NotFinite(Failure):
    """Videos that cannot be shown: nan or infinity is in them, or in the latents that they are decoded from.

    Attributes:
      numbers: which of the videos, counted from 0.
      count: how many were asked for.
      where: the weights that made them, '' where only one can be meant.
    """

    def __init__(self, numbers: Iterable[int], count: int, where: str = ''):
        self.numbers = tuple(sorted(int(number) for number in numbers))
        self.count, self.where = count, where
        of = f'of {where}, ' if where else ''
        super().__init__(
            f'{len(self.numbers)} of {count} videos {of}are not finite (nan or infinity): number '
            f'{format_ranges(self.numbers)}. The weights have diverged, a codec is another one than in training, or '
            'config.model.dtype overflows: try an earlier --step, or --config.model.dtype=float32'
        )


def first_line(error: BaseException, most: int = 200) -> str:
    """What went wrong in one line of at most `most` characters: the first that it says, else its kind."""
    return next(filter(None, (line.strip() for line in str(error).splitlines())), type(error).__name__)[:most]


def escape_unprintable(text: str) -> str:
    """A name on one line of a terminal, whatever characters a file was called by."""
    return ''.join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def one_line(error: BaseException, most: int = 2000) -> str:
    """What an error says, for a terminal: values of a file that somebody else made may be in it."""
    text = escape_unprintable(str(error))
    return text if len(text) <= most else f'{text[:most]} …'


def format_ranges(numbers: Iterable[int], shown: int = 8) -> str:
    """Ascending whole numbers as text, neighbours taken together: '0 to 3, 7'; `shown` such runs at most."""
    runs: list[list[int]] = []  # first and last of each
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    texts = [f'{first}' if first == last else f'{first} to {last}' for first, last in runs]
    return ', '.join(texts[:shown]) + (f', … {runs[-1][1]}' if len(texts) > shown else '')


def describe_bad_tensors(names: list[str]) -> str:
    """'31 tensors hold nan or infinity, the first is head/out/bias'."""
    some = '1 tensor holds' if len(names) == 1 else f'{len(names)} tensors hold'
    return f'{some} nan or infinity, the first is {names[0]}'


def with_key(error: UserError, place: str) -> UserError:
    """The same mistake of an object in a list, or inside another, which does not know the `place` where it stands:
    'config.data.path is empty' of config.data.images is one of config.data.images.path.
    """
    said, group = str(error), '.'.join(place.split('.')[:2])
    if said.startswith(place):
        return error
    own = said.startswith(f'{group}.')
    return UserError(f'{place}{said.removeprefix(group)}' if own else f'{place}: {said}')
