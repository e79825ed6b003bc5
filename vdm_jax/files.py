"""Write files atomically, and read only those that are regular, small enough and undamaged.

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
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from vdm_jax.errors import UserError

AnyPath = str | os.PathLike[str]

SMALL = 2**26  # bytes of the largest file of JSON that is read
SHA256 = 'sha256'
HALF = '.half'  # the end of the name of a file that is being written
# Errors of a disk that takes no more: neither the command is wrong nor this code.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EFBIG)


def is_local(path: object) -> bool:
    """Return whether a path is on this machine's file system, rather than gs://… or another store."""
    return '://' not in str(path)


def write_atomically(path: AnyPath, content: bytes | str) -> None:
    """Write a file beside `path`, flush it to the disk and put it in place.

    In a store, which knows no rename, it is one new object. The directory is made where it is not there. A link in
    place of the file is replaced by the file, so that what others put into a directory cannot lead a write out of it.

    Raises:
      OSError: It cannot be written; what was there before stands.
    """
    content = content.encode() if isinstance(content, str) else content
    # etils takes its time to import, and most files are local.
    if not is_local(path):
        from etils import epath

        epath.Path(path).parent.mkdir(parents=True, exist_ok=True)
        epath.Path(path).write_bytes(content)
        return

    target = os.path.abspath(path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.exists(target) and not os.path.isfile(target):  # such as /dev/stdout, which is no file to replace
        with open(target, 'wb') as file:
            file.write(content)
        return
    with open_atomically(target) as file:
        file.write(content)


@contextlib.contextmanager
def open_atomically(path: AnyPath) -> Iterator[BinaryIO]:
    """Open a file on this machine for writing; it is flushed and put in place once the block has ended without error.

    Raises:
      OSError: It cannot be written; what was there before stands.
    """
    directory = os.path.dirname(os.path.abspath(path))
    # A name of its own, not `path` and a suffix: that may be as long as the file system takes.
    half = os.path.join(directory, f'.{os.urandom(8).hex()}{HALF}')
    try:
        with open(half, 'wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # After fsync: a power cut must not leave the new name with half of the bytes.
        os.replace(half, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(half)
        raise
    flush_directory(directory)


def flush_directory(directory: AnyPath) -> None:
    """Make a rename in a directory outlast a power cut, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def user_cache() -> str | None:
    """Return the folder of this package's caches, $XDG_CACHE_HOME/vdm_jax or ~/.cache/vdm_jax.

    It need not be there yet. None where the user has no home, such as a number without a name in a container.
    """
    root = os.environ.get('XDG_CACHE_HOME', '')
    # The XDG specification has relative paths ignored.
    if not os.path.isabs(root):
        home = os.environ.get('HOME') or _registered_home()
        root = os.path.join(home, '.cache')
    return os.path.join(root, 'vdm_jax') if os.path.isabs(root) else None


def _registered_home() -> str:
    """Return the home that the system knows of this user, '' where it knows none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ''


def check_regular(path: AnyPath, limit: int | None = None, called: str | None = None) -> int:
    """Check that a file can be read to its end, and return its size in bytes.

    Args:
      path: On this machine or in a store.
      limit: Bytes that it may have at most; None for any number.
      called: What messages call it, such as '--weights=FILE'; None for the path.

    Raises:
      UserError: Nothing is there, or no regular file (a directory, a device, a pipe), or it is too large.
    """
    called = called or str(path)
    size = _local_size(path, called) if is_local(path) else _size_in_store(path, called)
    if limit is not None and size > limit:
        raise UserError(f'{called}: has {size:,} bytes, and at most {limit:,} are read')
    return size


def _local_size(path: AnyPath, called: str) -> int:
    """Return the size of a regular file on this machine."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise UserError(f'{called}: no such file') from None
    except OSError as error:
        raise UserError(f'{called}: {error.strerror}') from None
    except ValueError as error:  # a path with a zero in it
        raise UserError(f'{called}: {error}') from None
    # A pipe would block, and a device may never end.
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f'{called}: is not a regular file')
    return status.st_size


def check_no_link(path: AnyPath, called: str) -> None:
    """Check that a path in a directory that others may have made is no link, as writes would go elsewhere.

    Raises:
      UserError: It is one.
    """
    if os.path.islink(path):
        raise UserError(
            f'{called}: {os.path.basename(path)} in it is a link to {os.readlink(path)}, and nothing is written '
            'outside of it; put a directory there that is its own, or mount that place'
        )


def _size_in_store(path: AnyPath, called: str) -> int:
    """Return the size of an object in a store."""
    from etils import epath

    check_store(path, called)
    with explain_refusal(called):
        if not epath.Path(path).exists() or epath.Path(path).is_dir():
            raise UserError(f'{called}: no such file')
        size: int = epath.Path(path).stat().length
    return size


def check_scheme(path: AnyPath, called: str) -> None:
    """Check that a path is on this machine or in a known kind of store; whether it is there is not looked at.

    Raises:
      UserError: It begins as http://… does.
    """
    from etils import epath

    if is_local(path):
        return
    if re.match(r'(gs|s3):///', str(path)):
        raise UserError(f'{called}: names no bucket')
    # Making a path already looks up the kind of store.
    try:
        epath.Path(path)
    except (KeyError, NotImplementedError, ValueError):
        scheme = str(path).partition('://')[0][:40]
        raise UserError(f'{called}: {scheme}:// is not supported; give a path or gs://…') from None


def check_store(path: AnyPath, called: str) -> None:
    """Check the scheme of a path, and that its store can be reached.

    Raises:
      UserError: There is no such kind of store, its package is missing, or it cannot be reached.
    """
    from etils import epath

    check_scheme(path, called)
    if is_local(path):
        return
    with explain_refusal(called):
        epath.Path(path).exists()


@contextlib.contextmanager
def explain_refusal(called: str) -> Iterator[None]:
    """Turn what a store's client raises within the block into an error of one line.

    Raises:
      UserError: The store's package is missing, there is no such bucket, or it may not be used or cannot be reached.
    """
    try:
        yield
    except ImportError as error:
        raise UserError(f"{called}: {error}; for gs:// pip install 'vdm_jax[gcs]'") from None
    except FileNotFoundError:
        raise UserError(f'{called}: there is no such bucket') from None
    except Exception as error:
        reason = str(error).replace('\n', ' ')[:300]
        if is_out_of_reach(error):
            raise UserError(f'{called}: the store cannot be reached ({reason}); try again later') from None
        if not is_refused(error):
            raise
        raise UserError(f'{called}: the store refuses ({reason}); look at your rights and credentials') from None


def is_refused(error: Exception) -> bool:
    """Return whether an error of a store's client means missing rights or missing credentials."""
    # Each client has errors of its own, and none is imported here: they are known by what they carry.
    is_forbidden = isinstance(error, OSError) and str(error).startswith('Forbidden')  # gcsfs
    has_refusal_code = str(getattr(error, 'code', '')) in ('401', '403')
    is_unknown_user = type(error).__module__.startswith('google.auth.')
    return isinstance(error, PermissionError) or is_forbidden or has_refusal_code or is_unknown_user


def is_out_of_reach(error: Exception) -> bool:
    """Return whether an error means that a store does not answer, or answers that it cannot now."""
    status = str(getattr(error, 'code', getattr(error, 'status', None)))
    # Request timeout, too many requests, and all errors of the server.
    is_busy = status in ('408', '429') or re.fullmatch('5[0-9][0-9]', status) is not None
    return is_busy or (isinstance(error, OSError) and not is_refused(error))


def is_directory(path: AnyPath, called: str) -> bool:
    """Return whether there is a directory at a path rather than a regular file; on this machine or in a store.

    Raises:
      UserError: Nothing is there, or something else (a device, a pipe), or there is no such kind of store.
    """
    from etils import epath

    check_store(path, called)
    if os.path.isdir(path) if is_local(path) else epath.Path(path).is_dir():
        return True
    check_regular(path, called=called)
    return False


def read_bytes(path: AnyPath, limit: int | None = None, called: str | None = None) -> bytes:
    """Return the bytes of a regular file of at most `limit` bytes; arguments as check_regular.

    Raises:
      UserError: It is none, or cannot be read.
    """
    # The size is known before anything is read: a huge file would fill the memory.
    check_regular(path, limit, called)
    try:
        if is_local(path):
            with open(path, 'rb') as file:
                return file.read()
        from etils import epath

        with explain_refusal(called or str(path)):
            content: bytes = epath.Path(path).read_bytes()
        return content
    except OSError as error:
        raise UserError(f'{called or path}: cannot be read ({error.strerror or error})') from None


def hash_file(path: AnyPath, called: str | None = None) -> str:
    """Return the sha256 of a file on this machine in hexadecimal digits, read in pieces.

    Args:
      path: Of the file.
      called: What messages call it, the path where None.

    Raises:
      UserError: It cannot be read.
    """
    try:
        with open(path, 'rb') as file:
            return hashlib.file_digest(file, 'sha256').hexdigest()
    except OSError as error:
        raise UserError(f'{called or path}: cannot be read ({error.strerror or error})') from None


def check_sha256(content: bytes, sha256: str, called: str) -> None:
    """Check the hash of bytes against the one that is known of them.

    Args:
      content: The bytes.
      sha256: In hexadecimal digits; the first ones where no more are known, eight at least.
      called: What messages call the bytes.

    Raises:
      UserError: They are other bytes.
    """
    if len(sha256) < 8:
        raise ValueError(f'{sha256!r} is too short to tell files apart')
    digest = hashlib.sha256(content).hexdigest()
    if not digest.startswith(sha256):
        raise UserError(
            f'{called}: is not the file that is known: its sha256 is {digest[: len(sha256)]}, want {sha256}'
        )


def parse_json(text: bytes | str, called: str) -> Any:
    """Return the value of a JSON text.

    Raises:
      UserError: It is none: not UTF-8, cut short, nested too deep, a number of thousands of digits.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise UserError(f'{called} is not JSON (nested too deep)') from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        reason = str(error).split('\n')[0][:200]
        raise UserError(f'{called} is not JSON ({reason})') from None


def read_json(path: AnyPath, limit: int = SMALL, called: str | None = None) -> Any:
    """Return the value of a JSON file; arguments as check_regular.

    Raises:
      UserError: It cannot be read, is larger than `limit` bytes, or is not JSON.
    """
    return parse_json(read_bytes(path, limit, called), called or str(path))


def digest_json(value: Any) -> str:
    """Return the sha256 of a JSON value, however its text is laid out."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def seal(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON values by name with their own sha256 beside them."""
    return {**values, SHA256: digest_json(values)}


def unseal(values: Any, called: str) -> dict[str, Any]:
    """Return sealed values without their sha256, once it is checked.

    Raises:
      UserError: They are other values than were written, or none by name.
    """
    if not isinstance(values, dict):
        raise UserError(f'{called} holds no values by their names')
    content: dict[str, Any] = dict(values)
    # Files of earlier versions have no sha256: they are taken as they are.
    digest = content.pop(SHA256, None)
    if digest is not None and digest != digest_json(content):
        raise UserError(f'{called} is damaged: its values are not those that were written (sha256)')
    return content
