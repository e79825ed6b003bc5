"""The programs of a run that a plan compiles, each lowered for the arrays that it is called with; no data is read.

`train` is a training step, `sample` what draws a batch of samples, also for evaluation, and `features` what the network
of a protocol makes of such a batch.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from vdm_jax.experiment.run import Run
from vdm_jax.experiment.sample_features import SampleFeatures, sample_features
from vdm_jax.parallel.mesh import batch_parts, batch_sharding, pad_rows

Shapes = dict[str, jax.ShapeDtypeStruct]


def abstract_batch(run: Run) -> Shapes:
    """Return shapes of the global batch of a training step, of the bucket with most pixels; no data is read."""
    rows = run.batch_layout.rows[run.batch_layout.largest]
    clip_shape = run.data.shapes[run.batch_layout.largest]
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {'video': (clip_shape, np.uint8), 'label': ((), np.int32)}
    if run.data.has_images:
        count = run.data.source.images_per_clip
        shapes['images'] = ((count, *clip_shape[1:]), np.uint8)
        shapes['image_label'] = ((count,), np.int32)
    shapes |= {name: ((), np.float32) for name in run.model_config.scalars}
    shapes |= text_shapes(run)
    sharding = batch_sharding(run.mesh)
    return {
        name: jax.ShapeDtypeStruct((rows, *shape), dtype, sharding=sharding) for name, (shape, dtype) in shapes.items()
    }


def text_shapes(run: Run) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Return {name: (shape, dtype)} of a row of the texts that the network is conditioned on."""
    shape = run.text_shape
    return {'text': (shape, np.float32), 'text_mask': (shape[:1], np.bool_)} if shape else {}


def abstract_conditions(run: Run) -> tuple[Shapes, jax.ShapeDtypeStruct]:
    """Return shapes of the conditions and keys of config.evaluate.batch_size videos, as they come from `sample`."""
    count = pad_rows(run.experiment.evaluate.batch_size, run.mesh)
    context_frames = run.network.context_frames
    sharding = batch_sharding(run.mesh)

    def abstract(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((count, *shape), dtype, sharding=sharding)

    conditions = {'label': abstract((), np.int32)}
    if context_frames:
        conditions['frames'] = abstract((context_frames, *run.data.source.shape[1:]), np.uint8)
    for name, (shape, dtype) in text_shapes(run).items():
        conditions[name] = abstract(shape, dtype)
    # The dtype of typed keys can be had from jax alone; nothing is computed for it.
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), count))
    return conditions, jax.ShapeDtypeStruct(keys.shape, keys.dtype, sharding=sharding)


def count_passes(run: Run) -> float:
    """Return how often the network runs on one video while it is sampled; an autoencoder once.

    By step, evaluations in a step, and guidance.
    """
    if run.model_config.autoencodes:
        return 1.0
    sampler = run.experiment.sampler
    guidance = run.experiment.guidance
    times = sampler.spacing.times(run.experiment.diffusion.process, sampler.steps)[:-1]
    # Of the times that are stepped from, those with guidance run the network on twice the rows.
    is_guided = guidance.is_active(times) & (guidance.scale != 1)
    return float(sampler.evaluations * (len(times) + int(is_guided.sum())))


def shard_bytes(tree: Any) -> int:
    """Return bytes that each device holds of a tree of shapes with shardings."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        shard_shape = leaf.sharding.shard_shape(leaf.shape)
        total += int(np.prod(shard_shape)) * leaf.dtype.itemsize
    return total


@dataclass(frozen=True)
class Lowered:
    """A program that is lowered and not compiled yet.

    Attributes:
      program: What jax has lowered.
      state: Trees of shapes that it works on: params, optimizer and ema.
      videos: That are trained on, or sampled.
      flops: Of those, on all devices.
      rows: Videos that the program works on, with those that fill up the devices.
      copies: How many devices compute the same.
      resident: Trees of shapes that lie on the devices meanwhile, and are none of the program's.
      about: What the program is of, for who reads the plan.
    """

    program: jax.stages.Lowered
    state: dict[str, Any]
    videos: int
    flops: float
    rows: int
    copies: int = 1
    resident: dict[str, Any] = field(default_factory=dict)
    about: str = ''


def lower(run: Run, program: str) -> Lowered:
    """Lower the program 'train', 'sample', or 'features' where there is one."""
    if program == 'train':
        return _lower_training(run)
    if program == 'sample':
        return _lower_sampling(run)
    features = sample_features(run)
    assert features is not None  # as it was asked for
    return _lower_features(run, features)


def _lower_training(run: Run) -> Lowered:
    state = run.programs.abstract_state
    bucket = run.batch_layout.largest
    train_step: Any = run.programs.train_steps[bucket]
    with jax.set_mesh(run.mesh):
        lowered = train_step.lower(state, abstract_batch(run), run.programs.abstract_frozen)
    return Lowered(
        program=lowered,
        state={'params': state.params, 'optimizer': state.opt_state, 'ema': state.ema},
        videos=run.data.batch_sizes[bucket],
        flops=run.step_flops,
        rows=run.batch_layout.rows[bucket],
    )


def _lower_sampling(run: Run) -> Lowered:
    average, codec = _sampling_weights(run)
    conditions, keys = abstract_conditions(run)

    # The generator is a plain function around a jitted one, and only what is jitted can be lowered.
    def generate(params: Any, conditions: Any, keys: jax.Array, frozen: Any) -> Any:
        return run.programs.generator(params, conditions, keys, frozen=frozen)

    with jax.set_mesh(run.mesh):
        lowered = jax.jit(generate).lower(average, conditions, keys, codec)
    videos = run.experiment.evaluate.batch_size
    return Lowered(
        program=lowered,
        state={'params': {}, 'optimizer': {}, 'ema': average},
        videos=videos,
        flops=count_passes(run) * run.sampling_flops * videos,
        rows=len(keys),
    )


def _sampling_weights(run: Run) -> tuple[Any, dict[str, Any]]:
    """Return shapes of the parameters and of the frozen weights that samples are drawn with."""
    # Samples are of the first average, and of no other part of the state.
    average = run.programs.abstract_state.ema[str(run.experiment.ema.decays[0])]
    # Of the frozen weights the codec alone takes part in sampling; LPIPS is of the training loss.
    codec = {name: tree for name, tree in run.programs.abstract_frozen.items() if name == 'codec'}
    return average, codec


def _lower_features(run: Run, features: SampleFeatures) -> Lowered:
    count = run.experiment.evaluate.batch_size
    rows = pad_rows(count, run.mesh)
    params = features.abstract_params
    videos = jax.ShapeDtypeStruct((rows, *features.clip_shape), np.uint8, sharding=batch_sharding(run.mesh))
    with jax.set_mesh(run.mesh):
        lowered = features.program.lower(params, videos)

    average, codec = _sampling_weights(run)
    return Lowered(
        program=lowered,
        state={'params': params, 'optimizer': {}, 'ema': {}},
        videos=count,
        flops=count * features.flops,
        rows=rows,
        # Axes of the mesh that split no batch compute the same.
        copies=run.mesh.size // batch_parts(run.mesh),
        # The sampler's weights stay where they are, as the next batch is drawn with them.
        resident={'ema': average, 'codec': codec},
        about=f', by {features.title}',
    )
