"""Published weights that tests look at where they were fetched (`make weights`), in the user's own cache."""

import os
from pathlib import Path

import pytest

from vdm_jax import files

# Before any test names another cache.
CACHE = files.user_cache()


def find(name: str) -> Path:
    """The fetched file of a name; where it is not here it is fetched if VDM_JAX_FETCH=1, else the test is skipped."""
    from vdm_jax.errors import Failure, UserError
    from vdm_jax.pretrained import fetch, store

    if CACHE is None:
        pytest.skip('this user has no cache directory')
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv('XDG_CACHE_HOME', str(Path(CACHE).parent))
        try:
            if os.environ.get('VDM_JAX_FETCH') == '1':
                fetch.fetch(name, print)
            return Path(store.find(name))
        except (UserError, Failure) as error:
            pytest.skip(str(error))
