"""Moving MNIST as a set of TFDS, `moving_mnist_videos`."""

from data_pipelines.datasets.tfds_builder import VideoBuilder


class Builder(VideoBuilder):
    """The frames as they are, grey."""

    name = 'moving_mnist_videos'
    dataset = 'moving_mnist'
    splits = ('test',)
    stored = 'frames'
    channels = 1
