"""One run on two, then three, then one process, over records in buckets: each step reads what it would have read."""

import json

import jax
import pytest

from tests.data.small_set import record, write_set
from tests.train.metrics_file import curve
from tests.train.one_of_several import noting
from tests.train.processes import Processes, rows
from vdm_jax.experiment.experiment import read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.train import loop

STEPS = 4  # of each start
EXPERIMENT = """
def get_config(arg=None):
    records = {{'source': 'records', 'path': {path!r}, 'filters': ('motion>=0.2',), 'flip': True, 'crop': 'random'}}
    images = {{'source': 'records', 'path': {path!r}, 'filters': ('motion<0.2',)}}
    mixture = {{'source': 'mixture', 'sources': (records, images), 'weights': (0.75, 0.25), 'labels': 'none'}}
    return {{
        'data': {{'source': 'bucketed', 'clips': mixture, 'buckets': ('8x8x12@3', '4x8x12@2')}},
        'model': {{'depth': 1, 'layout': 'full', 'width': 16, 'heads': 2, 'patch': 4, 'time_patch': 1}},
        'optim': {{'name': 'adamw', 'warmup_steps': 1, 'learning_rate': 1e-4}},
        'ema': {{'decays': (0.9,)}},
        'train': {{'batch_size': 3, 'log_every': 1, 'checkpoint_every': 100}},
    }}
"""


@pytest.mark.slow
@pytest.mark.multidevice
def test_more_and_fewer_processes_go_on_with_the_same_stream(tmp_path):
    pytest.importorskip('av')
    records = [record(f'{i}', 5 + 6 * (i % 2), 20 * i, scores={'motion': i / 10}) for i in range(10)]
    (tmp_path / 'x.py').write_text(EXPERIMENT.format(path=write_set(tmp_path / 'set', records)))

    def argv(place, steps):
        return (f'--config={tmp_path}/x.py', f'--workdir={place}', f'--config.train.steps={steps}')

    def run_in_one_process(place, steps, seen):
        run = Run(read_experiment(f'{tmp_path}/x.py', [f'--config.train.steps={steps}']), jax.devices()[:1])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, 'batches', noting(loop.batches, seen, 0.0))
            assert loop.train_run(run, place)

    seen = []
    for number, count in enumerate((2, 3), 1):
        with Processes(count, tmp_path, 'train', *argv(tmp_path / 'run', number * STEPS)) as several:
            ends = several.ends()
            assert [code for code, *_ in ends] == [0] * count, ends[0][2][-3000:]
        seen += several.seen
    run_in_one_process(tmp_path / 'run', 3 * STEPS, tmp_path / 'seen_last')
    run_in_one_process(tmp_path / 'whole', 3 * STEPS, tmp_path / 'seen_whole')
    actual = rows([*seen, tmp_path / 'seen_last'])
    expected = rows([tmp_path / 'seen_whole'])
    assert actual == expected and max(step for step, _ in expected) == 3 * STEPS - 1
    assert curve(tmp_path / 'run', 'loss') == pytest.approx(curve(tmp_path / 'whole', 'loss'), rel=1e-5)
    where = [json.loads(line) for line in (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()]
    assert [line['step'] for line in where if 'loss' in line] == list(range(1, 3 * STEPS + 1))
