"""Builders of sets of videos as TFDS prepares them, without TensorFlow: one for each set, in its folder.

    from data_pipelines.datasets.ucf101.builder import Builder
    Builder(source=ROOT, data_dir=DIR).download_and_prepare()      # nothing is downloaded

or `python -m data_pipelines tfds`. Clips are neither cut nor scored nor filtered: that is `build`.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.build.encoder import Encoder
from data_pipelines.build.process_video import frames_between
from data_pipelines.curate.clips import ClipsConfig
from data_pipelines.datasets.registry import DATASETS, list_dataset
from data_pipelines.inputs import frame_sources, stills
from data_pipelines.inputs.item import Item
from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.errors import UserError

EXIF_ORIENTATION = 0x0112


class VideoBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[misc, call-arg]
    """Base class of builders, with an example for every Item.

    An example has video, key (its name), label where the set has classes, caption where it has those. What cannot be
    used is left out; metadata.json of the prepared set names it with the reason, and so does `left_out`.

    Attributes:
      dataset: Name of the set in the registry.
      splits: Those that it may have.
      stored: What `video` is. file: the bytes of a video file, the set's own, or an mp4 made of its pictures or of the
        part of a file that is meant; frames: uint8 (T, H, W, channels), for sets whose frames are small; picture: one,
        uint8 (H, W, 3).
      channels: Of frames.
      captions: Whether the set has captions.
      items: By split.
      absent: Why the splits that are not made do not lie in the source.
      classes: Their names.
      left_out: Why, by '{split}: {name}'.

    Args:
      source: The folder that the set lies in.
      parts: The splits to make, by default every one of `splits` that lies in `source`.
      file_format: As TFDS has it.
      options: Of TFDS.

    Raises:
      UserError: the folder is not laid out as the set is, or holds none of the splits.
    """

    VERSION = tfds.core.Version('1.0.0')
    RELEASE_NOTES = {'1.0.0': 'The first.'}  # as TFDS has it
    code_path = None  # beside which TFDS looks for checksums
    dataset: str
    splits: tuple[str, ...] = ('train', 'test')
    stored: Literal['file', 'frames', 'picture'] = 'file'
    channels: int = 3
    captions: bool = False

    def __init__(
        self,
        *,
        source: str | os.PathLike[str],
        parts: Sequence[str] | None = None,
        file_format: str = 'array_record',
        **options: Any,
    ) -> None:
        self.items: dict[str, tuple[Item, ...]] = {}
        self.absent: dict[str, str] = {}
        # Splits that were asked for have to be there; of the others those are made that are.
        for part in parts or self.splits:
            try:
                self.items[part] = list_dataset(self.dataset, str(source), part).items
            except UserError as error:
                if parts:
                    raise
                self.absent[part] = str(error)
        if not self.items:
            raise UserError('; '.join(dict.fromkeys(self.absent.values())))

        self.classes = DATASETS[self.dataset].class_names(str(source))
        self.left_out = tfds.core.MetadataDict()
        super().__init__(file_format=file_format, **options)

    def _info(self) -> Any:
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

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        return {part: self._generate_examples(part) for part in self.items}

    def _generate_examples(self, part: str) -> Iterator[tuple[str, dict[str, Any]]]:
        count = 0
        for item in self.items[part]:
            try:
                if item.problem:
                    raise BrokenVideoError(item.problem)
                video = self._read_video(item)
            except BrokenVideoError as error:
                self.left_out[f'{part}: {item.name}'] = ': '.join(error.args)
                continue
            example = {'video': video, 'key': item.name}
            if self.classes:
                example['label'] = -1 if item.label is None else item.label
            if self.captions:
                heaviest = max(item.captions, key=lambda caption: caption.weight, default=None)
                example['caption'] = '' if heaviest is None else heaviest.text
            yield item.name, example
            count += 1

        # TFDS makes no empty splits.
        if not count:
            name, reason = next(iter(self.left_out.items()))
            raise UserError(f'{self.dataset} has nothing for {part} that can be used; {name}: {reason}')

    def _read_video(self, item: Item) -> Any:
        readers = {'file': self._read_file, 'frames': self._read_frames, 'picture': self._read_picture}
        return readers[self.stored](item)

    def _read_file(self, item: Item) -> bytes:
        """Return the bytes of a video file: as it is, or encoded."""
        # Looked at also where its bytes go as they are, so that a broken file is left out.
        video = frame_sources.probe(item)
        if item.stills is None and item.start is None and item.end is None:
            return b''.join(frame_sources.stream_bytes(item))

        first, stop = frames_between(item, video)
        times = np.append(video.times, video.seconds)[first : stop + 1] - video.times[first]
        # H.264 stores even sizes.
        height = video.height // 2 * 2
        width = video.width // 2 * 2
        config = ClipsConfig()
        encoder = Encoder(height, width, config.crf, config.gop)
        for number, frame in frame_sources.stream(video, first, stop):
            position = number - first
            encoder.add(frame[:height, :width], times[position], times[position + 1])
        return encoder.finish()

    def _read_frames(self, item: Item) -> np.ndarray:
        video = frame_sources.probe(item)
        # Grey frames come as three equal channels.
        return np.stack([frame[..., : self.channels] for _, frame in frame_sources.stream(video)])

    def _read_picture(self, item: Item) -> Any:
        """Return the path of the file where every reader makes the same of it, else the picture.

        They do not of one in CMYK, nor of one that is turned by its EXIF data.
        """
        from PIL import Image

        if item.stills is None:
            raise BrokenVideoError('it is a video, and no picture')
        path = item.stills.files[0]
        # Decoded in any case, so that a damaged file is left out.
        frame = stills.read_image(path)
        with Image.open(path, formats=stills.FORMATS) as image:
            is_upright = image.getexif().get(EXIF_ORIENTATION, 1) == 1
            is_plain = image.mode == 'RGB' and image.format in ('JPEG', 'PNG') and is_upright
        return path if is_plain else Image.fromarray(frame)
