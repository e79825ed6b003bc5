"""Resolved configs of earlier versions are read to the same experiments, and what they stand beside goes on."""

import copy
import json

import jax
import numpy as np
import pytest

from vdm_jax import cli
from vdm_jax.config.experiment_file import override
from vdm_jax.config.old_configs import update_config
from vdm_jax.errors import UserError
from vdm_jax.evals import runner
from vdm_jax.experiment.experiment import experiment_dict, experiment_from, read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.files import seal
from vdm_jax.pretrained import tensors, weights
from vdm_jax.train import loop
from vdm_jax.train.workdir import read_config

# config.json of a run before protocols and optimizers had keys of their own, but for its sha256.
OLD = {
    'seed': 0,
    'latents': None,
    'data': {
        'source': 'bouncing_balls',
        'frames': 4,
        'pixels': 16,
        'size': 16,
        'seed': 0,
        'split': 'train',
        'balls': [1, 2],
        'radius': 0.12,
        'gravity': 0.02,
        'speed': 0.08,
        'bar': 0.2,
        'colours': 6,
        'label': 'count',
        'threads': 0,
        'prefetch': 16,
    },
    'model': {
        'name': 'video_dit',
        'size': 'tiny',
        'width': 16,
        'depth': 1,
        'heads': 2,
        'mlp_ratio': 4.0,
        'patch': 4,
        'time_patch': 1,
        'layout': 'full',
        'windows': ['1x16x16', '5x8x8'],
        'position': 'sincos',
        'position_span': None,
        'rope_interpolate': False,
        'qk_norm': False,
        'modulation': 'adaln_zero',
        'lora_rank': 2,
        'learn_variance': False,
        'self_condition': False,
        'scalars': [],
        'text_width': None,
        'images': 'alone',
        'channels': 3,
        'classes': 2,
        'grid': [4, 4, 4],
        'dtype': 'float32',
        'attention': {
            'space': 'auto',
            'time': 'auto',
            'full': 'auto',
            'flash_from': 128,
            'block_q': 512,
            'block_kv': 512,
            'sequence': 'ulysses',
        },
        'remat': 'none',
        'scan': None,
    },
    'codec': {'name': 'identity'},
    'text': {'name': 'none'},
    'diffusion': {
        'process': {'name': 'rectified_flow', 'path': 'linear', 'numbering': 'thousand'},
        'prediction': 'velocity',
        'weighting': {'name': 'constant'},
        'time': {'name': 'uniform'},
        'variance': 'fixed',
        'vlb_weight': 0.001,
        'per_frame': False,
        'context': 0,
        'clean_context': 0.0,
        'condition_dropout': 0.1,
        'self_conditioning': 0.0,
        'image_weight': 1.0,
        'image_time': 'own',
    },
    'reconstruction': {'kind': 'l1', 'kl_weight': 1e-06, 'lpips_weight': 0.0, 'lpips_path': None},
    'sampler': {
        'name': 'euler',
        'steps': 2,
        'spacing': {'name': 'trailing'},
        'clip': None,
        'clock': 'process',
        'start': 'process',
    },
    'guidance': {
        'scale': 1.0,
        'interval': [0.0, 1.0],
        'rescale': 0.0,
        'schedule': 'constant',
        'negative': None,
        'channels': None,
    },
    'train': {
        'steps': 2,
        'batch_size': 8,
        'accumulate': 1,
        'log_every': 10,
        'checkpoint_every': 200,
        'sample_every': 0,
        'sample_count': 4,
        'validate_every': 0,
        'validate_batches': 4,
        'nonfinite': 'stop',
        'nonfinite_budget': 100,
    },
    'optim': {
        'name': 'adamw',
        'learning_rate': 0.0001,
        'schedule': 'constant',
        'warmup_steps': 0,
        'weight_decay': 0.0,
        'decay': 'kernel$',
        'b1': 0.9,
        'b2': 0.999,
        'clip': 1.0,
        'clip_from': 0,
        'join_first': False,
        'adam_learning_rate': 0.001,
        'adam': '(embed|modulation|shared|caption|head)',
        'momentum': 0.95,
    },
    'ema': {'decays': [0.9], 'warmup': True},
    'mesh': {'slices': 1, 'data': 1, 'fsdp': 1, 'sequence': 1, 'tensor': 1},
    'checkpoint': {'keep_last': 3, 'keep_every': None, 'best': None, 'fallback': 'previous'},
    'evaluate': {
        'samples': 128,
        'real': 256,
        'train': 20000,
        'context': 10,
        'per_clip': 5,
        'seed': 0,
        'batch_size': 32,
    },
    'profile': {'start': 0, 'steps': 3},
    'log': {'tensorboard': False, 'wandb': {'mode': 'off', 'project': 'vdm_jax', 'entity': None, 'name': None}},
}

# The contents of the experiment file of that run.
GROUPS = {
    'data': {'source': 'bouncing_balls', 'frames': 4, 'pixels': 16, 'size': 16},
    'model': {'depth': 1, 'layout': 'full', 'width': 16, 'heads': 2, 'patch': 4},
    'train': {'steps': 2, 'batch_size': 8},
    'ema': {'decays': (0.9,)},
    'sampler': {'steps': 2},
    'log': {'tensorboard': False},
    'mesh': {'data': 1},
}
FITTED = {'channels': 3, 'classes': 2, 'grid': (4, 4, 4)}


def old(**groups):
    """The old config with other values in some of its groups."""
    config = copy.deepcopy(OLD)
    for name, values in groups.items():
        config[name] |= values
    return config


CONTEXT = old(evaluate={'context': 2}, diffusion={'context': 2})
CASES = {
    'usual': (OLD, {}),
    'muon': (
        old(optim={'name': 'muon', 'learning_rate': 0.02, 'momentum': 0.9, 'adam_learning_rate': 4e-3}),
        {'optim': {'name': 'muon', 'learning_rate': 0.02, 'momentum': 0.9, 'adam_learning_rate': 4e-3}},
    ),
    'context': (
        CONTEXT,
        {
            'evaluate': {'protocol': {'name': 'frame_prediction', 'context': 2}},
            'diffusion': {'context': 2},
        },
    ),
    'samples of each clip': (
        old(evaluate={'per_clip': 100}, diffusion={'per_frame': True}),
        {
            'evaluate': {'protocol': {'name': 'frame_prediction', 'per_clip': 100}},
            'diffusion': {'per_frame': True},
        },
    ),
    'nothing to predict from': (old(evaluate={'per_clip': 100}), {}),
}


@pytest.fixture(params=CASES, ids=str)
def case(request):
    """(an old config, the experiment that it is of)."""
    config, groups = CASES[request.param]
    groups = GROUPS | groups | {'model': GROUPS['model'] | FITTED}
    return config, experiment_from(groups)


def test_a_config_of_before_is_the_same_experiment(case):
    config, experiment = case
    before = copy.deepcopy(config)
    assert experiment_from(update_config(config)) == experiment
    assert config == before, 'a new dict'
    assert update_config(experiment_dict(experiment)) == experiment_dict(experiment), "today's are as they are"


def test_a_run_directory_of_before_is_read(case, tmp_path):
    config, experiment = case
    (tmp_path / 'config.json').write_text(json.dumps(seal(config)))
    assert experiment_from(read_config(tmp_path)) == experiment


def test_an_exported_file_of_before_is_read(case, tmp_path):
    config, experiment = case
    about = {'config': config, 'step': 2, 'ema': 0.9, 'clips': '16', 'dtype': 'float32'}
    arrays = {'a': np.zeros((2, 3), np.float32)}
    tensors.write(tmp_path / 'w', arrays, {'format': weights.FORMAT, 'about': json.dumps(about)}, seal=True)
    assert experiment_from(weights.read_provenance(tmp_path / 'w')['config']) == experiment
    assert experiment_from(weights.read(tmp_path / 'w')[0]['config']) == experiment


def test_adamw_loses_what_it_never_read_and_muon_keeps_it():
    """Only the groups are read."""
    momentum = {'momentum': 0.9, 'adam': 'head', 'adam_learning_rate': 1e-3}
    shared = {'learning_rate': 1e-4, 'b1': 0.9}
    updated = update_config({'optim': {'name': 'adamw'} | shared | momentum})
    assert updated == {'optim': {'name': 'adamw'} | shared}
    assert (
        update_config({'optim': {'name': 'muon'} | shared | momentum})['optim'] == {'name': 'muon'} | shared | momentum
    )


def test_the_protocol_keeps_its_parameters_and_config_evaluate_the_others():
    """Only the group is read."""
    parameters = {'context': 1, 'per_clip': 100}
    updated = update_config({'evaluate': {'real': 256, 'seed': 1} | parameters})
    assert updated == {'evaluate': {'real': 256, 'seed': 1, 'protocol': {'name': 'frame_prediction', **parameters}}}
    assert update_config({'evaluate': {'seed': 1, 'context': 10, 'per_clip': 5}}) == {'evaluate': {'seed': 1}}


@pytest.mark.parametrize('value', [None, 3, 'x', [], [{'source': []}]], ids=str)
def test_values_of_wrong_types_are_left_to_later_checks(value):
    config = {'data': value, 'evaluate': value, 'optim': value, 'diffusion': value}
    assert update_config(config) == config
    nested = {'data': {'source': value, 'sources': value}, 'evaluate': {'context': value}}
    assert update_config(nested)['evaluate'] == {
        'protocol': {'name': 'frame_prediction', 'context': value, 'per_clip': 5}
    }


@pytest.mark.parametrize('key', ['context', 'per_clip'])
def test_an_old_key_in_an_experiment_file_is_refused_with_the_new_one(key, tmp_path):
    now = f'config.evaluate.protocol.{key} of config.evaluate.protocol='
    pattern = f'config.evaluate.{key}: no such key; now it is {now}'
    (tmp_path / 'x.py').write_text(f"def get_config(arg):\n    return {{'evaluate': {{'{key}': 2}}}}\n")
    with pytest.raises(UserError, match=f'^{pattern}frame_prediction$'):
        read_experiment(str(tmp_path / 'x.py'))
    with pytest.raises(UserError, match=f'^{pattern}frame_prediction$'):
        experiment_from(override(update_config(OLD), [f'--config.evaluate.{key}=2']))


@pytest.mark.parametrize(
    ('config', 'name'),
    [
        (OLD, 'balls4_4f'),
        pytest.param(CASES['muon'][0], 'balls4_4f', marks=pytest.mark.slow),
        (CONTEXT, 'bouncingballs_2to2_n1_4'),
    ],
    ids=['usual', 'muon', 'context'],
)
def test_an_old_run_resumes_and_is_inspected_sampled_and_scored(config, name, tmp_path, capsys):
    run = Run(experiment_from(update_config(config)), jax.devices()[:1])
    place = tmp_path / 'run'
    assert loop.train_run(run, place)
    (place / 'config.json').write_text(json.dumps(seal(config)))
    workdir = f'--workdir={place}'
    assert cli.main(['inspect', workdir]) == 0
    assert cli.main(['train', workdir, '--config.train.steps=3', '--config.mesh.data=8']) == 0
    assert 'resuming at step 2 of 3' in capsys.readouterr().err
    assert 'context' not in json.loads((place / 'config.json').read_text())['evaluate'], "written with today's keys"

    (place / 'config.json').write_text(json.dumps(seal(config)))
    assert cli.main(['sample', workdir, '--num=1']) == 0
    few = [f'--config.evaluate.{each}=4' for each in ('samples', 'real', 'train')]
    few += ['--config.evaluate.protocol.per_clip=1'] if config is CONTEXT else []
    assert cli.main(['evaluate', workdir, *few]) == 0
    (path,) = (place / 'evals').iterdir()
    score = runner.read(path)
    assert score.name == name and score.settings['step'] == 3
