"""Assemble parts to shards, tables and manifest: all that looks at more than one input, in the order of the listing.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgpack

from data_pipelines.build import part_files
from data_pipelines.build.process_video import summarize_dropped
from data_pipelines.build.recipe import Recipe
from data_pipelines.curate.duplicates import find_representatives
from data_pipelines.inputs.item import Item
from data_pipelines.inputs.table import INPUTS, write_inputs
from vdm_jax.data.records.manifest import FORMAT, MANIFEST
from vdm_jax.data.records.schema import Record
from vdm_jax.data.records.shards import TABLE, shard_name, write_shard, write_table
from vdm_jax.errors import first_line
from vdm_jax.files import flush_directory, seal

# [[name of an input, [[offset, size, sha256] of a record in its part, ...]], ...]
Shard = list[tuple[str, list[tuple[int, int, bytes]]]]


def assemble(
    out: str,
    folder: str,
    items: Sequence[Item],
    recipe: Recipe,
    state: Mapping[str, Any],
    make_bar: Callable[[int], Any],
) -> None:
    """Make the set in `out` of the parts in `folder`, which are used up.

    Args:
      out: Directory of the set.
      folder: The folder to work in, below it.
      items: The inputs.
      recipe: That of the build.
      state: What the set was begun with, as build_state.open_build returns it.
      make_bar: Makes a progress bar (tqdm) for so many records.

    Raises:
      UserError: a part was damaged since it was written.
    """
    plan_file = os.path.join(folder, 'plan')
    if not os.path.exists(plan_file):
        store_file(plan_file, msgpack.packb(_make_plan(folder, items, recipe, state['listed'])))
    with open(plan_file, 'rb') as file:
        plan = msgpack.unpackb(file.read())

    # Shards come before the tables, which have the place of each record in them.
    rows = _write_shards(out, folder, plan, make_bar)
    _write_tables(out, folder, rows, plan['rows'])

    shards = len(plan['shards'])
    manifest = {
        'format': FORMAT,
        **plan['counts'],
        'ignored_files': state['ignored_files'],
        'unused_columns': state['unused_columns'],
        'frames': sum(row['frames'] for row in rows),
        'seconds': round(sum(row['frames'] / row['fps'] for row in rows), 3),
        'recipe': recipe.as_dict(),
        'versions': state['versions'],
        'shards': [_describe_file(out, shard_name(number, shards)) for number in range(shards)],
        'tables': [_describe_file(out, TABLE), _describe_file(out, INPUTS)],
    }
    text = json.dumps(seal(manifest), indent=1, ensure_ascii=False) + '\n'
    # The manifest's time is that of the build's beginning: files that changed since then are read again (changes.py).
    store_file(os.path.join(out, MANIFEST), text.encode(), os.path.join(folder, 'manifest.new'), state['began'])


def _write_shards(
    out: str, folder: str, plan: Mapping[str, Any], make_bar: Callable[[int], Any]
) -> list[dict[str, Any]]:
    """Write all shards, removing parts as they are used up; return the rows of all records."""
    shards: list[Shard] = plan['shards']
    # A part whose records are split over two shards is needed until the later one is there.
    last_shard = {name: number for number, shard in enumerate(shards) for name, _ in shard}
    for name in plan['names']:
        # Nothing of these inputs was taken.
        if name not in last_shard:
            _remove_if_there(part_files.part_path(folder, name))

    rows: list[dict[str, Any]] = []
    with make_bar(sum(map(_count_records, shards))) as bar:
        for number, shard in enumerate(shards):
            rows += _write_shard(out, folder, shard, number, len(shards))
            for name, _ in shard:
                if last_shard[name] == number:
                    _remove_if_there(part_files.part_path(folder, name))
            bar.update(_count_records(shard))
    return rows


def _count_records(shard: Shard) -> int:
    return sum(len(places) for _, places in shard)


def _write_tables(out: str, folder: str, rows: Sequence[dict[str, Any]], input_rows: Sequence[dict[str, Any]]) -> None:
    new = os.path.join(folder, 'table.new')
    write_table(new, rows)
    _move_into_place(new, os.path.join(out, TABLE))
    write_inputs(new, input_rows)
    _move_into_place(new, os.path.join(out, INPUTS))


def _make_plan(folder: str, items: Sequence[Item], recipe: Recipe, listed: Mapping[str, str]) -> dict[str, Any]:
    """Decide which clips are kept and where their records go.

    Args:
      folder: The folder of parts.
      items: The inputs, which all have a part.
      recipe: That of the build.
      listed: The digest of each item by name.

    Returns:
      {shards: [Shard, ...], rows: those of INPUTS, counts: those of the manifest, names: of all inputs}.
    """
    parts = {item.name: _read_part(folder, item.name) for item in items}
    candidates = [clip for part in parts.values() for clip in part['clips'] if not clip['reason']]
    # Before anything is counted, as it drops clips.
    _mark_duplicates(candidates, recipe)

    rows: list[dict[str, Any]] = []
    kept_records: Shard = []
    fates: collections.Counter[str] = collections.Counter()
    input_reasons: collections.Counter[str] = collections.Counter()
    clip_reasons: collections.Counter[str] = collections.Counter()
    clips_kept = 0
    without_caption = 0
    for item in items:
        part = parts[item.name]
        kept_clips = [clip for clip in part['clips'] if not clip['reason']]
        dropped_clips = [clip for clip in part['clips'] if clip['reason']]
        outcome = part['input']
        if outcome['fate'] == 'kept' and not kept_clips:
            # All of its clips are duplicates of others.
            facts = {name: outcome[name] for name in ('bytes', 'sha256')}
            outcome |= dataclasses.asdict(summarize_dropped(clip['reason'] for clip in dropped_clips)) | facts

        rows.append({'input': item.name, 'listed': listed[item.name], 'clips': len(kept_clips), **outcome})
        rows += [{'input': item.name, 'fate': 'dropped', **clip} for clip in dropped_clips]
        if kept_clips:
            kept_records.append((item.name, [(clip['place'], clip['size'], clip['digest']) for clip in kept_clips]))

        fates[outcome['fate']] += 1
        if outcome['reason']:
            input_reasons[outcome['reason']] += 1
        clip_reasons.update(clip['reason'] for clip in dropped_clips)
        clips_kept += len(kept_clips)
        without_caption += sum(not clip['captions'] for clip in kept_clips)

    counts = {
        'inputs': {fate: fates[fate] for fate in ('kept', 'dropped', 'broken')},
        'clips': {'kept': clips_kept, 'dropped': clip_reasons.total(), 'without_caption': without_caption},
        'reasons': {'inputs': dict(sorted(input_reasons.items())), 'clips': dict(sorted(clip_reasons.items()))},
    }
    return {
        'shards': _split_into_shards(kept_records, recipe.shards.megabytes * 1e6),
        'rows': rows,
        'counts': counts,
        'names': [item.name for item in items],
    }


def _read_part(folder: str, name: str) -> dict[str, Any]:
    path = part_files.part_path(folder, name)
    part = part_files.read_index(path)
    if part is None:
        raise part_files.damage_error(path)
    return part


def _mark_duplicates(clips: Sequence[dict[str, Any]], recipe: Recipe) -> None:
    """Set the reason of clips that show the same as another one to `duplicate`."""
    if not recipe.duplicates.drop:
        return
    # The representatives hang on these values only, so they are the same for any number of workers.
    names = [clip['key'] for clip in clips]
    pixels = [clip['pixels'] for clip in clips]
    seconds = [clip['seconds'] for clip in clips]
    hashes = [clip['hashes'] for clip in clips]
    representatives = find_representatives(names, pixels, seconds, hashes, recipe.duplicates)
    for clip, number in zip(clips, representatives, strict=True):
        kept_clip = clips[number]
        if kept_clip is not clip:
            clip['reason'] = 'duplicate'
            clip['detail'] = f'of {kept_clip["key"]}'


def _split_into_shards(records: Shard, limit: float) -> list[Shard]:
    """Return the records, in order, in shards of at most `limit` bytes, but of a record at least."""
    shards: list[Shard] = []
    # So that the first record begins the first shard.
    size = limit + 1
    for name, places in records:
        for place in places:
            _, record_size, _ = place
            if size + record_size > limit:
                shards.append([])
                size = 0
            size += record_size
            shard = shards[-1]
            if not shard or shard[-1][0] != name:
                shard.append((name, []))
            shard[-1][1].append(place)
    return shards


def _write_shard(out: str, folder: str, shard: Shard, number: int, count: int) -> list[dict[str, Any]]:
    """Write one shard where it is not there yet; return the rows of its records."""
    path = os.path.join(out, shard_name(number, count))
    rows_file = os.path.join(folder, f'rows-{number}')

    # One at a time: a shard's records need not fit into memory.
    def read_records() -> Iterator[Record]:
        for name, places in shard:
            yield from part_files.read_records(part_files.part_path(folder, name), places)

    if not os.path.exists(path):
        new = os.path.join(folder, 'shard.new')
        try:
            rows = write_shard(new, read_records(), number)
        except RuntimeError as error:  # so ArrayRecord reports a full disk
            raise OSError(first_line(error)) from None

        # The rows come first: once the shard is there, they are never asked for again.
        store_file(rows_file, msgpack.packb(rows))
        _move_into_place(new, path)
    with open(rows_file, 'rb') as file:
        stored_rows: list[dict[str, Any]] = msgpack.unpackb(file.read())
    return stored_rows


def store_file(path: str, content: bytes, new: str | None = None, when: float | None = None) -> None:
    """Write a file that is there completely or not at all.

    Args:
      path: Of the file.
      content: Of the file.
      new: Where it is made, by default beside it.
      when: The time that it is given, seconds of the epoch.
    """
    new = new or f'{path}.new'
    with open(new, 'wb') as file:
        file.write(content)
    if when is not None:
        os.utime(new, (when, when))
    _move_into_place(new, path)


def _move_into_place(new: str, path: str) -> None:
    """Rename a finished file once it is on the disk: what it was made of is removed after this."""
    with open(new, 'rb') as file:
        os.fsync(file.fileno())
    os.replace(new, path)
    flush_directory(os.path.dirname(path))


def _describe_file(out: str, name: str) -> dict[str, Any]:
    path = os.path.join(out, name)
    with open(path, 'rb') as file:
        sha256 = hashlib.file_digest(file, 'sha256').hexdigest()
    return {'name': name, 'bytes': os.path.getsize(path), 'sha256': sha256}


def _remove_if_there(path: str) -> None:
    if os.path.exists(path):
        os.remove(path)
