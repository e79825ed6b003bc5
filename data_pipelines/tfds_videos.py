"""Any of the sets as one that TFDS prepares: built and read without TensorFlow, in ArrayRecord.

    Builder(source=ROOT, data_dir=DIR).download_and_prepare()     nothing is downloaded; or: python -m data_pipelines tfds

A subclass a set, in its folder. What cannot be used is left out, and named with the reason in metadata.json.
"""

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines import pictures
from data_pipelines.datasets import listed
from data_pipelines.encode import encoded
from vdm_jax.data import decode


class Videos(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """One example an Item: `video`, `key` (its name), `label` where the set has classes, `caption` where it has any.

    stored: what `video` is. 'file', the bytes of a video file: the set's own, or an mp4 made of pictures or of the part
    of a file that the Item is; 'frames', uint8 (T, H, W, channels), for sets that small; 'picture', one picture.

    Raises: UserError, as data_pipelines/datasets.py does.
    """

    VERSION = tfds.core.Version('1.0.0')
    RELEASE_NOTES = {'1.0.0': 'The first.'}
    code_path = None  # TFDS would look for checksums beside the code
    dataset: str
    splits: tuple[str, ...]
    stored: str = 'file'
    channels: int = 3
    captions: bool = False

    def __init__(self, *, source, splits=None, **options):
        self.source, self.parts = str(source), tuple(splits or self.splits)
        self.found = {part: listed(self.dataset, self.source, part).items for part in self.parts}
        self.left_out = tfds.core.MetadataDict()
        super().__init__(**{'file_format': 'array_record'} | options)

    def _info(self):
        tensor = tfds.features.Tensor
        features = {
            'file': lambda: tensor(shape=(), dtype=np.object_),
            'frames': lambda: tensor(shape=(None, None, None, self.channels), dtype=np.uint8, encoding='zlib'),
            'picture': lambda: tfds.features.Image(shape=(None, None, 3)),
        }
        features = {'video': features[self.stored](), 'key': tfds.features.Text()}
        if names := self.classes:
            features['label'] = tfds.features.ClassLabel(names=names)
        if self.captions:
            features['caption'] = tfds.features.Text()
        return tfds.core.DatasetInfo(
            builder=self,
            description=f'{self.dataset}, {", ".join(self.parts)}: see data_pipelines/{self.dataset}/README.md',
            features=tfds.features.FeaturesDict(features),
            metadata=self.left_out,
        )

    def _split_generators(self, dl_manager):
        return {part: self._generate_examples(items) for part, items in self.found.items()}

    def _generate_examples(self, items):
        for item in items:
            try:
                if item.problem:
                    raise decode.BrokenVideoError(item.problem)
                example = {'video': self._video(item), 'key': item.name}
            except decode.BrokenVideoError as error:
                self.left_out[f'{item.split}/{item.name}'] = str(error)
                continue
            if self.classes:
                example['label'] = -1 if item.label is None else item.label
            if self.captions:
                example['caption'] = max(item.captions, key=lambda each: each.weight).text if item.captions else ''
            yield item.name, example
