"""The libraries of pip install 'vdm_jax[curate]', imported where they are first needed."""

import importlib

from vdm_jax.errors import UserError

PACKAGES = {
    'av': 'PyAV',
    'cv2': 'opencv-python-headless',
    'scenedetect': 'scenedetect-headless',
    'scenedetect.detectors': 'scenedetect-headless',
    'imagehash': 'imagehash',
    'pebble': 'pebble',
}


def check() -> None:
    """Raises UserError where one of them is not installed."""
    for module in PACKAGES:
        need(module)


def need(module: str):
    """The module. OpenCV is held to one thread: workers share the cores, and sums keep their order.

    Raises: UserError where it is not installed, with the extra that brings it.
    """
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        package = PACKAGES[module]
        raise UserError(
            f"looking at videos needs {package}, which is not installed ({error}): pip install 'vdm_jax[curate]'"
        ) from None
    if module == 'cv2':
        found.setNumThreads(1)
    return found
