"""The command report."""

import argparse
from typing import Any

from vdm_jax.cli import exit_codes
from vdm_jax.errors import Failure, UserError


def report(args: argparse.Namespace, assignments: list[str]) -> int:
    """Write a run's curves, samples, scores, config and warnings as one HTML page."""
    from vdm_jax.report import page
    from vdm_jax.report.plots import import_bokeh
    from vdm_jax.report.run import count_things

    import_bokeh()
    workdirs = [args.workdir, *split_runs(args.compare or [])]
    out = args.out
    try:
        runs = page.write_report(workdirs, out, find_defaults)
    except OSError as error:
        raise Failure(f'--out={out}: cannot be written ({error.strerror or error})') from None

    count = sum(remark.level != 'note' for run in runs for remark in run.warnings)
    print(f'{out} ({count_things(count, "warning")})' if count else out)
    return exit_codes.DONE


def split_runs(values: list[str]) -> list[str]:
    """Return the run directories of --compare=RUN,RUN…, which may be given several times.

    Raises:
      UserError: One of them has no name, or is in no known kind of store.
    """
    from vdm_jax.files import check_store

    workdirs = [workdir for value in values for workdir in value.split(',')]
    for workdir in workdirs:
        if not workdir:
            raise UserError(f'--compare={",".join(values)}: names a run by nothing; want RUN or RUN,RUN,…')
        check_store(workdir, f'--compare={workdir}')
    return workdirs


def find_defaults(config: dict[str, Any]) -> dict[str, Any] | None:
    """Return the defaults of the keys of a config that have other values, None for a config of another version."""
    from vdm_jax.experiment.defaults import find_changes

    try:
        return find_changes(config)
    except UserError:
        return None
