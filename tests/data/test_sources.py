"""What a source can do is declared: nothing else is used of one, and configs hold no state."""

import ast
import dataclasses
import functools
import inspect
import json
import pickle
import typing
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.data.small_mnist import digits, write_idx
from tests.data.small_set import mp4, record, write_set
from vdm_jax.data.pipeline import batches
from vdm_jax.data.records.source import Records
from vdm_jax.data.scalars import available_scalars
from vdm_jax.data.source import Reader, Source, StatelessSource
from vdm_jax.data.tfds import Tfds
from vdm_jax.data.video import decode
from vdm_jax.data.video.extract_clip import ClipOptions, extract_clip
from vdm_jax.data.video_folder import VideoFolder
from vdm_jax.data.video_source import VideoSource
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import experiment_dict, experiment_from
from vdm_jax.experiment.registry import SOURCES
from vdm_jax.experiment.run import Run
from vdm_jax.train.workdir import FREE_KEYS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / 'vdm_jax'
FILES = [*sorted(PACKAGE.rglob('*.py')), *sorted((ROOT / 'data_pipelines').rglob('*.py'))]
SOURCE_NAMES = {'source', 'sources', 'clips', 'images', 'data'}
READER_NAMES = {'reader', 'training_reader', 'context_reader', 'held_out', 'reference'}


def last_name(node):
    """The last name of `run.data.source`, `self.readers[0]` or `clips`."""
    if isinstance(node, ast.Subscript):
        return last_name(node.value)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, 'id', '')


def probes(tree):
    """Calls of hasattr, and of getattr with a default, on what is called like a source or a reader."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            probing = node.func.id == 'hasattr' or (node.func.id == 'getattr' and len(node.args) > 2)
            if probing and last_name(node.args[0]) in SOURCE_NAMES | READER_NAMES | {'here', 'run'}:
                yield node


# Who holds a source or a reader: a run, and its data.
DATA_OWNERS = ('run', 'run.data', 'local_run.data', 'self._run.data', 'data')


def find_undeclared(tree):
    """(line, name) of each attribute that a source or reader of a run, or an argument typed as one, has not."""
    members = {'Source': set(dir(Source)), 'Reader': {*dir(Reader), 'source'}}
    kinds = dict.fromkeys(('source',), 'Source') | dict.fromkeys(READER_NAMES - {'reference'}, 'Reader')
    for node in ast.walk(tree):
        typed = {}
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.args, *node.args.kwonlyargs]
            typed = {each.arg: ast.unparse(each.annotation).strip("'") for each in arguments if each.annotation}
        for child in ast.walk(node) if typed else [node]:
            if not isinstance(child, ast.Attribute):
                continue
            owner = child.value
            kind = None
            if isinstance(owner, ast.Name):
                kind = typed.get(owner.id)
            elif isinstance(owner, ast.Attribute) and ast.unparse(owner.value) in DATA_OWNERS:
                kind = kinds.get(owner.attr)
            if kind in members and child.attr not in members[kind]:
                yield child.lineno, child.attr


def test_nothing_undeclared_is_probed_or_used():
    for file in FILES:
        tree = ast.parse(file.read_text())
        where = file.relative_to(ROOT)
        assert not [f'{where}:{node.lineno}: {ast.unparse(node)}' for node in probes(tree)]
        assert not [f'{where}:{line}: {name}' for line, name in find_undeclared(tree)]
    data = [ast.parse(file.read_text()) for file in (PACKAGE / 'data').glob('*.py')]
    assert not [node.name for tree in data for node in ast.walk(tree) if getattr(node, 'name', '') == '__getattr__']


@pytest.mark.parametrize(
    'line',
    [
        "hasattr(run.data.source, 'within')",
        "getattr(held_out, 'split', 'all')",
        "getattr(self.sources[0], 'latents', ('', {}))",
        'run.data.source.moments_shape',
        'run.training_reader.where',
    ],
)
def test_the_rule_catches_a_breach(line):
    tree = ast.parse(line)
    assert [*probes(tree), *find_undeclared(tree)]
    typed = ast.parse(
        'def f(reader: Reader, source: Source):\n    return reader.tally, source.counters, reader.counters'
    )
    assert {name for _, name in find_undeclared(typed)} == {'tally', 'counters'}


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Three videos in a folder and as a set of records, and digits."""
    place = tmp_path_factory.mktemp('sources')
    (place / 'videos').mkdir()
    for i in range(3):
        (place / 'videos' / f'{i}.mp4').write_bytes(mp4(12 + 3 * i, 60 * i))
    write_set(place / 'set', [record(f'r{i}', 12 + 3 * i, 60 * i) for i in range(3)])
    (place / 'mnist').mkdir()
    write_idx(place / 'mnist' / 't10k-images-idx3-ubyte.gz', digits(50))
    return place


def make(name, place) -> Source:
    """A source of that name, with clips of 4 frames of 16x16 where they are not of digits."""
    size = {'frames': 4, 'pixels': 16}
    folder = {'source': 'video_folder', 'path': str(place / 'videos'), 'crop': 'random', 'flip': True, **size}
    records = folder | {'source': 'records', 'path': str(place / 'set'), 'clips': 2}
    data = {
        'records': records,
        'video_folder': folder,
        'mixture': {'sources': [folder, records]},
        'joint_images': {'clips': folder, 'images': records, 'count': 2},
        'bucketed': {'clips': {'source': 'mixture', 'sources': [folder, records]}, 'buckets': ('4x16x24@2',)},
        'moving_mnist': {'path': str(place / 'mnist')},
        'tfds': size | {'path': 'nowhere'},
    }
    return experiment_from({'data': data.get(name, size) | {'source': name}}).data


def open_reader(name, place) -> Reader:
    reader = make(name, place).open()
    if name == 'tfds':  # a prepared set of its own would cost seconds
        vars(reader)['_examples'] = [{'video': np.zeros((6, 20, 20, 3), np.uint8)}]
    return reader


@pytest.mark.parametrize('name', SOURCES)
def test_a_config_stays_what_it_was_when_its_reader_is_used(name, place):
    source = make(name, place)
    reader = open_reader(name, place)
    assert isinstance(source, Source) and isinstance(reader, Reader) and reader.source == source
    reader[0], reader.draw(0, np.random.default_rng(0)), reader.counters(), reader.problem_files(), reader.num_classes
    if name != 'tfds':
        reader.identity(), reader.notes(), reader.held_out(), reader.read_plans(0, np.random.default_rng(0))
    config = reader.source
    assert config == source == pickle.loads(pickle.dumps(config)) and hash(config) == hash(source)
    assert set(vars(config)) == {field.name for field in dataclasses.fields(config)}, 'it holds nothing but its fields'
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.prefetch = 3


@pytest.mark.parametrize('name', SOURCES)
def test_every_source_implements_all_that_is_declared(name, place):
    reader = open_reader(name, place)
    source = reader.source
    rng = np.random.default_rng
    assert source.shapes[0] == source.shape == reader.shape and len(source.shapes) == len(source.bucket_names)
    assert source.frames == source.shape[0] and len(source.batch_sizes(3)) == len(source.shapes)
    assert source.with_pixels(source.pixels).shape == source.shape
    assert source.threads >= 0 and source.prefetch >= 0 and source.split in (None, 'all', 'train', 'test')
    assert all(isinstance(part, Source) for part in source.parts) and source.images_per_clip >= 0
    assert reader.order(1).size == len(reader) and reader.loading in ('clips', 'constant')
    assert reader.text is None and reader.latents is None and 'motion' in available_scalars(reader)
    buckets, numbers = reader.locate_in_buckets([0])
    own = reader.for_bucket(int(buckets[0]))
    assert isinstance(own, Reader) and len(own) >= 1
    np.testing.assert_array_equal(own[int(numbers[0])]['video'], reader[0]['video'])
    drawn = reader.draw(0, rng(5))
    assert len(drawn.get('draws', ())) == reader.num_draws and set(drawn.get('scalars', ())) == set(reader.scalars)
    assert (
        isinstance(reader.without_cache(), type(reader))
        and isinstance(reader.reference, Reader)
        and reader.reference.shape == source.shape
    )
    if name not in ('records', 'video_folder', 'mixture'):
        with pytest.raises((UserError, NotImplementedError), match='come in one shape'):
            reader.extents()
            reader.extract(0, (1, 8, 8))
    else:
        assert reader.extents().shape == (len(reader), 3) and reader.extract(0, (1, 8, 8))['video'].shape == (
            1,
            8,
            8,
            3,
        )
    with pytest.raises(NotImplementedError, match='are loaded as'):
        reader.gather(np.arange(1), np.arange(1), 0)


@pytest.mark.parametrize('name', ['records', 'video_folder', 'mixture', 'bucketed', 'joint_images'])
def test_the_plan_of_a_clip_is_what_is_read_for_it(name, place):
    reader = make(name, place).open().without_cache()
    for seed in range(6):
        i = seed % len(reader)
        clip = reader.draw(i, np.random.default_rng(seed))
        first, *others = reader.read_plans(i, np.random.default_rng(seed))
        read = functools.partial(decode.read, first.video)
        np.testing.assert_array_equal(extract_clip(first, read), clip['video'])
        assert len(others) == reader.source.images_per_clip
        for plan, image in zip(others, clip.get('images', ()), strict=True):
            frames = extract_clip(plan, functools.partial(decode.read, plan.video))
            assert any((frame == image).all() for frame in frames)


@pytest.mark.parametrize('cls', [Records, VideoFolder, Tfds])
def test_sources_of_videos_share_their_options(cls):
    """A key of the group means the same in each of them, and takes the same or less."""
    group, own = (typing.get_type_hints(each, include_extras=True) for each in (VideoSource, cls))
    fields = {field.name: field for field in dataclasses.fields(cls)}
    shared = [name for name in vars(VideoSource)['__annotations__'] if name in fields]
    assert {'frames', 'pixels', 'stride', 'short', 'start', 'crop', 'flip'} <= set(shared)
    for name in shared:
        choices = typing.get_args(group[name])
        assert own[name] == group[name] or set(typing.get_args(own[name])) < set(choices), name
        assert fields[name].default == getattr(VideoSource, name, fields[name].default), name
    lacking = {field.name for field in dataclasses.fields(ClipOptions)} - {'size'} - set(shared)
    assert lacking == ({'fps'} if cls is Tfds else set())


def test_keys_of_a_config_keep_their_order():
    """As config.json of every run has them."""
    common = ['source', 'path', 'frames', 'pixels']
    last = ['threads', 'prefetch']
    videos = ['split', 'held_out', 'max_broken', 'limits', 'cache_mb']
    cut = ['short', 'start', 'crop', 'flip']
    keys = {
        'records': [*common, 'filters', 'stride', 'fps', 'clips', *cut, 'label', 'text', *videos, *last],
        'video_folder': [*common, 'stride', 'fps', *cut, 'pixel_aspect', 'label', *videos, *last],
        'tfds': [
            *common,
            'channels',
            'stride',
            *cut,
            'pixel_aspect',
            'video',
            'label',
            'split',
            'train',
            'test',
            *last,
        ],
    }
    for name, wanted in keys.items():
        resolved = json.loads(json.dumps(experiment_dict(experiment_from({'data': {'source': name}}))))
        assert [*resolved['data']] == wanted


def test_each_source_declares_what_of_it_changes_no_clip_and_a_run_may_change_that():
    movable = {name for cls in SOURCES.values() for name in cls.movable_fields}
    assert {f'config.data.{name}' for name in movable} == {key for key in FREE_KEYS if key.startswith('config.data.')}
    for cls in SOURCES.values():
        assert movable & {field.name for field in dataclasses.fields(cls)} <= {*cls.movable_fields}


@dataclasses.dataclass(frozen=True)
class Least(Source):
    """As little as a source can be."""

    shape = (2, 8, 8, 3)

    def open(self):
        return LeastReader(self)


class LeastReader(Reader):
    def __len__(self):
        return 6

    def __getitem__(self, i):
        return {'video': np.full(self.shape, 40 * i, np.uint8), 'label': np.int32(0)}

    def draw(self, i, rng):
        return self[i]

    def identity(self):
        return f'{len(self)} greys'


def test_what_has_to_be_implemented_is_a_shape_and_five_methods():
    assert Source.__abstractmethods__ == {'shape', 'open'}
    assert Reader.__abstractmethods__ == {'__len__', '__getitem__', 'draw', 'identity'}
    assert StatelessSource.__abstractmethods__ == {'shape', *Reader.__abstractmethods__} - {'identity'}
    for cls in (Source, Reader):
        for name, member in vars(cls).items():
            if not name.startswith('_') and not isinstance(member, bool):
                assert inspect.getdoc(member), f'{cls.__name__}.{name} says what it is'


def test_a_source_of_the_least_trains_through_the_loader():
    model = {'width': 16, 'depth': 2, 'heads': 2, 'patch': 4, 'time_patch': 1}
    experiment = experiment_from({'model': model, 'train': {'batch_size': 4, 'steps': 3}})
    run = Run(dataclasses.replace(experiment, data=Least()), jax.devices()[:1])
    run.check()
    assert run.data.dataset_id == '6 greys' and run.data.held_out is run.data.reader and run.data.reader.notes() == []
    state = run.programs.init_state()
    before = None
    order = run.data.reader.order(4, run.experiment.seed)
    with jax.set_mesh(run.mesh), batches(run.training_reader, order, 0, 3, run.batch_layout.local_rows) as stream:
        for batch in stream:
            state, scalars = run.programs.train_step(state, run.batch_layout.to_global(batch), run.frozen)
            assert np.isfinite(scalars['loss']) and scalars['loss'] != before
            before = scalars['loss']
    assert int(state.step) == 3


def test_the_source_in_the_guide_works(tmp_path):
    """docs/data.md, with its own words."""
    code = (ROOT / 'docs' / 'data.md').read_text().partition('## A source of your own')[2]
    names = {'__name__': 'array_source'}
    exec(compile(code.partition('```python')[2].partition('```')[0], 'docs/data.md', 'exec'), names)
    videos = np.random.default_rng(0).integers(0, 256, (5, 4, 8, 8, 3), np.uint8)
    np.save(tmp_path / 'clips.npy', videos)
    source = names['Array'](f'{tmp_path}/clips.npy', frames=4, pixels=8)
    reader = source.open()
    with batches(reader, reader.order(5, shuffle=False), 0, 1) as stream:
        np.testing.assert_array_equal(next(stream)['video'], videos)
    with pytest.raises(UserError, match=r'clips are \(4, 8, 8, 3\), not \(9, 8, 8, 3\)'):
        len(dataclasses.replace(source, frames=9).open())
