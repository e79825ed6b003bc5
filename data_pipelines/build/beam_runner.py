"""Make the parts of all inputs with Apache Beam, where one machine is not enough: Dataflow, Flink, Spark, or this one.

The options after -- are Beam's own. Every worker writes its parts into DIR/work, so DIR is a path that all of them see
(a network file system, a mounted bucket), as are the videos; shards are written from there by the process that began.
"""

import os
from collections.abc import Sequence

from data_pipelines.build import pool
from data_pipelines.build.recipe import Recipe
from data_pipelines.inputs.item import Item
from vdm_jax.errors import UserError


def make_parts(items: Sequence[Item], recipe: Recipe, folder: str, options: Sequence[str]) -> None:
    """Make the parts of all items.

    Raises:
      UserError: Beam is not installed.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise UserError(
            "--runner=beam needs Apache Beam, which is not installed: pip install 'vdm_jax[beam]'"
        ) from None

    class MakePart(beam.DoFn):  # type: ignore[misc]  # Beam has no types
        """Hands each item to a process of its own, which may hang or crash without harm to Beam's worker."""

        def setup(self) -> None:
            self.pool = pool.open_pool(1, recipe)

        def process(self, item: Item) -> None:
            future = pool.schedule(self.pool, item, recipe, folder)
            pool.ensure_part(self.pool, future, item, recipe, folder)

        def teardown(self) -> None:
            self.pool.stop()
            self.pool.join()

    # Workers run in folders of their own.
    folder = os.path.abspath(folder)
    with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
        # Without the reshuffle Beam fuses the steps, and one worker makes all parts.
        pipeline | beam.Create(items) | beam.Reshuffle() | beam.ParDo(MakePart())  # type: ignore[no-untyped-call]
