"""Real data that tests look at where it is at hand: in the folder that VDM_JAX_SHARED names, or beside the checkout."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get('VDM_JAX_SHARED', Path(__file__).parents[2] / 'shared'))
CLIPS = SHARED / 'data' / 'clips'
MNIST = SHARED / 'data' / 'mnist'

needs_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason=f'{CLIPS} is not there (set VDM_JAX_SHARED)')
