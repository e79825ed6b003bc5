"""Errors that the command line prints on one line, no traceback: a user's mistake (exit code 2), a failure (1)."""

from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in a config, a path or a command; the message names the key or file, what was found and what to do."""


class MisfitError(UserError):
    """A checkpoint's arrays are not those that the config wants; the message says which."""


class Failure(RuntimeError):  # noqa: N818, as the command line calls it
    """Something that went wrong though the command is right, as a full disk; the message says what to do."""


class NotFinite(Failure):
    """Videos that cannot be shown: nan or infinity is in them, or in the latents that they are decoded from.

    Attributes:
      numbers: Which of the videos, counted from 0.
      count: How many were sampled.
      where: The weights that made them, '' where only one can be meant.
    """

    def __init__(self, numbers: Iterable[int], count: int, where: str = ''):
        # As plain numbers: they come from numpy, whose text differs between its versions.
        self.numbers = tuple(sorted(int(number) for number in numbers))
        self.count = count
        self.where = where
        owner = f'of {where}, ' if where else ''
        super().__init__(
            f'{len(self.numbers)} of {count} videos {owner}are not finite (nan or infinity): number '
            f'{format_ranges(self.numbers)}. The weights have diverged, a codec is another one than in training, or '
            'config.model.dtype overflows: try an earlier --step, or --config.model.dtype=float32'
        )


def first_line(error: BaseException, most: int = 200) -> str:
    """Return the first line of an error's message, cut to `most` characters; its kind where it has no message."""
    for line in str(error).splitlines():
        if line.strip():
            return line.strip()[:most]
    return type(error).__name__[:most]


def escape_unprintable(text: str) -> str:
    r"""Return a text with what a terminal would act on written out, such as \n for a new line."""
    return ''.join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def one_line(error: BaseException, most: int = 2000) -> str:
    """Return an error's message as one line for a terminal, cut to `most` characters."""
    # Values of a file that somebody else made may be in it.
    text = escape_unprintable(str(error))
    return text if len(text) <= most else f'{text[:most]} …'


def format_ranges(numbers: Iterable[int], limit: int = 8) -> str:
    """Return ascending whole numbers as text, neighbours as runs: '0 to 3, 7'.

    Args:
      numbers: Ascending.
      limit: How many runs are written at most; of the rest only the last number is.
    """
    runs: list[list[int]] = []  # first and last of each
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    texts = [f'{first}' if first == last else f'{first} to {last}' for first, last in runs]
    rest = f', … {runs[-1][1]}' if len(texts) > limit else ''
    return ', '.join(texts[:limit]) + rest


def describe_bad_tensors(names: list[str]) -> str:
    """Return the message '31 tensors hold nan or infinity, the first is head/out/bias'."""
    subject = '1 tensor holds' if len(names) == 1 else f'{len(names)} tensors hold'
    return f'{subject} nan or infinity, the first is {names[0]}'


def with_key(error: UserError, key: str) -> UserError:
    """Return the same error of an object in a list, or inside another, which does not know at which key it stands.

    'config.data.path is empty' of config.data.images is a mistake of config.data.images.path.
    """
    message = str(error)
    if message.startswith(key):
        return error
    # What it takes for its own key is that of its top group, such as config.data.
    group = '.'.join(key.split('.')[:2])
    if message.startswith(f'{group}.'):
        return UserError(f'{key}{message.removeprefix(group)}')
    return UserError(f'{key}: {message}')
