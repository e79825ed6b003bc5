"""Tables of captions beside videos as a set of TFDS, `webvid_videos`."""

from data_pipelines.datasets.tfds_builder import VideoBuilder


class Builder(VideoBuilder):
    """The files as they are, or an mp4 of the part that is meant, with the caption."""

    name = 'webvid_videos'
    dataset = 'webvid'
    splits = 'train', 'val', 'test'
    captions = True
