"""Commands on weights: export ours, convert those of others."""

import argparse
from typing import TYPE_CHECKING

from vdm_jax.cli import exit_codes
from vdm_jax.cli.restore import Origin, restore
from vdm_jax.errors import Failure, UserError, describe_bad_tensors

if TYPE_CHECKING:
    from vdm_jax.experiment.convert import Opened


def export(args: argparse.Namespace, assignments: list[str]) -> int:
    """Write averaged weights and config of a run into one safetensors file."""
    from vdm_jax.pretrained import weights
    from vdm_jax.train.inspect import find_not_finite

    run, params, about = restore(Origin('--workdir', args.workdir, is_file=False), args, assignments)
    if names := find_not_finite(params):
        which = f'{args.workdir}: step {about["step"]}, ema {about["ema"]}, is not finite'
        raise Failure(f'{which}: {describe_bad_tensors(names)}; nothing is written. Choose another --step')

    try:
        num_bytes = weights.save(args.out, params, about | {'config': run.resolved}, args.dtype)
    except OSError as error:
        why = f'cannot be written ({error.strerror or error}); what was there before stands'
        raise Failure(f'--out={args.out}: {why}') from None
    print(f'{args.out}: step {about["step"]}, ema {about["ema"]}, {args.dtype}, {num_bytes / 1e6:.2f} MB')
    return exit_codes.DONE


def convert(args: argparse.Namespace, assignments: list[str]) -> int:
    """Convert a third-party checkpoint into a run directory, for sample, evaluate and train."""
    from vdm_jax.experiment import convert

    checkpoint = open_checkpoint(args)
    print(checkpoint.report)
    run, fit_report = convert.convert(checkpoint, args.out, args.config, assignments, args.allow_missing)
    if fit_report.missing or fit_report.differing or fit_report.unused:
        print(f'of the parameters of config.model {fit_report}')
    print(f'{args.out}: step 0 of {type(run.model_config).__name__}, {args.source}')
    return exit_codes.DONE


def open_checkpoint(args: argparse.Namespace) -> 'Opened':
    """Return the network or autoencoder of --source and --checkpoint.

    Raises:
      UserError: The source is nothing that runs; or what pretrained.load raises.
    """
    from vdm_jax import pretrained
    from vdm_jax.pretrained.network import Network
    from vdm_jax.pretrained.sd_vae import Autoencoder

    source = pretrained.SOURCES.get(args.source)
    # An unknown source is refused by pretrained.load, which lists those that there are.
    if source and not issubclass(source.MODEL, (Network, Autoencoder)):
        raise UserError(f'--source={args.source}: nothing that trains or samples; runs read its file as it is')
    opened: Opened = pretrained.load(
        args.source, args.checkpoint, entry=args.entry, heads=args.heads, allow_missing=args.allow_missing
    )
    return opened
