"""The mesh: sizes, what does not multiply, and complete slices side by side on the slower network."""

import re
from types import SimpleNamespace

import jax
import pytest

from tests.absent import absent
from vdm_jax.errors import UserError
from vdm_jax.parallel.mesh import AXES, MeshConfig, batch_parts, make_mesh, platform, slices_of


def test_the_rest_goes_to_the_axis_that_is_minus_one():
    assert MeshConfig(fsdp=2, tensor=2).sizes(8) == (1, 2, 2, 1, 2)
    mesh = make_mesh(MeshConfig(slices=2, fsdp=2, sequence=2), jax.devices()[:8])
    assert mesh.axis_names == AXES and dict(mesh.shape) == {
        'slices': 2, 'data': 1, 'fsdp': 2, 'sequence': 2, 'tensor': 1,
    }  # fmt: skip
    assert batch_parts(mesh) == 4


@pytest.mark.parametrize(
    'sizes', [{'data': 3}, {'fsdp': 16}, {'fsdp': 3}, {'data': 2, 'fsdp': 8}, {'data': 1}, {'fsdp': 2, 'tensor': 3}]
)
def test_sizes_that_do_not_make_up_the_devices_are_refused_with_a_mesh_that_does(sizes):
    with pytest.raises(UserError, match=r'does not make up the 8 devices found') as error:
        make_mesh(MeshConfig(**sizes), jax.devices()[:8])
    changed = dict(re.findall(r'--config\.mesh\.(\w+)=(\d+)', str(error.value)))
    assert len(changed) == 1
    make_mesh(MeshConfig(**sizes | {axis: int(size) for axis, size in changed.items()}), jax.devices()[:8])


def device(number, **attributes):
    return SimpleNamespace(id=number, **attributes)


def test_slices_are_those_of_the_devices_else_hosts_else_equal_runs():
    def ids(groups):
        return [[each.id for each in group] for group in groups]

    mixed = [device(i, slice_index=i % 2, process_index=i // 2) for i in range(8)]
    assert ids(slices_of(mixed, 2)) == [[0, 2, 4, 6], [1, 3, 5, 7]]
    hosts = [device(i, slice_index=0, process_index=i % 4) for i in range(8)]
    assert ids(slices_of(hosts, 4)) == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert ids(slices_of([device(i) for i in range(8)], 2)) == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize('slices', [1, 2])
def test_another_number_of_slices_than_the_devices_lie_in_is_refused(slices):
    with pytest.raises(UserError, match='lie in 4 slices'):
        make_mesh(MeshConfig(slices=slices), [device(i, slice_index=i // 2) for i in range(8)])


def test_a_slice_holds_a_complete_copy_of_the_rest_of_the_mesh():
    mesh = make_mesh(MeshConfig(slices=2, fsdp=4), jax.devices()[:8])
    halves = [{each.id for each in half.ravel()} for half in mesh.devices]
    first = {each.id for each in jax.devices()[:4]}
    assert halves == [first, {each.id for each in jax.devices()[4:8]}]


def test_the_platform_is_that_of_the_mesh_in_context():
    assert platform() == 'cpu'
    with jax.set_mesh(make_mesh(MeshConfig(), jax.devices()[:2])):
        assert platform() == 'cpu'
    with absent('tpu', 'TPU v5', data=2):
        assert platform() == 'tpu'
