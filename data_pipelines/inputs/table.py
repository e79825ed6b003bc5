"""The table DIR/inputs.parquet of a set: a row for every input of a build, and one for every clip that was dropped."""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vdm_jax.data.records.manifest import sha256_of
from vdm_jax.data.records.shards import SCORE
from vdm_jax.errors import UserError, first_line
from vdm_jax.files import check_regular

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


def write_inputs(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows: mappings with names of COLUMNS, other names passed over, and `scores`."""
    import pyarrow as pa
    from pyarrow import parquet

    columns = {name: [row.get(name) for row in rows] for name in COLUMNS}
    scores = sorted({name for row in rows for name in row.get('scores', ())})
    for name in scores:
        columns[SCORE + name] = [row.get('scores', {}).get(name) for row in rows]
    parquet.write_table(pa.table(columns, schema=_schema(columns)), path, compression='zstd')


def _schema(names: Iterable[str]) -> Any:
    import pyarrow as pa

    return pa.schema([(name, getattr(pa, COLUMNS.get(name, 'float64'))()) for name in names])


def read_inputs(directory: str, columns: Sequence[str] | None = None) -> Any:
    """Return the table of a finished set, a pyarrow.Table of COLUMNS or of some of them.

    Raises:
      UserError: it is not there, or damaged.
    """
    from pyarrow import parquet

    path = os.path.join(directory, INPUTS)
    check_regular(path)
    try:
        with open(path, 'rb') as file:
            if hashlib.file_digest(file, 'sha256').hexdigest() != sha256_of(directory, INPUTS):
                raise UserError('its sha256 is another one than when it was built')
        # Not mapped, and looked through whole, as the table of records is (vdm_jax/data/records/shards.py).
        table = parquet.read_table(path, columns=None if columns is None else [*columns], memory_map=False)

        missing = [name for name in columns or COLUMNS if name not in table.column_names]
        if missing:
            raise UserError(f'it has no column {missing[0]}')

        # Columns of later versions are passed over.
        known = [name for name in table.column_names if name in COLUMNS or name.startswith(SCORE)]
        table = table.select(known).cast(_schema(known))
        table.validate(full=True)
    except Exception as error:  # Arrow and Python have errors of many kinds for what is no table
        raise UserError(f'{path} cannot be read: {first_line(error)}; build the set anew') from None
    return table
