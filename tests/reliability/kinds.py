"""Every kind of files that damage is tried on, by name: what stands in the first column of the table."""

from tests.reliability import data_files, run_files, weights_files
from tests.reliability.damage import Kind

KINDS: dict[str, Kind] = {
    **data_files.KINDS,
    **weights_files.KINDS,
    **run_files.KINDS,
}
