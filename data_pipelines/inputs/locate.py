"""Where a file of a source lies: by its name below a folder, through links as far as they are to be followed."""

import errno
import functools
import os
import unicodedata

from data_pipelines.inputs.fields import ProblemError

FOLLOW = '--follow-links'
LINKED_FOLDER = f'link: to a folder; {FOLLOW} goes into it'
LISTED_ALREADY = 'link: to a folder that is listed already, by its own name'


def located(root: str, name: str, follow_links: bool = False) -> str:
    """Where the file `name` below `root` lies.

    follow_links: also where a link leads out of the root. A name that itself leads out (../a.mp4) never does.

    Raises: ProblemError where it is not there, no file, outside, or behind a link that is not followed; and says which
      of these it is.
    """
    path = os.path.normpath(os.path.join(os.path.abspath(root), name))
    real, below = os.path.realpath(path), os.path.realpath(root)
    leads_out = not _within(real, below)
    if leads_out and not _within(path, os.path.abspath(root)) and not _within(path, below):
        raise ProblemError('outside', 'it lies outside of the folder of --source, or of that of --root')
    if not os.path.exists(path):
        if link := _broken_link(path):
            raise ProblemError('broken_link', link)
        raise ProblemError('missing', 'no such file')
    if leads_out and not follow_links:
        raise ProblemError(
            'link', f'a link leads out of the folder of --source, or of that of --root, to {real}; {FOLLOW} takes it'
        )
    if not os.path.isfile(path):
        raise ProblemError('no_file', 'it is no ordinary file')
    return path


def stored_name(root: str, name: str) -> str:
    """The name as its file has it, where that is there in another Unicode normal form alone: é may be one character or
    two, and systems differ in which they store. The name itself where the file is there, or nowhere.
    """
    if name.isascii() or os.path.lexists(os.path.join(root, name)):
        return name
    found = os.path.abspath(root) if not os.path.isabs(name) else os.sep
    for part in os.path.normpath(name).split(os.sep):
        if part and not os.path.lexists(os.path.join(found, part)):
            part = _names(found).get(unicodedata.normalize('NFC', part))
            if part is None:
                return name
        found = os.path.join(found, part)
    return found if os.path.isabs(name) else os.path.relpath(found, os.path.abspath(root))


def _names(folder):
    """{name in form C: name} of all that lies in a folder."""
    try:
        return _names_at(folder, os.stat(folder).st_mtime_ns)
    except OSError:
        return {}


@functools.lru_cache(maxsize=64)
def _names_at(folder, _):
    return {unicodedata.normalize('NFC', name): name for name in sorted(os.listdir(folder), reverse=True)}


def _broken_link(path):
    """What is wrong with the link that the file is, or that a folder on its way is; '' where none is broken."""
    while not os.path.islink(path):
        path, name = os.path.split(path)
        if not name:
            return ''
    try:
        os.stat(path)
    except OSError as error:
        circle = ', and so on in a circle' if error.errno == errno.ELOOP else ', which is not there'
        return f'it is a link to {os.readlink(path)}{circle}'
    return ''


def _within(path, folder):
    return os.path.commonpath([path, folder]) == folder
