"""The report of `plan` is right: a network costs the same however it is compiled; what exists, and what is refused."""

import dataclasses
import functools
import importlib.util
import json
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tests.evals.features.small_network import Colours
from tests.models.every_network import NETWORKS, groups_of
from vdm_jax import cli
from vdm_jax.data.clip_batches import batch_of
from vdm_jax.errors import UserError
from vdm_jax.evals.features import extract
from vdm_jax.evals.features.network import FeatureProgram
from vdm_jax.evals.protocol import UsualProtocol
from vdm_jax.evals.published import PUBLISHED
from vdm_jax.experiment.experiment import experiment_from, read_experiment
from vdm_jax.experiment.registry import PROTOCOLS
from vdm_jax.experiment.run import Run
from vdm_jax.experiment.sample_features import sample_features
from vdm_jax.parallel import hardware
from vdm_jax.parallel.mesh import batch_sharding, to_global
from vdm_jax.planning import aot_worker, format, lowering, plan, search

CPU = hardware.Topology('cpu:8', None, 8)
SMALL = {
    'data': {'source': 'synthetic', 'frames': 2, 'pixels': 8, 'classes': 3},
    'model': {'width': 32, 'heads': 2, 'depth': 2},
    'sampler': {'name': 'euler', 'steps': 5},
    'guidance': {'scale': 2.0},
    'train': {'batch_size': 8},
    'evaluate': {'batch_size': 8},
    'optim': {'clip': None},
}


def small(**groups):
    """A run on 8 virtual devices; groups as those of SMALL, on top of them."""
    merged = SMALL | {name: SMALL.get(name, {}) | group for name, group in groups.items()}
    return Run(experiment_from(merged), jax.devices()[:8])


def reports(run, topology=CPU, programs=plan.PROGRAMS):
    run.programs.abstract_state, run.programs.train_step, run.generate  # noqa: B018, before the mesh, as in aot_worker.main
    return {program: aot_worker.make_report(run, topology, program) for program in programs}


def assert_agree(looped, written, uncounted=()):
    """FLOPs, memory traffic, bytes of collectives and, but for the kinds `uncounted`, their counts, within 2%."""
    for program, report in looped.items():
        other = written[program]
        if report['parts']:
            assert report['parts']['memory'] == pytest.approx(other['parts']['memory'], rel=0.02), program
        assert report['flops_per_chip'] == pytest.approx(other['flops_per_chip'], rel=0.02)
        assert report['collectives'].keys() == other['collectives'].keys()
        for kind, moved in report['collectives'].items():
            same = other['collectives'][kind]
            assert moved['bytes'] == pytest.approx(same['bytes'], rel=0.02), (program, kind)
            assert kind in uncounted or moved['count'] == pytest.approx(same['count'], rel=0.02), (program, kind)


@functools.cache
def stack(depth, scan):
    return reports(small(model={'depth': depth, 'scan': scan}, mesh={'data': 2, 'sequence': 2, 'tensor': 2}))


@pytest.mark.multidevice
@pytest.mark.parametrize('depth', [pytest.param(2, marks=pytest.mark.slow), 4])
def test_layers_in_a_loop_cost_what_layers_written_out_do(depth):
    """FLOPs, counts and bytes of collectives, those in the loops of layers and of the sampler included."""
    looped = stack(depth, True)
    written = stack(depth, False)
    assert {'all-reduce', 'all-gather', 'all-to-all'} <= looped['train']['collectives'].keys()
    assert looped['sample']['collectives']['all-to-all']['count'] == 2 * (depth // 2) * 5  # two a pair, at every step
    assert_agree(looped, written)


@pytest.mark.slow
@pytest.mark.multidevice
@pytest.mark.parametrize('depth', [2, 4])
def test_with_split_weights_too_but_for_sampling_where_layers_written_out_keep_what_they_gathered(depth):
    fsdp = {'data': 2, 'fsdp': 4}
    looped, written = (reports(small(model={'depth': depth, 'scan': scan}, mesh=fsdp)) for scan in (True, False))
    assert_agree({'train': looped['train']}, {'train': written['train']})
    gathered = [report['sample']['collectives']['all-gather']['bytes'] for report in (looped, written)]
    assert gathered[0] > gathered[1] if depth > 2 else gathered[0] == gathered[1]


@pytest.mark.multidevice
def test_the_report_has_its_keys_and_the_parts_of_memory_add_up():
    reports_by_program = stack(2, True)
    for program, report in json.loads(format.as_json(reports_by_program)).items():
        assert tuple(report) == format.KEYS and report['topology'] == 'cpu:8' and report['chips'] == 8
        parts = report['bytes_per_chip']
        assert parts['total'] == sum(size for name, size in parts.items() if name != 'total')
        assert report['fits'] and report['chip_bytes'] > parts['total'] > 0
        assert report['compiler_seconds'] is report['roofline_seconds'] is report['predicted_mfu'] is None, program
    assert '5 sampler steps in all' in format.table(reports_by_program, CPU)


@pytest.mark.multidevice
def test_memory_is_what_each_device_holds():
    run = small(mesh={'data': 2, 'fsdp': 4})
    state = jax.tree.map(
        lambda leaf: jax.device_put(np.zeros(leaf.shape, leaf.dtype), leaf.sharding), run.programs.abstract_state
    )
    for part in (state.params, state.ema, state.opt_state):
        held = sum(leaf.addressable_shards[3].data.nbytes for leaf in jax.tree.leaves(part))
        assert lowering.shard_bytes(part) == held < sum(leaf.nbytes for leaf in jax.tree.leaves(part)) / 2


def test_shapes_of_a_batch_are_those_of_real_ones():
    groups = [
        {},
        {'data': {'source': 'bouncing_balls', 'frames': 4, 'pixels': 12}, 'model': {'scalars': ('motion',)}},
        {
            'data': {
                'source': 'joint_images',
                'count': 2,
                'clips': SMALL['data'],
                'images': SMALL['data'] | {'frames': 1},
            }
        },
    ]
    for group in groups:
        run = Run(experiment_from({'train': {'batch_size': 8}} | group), jax.devices()[:8])
        real = to_global(batch_of(run.data.reader, range(8), run.model_config.scalars), run.mesh)
        expected = lowering.abstract_batch(run)
        assert real.keys() == expected.keys()
        for name, shape in expected.items():
            assert (real[name].shape, real[name].dtype) == (shape.shape, shape.dtype), name
            assert real[name].sharding.is_equivalent_to(shape.sharding, real[name].ndim)


@pytest.mark.parametrize(
    ('groups', 'passes'),
    [
        ({'guidance': {'scale': 1.0}}, 5),
        ({}, 10),
        ({'sampler': {'name': 'heun'}}, 20),
        ({'sampler': {'name': 'dpmpp_2m'}, 'guidance': {'interval': (0.3, 0.7)}}, 7),  # of 1, .8, .6, .4, .2
    ],
)
def test_sampling_counts_every_evaluation_of_the_network(groups, passes):
    assert lowering.count_passes(small(**groups)) == passes


@pytest.mark.multidevice
@pytest.mark.parametrize('more', ['data', 'sequence', 'tensor'])
def test_over_two_slices_training_sends_only_reductions(more):
    slices = dataclasses.replace(CPU, chips=4, slices=2)
    mesh = {'data': 1} | {'slices': 2, 'fsdp': 2, more: 2}
    report = reports(small(mesh=mesh), slices, ('train',))['train']
    assert report['crossing'] == [] and report['mesh']['slices'] == 2
    assert 'all-gather' in report['collectives']  # of weights, within a slice


def test_what_else_crosses_slices_is_named():
    one = aot_worker.Collective('all-gather.7', 'all-gather', 1024, 1, 3.0, ((0, 4), (1, 5)), False)
    within = dataclasses.replace(one, groups=((0, 1), (4, 5)))
    sum_ = dataclasses.replace(one, kind='all-reduce')
    assert aot_worker.find_crossing([one, within, sum_], 2, 8) == ['all-gather all-gather.7: 3 times 1024 bytes']
    assert aot_worker.find_crossing([one], 1, 8) == []


@pytest.mark.parametrize(
    ('message', 'size'),
    [
        (
            'RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (384.00G) '
            'exceeds available HBM (95.74G).',
            384 * 2**30,
        ),
        (
            'RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.50G of 15.75G hbm. Exceeds hbm '
            'capacity by 4.75G.',
            int(20.5 * 2**30),
        ),
    ],
)
def test_a_refusal_has_the_bytes_that_were_needed(message, size):
    assert aot_worker.refused_bytes(message) == size


def test_a_refusal_of_something_else_is_handed_on():
    with pytest.raises(UserError, match='the compiler refused the program: INTERNAL: mosaic'):
        aot_worker.refused_bytes('INTERNAL: mosaic')


@pytest.mark.parametrize(
    ('name', 'chips', 'cloud'),
    [
        ('v4:2x2x1', 4, 'v4-8'),
        ('v5p:4x4x4', 64, 'v5p-128'),
        ('v5e:16x16', 256, 'v5litepod-256'),
        ('v6e:1x1', 1, 'v6e-1'),
    ],
)
def test_slices_that_exist(name, chips, cloud, monkeypatch):
    monkeypatch.setattr(hardware.importlib.util, 'find_spec', lambda name: name)
    topology = hardware.read_topology(name)
    assert (topology.chips, topology.cloud_name) == (chips, cloud)
    assert all(hardware._chips(shape) <= 512 for chip in hardware.CHIPS.values() for shape in chip.shapes)


@pytest.mark.parametrize(
    ('name', 'pattern'),
    [
        ('v5p:3x3x3', 'the nearest are v5p:2x2x4 (16 chips), v5p:2x4x4 (32 chips), v5p:4x4x4 (64 chips)'),
        ('v5e:16x32', 'v5e:16x16 (256 chips)'),
        ('v5p:8x4x4', 'v5p:4x4x8 (128 chips)'),
        ('v5e:big', 'those of v5e: 1x1, 2x2'),
        ('v7:2x2', 'want one of v4, v5e, v5p, v6e'),
        ('cpu:0', 'cpu:1 to cpu:512'),
    ],
)
def test_machines_that_do_not_exist_are_refused(name, pattern):
    with pytest.raises(UserError, match=re.escape(pattern)):
        hardware.read_topology(name)


def test_without_the_tpu_compiler_the_error_names_what_to_install(monkeypatch):
    monkeypatch.setattr(hardware.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=re.escape("pip install 'vdm_jax[tpu]'")):
        hardware.read_topology('v5e:2x2')


def test_a_search_first_splits_the_state_and_ends_within_six_compiles():
    experiment = read_experiment('experiments/latte.py', ['--config.mesh.slices=2'])
    candidates = search.candidates(experiment, dataclasses.replace(CPU, chips=16, slices=2))
    assert candidates[:2] == [[], ['--config.mesh.fsdp=16', '--config.mesh.data=1']]
    assert len(candidates) < search.COMPILES
    as_it_is = read_experiment('experiments/latte.py:fsdp=16')
    assert search.candidates(as_it_is, dataclasses.replace(CPU, chips=16))[0] == []


@pytest.mark.parametrize('fitting', [0, 1, None])
def test_a_search_takes_the_first_that_fits_and_plans_sampling_for_it(monkeypatch, fitting):
    topology = dataclasses.replace(CPU, chips=16)
    messages = []
    plans = []
    todo = search.candidates(read_experiment('experiments/latte.py'), topology)

    def plan_fitting(spec, assignments, topology, programs):
        plans.append((assignments, programs))
        bytes_ = {'total': 3 * 2**30}
        fits = fitting is not None and assignments == todo[fitting]
        return {program: {'fits': fits, 'bytes_per_chip': bytes_, 'chip_bytes': 2**30} for program in programs}

    monkeypatch.setattr(search, 'plan', plan_fitting)
    reports_by_program = search.search('experiments/latte.py', [], topology, messages.append)
    tried = todo if fitting is None else todo[: fitting + 1]
    assert plans[: len(tried)] == [(each, ('train',)) for each in tried]
    assert plans[len(tried) :] == ([] if fitting is None else [(todo[fitting], ('sample', 'features'))])
    assert len(plans) <= search.COMPILES and ('sample' in reports_by_program) == (fitting is not None)
    # The order is printed before anything is tried.
    assert 'as it stands' in messages[0] and '--config.mesh.fsdp=16' in messages[0]


@pytest.mark.parametrize('name', NETWORKS)
@pytest.mark.parametrize('fits', [True, False])
def test_a_search_of_any_network_tries_its_options_or_reports_that_there_are_none(
    experiment, monkeypatch, capsys, name, fits
):
    def plan_all(spec, assignments, topology, programs):
        read_experiment(spec, assignments)  # all that is tried are overrides that it takes
        report = {'fits': fits, 'bytes_per_chip': {'total': 3 * 2**30}, 'chip_bytes': 2**30}
        return {program: report for program in programs}

    monkeypatch.setattr(search, 'plan', plan_all)
    reports_by_program = search.search(experiment(**groups_of(name)).partition('=')[2], [], CPU, print)
    printed = capsys.readouterr().out.splitlines()
    assert tuple(reports_by_program) == (('train', 'sample', 'features') if fits else ('train',))
    assert '  1. as it stands' in printed
    has_more = name == 'video_dit'
    assert ('  2. --config.mesh.fsdp=8 --config.mesh.data=1' in printed) == has_more
    assert (search.NOTHING in printed) == (not has_more)


@pytest.mark.slow
@pytest.mark.parametrize('name', NETWORKS)
def test_a_search_compiles_any_network(experiment, capsys, name):
    assert cli.main(['plan', experiment(**groups_of(name)), '--topology=cpu:2', '--search']) == 0
    printed = capsys.readouterr().out
    assert 'as it stands: fits' in printed and 'train: 8 videos a step' in printed and 'sample: 8 videos' in printed


@pytest.mark.slow
def test_a_search_compiles_the_regressor_of_an_experiment(capsys):
    spec = '--config=experiments/moving_mnist.py:regressor=conv_lstm'
    assert cli.main(['plan', spec, '--topology=cpu:2', '--search', '--config.model.layers=1']) == 0
    printed = capsys.readouterr().out
    assert search.NOTHING in printed and 'as it stands: fits' in printed and 'sample: 32 videos' in printed


V5E = hardware.Topology('v5e:2x2', hardware.CHIPS['v5e'], 4)
REPORT = {
    'topology': 'v5e:2x2', 'chips': 4, 'devices': 4, 'mesh': {'data': 4}, 'fits': True, 'chip_bytes': 2**34,
    'bytes_per_chip': {'params': 2**30, 'total': 2**30}, 'flops_per_chip': 1e12, 'compiler_seconds': None,
    'roofline_seconds': 0.02, 'predicted_mfu': 0.25, 'collectives': {}, 'compile_seconds': 9.0, 'steps': 5, 'batch': 64,
    'rows': 64, 'about': '', 'parts': {'compute': 0.005, 'memory': 0.02}, 'kernels': {}, 'crossing': [], 'guesses': [],
}  # fmt: skip


def test_the_roofline_is_shown_as_the_bound_that_it_is():
    text = format.table({'sample': REPORT}, V5E)
    assert 'no less than 0.02 s (0.004 a sampler step): compute 0.005, memory 0.02' in text
    assert 'no more than 25.0%' in text and format.BOUND in text
    assert 'predicted' not in text


@pytest.mark.parametrize('name', ['image_vae', 'video_vae'])
def test_an_autoencoder_gives_a_clip_back_in_one_pass_and_no_sampler_step(name):
    run = Run(experiment_from(SMALL | groups_of(name)), jax.devices()[:8])
    assert lowering.count_passes(run) == 1
    text = format.table({'sample': REPORT | {'steps': 1}}, V5E)
    assert 'sample: 64 videos\n' in text and 'sampler step' not in text


EXPERIMENT = """'''An experiment.

Topology: cpu:2 --config.model.depth=2
'''

def get_config(arg=None):
    {first}
    from vdm_jax.config import ConfigDict
    return ConfigDict({groups!r})
"""


@pytest.fixture
def experiment(tmp_path):
    def write(first='', **groups):
        file = tmp_path / 'experiment.py'
        file.write_text(EXPERIMENT.format(first=first, groups=SMALL | groups))
        return f'--config={file}'

    return write


@pytest.mark.multidevice
def test_the_command_plans_for_the_machine_that_the_experiment_names(experiment, capsys):
    assert cli.main(['plan', experiment(), '--json', '--config.train.batch_size=4']) == 0
    report = json.loads(capsys.readouterr().out)
    assert tuple(report) == ('train', 'sample') and report['train']['mesh']['data'] == 2
    assert report['train']['flops_per_chip'] == small(train={'batch_size': 4}).step_flops / 2


def test_a_compiler_that_dies_is_the_users_line(experiment, capsys):
    assert cli.main(['plan', experiment('__import__("os").abort()'), '--topology=cpu:2']) == 2
    captured = capsys.readouterr()
    assert captured.out == '' and captured.err.count('\n') == 1
    assert 'cpu:2: the compiler died of SIGABRT' in captured.err


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['--topology=v5p:3x3x3'], 'the nearest are'),
        (['--topology=cpu:3', '--config.mesh.tensor=3'], 'config.mesh.tensor=3 does not divide'),
        (['--topology=cpu:8', '--slices=3'], '--slices=3'),
        (['--topology=cpu:2', '--config.sampler.name=ancestra'], 'config.sampler.name'),
    ],
)
def test_a_mistake_is_one_line(experiment, capsys, argv, message):
    assert cli.main(['plan', experiment(), *argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == '' and captured.err.count('\n') == 1 and message in captured.err


@dataclasses.dataclass(frozen=True)
class ByColours(UsualProtocol):
    """Judges by a small network, of every other frame."""

    def feature_program(self, frames):
        return FeatureProgram(Colours(), frames // 2, with_probabilities=True)


def judged_run(**groups):
    run = small(data={'frames': 4}, **groups)
    evaluate = dataclasses.replace(run.experiment.evaluate, protocol=ByColours())
    return run.with_experiment(dataclasses.replace(run.experiment, evaluate=evaluate))


@pytest.mark.multidevice
@pytest.mark.parametrize('mesh', [{'data': 8}, {'data': 2, 'tensor': 4}], ids=str)
def test_features_are_planned_for_a_batch_of_samples_with_what_lies_beside(mesh):
    run = judged_run(mesh=mesh, evaluate={'batch_size': 5})
    report = reports(run, programs=('features',))['features']
    split = mesh['data']
    assert (report['batch'], report['rows'], report['steps']) == (5, 8 if split == 8 else 6, 1)
    parts = report['bytes_per_chip']
    assert parts['total'] == sum(size for name, size in parts.items() if name != 'total') and report['fits']
    assert parts['params'] == 4 * (3 * 3 + 3 + 3 * 4 + 4)
    assert parts['ema'] == lowering.shard_bytes(run.programs.abstract_state.ema['0.9999']) > 0
    # The batch of uint8 and its results, on one device: nothing of it is split over tensor.
    assert parts['temporaries'] >= report['rows'] // split * (2 * 8 * 8 * 3 + 4 * (3 + 4))
    assert report['collectives'] == {} and report['flops_per_chip'] > 0
    text = format.table({'features': report}, CPU)
    assert 'features: 5 videos (the devices work on ' in text and ', by colours of 2 frames' in text
    assert tuple(json.loads(format.as_json({'features': report}))['features']) == format.KEYS


@pytest.mark.multidevice
def test_devices_that_compute_the_same_take_their_time():
    chips = hardware.Topology('v5e:2x4', hardware.CHIPS['v5e'], 8)
    run = judged_run(mesh={'data': 2, 'tensor': 4}, evaluate={'batch_size': 6})
    report = reports(run, chips, ('features',))['features']
    # Of 6 clips each device computes 3, four devices the same three.
    clip = report['flops_per_chip'] * 8 / 6
    assert report['parts']['compute'] == pytest.approx(3 * clip / chips.chip.flops)
    assert report['roofline_seconds'] >= report['parts']['memory'] > 0


@pytest.mark.multidevice
def test_what_is_planned_is_the_program_that_computes_features():
    run = judged_run(mesh={'data': 8})
    clips = np.zeros((5, 2, 8, 8, 3), np.uint8)
    lowered = lowering.lower(run, 'features')
    with jax.set_mesh(run.mesh):
        params = Colours().init(jax.random.key(0))
        extract.make_program.cache_clear()
        extract.extract_features(Colours(), params, iter([clips]), 8, with_probabilities=True)
        program = extract.make_program(Colours(), True, run.mesh)
        # Compiled once by the extraction, and not anew for the shapes and shardings of the plan.
        assert program._cache_size() == 1
        split = jax.device_put(np.zeros((8, 2, 8, 8, 3), np.uint8), batch_sharding(run.mesh))
        replicated = jax.device_put(params, NamedSharding(run.mesh, PartitionSpec()))
        compiled = lowered.program.compile()
        for planned, real in zip(compiled(replicated, split), program(replicated, split), strict=True):
            np.testing.assert_array_equal(planned, real)
        assert program._cache_size() == 1


def test_only_protocols_with_a_network_have_features_and_usual_ones_have_none():
    with_network = {'feature_distance', *PUBLISHED} - {'openstl_mmnist'}
    for name, cls in PROTOCOLS.items():
        program = cls().feature_program(16 * 8)
        assert (program is not None) == (name in with_network), name
        assert program is None or not cls.usual_sources
    assert PROTOCOLS['fvd2048_128f_subsample8f']().feature_program(128).frames == 16
    assert PROTOCOLS['is_ucf_10k']().feature_program(16).with_probabilities


@pytest.mark.parametrize(
    ('groups', 'message'),
    [
        ({'frames': 4}, 'config.data.frames=4: want 16, 16 of a video'),
        ({'frames': 16, 'channels': 4}, 'config.evaluate.protocol: i3d takes videos (B, T, H, W, C) with 3 channels'),
    ],
)
def test_samples_that_the_protocol_s_network_does_not_take_are_a_mistake(groups, message):
    run = small(data=groups, evaluate={'protocol': 'fvd2048_16f_styleganv'})
    with pytest.raises(UserError, match=re.escape(message)):
        sample_features(run)


def test_an_autoencoder_has_no_samples_to_judge():
    groups = groups_of('image_vae')
    run = Run(experiment_from(SMALL | groups | {'evaluate': {'protocol': 'fvd2048_16f_styleganv'}}), jax.devices()[:8])
    assert sample_features(run) is None


@pytest.mark.slow
def test_the_command_plans_i3d_where_the_protocol_is_fvd(experiment, capsys):
    spec = experiment(data={'source': 'synthetic', 'frames': 16, 'pixels': 8, 'classes': 3})
    more = ['--config.evaluate.protocol=fvd2048_16f_styleganv', '--config.evaluate.batch_size=4', '--topology=cpu:2']
    assert cli.main(['plan', spec, '--json', *more]) == 0
    report = json.loads(capsys.readouterr().out)
    assert tuple(report) == ('train', 'sample', 'features')
    features = report['features']
    # 108 G multiply-adds of 64 frames of 224 pixels (Wang et al. 2018, arXiv:1711.07971), to which they are resized. On
    # CPUs those over time are Winograd's F(2, 3), of which 4 stand for 6.
    published = 2 * 2 * 108e9 * 16 / 64
    assert 4 / 6 * published < features['flops_per_chip'] < 1.06 * published
    assert features['bytes_per_chip']['params'] == pytest.approx(4 * 12.7e6, rel=0.02) and features['fits']


needs_tpu_compiler = pytest.mark.skipif(importlib.util.find_spec('libtpu') is None, reason='libtpu is not installed')
TINY = (
    '--config.model.width=128',
    '--config.model.heads=2',
    '--config.model.depth=2',
    '--config.data.pixels=8',
    '--config.data.frames=4',
    '--config.sampler.steps=5',
    '--config.evaluate.batch_size=8',
)


def on_tpu(topology, *more, slices=1, programs=plan.PROGRAMS, arg='size=S,batch=8'):
    return plan.plan(f'experiments/latte.py:{arg}', more, hardware.read_topology(topology, slices), programs)


@pytest.mark.slow
@needs_tpu_compiler
@pytest.mark.parametrize('depth', [2, 4])
def test_on_tpu_layers_in_a_loop_cost_what_layers_written_out_do(depth):
    """But for the count of all-reduces: the TPU compiler takes those of gradients out of the loop, where one stands for
    all layers; their bytes are the same."""
    more = [*TINY, f'--config.model.depth={depth}']
    looped, written = (on_tpu('v5e:2x2', *more, f'--config.model.scan={scan}') for scan in ('true', 'false'))
    assert_agree(looped, written, uncounted=('all-reduce',))
    assert (looped['train']['collectives'] == written['train']['collectives']) == (depth == 2)
    for report in looped.values():
        assert report['roofline_seconds'] > 0 and 0 < report['predicted_mfu'] <= 1
    assert looped['sample']['compiler_seconds'] is None  # the sampler's loop


@pytest.mark.slow
@needs_tpu_compiler
@pytest.mark.parametrize('topology', ['v4:2x2x1', 'v5p:2x2x1', 'v5e:1x1', 'v6e:2x2'])
def test_every_kind_of_chip_compiles_with_one_device_a_chip(topology):
    report = on_tpu(topology, *TINY, programs=('train',))['train']
    assert report['fits'] and report['devices'] == report['chips'] and report['predicted_mfu'] > 0


@pytest.mark.slow
@needs_tpu_compiler
def test_pallas_kernels_compile_in_the_training_and_the_sampling_step():
    """A frame of 256 patches is long enough for one: each space block runs it once forward, two others going back."""
    report = on_tpu('v5e:2x2', '--config.model.depth=4', '--config.sampler.steps=5', '--config.evaluate.batch_size=8')
    assert set(report['train']['kernels'].values()) == {2} and len(report['train']['kernels']) == 3
    assert list(report['sample']['kernels'].values()) == [2 * 5]
    assert report['train']['compiler_seconds'] is None  # which knows nothing of kernels


@pytest.mark.slow
@needs_tpu_compiler
@pytest.mark.parametrize('kind', hardware.CHIPS)
def test_every_slice_of_the_table_is_one_that_the_compiler_knows(kind):
    program = (
        'import os, sys; from vdm_jax.parallel.hardware import CHIPS, read_topology\n'
        'for shape in CHIPS[sys.argv[1]].shapes:\n'
        '    topology = read_topology(f"{sys.argv[1]}:{shape}"); os.environ.update(topology.environment)\n'
        '    assert len(topology.devices()) == topology.chips, shape\n'
    )
    subprocess.run([sys.executable, '-c', program, kind], check=True)


@pytest.mark.slow
@needs_tpu_compiler
def test_over_two_tpu_slices_training_sends_only_reductions():
    report = on_tpu('v5e:2x2', *TINY, slices=2, programs=('train',), arg='size=S,batch=8,fsdp=2')['train']
    assert report['chips'] == 8 and report['crossing'] == []


@pytest.mark.slow
@needs_tpu_compiler
def test_a_program_too_large_for_a_tpu_is_refused_with_figures():
    report = on_tpu('v5e:1x1', '--config.model.depth=4', programs=('train',), arg='size=XL,batch=16')['train']
    assert not report['fits'] and report['bytes_per_chip']['total'] > report['chip_bytes']
    assert report['collectives'] is report['roofline_seconds'] is None and report['flops_per_chip'] > 0
