"""The one error of video files."""


class BrokenVideoError(Exception):
    """A file, or a part of it, that does not decode; the message is the reason, without the file's name."""


def no_picture(seconds: float, why: str = '') -> BrokenVideoError:
    """Return the error for a frame that the decoder leaves out.

    seconds: Of the file, when it is to be shown.
    """
    return BrokenVideoError(f'the decoder gives no picture for {seconds:.2f} s' + (f': {why}' if why else ''))


def damaged_picture(seconds: float) -> BrokenVideoError:
    """Return the error for a frame that the decoder had to make up in part.

    seconds: Of the file, when it is shown.
    """
    return BrokenVideoError(f'the picture at {seconds:.2f} s is damaged')
