"""FaceForensics as a set of TFDS, `faceforensics_videos`."""

from data_pipelines.datasets.tfds_builder import VideoBuilder


class Builder(VideoBuilder):
    """The files as they are, or an mp4 for every folder of pictures."""

    name = 'faceforensics_videos'
    dataset = 'faceforensics'
    splits = 'train', 'val', 'test'
