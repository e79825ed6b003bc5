"""Commands on weights: export ours, convert those of others."""

import argparse

from vdm_jax.cli import exit_codes
from vdm_jax.cli.restore import restore
from vdm_jax.errors import Failure, describe_bad_tensors


def export(args: argparse.Namespace, assignments: list[str]) -> int:
    """Write averaged weights and config of a run into one safetensors file."""
    from vdm_jax.pretrained import weights
    from vdm_jax.train.inspect import find_not_finite

    run, params, about = restore({'workdir': args.workdir}, args, assignments)
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

    checkpoint = convert.load(args)
    print(checkpoint.report)
    run, fit_report = convert.convert(checkpoint, args.out, args.config, assignments, args.allow_missing)
    if fit_report.missing or fit_report.differing or fit_report.unused:
        print(f'of the parameters of config.model {fit_report}')
    print(f'{args.out}: step 0 of {type(run.model_config).__name__}, {args.source}')
    return exit_codes.DONE
