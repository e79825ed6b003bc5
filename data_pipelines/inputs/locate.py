"""Locate a file of a source by its name below a folder, through links as far as they are to be followed."""

import errno
import functools
import os
import unicodedata

from data_pipelines.inputs.fields import ProblemError

FOLLOW = '--follow-links'
LINKED_FOLDER = f'link: to a folder; {FOLLOW} goes into it'
LISTED_ALREADY = 'link: to a folder that is listed already, by its own name'


def locate_file(root: str, name: str, follow_links: bool = False) -> str:
    """Return the path of the file `name` below `root`.

    Args:
      root: The folder.
      name: As listed. One that itself leads out of the root (../a.mp4) never does.
      follow_links: Also where a link leads out of the root.

    Raises:
      ProblemError: it is not there, no file, outside, or behind a link that is not followed; the reason says which.
    """
    path = os.path.normpath(os.path.join(os.path.abspath(root), name))
    # Names may lead out by themselves (..) or by links; only the latter can be allowed.
    real_path = os.path.realpath(path)
    real_root = os.path.realpath(root)

    leads_out = not is_within(real_path, real_root)
    if leads_out and not is_within(path, os.path.abspath(root)) and not is_within(path, real_root):
        raise ProblemError('outside', 'it lies outside of the folder of --source, or of that of --root')
    if not os.path.exists(path):
        if link := _describe_broken_link(path):
            raise ProblemError('broken_link', link)
        raise ProblemError('missing', 'no such file')
    if leads_out and not follow_links:
        raise ProblemError(
            'link',
            f'a link leads out of the folder of --source, or of that of --root, to {real_path}; {FOLLOW} takes it',
        )
    if not os.path.isfile(path):
        raise ProblemError('no_file', 'it is no ordinary file')
    return path


def stored_name(root: str, name: str) -> str:
    """Return the name as its file has it, where that is there in another Unicode normal form only.

    é may be one character or two, and systems differ in which they store. The name itself is returned where the file is
    there, or nowhere.
    """
    # So it is with nearly all names, and no folder is listed for them.
    if name.isascii() or os.path.lexists(os.path.join(root, name)):
        return name
    path = os.sep if os.path.isabs(name) else os.path.abspath(root)
    for listed_part in os.path.normpath(name).split(os.sep):
        part = listed_part
        if part and not os.path.lexists(os.path.join(path, part)):
            stored_part = _names_by_form(path).get(unicodedata.normalize('NFC', part))
            if stored_part is None:
                return name
            part = stored_part
        path = os.path.join(path, part)
    return path if os.path.isabs(name) else os.path.relpath(path, os.path.abspath(root))


def _names_by_form(folder: str) -> dict[str, str]:
    """Return {name in form C: name} of all that lies in a folder."""
    try:
        return _names_at_time(folder, os.stat(folder).st_mtime_ns)
    except OSError:
        return {}


# With the folder's time as a key: one that has changed is listed anew.
@functools.lru_cache(maxsize=64)
def _names_at_time(folder: str, _: int) -> dict[str, str]:
    # Backwards, so that of several names of one form the first remains.
    return {unicodedata.normalize('NFC', name): name for name in sorted(os.listdir(folder), reverse=True)}


def _describe_broken_link(path: str) -> str:
    """Return what is wrong with the link that the file is, or a folder on its way; '' where none is broken."""
    while not os.path.islink(path):
        path, name = os.path.split(path)
        if not name:
            return ''
    try:
        os.stat(path)
    except OSError as error:
        cause = ', and so on in a circle' if error.errno == errno.ELOOP else ', which is not there'
        return f'it is a link to {os.readlink(path)}{cause}'
    return ''


def is_within(path: str, folder: str) -> bool:
    """Return whether a path is a folder or lies below it, links left as they are; both absolute."""
    # Not by how the text begins: /a/bc does not lie in /a/b.
    return os.path.commonpath([path, folder]) == folder
