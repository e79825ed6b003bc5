"""Types that the files of this room share."""

from typing import Any

import jax

# JAX has no type for a tree: these say what its leaves are.
ArrayTree = Any
ShapeTree = Any  # of jax.ShapeDtypeStruct

Params = dict[str, Any]  # nested by path; the leaves are arrays
Averages = dict[str, Params]  # by decay, as text
Batch = dict[str, jax.Array]
Scalars = dict[str, jax.Array]  # () float32 each, but 'finite', which is () bool

Position = dict[str, Any]  # JSON values: where the data stream stands
Resolved = dict[str, Any]  # JSON values: a config with every default and every choice filled in
