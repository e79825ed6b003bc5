"""Libraries of pip install 'vdm_jax[curate]', imported where they are first needed."""

import importlib
from types import ModuleType

from vdm_jax.errors import UserError

PACKAGES = {
    'av': 'PyAV',
    'cv2': 'opencv-python-headless',
    'scenedetect': 'scenedetect-headless',
    'scenedetect.detectors': 'scenedetect-headless',
    'imagehash': 'imagehash',
    'pebble': 'pebble',
}


def check_installed() -> None:
    """Raise UserError unless all of PACKAGES can be imported."""
    for name in PACKAGES:
        require(name)


def require(name: str) -> ModuleType:
    """Import and return an optional module.

    Raises:
      UserError: it is not installed; the message names the extra that brings it.
    """
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        package = PACKAGES[name]
        raise UserError(
            f"looking at videos needs {package}, which is not installed ({error}): pip install 'vdm_jax[curate]'"
        ) from None

    # Workers share the cores already, and one thread keeps the order of sums, so that scores are the same everywhere.
    if name == 'cv2':
        module.setNumThreads(1)
    return module
