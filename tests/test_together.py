"""Every name of the index in a run: the room-by-room tests hold each, here they meet, train and sample."""

import jax
import numpy as np
import pytest

from vdm_jax.data.clip_batches import batch_of
from vdm_jax.errors import UserError
from vdm_jax.experiment import registry
from vdm_jax.experiment.experiment import experiment_dict, experiment_from, read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.models.layouts import LAYOUTS
from vdm_jax.nn.modulation import MODULATIONS
from vdm_jax.parallel.mesh import to_global
from vdm_jax.sampling import conditioning
from vdm_jax.sampling.generate import generate_videos
from vdm_jax.train.ema import first

SMALL = (
    'data.frames=4', 'data.pixels=12', 'data.size=64', 'model.width=32', 'model.depth=2', 'model.heads=2',
    'model.time_patch=1', 'train.batch_size=4', 'sampler.steps=4', 'sampler.clip=1', 'optim.learning_rate=0.01',
    'ema.warmup=false', 'ema.decays=0.5',
)  # fmt: skip

RUNS = {
    'iddpm': (
        'diffusion.process=ddpm', 'diffusion.process.schedule=cosine', 'diffusion.prediction=eps',
        'diffusion.time=uniform', 'diffusion.weighting=min_snr', 'diffusion.variance=learned_range',
        'model.learn_variance=true', 'model.layout=full', 'model.position=rope', 'model.dtype=bfloat16',
        'model.modulation=adaln_single', 'sampler=ancestral', 'sampler.variance=learned', 'sampler.spacing=linear',
        'guidance.scale=2',
    ),
    'edm': (
        'diffusion.process=edm', 'diffusion.prediction=edm', 'diffusion.weighting=edm',
        'diffusion.time=log_normal_sigma', 'model.layout=split_heads', 'model.modulation=adaln_lora',
        'sampler=stochastic_heun', 'sampler.spacing=karras',
    ),
    'simple diffusion': (
        'diffusion.process=logsnr_cosine', 'diffusion.process.shift=0.5', 'diffusion.prediction=v',
        'diffusion.time=discrete', 'diffusion.weighting=sigmoid', 'diffusion.self_conditioning=0.5',
        'model.self_condition=true', 'model.layout=late_fusion', 'sampler=unipc', 'sampler.spacing=logsnr',
    ),
    'sit gvp': (
        'diffusion.process.path=gvp', 'diffusion.prediction=velocity', 'diffusion.time=mode',
        'diffusion.weighting=constant', 'model.layout=sequential', 'model.position=learned', 'sampler=heun',
        'sampler.spacing=shifted', 'guidance.scale=3', 'guidance.interval=0.2,0.9', 'guidance.rescale=0.7',
        'guidance.schedule=linear', 'guidance.negative=1',
    ),
    'sit vp in windows': (
        'diffusion.process.path=vp', 'diffusion.process.numbering=sit', 'diffusion.prediction=x0',
        'diffusion.time=shifted', 'diffusion.weighting=truncated', 'model.layout=windows',
        'model.windows=1x2x2,3x3x3', 'sampler=dpmpp_2m', 'sampler.spacing=trailing',
    ),
    'diffusion forcing': (
        'diffusion.process=ddpm', 'diffusion.process.schedule=sigmoid', 'diffusion.process.zero_terminal_snr=true',
        'diffusion.prediction=v', 'diffusion.per_frame=true', 'diffusion.weighting=fused_min_snr',
        'diffusion.weighting.causal=true', 'model.layout=causal', 'sampler=dpmpp_2m_sde', 'diffusion.time=uniform',
        'sampler.spacing=leading',
    ),
    'given a frame, told its motion': (
        'diffusion.context=1', 'model.scalars=motion', 'diffusion.weighting=velocity', 'diffusion.time=logit_normal',
        'model.layout=interleaved', 'sampler=ddim', 'sampler.eta=0.5',
    ),
    'flow with euler': (
        'sampler=euler', 'model.modulation=adaln_zero', 'diffusion.prediction=velocity', 'sampler.spacing=drop_last',
        'sampler.spacing.of=shifted', 'sampler.spacing.of.stop=0.001',
    ),
    'as stable diffusion is sampled': (
        'diffusion.process=ddpm', 'diffusion.prediction=v', 'sampler=ddim', 'sampler.spacing=stop_at_first',
        'sampler.spacing.of=leading', 'sampler.spacing.of.offset=1',
    ),
    'regressor of frames': (
        'diffusion.context=1', 'diffusion.time=noise', 'diffusion.prediction=x0', 'model.layout=full_causal',
        'model.position=rope', 'sampler=euler', 'sampler.steps=1',
    ),
    'images alone': (
        'diffusion.process.numbering=sit', 'diffusion.prediction=velocity', 'model.layout=frames', 'sampler=heun',
    ),
}  # fmt: skip


def run_of(name):
    conditioning = [f'--config.{item}' for item in (*SMALL, *RUNS[name])]
    return Run(read_experiment('experiments/bouncing_balls.py', conditioning), jax.devices()[:1])


@pytest.mark.parametrize(
    'name', [name if name == 'iddpm' else pytest.param(name, marks=pytest.mark.slow) for name in RUNS]
)
def test_it_trains_and_samples(name):
    run = run_of(name)
    run.check()
    with jax.set_mesh(run.mesh):
        state = run.programs.init_state()
        losses = []
        for step in range(30):
            batch = batch_of(run.data.reader, range(4 * (step % 2), 4 * (step % 2) + 4), run.model_config.scalars)
            state, scalars = run.programs.train_step(state, to_global(batch, run.mesh))
            losses.append(float(scalars['loss']))
        conditions = conditioning.complete_conditions(run.data, run.network, {'label': np.array([0, 1])})
        videos = generate_videos(run.generate, first(run.experiment.ema, state.ema), conditions, seed=0)
    assert np.isfinite(losses).all() and np.mean(losses[20:]) < 0.9 * np.mean(losses[:3])
    assert videos.shape == (2, 4, 12, 12, 3) and videos.std() > 5


def test_every_name_of_the_index_is_among_them():
    used = {}
    for name in RUNS:
        experiment = experiment_dict(run_of(name).experiment)
        diffusion = experiment['diffusion']
        sampler = experiment['sampler']
        model = experiment['model']

        for group, value in {
            'processes': diffusion['process']['name'],
            'times': diffusion['time']['name'],
            'weightings': diffusion['weighting']['name'],
            'samplers': sampler['name'],
            'spacings': sampler['spacing']['name'],
            'layouts': model['layout'],
            'modulations': model['modulation'],
        }.items():
            used.setdefault(group, set()).add(value)
    for group, table in {
        'processes': registry.PROCESSES,
        'times': registry.TIMES,
        'weightings': registry.WEIGHTINGS,
        'samplers': registry.SAMPLERS,
        'spacings': registry.SPACINGS,
        'layouts': LAYOUTS,
        'modulations': MODULATIONS,
    }.items():
        assert used[group] == set(table), group


def test_clips_without_classes_beside_images_with_some_are_sampled_without_label():
    parts = {
        'clips': {'source': 'video_folder', 'path': 'not read', 'frames': 4, 'pixels': 12},
        'images': {'source': 'synthetic', 'frames': 1, 'pixels': 12, 'classes': 7},
    }
    data = {'source': 'joint_images', 'count': 2} | parts
    run = Run(experiment_from({'data': data, 'model': {'width': 32, 'heads': 2}}), jax.devices()[:1])
    np.testing.assert_array_equal(
        conditioning.complete_conditions(run.data, run.network, {'label': np.array([0, 3])})['label'], [7, 7]
    )
    more = Run(experiment_from({'data': data, 'model': {'width': 32, 'heads': 2, 'classes': 9}}), jax.devices()[:1])
    with pytest.raises(UserError, match='config.model.classes=9: clips and images have 7 together'):
        more.check()
