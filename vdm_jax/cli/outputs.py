"""Where commands write: what --out means to each of them, and the check before the work that it can be written."""

import argparse
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vdm_jax.cli.options import option_of
from vdm_jax.errors import UserError
from vdm_jax.files import check_no_link, check_store, is_local

# Options that are no path, whatever they hold.
TEXTS = ('negative', 'scalars')

# Bytes of a file's name that every file system in use takes.
LONGEST_NAME = 255


@dataclass(frozen=True)
class Out:
    """What --out is to a command.

    Attributes:
      help: Of the option.
      is_file: Whether it names a file, else a directory.
      edits_in_place: Whether a part of the file is replaced and the rest stays, which no store can do.
    """

    help: str
    is_file: bool
    edits_in_place: bool = False

    @property
    def metavar(self) -> str:
        """What stands for its value in the help."""
        return 'FILE' if self.is_file else 'DIR'


PAGE = Out('Markdown page to write the table into as well, between its marks', is_file=True, edits_in_place=True)

# By command.
OUT = {
    'sample': Out('where to write; WORKDIR/samples where not given', is_file=False),
    'evaluate': Out('where to write; WORKDIR/evals where not given', is_file=False),
    'export': Out('safetensors file to write', is_file=True),
    'convert': Out('run directory to make', is_file=False),
    'report': Out('HTML file to write; WORKDIR/report.html where not given', is_file=True),
    'plans': PAGE,
    'baselines': PAGE,
    'config': Out('Markdown page to write, instead of printing it', is_file=True),
}

# What of the run directory it is, by command, where --out is not given.
DEFAULT_OUT = {'sample': 'samples', 'evaluate': 'evals', 'report': 'report.html'}


def check_paths(name: str, args: argparse.Namespace) -> None:
    """Check that the paths of the options can be reached, and that the command can write its own; fill in args.out.

    Args:
      name: Of the command.
      args: Its options, by name.

    Raises:
      UserError: They cannot; names the option.
    """
    from vdm_jax.train import remote_files

    if name in DEFAULT_OUT and not args.out:
        args.out = f'{args.workdir or "."}/{DEFAULT_OUT[name]}'
        check_no_link(args.out, f'--workdir={args.workdir}')

    for destination, value in vars(args).items():
        if isinstance(value, str) and destination not in TEXTS:
            option = f'{option_of(destination)}={value}'
            check_utf8(value, option)
            check_store(value, option)

    if name == 'train' and not is_local(args.workdir):
        remote_files.check_writable('--workdir', args.workdir)
    if name in ('export', 'report') and is_local(args.out):
        check_no_run_file(args.out)
    if name in OUT and args.out:
        out = OUT[name]
        # check_writable_here says of a store that it cannot hold such a file.
        if is_local(args.out) or out.edits_in_place:
            check_writable_here(args.out, out.is_file)
        else:
            remote_files.check_writable('--out', args.out, out.is_file)


def check_utf8(value: str, option: str) -> None:
    """Check that an option is text that can be written into files.

    Raises:
      UserError: It holds bytes that are no UTF-8.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UserError(f'{option}: is not UTF-8; choose another name') from None


def check_no_run_file(out: str) -> None:
    """Check that a file to write is none of those that a run has in its directory.

    Raises:
      UserError: It is one.
    """
    from vdm_jax.train.workdir import DIRECTORIES, FILES, has_config

    # Links are followed first: 'weights' may be a link into a run directory.
    path = Path(os.path.realpath(out))
    for directory in path.parents:
        first = path.relative_to(directory).parts[0]
        if first in (*FILES, *DIRECTORIES) and has_config(directory):
            raise UserError(f'--out={out}: is a place of the run in {directory}; choose another')


def check_writable_here(out: str, is_file: bool) -> None:
    """Check that a file, or files in a directory, can be written on this machine; leave nothing behind.

    A path that is not there yet is checked where it ends today: in its nearest parent that exists.

    Raises:
      UserError: It cannot.
    """
    if not is_local(out):
        raise UserError(f'--out={out}: is not on this machine; mount the store that it is in')

    path = Path(out).absolute()
    nearest = path
    # os.path.exists is False where one may not look, and Path.exists an error.
    while not os.path.exists(nearest):
        nearest = nearest.parent

    for part in path.parts:
        num_bytes = len(os.fsencode(part))
        if num_bytes > LONGEST_NAME:
            raise UserError(f'--out={out[:60]}…: a name has {num_bytes} bytes; want {LONGEST_NAME} at most')
    if is_file and path.is_dir():
        raise UserError(f'--out={out}: is a directory; name a file')
    if not nearest.is_dir() and not (is_file and nearest == path):
        raise UserError(f'--out={out}: {nearest} is a file; name a directory')

    # Permission bits do not tell: the disk may be full or read-only.
    try:
        with tempfile.TemporaryFile(dir=nearest) if nearest.is_dir() else nearest.open('ab'):
            pass
    except OSError as error:
        raise UserError(f'--out={out}: {nearest} cannot be written ({error.strerror})') from None
