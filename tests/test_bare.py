"""Model, step, sampler and synthetic benchmark run where the data and config libraries are not installed."""

import json
import subprocess
import sys
from pathlib import Path

from tests import one_device

ROOT = Path(__file__).parents[1]
ABSENT = ('grain', 'tensorflow_datasets', 'array_record', 'av', 'absl', 'ml_collections', 'PIL', 'tensorboardX')

PROGRAM = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        # orbax itself logs through absl where that is there; what is forbidden is that we need it
        if name.split('.')[0] in {ABSENT!r}:
            frame, inner = sys._getframe(), False
            while frame:
                inner |= '/vdm_jax/' in frame.f_code.co_filename or '/experiments/' in frame.f_code.co_filename
                if 'site-packages' in frame.f_code.co_filename:
                    return None
                frame = frame.f_back
            if inner:
                raise ModuleNotFoundError('absent in this test: ' + name)

sys.meta_path.insert(0, Absent())
from vdm_jax.cli import main
sys.exit(main(sys.argv[1:]))
"""


SAMPLE = """
import jax
from vdm_jax.experiment.experiment import read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.sampling.generate import generate_videos
run = Run(read_experiment('experiments/bouncing_balls.py', [a for a in sys.argv if a.startswith('--config.')]))
with jax.set_mesh(run.mesh):
    print(generate_videos(run.generate, run.programs.init_state().params, {'label': [0, 1]}, seed=0).shape)
"""


def test_benchmark_and_sampler_run_without_data_libraries(tmp_path):
    sizes = (
        '--config.model.time_patch=1',
        '--config.data.frames=2',
        '--config.data.pixels=12',
        '--config.model.depth=2',
        '--config.model.width=32',
    )
    rest = ('--config.model.heads=2', '--config.train.batch_size=2', '--config.data.source=synthetic', '--steps=2')
    program = PROGRAM.replace('sys.exit(main(sys.argv[1:]))', 'assert main(sys.argv[1:]) == 0') + SAMPLE
    process = subprocess.run(
        [sys.executable, '-c', program, 'benchmark', '--config=experiments/bouncing_balls.py', '--json', *sizes, *rest],
        cwd=ROOT, capture_output=True, text=True, env=one_device.environment(tmp_path),
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    *printed, shape = process.stdout.splitlines()
    numbers = json.loads('\n'.join(printed))
    assert shape == '(2, 2, 12, 12, 3)'
    assert numbers['steps'] == 2 and numbers['model_flops_per_second'] > 0
    assert 0 <= numbers['data_wait_share'] < 1
    assert numbers['checkpoint_stall_seconds'] <= numbers['checkpoint_write_seconds']


def test_the_block_blocks():
    program = PROGRAM.replace(
        'from vdm_jax.cli import main',
        'from vdm_jax import media; media.gif_bytes(__import__("numpy").zeros((2, 4, 4, 3), "uint8"))',
    )
    process = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True)
    assert 'Pillow' in process.stderr, process.stderr
