"""The command on weights that others have published: list, fetch, verify."""

import argparse
import json
import os
from typing import TYPE_CHECKING, Any

from vdm_jax import files
from vdm_jax.cli import exit_codes
from vdm_jax.errors import UserError

if TYPE_CHECKING:
    from vdm_jax.pretrained.available import Weights


def weights(args: argparse.Namespace, assignments: list[str]) -> int:
    """List published weights that can be used here, fetch some, or verify what was fetched (docs/weights.md)."""
    actions = {'list': list_weights, 'fetch': fetch_weights, 'verify': verify_weights}
    rows, code = actions[args.action](args.names, is_quiet=bool(args.json))
    if args.json:
        print(json.dumps(rows, indent=2))
    return code


def list_weights(names: list[str], is_quiet: bool) -> tuple[list[dict[str, Any]], int]:
    """Print a line of each entry, of those of these names where some are named; return (rows, exit code)."""
    from vdm_jax.pretrained import available, store

    entries = [available.get(name) for name in names or available.AVAILABLE]
    rows = [describe(each) for each in entries]
    if is_quiet:
        return rows, exit_codes.DONE
    width = max(len(row['name']) for row in rows)
    for row in rows:
        size = f'{row["bytes"] / 1e6:.1f} MB' if row['bytes'] else 'size unknown'
        print(f'{row["name"]:{width}}  {row["state"]:8}  {row["purpose"]}')
        print(f'{"":{width}}  {"":8}  {size}, {row["origin"]}, {row["licence"]}; {row["address"]}')
    print(f'\nFetched weights lie in {store.folder()}; where a name is taken, the path of a file of your own is, too.')
    return rows, exit_codes.DONE


def describe(entry: 'Weights') -> dict[str, Any]:
    """Return what is known of an entry, as JSON values."""
    from vdm_jax.pretrained import store

    is_here = store.is_here(entry)
    return {
        **entry.provenance,
        'purpose': entry.purpose,
        'bytes': entry.size,
        'state': ('here' if is_here else 'not here') if entry.is_fetchable else 'bring it',
        'path': str(store.path_of(entry)) if is_here else None,
    }


def fetch_weights(names: list[str], is_quiet: bool) -> tuple[list[dict[str, Any]], int]:
    """Fetch weights by their names; return (rows, exit code).

    Raises:
      UserError: No name is given, or what fetch.fetch raises.
    """
    from vdm_jax.pretrained import available, fetch

    if not names:
        fetchable = [name for name, each in available.AVAILABLE.items() if each.is_fetchable]
        raise UserError(f'weights fetch: name some of {", ".join(fetchable)}')
    # A name that cannot be fetched is known before the first one is brought.
    for name in names:
        available.get_fetchable(name)

    def report(line: str) -> None:
        if not is_quiet:
            print(line, flush=True)

    rows = []
    for name in names:
        rows.append(describe(fetch.fetch(name, report)))
    return rows, exit_codes.DONE


def verify_weights(names: list[str], is_quiet: bool) -> tuple[list[dict[str, Any]], int]:
    """Check every byte of fetched weights, and whether files are published ones; return (rows, exit code).

    Args:
      names: Of weights, or paths of files; all weights that are here where there are none.
      is_quiet: Whether to print nothing.
    """
    from vdm_jax.pretrained import available, store

    names = names or [name for name, each in available.AVAILABLE.items() if store.is_here(each)]
    rows = []
    for name in names:
        # As everywhere: a name of the table is that entry, also where a file of that name lies here.
        is_path = name not in available.AVAILABLE and os.path.lexists(name)
        entry_name = store.name_of(name) if is_path else name
        num_bytes, finding, is_good = verify_entry(entry_name) if entry_name else verify_file(name)
        rows.append({'name': name, 'bytes': num_bytes, 'finding': finding, 'good': is_good})
        if not is_quiet:
            print(finding)
    if not rows and not is_quiet:
        print(f'no fetched weights are here; {store.COMMAND} NAME')
    return rows, exit_codes.DONE if all(row['good'] for row in rows) else exit_codes.FAILED


def verify_entry(name: str) -> tuple[int, str, bool]:
    """Return (bytes, what was found, whether it is good) of fetched weights."""
    from vdm_jax.pretrained import available, store

    entry = available.get(name)
    if not entry.is_fetchable:
        return 0, f'{name}: its file is your own; give the path: weights verify FILE', False
    try:
        num_bytes = store.check(entry)
    except UserError as error:
        return 0, str(error), False
    return num_bytes, f'{name}: intact, {num_bytes / 1e6:.1f} MB', True


def verify_file(path: str) -> tuple[int, str, bool]:
    """Return (bytes, what was found, whether it is good) of a user's file.

    Raises:
      UserError: It is no regular file, or cannot be read.
    """
    from vdm_jax.pretrained import available

    files.check_regular(path)
    sha256 = files.hash_file(path)
    entry = available.identify(sha256)
    finding = f'{entry.name} as published, {entry.address}' if entry else 'of none of the published files listed here'
    return os.path.getsize(path), f'{path}: {finding} (sha256 {sha256})', entry is not None
