"""Loss and gradients of a complete network on a mesh, to compare between meshes."""

import math

import jax
import numpy as np

from vdm_jax.codecs.identity import Identity
from vdm_jax.experiment.experiment import experiment_from
from vdm_jax.experiment.run import Run
from vdm_jax.parallel.mesh import to_global
from vdm_jax.train.diffusion_loss import compute_losses, encode_batch
from vdm_jax.train.step import example_keys

AXES = 'data', 'fsdp', 'sequence', 'tensor'
GROUPS = {
    'data': {'source': 'synthetic', 'frames': 8, 'pixels': 16, 'classes': 3},
    'model': {
        'depth': 2, 'width': 64, 'heads': 8, 'patch': 4, 'layout': 'interleaved', 'qk_norm': True, 'scalars': ['fps'],
        'position': 'learned_rope', 'scan': True,
    },
    'diffusion': {'time': 'uniform'}, 'train': {'batch_size': 8},
}  # fmt: skip


def value_and_grad(sizes, groups=GROUPS):
    """(loss, gradients by path) of one step's batch on the mesh of these sizes, from parameters of plain noise."""
    run = Run(
        experiment_from(groups | {'mesh': dict(zip(AXES, sizes, strict=True))}), jax.devices()[: math.prod(sizes)]
    )
    rng = np.random.default_rng(0)

    def noise(leaf):
        return jax.device_put(rng.normal(0, 0.1, leaf.shape).astype(np.float32), leaf.sharding)

    batch = {
        'video': rng.integers(0, 256, (8, *run.data.source.shape), np.uint8),
        'label': np.arange(8, dtype=np.int32) % 3, 'fps': np.linspace(8, 30, 8, dtype=np.float32),
    }  # fmt: skip

    def loss(params, batch):
        keys = example_keys(jax.random.key(1), 0, 8)
        x0, conditions, images = encode_batch(batch, Identity(), {}, keys)
        return compute_losses(
            run.network.apply, run.experiment.diffusion, params, x0, conditions, 3, keys, images
        ).loss.mean()

    with jax.set_mesh(run.mesh):
        params = jax.tree.map(noise, run.programs.abstract_state.params)
        return jax.device_get(jax.jit(jax.value_and_grad(loss))(params, to_global(batch, run.mesh)))
