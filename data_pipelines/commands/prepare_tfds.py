"""Prepare a published set on disk as TFDS does, without TensorFlow: nothing is cut, scored or filtered."""

import argparse
import importlib
import os

from data_pipelines.datasets.registry import DATASETS
from vdm_jax.cli import outputs
from vdm_jax.errors import UserError

EXAMPLES = 10  # of what was left out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument('--dataset', required=True, metavar='NAME', help=', '.join(DATASETS))
    parser.add_argument('--source', required=True, metavar='DIR', help='where it lies; its README says how')
    parser.add_argument('--split', action='append', metavar='NAME', help='may be given again (default: all there are)')
    parser.add_argument('--out', required=True, metavar='DIR', help='the set goes to DIR/NAME_videos/1.0.0')


def run(arguments: argparse.Namespace) -> None:
    """Prepare the set, and print where it is, what it holds and what was left out.

    Raises:
      UserError: the set is not known, or the folder is not laid out as it is.
    """
    import tensorflow_datasets

    if arguments.dataset not in DATASETS:
        raise UserError(f'--dataset={arguments.dataset}; known: {", ".join(DATASETS)}')
    outputs.check_writable_here(arguments.out, False)
    module = importlib.import_module(f'data_pipelines.datasets.{arguments.dataset}.builder')
    builder = module.Builder(source=arguments.source, parts=arguments.split, data_dir=arguments.out)
    # TFDS would take what is there for the set, and prepare nothing.
    if os.path.isdir(builder.data_dir):
        raise UserError(f'--out={arguments.out} holds {builder.name} already, in {builder.data_dir}; remove it first')
    # Else TFDS would look for a prepared set of this name in Google's storage.
    config = tensorflow_datasets.download.DownloadConfig(try_download_gcs=False)
    builder.download_and_prepare(download_config=config)

    counts = ', '.join(f'{split.num_examples} in {name}' for name, split in builder.info.splits.items())
    print(f'{builder.data_dir}: {counts}')
    print(f'  features: {", ".join(builder.info.features)}')
    for part, reason in builder.absent.items():
        print(f'  no {part}: {reason}')
    if builder.left_out:
        print(f'  left out: {len(builder.left_out)}, as metadata.json there says; the first of them:')
        for name, reason in list(builder.left_out.items())[:EXAMPLES]:
            print(f'    {name}: {reason}')
