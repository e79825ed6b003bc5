"""Build a set of records from videos: cut into shots, scored, filtered, encoded, accounted for.

Killed anywhere and started again it goes on; the result is the same to the byte, for any number of workers.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from data_pipelines import optional_deps
from data_pipelines.build import build_state, part_files, pool
from data_pipelines.build.assemble import assemble
from data_pipelines.build.recipe import Recipe, read_recipe
from data_pipelines.datasets import registry
from data_pipelines.inputs.item import Item
from data_pipelines.inputs.listing import Listing, list_inputs
from data_pipelines.inputs.locate import FOLLOW, is_within
from vdm_jax.cli import outputs
from vdm_jax.data.records.manifest import read_manifest
from vdm_jax.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        '--source', required=True, metavar='DIR|LIST', help='folder of videos, or .csv, .tsv, .jsonl, .parquet'
    )
    parser.add_argument('--out', required=True, metavar='DIR', help='where the set goes')
    parser.add_argument('--dataset', metavar='NAME', help=f'the folder is laid out as {", ".join(registry.DATASETS)}')
    parser.add_argument('--split', metavar='NAME', help='of --dataset: train, test, ...')
    parser.add_argument('--recipe', metavar='FILE', help='TOML; --recipe.GROUP.KEY=VALUE changes one of its values')
    parser.add_argument('--root', metavar='DIR', help="what a list's paths are relative to (default: its own folder)")
    parser.add_argument(
        '--follow-links', action='store_true', help='also out of the source, and into folders that are links'
    )
    parser.add_argument(
        '--scores', metavar='NAME,…', help='columns that are scores (default: those of numbers that name nothing)'
    )
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count(), help='processes (default: all cores; 0: this one)'
    )
    parser.add_argument(
        '--runner', choices=('local', 'beam'), default='local', help='beam: Apache Beam, its own options after --'
    )


def run(arguments: argparse.Namespace) -> int:
    """Build the set, or go on with it; return the exit code.

    Raises:
      UserError: anything that is the user's to mend.
    """
    if arguments.workers < 0:
        raise UserError(f'--workers={arguments.workers}: want 0 or more')
    if arguments.engine and arguments.runner != 'beam':
        raise UserError(f'{arguments.engine[0]}: options after -- are those of --runner=beam')
    # Before anything is written: their versions are part of what a build is recognised by.
    optional_deps.check_installed()
    recipe = read_recipe(arguments.recipe, arguments.assignments, registry.base_recipe(arguments.dataset))
    outputs.check_writable_here(arguments.out, False)

    out = os.path.normpath(arguments.out)
    listing = _list_source(arguments)
    # The next build of this source would list the set's own files.
    if os.path.isdir(arguments.source) and is_within(os.path.realpath(out), os.path.realpath(arguments.source)):
        raise UserError(f'--out={out} lies in --source={arguments.source}, of which it would be a part; name another')
    recipe.check({name for item in listing.items for name in item.scores}, listing.unused)

    is_new = _build(arguments, out, listing, recipe)
    _remove_folder(os.path.join(out, build_state.WORK))
    manifest = read_manifest(out)
    print(summarize(out, manifest))
    if not is_new:
        print('it was built before; nothing was done')
    elif not manifest['clips']['kept']:
        raise UserError(f'--out={out}: no clip was kept; python -m data_pipelines inspect {out} tells why')
    return 0


def _build(arguments: argparse.Namespace, out: str, listing: Listing, recipe: Recipe) -> bool:
    """Build what is not there yet; return whether there was anything to do."""
    try:
        build = build_state.open_build(out, listing, recipe)
        if build is None:
            return False
        folder, state, lock = build
        with lock:
            _make_missing_parts(arguments, listing.items, recipe, folder)
            assemble(out, folder, listing.items, recipe, state, lambda total: _make_bar('records', total))
    except OSError as error:
        raise UserError(f'--out={out}: {error.strerror or error}; mend that, and the same command goes on') from None
    return True


def _list_source(arguments: argparse.Namespace) -> Listing:
    """Return what is to be built, and print how much of it cannot be used."""
    if arguments.dataset is not None:
        return _list_dataset(arguments)
    if arguments.split is not None:
        raise UserError(f'--split={arguments.split} is for --dataset; a list has the column split, --recipe.split')

    scores = None
    if arguments.scores is not None:
        scores = [name.strip() for name in arguments.scores.split(',') if name.strip()]
    listing = list_inputs(arguments.source, arguments.root, arguments.follow_links, scores)
    # Nothing is written for a source of which nothing can be used: most likely --source is wrong.
    problems = [item for item in listing.items if item.problem]
    if len(problems) == len(listing.items):
        raise UserError(
            f'--source={arguments.source} holds nothing that can be used: {registry.summarize(problems)}; '
            f'{problems[0].name}: {problems[0].problem}'
        )
    if problems:
        has_links = any(item.problem.startswith('link:') for item in problems)
        hint = f'; {FOLLOW} takes links' if has_links and not arguments.follow_links else ''
        print(registry.summarize(listing.items) + hint, file=sys.stderr)
    return listing


def _list_dataset(arguments: argparse.Namespace) -> Listing:
    """Return the items of a published set, refusing options of other sources."""
    if arguments.root is not None:
        raise UserError(f'--root={arguments.root}: is for lists, not for --dataset')
    if arguments.scores is not None:
        raise UserError(f'--scores={arguments.scores}: is for lists and folders of videos, not for --dataset')
    if arguments.follow_links:
        raise UserError(f'{FOLLOW}: is for lists and folders of videos, not for --dataset')
    listing = registry.list_dataset(arguments.dataset, arguments.source, arguments.split or '')
    print(registry.summarize(listing.items), file=sys.stderr)
    return listing


def _make_missing_parts(arguments: argparse.Namespace, items: Sequence[Item], recipe: Recipe, folder: str) -> None:
    """Make the parts that are not there yet, unless it is decided already what goes where."""
    # A plan says which clip goes where, and is made once all parts are there.
    if os.path.exists(os.path.join(folder, 'plan')):
        return
    # A part that is there is complete, so nothing is done twice.
    missing = [item for item in items if part_files.read_index(part_files.part_path(folder, item.name)) is None]
    with _make_bar('videos', len(items), len(items) - len(missing)) as bar:
        if arguments.runner == 'beam':
            # Beam is an extra that a local build does without.
            from data_pipelines.build import beam_runner

            beam_runner.make_parts(missing, recipe, folder, arguments.engine)
            bar.update(len(missing))
        else:
            pool.make_parts(missing, recipe, folder, arguments.workers, lambda item: bar.update())


def _make_bar(unit: str, total: int, done: int = 0) -> Any:
    """Return a progress bar (tqdm) with the time left; in a log it is a line now and then."""
    from tqdm import tqdm

    # A log would hold a line for every video.
    is_terminal = sys.stderr.isatty()
    interval = 0.2 if is_terminal else 10.0
    file = sys.stderr if is_terminal else _LogFile()
    return tqdm(total=total, initial=done, unit=f' {unit}', mininterval=interval, maxinterval=interval, file=file)


class _LogFile:
    """Standard error as a log: what would be written over itself on a terminal has a line each time."""

    def write(self, text: str) -> None:
        sys.stderr.write(text.strip('\r\n') + '\n' if text.strip() else '')

    def flush(self) -> None:
        sys.stderr.flush()


def _remove_folder(folder: str) -> None:
    """Remove the folder, in which a worker of a build killed before may just be about to end."""
    for _ in range(10):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.exists(folder):
            return
        time.sleep(0.2)


def summarize(out: str, manifest: Mapping[str, Any]) -> str:
    """Return a few lines on what was kept, what was not, and why."""
    inputs = manifest['inputs']
    clips = manifest['clips']
    size = sum(shard['bytes'] for shard in manifest['shards']) / 1e6
    lines = [
        f'{out}: {clips["kept"]} clips of {inputs["kept"]} of {sum(inputs.values())} inputs, '
        f'{manifest["frames"]} frames, {manifest["seconds"]:.1f} s, in {len(manifest["shards"])} shards, {size:.1f} MB',
        f'  without a caption: {clips["without_caption"]} clips',
    ]

    for kind, title in (('inputs', 'inputs not kept'), ('clips', 'clips not kept')):
        reasons = manifest['reasons'][kind]
        if reasons:
            lines.append(f'  {title}: ' + ', '.join(f'{count} {reason}' for reason, count in reasons.items()))

    ignored = manifest['ignored_files']
    if ignored:
        lines.append('  files that are no videos: ' + ', '.join(f'{n} {ending}' for ending, n in ignored.items()))
    if manifest['unused_columns']:
        lines.append(f'  columns not used: {", ".join(manifest["unused_columns"])}')
    return '\n'.join(lines)
