"""Sets of videos as TFDS prepares them, built and read without TensorFlow: a builder a set, in its folder.

    from data_pipelines.datasets.ucf101.builder import Builder
    Builder(source=ROOT, data_dir=DIR).download_and_prepare()      # nothing is downloaded

or `python -m data_pipelines tfds`. Clips are neither cut nor scored nor filtered: that is `build`.
"""

import os

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.build.encode import Encoder
from data_pipelines.build.process_video import frames_between
from data_pipelines.curate.clips import Clips
from data_pipelines.datasets.registry import DATASETS, listed
from data_pipelines.inputs import frame_sources
from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.errors import UserError


class Videos(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """An example for every Item: video, key (its name), label where the set has classes, caption where it has those.

    parts: the splits it makes, by default every one of `splits` that lies in the folder `source`; `absent` says why the
    others do not.
    stored: what `video` is. file: the bytes of a video file, the set's own, or an mp4 made of its pictures or of the
    part of a file that is meant; frames: uint8 (T, H, W, channels), for sets whose frames are small; picture: one,
    uint8 (H, W, 3).

    What cannot be used is left out; metadata.json of the prepared set names it with the reason, and so does `left_out`.

    Raises: UserError for a folder that is not laid out as the set is, or holds none of the splits.
    """

    VERSION = tfds.core.Version('1.0.0')
    RELEASE_NOTES = {'1.0.0': 'The first.'}  # as TFDS has it
    code_path = None  # beside which TFDS looks for checksums
    dataset: str
    splits: tuple[str, ...] = ('train', 'test')
    stored: str = 'file'
    channels: int = 3
    captions: bool = False

    def __init__(self, *, source, parts=None, file_format='array_record', **options):
        self.items, self.absent = {}, {}
        for part in parts or self.splits:
            try:
                self.items[part] = listed(self.dataset, str(source), part).items
            except UserError as error:
                if parts:
                    raise
                self.absent[part] = str(error)
        if not self.items:
            raise UserError('; '.join(dict.fromkeys(self.absent.values())))
        self.classes = DATASETS[self.dataset].classes(str(source))
        self.left_out = tfds.core.MetadataDict()
        super().__init__(file_format=file_format, **options)

    def _info(self):
        kinds = {
            'file': tfds.features.Tensor(shape=(), dtype=np.object_),
            'frames': tfds.features.Tensor(shape=(None, None, None, self.channels), dtype=np.uint8, encoding='zlib'),
            'picture': tfds.features.Image(shape=(None, None, 3)),
        }
        features = {'video': kinds[self.stored], 'key': tfds.features.Text()}
        if self.classes:
            features['label'] = tfds.features.ClassLabel(names=self.classes)
        if self.captions:
            features['caption'] = tfds.features.Text()
        return tfds.core.DatasetInfo(
            builder=self,
            description=f'data_pipelines/datasets/{self.dataset}/README.md says what it is.',
            features=tfds.features.FeaturesDict(features),
            metadata=self.left_out,
        )

    def _split_generators(self, dl_manager):
        return {part: self._generate_examples(part) for part in self.items}

    def _generate_examples(self, part):
        count = 0
        for item in self.items[part]:
            try:
                if item.problem:
                    raise BrokenVideoError(item.problem)
                example = {'video': getattr(self, f'_{self.stored}')(item), 'key': item.name}
            except BrokenVideoError as error:
                self.left_out[f'{part}: {item.name}'] = ': '.join(error.args)
                continue
            if self.classes:
                example['label'] = -1 if item.label is None else item.label
            if self.captions:
                example['caption'] = max(item.captions, key=lambda each: each.weight).text if item.captions else ''
            yield item.name, example
            count += 1
        if not count:  # TFDS makes no empty splits
            name, reason = next(iter(self.left_out.items()))
            raise UserError(f'{self.dataset} has nothing for {part} that can be used; {name}: {reason}')

    def _file(self, item):
        video = frame_sources.probe(item)
        if item.stills is None and item.start is None and item.end is None:
            return b''.join(frame_sources.content(item))
        first, stop = frames_between(item, video)
        times = np.append(video.times, video.seconds)[first : stop + 1] - video.times[first]
        height, width, config = video.height // 2 * 2, video.width // 2 * 2, Clips()
        encoder = Encoder(height, width, config.crf, config.gop)
        for i, (_, frame) in enumerate(frame_sources.stream(video, first, stop)):
            encoder.add(frame[:height, :width], times[i], times[i + 1])
        return encoder.finish()

    def _frames(self, item):
        video = frame_sources.probe(item)
        return np.stack([frame[..., : self.channels] for _, frame in frame_sources.stream(video)])

    def _picture(self, item):
        """The file as it is where every reader makes the same of it, else a PNG: not of CMYK, nor of one turned."""
        from PIL import Image

        path = os.path.join(item.stills.path, item.stills.names[0])
        frame = frame_sources.picture(path)
        with Image.open(path, formats=frame_sources.FORMATS) as image:
            plain = image.mode == 'RGB' and image.format in ('JPEG', 'PNG') and image.getexif().get(0x0112, 1) == 1
        return path if plain else Image.fromarray(frame)
