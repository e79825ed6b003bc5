"""Moving MNIST as a set of TFDS, `moving_mnist_videos`."""

from data_pipelines.tfds_videos import Videos


class Builder(Videos):
    """The frames as they are, grey."""

    name = 'moving_mnist_videos'
    dataset = 'moving_mnist'
    splits = ('test',)
    stored = 'frames'
    channels = 1
