"""How a batch lies on a mesh and is worked through: filled up, in parts, split; the step is the same."""

import dataclasses
import types

import jax
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

from tests.marks import rest_slow
from tests.train.small_run import SMALL
from vdm_jax.data.clip_batches import batch_of
from vdm_jax.data.source import StatelessSource
from vdm_jax.experiment.experiment import experiment_dict, experiment_from, read_experiment
from vdm_jax.experiment.programs import Programs
from vdm_jax.experiment.run import Run
from vdm_jax.parallel.mesh import AXES, MeshConfig, batch_sharding, local_rows, make_mesh, pad_rows, to_global
from vdm_jax.train import resume, validation
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.fingerprint import fingerprint
from vdm_jax.train.step import Losses, sum_over_microbatches
from vdm_jax.train.train_config import TrainConfig

# So small that one long sum of float32 numbers is still right to 1e-6.
SMALLER = (*SMALL, '--config.data.frames=2', '--config.data.pixels=8', '--config.model.layout=full')


def run_of(batch_size, mesh=None, accumulate=1, images=0):
    experiment = read_experiment('experiments/bouncing_balls.py', list(SMALLER))
    if images:
        groups = experiment_dict(experiment)
        groups['data'] = {'source': 'joint_images', 'clips': groups['data'], 'images': groups['data'], 'count': images}
        experiment = experiment_from(groups)
    train = dataclasses.replace(experiment.train, batch_size=batch_size, accumulate=accumulate)
    return Run(
        dataclasses.replace(experiment, train=train, mesh=mesh or MeshConfig()), jax.devices()[: mesh and 8 or 1]
    )


@pytest.mark.parametrize('batch_size, ways, parts, size', [(8, 4, 1, 8), (3, 8, 1, 8), (9, 4, 1, 12), (8, 2, 3, 12)])
def test_a_batch_is_filled_up_to_what_divides(batch_size, ways, parts, size):
    mesh = make_mesh(MeshConfig(data=ways), jax.devices()[:ways])
    assert pad_rows(batch_size, mesh, parts) == size


def test_to_global_keeps_the_order_of_rows_on_permuted_devices():
    devices = np.array(jax.devices())[[3, 1, 7, 5, 0, 2, 6, 4]].reshape(1, 2, 2, 1, 2)
    mesh = Mesh(devices, AXES)
    rows = np.random.default_rng(0).normal(size=(12, 3))
    batch = to_global({'rows': rows[local_rows(12, mesh)]}, mesh)['rows']
    np.testing.assert_array_equal(batch, rows.astype(np.float32))
    assert batch.sharding.is_equivalent_to(batch_sharding(mesh), 2)
    assert [shard.data.shape for shard in batch.addressable_shards] == [(3, 3)] * 8


def gradients(run):
    """Scalars and parameters after a step of plain gradient descent, which shows the gradients as they are."""
    # Of a schedule, as a run's own.
    programs = Programs(run.experiment, run.network, run.data.batch_sizes, run.mesh)
    run = run.with_parts(programs=programs.with_programs(optimizer=optax.sgd(lambda count: 1.0)))
    with jax.set_mesh(run.mesh):
        state = run.programs.init_state()
        batch = batch_of(run.data.reader, run.batch_layout.local_rows[0])
        state, scalars = run.programs.train_step(state, run.batch_layout.to_global(batch))
    return {name: float(value) for name, value in scalars.items()}, jax.device_get(state.params)


WAYS = {
    'images, filled up on 8 devices in 2 parts': (6, MeshConfig(data=2, fsdp=4), 2, 2),
    'in 3 parts': (6, None, 3, 0),
    'images, in 2 parts': (6, None, 2, 2),
    'filled up, in 4 parts': (6, None, 4, 0),
    'filled up on 8 devices': (6, MeshConfig(data=4, fsdp=2), 1, 0),
}
PLAINEST = {}


@pytest.mark.parametrize('way', rest_slow(WAYS, 1))
def test_a_sharded_step_equals_the_step_on_one_device(way):
    batch_size, mesh, accumulate, images = WAYS[way]
    if images not in PLAINEST:
        PLAINEST[images] = gradients(run_of(batch_size, images=images))
    scalars, params = gradients(run_of(batch_size, mesh, accumulate, images))
    expected, wanted = PLAINEST[images]
    assert scalars == pytest.approx(expected, rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), params, wanted)


def test_one_program_donates_its_state_and_weights_move_between_meshes_bit_for_bit(tmp_path):
    """8 -> 4 -> 1 -> 8 devices, each reading what the one before it wrote."""
    meshes = (MeshConfig(data=2, fsdp=4), MeshConfig(fsdp=2, tensor=2), MeshConfig(), MeshConfig(data=2, fsdp=4))

    def prints(state):
        return {name: fingerprint(getattr(state, name)) for name in ('params', 'ema', 'opt_state')}

    runs = {}
    for number, (mesh, count) in enumerate(zip(meshes, (8, 4, 1, 8), strict=True)):
        if mesh not in runs:
            runs[mesh] = Run(dataclasses.replace(run_of(8).experiment, mesh=mesh), jax.devices()[:count])
        run = runs[mesh]
        with jax.set_mesh(run.mesh), Checkpoints(tmp_path / 'checkpoints', writes=True) as checkpoints:
            if not number:
                state = step_once(run, run.programs.init_state())
                expected = prints(state)
            else:
                state, _ = checkpoints.restore(run.programs.abstract_state)
                assert prints(state) == expected
            shardings = jax.tree.map(lambda leaf: leaf.sharding, run.programs.abstract_state)
            assert jax.tree.map(lambda leaf: leaf.sharding, state) == shardings
            checkpoints.save(number + 1, state, resume.describe_position(run, number + 1))
    with jax.set_mesh(run.mesh):
        for _ in range(2):
            before, state = state, step_once(run, state)
            assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before))
    assert run.programs.train_step._cache_size() == 1  # from a fresh state, from its own and from a restored one


def step_once(run, state):
    """The state after one more step."""
    batch = batch_of(run.data.reader, run.batch_layout.local_rows[0])
    return run.programs.train_step(state, run.batch_layout.to_global(batch))[0]


@pytest.mark.parametrize('size, batches, each', [(5, 2, 1), (5, 1, 0.8), (4, 2, 2), (3, 4, 5)])
def test_every_clip_of_a_validation_set_with_a_remainder_counts_the_same(size, batches, each):
    """Batches of four, filled up to eight rows; `each` is how often a clip counts, a part of them below 1."""
    seen = []

    def step(params, batch, index, frozen):
        seen.extend(batch['label'][:4].tolist())
        loss = np.where(np.arange(8) < 4, batch['label'], 1000).astype(np.float32)  # what fills up must not count
        return Losses(loss, loss[:, None], np.ones((8, 1), np.float32))

    class Labels(StatelessSource):
        """Clip i is black and has the label i."""

        shape = (1, 1, 1, 3)

        def __len__(self):
            return size

        def __getitem__(self, i):
            return {'video': np.zeros(self.shape, np.uint8), 'label': np.int32(i)}

        def draw(self, i, rng):
            return self[i]

    run = types.SimpleNamespace(
        experiment=types.SimpleNamespace(
            train=TrainConfig(batch_size=4, validate_batches=batches), ema=types.SimpleNamespace(decays=(0.5,))
        ),
        data=types.SimpleNamespace(held_out=Labels()),
        model_config=types.SimpleNamespace(scalars=()),
        batch_layout=types.SimpleNamespace(local_rows=[np.arange(8) % 4], to_global=lambda batch, bucket: batch),
        programs=types.SimpleNamespace(validation_step=step),
        frozen={},
    )
    validation_loss = validation.validate(run, types.SimpleNamespace(ema={'0.5': None}))['validation_loss']
    count = int(size * each)
    assert validation_loss == pytest.approx(np.mean([i % size for i in range(count)]))
    assert len(seen) == -(-count // 4) * 4


def test_a_batch_in_parts_moves_nothing_between_devices():
    mesh = make_mesh(MeshConfig(data=4, fsdp=2), jax.devices())

    def share(rows):
        return (rows**2).sum(0).sum()

    with jax.set_mesh(mesh):
        step = jax.jit(lambda rows: sum_over_microbatches(share, rows, 3), in_shardings=batch_sharding(mesh))
        program = step.lower(jax.ShapeDtypeStruct((24, 4), np.float32)).compile().as_text()
        rows = np.arange(96, dtype=np.float32).reshape(24, 4)
        assert step(rows) == (rows**2).sum()
    assert 'all-reduce' in program  # of the sums; and of the rows themselves
    assert not any(moved in program for moved in ('all-gather', 'all-to-all', 'collective-permute'))
