"""Commands on weights: export ours, convert those of others."""

from vdm_jax.cli.restore import restored
from vdm_jax.errors import Failure, describe_bad_tensors


def export(args, assignments):
    """write a run's averaged weights and its config into one safetensors file"""
    from vdm_jax.pretrained import weights
    from vdm_jax.train.inspect import find_not_finite

    run, params, about = restored({'workdir': args.workdir}, args, assignments)
    if wrong := find_not_finite(params):
        which = f'{args.workdir}: step {about["step"]}, ema {about["ema"]}, is not finite'
        raise Failure(f'{which}: {describe_bad_tensors(wrong)}; nothing is written. Choose another --step')
    try:
        size = weights.save(args.out, params, about | {'config': run.resolved}, args.dtype)
    except OSError as error:
        why = f'cannot be written ({error.strerror or error}); what was there before stands'
        raise Failure(f'--out={args.out}: {why}') from None
    print(f'{args.out}: step {about["step"]}, ema {about["ema"]}, {args.dtype}, {size / 1e6:.2f} MB')
    return 0


def convert(args, assignments):
    """turn other people's weights into a run directory, which sample, evaluate and train take up"""
    from vdm_jax.experiment import convert

    opened = convert.load(args)
    print(opened.report)
    run, report = convert.convert(opened, args.out, args.config, assignments, args.allow_missing)
    if report.missing or report.differing or report.unused:
        print(f'of the parameters of config.model {report}')
    print(f'{args.out}: step 0 of {type(run.model_config).__name__}, {args.source}')
    return 0
