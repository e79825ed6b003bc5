"""A recipe: all that decides what a build makes of its source, from a TOML file and the command line.

[clips]
seconds = 4
fps = 16
"""

import dataclasses
import functools
import tomllib
from collections.abc import Iterable, Mapping
from typing import Annotated

import numpy as np

from data_pipelines.curate import scores
from data_pipelines.curate.clips import Clips
from data_pipelines.curate.duplicates import DuplicatesConfig
from data_pipelines.curate.shots import ShotsConfig
from vdm_jax.config import override, to_dataclass, to_dict
from vdm_jax.data.filters import FACTS, Filters, parse
from vdm_jax.data.video import decode
from vdm_jax.errors import UserError, first_line
from vdm_jax.files import read_whole
from vdm_jax.ranges import Above0, AtLeast

MOST_BYTES = 2**20  # of a file

LEAST_MEMORY = 2**29
TEXTS = 'label_name', 'source'  # among FACTS


@dataclasses.dataclass(frozen=True)
class Limits(decode.Limits, where='recipe.limits'):
    """What one file may ask for: one that asks for more is broken. As vdm_jax.data.video.limits has them, and

    time: seconds of work on it, from its start to the last of its clips. memory: bytes of its worker's process, which
    has 0.3 GB before it begins (Linux; elsewhere it is not held to it).
    """

    time: Annotated[float, Above0(high=1e9)] = 3600.0
    memory: Annotated[int, AtLeast(1, 2**62)] = 2**32  # 8K takes 2.7 GB

    def __post_init__(self):
        super().__post_init__()
        if self.memory < LEAST_MEMORY:
            raise UserError(f'recipe.limits.memory is {self.memory}; a worker takes {LEAST_MEMORY} before long')


@dataclasses.dataclass(frozen=True)
class Shards:
    """megabytes: 10**6 bytes of records in a shard, about; a larger record has one to itself."""

    megabytes: float = 256.0

    def __post_init__(self):
        if self.megabytes <= 0:
            raise UserError(f'recipe.shards.megabytes is {self.megabytes}; it must be more than 0')


@dataclasses.dataclass(frozen=True)
class Recipe:
    """filters: conditions that a clip has to meet, such as 'motion>=0.02' (vdm_jax.data.filters). split: only the
    inputs that a list says to be of it; '': all of them.
    """

    shots: ShotsConfig = ShotsConfig()
    clips: Clips = Clips()
    filters: tuple[str, ...] = scores.FILTERS
    duplicates: DuplicatesConfig = DuplicatesConfig()
    limits: Limits = Limits()
    shards: Shards = Shards()
    split: str = ''

    def __post_init__(self):
        self.conditions  # noqa: B018, a mistake in one of them is one now

    @functools.cached_property
    def conditions(self) -> Filters:
        return parse(self.filters, 'recipe.filters')

    def check(self, listed: Iterable[str], unused: Iterable[str] = ()) -> None:
        """Raises: UserError for a filter on what there is not, or is of another kind; listed: names of scores that the
        source gives; unused: its other columns.
        """
        if taken := sorted(set(listed) & set(scores.SCORES)):
            raise UserError(
                f'--source: {taken[0]} is a score that is measured here; give that of the source another name'
            )
        unknown = set(unused) - {*FACTS, *scores.SCORES, *listed}
        for condition in self.conditions.conditions:
            if condition.name in unknown:
                raise UserError(
                    f'recipe.filters: {condition.text}: {condition.name} of --source is not taken as a score, for it '
                    f'names something or holds more than plain numbers; --scores={condition.name} takes it'
                )
        nothing = {name: np.zeros(1) for name in (*FACTS, *scores.SCORES, *listed)}
        self.conditions.keep(nothing | {name: np.array([''], object) for name in TEXTS})

    def as_dict(self) -> dict:
        """Nested plain values, every default among them."""
        return to_dict(self, {})


def read_recipe(path: str | None = None, assignments: list[str] = (), base: Mapping | None = None) -> Recipe:
    """The recipe of a TOML file (None: the defaults) with '--recipe.group.key=value' on top; base: what both change.

    Raises: UserError, naming the file or the key.
    """
    groups = {}
    if path is not None:
        try:
            groups = tomllib.loads(read_whole(path, MOST_BYTES, f'--recipe={path}').decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UserError(f'--recipe={path} is no TOML: {first_line(error)}') from None
    for name, below in (base or {}).items():
        own = groups.setdefault(name, below)
        if isinstance(own, Mapping) and isinstance(below, Mapping):
            groups[name] = {**below, **own}
    return to_dataclass(Recipe, override(groups, list(assignments), 'recipe'), {}, 'recipe')
