"""Bring a file of the Hugging Face hub, through huggingface_hub (extra `hub`)."""

from pathlib import Path

from vdm_jax.errors import Failure, UserError
from vdm_jax.pretrained.available import HubWeights


def download(weights: HubWeights, scratch: Path) -> bytes:
    """Return the bytes of a hub file at its revision; their hash is for the caller to compare.

    Raises:
      UserError: huggingface_hub is not installed.
      Failure: The file cannot be had; says why.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise UserError(f"{weights.name}: huggingface_hub brings it; pip install 'vdm_jax[hub]'") from None

    try:
        # Into the scratch directory, as the hub's own cache would keep a second copy.
        path = huggingface_hub.hf_hub_download(
            weights.repository, weights.file, revision=weights.revision, cache_dir=scratch / 'hub'
        )
    except Exception as error:  # the library has dozens, some of them of the client below it
        reason = str(error).split('\n')[0][:200] or type(error).__name__
        raise Failure(
            f'{weights.name}: {weights.repository} cannot be had from the hub ({reason}); try again later, or bring '
            f'the file from {weights.address} and give its path'
        ) from None
    return Path(path).read_bytes()
