"""Parts -> shards, tables and manifest: all that looks at more than one input, in the order of the listing.

    DIR/work/plan      what goes where; there once every input has its part
    DIR/work/rows-K    the table's rows of shard K; there once the shard is
    DIR/manifest.json  comes last: a directory that has it is finished

Each step may be cut off anywhere and is done again; parts go as soon as their records are in a shard, so that the disk
holds one copy and a shard.
"""

import collections
import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence

import msgpack

from data_pipelines.build import part_files
from data_pipelines.build.process_video import none_kept
from data_pipelines.build.recipe import Recipe
from data_pipelines.curate.duplicates import find_representatives
from data_pipelines.inputs.listing import Item
from data_pipelines.inputs.table import INPUTS, write_inputs
from vdm_jax.data.record_set import TABLE, shard_name, write_shard, write_table
from vdm_jax.data.set_manifest import FORMAT, MANIFEST
from vdm_jax.errors import first_line
from vdm_jax.files import flush_directory, sealed


def assemble(out: str, folder: str, items: Sequence[Item], recipe: Recipe, about: dict, bar) -> None:
    """Makes the set in `out` of the parts in `folder`, which are used up. about: as begun.begin has it. bar: makes a
    bar of progress (tqdm) for so many records.

    Raises: UserError where a part was damaged since it was written.
    """
    plan_file = os.path.join(folder, 'plan')
    if not os.path.exists(plan_file):
        store(plan_file, msgpack.packb(_plan(folder, items, recipe, about['listed'])))
    with open(plan_file, 'rb') as file:
        plan = msgpack.unpackb(file.read())
    shards, rows = plan['shards'], []
    last = {name: number for number, shard in enumerate(shards) for name, _ in shard}
    for name in plan['names']:
        if name not in last:
            _remove(part_files.path_of(folder, name))
    with bar(sum(len(places) for shard in shards for _, places in shard)) as progress:
        for number, shard in enumerate(shards):
            rows += _shard(out, folder, shard, number, len(shards))
            for name, _ in shard:
                if last[name] == number:
                    _remove(part_files.path_of(folder, name))
            progress.update(sum(len(places) for _, places in shard))
    for name, write, table in ((TABLE, write_table, rows), (INPUTS, write_inputs, plan['rows'])):
        new = os.path.join(folder, 'table.new')
        write(new, table)
        _put(new, os.path.join(out, name))
    manifest = {
        'format': FORMAT,
        **plan['counts'],
        'ignored_files': about['ignored_files'],
        'unused_columns': about['unused_columns'],
        'frames': sum(row['frames'] for row in rows),
        'seconds': round(sum(row['frames'] / row['fps'] for row in rows), 3),
        'recipe': recipe.as_dict(),
        'versions': about['versions'],
        'shards': [_file(out, shard_name(k, len(shards))) for k in range(len(shards))],
        'tables': [_file(out, TABLE), _file(out, INPUTS)],
    }
    text = json.dumps(sealed(manifest), indent=1, ensure_ascii=False) + '\n'
    store(os.path.join(out, MANIFEST), text.encode(), os.path.join(folder, 'manifest.new'), about['began'])


def _plan(folder, items, recipe, listed):
    """{shards: [[[name, [[place, size, digest], ...]], ...], ...], rows: of INPUTS, counts, names}."""
    found = {item.name: part_files.index(part_files.path_of(folder, item.name)) for item in items}
    for name, part in found.items():
        if part is None:
            raise part_files.damaged(part_files.path_of(folder, name))
    _drop_duplicates([clip for part in found.values() for clip in part['clips'] if not clip['reason']], recipe)
    rows, picked, clips, uncaptioned = [], [], collections.Counter(), 0
    fates, reasons = collections.Counter(), {'inputs': collections.Counter(), 'clips': collections.Counter()}
    for item in items:
        part = found[item.name]
        dropped, kept = ([clip for clip in part['clips'] if bool(clip['reason']) is gone] for gone in (True, False))
        whole = part['input']
        if whole['fate'] == 'kept' and not kept:
            whole |= dataclasses.asdict(none_kept(clip['reason'] for clip in dropped)) | {
                name: whole[name] for name in ('bytes', 'sha256')
            }
        rows.append({'input': item.name, 'listed': listed[item.name], 'clips': len(kept), **whole})
        rows += [{'input': item.name, 'fate': 'dropped', **clip} for clip in dropped]
        if kept:
            picked.append([item.name, [[clip['place'], clip['size'], clip['digest']] for clip in kept]])
        fates[whole['fate']] += 1
        reasons['inputs'].update([whole['reason']] if whole['reason'] else [])
        reasons['clips'].update(clip['reason'] for clip in dropped)
        clips.update(kept=len(kept), dropped=len(dropped))
        uncaptioned += sum(not clip['captions'] for clip in kept)
    counts = {
        'inputs': {fate: fates[fate] for fate in ('kept', 'dropped', 'broken')},
        'clips': {fate: clips[fate] for fate in ('kept', 'dropped')} | {'without_caption': uncaptioned},
        'reasons': {kind: dict(sorted(which.items())) for kind, which in reasons.items()},
    }
    names = [item.name for item in items]
    return {'shards': _shards(picked, recipe.shards.megabytes * 1e6), 'rows': rows, 'counts': counts, 'names': names}


def _drop_duplicates(clips, recipe):
    """Gives those that show the same as another one the reason `duplicate`."""
    if not recipe.duplicates.drop:
        return
    columns = ([clip[name] for clip in clips] for name in ('key', 'pixels', 'seconds', 'hashes'))
    for clip, number in zip(clips, find_representatives(*columns, recipe.duplicates), strict=True):
        if (kept := clips[number]) is not clip:
            clip |= {'reason': 'duplicate', 'detail': f'of {kept["key"]}'}


def _shards(picked, most):
    """The records, in order, in shards of at most so many bytes, but a record at least."""
    shards, size = [], most + 1
    for name, places in picked:
        for place in places:
            if size + place[1] > most:
                shards.append([])
                size = 0
            size += place[1]
            if not shards[-1] or shards[-1][-1][0] != name:
                shards[-1].append([name, []])
            shards[-1][-1][1].append(place)
    return shards


def _shard(out, folder, shard, number, count):
    """Writes one shard where it is not there yet; returns its rows."""
    path, known = os.path.join(out, shard_name(number, count)), os.path.join(folder, f'rows-{number}')
    if not os.path.exists(path):
        new = os.path.join(folder, 'shard.new')
        records = (r for name, places in shard for r in part_files.records(part_files.path_of(folder, name), places))
        try:
            rows = write_shard(new, records, number)
        except RuntimeError as error:  # so ArrayRecord tells of a full disk
            raise OSError(first_line(error)) from None
        store(known, msgpack.packb(rows))
        _put(new, path)
    with open(known, 'rb') as file:
        return msgpack.unpackb(file.read())


def store(path: str, content: bytes, new: str | None = None, when: float | None = None) -> None:
    """Writes a file that is there whole or not at all; new: where it is made; when: the time that it bears."""
    new = new or f'{path}.new'
    with open(new, 'wb') as file:
        file.write(content)
    if when is not None:
        os.utime(new, (when, when))
    _put(new, path)


def _put(new, path):
    """Gives a finished file its name once it is on the disk: what it was made of is removed after this."""
    with open(new, 'rb') as file:
        os.fsync(file.fileno())
    os.replace(new, path)
    flush_directory(os.path.dirname(path))


def _file(out, name):
    path = os.path.join(out, name)
    with open(path, 'rb') as file:
        return {'name': name, 'bytes': os.path.getsize(path), 'sha256': hashlib.file_digest(file, 'sha256').hexdigest()}


def _remove(path):
    if os.path.exists(path):
        os.remove(path)
