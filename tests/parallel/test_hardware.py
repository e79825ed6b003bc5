"""Peaks of the devices that jax finds."""

import pytest

from vdm_jax.parallel.hardware import CHIPS, peak_flops


@pytest.mark.parametrize(
    'kind, expected',
    [
        ('NVIDIA H100 80GB HBM3', 989e12), ('NVIDIA H100 PCIe', 756e12), ('NVIDIA H200', 989e12),
        ('TPU v5 lite', CHIPS['v5e'].flops), ('TPU v5', CHIPS['v5p'].flops), ('cpu', None),
    ],
)  # fmt: skip
def test_a_device_goes_by_the_longest_name_that_fits(kind, expected):
    assert peak_flops(kind) == expected
