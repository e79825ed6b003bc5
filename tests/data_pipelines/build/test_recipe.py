import pytest

from data_pipelines.build.recipe import Recipe, read_recipe
from vdm_jax.config.schema import to_dataclass
from vdm_jax.errors import UserError


def test_the_command_line_goes_over_the_file_and_the_file_over_the_defaults(tmp_path):
    path = tmp_path / 'recipe.toml'
    path.write_text('filters = ["motion>=0.1"]\n[clips]\nseconds = 4\nfps = 16\n[shots]\ndetector = "none"\n')
    recipe = read_recipe(str(path), ['--recipe.clips.seconds=2', '--recipe.clips.fps=none', '--recipe.split=train'])
    assert (recipe.clips.seconds, recipe.clips.fps, recipe.split) == (2.0, None, 'train')
    assert recipe.filters == ('motion>=0.1',) and recipe.shots.detector == 'none'
    assert recipe.clips.crf == Recipe().clips.crf


def test_filters_are_a_list_on_the_command_line():
    assert read_recipe(assignments=['--recipe.filters=motion>=0.1,fps<=30']).filters == ('motion>=0.1', 'fps<=30')
    assert read_recipe(assignments=['--recipe.filters=']).filters == ()


def test_what_a_recipe_is_written_down_as_is_the_recipe():
    recipe = read_recipe(assignments=['--recipe.clips.pixels=256', '--recipe.limits.time=60'])
    assert to_dataclass(Recipe, recipe.as_dict(), {}, 'recipe') == recipe
    assert recipe.as_dict()['clips']['pixels'] == 256 and recipe.as_dict()['limits']['time'] == 60.0


@pytest.mark.parametrize(
    ('assignment', 'message'),
    [
        ('--recipe.clips.second=4', "recipe.clips.second: no such key; did you mean 'seconds'?"),
        ('--recipe.clips.seconds=long', 'recipe.clips.seconds=long'),
        ('--recipe.clips.seconds=0', 'recipe.clips.seconds=0.0: want a number above 0'),
        ('--recipe.clips.pixels=255', 'recipe.clips.pixels=255: want a multiple of 2'),
        ('--recipe.clips.min_seconds=11', 'recipe.clips.min_seconds=11.0: want recipe.clips.seconds=10.0 or less'),
        ('--recipe.clips.crf=52', 'recipe.clips.crf'),
        ('--recipe.clips.fps=1e9', 'recipe.clips.fps'),
        ('--recipe.clips.gop=1e12', 'recipe.clips.gop'),
        ('--recipe.limits.time=0', 'recipe.limits'),
        ('--recipe.limits.memory=1000', 'recipe.limits.memory'),
        ('--recipe.shards.megabytes=0', 'recipe.shards.megabytes'),
        ('--recipe.duplicates.distance=2', 'recipe.duplicates.distance'),
        ('--recipe.filters=motion=1', 'recipe.filters'),
        ('--recipe.clips', 'want --recipe.GROUP.KEY=VALUE'),
    ],
)
def test_mistakes_name_the_key(assignment, message):
    with pytest.raises(UserError) as error:
        read_recipe(assignments=[assignment])
    assert message in str(error.value) and 'config' not in str(error.value)


def test_filters_name_known_columns():
    read_recipe(assignments=['--recipe.filters=aesthetic>=5,seconds>=1,sharpness>=2']).check({'aesthetic'})
    with pytest.raises(UserError, match=r"recipe.filters: aestetic>=5.*did you mean 'aesthetic'"):
        read_recipe(assignments=['--recipe.filters=aestetic>=5']).check({'aesthetic'})
    for wrong in ('motion>=fast', 'motion>=nan', 'source>=a'):
        with pytest.raises(UserError, match=f'recipe.filters: {wrong}: '):
            read_recipe(assignments=[f'--recipe.filters={wrong}']).check(())
    with pytest.raises(UserError, match='motion is a score that is measured here'):
        Recipe().check({'motion'})


def test_a_file_that_is_no_recipe_is_refused(tmp_path):
    (tmp_path / 'recipe.toml').write_text('seconds: 4')
    with pytest.raises(UserError, match='recipe.toml is no TOML'):
        read_recipe(str(tmp_path / 'recipe.toml'))
    (tmp_path / 'deep.toml').write_text(f'x = {"[" * 5000}')
    with pytest.raises(UserError, match='deep.toml is no TOML'):
        read_recipe(str(tmp_path / 'deep.toml'))
    for name in ('/dev/zero', tmp_path):
        with pytest.raises(UserError, match='is not a regular file'):
            read_recipe(str(name))
    with pytest.raises(UserError, match='gone.toml: no such file'):
        read_recipe(str(tmp_path / 'gone.toml'))
