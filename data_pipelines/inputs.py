"""DIR/inputs.parquet: a row for every input of a build, and one for every clip of it that was dropped."""

from collections.abc import Sequence

from vdm_jax.data.record_set import SCORE

INPUTS = 'inputs.parquet'
COLUMNS = {
    'input': 'string',  # the name of the item
    'key': 'string',  # of a dropped clip; null in the row of the input itself
    'start': 'float64',  # seconds of the file, of a dropped clip
    'end': 'float64',
    'fate': 'string',  # kept, dropped, broken
    'reason': 'string',  # '' where it is kept
    'detail': 'string',
    'clips': 'int32',  # of an input: how many were kept
    'bytes': 'int64',  # of an input's file; null where it was not read
    'sha256': 'string',
    'listed': 'string',  # of an input: a digest of all that was listed of it
}  # and 'score/NAME' of each score that was measured of a dropped clip


def write_inputs(path, rows: Sequence[dict]) -> None:
    """Writes the rows: mappings with names of COLUMNS, other names passed over, and `scores`."""
    import pyarrow as pa
    from pyarrow import parquet

    scores = sorted({name for row in rows for name in row.get('scores', ())})
    columns = {name: [row.get(name) for row in rows] for name in COLUMNS}
    columns |= {SCORE + name: [row.get('scores', {}).get(name) for row in rows] for name in scores}
    kinds = COLUMNS | {SCORE + name: 'float64' for name in scores}
    schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in kinds.items()])
    parquet.write_table(pa.table(columns, schema=schema), path, compression='zstd')
