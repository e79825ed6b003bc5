"""Whole files: put in place in one go, and read only where they are regular, small enough and what they say they are.

A file that is written here is the old one or the new one, whatever happens: a full disk, a kill, a power cut.
"""

import contextlib
import errno
import hashlib
import json
import os
import pwd
import re
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO

from vdm_jax.errors import UserError

SMALL = 2**26  # bytes of the largest file of JSON that is read
SHA256 = 'sha256'
HALF = '.half'  # the end of the name of a file that is being written
# Of a disk that takes no more: no mistake of anybody's in a command, and no fault of ours.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EFBIG)


def is_local(path) -> bool:
    """Whether a path is on this machine's file system, rather than gs://… or another store."""
    return '://' not in str(path)


def write_atomically(path, content: bytes | str) -> None:
    """Writes a file beside `path`, flushes it to the disk and puts it in place.

    In a store, which knows no rename, it is one new object. The directory is made where it is not there. A link in
    place of the file is replaced by one, so that what others put into a directory cannot lead a write out of it.

    Raises:
      OSError: it cannot be written; what was there before stands.
    """
    content = content.encode() if isinstance(content, str) else content
    if not is_local(path):
        from etils import epath

        epath.Path(path).parent.mkdir(parents=True, exist_ok=True)
        epath.Path(path).write_bytes(content)
        return
    place = os.path.abspath(path)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    if os.path.exists(place) and not os.path.isfile(place):  # such as /dev/stdout, which is no file to replace
        with open(place, 'wb') as file:
            file.write(content)
        return
    with open_atomically(place) as file:
        file.write(content)


@contextlib.contextmanager
def open_atomically(path) -> Iterator[BinaryIO]:
    """A file on this machine to write into, which is flushed and put in place once the block within has ended well.

    Raises:
      OSError: it cannot be written; what was there before stands.
    """
    directory = os.path.dirname(os.path.abspath(path))
    half = os.path.join(directory, f'.{os.urandom(8).hex()}{HALF}')
    try:
        with open(half, 'wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(half, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(half)
        raise
    flush_directory(directory)


def flush_directory(directory) -> None:
    """Makes a rename in a directory outlast a power cut, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def user_cache() -> str | None:
    """This package's folder of caches, $XDG_CACHE_HOME/vdm_jax or ~/.cache/vdm_jax, which need not be there yet; None
    where the user has no home, such as a number without a name in a container.
    """
    root = os.environ.get('XDG_CACHE_HOME', '')
    if not os.path.isabs(root):  # as its specification has it: others are to be ignored
        home = os.environ.get('HOME') or _registered_home()
        root = os.path.join(home, '.cache')
    return os.path.join(root, 'vdm_jax') if os.path.isabs(root) else None


def _registered_home() -> str:
    """The home that the system knows of this user, '' where it knows none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ''


def check_regular(path, limit: int | None = None, called: str | None = None) -> int:
    """The size in bytes of a file that can be read to its end.

    Args:
      limit: bytes that it may have at most; None for any number.
      called: what messages call it, such as '--weights=FILE'; the path where not given.

    Raises:
      UserError: nothing is there, or no regular file (a directory, a device, a pipe), or it is too large.
    """
    called = called or str(path)
    if is_local(path):
        try:
            status = os.stat(path)
        except (OSError, ValueError) as error:
            why = 'no such file' if isinstance(error, FileNotFoundError) else getattr(error, 'strerror', error)
            raise UserError(f'{called}: {why}') from None
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f'{called}: is not a regular file')
        size = status.st_size
    else:
        size = _size_in_store(path, called)
    if limit is not None and size > limit:
        raise UserError(f'{called}: has {size:,} bytes, and at most {limit:,} are read')
    return size


def check_no_link(path, called: str) -> None:
    """Whether a place in a directory that others may have made is no link: what is written there would go elsewhere.

    Raises:
      UserError: it is one.
    """
    if os.path.islink(path):
        raise UserError(
            f'{called}: {os.path.basename(path)} in it is a link to {os.readlink(path)}, and nothing is written '
            'outside of it; put a directory there that is its own, or mount that place'
        )


def _size_in_store(path, called: str) -> int:
    from etils import epath

    check_store(path, called)
    with explain_refusal(called):
        if not epath.Path(path).exists() or epath.Path(path).is_dir():
            raise UserError(f'{called}: no such file')
        return epath.Path(path).stat().length


def check_scheme(path, called: str) -> None:
    """Whether a path is on this machine or in a kind of store that is known; nothing is looked at there.

    Raises:
      UserError: it begins as http://… does.
    """
    from etils import epath

    if is_local(path):
        return
    if re.match(r'(gs|s3):///', str(path)):
        raise UserError(f'{called}: names no bucket')
    try:
        epath.Path(path)
    except (KeyError, NotImplementedError, ValueError):
        scheme = str(path).partition('://')[0][:40]
        raise UserError(f'{called}: {scheme}:// is not supported; give a path or gs://…') from None


def check_store(path, called: str) -> None:
    """The same, and whether there is what it takes to reach the store.

    Raises:
      UserError: the store's package is missing, or it cannot be reached.
    """
    from etils import epath

    check_scheme(path, called)
    if is_local(path):
        return
    with explain_refusal(called):
        epath.Path(path).exists()


@contextlib.contextmanager
def explain_refusal(called: str):
    """Within it, what a store's client raises where it is refused is one line.

    Raises:
      UserError: the store's package is missing, there is no such bucket, or it may not be used or cannot be reached.
    """
    try:
        yield
    except ImportError as error:
        raise UserError(f"{called}: {error}; for gs:// pip install 'vdm_jax[gcs]'") from None
    except FileNotFoundError:
        raise UserError(f'{called}: there is no such bucket') from None
    except Exception as error:
        why = str(error).replace('\n', ' ')[:300]
        if is_out_of_reach(error):
            raise UserError(f'{called}: the store cannot be reached ({why}); try again later') from None
        if not is_refused(error):
            raise
        raise UserError(f'{called}: the store refuses ({why}); look at your rights and credentials') from None


def is_refused(error: Exception) -> bool:
    """Whether an error says that one may not, or is not known: each store's client has its own."""
    forbidden = isinstance(error, OSError) and str(error).startswith('Forbidden')  # gcsfs
    numbered = str(getattr(error, 'code', '')) in ('401', '403')
    unknown = type(error).__module__.startswith('google.auth.')
    return isinstance(error, PermissionError) or forbidden or numbered or unknown


def is_out_of_reach(error: Exception) -> bool:
    """Whether an error says that a store does not answer, or answers that it cannot now."""
    number = getattr(error, 'code', getattr(error, 'status', None))
    busy = str(number) in ('408', '429') or re.fullmatch('5[0-9][0-9]', str(number)) is not None
    return busy or (isinstance(error, OSError) and not is_refused(error))


def is_directory(path, called: str) -> bool:
    """Whether there is a directory at a path rather than a regular file; on this machine or in a store.

    Raises:
      UserError: nothing is there, or something else (a device, a pipe), or nobody knows such a store.
    """
    from etils import epath

    check_store(path, called)
    if os.path.isdir(path) if is_local(path) else epath.Path(path).is_dir():
        return True
    check_regular(path, called=called)
    return False


def read_bytes(path, limit: int | None = None, called: str | None = None) -> bytes:
    """The bytes of a regular file of at most `limit` bytes; see check_regular.

    Raises:
      UserError: it is none, or cannot be read.
    """
    check_regular(path, limit, called)
    try:
        if is_local(path):
            with open(path, 'rb') as file:
                return file.read()
        from etils import epath

        with explain_refusal(called or str(path)):
            return epath.Path(path).read_bytes()
    except OSError as error:
        raise UserError(f'{called or path}: cannot be read ({error.strerror or error})') from None


def parse_json(text: bytes | str, called: str) -> Any:
    """The value that JSON stands for.

    Raises:
      UserError: it is none: not UTF-8, cut short, nested too deep, a number of thousands of digits.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        why = 'nested too deep' if isinstance(error, RecursionError) else str(error).split('\n')[0][:200]
        raise UserError(f'{called} is not JSON ({why})') from None


def read_json(path, limit: int = SMALL, called: str | None = None) -> Any:
    """The value of a file of JSON.

    Raises:
      UserError: see read_bytes and parse_json.
    """
    return parse_json(read_bytes(path, limit, called), called or str(path))


def digest_json(value) -> str:
    """sha256 of a JSON value, however its text is laid out."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def seal(values: dict) -> dict:
    """JSON values by name with their own sha256 beside them."""
    return {**values, SHA256: digest_json(values)}


def unseal(values, called: str) -> dict:
    """The same without it, known to be as they were written; those of a file that has none are taken as they are.

    Raises:
      UserError: they are other values than were written, or none by name.
    """
    if not isinstance(values, dict):
        raise UserError(f'{called} holds no values by their names')
    values = dict(values)
    written = values.pop(SHA256, None)
    if written is not None and written != digest_json(values):
        raise UserError(f'{called} is damaged: its values are not those that were written (sha256)')
    return values
