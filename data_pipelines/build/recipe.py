"""Recipe: all that decides what a build makes of its source, from a TOML file and the command line.

[clips]
seconds = 4
fps = 16
"""

import dataclasses
import functools
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np

from data_pipelines.curate import scores
from data_pipelines.curate.clips import ClipsConfig
from data_pipelines.curate.duplicates import DuplicatesConfig
from data_pipelines.curate.shots import ShotsConfig
from vdm_jax.config.experiment_file import override
from vdm_jax.config.ranges import Above0, AtLeast, Ranged
from vdm_jax.config.schema import to_dataclass, to_dict
from vdm_jax.data.records.filters import FACTS, Filters, parse
from vdm_jax.data.video import limits
from vdm_jax.errors import UserError, first_line
from vdm_jax.files import read_bytes

MAX_FILE_BYTES = 2**20
# Numpy, OpenCV and FFmpeg take 0.3 GB of it before the first frame.
LEAST_MEMORY = 2**29
TEXT_FACTS = 'label_name', 'source'


@dataclasses.dataclass(frozen=True)
class Limits(limits.Limits, where='recipe.limits'):
    """The recipe group recipe.limits: what one file may ask for. One that asks for more is broken.

    It has the fields of vdm_jax.data.video.limits as well.

    Attributes:
      time: Seconds of work on it, from its start to the last of its clips.
      memory: Bytes of its worker's process, which has 0.3 GB before it begins (Linux; elsewhere it is not held to it).
    """

    time: Annotated[float, Above0(high=1e9)] = 3600.0
    memory: Annotated[int, AtLeast(LEAST_MEMORY, 2**62)] = 2**32  # 8K takes 2.7 GB


@dataclasses.dataclass(frozen=True)
class ShardsConfig(Ranged, where='recipe.shards'):
    """The recipe group recipe.shards.

    Attributes:
      megabytes: 10**6 bytes of records in a shard, about; a larger record has one to itself.
    """

    megabytes: Annotated[float, Above0(high=1e9)] = 256.0


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All of a recipe.

    Attributes:
      shots: How shots are detected.
      clips: What is cut out of a shot, and how it is stored.
      filters: What a clip has to meet, such as 'motion>=0.02' (vdm_jax.data.records.filters).
      duplicates: What becomes of clips that show the same thing.
      limits: What one file may ask for.
      shards: How large the files of a set are.
      split: Only the inputs that a list says to be of it; '': all of them.
    """

    shots: ShotsConfig = ShotsConfig()
    clips: ClipsConfig = ClipsConfig()
    filters: tuple[str, ...] = scores.FILTERS
    duplicates: DuplicatesConfig = DuplicatesConfig()
    limits: Limits = Limits()
    shards: ShardsConfig = ShardsConfig()
    split: str = ''

    def __post_init__(self) -> None:
        self.parsed_filters  # noqa: B018, parsed here, so that a mistake in one of them is reported now

    @functools.cached_property
    def parsed_filters(self) -> Filters:
        """Return `filters` as they are applied."""
        return parse(self.filters, 'recipe.filters')

    def check(self, source_scores: Iterable[str], unused: Iterable[str] = ()) -> None:
        """Check the filters against what is known of the clips of a source.

        Args:
          source_scores: Names of the scores that the source has.
          unused: Its other columns.

        Raises:
          UserError: a filter is on what there is not, or on what is of another kind.
        """
        source_scores = list(source_scores)
        known = [*FACTS, *scores.SCORES, *source_scores]
        measured = sorted(set(source_scores) & set(scores.SCORES))
        if measured:
            raise UserError(
                f'--source: {measured[0]} is a score that is measured here; give that of the source another name'
            )

        unknown = set(unused) - set(known)
        for each in self.parsed_filters.filters:
            if each.name in unknown:
                raise UserError(
                    f'recipe.filters: {each.text}: {each.name} of --source is not taken as a score, for it '
                    f'names something or holds more than plain numbers; --scores={each.name} takes it'
                )

        # Tried on one made-up clip, it names any other mistake.
        facts = {name: np.zeros(1) for name in known}
        facts |= {name: np.array([''], object) for name in TEXT_FACTS}
        self.parsed_filters.matches(facts)

    def as_dict(self) -> dict[str, Any]:
        """Return nested plain values, every default among them."""
        values: dict[str, Any] = to_dict(self, {})
        return values


def read_recipe(
    path: str | None = None, assignments: Sequence[str] = (), base: Mapping[str, Any] | None = None
) -> Recipe:
    """Read the recipe of a TOML file.

    Args:
      path: The file; None: the defaults.
      assignments: '--recipe.group.key=value', which change it.
      base: What both of them change.

    Raises:
      UserError: the file or a key is wrong; the message names it.
    """
    groups: dict[str, Any] = {}
    if path is not None:
        try:
            groups = tomllib.loads(read_bytes(path, MAX_FILE_BYTES, f'--recipe={path}').decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UserError(f'--recipe={path} is no TOML: {first_line(error)}') from None

    # A file changes single keys of a group of the base, and not the whole group.
    for name, defaults in (base or {}).items():
        group = groups.setdefault(name, defaults)
        if isinstance(group, Mapping) and isinstance(defaults, Mapping):
            groups[name] = {**defaults, **group}

    recipe: Recipe = to_dataclass(Recipe, override(groups, list(assignments), 'recipe'), {}, 'recipe')
    return recipe
