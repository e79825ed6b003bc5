"""Where commands write: what --out is to each of them, and whether it can be written, found out before the work."""

import os
import tempfile
from pathlib import Path

from vdm_jax.errors import UserError
from vdm_jax.files import check_no_link, check_store, is_local

TEXTS = ('negative', 'scalars')  # options that are no path, whatever they hold
LONGEST_NAME = 255  # bytes of a file's name, as file systems have it
PAGE = {'metavar': 'FILE', 'help': 'Markdown page to write the table into as well, between its marks'}
OUT = {
    'sample': {'metavar': 'DIR', 'help': 'where to write; WORKDIR/samples where not given'},
    'evaluate': {'metavar': 'DIR', 'help': 'where to write; WORKDIR/evals where not given'},
    'export': {'metavar': 'FILE', 'help': 'safetensors file to write'},
    'convert': {'metavar': 'DIR', 'help': 'run directory to make'},
    'plans': PAGE,
    'baselines': PAGE,
    'config': {'metavar': 'FILE', 'help': 'Markdown page to write, instead of printing it'},
}
UNDER = {'sample': 'samples', 'evaluate': 'evals'}  # the run directory, where --out is not given


def check(name: str, args) -> None:
    """Whether what options name can be reached at all, and what the command `name` writes be written; fills in --out.

    Raises:
      UserError: they cannot; names the option.
    """
    from vdm_jax.train import remote_files

    if name in UNDER and not args.out:
        args.out = f'{args.workdir or "."}/{UNDER[name]}'
        check_no_link(args.out, f'--workdir={args.workdir}')
    for option, value in vars(args).items():
        if isinstance(value, str) and option not in TEXTS:
            spelt = {'origin': 'from'}.get(option, option.replace('_', '-'))
            check_text(value, f'--{spelt}={value}')
            check_store(value, f'--{spelt}={value}')
    if name == 'train' and not is_local(args.workdir):
        remote_files.check_writable('--workdir', args.workdir)
    if name == 'export' and is_local(args.out):
        check_run_files(args.out)
    if name in OUT and args.out:
        is_file = OUT[name]['metavar'] == 'FILE'
        if is_local(args.out) or OUT[name] is PAGE:
            try_writing(args.out, is_file)
        else:
            remote_files.check_writable('--out', args.out, is_file)


def check_text(value: str, called: str) -> None:
    """Whether an option is text that can be written into files.

    Raises:
      UserError: it holds what is no UTF-8.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UserError(f'{called}: is not UTF-8; choose another name') from None


def check_run_files(out: str) -> None:
    """Whether a file that is to be written is none that a run has in its directory.

    Raises:
      UserError: it is one.
    """
    from vdm_jax.train.workdir import DIRECTORIES, FILES, has_config

    path = Path(os.path.realpath(out))
    for directory in path.parents:
        (first, *_) = path.relative_to(directory).parts
        if first in (*FILES, *DIRECTORIES) and has_config(directory):
            raise UserError(f'--out={out}: is a place of the run in {directory}; choose another')


def try_writing(place: str, file: bool) -> None:
    """Whether a directory, or a file, can be written on this machine, made first where it is not there; tries it where
    the path ends today, and leaves nothing behind.

    Raises:
      UserError: it cannot.
    """
    if '://' in str(place):
        raise UserError(f'--out={place}: is not on this machine; mount the store that it is in')
    path = there = Path(place).absolute()
    while not os.path.exists(there):  # False where one may not look
        there = there.parent
    if longest := next((part for part in path.parts if len(os.fsencode(part)) > LONGEST_NAME), ''):
        raise UserError(f'--out={place[:60]}…: a name has {len(longest)} characters; want {LONGEST_NAME} bytes at most')
    if file and path.is_dir():
        raise UserError(f'--out={place}: is a directory; name a file')
    if not there.is_dir() and not (file and there == path):
        raise UserError(f'--out={place}: {there} is a file; name a directory')
    try:
        with tempfile.TemporaryFile(dir=there) if there.is_dir() else there.open('ab'):
            pass
    except OSError as error:
        raise UserError(f'--out={place}: {there} cannot be written ({error.strerror})') from None
